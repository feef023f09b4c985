"""Exploration of new items: they are shown now and then until enough is known of them.

The more an item was shown, the less it is explored, and it leaves exploration after enough impressions or
early, when it is clearly poor. As in Amazon Personalize, ``weight`` in [0, 1] says how much is explored and
``age_cut_off`` which items are new, counted back from the newest interaction.

At each place of a feed, with e = weight / 2 while fewer than a fifth of the places explore (else 0):

    P(a | above) = (1 - e) 1[a is the next item anyway] + e PL(a | pool left)
    PL(a | pool) ∝ exp(relevance_a / temperature) m0 / (m0 + impressions_a)

so the propensity of every place is exact, given the request and the places above with their sources.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.random import Generator
from scipy import special

from penchant.feed.types import Candidates, Mixer, Request, Slot
from penchant.kernel.arrays import F32, F64, AnyArray, Rows, readonly

EXPLORE = "explore"
_SHARE = 0.2  # of the places at most
_POOR = 0.05  # an item leaves when its rate is above the median's with less than this probability


@final
class Shown:
    """How often each catalogue row was shown, and how often somebody acted on it when it was.

    One thread counts, any number read. ``base`` are the impressions known to the snapshot.
    """

    def __init__(self, base: AnyArray) -> None:
        self._impressions: F64 = base.astype(np.float64)
        self._actions: F64 = np.zeros(len(base))

    def served(self, rows: Rows, n_items: int) -> None:
        """Count one impression of each row."""
        self._grow(n_items)
        np.add.at(self._impressions, rows, 1.0)

    def acted(self, row: int, n_items: int) -> None:
        """Count one action that names the feed it came from."""
        self._grow(n_items)
        self._actions[row] += 1.0

    def impressions(self, rows: Rows) -> F64:
        """Return the impressions of each row."""
        return _taken(self._impressions, rows)

    def clearly_poor(self, rows: Rows, median_rate: float) -> AnyArray:
        """Return which rows are below ``median_rate`` almost surely: P(Beta(1 + c, 1 + n - c) > it) < 5%."""
        n, c = self.impressions(rows), _taken(self._actions, rows)
        return special.betaincc(1.0 + c, 1.0 + np.maximum(n - c, 0.0), median_rate) < _POOR

    def median_rate(self) -> float:
        """Return the median rate of actions over items shown at least 20 times, 0 without such items."""
        known = self._impressions >= 20
        rates = self._actions[known] / self._impressions[known]
        return float(np.median(rates)) if len(rates) else 0.0

    def _grow(self, n_items: int) -> None:
        more = n_items - len(self._impressions)
        if more > 0:
            spare = max(more, len(self._impressions) // 8)
            self._actions = np.concatenate([self._actions, np.zeros(spare)])
            self._impressions = np.concatenate([self._impressions, np.zeros(spare)])


def _taken(counts: F64, rows: Rows) -> F64:
    """Return counts by row, 0 for rows that were never counted."""
    inside = rows < len(counts)
    return np.where(inside, counts[np.where(inside, rows, 0)], 0.0)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """The new items, as a source: those that weigh most first, scores the log weights of Plackett-Luce.

    ``rows`` are the catalogue rows that are young enough, ``relevance`` in [0, 1] for each.
    """

    name: str = EXPLORE
    rows: Rows
    relevance: F32
    shown: Shown
    enough: int = 200
    temperature: float = 0.5
    m0: float = 20.0
    median_rate: float = 0.0

    def fetch(self, request: Request, k: int) -> Candidates:
        """Return up to ``k`` items that are still to be explored."""
        del request
        n = self.shown.impressions(self.rows)
        open_ = n < self.enough
        if self.median_rate > 0:
            open_ &= ~self.shown.clearly_poor(self.rows, self.median_rate)
        rows = self.rows[open_]
        score = self.relevance[open_] / self.temperature + np.log(self.m0 / (self.m0 + n[open_]))
        order = np.lexsort((rows, -score))[:k]
        return Candidates(
            source=self.name, items=readonly(rows[order]), scores=readonly(score[order].astype(np.float32))
        )

    def why(self, request: Request, item: int) -> str:
        """Return how often the item was shown."""
        del request
        shown = int(self.shown.impressions(np.array([item], np.int32))[0])
        return f"new: shown {shown} times so far"


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
        others = {name: found for name, found in ranked.items() if name != EXPLORE}
        usual = self.inner.mix(request, others, rng=rng)
        if pool is None or len(pool) == 0:
            return usual
        return tuple(_dealt(request, usual, pool, rng, chance=self.weight / 2))


def _dealt(
    request: Request, usual: tuple[Slot, ...], pool: Candidates, rng: Generator, *, chance: float
) -> list[Slot]:
    left = pool.items.tolist()
    weight: list[float] = np.exp(pool.scores.astype(np.float64) - pool.scores.max()).tolist()
    cap = max(1, int(_SHARE * request.k))
    queue = list(usual)
    slots: list[Slot] = []
    explored = 0
    while len(slots) < request.k and (queue or left):
        total = sum(weight)
        # Without anything else to show the pool fills the feed: then a place explores for certain.
        e = 1.0 if not queue else (chance if explored < cap and left else 0.0)
        following = queue[0] if queue else None
        if e > 0 and rng.random() < e:
            at = int(np.searchsorted(np.cumsum(weight), rng.random() * total, side="right"))
            at = min(at, len(left) - 1)
            item, source, score = left[at], EXPLORE, weight[at]
            explored += 1
        else:
            assert following is not None
            item, source, score = following.item, following.source, following.score
        drawn = next((w for other, w in zip(left, weight, strict=True) if other == item), 0.0)
        sure = following.propensity if following is not None and following.item == item else 0.0
        propensity = None if sure is None else (1 - e) * sure + (e * drawn / total if drawn else 0.0)
        slots.append(
            Slot(
                item=item,
                item_id=request.catalogue.id(item),
                source=source,
                score=score,
                propensity=propensity,
            )
        )
        queue = [slot for slot in queue if slot.item != item]
        if drawn:
            gone = left.index(item)
            del left[gone], weight[gone]
    return slots
