"""How fast a seed list is answered: the first from Parquet, every further one on the code store, the ranking.

Peers do the same work the usual way: pandas and scipy in a loop over columns, and Polars on the same file.
"""

import os
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.paired import call, compare, versions
from penchant.audiences.config import best_rows
from penchant.audiences.coupang import TopFeatures, column_divergence, distances
from penchant.audiences.divergence import jensen_shannon
from penchant.features.codes import CodeStore
from penchant.features.codes_write import build_store
from penchant.features.columns import parquet_columns
from penchant.features.matrix import FeatureName, Features
from penchant.kernel.ids import Vocab

BINS = 30


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _names(d: int) -> list[str]:
    return [f"cto{j:03d}" for j in range(d)]


def _write(path: Path, n: int, d: int) -> None:
    """Write skewed sparse features: two of three values are null, the others exponentially distributed."""
    schema = pa.schema([(name, pa.float32()) for name in _names(d)])
    with pq.ParquetWriter(path, schema, compression="snappy") as writer:
        for first in range(0, n, 250_000):
            rng = np.random.default_rng(first)
            m = min(250_000, n - first)
            columns: list[pa.Array] = []
            for _ in range(d):
                values = rng.standard_exponential(m, dtype=np.float32)
                columns.append(pa.array(values, mask=rng.integers(0, 3, m, dtype=np.uint8) > 0))
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))


def _seeds(n: int, number: int) -> np.ndarray:
    return np.sort(np.random.default_rng(number).choice(n, n // 100, replace=False)).astype(np.int32)


def ours_first(*, file: str, n: int, d: int) -> dict[str, float]:
    seeds = _seeds(n, 1)
    js = [column_divergence(column, seeds, bins=BINS) for column in parquet_columns(Path(file), _names(d))]
    return {"js_sum": float(np.sum(js))}


def polars_first(*, file: str, n: int, d: int) -> dict[str, float]:
    import polars as pl

    seeds = _seeds(n, 1)
    js: list[float] = []
    for name in _names(d):
        column = pl.read_parquet(file, columns=[name]).get_column(name)
        low, high = column.min(), column.max()
        js.append(_polars_js(column, column.gather(seeds), low, high))
    return {"js_sum": float(np.sum(js))}


def _polars_js(every: object, chosen: object, low: float, high: float) -> float:
    import polars as pl

    counts: list[np.ndarray] = []
    for values in (chosen, every):
        place = ((values - low) * (BINS / (high - low))).floor().clip(0, BINS - 1).cast(pl.UInt8)
        found = place.value_counts()
        hist = np.zeros(BINS + 1)
        index = found.to_series(0).fill_null(BINS).to_numpy()
        hist[index] = found.to_series(1).to_numpy()
        counts.append(hist)
    return float(jensen_shannon(counts[0], counts[1]))


def ours_further(*, store: str, n: int, d: int, lists: int) -> dict[str, float]:
    opened = CodeStore.open(Path(store), source="bench")
    opened.histogram(_seeds(n, 0))  # compiled, and the file in the cache: the state of a service at work
    begun, cpu = time.perf_counter(), _cpu()
    for number in range(lists):
        jensen_shannon(opened.histogram(_seeds(n, number + 2)), opened.counts)
    return {
        "list_s": (time.perf_counter() - begun) / lists,
        "list_cpu_s": (_cpu() - cpu) / lists,
    }


def polars_further(*, file: str, n: int, d: int) -> dict[str, float]:
    """Answer one list on columns that are in memory already, 50 at a time; reading them is not counted."""
    import polars as pl

    seeds, used = _seeds(n, 2), _Stopwatch()
    for first in range(0, d, 50):
        frame = pl.read_parquet(file, columns=_names(d)[first : first + 50])
        with used:
            for column in frame.iter_columns():
                _polars_js(column, column.gather(seeds), column.min(), column.max())
    return used.result()


def pandas_further(*, file: str, n: int, d: int) -> dict[str, float]:
    """Answer one list by the loop that everybody writes, on columns that are in memory already.

    Each column costs the same: of many only every fifth is taken, and the time multiplied.
    """
    import pandas as pd
    from scipy.spatial.distance import jensenshannon

    fold = 5 if d > 100 else 1
    names, seeds, used = _names(d)[::fold], _seeds(n, 2), _Stopwatch()
    for first in range(0, len(names), 50):
        frame = pd.read_parquet(file, columns=names[first : first + 50])
        with used:
            for name in frame.columns:
                column = frame[name]
                edges = np.linspace(column.min(), column.max(), BINS + 1)
                every = np.histogram(column.dropna(), edges)[0]
                chosen = np.histogram(column.iloc[seeds].dropna(), edges)[0]
                p = np.append(chosen, column.iloc[seeds].isna().sum())
                q = np.append(every, column.isna().sum())
                jensenshannon(p, q, base=2)
    return {name: fold * seconds for name, seconds in used.result().items()}


class _Stopwatch:
    """Adds up the wall and processor seconds of the blocks it is entered for."""

    def __init__(self) -> None:
        self._wall = self._used = 0.0

    def __enter__(self) -> None:
        self._wall -= time.perf_counter()
        self._used -= _cpu()

    def __exit__(self, *_: object) -> None:
        self._wall += time.perf_counter()
        self._used += _cpu()

    def result(self) -> dict[str, float]:
        return {"list_s": self._wall, "list_cpu_s": self._used}


def ranking(n: int, size: int) -> float:
    """Return the seconds to rank n people by 20 features in memory and take the best ``size``."""
    rng = np.random.default_rng(1)
    values = rng.standard_gamma(1.5, (20, n), dtype=np.float32)
    values[:, ::3] = np.nan
    book = tuple(FeatureName(name=name, symbol="cto") for name in _names(20))
    users = Vocab(np.arange(n + 1, dtype=np.int64), np.zeros(n, np.uint8))  # ids are not looked at
    features = Features(users=users, book=book, values=values)
    weight = np.full(20, 0.05)
    top = TopFeatures(columns=np.arange(20, dtype=np.int32), divergence=weight, weight=weight)
    everyone, seeds = np.arange(n, dtype=np.int32), _seeds(n, 1)
    times: list[float] = []
    for _ in range(5):
        begun = time.perf_counter()
        rows = best_rows(-distances(features, seeds, everyone, top), np.ones(n, bool), size)
        times.append(time.perf_counter() - begun)
        assert len(rows) == size
    return float(np.median(times))


def main(*, quick: bool) -> dict[str, object]:
    n, d, rounds = (
        (100_000, 10, 1) if quick else (2_000_000, 1000, int(os.environ.get("PENCHANT_ROUNDS", "3")))
    )
    with tempfile.TemporaryDirectory() as folder:
        file, store = str(Path(folder) / "features.parquet"), Path(folder) / "store"
        _write(Path(file), n, d)
        shape = {"n": n, "d": d}
        print("first list, from Parquet: penchant, Polars")
        first = compare(
            call("bench.bench_audience_speed:ours_first", file=file, **shape),
            call("bench.bench_audience_speed:polars_first", file=file, **shape),
            rounds=rounds,
        )
        book = tuple(FeatureName(name=name, symbol="cto") for name in _names(d))
        begun = time.perf_counter()
        build_store(store, book, n, parquet_columns(Path(file), _names(d)), source="bench")
        built = time.perf_counter() - begun
        print(f"code store built in {built:.1f} s")
        ours = call("bench.bench_audience_speed:ours_further", store=str(store), lists=20, **shape)
        print("further lists: penchant, Polars")
        polars = compare(
            ours, call("bench.bench_audience_speed:polars_further", file=file, **shape), rounds=rounds
        )
        print("further lists: penchant, pandas and scipy")
        pandas = compare(
            ours, call("bench.bench_audience_speed:pandas_further", file=file, **shape), rounds=rounds
        )
        ranked = ranking(n, 30_000 if not quick else 1000)
    ratios = {
        "first list, Polars": first["ratio"]["cpu"]["median"],
        "further, Polars": polars["ratio"]["list_cpu_s"]["median"],
        "further, pandas and scipy": pandas["ratio"]["list_cpu_s"]["median"],
    }
    for name, ratio in ratios.items():
        print(f"{name}: {ratio:.1f} times our CPU")
    print(f"ranking {n:,} people: {ranked:.2f} s")
    met = {
        "first list no slower than Polars": ratios["first list, Polars"] >= 1,
        "further lists 50x Polars": ratios["further, Polars"] >= 50,
        "further lists 50x pandas and scipy": ratios["further, pandas and scipy"] >= 50,
        "ranking under 1 s": ranked < 1,
    }
    return {
        "bar": "first list no slower than Polars, further lists 50x, ranking 2M to 30,000 under 1 s",
        "met": all(met.values()),
        "met by part": met,
        "ratio": ratios,
        "first": first,
        "further polars": polars,
        "further pandas": pandas,
        "ranking_s": ranked,
        "store_built_s": built,
        "data": f"{n:,} users x {d} synthetic features, a third known, one Parquet file; {n // 100:,} seeds",
        "protocol": f"{rounds} rounds in turn; further lists timed in a process that has the data at hand",
        "versions": versions("polars", "pandas", "scipy", "duckdb"),
    }
