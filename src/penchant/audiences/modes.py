"""How many kinds of people a seed list holds: one audience grown from two kinds fits neither well."""

from typing import Any

import msgspec
import numpy as np
from numpy.random import Generator
from threadpoolctl import threadpool_limits

from penchant.kernel.arrays import F32, I64

MOST = 6
_SEEDS, _DIMS, _ROUNDS, _ENOUGH = 2000, 8, 5, 0.8
_SMALLEST = 0.05  # a share below this is not called a kind of its own


class Modes(msgspec.Struct, frozen=True, kw_only=True):
    """The groups that two halves of the seeds both show: 1 when they show none."""

    shares: list[float]  # of the seeds, largest first
    strength: float  # prediction strength of that many groups, 1 for one group


def modes(space: F32, *, rng: Generator) -> Modes:
    """Count the groups of seeds (s, r) in a space of taste.

    The largest number of k-means groups whose prediction strength is at least 0.8 (Tibshirani and Walther
    2005): in each group found on one half of the seeds, the share of pairs that the other half's centres put
    together as well; the worst group counts.
    """
    best = Modes(shares=[1.0], strength=1.0)
    if not space.size:
        return best
    points = _axes(space if len(space) <= _SEEDS else space[rng.choice(len(space), _SEEDS, replace=False)])
    with threadpool_limits(1):
        for k in range(2, min(MOST, len(points) // 20) + 1):
            strength = float(np.mean([_strength(points, k, rng) for _ in range(_ROUNDS)]))
            labels, _ = _groups(points, points, k, seed=0)
            shares = np.sort(np.bincount(labels, minlength=k) / len(points))[::-1]
            if strength >= _ENOUGH and shares[-1] >= _SMALLEST:
                best = Modes(shares=[round(float(share), 4) for share in shares], strength=strength)
    return best


def _axes(space: F32) -> F32:
    """Return the seeds along their own main axes: noise in many dimensions would hide groups in few."""
    centred = space - space.mean(0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    return np.ascontiguousarray(centred @ axes[:_DIMS].T)


def _strength(points: F32, k: int, rng: Generator) -> float:
    order = rng.permutation(len(points))
    train, test = points[order[: len(order) // 2]], points[order[len(order) // 2 :]]
    seed = int(rng.integers(1 << 31))
    own, _ = _groups(test, test, k, seed=seed)
    _, told = _groups(train, test, k, seed=seed)
    shared: list[float] = []
    for group in range(k):
        counts = np.bincount(told[own == group], minlength=k)
        n = int(counts.sum())
        if n > 1:
            shared.append(float((counts * (counts - 1)).sum() / (n * (n - 1))))
    return min(shared, default=0.0)


def _groups(points: F32, others: F32, k: int, *, seed: int) -> tuple[I64, I64]:
    """Return the k-means groups of ``points`` (n,), and those their centres give ``others`` (m,)."""
    from sklearn.cluster import KMeans  # heavy: only here

    model: Any = KMeans
    fitted = model(k, n_init=3, random_state=seed).fit(points)
    return fitted.labels_, fitted.predict(others)
