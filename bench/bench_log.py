"""The event log: acknowledged events a second; 20 million interactions imported and read back."""

import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from bench.paired import brief, call, run_once, versions
from penchant.data.events import Acted
from penchant.data.log_snapshot import snapshot_of
from penchant.data.sqlite_log import SqliteLog

USERS, ITEMS, ROWS = 138_000, 27_000, 100_000
PEAK_MB = 2048.0


def append(*, folder: str, name: str, threads: int, batch: int, seconds: float) -> dict[str, float]:
    """Append from several threads; every event counted was acknowledged as durable."""
    log = SqliteLog.open(Path(folder))
    begun = time.perf_counter()

    def one(thread: int) -> list[float]:
        waits: list[float] = []
        while (now := time.perf_counter()) < begun + seconds:
            first = len(waits) * batch
            log.append([event(f"{name}-{thread}-{i}") for i in range(first, first + batch)])
            waits.append(time.perf_counter() - now)
        return waits

    with ThreadPoolExecutor(threads) as pool:
        waits = [wait for some in pool.map(one, range(threads)) for wait in some]
    spent = time.perf_counter() - begun
    return {
        "events_per_s": len(waits) * batch / spent,
        "p50_ms": float(np.percentile(waits, 50)) * 1e3,
        "p99_ms": float(np.percentile(waits, 99)) * 1e3,
    }


def event(event_id: str) -> Acted:
    return Acted(event_id=event_id, timestamp=1.7e9, user_id="user-123456", item_id="item-1234")


def append_everywhere(*, folder: str, processes: int, threads: int, seconds: float) -> dict[str, float]:
    """Append from several processes at once, as HTTP workers do; the rates add up."""
    commands = [
        call("bench.bench_log:append", folder=folder, name=f"p{i}", threads=threads, batch=1, seconds=seconds)
        for i in range(processes)
    ]
    with ThreadPoolExecutor(processes) as pool:
        runs = list(pool.map(run_once, commands))
    return {
        "events_per_s": sum(run.inner["events_per_s"] for run in runs),
        "p99_ms": max(run.inner["p99_ms"] for run in runs),
    }


def interactions(n: int) -> Iterator[Any]:
    """Yield n interactions as an importer does: long-tailed users and items, times that rise."""
    rng = np.random.default_rng(0)
    users = pa.array([f"user-{i}" for i in range(USERS)])
    items = pa.array([f"item-{i}" for i in range(ITEMS)])
    for start in range(0, n, ROWS):
        rows = min(ROWS, n - start)
        yield pa.record_batch(
            {
                "user_id": users.take(pa.array((USERS * rng.random(rows) ** 2).astype(np.int32))),
                "item_id": items.take(pa.array((ITEMS * rng.random(rows) ** 3).astype(np.int32))),
                "timestamp": np.sort(rng.uniform(start, start + rows, rows)).round(3) + 1.6e9,
                "event_type": np.where(rng.random(rows) < 0.9, "click", "buy"),
            }
        )


def generate(*, n: int) -> dict[str, float]:
    """Only make the rows: the part of `load` that is not the log's."""
    return {"rows": float(sum(batch.num_rows for batch in interactions(n)))}


def load(*, folder: str, n: int) -> dict[str, float]:
    log = SqliteLog.open(Path(folder))
    appended = log.append_bulk("acted", interactions(n))
    assert appended.stored + appended.known == n
    return {"stored": float(appended.stored)}


def snapshot(*, folder: str) -> dict[str, float]:
    made = snapshot_of(SqliteLog.open(Path(folder)))
    return {"interactions": float(len(made.interactions)), "users": float(made.n_users)}


def main(*, quick: bool) -> dict[str, object]:
    n, seconds = (200_000, 0.5) if quick else (20_000_000, 5.0)
    with tempfile.TemporaryDirectory() as folder:
        rates: dict[str, dict[str, float]] = {}

        def measure(what: str, function: str, **arguments: object) -> None:
            path = str(Path(folder) / f"appends-{len(rates)}")
            numbers = run_once(call(f"bench.bench_log:{function}", folder=path, **arguments)).inner
            rates[what] = dict(numbers)
            print(f"  {what}: {brief(rates[what])}", flush=True)

        for threads, batch in ((1, 1), (8, 1), (1, 100)):
            what = f"{threads} thread{'s' * (threads > 1)}, {batch} event{'s' * (batch > 1)} an append"
            measure(what, "append", name="a", threads=threads, batch=batch, seconds=seconds)
        measure(
            "2 processes x 4 threads, 1 event", "append_everywhere", processes=2, threads=4, seconds=seconds
        )
        bulk: dict[str, dict[str, float]] = {}
        log = str(Path(folder) / "bulk")
        for what, command in (
            ("making the rows", call("bench.bench_log:generate", n=n)),
            ("import", call("bench.bench_log:load", folder=log, n=n)),
            ("import again", call("bench.bench_log:load", folder=log, n=n)),
            ("snapshot", call("bench.bench_log:snapshot", folder=log)),
        ):
            bulk[what] = run_once(command).numbers()
            print(f"  {what}: {brief(bulk[what])}", flush=True)
        size = sum(path.stat().st_size for path in Path(log).rglob("*") if path.is_file())
    stored, again = bulk["import"]["stored"], bulk["import again"]["stored"]
    peak = max(bulk[what]["peak_mb"] for what in ("import", "import again", "snapshot"))
    return {
        "bar": f"{n:,} interactions import, import again as nothing and become a snapshot, each under 2 GB",
        "met": bool(stored == n and again == 0 and peak < PEAK_MB),
        "data": f"synthetic: {n:,} interactions, {USERS:,} users, {ITEMS:,} items, without event ids",
        "protocol": "one child process a number; an append is acknowledged after fsync",
        "appends": rates,
        "bulk": bulk,
        "log_mb": size / 1e6,
        "versions": versions("duckdb", "pyarrow"),
    }
