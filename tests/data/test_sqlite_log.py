"""The durable event log: the contract, several users at once, disks that fill, files that lie about."""

import shutil
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from penchant.data import log_keys, log_segments, log_store, sqlite_log
from penchant.data.eventlog import EventLog
from penchant.data.log_bulk import Staged
from penchant.data.log_segments import SegmentWriter
from penchant.data.sqlite_log import SqliteLog
from penchant.kernel.arrow import ArrowBatch
from penchant.kernel.errors import Conflict, InputError, PenchantError
from penchant.testing.log_contract import ONE_OF_EACH, LogContract, acted, actions, everything


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SqliteLog]:
    opened = SqliteLog.open(tmp_path / "log")
    yield opened
    opened.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Give a file system of 24 MB, a third of it taken by a file called ballast."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root on Linux can mount a small disk")
    (folder / "ballast").write_bytes(b"x" * 8_000_000)
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


class TestSqliteLog(LogContract):
    @pytest.fixture
    def log(self, tmp_path: Path) -> Iterator[EventLog]:
        opened = SqliteLog.open(tmp_path / "log")
        yield opened
        opened.close()


class TestSmallPieces(TestSqliteLog):
    """The contract again with segments, row groups and pages of a few rows, so that all edges are met."""

    @pytest.fixture(autouse=True)
    def _small(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(log_segments, "ROWS_IN_GROUP", 2)
        monkeypatch.setattr(log_segments, "ROWS_IN_SEGMENT", 4)
        monkeypatch.setattr(sqlite_log, "_SCANNED", 2)
        monkeypatch.setattr(sqlite_log, "_SEALED", 4)
        monkeypatch.setattr(log_keys, "CROWD", 2)


def files(folder: Path) -> list[str]:
    return sorted(p.name for p in (folder / "segments").rglob("*") if p.is_file())


def test_two_opens_see_each_other(tmp_path: Path, log: SqliteLog) -> None:
    other = SqliteLog.open(tmp_path / "log")
    log.append([acted("a")])
    assert other.append([acted("a"), acted("b")]).stored == 1
    log.seal()
    assert other.append([acted("a"), acted("b")]).known == 2
    assert other.append_bulk("acted", [actions([("u", "i", 1.0)])]).head == 3
    assert everything(log) == everything(other)
    other.close()
    other.close()


def test_a_scan_sees_what_was_there_however_it_moves_meanwhile(log: SqliteLog) -> None:
    log.append([acted(f"a{i}") for i in range(25_000)])
    batches = log.scan("acted")
    seen = next(batches)["number"].to_pylist()
    log.seal(keep=500)
    log.append_bulk("acted", [actions([("u", "i", 1.0)])])
    log.append([acted("late")])
    for batch in batches:
        seen += batch["number"].to_pylist()
        log.seal()
    assert seen == list(range(1, 25_001))


def test_threads_append_seal_and_read_at_once(log: SqliteLog) -> None:
    stop = threading.Event()

    def append(thread: int) -> list[int]:
        heads = [log.append([acted(f"{thread}-{i}"), acted(f"shared-{i}")]).head for i in range(40)]
        return [log.append_bulk("acted", [actions([(str(thread), "i", 1.0)])]).head, *heads]

    def read() -> None:
        position = 0
        while not stop.is_set():
            page = log.tail(position)
            assert [n for n, _ in page] == list(range(position + 1, position + 1 + len(page)))
            position += len(page)
            upto = log.head()
            assert sum(batch.num_rows for batch in log.scan("acted", upto=upto)) == upto
            log.seal(keep=5)

    with ThreadPoolExecutor(6) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        writers = [pool.submit(append, thread) for thread in range(4)]
        for writer in writers:
            writer.result()
        stop.set()
        for reader in readers:
            reader.result()
    stored = everything(log)
    assert {event.event_id for _, event in stored if "-" in event.event_id and len(event.event_id) < 12} == {
        *(f"{t}-{i}" for t in range(4) for i in range(40)),
        *(f"shared-{i}" for i in range(40)),
    }
    assert len(stored) == 204


def test_appends_share_a_commit_and_not_their_errors(log: SqliteLog, monkeypatch: pytest.MonkeyPatch) -> None:
    groups: list[int] = []
    commit = log._group.commit

    def watched(batches: list[list[tuple[str, bytes, bytes]]]) -> list[object]:
        groups.append(len(batches))
        if any(b"poison" in row[2] for rows in batches for row in rows):
            raise PenchantError("no")
        return commit(batches)

    monkeypatch.setattr(log._group, "commit", watched)
    with ThreadPoolExecutor(8) as pool:
        log._group._busy = True  # as if somebody were committing: all eight queue up
        waiting = [pool.submit(log.append, [acted("poison" if i == 3 else f"ok{i}")]) for i in range(8)]
        while len(log._group._waiting) < 8:
            pass
        with log._group._news:
            log._group._busy = False
            log._group._news.notify_all()
        failed = [i for i, future in enumerate(waiting) if future.exception()]
    assert failed == [3]
    assert groups == [8] + [1] * 8
    assert log.head() == 7


def test_a_full_tail_stores_nothing_and_recovers(log: SqliteLog) -> None:
    log.append([acted("before")])
    pages = log._store.writer.execute("PRAGMA page_count").fetchone()[0]
    log._store.writer.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(PenchantError, match="disk is full; nothing of this batch was stored"):
        log.append([acted(f"{i}" * 50) for i in range(5000)])
    assert [event.event_id for _, event in everything(log)] == ["before"]
    assert log.append([acted("small")]).stored == 1
    log._store.writer.execute("PRAGMA max_page_count = 1000000")
    assert log.append([acted(f"{i}" * 50) for i in range(5000)]).stored == 5000
    assert log.head() == 5002


@pytest.mark.parametrize("work", ["seal", "bulk"])
def test_a_disk_full_while_writing_files_changes_nothing(
    tmp_path: Path, log: SqliteLog, monkeypatch: pytest.MonkeyPatch, work: str
) -> None:
    log.append(ONE_OF_EACH)

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    def run() -> int:
        return log.seal() if work == "seal" else log.append_bulk("acted", [actions([("u", "i", 1.0)])]).stored

    with monkeypatch.context() as patch:
        patch.setattr(pq.ParquetWriter, "write_table", full)
        with pytest.raises(PenchantError, match="disk is full"):
            run()
    assert [event for _, event in everything(log)] == ONE_OF_EACH
    assert files(tmp_path / "log") == []
    assert run() == (len(ONE_OF_EACH) if work == "seal" else 1)


def test_a_real_full_disk(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_log, "_SEALED", 2_000)  # a disk this small has no room to seal 50,000 at once
    log = SqliteLog.open(small_disk / "log")
    stored = 0
    with pytest.raises(PenchantError, match="disk is full"):
        while True:
            stored += log.append([acted(f"{stored + i}-" + "x" * 200) for i in range(500)]).stored
    with pytest.raises(PenchantError, match="disk is full"):
        log.append_bulk("acted", (actions([(str(i), f"{i}" * 50, 1.0)] * 5000) for i in range(500)))
    assert log.head() == stored
    assert len(log.tail(0, limit=10**9)) == stored
    (small_disk / "ballast").unlink()
    assert log.append([acted("after")]).head == stored + 1
    assert log.seal() == stored + 1
    assert len(log.tail(0, limit=10**9)) == stored + 1
    log.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_rows_that_wait_on_a_full_disk_say_so(tmp_path: Path) -> None:
    (tmp_path / "rows.arrow").symlink_to("/dev/full")
    staged = Staged(tmp_path, "acted")
    with pytest.raises(PenchantError, match="disk is full"):
        staged.fill([actions([("u", "i", 1.0)])])
    staged.close()


def test_what_a_kill_left_is_swept_but_not_under_somebody_who_works(tmp_path: Path, log: SqliteLog) -> None:
    folder = tmp_path / "log"
    log.append(ONE_OF_EACH)
    log.seal()
    kept = files(folder)
    segment = next((folder / "segments").iterdir())
    (segment / "stray.parquet").write_bytes(b"x")
    for name in ("orphan", ".draft.tmp", ".import-1"):
        (folder / "segments" / name / "spill").mkdir(parents=True)
        (folder / "segments" / name / "keys").write_bytes(b"x")
    with log._store.owning_files(wait=0.0) as mine:
        assert mine
        assert log.seal() == 0
        SqliteLog.open(folder).close()
        assert len(files(folder)) == len(kept) + 4
    SqliteLog.open(folder).close()
    assert files(folder) == kept
    assert [p.name for p in (folder / "segments").iterdir()] == [segment.name]
    assert len(everything(log)) == len(ONE_OF_EACH)


def test_an_event_that_comes_both_ways_is_stored_once(
    log: SqliteLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event of a running import is appended after the import looked at what is known."""
    leave = SegmentWriter.__exit__
    late = [["b", "new"], ["c"]]

    def late_append(self: SegmentWriter, *args: object) -> None:
        if late:
            log.append([acted(id_) for id_ in late.pop(0)])
        leave(self, *args)  # pyright: ignore

    monkeypatch.setattr(SegmentWriter, "__exit__", late_append)
    batch = actions([("u", "i", float(i)) for i in range(4)], ["a", "b", "c", "d"])
    appended = log.append_bulk("acted", [batch])
    assert (appended.stored, appended.known, appended.head) == (2, 2, 5)
    assert [event.event_id for _, event in everything(log)] == ["b", "new", "c", "a", "d"]


def test_a_second_import_waits_and_then_says_so(log: SqliteLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_log, "PATIENCE", 0.05)

    def batches() -> Iterator[ArrowBatch]:
        with pytest.raises(Conflict, match="another import"):
            log.append_bulk("acted", [actions([("u", "i", 1.0)])])
        assert log.append([acted("meanwhile")]).stored == 1
        yield actions([("u", "i", 1.0)])

    assert log.append_bulk("acted", batches()).head == 2


def test_a_locked_log_is_a_conflict(tmp_path: Path, log: SqliteLog, monkeypatch: pytest.MonkeyPatch) -> None:
    other = sqlite3.connect(tmp_path / "log" / "log.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    monkeypatch.setattr(log_store, "PATIENCE", 0.02)
    with pytest.raises(Conflict, match="nothing of this batch was stored"):
        log.append([acted("a")])
    other.execute("ROLLBACK")
    other.close()
    assert log.append([acted("a")]).stored == 1


def test_files_that_are_not_a_log(tmp_path: Path) -> None:
    (tmp_path / "log.sqlite").write_bytes(b"something else entirely" * 100)
    with pytest.raises(PenchantError, match="damaged"):
        SqliteLog.open(tmp_path)
    (tmp_path / "log.sqlite").unlink()
    newer = sqlite3.connect(tmp_path / "log.sqlite")
    newer.execute("PRAGMA user_version = 99")
    newer.close()
    with pytest.raises(InputError, match="format 99"):
        SqliteLog.open(tmp_path)


def test_key_runs_stay_few(tmp_path: Path, log: SqliteLog) -> None:
    for i in range(30):
        log.append([acted(f"{i}-{j}") for j in range(3)])
        log.seal()
    assert sum(name == "keys" for name in files(tmp_path / "log")) <= log_keys.CROWD
    assert log.append([acted(f"{i}-{j}") for i in range(30) for j in range(3)]).known == 90
