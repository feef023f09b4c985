"""Who is to be forgotten, and what of an event stays when they are.

A person is a user id and every session that an event of that user names: what was done in these sessions
before the log-in is the person's too. Of the log goes what the person did, was served, is described by and
follows, and who follows the person. An item or an action stays, but the property that names its author goes
when that is the person.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

import msgspec
import pyarrow as pa

from penchant.data.eventlog import COLUMNS, ReadableLog
from penchant.data.events import anonymous
from penchant.data.log_rows import PROPERTIES
from penchant.kernel.arrow import ArrowBatch, ArrowColumn, pc

_NAMED_BY: dict[str, tuple[str, ...]] = {
    "user_put": ("user_id",),
    "served": ("user_id",),
    "acted": ("user_id",),
    "followed": ("user_id", "followed_id"),
    "offered": ("user_id",),
    "responded": ("user_id",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """The ids that are to be forgotten, and ``author``, the property of items that may hold one."""

    ids: frozenset[str]
    author: str
    values: ArrowColumn = field(repr=False, compare=False)

    @classmethod
    def of(cls, ids: Collection[str], *, author: str) -> "Gone":
        """Return the rule for exactly these ids."""
        return cls(ids=frozenset(ids), author=author, values=pa.array(sorted(ids), pa.string()))

    @classmethod
    def people(cls, log: ReadableLog, users: Collection[str], *, author: str) -> "Gone":
        """Return the rule for users and for the sessions that their events name."""
        own = cls.of(users, author=author)
        sessions: set[str] = set()
        for kind in ("acted", "responded"):
            for batch in log.scan(kind, columns=["user_id", "session_id"]):
                theirs = batch.filter(pc.is_in(batch["user_id"], value_set=own.values))
                sessions.update(pc.drop_null(theirs["session_id"]).to_pylist())
        return cls.of({*users, *map(anonymous, sessions)}, author=author)

    def looks_at(self, kind: str) -> tuple[str, ...]:
        """Return the columns of a kind that `kept` needs."""
        return _NAMED_BY.get(kind, ("properties",))

    def touches(self, kind: str, batch: ArrowBatch) -> bool:
        """Return whether `kept` would change anything of a batch."""
        return batch.num_rows > 0 and not self.kept(kind, batch).equals(batch)

    def kept(self, kind: str, batch: ArrowBatch) -> ArrowBatch:
        """Return what stays of a batch of events of one kind that has the columns `looks_at` names."""
        if kind not in _NAMED_BY:
            return self._without_author(batch)
        named = [pc.is_in(batch[name], value_set=self.values) for name in _NAMED_BY[kind]]
        theirs = named[0] if len(named) == 1 else pc.or_(*named)
        return batch.filter(pc.invert(theirs)) if pc.any(theirs).as_py() else batch

    def _without_author(self, batch: ArrowBatch) -> ArrowBatch:
        at = batch.schema.get_field_index("properties")
        changed = [self._nameless(text) for text in batch.column(at).to_pylist()]
        if changed == batch.column(at).to_pylist():
            return batch
        return batch.set_column(at, batch.schema.field(at), pa.array(changed, pa.string()))

    def _nameless(self, text: str | None) -> str | None:
        if text is None or self.author not in text:
            return text
        properties = PROPERTIES.decode(text)
        author = properties.get(self.author)
        if isinstance(author, list):
            left = [one for one in author if one not in self.ids]
            if len(left) == len(author):
                return text
            properties[self.author] = left
        elif author is None or str(author) not in self.ids:
            return text
        else:
            del properties[self.author]
        return msgspec.json.encode(properties).decode()

    def count(self, log: ReadableLog) -> dict[str, int]:
        """Return how many events of each kind name one of the ids."""
        found: Counter[str] = Counter()
        for kind in COLUMNS:
            for batch in log.scan(kind, columns=self.looks_at(kind)):
                left = self.kept(kind, batch)
                found[kind] += batch.num_rows - left.num_rows
                if kind not in _NAMED_BY and not left.equals(batch):
                    found[kind] += pc.sum(pc.not_equal(left["properties"], batch["properties"])).as_py()
        return {kind: n for kind, n in found.items() if n}


@dataclass(frozen=True, slots=True, kw_only=True)
class Remaining:
    """A log read as if somebody had never been in it."""

    log: ReadableLog
    gone: Gone

    def head(self) -> int:
        """Return the number of the last event of the log."""
        return self.log.head()

    def scan(
        self, kind: str, *, after: int = 0, upto: int | None = None, columns: Sequence[str] | None = None
    ) -> Iterator[ArrowBatch]:
        """Yield what stays; see `EventLog.scan`."""
        names = COLUMNS[kind].names if columns is None else list(columns)
        needed = list(dict.fromkeys([*names, *self.gone.looks_at(kind)]))
        for batch in self.log.scan(kind, after=after, upto=upto, columns=needed):
            kept = self.gone.kept(kind, batch)
            if kept.num_rows:
                yield kept.select([*names, "number"])
