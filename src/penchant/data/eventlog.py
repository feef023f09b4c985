"""The contract of the event log: durable, append-only, idempotent, the only way in and the only way round."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from penchant.data.events import AnyEvent
from penchant.kernel.arrow import ArrowBatch

_ID = pa.string()
_TIME = pa.float64()

COLUMNS: dict[str, Any] = {
    "item_put": pa.schema(
        [("event_id", _ID), ("timestamp", _TIME), ("item_id", _ID), ("properties", pa.string())]
    ),
    "user_put": pa.schema(
        [("event_id", _ID), ("timestamp", _TIME), ("user_id", _ID), ("properties", pa.string())]
    ),
    "followed": pa.schema(
        [
            ("event_id", _ID),
            ("timestamp", _TIME),
            ("user_id", _ID),
            ("followed_id", _ID),
            ("active", pa.bool_()),
        ]
    ),
    "served": pa.schema(
        [
            ("event_id", _ID),
            ("timestamp", _TIME),
            ("user_id", _ID),
            ("feed", _ID),
            ("model_version", _ID),
            ("slots", pa.string()),  # JSON list of ServedSlot
        ]
    ),
    "acted": pa.schema(
        [
            ("event_id", _ID),
            ("timestamp", _TIME),
            ("user_id", _ID),
            ("item_id", _ID),
            ("event_type", _ID),
            ("event_value", pa.float64()),
            ("impression", pa.list_(pa.string())),
            ("recommendation_id", _ID),
            ("session_id", _ID),
            ("properties", pa.string()),  # JSON object or null
        ]
    ),
    "action_put": pa.schema(
        [("event_id", _ID), ("timestamp", _TIME), ("action_id", _ID), ("properties", pa.string())]
    ),
    "offered": pa.schema(
        [
            ("event_id", _ID),
            ("timestamp", _TIME),
            ("user_id", _ID),
            ("feed", _ID),
            ("model_version", _ID),
            ("slots", pa.string()),  # as of served
        ]
    ),
    "responded": pa.schema(
        [
            ("event_id", _ID),
            ("timestamp", _TIME),
            ("user_id", _ID),
            ("action_id", _ID),
            ("event_type", _ID),
            ("impression", pa.list_(pa.string())),
            ("recommendation_id", _ID),
            ("session_id", _ID),
            ("properties", pa.string()),  # JSON object or null
        ]
    ),
}
"""The columns of each kind of event as a table, in bulk import, in sealed segments and in `scan`.

``properties`` is a JSON object as text: columns that nobody declared survive unchanged, and types are decided
once, over all rows, when a snapshot is made.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Appended:
    """What an append did: ``stored`` new events, ``known`` ones skipped, and the ``head`` after it."""

    stored: int
    known: int
    head: int


class ReadableLog(Protocol):
    """What a snapshot is made from."""

    def head(self) -> int:
        """Return the number of the last event, 0 when empty."""
        ...

    def scan(
        self, kind: str, *, after: int = 0, upto: int | None = None, columns: Sequence[str] | None = None
    ) -> Iterator[ArrowBatch]:
        """Yield all events of a kind numbered above ``after`` and at most ``upto``, in order.

        A batch has `COLUMNS` and ``number`` int64.

        ``columns`` limits the `COLUMNS` that are read; ``number`` always comes last.
        """
        ...


class EventLog(ReadableLog, Protocol):
    """Events in the order they were acknowledged, numbered 1, 2, 3 ... without gap or duplicate.

    Several processes may hold the same log at once. What `append` or `append_bulk` returned from is on disk.
    """

    def append(self, events: Sequence[AnyEvent]) -> Appended:
        """Store events atomically: all or, on an error, none.

        Raises:
            Conflict: the log stayed locked by another process for too long.
            PenchantError: the disk is full or failing; nothing of the batch was stored.
        """
        ...

    def append_bulk(self, kind: str, batches: Iterable[ArrowBatch]) -> Appended:
        """Store pyarrow RecordBatches with the `COLUMNS` of ``kind`` as sealed segments, in bounded memory.

        Atomic like `append`. A null ``event_id`` is replaced by a digest of the row and of how many equal
        rows came before it in this call, so importing the same file again stores nothing.
        """
        ...

    def tail(self, after: int, limit: int = 10_000) -> list[tuple[int, AnyEvent]]:
        """Return up to ``limit`` events numbered above ``after``, in order; none only when none are left.

        Events that were taken out of the log for good leave their numbers unused.
        """
        ...

    def seal(self, *, keep: int = 0) -> int:
        """Move all but the newest ``keep`` events of the tail into segments; return how many moved."""
        ...

    def close(self) -> None:
        """Release the files. Nothing is lost without it."""
        ...


LOG_FILE = "log.sqlite"
SEGMENTS_FOLDER = "segments"


def log_files(folder: Path) -> tuple[Path, Path]:
    """Return where the tail's SQLite file and the folder of sealed segments are, under the log's folder."""
    return folder / LOG_FILE, folder / SEGMENTS_FOLDER
