"""Bulk import in bounded memory: rows wait on disk while DuckDB orders their keys, spilling where it must.

A row without an event id gets one made of what it says: the MD5 of its fields and how many equal rows came
before it in the same import. Two purchases that look alike stay two; the same file imported again, or a
longer file that begins with it, finds its rows known.
"""

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from penchant.data.eventlog import COLUMNS
from penchant.data.log_errors import storage_errors
from penchant.data.log_keys import Keys, keys_of, write_run
from penchant.data.log_rows import conform
from penchant.data.log_segments import SegmentWriter
from penchant.kernel.arrays import Bools, Rows
from penchant.kernel.arrow import ArrowBatch, ArrowColumn, pc

KEYS_FILE = "keys"
_MEMORY = "600MB"
_ROWS = 1 << 18  # handed to DuckDB at a time

_ORDERED_KEYS = """
SELECT unhex(md5(CASE WHEN given THEN id ELSE id || '-' || repeat END)) AS key, pos, repeat
FROM (
    SELECT pos, given, id,
        CASE WHEN given THEN 0 ELSE row_number() OVER (PARTITION BY given, id ORDER BY pos) - 1 END AS repeat
    FROM incoming
)
ORDER BY key, pos
"""


class Staged:
    """The rows of one import, waiting in ``folder`` to be told apart from what the log knows."""

    def __init__(self, folder: Path, kind: str) -> None:
        self._folder = folder
        self._kind = kind
        self._rows = 0
        self._con = duckdb.connect(str(folder / "keys.duckdb"))
        self._con.execute("SET memory_limit = ?", [_MEMORY])
        self._con.execute("SET temp_directory = ?", [str(folder / "spill")])
        self._con.execute("CREATE TABLE incoming (pos BIGINT, given BOOLEAN, id VARCHAR)")

    def close(self) -> None:
        """Release the files; whoever made the folder removes it."""
        self._con.close()

    def fill(self, batches: Iterable[ArrowBatch]) -> int:
        """Take in all rows, checked, in their order; return how many there are.

        A row waits with its own id, or with its digest when it has none, and whether the id was its own.
        """
        schema = COLUMNS[self._kind].append(pa.field("given", pa.bool_()))
        with self._waiting(schema) as waiting:
            for batch in _conformed(self._kind, batches):
                with storage_errors(self._folder):
                    given = pc.is_valid(batch["event_id"])
                    ids = batch["event_id"]
                    if ids.null_count:
                        ids = pc.if_else(given, ids, self._digests(batch))
                    waiting.write_batch(pa.record_batch([ids, *batch.columns[1:], given], schema=schema))
                    self._note(given, ids)
        return self._rows

    @contextmanager
    def _waiting(self, schema: Any) -> Generator[Any]:
        """Open the file where rows wait; opening and closing write to the disk, too."""
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        with storage_errors(self._folder):
            file = pa.OSFile(str(self._folder / "rows.arrow"), "wb")
            waiting = pa.ipc.new_file(file, schema, options=options)
        try:
            yield waiting
        finally:
            with storage_errors(self._folder), file:
                waiting.close()

    def _note(self, given: ArrowColumn, ids: ArrowColumn) -> None:
        places = np.arange(self._rows, self._rows + len(ids))
        self._con.register("batch", pa.table({"pos": places, "given": given, "id": ids}))
        self._con.execute("INSERT INTO incoming SELECT pos, given, id FROM batch")
        self._con.unregister("batch")
        self._rows += len(ids)

    def _digests(self, batch: ArrowBatch) -> ArrowColumn:
        """Return the MD5 of each row: its kind, then each field after its length in bytes, '~' for none."""
        names = [name for name in batch.schema.names if name != "event_id"]
        self._con.register("batch", pa.table([_text(batch[name]) for name in names], names=names))
        fields = [f"""coalesce('|' || strlen("{name}") || ':' || "{name}", '|~')""" for name in names]
        query = f"SELECT md5('{self._kind}' || {' || '.join(fields)}) AS id FROM batch"
        digests = self._con.sql(query).to_arrow_table()["id"].cast(pa.string()).combine_chunks()
        self._con.unregister("batch")
        return digests

    def write_new(self, folder: Path, known: Callable[[Keys], Bools]) -> list[tuple[str, int]]:
        """Write segments of the rows whose key is new, and their run of keys; return (file, rows) of each."""
        keep = np.zeros(self._rows, np.bool_)
        repeats = np.zeros(self._rows, np.int32)  # touched, so in memory, only where a row was repeated
        write_run(folder / KEYS_FILE, self._new_keys(known, keep, repeats))
        base = 0
        with (
            pa.OSFile(str(self._folder / "rows.arrow"), "rb") as file,
            pa.ipc.open_file(file) as waiting,
            SegmentWriter(folder, self._kind) as segments,
        ):
            for i in range(waiting.num_record_batches):
                batch = waiting.get_batch(i)
                kept = keep[base : base + batch.num_rows]
                rows = batch.append_column("repeat", pa.array(repeats[base : base + batch.num_rows]))
                base += batch.num_rows
                if kept.any():
                    segments.add(_identified(rows if kept.all() else rows.filter(pa.array(kept))))
        return segments.written

    def _new_keys(self, known: Callable[[Keys], Bools], keep: Bools, repeats: Rows) -> Iterator[Keys]:
        """Yield the new keys in ascending order, marking where their rows stand."""
        last = b""
        for batch in self._con.sql(_ORDERED_KEYS).to_arrow_reader(1 << 20):
            raw = _raw(batch["key"])
            high, low = keys_of(last + raw)
            differs = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
            keys = keys_of(raw)
            fresh = (differs if last else np.concatenate([[True], differs])) & ~known(keys)
            place, repeat = batch["pos"].to_numpy(), batch["repeat"].to_numpy()
            keep[place[fresh]] = True
            again = np.flatnonzero(repeat)
            repeats[place[again]] = repeat[again]
            yield keys[0][fresh], keys[1][fresh]
            last = raw[-16:]


def _conformed(kind: str, batches: Iterable[ArrowBatch]) -> Iterator[ArrowBatch]:
    """Yield the rows checked, in batches large enough to be worth a query and small enough to hold."""
    waiting: list[ArrowBatch] = []
    for batch in batches:
        for start in range(0, batch.num_rows, _ROWS):
            waiting.append(conform(kind, batch.slice(start, _ROWS)))
            if sum(b.num_rows for b in waiting) >= _ROWS:
                yield from _joined(waiting)
                waiting = []
    if waiting:
        yield from _joined(waiting)


def _joined(batches: list[ArrowBatch]) -> list[ArrowBatch]:
    return pa.Table.from_batches(batches).combine_chunks().to_batches()


def _text(column: ArrowColumn) -> ArrowColumn:
    """Return a column as text that tells different values apart: a float as its bits, a list with lengths."""
    if pa.types.is_float64(column.type):
        return column.view(pa.int64()).cast(pa.string())
    if pa.types.is_list(column.type):
        sizes = pc.binary_length(column.values).cast(pa.string())
        parts = pc.fill_null(pc.binary_join_element_wise(sizes, column.values, ":"), "~")
        joined = pc.binary_join(pa.ListArray.from_arrays(column.offsets, parts), "")
        return pc.if_else(column.is_valid(), joined, pa.scalar(None, pa.string()))
    return column.cast(pa.string())


def _raw(keys: ArrowColumn) -> bytes:
    """Return the bytes of a column of 16-byte keys, end to end."""
    fixed = keys.cast(pa.binary(16))
    return fixed.buffers()[1].slice(fixed.offset * 16, len(fixed) * 16).to_pybytes()


def _identified(batch: ArrowBatch) -> ArrowBatch:
    """Return the rows as events: a digest becomes an id by the count of equal rows before."""
    given, repeat = batch["given"], batch["repeat"].cast(pa.string())
    made = pc.binary_join_element_wise(batch["event_id"], repeat, "-")
    events = batch.drop_columns(["given", "repeat"])
    return events.set_column(0, events.schema.field(0), pc.if_else(given, batch["event_id"], made))
