"""Popularity: how many different users took an item within a window. The baseline of every table."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Self

import msgspec
import numpy as np
from numpy.random import Generator

from penchant.data.interactions import Interactions
from penchant.data.snapshot import Snapshot
from penchant.kernel.arrays import F32, I64, AnyArray, Csr, Rows, readonly
from penchant.kernel.durations import seconds_of
from penchant.kernel.ids import Vocab
from penchant.kernel.progress import Progress
from penchant.models.base import Batch, Card, Model, Queries, Query, Scored, card_for
from penchant.models.ranking import Ranking

WHOLE = "all"


class Popularity(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rank items by their number of different users within ``window`` before the snapshot's cut-off.

    ``window`` is a span such as ``30d``, or ``all``. ``event_types`` are those that count; none named = all.
    """

    name: ClassVar[str] = "popularity"

    window: str = "30d"
    event_types: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.window != WHOLE:
            seconds_of(self.window, field="window")

    def train(
        self, snapshot: Snapshot, *, rng: Generator, progress: Progress, previous: Model | None = None
    ) -> "PopularityModel":
        """Count. ``rng`` and ``previous`` are not needed: the counts are exact."""
        progress.start("popularity", 1)
        events = snapshot.interactions
        keep = counted(events, self.event_types)
        if self.window != WHOLE:
            keep &= events.timestamp > snapshot.cutoff - seconds_of(self.window)
        taken = np.unique(_keys(events.select(keep), snapshot.n_items))
        counts = np.bincount(taken % snapshot.n_items, minlength=snapshot.n_items)
        progress.advance(note=f"{len(taken):,} users of items")
        return PopularityModel(
            card=card_for(self, snapshot),
            items=snapshot.items,
            users=snapshot.users,
            counts=readonly(counts.astype(np.float32)),
            taken=readonly(taken),
            fresh=readonly(np.zeros(0, np.int64)),
        )


def counted(events: Interactions, event_types: tuple[str, ...]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return which events are of one of ``event_types``, all of them when none is named."""
    if not event_types:
        return np.ones(len(events), np.bool_)
    wanted = np.array([name in event_types for name in events.event_types] or [False])
    return wanted[events.event_type]


def _keys(events: Interactions, n_items: int) -> I64:
    """Return one number for each (user, item)."""
    return events.user.astype(np.int64) * n_items + events.item


@dataclass(frozen=True, kw_only=True)
class PopularityModel:
    """Different users of each item.

    A user the model knows counts once an item, also over `fold`; of a user it does not know every event
    counts. Folding adds at the window's end; its beginning moves when the model is trained again.
    """

    kind: ClassVar[str] = "popularity"

    card: Card
    items: Vocab
    users: Vocab
    counts: F32  # (n_items,) different users
    taken: I64  # (n_pairs,) ascending: user * n_items + item of everything counted in training
    fresh: I64  # ascending: the same of what was folded in since

    @cached_property
    def ranking(self) -> Ranking:
        """Return the items in order."""
        return Ranking(self.counts)

    def top(self, query: Query, k: int, *, exclude: Rows | None = None) -> Scored:
        """Return the k most popular items; the same for everybody."""
        return self.ranking.top(k, exclude=exclude)

    def top_many(self, queries: Queries, k: int, *, exclude: Csr | None = None) -> Batch:
        """Return the k most popular items for each request."""
        return self.ranking.top_many(len(queries), k, exclude=exclude)

    def score(self, query: Query, items: Rows) -> F32:
        """Return the number of users of each item."""
        return readonly(self.counts[items])

    def fold(self, events: Interactions) -> Self:
        """Return the model after ``events``: O(n_items + pairs folded so far), no search through training."""
        config = msgspec.convert(self.card.config, Popularity)
        new = events.select(counted(events, config.event_types))
        if len(new) == 0:
            return self
        known = new.user >= 0
        keys = np.unique(_keys(new.select(known), len(self.items)))
        keys = keys[~_among(keys, self.taken) & ~_among(keys, self.fresh)]
        counts = self.counts.copy()
        np.add.at(counts, keys % len(self.items), np.float32(1))
        np.add.at(counts, new.item[~known], np.float32(1))
        fresh = np.insert(self.fresh, np.searchsorted(self.fresh, keys), keys)
        return replace(self, counts=readonly(counts), fresh=readonly(fresh))

    def arrays(self) -> Mapping[str, AnyArray]:
        """Return all arrays to save."""
        return {
            **self.items.arrays("items"),
            **self.users.arrays("users"),
            "counts": self.counts,
            "taken": self.taken,
            "fresh": self.fresh,
        }

    @classmethod
    def open(cls, card: Card, arrays: Mapping[str, AnyArray]) -> Self:
        """Open what `arrays` named."""
        return cls(
            card=card,
            items=Vocab.from_arrays(arrays, "items"),
            users=Vocab.from_arrays(arrays, "users"),
            counts=np.asarray(arrays["counts"]),
            taken=np.asarray(arrays["taken"]),
            fresh=np.asarray(arrays["fresh"]),
        )


def _among(keys: I64, ordered: I64) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return which of ``keys`` are in the ascending ``ordered``."""
    if len(ordered) == 0:
        return np.zeros(len(keys), np.bool_)
    at = np.minimum(np.searchsorted(ordered, keys), len(ordered) - 1)
    return ordered[at] == keys
