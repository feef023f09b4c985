"""Approximate indexes against the exact one: recall@100 and the CPU time of one query by size."""

import time
from collections.abc import Callable

import numpy as np

from bench.paired import versions
from penchant.kernel.seeds import derive
from penchant.models.ann import Approximate, wider
from penchant.models.index import ExactIndex
from penchant.models.prod2vec import unit

D, K, RERANK, QUERIES = 64, 100, 50, 100
FACTORIES = ("SQ8", "HNSW32")


def catalogue(n: int) -> ExactIndex:
    """Return n items around 1,000 centres, their norms spread as factors' are."""
    rng = derive(n, "items")
    centres = rng.normal(size=(1000, D)).astype(np.float32)
    items = centres[rng.integers(0, 1000, n)] + rng.normal(size=(n, D)).astype(np.float32)
    return ExactIndex.build(np.asarray(unit(items)) * rng.gamma(4, 0.25, (n, 1)).astype(np.float32))


def median_us(ask: Callable[[np.ndarray], object], queries: np.ndarray) -> float:
    """Return the median CPU time: of a busy machine the clock on the wall says little."""
    spent: list[float] = []
    ask(queries[0])
    for query in queries:
        begun = time.process_time()
        ask(query)
        spent.append(time.process_time() - begun)
    return 1e6 * float(np.median(spent))


def main(*, quick: bool) -> dict[str, object]:
    sizes = (20_000,) if quick else (200_000, 500_000)
    result: dict[str, dict[str, dict[str, float]]] = {}
    for n in sizes:
        exact = catalogue(n)
        rng = derive(n, "queries")
        near = exact.factors[rng.integers(0, n, QUERIES)]
        queries = near + rng.normal(size=(QUERIES, D)).astype(np.float32) * np.float32(0.1)
        found = {
            "exact": {"recall": 1.0, "us": median_us(lambda q, e=exact: e.top(q, K), queries), "build_s": 0.0}
        }
        for factory in FACTORIES:
            begun = time.process_time()
            index = Approximate.build(exact.factors, factory)
            built = time.process_time() - begun
            found[factory] = {
                "recall": index.recall(exact, queries, RERANK),
                "us": median_us(lambda q, i=index: i.near(q[None], wider(K, RERANK)), queries),
                "build_s": built,
            }
        for name, one in found.items():
            told = ", ".join(f"{key} {value:.4g}" for key, value in one.items())
            print(f"{n:,} items, {name}: {told}")
        result[str(n)] = found
    return {
        "bar": "SQ8 with exact scores after it: recall@100 at least .98",
        "met": all(one["SQ8"]["recall"] >= 0.98 for one in result.values()),
        "data": f"synthetic factors of {D} dimensions around 1,000 centres",
        "protocol": f"{QUERIES} queries one at a time, top {K}, {RERANK} more asked for",
        "sizes": result,
        "versions": versions("faiss-cpu"),
    }
