"""Trending: the items whose interactions grow fastest from one window of time to the next.

With a events in the window before and b in the current one, the plain ratio b / a lets 2 clicks after none
beat 2,000 after 1,000. So both counts are taken as Poisson with rates that a gamma distribution of shape m
gave, which makes the posterior means (b + m) / (1 + r) and (a + m) / (1 + r), and the growth

    score = (b + m) / (a + m)

Nothing grows until shown otherwise; m is how many events it takes to show it. It is fitted to the items at
hand (empirical Bayes): with n = a + b, b given n is BetaBinomial(n, m, m), whose overdispersion
ρ = 1 / (2 m + 1) has the moment estimate

    ρ = Σ [(b - n/2)² - n/4] / Σ [n (n - 1) / 4]
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, Self

import msgspec
import numpy as np
from numpy.random import Generator

from penchant.data.interactions import Interactions
from penchant.data.snapshot import Snapshot
from penchant.kernel.arrays import F32, F64, AnyArray, Csr, Rows, readonly
from penchant.kernel.durations import seconds_of
from penchant.kernel.ids import Vocab
from penchant.kernel.progress import Progress
from penchant.models.base import Batch, Card, Model, Queries, Query, Scored, card_for
from penchant.models.popularity import counted
from penchant.models.ranking import Ranking

_LEAST_SHAPE, _MOST_SHAPE = 4.0, 1e4  # bounds of m; at 4, 2 after 0 score 1.5 and 2,000 after 1,000 2.0
_STEPS = 60  # windows move on in steps of this part of their length


class Trending(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rank items by growth between two adjacent windows, each ``discovery_frequency`` long.

    ``event_types`` are those that count; none named = all.
    """

    name: ClassVar[str] = "trending"

    discovery_frequency: Literal["30m", "1h", "3h", "1d"] = "1d"
    event_types: tuple[str, ...] = ()

    @property
    def window(self) -> float:
        """Return the length of a window in seconds."""
        return seconds_of(self.discovery_frequency, field="discovery_frequency")

    def train(
        self, snapshot: Snapshot, *, rng: Generator, progress: Progress, previous: Model | None = None
    ) -> "TrendingModel":
        """Keep the last two windows. ``rng`` and ``previous`` are not needed."""
        progress.start(self.name, 1)
        start = np.searchsorted(
            snapshot.interactions.timestamp, snapshot.cutoff - 2 * self.window, side="right"
        )
        events = snapshot.interactions.select(slice(int(start), None))
        recent = events.select(counted(events, self.event_types))
        progress.advance(note=f"{len(recent):,} events in the last two windows")
        model = TrendingModel(
            card=card_for(self, snapshot),
            items=snapshot.items,
            users=Vocab.of([]),
            item=readonly(np.zeros(0, np.int32)),
            timestamp=readonly(np.zeros(0)),
            until=readonly(np.array([snapshot.cutoff])),
        )
        return model.with_events(recent.item, recent.timestamp)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrendingModel:
    """The events of the last two windows.

    The windows end at ``query.now``, moved up to the next sixtieth of a window. When nothing at all happened
    in that current window (the data stopped long ago), they end at the last moment the model knows of.
    Items without an event in the current window are not trending: they are never given, their score is NaN.
    """

    kind: ClassVar[str] = "trending"

    card: Card
    items: Vocab
    users: Vocab
    item: Rows  # (n,) of the events kept, in order of (time, item)
    timestamp: F64  # (n,)
    until: F64  # (1,) the last moment known: the cut-off, or the last event folded in
    _known: dict[float, Ranking] = field(default_factory=dict[float, Ranking], repr=False, compare=False)

    @property
    def recipe(self) -> Trending:
        """Return the recipe it was trained with."""
        return msgspec.convert(self.card.config, Trending)

    def top(self, query: Query, k: int, *, exclude: Rows | None = None) -> Scored:
        """Return the k items that grow fastest at ``query.now``; the same for everybody."""
        return self.ranking(query.now).top(k, exclude=exclude)

    def top_many(self, queries: Queries, k: int, *, exclude: Csr | None = None) -> Batch:
        """Return the k items that grow fastest for each request."""
        return self.ranking(queries.now).top_many(len(queries), k, exclude=exclude)

    def score(self, query: Query, items: Rows) -> F32:
        """Return the growth of each item, NaN for what nobody takes now."""
        return readonly(self.ranking(query.now).scores[items])

    def ranking(self, now: float) -> Ranking:
        """Return the order of items at a time; found once a step of time."""
        end = self._end(now)
        if end not in self._known:
            self._known.clear()
            self._known[end] = Ranking(self._scores(end))
        return self._known[end]

    def counts(self, item: int, now: float) -> tuple[int, int]:
        """Return how many events an item row has in the window before and in the current one."""
        bounds = self._bounds(self._end(now))
        before, current = (self.item[bounds[i] : bounds[i + 1]] == item for i in range(2))
        return int(before.sum()), int(current.sum())

    def fold(self, events: Interactions) -> Self:
        """Return the model after ``events``: O(events of two windows)."""
        new = events.select(counted(events, self.recipe.event_types))
        return self if len(new) == 0 else self.with_events(new.item, new.timestamp)

    def with_events(self, item: Rows, timestamp: F64) -> Self:
        """Return the model with more events, without those older than two windows."""
        until = max(float(self.until[0]), float(timestamp.max(initial=-np.inf)))
        items, times = np.concatenate([self.item, item]), np.concatenate([self.timestamp, timestamp])
        order = np.lexsort((items, times))
        order = order[np.searchsorted(times[order], until - 2 * self.recipe.window, side="right") :]
        return replace(
            self,
            item=readonly(items[order]),
            timestamp=readonly(times[order]),
            until=readonly(np.array([until])),
            _known={},
        )

    def arrays(self) -> Mapping[str, AnyArray]:
        """Return all arrays to save."""
        return {
            **self.items.arrays("items"),
            **self.users.arrays("users"),
            "item": self.item,
            "timestamp": self.timestamp,
            "until": self.until,
        }

    @classmethod
    def open(cls, card: Card, arrays: Mapping[str, AnyArray]) -> Self:
        """Open what `arrays` named."""
        return cls(
            card=card,
            items=Vocab.from_arrays(arrays, "items"),
            users=Vocab.from_arrays(arrays, "users"),
            item=np.asarray(arrays["item"]),
            timestamp=np.asarray(arrays["timestamp"]),
            until=np.asarray(arrays["until"]),
        )

    def _end(self, now: float) -> float:
        """Return where the current window ends."""
        window = self.recipe.window
        step = window / _STEPS
        last = float(self.until[0])
        end = float(np.ceil(now / step) * step) if now > last else last
        return last if end - window >= last else end

    def _bounds(self, end: float) -> list[int]:
        """Return the positions between which the events of the two windows stand."""
        window = self.recipe.window
        return np.searchsorted(self.timestamp, [end - 2 * window, end - window, end], side="right").tolist()

    def _scores(self, end: float) -> F32:
        bounds = self._bounds(end)
        n = len(self.items)
        before = np.bincount(self.item[bounds[0] : bounds[1]], minlength=n).astype(np.float64)
        current = np.bincount(self.item[bounds[1] : bounds[2]], minlength=n).astype(np.float64)
        shape = prior_shape(before, current)
        growth = (current + shape) / (before + shape)
        return np.where(current > 0, growth, np.nan).astype(np.float32)


def prior_shape(before: F64, current: F64) -> float:
    """Return m of the equation above, fitted on the items' counts (n_items,) in the two windows."""
    n = before + current
    pairs = float((n * (n - 1)).sum()) / 4
    excess = float(((current - n / 2) ** 2 - n / 4).sum())
    if pairs <= 0 or excess <= 0:  # the items differ no more than chance alone would make them
        return _MOST_SHAPE
    return min(max((pairs / excess - 1) / 2, _LEAST_SHAPE), _MOST_SHAPE)
