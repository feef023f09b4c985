"""The online projection: a snapshot plus the log's tail since, folded event by event.

All of it follows from the log alone: the same snapshot and the same events give the same state in every
worker, whatever was asked in between. Memory is bounded: each user keeps the newest ``max_events`` events
since the snapshot and the ``max_users`` users with the newest events are kept. What was dropped is counted.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable
from typing import Any, final

import numpy as np

from penchant.data.events import Acted, AnyEvent, Followed, ItemPut, Served, UserPut, Value, anonymous
from penchant.data.interactions import Interactions
from penchant.data.snapshot import Snapshot
from penchant.feed.item_columns import properties_of
from penchant.feed.showings import Showings
from penchant.feed.shown import Shown
from penchant.kernel.arrays import Rows, readonly
from penchant.kernel.ids import Vocab

_AUTHOR_MOST = 1000
_IDS_KEPT = 50_000  # ids and rows looked up once: what is often served is often named and counted


@final
class LiveCatalogue:
    """The snapshot's items, those put since (rows from ``len(base)`` on), and changed properties."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._base = snapshot.items
        self._size = len(snapshot.items)
        table = snapshot.item_table
        self._columns: dict[str, Any] = {
            name: table[name].combine_chunks() for name in table.column_names if name != "item_id"
        }
        self._ids: dict[int, str] = {}
        self._rows: dict[str, int] = {}
        self._new: list[str] = []
        self._new_rows: dict[str, int] = {}
        self._put: dict[int, dict[str, Value]] = {}
        self._put_rows: list[int] = []  # by put, the oldest first

    @property
    def base(self) -> Vocab:
        """Return the snapshot's items."""
        return self._base

    @property
    def changes(self) -> int:
        """Return how many puts there were since the snapshot."""
        return len(self._put_rows)

    def __len__(self) -> int:
        return self._size + len(self._new)

    def id(self, row: int) -> str:
        """Return the outside id of a row."""
        found = self._ids.get(row)
        if found is None:
            found = self._base.id(row) if row < self._size else self._new[row - self._size]
            if len(self._ids) < _IDS_KEPT:
                self._ids[row] = found
        return found

    def row(self, id_: str) -> int:
        """Return the row of an outside id, -1 when unknown."""
        found = self._rows.get(id_)
        if found is None:
            found = self._base.row(id_)
            if found < 0:
                return self._new_rows.get(id_, -1)
            if len(self._rows) < _IDS_KEPT:
                self._rows[id_] = found
        return found

    def property(self, row: int, name: str) -> Any:
        """Return one property of an item (None when missing)."""
        put = self._put.get(row)
        if put is not None:
            return put.get(name)
        column = self._columns.get(name)
        return None if column is None or row >= self._size else column[row].as_py()

    def was_put(self, row: int) -> bool:
        """Return whether an item was put since the snapshot."""
        return row in self._put

    def properties(self, row: int) -> dict[str, Value]:
        """Return all properties of an item that are not missing."""
        put = self._put.get(row)
        given = put if put is not None else {n: self.property(row, n) for n in self._columns}
        return {name: value for name, value in given.items() if value is not None}

    def described(self, row: int) -> bool:
        """Return whether anything is known of an item beside its id."""
        return bool(self.properties(row))

    def ensure(self, id_: str) -> int:
        """Return the row of ``id_``, a new one when it was unknown."""
        row = self.row(id_)
        if row < 0:
            row = len(self)
            self._new.append(id_)  # first, so that a reader never meets a row without id
            self._new_rows[id_] = row
        return row

    def put(self, event: ItemPut) -> None:
        """Take an item's properties: the latest put wins as a whole."""
        row = self.ensure(event.item_id)
        self._put[row] = dict(event.properties)
        self._put_rows.append(row)  # last, so that a reader who counts a put finds it

    def changed(self, since: int, upto: int) -> dict[int, dict[str, Value]]:
        """Return by row the properties of the items of the puts after ``since`` and up to ``upto``."""
        return {row: self._put[row] for row in self._put_rows[since:upto]}


class _Tail:
    """What one user did since the snapshot; ``rows`` etc. are parallel, oldest first."""

    __slots__ = ("events", "follows", "properties", "row", "served")

    def __init__(self, max_events: int) -> None:
        self.events: deque[tuple[int, float, int, float]] = deque(maxlen=max_events)
        self.follows: dict[str, bool] = {}
        self.properties: dict[str, Value] | None = None  # as put since the snapshot
        self.row = -1  # in the snapshot or past its end, when it acted
        self.served: Served | None = None


@final
class Live:
    """Histories, follows and catalogue as of event number ``head``. One thread folds, any number read.

    ``showings`` holds what users were shown up to the snapshot, where somebody asks for it; events of the
    types ``negative`` are no success of what was shown.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        *,
        max_users: int = 100_000,
        max_events: int = 500,
        author: str = "author",
        showings: Showings | None = None,
        negative: frozenset[str] = frozenset(),
    ) -> None:
        self.snapshot = snapshot
        self.catalogue = LiveCatalogue(snapshot)
        self.shown = Shown(snapshot.impressions)
        self.showings = showings
        self._negative = negative
        self.author = author
        self._authors: dict[str, list[int]] | None = None  # found when first asked for
        self.head = snapshot.head
        self.dropped_users = 0
        self._max_users = max_users
        self._max_events = max_events
        self._tails: OrderedDict[str, _Tail] = OrderedDict()
        self._strangers = 0  # users met since whom the snapshot does not know
        self._types: list[str] = list(snapshot.interactions.event_types)

    @property
    def event_types(self) -> tuple[str, ...]:
        """Return the snapshot's event types and those that appeared since."""
        return tuple(self._types)

    @property
    def live_users(self) -> int:
        """Return how many users have events since the snapshot."""
        return len(self._tails)

    def fold(self, events: Iterable[tuple[int, AnyEvent]]) -> Interactions:
        """Take numbered events, those at or below ``head`` skipped.

        Returns the interactions among them, for `Online` models: catalogue rows, user rows of the snapshot;
        whom it does not know has a row past its end, the same until the user is dropped.
        """
        acted: list[tuple[int, int, float, int, float]] = []
        seen: list[int] = []  # items of served feeds, counted together
        for number, event in events:
            if number <= self.head:
                continue
            match event:
                case Acted():
                    acted.append(self._act(event))
                case ItemPut():
                    self._put(event)
                case Followed():
                    self._tail(event.user_id).follows[event.followed_id] = event.active
                case Served():
                    seen += self._serve(event)
                case UserPut():
                    self._tail(event.user_id).properties = dict(event.properties)
                case _:
                    pass  # actions have a live state of their own
            self.head = number
        self.shown.served(as_rows(seen), len(self.catalogue))
        return _columns(acted, self.event_types)

    def user(self, user_id: str) -> int:
        """Return the user's row in the snapshot, -1 when it does not know the user."""
        return self.snapshot.users.row(user_id)

    def history(self, user_id: str, user: int) -> tuple[Interactions, bool]:
        """Return all that is known of a user, oldest first, and whether part is newer than the snapshot."""
        base = self.snapshot.history(user)
        tail = self._tails.get(user_id)
        if tail is None or not tail.events:
            return base, False
        rows = [(user, item, time, kind, value) for item, time, kind, value in tuple(tail.events)]
        joined = Interactions.joined(base, _columns(rows, self.event_types))
        late = np.diff(joined.timestamp) < 0
        return (joined.select(np.argsort(joined.timestamp, kind="stable")) if late.any() else joined), True

    def properties(self, user_id: str, user: int) -> dict[str, Value]:
        """Return what is known of a user besides what it did."""
        tail = self._tails.get(user_id)
        if tail is not None and tail.properties is not None:
            return tail.properties
        return properties_of(self.snapshot.user_table, user, without=("user_id",)) if user >= 0 else {}

    def put_since(self, user_id: str) -> dict[str, Value] | None:
        """Return what was last said of a user since the snapshot, None when nothing was."""
        tail = self._tails.get(user_id)
        return None if tail is None else tail.properties

    def follows(self, user_id: str, user: int) -> set[str]:
        """Return the ids of those whom the user follows now."""
        edges = self.snapshot.follows
        lo, hi = np.searchsorted(edges.follower, [user, user + 1]) if user >= 0 else (0, 0)
        ids = set(self.snapshot.users.ids(edges.followed[lo:hi]))
        tail = self._tails.get(user_id)
        if tail is not None:
            for other, active in tuple(tail.follows.items()):
                (ids.add if active else ids.discard)(other)
        return ids

    def by_author(self, author: str) -> list[int]:
        """Return the items of an author, the newest first, at most 1,000 of them."""
        if self._authors is None:
            self._authors = _by_author(self.catalogue, self.author)
        rows = self._authors.get(author, [])
        return rows[: -1 - _AUTHOR_MOST : -1]

    def last_served(self, user_id: str) -> Served | None:
        """Return the newest feed shown since the snapshot to a user with events since."""
        tail = self._tails.get(user_id)
        return None if tail is None else tail.served

    def _put(self, event: ItemPut) -> None:
        new = self.catalogue.row(event.item_id) < 0
        self.catalogue.put(event)
        author = event.properties.get(self.author)
        if new and author is not None and self._authors is not None:
            self._authors.setdefault(str(author), []).append(self.catalogue.row(event.item_id))

    def _serve(self, event: Served) -> list[int]:
        """Take a feed; return the known of its items."""
        row_of = self.catalogue.row
        rows = [row for slot in event.slots if (row := row_of(slot.item_id)) >= 0]
        if self.showings is not None:
            self.showings.add(event.user_id, event.event_id, event.timestamp, as_rows(rows))
        tail = self._tails.get(event.user_id)
        if tail is not None:
            tail.served = event
        return rows

    def _known_rows(self, item_ids: Iterable[str]) -> Rows:
        return as_rows(row for row in map(self.catalogue.row, item_ids) if row >= 0)

    def _act(self, event: Acted) -> tuple[int, int, float, int, float]:
        item = self.catalogue.ensure(event.item_id)
        self._show(event, item)
        if event.event_type not in self._types:
            self._types.append(event.event_type)
        kind = self._types.index(event.event_type)
        value = np.nan if event.event_value is None else event.event_value
        tail = self._tail(event.user_id)
        if event.session_id is not None and event.user_id != anonymous(event.session_id):
            self._join(tail, anonymous(event.session_id))
            if self.showings is not None:
                self.showings.join(event.user_id, anonymous(event.session_id))
        tail.events.append((item, event.timestamp, kind, value))
        return self._row(event.user_id, tail), item, event.timestamp, kind, value

    def _row(self, user_id: str, tail: _Tail) -> int:
        if tail.row < 0:
            tail.row = self.user(user_id)
        if tail.row < 0:
            tail.row = self.snapshot.n_users + self._strangers
            self._strangers += 1
        return tail.row

    def _show(self, event: Acted, item: int) -> None:
        """Count an action on something shown; a list that no feed of ours gave is counted as shown, too."""
        size = len(self.catalogue)
        followed = event.recommendation_id is not None or bool(event.impression)
        if followed and event.event_type not in self._negative:
            self.shown.acted(item, size)
        if not event.impression:
            return
        rows = self._known_rows(event.impression)
        if event.recommendation_id is None:
            self.shown.served(rows, size)
        if self.showings is not None:
            name = event.recommendation_id or event.event_id
            self.showings.add(event.user_id, name, event.timestamp, rows)

    def _join(self, tail: _Tail, stranger: str) -> None:
        """Give a user what it did in this session before it was known by name."""
        before = self._tails.pop(stranger, None)
        if before is not None:
            ordered = sorted((*tail.events, *before.events), key=lambda event: event[1])
            tail.events = deque(ordered, maxlen=self._max_events)

    def _tail(self, user_id: str) -> _Tail:
        """Return a user's tail, made when new; of too many users the one idle longest goes."""
        tail = self._tails.get(user_id)
        if tail is None:
            tail = self._tails[user_id] = _Tail(self._max_events)
            if len(self._tails) > self._max_users:
                self._tails.popitem(last=False)
                self.dropped_users += 1
        else:
            self._tails.move_to_end(user_id)
        return tail


def _by_author(catalogue: LiveCatalogue, column: str) -> dict[str, list[int]]:
    """Return author -> catalogue rows, oldest first: by ``creation_timestamp``, then as they were put."""
    found: dict[str, list[tuple[float, int]]] = {}
    for row in range(len(catalogue)):
        author = catalogue.property(row, column)
        if author is not None:
            made = catalogue.property(row, "creation_timestamp")
            time = float(made) if isinstance(made, int | float) else 0.0
            found.setdefault(str(author), []).append((time, row))
    return {author: [row for _, row in sorted(rows)] for author, rows in found.items()}


def _columns(rows: list[tuple[int, int, float, int, float]], event_types: tuple[str, ...]) -> Interactions:
    user, item, time, kind, value = zip(*rows, strict=True) if rows else ((), (), (), (), ())
    return Interactions.of(
        user=user, item=item, timestamp=time, event_type=kind, value=value, event_types=event_types
    )


def as_rows(rows: Iterable[int]) -> Rows:
    """Return row numbers as a read-only int32 array."""
    return readonly(np.fromiter(rows, np.int32))
