"""What models of the next click share: the open session, and answers from scores of all items."""

from collections.abc import Callable
from typing import Protocol

import numpy as np

from penchant.data.interactions import Interactions
from penchant.data.snapshot import Snapshot
from penchant.kernel.arrays import F32, Csr, Rows, readonly
from penchant.models.base import Batch, Queries, Query, Scored
from penchant.models.best import apart, best_one
from penchant.models.next_click_kernels import MEMORY
from penchant.models.popularity import counted


class _Scoring(Protocol):
    def dense(self, query: Query) -> F32: ...


class NextClick:
    """Answers for a model that says with ``dense`` what every item is worth to one request.

    ``dense(query)`` is (n,), a fresh array, NaN = cannot score. n may exceed the model's items: what came
    after the training stands there.
    """

    __slots__ = ()

    def top(self: _Scoring, query: Query, k: int, *, exclude: Rows | None = None) -> Scored:
        """Return the k items most likely to be clicked next."""
        return best_of(self.dense(query), k, exclude)

    def top_many(self: _Scoring, queries: Queries, k: int, *, exclude: Csr | None = None) -> Batch:
        """Return the best k items of each request."""
        items = np.full((len(queries), max(k, 0)), -1, np.int32)
        values = np.full(items.shape, -np.inf, np.float32)
        for i, query in enumerate(apart(queries)):
            found = best_of(self.dense(query), k, None if exclude is None else exclude.row(i))
            items[i, : len(found.items)], values[i, : len(found.items)] = found.items, found.scores
        return Batch(items=readonly(items), scores=readonly(values))

    def score(self: _Scoring, query: Query, items: Rows) -> F32:
        """Return the score of each item, NaN for what it does not give."""
        dense = self.dense(query)
        found = np.full(len(items), np.nan, np.float32)
        known = items < len(dense)
        found[known] = dense[items[known]]
        return readonly(found)


def best_of(scores: F32, k: int, exclude: Rows | None) -> Scored:
    """Return the best k; rows of ``exclude`` beyond the scores are as good as excluded already."""
    gone = None if exclude is None else exclude[exclude < len(scores)]
    return best_one(scores[None], k, exclude=gone)


def open_session(history: Interactions, gap: float, now: float, n_items: int) -> Rows:
    """Return the different items of the session that is open at the end of a history, oldest first.

    Of items below ``n_items``, the latest that are remembered.
    """
    known = history.item < n_items
    times, items = history.timestamp[known], history.item[known]
    breaks = np.flatnonzero(np.diff(np.append(times, now)) > gap)
    open_ = items[int(breaks[-1]) + 1 if len(breaks) else 0 :]
    return readonly(np.array(list(dict.fromkeys(open_.tolist()))[-MEMORY:], np.int32))


def session_asked(
    query: Query, gap: float, now: float, n_items: int, *, remembered: Callable[[], Rows]
) -> Rows:
    """Return the session that a request goes on: its history's, else the one ``remembered`` of its user."""
    if query.history is not None:
        return open_session(query.history, gap, now, n_items)
    return readonly(remembered().view() if query.user >= 0 else np.zeros(0, np.int32))


def moment(now: float, known_until: float, window: float) -> float:
    """Return the moment to answer for: long after the last event, as at that event."""
    return now if known_until < now <= known_until + window else known_until


def newest(snapshot: Snapshot, span: float, event_types: tuple[str, ...]) -> tuple[Interactions, float]:
    """Return the events of the last ``span`` seconds that count, and the time of the first of them."""
    events = snapshot.interactions
    first = int(np.searchsorted(events.timestamp, snapshot.cutoff - span))
    recent = events.select(slice(first, None))
    recent = recent.select(counted(recent, event_types))
    return recent, float(recent.timestamp[0]) if len(recent) else snapshot.cutoff
