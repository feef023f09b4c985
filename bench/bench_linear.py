"""Closed forms and neighbours: item_knn against implicit's, the inverse of EASE against numpy's.

Both sides of a pair run in turn in processes of their own, on the same data, and time only the work: the
neighbours of a matrix in memory, the inverse of a Gram matrix in memory. The largest inverse, of 27,000
items, is run on our side only: numpy's takes a quarter of an hour of CPU there and four times the memory.
"""

import resource
import time
from typing import Any

import numpy as np

from bench.paired import call, compare, run_once, versions
from bench.synthetic import interactions
from penchant.kernel.arrays import Csr
from penchant.models.ease_solve import gram
from penchant.models.inverse import invert
from penchant.models.item_knn_kernels import nearest

SIZE, QUICK = (138_000, 27_000, 9_000_000), (8_000, 3_000, 300_000)
RIDGE = 500.0
K = 100


def main(*, quick: bool) -> dict[str, object]:
    """Compare both, then invert at full size."""
    size = QUICK if quick else SIZE
    small = 1_500 if quick else 8_000
    interactions(*size)  # made once, outside of what is measured
    knn = compare(
        call("bench.bench_linear:our_neighbours", size=size),
        call("bench.bench_linear:their_neighbours", size=size),
        rounds=2 if quick else 3,
        names=("penchant", "implicit"),
    )
    inverse = compare(
        call("bench.bench_linear:our_inverse", size=size, items=small),
        call("bench.bench_linear:their_inverse", size=size, items=small),
        rounds=2 if quick else 3,
        names=("penchant", "numpy"),
    )
    whole = run_once(call("bench.bench_linear:our_inverse", size=size, items=size[1])).numbers()
    print(f"  all {size[1]:,} items: {whole['cpu_s']:.0f} CPU s, peak {whole['peak_mb']:,.0f} MB")
    ratios = knn["ratio"]["cpu_s"]["median"], inverse["ratio"]["cpu_s"]["median"]
    return {
        "bar": "item_knn at least 1.3x less CPU than implicit's; the inverse of EASE at least 4x less than "
        "numpy's, under 6 GB at 27,000 items",
        "met": ratios[0] >= 1.3 and ratios[1] >= 4 and whole["peak_mb"] < 6_000,
        "data": f"synthetic, {size[0]:,} users x {size[1]:,} items, binary; inverses of the Gram matrix of "
        f"its {small:,} first items",
        "protocol": "paired rounds in processes of their own, compilation and loading not counted",
        "neighbours": knn,
        "inverse": inverse,
        "inverse_of_all": whole,
        "versions": versions("implicit", "scipy"),
    }


def our_neighbours(*, size: list[int]) -> dict[str, float]:
    """Find the 100 nearest by cosine, as the recipe does with min_co_counts = 1."""
    x = _matrix(size)
    norms = np.sqrt(np.maximum(np.bincount(x.indices, minlength=x.n_columns), 1)).astype(np.float32)
    nearest(_matrix(list(QUICK)), source=norms[: QUICK[1]], target=norms[: QUICK[1]], k=5)  # compiled
    begun = time.process_time(), time.perf_counter()
    found = nearest(x, source=norms, target=norms, k=K)
    return _took(begun) | {"sum": float(found.data.sum(dtype=np.float64))}


def their_neighbours(*, size: list[int]) -> dict[str, float]:
    """The same by implicit, which counts an item among its own neighbours."""
    from implicit.nearest_neighbours import CosineRecommender

    x = interactions(*size)
    model = CosineRecommender(K=K + 1)
    begun = time.process_time(), time.perf_counter()
    model.fit(x, show_progress=False)
    own = float(model.similarity.diagonal().sum())
    return _took(begun) | {"sum": float(model.similarity.data.sum(dtype=np.float64)) - own}


def our_inverse(*, size: list[int], items: int) -> dict[str, float]:
    """Invert in place."""
    a = _gram(size, items)
    invert(np.eye(3, dtype=np.float32))  # compiled
    begun = time.process_time(), time.perf_counter()
    invert(a)
    took = _took(begun)
    return took | {"error": _error(size, items, a)} if items <= 8_000 else took


def their_inverse(*, size: list[int], items: int) -> dict[str, float]:
    """The same by numpy, in single precision too."""
    a = _gram(size, items)
    a += np.tril(a, -1).T
    begun = time.process_time(), time.perf_counter()
    found = np.linalg.inv(a)
    return _took(begun) | {"error": _error(size, items, found)}


def _matrix(size: list[int]) -> Csr:
    x = interactions(*size)
    return Csr(
        indptr=x.indptr.astype(np.int64),
        indices=x.indices.astype(np.int32),
        data=x.data,
        n_columns=x.shape[1],
    )


def _gram(size: list[int], items: int) -> Any:
    x = _matrix(size).transpose().take(np.arange(items, dtype=np.int32))
    a = gram(x, np.ones(size[0], np.float32), np.float32)
    a[np.diag_indices(items)] += np.float32(RIDGE)
    return a


def _error(size: list[int], items: int, inverse: Any) -> float:
    """Return how far a few columns of A A^-1 are from those of the identity."""
    a = _gram(size, items)
    a += np.tril(a, -1).T
    some = np.arange(0, items, max(1, items // 50))
    return float(np.abs(a @ inverse[:, some] - np.eye(items, dtype=np.float32)[:, some]).max())


def _took(begun: tuple[float, float]) -> dict[str, float]:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "cpu_s": time.process_time() - begun[0],
        "wall_s": time.perf_counter() - begun[1],
        "peak_work_mb": peak,
    }
