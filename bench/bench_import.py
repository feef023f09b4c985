"""20 million interactions from one CSV file: how fast, and in how much memory.

Three children, one after the other: reading alone (bytes to checked rows that nobody keeps), the import into
an event log on disk, and the same import again, which must store nothing.
"""

import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import duckdb

from bench.paired import brief, call, run_once, versions
from penchant.data.eventlog import Appended
from penchant.data.importing import import_files
from penchant.data.sqlite_log import SqliteLog
from penchant.kernel.progress import Silent

ROWS, QUICK_ROWS = 20_000_000, 200_000
NOW = 1_800_000_000.0
_MADE = """
COPY (
    SELECT 'u' || (hash(i) % 500000) AS user_id,
        'item-' || CAST(floor(60000 * power((hash(i + 7) % 1000003) / 1000003.0, 3)) AS INT) AS item_id,
        1600000000 + i AS timestamp,
        CASE WHEN hash(i + 13) % 10 = 0 THEN 'buy' ELSE 'view' END AS event_type
    FROM range({rows}) r(i)
) TO '{path}' (HEADER)
"""


class Nowhere:
    """Takes rows and keeps none; only what an import calls."""

    def append_bulk(self, kind: str, batches: Iterable[Any]) -> Appended:
        n = sum(batch.num_rows for batch in batches)
        return Appended(stored=n, known=0, head=n)


def _imported(log: Any, path: str, rows: int) -> dict[str, float]:
    begun, cpu = time.perf_counter(), time.process_time()
    summary = import_files(
        log, interactions=[Path(path)], quarantine=Path(path).parent / "q", now=NOW, progress=Silent()
    )
    (table,) = summary.tables
    assert table.read == rows
    assert not table.rejected
    spent = time.process_time() - cpu
    return {
        "import_wall": time.perf_counter() - begun,
        "import_cpu": spent,
        "rows_per_cpu_second": rows / spent,
        "stored": table.stored,
        "known": table.known,
    }


def read(*, path: str, rows: int) -> dict[str, float]:
    """Read and check every row, storing none."""
    return _imported(Nowhere(), path, rows)


def store(*, path: str, folder: str, rows: int) -> dict[str, float]:
    """Import into the log in ``folder``."""
    log = SqliteLog.open(Path(folder))
    found = _imported(log, path, rows)
    log.close()
    return found


def main(*, quick: bool) -> dict[str, object]:
    """Measure; the quick run has 200,000 rows."""
    rows = QUICK_ROWS if quick else ROWS
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "interactions.csv"
        duckdb.connect().execute(_MADE.format(rows=rows, path=path))
        megabytes = path.stat().st_size / 1e6
        print(f"  {rows:,} rows, {megabytes:,.0f} MB", flush=True)
        log = str(Path(folder) / "log")
        runs = {}
        for name, command in (
            ("read", call("bench.bench_import:read", path=str(path), rows=rows)),
            ("store", call("bench.bench_import:store", path=str(path), folder=log, rows=rows)),
            ("again", call("bench.bench_import:store", path=str(path), folder=log, rows=rows)),
        ):
            runs[name] = run_once(command).numbers()
            print(f"  {name}: {brief(runs[name])}", flush=True)
    peak = max(run["peak_mb"] for run in runs.values())
    repeated = runs["again"]["stored"] == 0 and runs["again"]["known"] == rows
    return {
        "bar": "20M interactions import in under 2 GB; clean CSV is read at 300,000 rows/s or more on one "
        "core; the same import again stores nothing",
        "met": peak < 2000 and runs["read"]["rows_per_cpu_second"] >= 300_000 and repeated,
        "data": f"synthetic CSV, {rows:,} rows of user, item, time and event type, {megabytes:,.0f} MB",
        "protocol": "one run each of: read only, import, import again; every child process counted whole",
        "peak_mb": peak,
        **runs,
        "versions": versions("duckdb", "pyarrow"),
    }
