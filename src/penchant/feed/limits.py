"""What a feed may hold at most: so many of a category or an author, one of near-duplicate items."""

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, final

import numpy as np

from penchant.feed.likeness import Space
from penchant.feed.live import Live, as_rows
from penchant.feed.live_columns import LiveColumns
from penchant.feed.types import Request
from penchant.kernel.arrays import I64, readonly

_WORDS = re.compile(r"\w+")
_NONE: tuple[int, ...] = ()


class Standing(Protocol):
    """A limit during one request, as items are placed one after the other."""

    def allows(self, item: int) -> bool:
        """Return whether an item may stand at the next place."""
        ...

    def put(self, item: int) -> None:
        """Place an item."""
        ...


class Limit(Protocol):
    """Restricts what may stand together."""

    @property
    def name(self) -> str:
        """Return what the trace calls it."""
        ...

    def open(self, request: Request) -> Standing:
        """Return the limit with nothing placed."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Cap:
    """At most ``most`` items with the same label in a ``column`` among any ``within`` places in a row.

    Without ``within`` among all places. An item without one is not limited; one with several labels
    counts for each.
    """

    column: str
    most: int
    within: int | None
    columns: LiveColumns

    @property
    def name(self) -> str:
        """Return the property and the number."""
        among = "" if self.within is None else f" in {self.within}"
        return f"at most {self.most} of a {self.column}{among}"

    def open(self, request: Request) -> Standing:
        """Return the cap with nothing placed."""
        return _Capped(self, request)


@final
class _Capped:
    def __init__(self, cap: Cap, request: Request) -> None:
        self._labels = cap.columns.labels(cap.column, request.now)
        self._most = cap.most
        self._before = None if cap.within is None else cap.within - 1  # places that count beside the next
        self._window: deque[tuple[int, ...]] = deque()
        self._counts: dict[int, int] = {}
        self._known: dict[int, tuple[int, ...]] = {}

    def allows(self, item: int) -> bool:
        counts, most = self._counts, self._most
        return all(counts.get(code, 0) < most for code in self._codes(item))

    def put(self, item: int) -> None:
        codes = self._codes(item)
        for code in codes:
            self._counts[code] = self._counts.get(code, 0) + 1
        self._window.append(codes)
        if self._before is not None and len(self._window) > self._before:
            for code in self._window.popleft():
                self._counts[code] -= 1

    def _codes(self, item: int) -> tuple[int, ...]:
        found = self._known.get(item)
        if found is None:
            codes = _NONE if self._labels is None else tuple(set(self._labels.of_row(item).tolist()))
            found = self._known[item] = codes
        return found


@final
class TextGroups:
    """Which items say the same: their texts are equal but for case, punctuation and spaces.

    Found once for the items of a snapshot, on demand for those put since.
    """

    def __init__(self, live: Live, properties: Sequence[str]) -> None:
        self._catalogue = live.catalogue
        self._properties = tuple(properties)
        table = live.snapshot.item_table
        columns = [
            table[name].to_pylist() if name in table.column_names else [None] * table.num_rows
            for name in self._properties
        ]
        self._keys: I64 = readonly(
            np.fromiter(map(_key, zip(*columns, strict=True)), np.int64, table.num_rows)
        )

    def key(self, item: int) -> int:
        """Return a number that is equal for items that say the same, 0 for one that says nothing."""
        if item < len(self._keys) and not self._catalogue.was_put(item):
            return int(self._keys[item])
        return _key([self._catalogue.property(item, name) for name in self._properties])


def _key(texts: Sequence[object]) -> int:
    words = " ".join(" ".join(_WORDS.findall(str(text).casefold())) for text in texts if text is not None)
    return hash(words) if words.strip() else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicates:
    """One of several items that say the same, or whose similarity is at least ``at_least``."""

    name: str = "no near-duplicates"
    groups: TextGroups | None
    space: Space | None
    at_least: float = 1.0

    def open(self, request: Request) -> Standing:
        """Return the limit with nothing placed."""
        return _Different(self, request)


@final
@dataclass(slots=True)
class _Different:
    limit: Duplicates
    request: Request
    keys: set[int] = field(default_factory=set[int])
    placed: list[int] = field(default_factory=list[int])
    known: dict[int, float] = field(default_factory=dict[int, float])  # largest similarity so far, of `seen`
    seen: dict[int, int] = field(default_factory=dict[int, int])  # placed items that were compared with

    def allows(self, item: int) -> bool:
        groups, space = self.limit.groups, self.limit.space
        if groups is not None and groups.key(item) in self.keys:
            return False
        return space is None or self._nearest(space, item) < self.limit.at_least

    def put(self, item: int) -> None:
        if self.limit.groups is not None:
            key = self.limit.groups.key(item)
            if key != 0:
                self.keys.add(key)
        self.placed.append(item)

    def _nearest(self, space: Space, item: int) -> float:
        compared = self.seen.get(item, 0)
        if compared < len(self.placed):
            found = space.similarities(self.request, item, as_rows(self.placed[compared:]))
            self.known[item] = max(self.known.get(item, -1.0), float(found.max()))
            self.seen[item] = len(self.placed)
        return self.known.get(item, -1.0)
