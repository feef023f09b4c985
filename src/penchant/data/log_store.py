"""The SQLite file of the event log: the tail, the manifest of sealed files, and who may write when."""

import sqlite3
import threading
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from penchant.data.eventlog import Appended, log_files
from penchant.data.log_errors import storage_errors
from penchant.data.log_segments import Segment
from penchant.kernel.errors import Conflict, Defect, InputError, PenchantError

FORMAT = 3  # 3: actions, their offers and responses
PATIENCE = 30.0  # seconds to wait for another process
_JOURNAL = 64 << 20  # bytes of write-ahead log kept for reuse

Row: TypeAlias = tuple[str, bytes, bytes]
"""An event on its way in: its kind, the key of its id, its JSON."""
TailRow: TypeAlias = tuple[int, str, bytes, bytes]
"""An event of the tail: its number, then as `Row`."""

_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS tail (
    number INTEGER PRIMARY KEY, kind TEXT NOT NULL, key BLOB NOT NULL UNIQUE, event BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS segments (
    file TEXT PRIMARY KEY, kind TEXT NOT NULL,
    first INTEGER NOT NULL, last INTEGER NOT NULL, rows INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS segments_by_last ON segments (last);
CREATE TABLE IF NOT EXISTS runs (file TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS removed (number INTEGER PRIMARY KEY);
CREATE TABLE IF NOT EXISTS pending (only INTEGER PRIMARY KEY CHECK (only = 1), note BLOB NOT NULL);
PRAGMA user_version = {FORMAT};
"""


class Store:
    """Two connections to the log's SQLite file, each behind a lock so that threads may share them."""

    def __init__(self, folder: Path) -> None:
        self.file, self.segments_folder = log_files(folder)
        self._locking_file = folder / "files.lock"
        with storage_errors(self.file):
            self.segments_folder.mkdir(parents=True, exist_ok=True)
            self.writer = self._connect()
            self.reader = self._connect()
            self.writer.execute("PRAGMA busy_timeout = 0")  # `_begin_writing` waits instead
        self._writing, self._reading = threading.Lock(), threading.Lock()

    def _connect(self) -> sqlite3.Connection:
        con = sqlite3.connect(self.file, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
        try:
            self._prepare(con)
        except BaseException:
            con.close()
            raise
        return con

    def _prepare(self, con: sqlite3.Connection) -> None:
        version = con.execute("PRAGMA user_version").fetchone()[0]
        if version > FORMAT:
            raise InputError(
                f"event log format {version}, this version reads {FORMAT}.",
                where=str(self.file),
                fix="Upgrade penchant.",
            )
        _use_wal(con)
        con.execute("PRAGMA synchronous = FULL")
        con.execute(f"PRAGMA journal_size_limit = {_JOURNAL}")
        if version < FORMAT:
            con.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")

    def close(self) -> None:
        """Close both connections; closing twice is fine."""
        with self._writing, self._reading:
            self.writer.close()
            self.reader.close()

    @contextmanager
    def writing(self) -> Generator[sqlite3.Connection]:
        """Hold the only write transaction there is; it is on disk when the block ends without error."""
        with storage_errors(self.file), self._writing:
            _begin_writing(self.writer)
            with _transaction(self.writer):
                yield self.writer

    @contextmanager
    def reading(self) -> Generator[sqlite3.Connection]:
        """Hold a read transaction: tail and manifest as of one moment."""
        with storage_errors(self.file), self._reading:
            self.reader.execute("BEGIN")
            with _transaction(self.reader):
                yield self.reader

    def compact(self) -> None:
        """Write the file anew without free pages, and empty its journal: nothing deleted is left in either.

        Raises:
            Conflict: another process reads or writes all the time.
        """
        with storage_errors(self.file), self._writing:
            until = time.monotonic() + PATIENCE
            while True:
                try:
                    self.writer.execute("VACUUM")
                    busy, _, _ = self.writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                except sqlite3.OperationalError as error:
                    if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                        raise
                    busy = 1
                if not busy:
                    return
                if time.monotonic() > until:
                    raise Conflict("another process holds the log.", where=str(self.file), fix="Try again.")
                time.sleep(0.05)

    @contextmanager
    def owning_files(self, *, wait: float) -> Generator[bool]:
        """Hold the right to make and delete files beside the log, or yield False after ``wait`` seconds.

        The lock is SQLite's on an empty file, so a killed process lets go of it on every system.
        """
        with storage_errors(self._locking_file):
            con = sqlite3.connect(self._locking_file, timeout=wait, isolation_level=None)
        try:
            yield _locked(con, self._locking_file)
        finally:
            con.close()


def _use_wal(con: sqlite3.Connection) -> None:
    """Switch to write-ahead logging; SQLite does not wait by itself while another process switches."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            con.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(0.01)
        else:
            return


def _begin_writing(con: sqlite3.Connection) -> None:
    """Wait for the turn to write.

    SQLite's own waiting sleeps up to a tenth of a second at a time, many commits long, so that of two busy
    processes one would starve.
    """
    until, pause = time.monotonic() + PATIENCE, 0.0005
    while True:
        try:
            con.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(pause)
            pause = min(pause * 1.5, 0.01)
        else:
            return


@contextmanager
def _transaction(con: sqlite3.Connection) -> Generator[None]:
    try:
        yield
        con.execute("COMMIT")
    except BaseException:
        if con.in_transaction:  # a full disk makes SQLite roll back by itself
            con.execute("ROLLBACK")
        raise


def _locked(con: sqlite3.Connection, file: Path) -> bool:
    try:
        with storage_errors(file):
            con.execute("BEGIN EXCLUSIVE")
    except Conflict:
        return False
    return True


def head_of(con: sqlite3.Connection) -> int:
    """Return the number of the last event."""
    query = (
        "SELECT (SELECT max(number) FROM tail), (SELECT max(last) FROM segments),"
        " (SELECT max(number) FROM removed)"
    )
    return max(number or 0 for number in con.execute(query).fetchone())


def removed_between(con: sqlite3.Connection, *, after: int, upto: int) -> int:
    """Return how many events numbered above ``after`` and at most ``upto`` were taken out for good."""
    query = "SELECT count(*) FROM removed WHERE number > ? AND number <= ?"
    return con.execute(query, (after, upto)).fetchone()[0]


def tail_rows(
    con: sqlite3.Connection, *, after: int, upto: int, limit: int, kind: str | None = None
) -> list[TailRow]:
    """Return the first ``limit`` events of the tail numbered above ``after`` and at most ``upto``."""
    return con.execute(
        "SELECT number, kind, key, event FROM tail"
        " WHERE number > ? AND number <= ? AND (? IS NULL OR kind = ?) ORDER BY number LIMIT ?",
        (after, upto, kind, kind, limit),
    ).fetchall()


def tail_keys(con: sqlite3.Connection, *, after: int) -> list[bytes]:
    """Return the keys of the tail's events numbered above ``after``."""
    return [key for (key,) in con.execute("SELECT key FROM tail WHERE number > ?", (after,))]


def segments_between(
    con: sqlite3.Connection, *, after: int, upto: int, kind: str | None = None, limit: int = -1
) -> list[Segment]:
    """Return the segments that may hold numbers above ``after`` and at most ``upto``, in order."""
    found: Iterable[tuple[Any, ...]] = con.execute(
        "SELECT file, kind, first, last, rows FROM segments"
        " WHERE last > ? AND first <= ? AND (? IS NULL OR kind = ?) ORDER BY last LIMIT ?",
        (after, upto, kind, kind, limit),
    )
    return [Segment(file=f, kind=k, first=a, last=z, rows=n) for f, k, a, z, n in found]


def run_files(con: sqlite3.Connection) -> list[str]:
    """Return the files of sealed keys."""
    return [file for (file,) in con.execute("SELECT file FROM runs")]


def add_files(con: sqlite3.Connection, segments: Sequence[Segment], run: str) -> None:
    """Name new segments and their run of keys in the manifest."""
    con.executemany(
        "INSERT INTO segments VALUES (?, ?, ?, ?, ?)",
        [(s.file, s.kind, s.first, s.last, s.rows) for s in segments],
    )
    con.execute("INSERT INTO runs VALUES (?)", (run,))


@dataclass(slots=True)
class _Ticket:
    rows: list[Row]
    outcome: Appended | PenchantError | None = None


@dataclass(slots=True)
class GroupCommit:
    """Lets threads that append at the same moment share one transaction, so one flush to the disk.

    Whoever finds nobody committing commits for all who wait by then; the others sleep until they are told.
    ``commit`` stores several batches and says for each what it did; when the group fails, each batch is
    tried alone, so that one cannot fail another.
    """

    commit: Callable[[list[list[Row]]], list[Appended]]
    _news: threading.Condition = field(default_factory=threading.Condition)
    _waiting: list[_Ticket] = field(default_factory=lambda: list[_Ticket]())
    _busy: bool = False

    def add(self, rows: list[Row]) -> Appended:
        """Return when the rows are on disk, or raise why they are not."""
        mine = _Ticket(rows)
        with self._news:
            self._waiting.append(mine)
            while self._busy and mine.outcome is None:
                self._news.wait()
            group: list[_Ticket] = []
            if mine.outcome is None:
                self._busy = True
                group, self._waiting = self._waiting, []
        if group:
            try:
                self._settle(group)
            finally:  # after an interrupt, whoever wakes first commits for the others
                with self._news:
                    self._busy = False
                    self._waiting += [t for t in group if t.outcome is None and t is not mine]
                    self._news.notify_all()
        if isinstance(mine.outcome, Appended):
            return mine.outcome
        raise mine.outcome or Defect("an append ended without an outcome.")

    def _settle(self, group: list[_Ticket]) -> None:
        try:
            outcomes = self.commit([ticket.rows for ticket in group])
        except PenchantError as error:
            if len(group) == 1:
                group[0].outcome = error
                return
            for ticket in group:
                self._settle([ticket])
        else:
            for ticket, outcome in zip(group, outcomes, strict=True):
                ticket.outcome = outcome
