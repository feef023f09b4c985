"""Kill -9 at random moments of appending, sealing and importing: no loss, no duplicate, no gap."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from penchant.data.log_store import run_files, segments_between
from penchant.data.sqlite_log import SqliteLog
from penchant.testing.log_contract import acted

ROUNDS = 24
WORKER = Path(__file__).with_name("log_worker.py")


@pytest.fixture
def worker() -> Iterator["subprocess.Popen[str]"]:
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, str(WORKER)], stdin=pipe, stdout=pipe, text=True) as process:
        yield process
        process.stdin.close()  # type: ignore[union-attr]  # it is a pipe
        process.wait(10)


def run_and_kill(
    worker: "subprocess.Popen[str]", folder: Path, name: str, delay: float, *, imported: bool
) -> tuple[dict[str, int], dict[str, int]]:
    """Return the batches tried and those acknowledged, with their sizes."""
    given, said = worker.stdin, worker.stdout
    assert given is not None
    assert said is not None
    given.write(f"{folder} {name}\n")
    given.flush()
    lines: list[list[str]] = []
    pid = await_line(said, "pid", lines)
    while not any(line[0] == "ack" and (not imported or "b" in line[1]) for line in lines):
        await_line(said, "ack", lines)
    time.sleep(delay)
    os.kill(int(pid), signal.SIGKILL)
    await_line(said, "gone", lines)
    tried = {line[1]: int(line[2]) for line in lines if line[0] == "try"}
    return tried, {line[1]: int(line[2]) for line in lines if line[0] == "ack"}


def await_line(said: IO[str], word: str, lines: list[list[str]]) -> str:
    for line in said:
        lines.append(line.split())
        if lines[-1][0] == word:
            return lines[-1][-1]
    raise AssertionError(f"the worker ended before it said {word}")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the worker forks")
def test_killed_at_random_moments(tmp_path: Path, worker: "subprocess.Popen[str]") -> None:
    rng = random.Random(7)
    tried: dict[str, int] = {}
    acknowledged: dict[str, int] = {}
    before: list[str] = []
    swept = 0
    for turn in range(ROUNDS):
        some_tried, some_acknowledged = run_and_kill(
            worker, tmp_path, f"r{turn}", rng.uniform(0, 0.25), imported=turn % 4 == 0
        )
        tried |= some_tried
        acknowledged |= some_acknowledged
        left = count_files(tmp_path)
        log = SqliteLog.open(tmp_path)
        swept += left - count_files(tmp_path)
        events = log.tail(0, limit=10**9)  # refuses a gap by itself
        assert [number for number, _ in events] == list(range(1, log.head() + 1))
        ids = [event.event_id for _, event in events]
        assert len(set(ids)) == len(ids)
        assert ids[: len(before)] == before
        found = Counter(event_id.split(":")[0] for event_id in ids)
        for batch, size in tried.items():
            assert found[batch] == size or (found[batch] == 0 and batch not in acknowledged)
        assert sum(found.values()) == sum(found[batch] for batch in tried)
        assert sorted(n for b in log.scan("acted", columns=[]) for n in b["number"].to_pylist()) == [
            number for number, _ in events
        ]
        assert log.append([acted(event_id) for event_id in ids[-50:]]).stored == 0
        assert_no_stray_files(tmp_path, log)
        log.close()
        before = ids
    assert len(acknowledged) > 5 * ROUNDS
    assert any("b" in batch for batch in acknowledged)
    assert swept > 0  # some kill came in the middle of writing files


def count_files(folder: Path) -> int:
    return sum(path.is_file() for path in (folder / "segments").rglob("*"))


def assert_no_stray_files(folder: Path, log: SqliteLog) -> None:
    with log._store.reading() as con:
        segments = segments_between(con, after=0, upto=1 << 60)
        named = {*run_files(con), *(segment.file for segment in segments)}
        sealed = sum(segment.rows for segment in segments)
        tail = con.execute("SELECT count(*) FROM tail").fetchone()[0]
    assert sealed + tail == log.head()
    root = folder / "segments"
    assert {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()} == named
