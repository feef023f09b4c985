"""What trees are told of a user and a candidate: how each part ranks it, how it sells, if it is their kind.

All of it is as of one moment, the end of the training data, and follows from what happened before.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from penchant.data.interactions import Interactions
from penchant.data.snapshot import Snapshot
from penchant.features.item_features import groups_of
from penchant.kernel.arrays import F32, F64, AnyArray, Rows, readonly

_PERIODS = (1 / 12, 1 / 4, 1 / 2, 1.0, 2.0)  # of a span: how often items were taken within each
_RECENT = 3.0  # spans: what a user took lately
_LONG_AGO = 10.0  # spans: for whom nothing is known


class Facts(NamedTuple):
    """What is known of the items at a moment."""

    numbers: F32  # (n_items, p) how often each was taken lately and ever, whether it rises, its age
    codes: Rows  # (columns, n_items) the number of each item's value, -1 for none
    clock: F64  # (2,) the moment and the span, seconds

    @property
    def width(self) -> int:
        """Return how many features it makes, those of the parts aside."""
        return self.numbers.shape[1] + 4 * len(self.codes) + 4


def facts_of(snapshot: Snapshot, columns: Sequence[str], span: float) -> Facts:
    """Return the facts at the end of a snapshot; ``span`` in seconds is the time that is asked about."""
    events, n, now = snapshot.interactions, snapshot.n_items, snapshot.cutoff

    def taken(spans: float) -> F64:
        first = int(np.searchsorted(events.timestamp, now - spans * span, side="left"))
        return np.bincount(events.item[first:], minlength=n).astype(np.float64)

    within = [taken(spans) for spans in _PERIODS]
    ever = np.bincount(events.item, minlength=n)
    quarter, half, one, two = within[1:]
    born = np.full(n, now)
    np.minimum.at(born, events.item, events.timestamp)
    numbers = [
        *map(np.log1p, (*within, ever)),
        np.log1p(quarter) - np.log1p(half - quarter),
        np.log1p(one) - np.log1p(two - one),
        np.log1p((now - born) / span),
    ]
    groups = groups_of(snapshot, columns)
    return Facts(
        numbers=readonly(np.stack(numbers, axis=1).astype(np.float32)),
        codes=readonly(np.array(list(groups.values()), np.int32).reshape(len(groups), n)),
        clock=readonly(np.array([now, span])),
    )


def features(facts: Facts, z: F32, history: Interactions, pool: Rows) -> F32:
    """Return the features (m, 2 parts + width) of the candidates ``pool`` (m,) of one user.

    ``z`` (parts, n_items) is what each part says; its ranks are among the candidates.
    """
    now, span = facts.clock.tolist()
    found = z[:, pool]
    order = np.argsort(-found, axis=1, kind="stable")
    ranks = np.empty(found.shape)
    np.put_along_axis(ranks, order, np.arange(len(pool), dtype=np.float64)[None, :], axis=1)
    columns: list[AnyArray] = [*found, *np.log1p(ranks), *facts.numbers[pool].T]
    recent = history.item[history.timestamp >= now - _RECENT * span]
    different = np.unique(history.item)
    for codes in facts.codes:
        own = [_of_same_value(codes, items, pool) for items in (history.item, recent, different)]
        columns += [*map(np.log1p, own), own[0] / max(len(history), 1)]
    idle = (now - history.timestamp[-1]) / span if len(history) else _LONG_AGO
    lately = int((history.timestamp >= now - span).sum())
    of_user = (len(history), lately, len(different), min(max(idle, 0.0), _LONG_AGO))
    columns += [np.full(len(pool), np.log1p(number)) for number in of_user]
    return np.stack(columns, axis=1).astype(np.float32)


def _of_same_value(codes: Rows, taken: Rows, pool: Rows) -> F64:
    """Return for each candidate how many of ``taken`` have its value; 0 where it has none."""
    counts = np.bincount(codes[taken] + 1, minlength=int(codes.max(initial=-1)) + 2).astype(np.float64)
    counts[0] = 0
    return counts[codes[pool] + 1]
