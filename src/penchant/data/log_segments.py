"""Sealed segments: Parquet files of one kind of event each, never changed once the manifest names them.

A segment of a bulk import holds consecutive numbers, which only its entry in the manifest knows; a segment
that the tail was sealed into has a column ``number``, because events of other kinds came between.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from penchant.data.eventlog import COLUMNS
from penchant.kernel.arrow import ArrowBatch

ROWS_IN_GROUP = 1 << 16
ROWS_IN_SEGMENT = 1 << 21
NUMBER = pa.field("number", pa.int64())


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """An entry of the manifest: ``file`` under the segments' folder and the range of numbers it answers for.

    The ranges of two segments of one kind never overlap.
    """

    file: str
    kind: str
    first: int
    last: int
    rows: int


class SegmentWriter:
    """Writes events of one kind into ``<kind>-00000.parquet`` and so on; ``written`` lists (name, rows)."""

    def __init__(self, folder: Path, kind: str, *, numbered: bool = False) -> None:
        self._folder = folder
        self._kind = kind
        self._schema = COLUMNS[kind].append(NUMBER) if numbered else COLUMNS[kind]
        self._file: Any = None
        self._waiting: list[ArrowBatch] = []
        self.written: list[tuple[str, int]] = []

    def __enter__(self) -> "SegmentWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._flush()
        if self._file is not None:
            self._file.close()

    def add(self, batch: ArrowBatch) -> None:
        """Write a batch; small ones wait until they fill a row group."""
        self._waiting.append(batch)
        if sum(b.num_rows for b in self._waiting) >= ROWS_IN_GROUP:
            self._flush()

    def _flush(self) -> None:
        table = pa.Table.from_batches(self._waiting, self._schema)
        self._waiting = []
        while table.num_rows:
            room = ROWS_IN_SEGMENT - (self.written[-1][1] if self.written else ROWS_IN_SEGMENT)
            if room <= 0:
                self._next()
                continue
            part, table = table.slice(0, room), table.slice(room)
            self._file.write_table(part, row_group_size=ROWS_IN_GROUP)
            name, rows = self.written[-1]
            self.written[-1] = (name, rows + part.num_rows)

    def _next(self) -> None:
        if self._file is not None:
            self._file.close()
        name = f"{self._kind}-{len(self.written):05d}.parquet"
        repeating: Any = [n for n in self._schema.names if n not in ("event_id", "number", "timestamp")]
        self._file = pq.ParquetWriter(
            self._folder / name,
            self._schema,
            compression="zstd",
            use_dictionary=repeating,
            column_encoding={"number": "DELTA_BINARY_PACKED"} if "number" in self._schema.names else None,
        )
        self.written.append((name, 0))


def read_segment(
    folder: Path, segment: Segment, *, after: int, upto: int, columns: Sequence[str] | None = None
) -> Iterator[ArrowBatch]:
    """Yield the events numbered above ``after`` and at most ``upto``: the columns, then ``number``."""
    names = list(COLUMNS[segment.kind].names if columns is None else columns)
    with pq.ParquetFile(folder / segment.file) as file:
        numbered = "number" in file.schema_arrow.names
        start = segment.first
        for group in range(file.num_row_groups):
            meta = file.metadata.row_group(group)
            first, last = _numbers_of(meta) if numbered else (start, start + meta.num_rows - 1)
            start += meta.num_rows
            if last <= after or first > upto:
                continue
            # A group is read even when no column is asked for: its number of rows counts.
            table = file.read_row_group(group, [*names, "number"] if numbered else names)
            if not numbered:
                table = table.append_column(NUMBER, pa.array(np.arange(first, last + 1)))
            low, high = np.searchsorted(table["number"].to_numpy(), [after, upto], side="right")
            yield from table.slice(low, high - low).combine_chunks().to_batches()


def _numbers_of(group: Any) -> tuple[int, int]:
    """Return the first and last number of a row group, from its statistics."""
    column = group.column(group.num_columns - 1)
    return column.statistics.min, column.statistics.max
