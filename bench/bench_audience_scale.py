"""A store of 1,805 features built and a seed list answered, from 100,000 customers to 11 million.

Synthetic activity in Parquet, written in pieces: purchases, views and searches in 105 categories. One
customer in twelve belongs to a group that prefers five of the categories; the seeds are drawn from it, and
the audience should find the rest of it.
"""

import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.curve import curve_svg
from bench.paired import ROOT, brief, call, run_once, versions
from penchant.audiences.grow import grow
from penchant.cli.progress import Lines
from penchant.features.codes import CodeStore
from penchant.features.coding import code_table
from penchant.features.engine import DuckEngine
from penchant.features.matrix import FeatureName
from penchant.features.profile import Profile
from penchant.features.purchase import PurchaseFeatures
from penchant.features.purchase_matrix import PurchaseTable
from penchant.kernel.ids import Vocab
from penchant.kernel.seeds import derive

SIZES = (100_000, 1_000_000, 3_000_000, 11_000_000)
CATEGORIES, PIECE, SEEDS, DAY = 105, 100_000, 10_000, 86_400.0
END = 365 * DAY
KINDS = ("purchase", "view", "search")
GROUP = np.arange(40, 45)  # the categories that the group prefers
LIMIT_MB, LIMIT_S = 6 * 1024, 30 * 60
PICTURE = ROOT / "docs" / "audience_scale.svg"


def in_group(n: int) -> np.ndarray:
    return derive(0, "group").random(n) < 1 / 12


def profile(n: int) -> Profile:
    """Return age, sex and account age."""
    rng = derive(0, "profile")
    rows = [rng.normal(40, 12, n), rng.random(n) < 0.5, rng.uniform(0, 4000, n)]
    book = tuple(FeatureName(name=name, symbol=name) for name in ("age", "sex", "account_age"))
    return Profile(book=book, values=np.stack([np.asarray(row, np.float32) for row in rows]))


def write(*, folder: str, n: int) -> dict[str, float]:
    """Write the activity: about 24 events a customer, sorted by customer, a file for each 100,000."""
    group = in_group(n)
    common = 1 / np.arange(1, CATEGORIES + 1) ** 0.8
    liked = common.copy()
    liked[GROUP] *= 6
    shares = [np.cumsum(w / w.sum()) for w in (common, liked)]
    events = 0
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    for first in range(0, n, PIECE):
        rng = derive(0, "activity", first)
        m = min(PIECE, n - first)
        counts = rng.poisson(rng.gamma(0.8, 30.0, m))
        user = np.repeat(np.arange(first, first + m, dtype=np.int32), counts)
        k = len(user)
        draw, mine = rng.random(k), group[user]
        code = np.where(mine, np.searchsorted(shares[1], draw), np.searchsorted(shares[0], draw)) + 1
        kind = np.searchsorted([0.4, 0.9], rng.random(k)).astype(np.int8)
        bought = kind == 0
        moment = rng.uniform(0, END, k)
        spend = np.rint(rng.lognormal(2.5, 0.8, k) * 100).astype(np.int64) * 10_000
        table = pa.table(
            {
                "user_row": user,
                "code": code.astype(np.int16),
                "kind": pa.DictionaryArray.from_arrays(kind, list(KINDS)),
                "order_key": pa.array((moment / DAY).astype(np.int32), mask=~bought),
                "quantity": pa.array(rng.integers(1, 4, k) * 1_000_000, mask=~bought),
                "spend": pa.array(spend, mask=~bought),
                "moment": moment,
            }
        )
        pq.write_table(table, target / f"activity-{first:08d}.parquet", row_group_size=500_000)
        events += k
    return {"events": float(events)}


def build(*, folder: str, store: str, n: int) -> dict[str, float]:
    """Build the store from the Parquet files."""
    table = PurchaseTable(
        users=Vocab(np.arange(n + 1, dtype=np.int64), np.zeros(n, np.uint8)),  # ids are not looked at
        categories=tuple(f"category {c}" for c in range(1, CATEGORIES + 1)),
        activity=Path(folder),
        kinds=frozenset(KINDS),
        end_at=END,
        config=PurchaseFeatures(behaviour=False),
        profile=profile(n),
    )
    engine = DuckEngine(memory_mb=2500, spill=Path(store).parent / "spill")
    built = code_table(table, Path(store), source="bench", engine=engine, progress=_lines())
    return {"features": float(len(built.book))}


def answer(*, store: str, n: int, size: int) -> dict[str, float]:
    """Answer one seed list: selection, scoring, the best ``size``."""
    opened = CodeStore.open(Path(store), source="bench")
    group = np.flatnonzero(in_group(n))
    drawn = derive(0, "seeds").choice(group, min(SEEDS, len(group) // 4), replace=False)
    seeds = np.sort(drawn).astype(np.int32)
    found = grow(opened, seeds, size, rng=derive(0, "answer"), progress=_lines())
    return {
        "seeds": float(len(seeds)),
        "auc": found.auc.value,
        "features_chosen": float(len(found.signal.chosen)),
        "share_of_group": float(np.isin(found.rows, group).mean()),
    }


def _lines() -> Lines:
    return Lines(lambda text: print(text, file=sys.stderr, flush=True))


def measured(n: int, folder: Path) -> dict[str, float]:
    """Write, build and answer for n customers, each in a process of its own; what was written is deleted."""
    place = tempfile.mkdtemp(dir=folder)
    try:
        activity, store, size = f"{place}/activity", f"{place}/store", min(30_000, n // 20)
        begun = time.perf_counter()
        written = run_once(call("bench.bench_audience_scale:write", folder=activity, n=n))
        events = written.inner["events"]
        parquet = sum(file.stat().st_size for file in Path(activity).iterdir())
        print(
            f"{n:,} customers: {written.inner['events']:,.0f} events written in {written.wall:.0f} s",
            flush=True,
        )
        built = run_once(call("bench.bench_audience_scale:build", folder=activity, store=store, n=n))
        print(f"  store: {built.wall:.0f} s, {built.cpu:.0f} CPU-s, {built.peak_mb:.0f} MB", flush=True)
        listed = run_once(call("bench.bench_audience_scale:answer", store=store, n=n, size=size))
        print(
            f"  list:  {listed.wall:.0f} s, {listed.cpu:.0f} CPU-s, {listed.peak_mb:.0f} MB, "
            f"{brief(listed.inner)}",
            flush=True,
        )
        return {
            "customers": n,
            "events": events,
            "parquet_gb": parquet / 1e9,
            "store_gb": sum(file.stat().st_size for file in Path(store).iterdir()) / 1e9,
            "write_s": written.wall,
            "build_s": built.wall,
            "build_cpu_s": built.cpu,
            "build_mb": built.peak_mb,
            "answer_s": listed.wall,
            "answer_cpu_s": listed.cpu,
            "answer_mb": listed.peak_mb,
            "total_s": built.wall + listed.wall,
            "peak_mb": max(built.peak_mb, listed.peak_mb),
            "all_s": time.perf_counter() - begun,
            **built.inner,
            **listed.inner,
        }
    finally:
        shutil.rmtree(place, ignore_errors=True)


def main(*, quick: bool) -> dict[str, object]:
    folder = Path(os.environ.get("PENCHANT_BENCH_FOLDER", tempfile.gettempdir()))
    largest = int(os.environ.get("PENCHANT_BENCH_CUSTOMERS", SIZES[-1]))
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    rows: list[dict[str, float]] = []
    for n in (20_000,) if quick else SIZES:
        need = n * (1_805 + 600)
        if n > largest or need > free * 0.8:
            print(f"{n:,} customers left out: asked for at most {largest:,}, {need / 1e9:.0f} GB needed")
            continue
        rows.append(measured(n, folder))
    if not quick:
        PICTURE.write_text(curve_svg(rows))
    print(json.dumps(rows[-1]))
    met = {
        "11M customers": rows[-1]["customers"] == SIZES[-1],
        "under 30 minutes": rows[-1]["total_s"] < LIMIT_S,
        "under 6 GB": max(row["peak_mb"] for row in rows) < LIMIT_MB,
    }
    return {
        "bar": "11M customers x 1,805 features: store built and one list answered in < 6 GB and < 30 minutes",
        "met": all(met.values()),
        "met by part": met,
        "rows": rows,
        "data": "synthetic, about 24 events a customer in 105 categories, Parquet sorted by customer",
        "protocol": "store and list each in a process of its own, one run; peak is resident memory",
        "versions": versions("duckdb", "lightgbm"),
    }
