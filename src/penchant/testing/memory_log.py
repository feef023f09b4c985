"""The event log as a list in memory: the readable oracle of the durable one, light enough for any test."""

import hashlib
import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from penchant.data.eventlog import COLUMNS, Appended
from penchant.data.events import AnyEvent
from penchant.data.log_rows import conform, decode, encode, kind_of, to_batch, to_events
from penchant.kernel.arrow import ArrowBatch


class MemoryLog:
    """An `EventLog` that forgets everything when it goes."""

    def __init__(self) -> None:
        self._events: list[AnyEvent] = []
        self._ids: set[str] = set()
        self._sealed = 0

    def append(self, events: Sequence[AnyEvent]) -> Appended:
        """Store the events whose id is new."""
        return self._add([decode(encode(event)) for event in events])

    def append_bulk(self, kind: str, batches: Iterable[ArrowBatch]) -> Appended:
        """Store the rows whose id, given or made from the row, is new."""
        events: list[AnyEvent] = []
        seen: Counter[str] = Counter()
        for batch in batches:
            rows = conform(kind, batch)
            ids = [row["event_id"] or _row_id(kind, row, seen) for row in rows.to_pylist()]
            events += to_events(kind, rows.set_column(0, COLUMNS[kind].field(0), pa.array(ids, pa.string())))
        return self._add(events)

    def head(self) -> int:
        """Return how many events there are."""
        return len(self._events)

    def tail(self, after: int, limit: int = 10_000) -> list[tuple[int, AnyEvent]]:
        """Return up to ``limit`` events numbered above ``after``, in order."""
        return list(enumerate(self._events[after : after + limit], after + 1))

    def scan(
        self, kind: str, *, after: int = 0, upto: int | None = None, columns: Sequence[str] | None = None
    ) -> Iterator[ArrowBatch]:
        """Yield one batch of all events of a kind numbered above ``after`` and at most ``upto``."""
        upto = self.head() if upto is None else upto
        chosen = [(n, e) for n, e in enumerate(self._events[:upto], 1) if n > after and kind_of(e) == kind]
        if chosen:
            batch = to_batch(kind, [event for _, event in chosen])
            numbers = pa.array([number for number, _ in chosen], pa.int64())
            whole = batch.append_column("number", numbers)
            yield whole if columns is None else whole.select([*columns, "number"])

    def seal(self, *, keep: int = 0) -> int:
        """Move nothing, but count as a log with segments would."""
        moved = max(len(self._events) - self._sealed - keep, 0)
        self._sealed += moved
        return moved

    def close(self) -> None:
        """Do nothing."""

    def _add(self, events: list[AnyEvent]) -> Appended:
        new: list[AnyEvent] = []
        for event in events:
            if event.event_id not in self._ids:
                self._ids.add(event.event_id)
                new.append(event)
        self._events += new
        return Appended(stored=len(new), known=len(events) - len(new), head=len(self._events))


def _row_id(kind: str, row: dict[str, Any], seen: "Counter[str]") -> str:
    """Return the MD5 of the row's fields, each after its length in bytes, and of the equal rows before it."""
    text = kind
    for name in COLUMNS[kind].names:
        value = row[name]
        if name == "event_id":
            continue
        if value is None:
            text += "|~"
            continue
        if isinstance(value, float):
            value = str(struct.unpack("<q", struct.pack("<d", value))[0])
        elif isinstance(value, bool):
            value = "true" if value else "false"
        elif isinstance(value, list):
            value = "".join("~" if v is None else f"{len(v.encode())}:{v}" for v in value)
        text += f"|{len(value.encode())}:{value}"
    digest = hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
    seen[digest] += 1
    return f"{digest}-{seen[digest] - 1}"
