"""`penchant audience --from-tables`: from raw Parquet tables to the finished list, out of core.

The tables are those of an import, in the order of time; the store is built, used again, and refreshed after
a day in which one customer in a hundred did something.
"""

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.bench_audience_scale import CATEGORIES, DAY, END, GROUP, in_group
from bench.paired import run_once, versions
from penchant.kernel.arrow import ArrowColumn
from penchant.kernel.seeds import derive

CUSTOMERS, ITEMS, SEEDS, SIZE, PIECE = 3_000_000, 20_000, 10_000, 30_000, 2_000_000
EVENTS = 24  # a customer


def ids(rows: np.ndarray) -> ArrowColumn:
    return pa.array(np.char.mod("customer-%08d", rows))


def write(folder: Path, n: int) -> None:
    """Write interactions, items and users; a customer's events lie anywhere among the files."""
    group = in_group(n)
    rng = derive(0, "items")
    category = rng.permutation(np.resize(np.arange(CATEGORIES), ITEMS))
    common = 1 / np.arange(1, CATEGORIES + 1) ** 0.8
    liked = common.copy()
    liked[GROUP] *= 6
    orders = [np.argsort(category, kind="stable"), np.bincount(category, minlength=CATEGORIES)]
    starts = np.concatenate([[0], np.cumsum(orders[1])[:-1]])
    activity = derive(0, "activity").gamma(0.8, 1.0, n)
    chance = np.cumsum(activity / activity.sum())
    (folder / "interactions").mkdir(parents=True)
    for part, first in enumerate(range(0, n * EVENTS, PIECE)):
        draw, m = derive(0, "events", part), min(PIECE, n * EVENTS - first)
        user = np.searchsorted(chance, draw.random(m)).clip(0, n - 1)
        shares = [np.cumsum(w / w.sum()) for w in (common, liked)]
        spot = draw.random(m)
        chosen = np.where(group[user], np.searchsorted(shares[1], spot), np.searchsorted(shares[0], spot))
        item = orders[0][starts[chosen] + (draw.random(m) * orders[1][chosen]).astype(np.int64)]
        moment = END * (first + np.sort(draw.random(m)) * m) / (n * EVENTS)
        _write_events(folder / "interactions" / f"{part:04d}.parquet", user, item, moment, draw)
    items = {
        "item_id": pa.array(np.char.mod("item-%05d", np.arange(ITEMS))),
        "category": pa.array(np.char.mod("category %03d", category)),
    }
    pq.write_table(pa.table(items), folder / "items.parquet")
    rng = derive(0, "profile")
    users = {
        "user_id": ids(np.arange(n)),
        "age": rng.normal(40, 12, n).astype(np.float32),
        "sex": rng.random(n) < 0.5,
        "account_age": rng.uniform(0, 4000, n).astype(np.float32),
    }
    pq.write_table(pa.table(users), folder / "users.parquet")
    drawn = np.sort(derive(0, "seeds").choice(np.flatnonzero(group), min(SEEDS, n // 50), replace=False))
    (folder / "seeds.csv").write_text("user_id\n" + "\n".join(ids(drawn).to_pylist()) + "\n")


def _write_events(
    path: Path, user: np.ndarray, item: np.ndarray, moment: np.ndarray, rng: np.random.Generator
) -> None:
    kind = np.searchsorted([0.4, 0.9], rng.random(len(user))).astype(np.int8)
    value = rng.lognormal(2.5, 0.8, len(user)).round(2)
    names = pa.array(["purchase", "view", "search"])
    columns = {
        "user_id": ids(user),
        "item_id": pa.array(np.char.mod("item-%05d", item)),
        "event_type": pa.DictionaryArray.from_arrays(kind, names),
        "timestamp": moment,
        "event_value": pa.array(value, mask=kind != 0),
    }
    pq.write_table(pa.table(columns), path)


def next_day(folder: Path, n: int) -> None:
    """Add a day's events of one customer in a hundred."""
    rng = derive(0, "next day")
    user = np.repeat(rng.choice(n, n // 100, replace=False), 3)
    moment = END + DAY * np.sort(rng.random(len(user)))
    item = rng.integers(0, ITEMS, len(user))
    _write_events(folder / "interactions" / "next.parquet", user, item, moment, rng)


def main(*, quick: bool) -> dict[str, object]:
    n = 20_000 if quick else int(os.environ.get("PENCHANT_BENCH_CUSTOMERS", CUSTOMERS))
    folder = Path(os.environ.get("PENCHANT_BENCH_FOLDER", tempfile.gettempdir()))
    place = Path(tempfile.mkdtemp(dir=folder))
    size = min(SIZE, n // 20)
    command = [sys.executable, "-m", "penchant.cli.main", "audience", str(place / "seeds.csv")]
    command += ["--size", str(size), "--from-tables", str(place), "--store", str(place / "store")]
    command += [f"--profile={name}" for name in ("age", "sex", "account_age")]
    rows: dict[str, dict[str, float]] = {}
    try:
        write(place, n)
        print(f"{n:,} customers, {n * EVENTS:,} events written", flush=True)
        for step in ("first list", "next list", "list after a day"):
            if step == "list after a day":
                next_day(place, n)
            run = run_once([*command, "--out", str(place / step)])
            card = json.loads((place / step / "card.json").read_text())
            people = (place / step / "audience.csv").read_text().splitlines()[1:]
            chosen = [int(line.split(",")[0][-8:]) for line in people]
            rows[step] = {
                "wall_s": run.wall,
                "cpu_s": run.cpu,
                "peak_mb": run.peak_mb,
                "auc": card["quality"]["auc"]["value"],
                "share_of_group": float(in_group(n)[chosen].mean()),
            }
            print(f"{step}: " + ", ".join(f"{k} {v:.4g}" for k, v in rows[step].items()), flush=True)
        store = sum(file.stat().st_size for file in (place / "store").rglob("*") if file.is_file())
    finally:
        shutil.rmtree(place, ignore_errors=True)
    met = {
        "under 6 GB": max(row["peak_mb"] for row in rows.values()) < 6 * 1024,
        "a refresh is cheaper than a build": rows["list after a day"]["cpu_s"] < rows["first list"]["cpu_s"],
    }
    return {
        "bar": "the command answers from raw tables in under 6 GB, and a refresh costs less than a build",
        "met": all(met.values()),
        "met by part": met,
        "customers": n,
        "rows": rows,
        "store_gb": store / 1e9,
        "data": f"synthetic, {EVENTS} events a customer in {CATEGORIES} categories, Parquet by time",
        "protocol": "each list a process of its own, one run; peak is resident memory",
        "versions": versions("duckdb", "lightgbm"),
    }
