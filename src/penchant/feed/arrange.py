"""Blocks of sources under limits and preferences: caps, near-duplicates, pinned places, diversity, decay.

At each place the source whose turn it is gives the best item that every limit allows; another source fills in
when it has none. When nobody has one, limits go, the last declared first, and the trace says so. Best is by

    relevance · ((1 - floor) · decay^n + floor)                                        author decay
    λ · that - (1 - λ) · max over the items above of sim(i, j)                         diversity

with n the number of items by the same author above and relevance the score of the source moved into 0..1.
Author decay is the discount of X's open-sourced home mixer (2023), with n counted over the whole feed;
diversity is maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.random import Generator

from penchant.feed.likeness import Space
from penchant.feed.limits import Limit
from penchant.feed.live_columns import LiveColumns
from penchant.feed.places import PINNED, Place, wish_at
from penchant.feed.types import Candidates, Request, Slot
from penchant.feed.weights import relevance
from penchant.kernel.arrays import F64, Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Diversity:
    """Maximal marginal relevance: ``weight`` is λ, 1 for relevance alone."""

    weight: float
    space: Space


@dataclass(frozen=True, slots=True, kw_only=True)
class Decay:
    """What the second, third ... item with the same label in ``column`` is worth."""

    column: str
    decay: float
    floor: float
    columns: LiveColumns

    def factor(self, above: int) -> float:
        """Return the factor of an item with so many of its label above."""
        return (1.0 - self.floor) * self.decay**above + self.floor


@dataclass(frozen=True, slots=True, kw_only=True)
class Arranged:
    """Lays out blocks as `Blocks` does, under ``limits``, with ``places`` of their own and preferences.

    It leaves nothing to chance: every propensity is 1.
    """

    name: str = "arranged"
    blocks: tuple[tuple[str, int], ...]  # (source, places in a row)
    backfill: tuple[str, ...] = ()
    limits: tuple[Limit, ...] = ()  # the most important first
    places: tuple[Place, ...] = ()
    diversity: Diversity | None = None
    decay: Decay | None = None

    def mix(self, request: Request, ranked: Mapping[str, Candidates], *, rng: Generator) -> tuple[Slot, ...]:
        """Return the slots, first position first."""
        layout = self.begin(request, ranked)
        slots: list[Slot] = []
        while len(slots) < request.k and (slot := layout.peek()) is not None:
            layout.place(slot)
            slots.append(slot)
        return tuple(slots)

    def begin(self, request: Request, ranked: Mapping[str, Candidates]) -> "_Arranging":
        """Return the layout with nothing placed."""
        return _Arranging(self, request, ranked)

    def wants_more(self, request: Request, ranked: Mapping[str, Candidates]) -> bool:
        """Return whether it would break a limit, or not do what a place asks, with these candidates."""
        layout = self.begin(request, ranked)
        for _ in range(request.k):
            slot = layout.peek()
            if slot is None or layout.forced or layout.unmet:
                return True
            layout.place(slot)
        return False

    def broken(self, request: Request, slots: Sequence[Slot]) -> dict[str, int]:
        """Return by each limit, and each place of its own, how many places break it."""
        found: dict[str, int] = {}
        standing = [(limit.name, limit.open(request)) for limit in self.limits]
        for at, slot in enumerate(slots):
            names = [name for name, state in standing if not state.allows(slot.item)]
            wish = wish_at(self.places, at)
            if wish is not None and not wish.granted(request, slot):
                names.append(wish.name)
            for name in names:
                found[name] = found.get(name, 0) + 1
            for _, state in standing:
                state.put(slot.item)
        return found

    def turn(self, at: int) -> str:
        """Return the source whose turn a place is."""
        turns = [source for source, take in self.blocks for _ in range(take)]
        return turns[at % len(turns)]


class _Hand:
    """One source's candidates, the best first as things stand."""

    __slots__ = ("_start", "at", "items", "relevance", "scores", "source")

    def __init__(self, candidates: Candidates) -> None:
        self.source = candidates.source
        self.items: list[int] = candidates.items.tolist()
        self.scores: list[float] = candidates.scores.tolist()
        self.relevance: F64 | None = None  # (m,), where there are preferences
        self.at: Rows = np.zeros(0, np.int32)  # (m,) which of all items each is
        self._start = 0  # everything before was placed

    def order(self, used: set[int], preferred: "_Preferred | None") -> Iterator[int]:
        """Yield positions of items that are not placed, the best first."""
        if preferred is not None and self.relevance is not None:
            values = preferred.values(self.relevance, self.at)
            positions: Sequence[int] = np.argsort(-values, kind="stable").tolist()
        else:
            while self._start < len(self.items) and self.items[self._start] in used:
                self._start += 1
            positions = range(self._start, len(self.items))
        return (position for position in positions if self.items[position] not in used)


@final
class _Arranging:
    """The layout of one request."""

    def __init__(self, mixer: Arranged, request: Request, ranked: Mapping[str, Candidates]) -> None:
        self._mixer = mixer
        self._request = request
        self._used: set[int] = set()
        self._hands = {name: _Hand(found) for name, found in ranked.items() if name != PINNED}
        self._backfill = [
            self._hands[name]
            for name in dict.fromkeys((*mixer.backfill, *self._hands))
            if name in self._hands
        ]
        self._standing = [limit.open(request) for limit in mixer.limits]
        self._pinned = _pinned(mixer.places, request, ranked.get(PINNED))
        self._preferred = _Preferred.of(mixer, request, list(self._hands.values()))
        self._at = 0
        self._next: Slot | None = None
        self.fixed = False
        self.forced = False
        self.unmet = False  # what the place wishes for was not there

    def peek(self) -> Slot | None:
        """Return what stands at the next place."""
        if self._next is None:
            self._next = self._find()
        return self._next

    def allows(self, items: Sequence[int]) -> list[bool]:
        """Return which items may stand at the next place."""
        return [self._allowed(item, len(self._standing)) for item in items]

    def place(self, slot: Slot) -> None:
        """Fill the next place."""
        self._used.add(slot.item)
        for state in self._standing:
            state.put(slot.item)
        if self._preferred is not None:
            self._preferred.put(slot.item)
        self._at += 1
        self._next = None

    def _find(self) -> Slot | None:
        self.fixed = self.forced = self.unmet = False
        pin = self._pinned.pop(self._at, None)
        if pin is not None and pin[0] not in self._used:
            self.fixed = True
            return self._slot(*pin, PINNED)
        wish = wish_at(self._mixer.places, self._at)
        source = (wish.source if wish is not None else None) or self._mixer.turn(self._at)
        own = self._hands.get(source)
        hands = self._backfill if own is None else [own, *(h for h in self._backfill if h is not own)]
        if wish is not None and wish.any_of:
            found = self._best(hands, len(self._standing), wish)
            if found is not None:
                self.fixed = True
                return found
            self.unmet = True
        for held in range(len(self._standing), -1, -1):
            found = self._best(hands, held, None)
            if found is not None:
                self.forced = held < len(self._standing)
                return found
        if not self._pinned:
            return None
        early = self._pinned.pop(min(self._pinned))  # rather at another place than a place empty
        return self._slot(*early, PINNED)

    def _best(self, hands: Sequence[_Hand], held: int, wish: Place | None) -> Slot | None:
        """Return the best item of the first hand that has one which the first ``held`` limits allow."""
        for hand in hands:
            for position in hand.order(self._used, self._preferred):
                item = hand.items[position]
                if (wish is None or wish.wants(self._request, item)) and self._allowed(item, held):
                    return self._slot(item, hand.scores[position], hand.source)
        return None

    def _allowed(self, item: int, held: int) -> bool:
        if any(row == item for row, _ in self._pinned.values()):
            return False  # its own place comes
        return all(state.allows(item) for state in self._standing[:held])

    def _slot(self, item: int, score: float, source: str) -> Slot:
        id_ = self._request.catalogue.id(item)
        return Slot(item=item, item_id=id_, source=source, score=score, propensity=1.0)


def _pinned(
    places: Sequence[Place], request: Request, found: Candidates | None
) -> dict[int, tuple[int, float]]:
    """Return place -> (row, score) of the pinned items that the feed may hold."""
    if found is None:
        return {}
    scores: dict[int, float] = dict(zip(found.items.tolist(), found.scores.tolist(), strict=True))
    rows = {place.at: request.catalogue.row(place.item) for place in places if place.item is not None}
    return {at: (row, scores[row]) for at, row in rows.items() if row in scores and at < request.k}


@final
class _Preferred:
    """What every item of the request is worth beside its relevance, as places fill up."""

    def __init__(self, mixer: Arranged, request: Request, items: Rows) -> None:
        self._weight = 1.0 if mixer.diversity is None else mixer.diversity.weight
        self._near = None if mixer.diversity is None else mixer.diversity.space.open(request, items)
        self._decay = mixer.decay
        self._factor = np.ones(len(items))
        self._labels = None
        if mixer.decay is not None:
            self._labels = mixer.decay.columns.labels(mixer.decay.column, request.now)
        if self._labels is not None:
            self._codes = self._labels.first_of(items)
        self._above: dict[int, int] = {}

    @classmethod
    def of(cls, mixer: Arranged, request: Request, hands: Sequence[_Hand]) -> "_Preferred | None":
        """Return the state over the items of all hands; None when nothing is preferred."""
        if (mixer.diversity is None and mixer.decay is None) or not hands:
            return None
        items, place = np.unique(np.concatenate([hand.items for hand in hands]), return_inverse=True)
        bounds = np.cumsum([0, *(len(hand.items) for hand in hands)])
        for hand, start, stop in zip(hands, bounds[:-1], bounds[1:], strict=True):
            hand.at = place[start:stop].astype(np.int32)
            hand.relevance = np.nan_to_num(relevance(np.array(hand.scores, np.float32)), nan=0.0)
        return cls(mixer, request, items.astype(np.int32))

    def values(self, base: F64, at: Rows) -> F64:
        """Return the value of items (m,) with relevance ``base``; ``at`` says which of all items they are."""
        values = base * self._factor[at]
        return (
            values if self._near is None else self._weight * values - (1 - self._weight) * self._near.best[at]
        )

    def put(self, item: int) -> None:
        """Place an item."""
        if self._near is not None:
            self._near.put(item)
        if self._decay is not None and self._labels is not None:
            for code in self._labels.of_row(item).tolist()[:1]:
                above = self._above[code] = self._above.get(code, 0) + 1
                self._factor[self._codes == code] = self._decay.factor(above)
