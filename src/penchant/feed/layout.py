"""A feed laid out place by place: what stands next, for mixers built on each other."""

from collections.abc import Mapping, Sequence
from typing import Protocol, final, runtime_checkable

from penchant.feed.types import Candidates, Request, Slot


class Layout(Protocol):
    """One feed on its way. ``peek`` and ``place`` in turn fill it from the first place on."""

    @property
    def fixed(self) -> bool:
        """Return whether the next place must have what `peek` says."""
        ...

    @property
    def forced(self) -> bool:
        """Return whether what `peek` says breaks a limit, for want of anything that does not."""
        ...

    def peek(self) -> Slot | None:
        """Return what stands at the next place unless somebody places something else; None when dry."""
        ...

    def allows(self, items: Sequence[int]) -> list[bool]:
        """Return which items may stand at the next place."""
        ...

    def place(self, slot: Slot) -> None:
        """Fill the next place."""
        ...


@runtime_checkable
class Stepwise(Protocol):
    """A mixer that can lay out place by place."""

    def begin(self, request: Request, ranked: Mapping[str, Candidates]) -> Layout:
        """Return the layout with nothing placed."""
        ...


@runtime_checkable
class Limited(Protocol):
    """A mixer with limits that it breaks rather than leave a place empty."""

    def wants_more(self, request: Request, ranked: Mapping[str, Candidates]) -> bool:
        """Return whether it would break a limit with these candidates. Leaves nothing to chance."""
        ...

    def broken(self, request: Request, slots: Sequence[Slot]) -> dict[str, int]:
        """Return by each limit how many places of a feed break it."""
        ...


@final
class Queue:
    """The finished feed of a mixer as a layout without limits."""

    fixed = False
    forced = False

    def __init__(self, slots: Sequence[Slot]) -> None:
        self._slots = list(slots)

    def peek(self) -> Slot | None:
        """Return the first slot left."""
        return self._slots[0] if self._slots else None

    def allows(self, items: Sequence[int]) -> list[bool]:
        """Return that any may stand."""
        return [True] * len(items)

    def place(self, slot: Slot) -> None:
        """Leave the item out of what follows."""
        self._slots = [other for other in self._slots if other.item != slot.item]
