"""Places of a feed with a wish of their own: a pinned item, a source, a category."""

from collections.abc import Sequence
from dataclasses import dataclass

from penchant.data.events import Value
from penchant.feed.item_columns import labels_of
from penchant.feed.live import as_rows
from penchant.feed.sources import by_place
from penchant.feed.types import Candidates, Request, Slot

PINNED = "pinned"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Place ``at`` (0 is the first), and every ``every`` places from there.

    It has the ``item`` with this id, or something of ``source``, or an item whose ``column`` is one of
    ``any_of``, or the last two together.
    """

    at: int
    every: int | None = None
    item: str | None = None
    source: str | None = None
    column: str | None = None
    any_of: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """Return what the trace calls it."""
        if self.item is not None:
            return f"place {self.at + 1}: the item {self.item}"
        wanted = f"{self.column} {' or '.join(sorted(self.any_of))}" if self.any_of else self.source
        return f"place {self.at + 1}: {wanted}"

    def wants(self, request: Request, item: int) -> bool:
        """Return whether an item has what the place asks."""
        if self.column is None:
            return True
        value: Value = request.catalogue.property(item, self.column)
        return not self.any_of.isdisjoint(labels_of(value))

    def granted(self, request: Request, slot: Slot) -> bool:
        """Return whether a slot is what the place asks."""
        if self.item is not None:
            return slot.item_id == self.item
        return self.wants(request, slot.item) and self.source in (None, slot.source)


def wish_at(places: Sequence[Place], at: int) -> Place | None:
    """Return the first of ``places`` that a place (0 is the first) is, None when it is like any other."""
    for place in places:
        if at == place.at or (place.every and at > place.at and (at - place.at) % place.every == 0):
            return place
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnedSource:
    """The pinned items, to be judged by the rules like any other; unknown ones are left out."""

    name: str = PINNED
    items: tuple[str, ...]

    def fetch(self, request: Request, k: int) -> Candidates:
        """Return those that the catalogue has, whatever ``k`` is."""
        del k
        rows = (request.catalogue.row(id_) for id_ in self.items)
        return by_place(self.name, as_rows(row for row in rows if row >= 0))

    def why(self, request: Request, item: int) -> str:
        """Return that it is pinned."""
        del request, item
        return "pinned to this place"
