"""The best 100 unseen items for every user, against implicit.recommend; and the time of one query."""

import os
import time
import warnings
from typing import Any

import numpy as np

from bench.bench_ials import ENV, FACTORS, FULL, QUICK, K, to_csr
from bench.paired import call, compare, versions
from bench.synthetic import CACHE, interactions
from penchant.kernel.arrays import readonly
from penchant.kernel.parallel import one_blas_thread
from penchant.models.ials import Ials
from penchant.models.index import ExactIndex


def factors(size: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return user and item factors of a few epochs of ALS, kept on disk: both sides answer from the same."""
    path = CACHE / f"factors10_{'_'.join(map(str, size))}.npz"
    if not path.exists():
        recipe = Ials(factors=FACTORS, regularization=0.1)
        seen = to_csr(interactions(*size))
        users, items = recipe.side(seen), recipe.side(seen.transpose())
        rng = np.random.default_rng(0)
        x = rng.standard_normal((size[0], FACTORS), np.float32) * np.float32(0.0125)
        y = rng.standard_normal((size[1], FACTORS), np.float32) * np.float32(0.0125)
        with one_blas_thread():
            for _ in range(10):
                y, _ = recipe.sweep(items, x, y)
                x, _ = recipe.sweep(users, y, x)
        np.savez(path, x=x, y=y)
    with np.load(path) as a:
        return a["x"], a["y"]


def ours(*, size: list[int]) -> dict[str, Any]:
    """Answer all users; building the index counts, compilation is warmed up first."""
    x, y = factors(size)
    seen = to_csr(interactions(*size))
    few = np.arange(5, dtype=np.int32)
    ExactIndex.build(y).top_many(x[:5], K, exclude=seen.take(few))
    cpu, wall = time.process_time(), time.perf_counter()
    batch = ExactIndex.build(y).top_many(x, K, exclude=seen)
    return {
        "answer_cpu": time.process_time() - cpu,
        "answer_wall": time.perf_counter() - wall,
        "score_sum": float(batch.scores[batch.items >= 0].astype(np.float64).sum()),
    }


def peer(*, size: list[int]) -> dict[str, Any]:
    """Do the same with implicit, which takes the same factors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from implicit.cpu.als import AlternatingLeastSquares
    x, y = factors(size)
    matrix = interactions(*size)
    model = AlternatingLeastSquares(factors=FACTORS, num_threads=len(os.sched_getaffinity(0)))
    model.user_factors, model.item_factors = x, y
    model.recommend(np.arange(5), matrix[:5], N=K)
    everyone = np.arange(size[0])
    cpu, wall = time.process_time(), time.perf_counter()
    scores = []
    for start in range(0, size[0], 4096):  # all at once would hold every score in memory
        users = everyone[start : start + 4096]
        scores.append(model.recommend(users, matrix[start : start + 4096], N=K)[1])
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    all_scores = np.concatenate(scores).astype(np.float64)
    return {
        "answer_cpu": cpu,
        "answer_wall": wall,
        "score_sum": float(all_scores[all_scores > -1e38].sum()),
    }


def one_query(size: list[int]) -> dict[str, float]:
    """Return the median and 99th percentile of one query of 25 items, in microseconds, with numpy beside."""
    x, y = factors(size)
    index = ExactIndex.build(y)
    exclude = readonly(np.arange(0, 500, 7, dtype=np.int32))
    taken: dict[str, list[float]] = {"ours": [], "numpy": []}
    with one_blas_thread():
        for i in range(2000):
            query = x[i]
            begun = time.perf_counter()
            index.top(query, 25, exclude=exclude)
            middle = time.perf_counter()
            scores = y @ query
            scores[exclude] = -np.inf
            part = np.argpartition(-scores, 25)[:25]
            part[np.argsort(-scores[part])]
            taken["numpy"].append(time.perf_counter() - middle)
            taken["ours"].append(middle - begun)
    return {
        f"{name}_{label}_us": float(np.percentile(values[100:], q) * 1e6)
        for name, values in taken.items()
        for label, q in (("p50", 50), ("p99", 99))
    }


def main(*, quick: bool) -> dict[str, object]:
    """Measure both."""
    size = list(QUICK if quick else FULL)
    factors(size)
    result = compare(
        call("bench.bench_topk:ours", size=size),
        call("bench.bench_topk:peer", size=size),
        rounds=2 if quick else 5,
        env=ENV,
    )
    single = one_query(size)
    print("  one query: " + ", ".join(f"{k} {v:.0f}" for k, v in single.items()))
    ratio = result["ratio"]["answer_cpu"]["median"]
    return {
        "bar": "all users' top 100 with seen items filtered: at least 2x less CPU than implicit.recommend",
        "met": ratio >= 2,
        "same_answers": abs(result["ratio"]["score_sum"]["median"] - 1) < 1e-5,
        "data": f"ALS factors of synthetic {size[0]:,} x {size[1]:,}, f={FACTORS}",
        "protocol": "same factors on both sides; index building counted, compilation and loading not",
        **result,
        "one_query": single,
        "versions": versions("implicit"),
    }
