"""How candidates of several sources become one feed.

These mixers leave nothing to chance, propensity 1, but for the places of a source that has a dealer.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from numpy.random import Generator

from penchant.feed.types import Candidates, Request, Slot
from penchant.kernel.errors import Defect


class Hand(Protocol):
    """Gives the places of one source, one after the other."""

    def next(self) -> tuple[int, str, float, float] | None:
        """Place an item: its row, source, score and propensity given the places above; None when dry."""
        ...


class Dealer(Protocol):
    """Gives a source's places by a rule of its own."""

    def hand(self, request: Request, candidates: Candidates, used: set[int], rng: Generator) -> Hand:
        """Return the hand of one request; ``used`` are the rows placed by any hand, as it goes."""
        ...


class _Hand:
    """One source's candidates in order, skipping what was placed by any source."""

    __slots__ = ("pairs", "source", "used")

    def __init__(self, candidates: Candidates, used: set[int]) -> None:
        self.source = candidates.source
        self.pairs = iter(zip(candidates.items.tolist(), candidates.scores.tolist(), strict=True))
        self.used = used

    def next(self) -> tuple[int, str, float, float] | None:
        """Return the best item that is not placed yet, and place it; None when dry."""
        used = self.used
        for item, score in self.pairs:
            if item not in used:
                used.add(item)
                return item, self.source, score, 1.0
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocks:
    """Places in turn, e.g. 3 for_you, 1 trending, 1 popular, repeated to the size asked.

    An item goes to the first place that reaches it, and later sources skip it. When the source whose turn it
    is runs dry, its place goes to the first source of ``backfill`` that is not, then to any other in the
    order given; so quotas are exact while no source is dry. A source named in ``dealers`` has its places
    dealt.
    """

    name: str = "blocks"
    blocks: tuple[tuple[str, int], ...]  # (source, places in a row)
    backfill: tuple[str, ...] = ()
    dealers: Mapping[str, Dealer] = field(default_factory=dict[str, Dealer])

    def __post_init__(self) -> None:
        if not self.blocks or any(take < 1 for _, take in self.blocks):
            raise Defect(f"the mixer '{self.name}' needs blocks of at least one place.")

    def mix(self, request: Request, ranked: Mapping[str, Candidates], *, rng: Generator) -> tuple[Slot, ...]:
        """Return the slots, first position first."""
        used: set[int] = set()
        hands: dict[str, Hand] = {
            name: self.dealers[name].hand(request, candidates, used, rng)
            if name in self.dealers
            else _Hand(candidates, used)
            for name, candidates in ranked.items()
        }
        order = [hands[name] for name in dict.fromkeys((*self.backfill, *hands)) if name in hands]
        slots: list[Slot] = []
        for source in self._turns(request.k):
            hand = hands.get(source)
            found = (hand.next() if hand is not None else None) or _first(order)
            if found is None:
                break
            slots.append(_slot(request, *found))
        return tuple(slots)

    def _turns(self, k: int) -> Iterator[str]:
        turns = [source for source, take in self.blocks for _ in range(take)]
        return (turns[place % len(turns)] for place in range(k))


@dataclass(frozen=True, slots=True, kw_only=True)
class Single:
    """One source after the other in the order given: the second begins where the first is dry."""

    name: str = "single"

    def mix(self, request: Request, ranked: Mapping[str, Candidates], *, rng: Generator) -> tuple[Slot, ...]:
        """Return the slots, first position first."""
        used: set[int] = set()
        hands = [_Hand(candidates, used) for candidates in ranked.values()]
        slots: list[Slot] = []
        while len(slots) < request.k and (found := _first(hands)) is not None:
            slots.append(_slot(request, *found))
        return tuple(slots)


def _first(hands: Sequence[Hand]) -> tuple[int, str, float, float] | None:
    for hand in hands:
        found = hand.next()
        if found is not None:
            return found
    return None


def _slot(request: Request, item: int, source: str, score: float, propensity: float) -> Slot:
    return Slot(
        item=item, item_id=request.catalogue.id(item), source=source, score=score, propensity=propensity
    )
