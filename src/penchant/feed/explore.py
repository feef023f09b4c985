"""Exploration of new items: they are shown now and then until enough is known of them.

The more an item was shown, the less it is explored, and it leaves exploration after enough impressions or
early, when it is clearly poor. As in Amazon Personalize, ``weight`` in [0, 1] says how much is explored and
``age_cut_off`` which items are new, counted back from the newest interaction.

At each place of a feed, with e = weight / 2 while fewer than a fifth of the places explore (else 0):

    P(a | above) = (1 - e) 1[a is the next item anyway] + e PL(a | pool left)
    PL(a | pool) ∝ exp(relevance_a / temperature) m0 / (m0 + impressions_a)

over those of the pool that the feed's limits allow at this place; where the next item anyway would break a
limit and one of the pool does not, e = 1, and at a place with a wish of its own e = 0. So the propensity of
every place is exact, given the request and the places above with their sources.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, final

import numpy as np
import pyarrow as pa
from numpy.random import Generator

from penchant.data.snapshot import Snapshot
from penchant.feed.layout import Layout, Limited, Queue, Stepwise
from penchant.feed.live import Live, as_rows
from penchant.feed.types import Candidates, Mixer, Request, Slot
from penchant.kernel.arrays import F32, F64, Rows, readonly

EXPLORE = "explore"
CREATED = "creation_timestamp"
_SHARE = 0.2  # of the places at most


class Scores(Protocol):
    """Who says how relevant items are, such as a `Bridge` to a model."""

    def score(self, request: Request, items: Rows) -> F32:
        """Return a score for each item, NaN where there is none."""
        ...


@final
class Pool:
    """The new items, as a source: those that weigh most first, scores the log weights of Plackett-Luce.

    An item is new while it is younger than ``age_cut_off`` seconds, counted back from the newest interaction
    of the snapshot. Its age is that of its ``creation_timestamp``, else of its first interaction; without
    either it is new. Relevance is the rank of the score that ``bridge``'s model gives, 1/2 where it has none.
    """

    def __init__(
        self,
        live: Live,
        bridge: Scores | None,
        *,
        age_cut_off: float,
        enough: int = 200,
        temperature: float = 0.5,
        m0: float = 20.0,
    ) -> None:
        self.name = EXPLORE
        self._live = live
        self._bridge = bridge
        self._born_after = live.snapshot.cutoff - age_cut_off
        self._enough = enough
        self._temperature = temperature
        self._m0 = m0
        self._base = np.flatnonzero(born(live.snapshot) > self._born_after).astype(np.int32)
        self._known: tuple[int, Rows] = (-1, self._base)

    def fetch(self, request: Request, k: int) -> Candidates:
        """Return up to ``k`` items that are still to be explored."""
        rows, shown = self._young(), self._live.shown
        n = shown.impressions(rows)
        open_ = (n < self._enough) & ~shown.clearly_poor(rows, request.now)
        rows, n = rows[open_], n[open_]
        score = self._relevance(request, rows) / self._temperature + np.log(self._m0 / (self._m0 + n))
        order = np.lexsort((rows, -score))[:k]
        return Candidates(
            source=self.name, items=readonly(rows[order]), scores=readonly(score[order].astype(np.float32))
        )

    def why(self, request: Request, item: int) -> str:
        """Return how often the item was shown."""
        del request
        shown = int(self._live.shown.impressions(np.array([item], np.int32))[0])
        return f"new: shown {shown} times so far"

    def _young(self) -> Rows:
        """Return the new items' rows: those of the snapshot and those put since that are young enough."""
        catalogue = self._live.catalogue
        size, rows = self._known
        if size != len(catalogue):
            first = len(catalogue.base)
            made = (catalogue.property(row, CREATED) for row in range(first, len(catalogue)))
            late = [
                row
                for row, time in enumerate(made, first)
                if not isinstance(time, int | float) or time > self._born_after
            ]
            size, rows = len(catalogue), np.concatenate([self._base, as_rows(late)])
            self._known = (size, rows)
        return rows

    def _relevance(self, request: Request, rows: Rows) -> F64:
        scores = np.full(len(rows), np.nan) if self._bridge is None else self._bridge.score(request, rows)
        known = np.flatnonzero(~np.isnan(scores))
        out = np.full(len(rows), 0.5)
        if len(known) > 1:
            out[known[np.argsort(scores[known], kind="stable")]] = np.linspace(0.0, 1.0, len(known))
        return out


def born(snapshot: Snapshot) -> F64:
    """Return when each item of a snapshot appeared, +inf where nothing tells."""
    events = snapshot.interactions
    born = np.full(snapshot.n_items, np.inf)
    np.minimum.at(born, events.item, events.timestamp)
    if CREATED in snapshot.item_table.column_names:
        column = snapshot.item_table[CREATED]
        if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
            made = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
            born = np.where(np.isnan(made), born, made)
    return born


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Explore:
    """Wraps a mixer: some places go to items of the pool, drawn by Plackett-Luce without replacement."""

    inner: Mixer
    weight: float = 0.3

    @property
    def name(self) -> str:
        """Return the inner mixer's name, and that it explores."""
        return f"{self.inner.name}+explore"

    def mix(self, request: Request, ranked: Mapping[str, Candidates], *, rng: Generator) -> tuple[Slot, ...]:
        """Return the slots, first position first, each with its exact propensity."""
        pool = ranked.get(EXPLORE)
        others = _without_pool(ranked)
        if pool is None or len(pool) == 0:
            return self.inner.mix(request, others, rng=rng)
        if isinstance(self.inner, Stepwise):
            layout: Layout = self.inner.begin(request, others)
        else:
            layout = Queue(self.inner.mix(request, others, rng=rng))
        return tuple(_dealt(request, layout, pool, rng, chance=self.weight / 2))

    def wants_more(self, request: Request, ranked: Mapping[str, Candidates]) -> bool:
        """Return whether the inner mixer would break a limit."""
        return isinstance(self.inner, Limited) and self.inner.wants_more(request, _without_pool(ranked))

    def broken(self, request: Request, slots: Sequence[Slot]) -> dict[str, int]:
        """Return by each limit of the inner mixer how many places break it."""
        return self.inner.broken(request, slots) if isinstance(self.inner, Limited) else {}


def _without_pool(ranked: Mapping[str, Candidates]) -> dict[str, Candidates]:
    return {name: found for name, found in ranked.items() if name != EXPLORE}


def _dealt(
    request: Request, layout: Layout, pool: Candidates, rng: Generator, *, chance: float
) -> list[Slot]:
    left: list[int] = pool.items.tolist()
    scores: dict[int, float] = dict(zip(left, pool.scores.tolist(), strict=True))
    weight: list[float] = np.exp(pool.scores.astype(np.float64) - pool.scores.max()).tolist()
    cap = max(1, int(_SHARE * request.k))
    slots: list[Slot] = []
    explored = 0
    while len(slots) < request.k:
        following = layout.peek()
        if following is None and not left:
            break
        allowed = layout.allows(left)
        if following is None and not any(allowed):
            allowed = [True] * len(left)
        open_ = [w if may else 0.0 for w, may in zip(weight, allowed, strict=True)]
        total = sum(open_)
        if following is None or (layout.forced and total > 0):
            e = 1.0  # the pool fills what would be empty, or would break a limit that it need not break
        else:
            e = 0.0 if layout.fixed or explored >= cap or total == 0 else chance
        if e > 0 and rng.random() < e:
            at = int(np.searchsorted(np.cumsum(open_), rng.random() * total, side="right"))
            at = min(at, max(i for i, w in enumerate(open_) if w > 0))
            item, source, score = left[at], EXPLORE, scores[left[at]]
            explored += 1
        else:
            assert following is not None
            item, source, score = following.item, following.source, following.score
        drawn = next((w for other, w in zip(left, open_, strict=True) if other == item), 0.0)
        sure = following.propensity if following is not None and following.item == item else 0.0
        propensity = None if sure is None else (1 - e) * sure + (e * drawn / total if drawn else 0.0)
        slot = Slot(
            item=item, item_id=request.catalogue.id(item), source=source, score=score, propensity=propensity
        )
        layout.place(slot)
        slots.append(slot)
        if item in scores and item in left:
            gone = left.index(item)
            del left[gone], weight[gone]
    return slots
