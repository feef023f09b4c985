"""Taking events out of a log for good, in one transaction, so that a kill leaves the log before or after.

New segments are whole and on disk before the manifest names them instead of the old ones; the same
transaction removes events of the tail, remembers which numbers are no longer there and keeps a note of what
is still to be done outside the log. Files that the manifest no longer names, and pages of SQLite that hold
what was deleted, go afterwards; the next `open` does it when a kill came first.
"""

import hashlib
import sqlite3
import uuid
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from penchant.data.deletion import Gone
from penchant.data.log_bulk import KEYS_FILE
from penchant.data.log_errors import storage_errors
from penchant.data.log_keys import keys_of, sorted_keys, write_run
from penchant.data.log_rows import PUTS, decode, encode, to_batch, to_events
from penchant.data.log_segments import NUMBER, Segment, SegmentWriter, read_segment
from penchant.data.log_store import Store, TailRow, head_of, segments_between, tail_rows
from penchant.kernel.arrays import I64
from penchant.kernel.folders import publish


class Rewritten(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file that was replaced: its name, rows and SHA-256 before, and after (None: nothing was left)."""

    file: str
    rows: int
    sha256: str
    new_file: str | None
    new_rows: int
    new_sha256: str | None


def rewrite(store: Store, gone: Gone, *, note: Callable[[list[Rewritten]], bytes]) -> None:
    """Take ``gone`` out of the log; the caller owns the files. The ``note`` is kept until `settle`."""
    folder = store.segments_folder
    with store.reading() as con:
        segments = segments_between(con, after=0, upto=head_of(con))
    replaced: list[tuple[Segment, Segment | None, I64]] = []
    for segment in segments:
        with storage_errors(folder):
            if _touched(folder, segment, gone):
                replaced.append(_without(folder, segment, gone))
    with storage_errors(folder):
        left = note([_told(folder, old, new) for old, new, _ in replaced])
    with store.writing() as con:
        for old, new, numbers in replaced:
            con.execute("DELETE FROM segments WHERE file = ?", (old.file,))
            if new is not None:
                con.execute("INSERT INTO segments VALUES (?, ?, ?, ?, ?)", _row(new))
            _remember(con, numbers.tolist())
        _clean_tail(con, folder, gone)
        con.execute("INSERT OR REPLACE INTO pending VALUES (1, ?)", (left,))


def pending(store: Store) -> bytes | None:
    """Return the note of a rewrite that is not finished, None when there is none.

    An empty note says that only the log's own cleaning is left.
    """
    with store.reading() as con:
        found = con.execute("SELECT note FROM pending").fetchone()
    return None if found is None else bytes(found[0])


def settle(store: Store) -> None:
    """End a rewrite: what was deleted leaves SQLite's pages and its journal, then the note goes."""
    with store.writing() as con:
        con.execute("UPDATE pending SET note = x''")
    store.compact()
    with store.writing() as con:
        con.execute("DELETE FROM pending")


def _touched(folder: Path, segment: Segment, gone: Gone) -> bool:
    columns = gone.looks_at(segment.kind)
    batches = read_segment(folder, segment, after=0, upto=segment.last, columns=columns)
    return any(gone.touches(segment.kind, batch) for batch in batches)


def _without(folder: Path, segment: Segment, gone: Gone) -> tuple[Segment, Segment | None, I64]:
    """Write what stays of a segment beside it; return both and the numbers that went."""
    name, removed = uuid.uuid4().hex, [np.zeros(0, np.int64)]
    with publish(folder / name) as draft, SegmentWriter(draft, segment.kind, numbered=True) as writer:
        for batch in read_segment(folder, segment, after=0, upto=segment.last):
            kept = gone.kept(segment.kind, batch)
            removed.append(np.setdiff1d(batch["number"].to_numpy(), kept["number"].to_numpy()))
            if kept.num_rows:
                writer.add(kept)
    written = writer.written
    new = None
    if written:
        ((file, rows),) = written
        new = Segment(
            file=f"{name}/{file}", kind=segment.kind, first=segment.first, last=segment.last, rows=rows
        )
    return segment, new, np.concatenate(removed)


def _clean_tail(con: sqlite3.Connection, folder: Path, gone: Gone) -> None:
    """Remove and change events of the tail; the ids of removed ones stay known, as sealed ones' do."""
    rows = tail_rows(con, after=0, upto=head_of(con), limit=-1)
    removed: list[TailRow] = []
    for kind, group in groupby(sorted(rows, key=lambda row: row[1]), key=lambda row: row[1]):
        own = list(group)
        batch = to_batch(kind, [decode(event) for _, _, _, event in own])
        numbers = pa.array([number for number, _, _, _ in own], pa.int64())
        kept = gone.kept(kind, batch.append_column(NUMBER, numbers))
        left = dict(zip(kept["number"].to_pylist(), to_events(kind, kept), strict=True))
        removed += [row for row in own if row[0] not in left]
        if kind in PUTS:
            changed = [
                (encode(left[row[0]]), row[0])
                for row in own
                if row[0] in left and encode(left[row[0]]) != row[3]
            ]
            con.executemany("UPDATE tail SET event = ? WHERE number = ?", changed)
    if not removed:
        return
    con.executemany("DELETE FROM tail WHERE number = ?", [(row[0],) for row in removed])
    _remember(con, [row[0] for row in removed])
    name = uuid.uuid4().hex
    with storage_errors(folder), publish(folder / name) as draft:
        write_run(draft / KEYS_FILE, [sorted_keys([keys_of([row[2] for row in removed])])])
    con.execute("INSERT INTO runs VALUES (?)", (f"{name}/{KEYS_FILE}",))


def _remember(con: sqlite3.Connection, numbers: Sequence[int]) -> None:
    con.executemany("INSERT INTO removed VALUES (?)", [(number,) for number in numbers])


def _row(segment: Segment) -> tuple[Any, ...]:
    return segment.file, segment.kind, segment.first, segment.last, segment.rows


def _told(folder: Path, old: Segment, new: Segment | None) -> Rewritten:
    return Rewritten(
        file=old.file,
        rows=old.rows,
        sha256=_sha256(folder / old.file),
        new_file=None if new is None else new.file,
        new_rows=0 if new is None else new.rows,
        new_sha256=None if new is None else _sha256(folder / new.file),
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
