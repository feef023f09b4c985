"""The durable event log: a SQLite tail for what just happened, sealed Parquet segments for all before.

``log.sqlite`` (WAL, synchronous=FULL) holds the tail and the manifest, so one transaction decides what is
an event: files are whole and on disk before the manifest names them, and go only after it no longer does.
Readers take tail and manifest from one transaction. What a kill leaves behind are files that nobody names;
the next `open` sweeps them. Ids of tail events are a unique key in SQLite, ids of sealed ones are in the
sorted runs of `log_keys`.
"""

import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

import pyarrow as pa

from penchant.data.deletion import Gone
from penchant.data.eventlog import COLUMNS, Appended
from penchant.data.events import AnyEvent
from penchant.data.log_bulk import KEYS_FILE, Staged
from penchant.data.log_errors import storage_errors
from penchant.data.log_keys import KeyRuns, among, keys_of, open_run, sorted_keys, write_run
from penchant.data.log_recent import Recent
from penchant.data.log_rewrite import Rewritten, pending, rewrite, settle
from penchant.data.log_rows import checked, decode, id_key, kind_of, to_batch, to_events
from penchant.data.log_segments import NUMBER, Segment, SegmentWriter, read_segment
from penchant.data.log_store import (
    PATIENCE,
    GroupCommit,
    Row,
    Store,
    TailRow,
    add_files,
    head_of,
    removed_between,
    run_files,
    segments_between,
    tail_keys,
    tail_rows,
)
from penchant.kernel.arrow import ArrowBatch
from penchant.kernel.errors import Conflict, Defect, InputError
from penchant.kernel.folders import publish

_SCANNED = 10_000  # tail events in memory at a time while scanning
_SEALED = 50_000  # events sealed at a time; no more than a segment holds
_ATTEMPTS = 5


class SqliteLog:
    """An `EventLog` in a folder. Threads may share it; other processes open their own on the same folder."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._folder = store.segments_folder
        self._sealed_keys = KeyRuns(self._folder)  # used only under the write transaction
        self._group = GroupCommit(self._commit)
        self._recent = Recent()

    @classmethod
    def open(cls, folder: Path) -> "SqliteLog":
        """Open the log in ``folder``, made when it is not there, and sweep what a kill left behind.

        Raises:
            InputError: a newer version wrote it.
            PenchantError: its files are damaged or cannot be written.
        """
        log = cls(Store(folder))
        log._sweep()
        return log

    def close(self) -> None:
        """Release the files. Nothing is lost without it."""
        self._store.close()

    def append(self, events: Sequence[AnyEvent]) -> Appended:
        """Store events atomically; see `EventLog.append`.

        Raises:
            InputError: an event cannot be stored; the message names it.
        """
        if not events:
            return Appended(stored=0, known=0, head=self.head())
        read = [checked(event) for event in events]
        rows = [(kind_of(event), id_key(event.event_id), encoded) for encoded, event in read]
        done = self._group.add(rows)
        if not done.known:
            self._recent.add(done.head - done.stored + 1, [event for _, event in read])
        return done

    def _commit(self, batches: list[list[Row]]) -> list[Appended]:
        outcomes: list[Appended] = []
        with self._store.writing() as con:
            head = head_of(con)
            self._sealed_keys.follow(run_files(con))
            for rows in batches:
                before = head
                sealed = self._sealed_keys.know(keys_of([key for _, key, _ in rows])).tolist()
                for row, known in zip(rows, sealed, strict=True):
                    if not known:
                        insert = "INSERT INTO tail VALUES (?, ?, ?, ?) ON CONFLICT (key) DO NOTHING"
                        head += con.execute(insert, (head + 1, *row)).rowcount
                outcomes.append(Appended(stored=head - before, known=len(rows) - (head - before), head=head))
        return outcomes

    def append_bulk(self, kind: str, batches: Iterable[ArrowBatch]) -> Appended:
        """Store batches as sealed segments; see `EventLog.append_bulk`. Appends go on meanwhile.

        Memory stays within about 1 GB whatever the number of rows; the disk needs room for them three times.

        Raises:
            InputError: a batch is not as `conform` wants it.
            Conflict: another import is running.
        """
        _check_kind(kind)
        with self._store.owning_files(wait=PATIENCE) as mine:
            if not mine:
                raise Conflict("another import into this log is running.", fix="Wait until it has ended.")
            staging = self._folder / f".import-{uuid.uuid4().hex}"
            with storage_errors(staging):
                staging.mkdir()
            try:
                staged = Staged(staging, kind)
                try:
                    rows = staged.fill(batches)
                    return self._store_new(kind, staged, rows)
                finally:
                    staged.close()
            finally:
                shutil.rmtree(staging, ignore_errors=True)

    def _store_new(self, kind: str, staged: Staged, rows: int) -> Appended:
        """Publish the rows whose ids are new, again without those that were appended in the meantime."""
        for _ in range(_ATTEMPTS):
            known = KeyRuns(self._folder)
            with self._store.reading() as con:
                head = head_of(con)
                known.follow(run_files(con))
                known.include(keys_of(tail_keys(con, after=0)))
            name = uuid.uuid4().hex
            with storage_errors(self._folder), publish(self._folder / name) as draft:
                written = staged.write_new(draft, known.know)
            stored = sum(n for _, n in written)
            before = self._register(kind, name, written, seen=head) if stored else head
            if before is not None and stored:
                self._merge_runs()
                return Appended(stored=stored, known=rows - stored, head=before + stored)
            shutil.rmtree(self._folder / name, ignore_errors=True)
            if not stored:
                return Appended(stored=0, known=rows, head=head)
        raise Conflict(
            "the events of this import keep arriving by another way.", fix="Stop the other and try again."
        )

    def _register(self, kind: str, name: str, written: list[tuple[str, int]], *, seen: int) -> int | None:
        """Name imported segments in the manifest and return the head before them.

        Returns None, and changes nothing, when one of their events was appended after the head ``seen``.
        """
        run = open_run(self._folder / name / KEYS_FILE)
        with self._store.writing() as con:
            # Nobody else seals or imports while we own the files, so what came late is all in the tail.
            if among(run, keys_of(tail_keys(con, after=seen))).any():
                return None
            before = head_of(con)
            segments: list[Segment] = []
            last = before
            for file, rows in written:
                segments.append(
                    Segment(file=f"{name}/{file}", kind=kind, first=last + 1, last=last + rows, rows=rows)
                )
                last += rows
            add_files(con, segments, f"{name}/{KEYS_FILE}")
        return before

    def head(self) -> int:
        """Return the number of the last event, 0 when empty."""
        with self._store.reading() as con:
            return head_of(con)

    def tail(self, after: int, limit: int = 10_000) -> list[tuple[int, AnyEvent]]:
        """Return up to ``limit`` events numbered above ``after``, in order, sealed or not.

        None only when there are no more: numbers of removed events are passed over.
        """
        position, head = max(after, 0), 0
        while True:
            events, upto, head = self._window(position, limit)
            if events or upto >= head:
                return events
            position = upto

    def _window(self, after: int, limit: int) -> tuple[list[tuple[int, AnyEvent]], int, int]:
        """Return the events of the next ``limit`` numbers, the last of these numbers, and the head."""
        with self._store.reading() as con:
            head = head_of(con)
            upto = min(after + limit, head)
            gone = removed_between(con, after=after, upto=upto)
            own = None if gone else self._recent.between(after, upto)
            if own is not None:
                return own, upto, head
            rows = tail_rows(con, after=after, upto=upto, limit=-1)
            segments = segments_between(con, after=after, upto=upto) if len(rows) < upto - after else []
        events = [(number, decode(event)) for number, _, _, event in rows]
        with storage_errors(self._folder):
            for segment in segments:
                for batch in read_segment(self._folder, segment, after=after, upto=upto):
                    events += zip(batch["number"].to_pylist(), to_events(segment.kind, batch), strict=True)
        events.sort(key=_number)
        if len(events) != max(upto - after - gone, 0):
            raise Defect(f"of the events {after + 1} to {upto} the log gave {len(events)}, {gone} removed.")
        return events, upto, head

    def scan(
        self, kind: str, *, after: int = 0, upto: int | None = None, columns: Sequence[str] | None = None
    ) -> Iterator[ArrowBatch]:
        """Yield the events of a kind above ``after`` and at most ``upto``, in order; see `EventLog.scan`.

        What was there at the call is what comes, whatever is appended or sealed while the caller reads.
        """
        _check_kind(kind)
        head = self.head()
        names = COLUMNS[kind].names if columns is None else list(columns)
        return self._scan(kind, after, head if upto is None else min(upto, head), names)

    def _scan(self, kind: str, after: int, end: int, names: list[str]) -> Iterator[ArrowBatch]:
        position = after  # all events of the kind up to here were yielded, wherever they are by now
        missing = ""
        while position < end:
            with self._store.reading() as con:
                found = segments_between(con, after=position, upto=end, kind=kind, limit=1)
                until = min(end, found[0].first - 1) if found else end
                rows = tail_rows(con, after=position, upto=until, limit=_SCANNED, kind=kind)
            if rows:
                yield _numbered(kind, rows).select([*names, "number"])
                position = rows[-1][0] if len(rows) == _SCANNED else until
            elif found:
                file = found[0].file
                if missing != file and not (self._folder / file).exists():
                    missing = file  # rewritten since: the manifest names another by now
                    continue
                with storage_errors(self._folder):
                    yield from read_segment(self._folder, found[0], after=position, upto=end, columns=names)
                position = found[0].last
            else:
                position = end

    def seal(self, *, keep: int = 0) -> int:
        """Move all but the newest ``keep`` events of the tail into segments; return how many moved.

        Moves nothing while another process seals or imports: what it leaves in the tail is as safe there.
        """
        moved = 0
        with self._store.owning_files(wait=0.0) as mine:
            if not mine:
                return 0
            with self._store.reading() as con:
                newest = "SELECT number FROM tail ORDER BY number DESC LIMIT 1 OFFSET ?"
                found = con.execute(newest, (keep,)).fetchone()
            until: int = found[0] if found else 0
            while rows := self._oldest(until):
                self._seal(rows)
                moved += len(rows)
            if moved:
                self._merge_runs()
        return moved

    def rewrite(self, gone: Gone, *, note: Callable[[list[Rewritten]], bytes]) -> None:
        """Take somebody out of the log: all of it or, on an error or a kill, nothing.

        ``note`` is told of the files that are replaced; what it returns stays readable by `unfinished` until
        `settle`. Numbers of other events do not change.

        Raises:
            Conflict: an import is running.
        """
        with self._store.owning_files(wait=PATIENCE) as mine:
            if not mine:
                raise Conflict("an import into this log is running.", fix="Wait until it has ended.")
            rewrite(self._store, gone, note=note)

    def unfinished(self) -> bytes | None:
        """Return the note of a `rewrite` that is not settled, empty when only `settle` is left; or None."""
        return pending(self._store)

    def settle(self) -> None:
        """End a `rewrite`: delete the files it replaced and what SQLite still holds of the deleted."""
        if not self._sweep(wait=PATIENCE):
            raise Conflict("an import into this log is running.", fix="Wait until it has ended.")
        settle(self._store)

    def _oldest(self, until: int) -> list[TailRow]:
        """Return the oldest events of the tail that follow one another without an imported one between."""
        with self._store.reading() as con:
            rows = tail_rows(con, after=0, upto=until, limit=_SEALED)
        return [row for i, row in enumerate(rows) if row[0] == rows[0][0] + i]

    def _seal(self, rows: list[TailRow]) -> None:
        name, first, last = uuid.uuid4().hex, rows[0][0], rows[-1][0]
        segments: list[Segment] = []
        with storage_errors(self._folder), publish(self._folder / name) as draft:
            for kind, group in groupby(sorted(rows, key=_kind), key=_kind):
                with SegmentWriter(draft, kind, numbered=True) as segment:
                    segment.add(_numbered(kind, list(group)))
                ((file, n),) = segment.written
                segments.append(Segment(file=f"{name}/{file}", kind=kind, first=first, last=last, rows=n))
            write_run(draft / KEYS_FILE, [sorted_keys([keys_of([key for _, _, key, _ in rows])])])
        with self._store.writing() as con:
            add_files(con, segments, f"{name}/{KEYS_FILE}")
            con.execute("DELETE FROM tail WHERE number BETWEEN ? AND ?", (first, last))

    def _merge_runs(self) -> None:
        """Make one run of the small ones when there are many; called by the owner of the files."""
        runs = KeyRuns(self._folder)
        with self._store.reading() as con:
            runs.follow(run_files(con))
        small = dict(runs.small())
        if not small:
            return
        name = uuid.uuid4().hex
        with storage_errors(self._folder), publish(self._folder / name) as draft:
            write_run(draft / KEYS_FILE, [sorted_keys(list(small.values()))])
        with self._store.writing() as con:
            con.executemany("DELETE FROM runs WHERE file = ?", [(file,) for file in small])
            add_files(con, [], f"{name}/{KEYS_FILE}")
        for file in small:
            (self._folder / file).unlink(missing_ok=True)

    def _sweep(self, *, wait: float = 0.0) -> bool:
        """Delete files that the manifest does not name; False when somebody is making some just now."""
        with self._store.owning_files(wait=wait) as mine:
            if not mine:
                return False
            with self._store.reading() as con:
                named = {
                    *run_files(con),
                    *(s.file for s in segments_between(con, after=0, upto=head_of(con))),
                }
            with storage_errors(self._folder):
                for folder in self._folder.iterdir():
                    files = {f"{folder.name}/{path.name}": path for path in folder.iterdir()}
                    if not named.intersection(files):
                        shutil.rmtree(folder)
                    else:
                        for file in files.keys() - named:
                            files[file].unlink()
        return True


def _check_kind(kind: str) -> None:
    if kind not in COLUMNS:
        raise InputError(f"no kind of event is called {kind!r}.", fix=f"Known: {', '.join(COLUMNS)}.")


def _number(event: tuple[int, AnyEvent]) -> int:
    return event[0]


def _kind(row: TailRow) -> str:
    return row[1]


def _numbered(kind: str, rows: Sequence[TailRow]) -> ArrowBatch:
    """Return events of the tail, all of one kind, as columns with ``number`` last."""
    batch = to_batch(kind, [decode(event) for _, _, _, event in rows])
    return batch.append_column(NUMBER, pa.array([number for number, _, _, _ in rows], pa.int64()))
