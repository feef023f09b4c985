"""How well a user is represented, judged day by day as Pal et al. (2020, arXiv:2007.03634, table 3) do.

Before each day every representation turns a user's actions of the ``window`` before into at most three
vectors and gets ``candidates`` items, an equal share nearest to each. Of the actions of that day, *recall* is
the part that is among the candidates and *relevance* the part with a cosine of ``alike`` or more to one.
"""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.random import Generator
from scipy.cluster.hierarchy import fcluster, linkage
from sklearn.cluster import KMeans

from penchant.data.interactions import Interactions
from penchant.kernel.arrays import F32, F64, Rows
from penchant.kernel.clock import DAY
from penchant.models.index import ExactIndex
from penchant.models.pinnersage_kernels import ward

INTERESTS = 3


class Representation(Protocol):
    """Makes vectors of what a user did."""

    def __call__(self, points: F32, ages: F64, rng: Generator) -> F32:
        """Return at most three vectors (m, d) of actions (n, d), oldest first, ``ages`` (n,) days ago."""
        ...


def representations(limit: float) -> dict[str, Representation]:
    """Return those of the paper's table; ``limit`` is where clusters end."""
    return {
        "last action": lambda points, ages, rng: points[-1:],
        "mean": lambda points, ages, rng: points.mean(axis=0, keepdims=True),
        "decayed mean": _decayed_mean,
        "k-means 5": lambda points, ages, rng: _chosen(points, ages, _k_means(points, rng), 0.01, rng),
        "complete linkage": lambda points, ages, rng: _chosen(
            points, ages, _complete(points, limit), 0.01, rng
        ),
        "ward, centroid": lambda points, ages, rng: _chosen(
            points, ages, ward(points, limit), 0.01, rng, centroid=True
        ),
        "ward, decay 0": lambda points, ages, rng: _chosen(points, ages, ward(points, limit), 0.0, rng),
        "ward, decay 0.1": lambda points, ages, rng: _chosen(points, ages, ward(points, limit), 0.1, rng),
        "ward": lambda points, ages, rng: _chosen(points, ages, ward(points, limit), 0.01, rng),
    }


def _decayed_mean(points: F32, ages: F64, rng: Generator) -> F32:
    weight = np.exp(-0.01 * ages).astype(np.float32)
    return (weight[:, None] * points).sum(axis=0, keepdims=True) / weight.sum()


def _k_means(points: F32, rng: Generator) -> Rows:
    k = min(5, len(np.unique(points, axis=0)))
    found = KMeans(k, n_init="auto", random_state=int(rng.integers(2**31))).fit_predict(points)
    return np.unique(np.asarray(found), return_inverse=True)[1].astype(np.int32)


def _complete(points: F32, limit: float) -> Rows:
    if len(points) == 1:
        return np.zeros(1, np.int32)
    return (fcluster(linkage(points, "complete"), limit, "distance") - 1).astype(np.int32)


def _chosen(
    points: F32, ages: F64, cluster: Rows, decay: float, rng: Generator, *, centroid: bool = False
) -> F32:
    """Return the medoids, or means, of at most three clusters, sampled by importance."""
    importance = np.bincount(cluster, weights=np.exp(-decay * ages))
    drawn = np.arange(len(importance))
    if len(drawn) > INTERESTS:
        drawn = rng.choice(drawn, INTERESTS, replace=False, p=importance / importance.sum())
    out: list[F32] = []
    for c in drawn.tolist():
        mine = points[cluster == c]
        mean = mine.mean(axis=0)
        out.append(mean if centroid else mine[((mine - mean) ** 2).sum(axis=1).argmin()])
    return np.stack(out)


def day_by_day(
    events: Interactions,
    vectors: F32,
    variants: Mapping[str, Representation],
    *,
    start: float,
    days: int,
    rng: Generator,
    window: float = 90 * DAY,
    candidates: int = 400,
    alike: float = 0.8,
    most_actions: int = 300,
) -> dict[str, dict[str, float]]:
    """Return relevance and recall of each representation over ``days`` days from ``start`` on.

    ``vectors`` (n_items, d) are at length 1, zeros for items without one, which are left out.
    """
    index = ExactIndex.build(vectors)
    order = np.lexsort((events.timestamp, events.user))
    chosen = events.select(order[vectors[events.item[order]].any(axis=1)])
    bounds = np.flatnonzero(np.append(True, np.diff(chosen.user) != 0))
    sums = {name: np.zeros(3) for name in variants}  # relevant, found, actions
    for low, high in zip(bounds.tolist(), [*bounds[1:].tolist(), len(chosen)], strict=True):
        times, items = chosen.timestamp[low:high], chosen.item[low:high]
        for day in range(days):
            now = start + day * DAY
            first, last, end = np.searchsorted(times, [now - window, now, now + DAY]).tolist()
            if last == first or end == last:
                continue
            first = max(first, last - most_actions)
            points, ages = vectors[items[first:last]], (now - times[first:last]) / DAY
            future = items[last:end]
            for name, represent in variants.items():
                asked = np.ascontiguousarray(represent(points, ages, rng), np.float32)
                found = index.top_many(asked, max(candidates // len(asked), 1)).items
                found = np.unique(found[found >= 0])
                near = (vectors[future] @ vectors[found].T).max(axis=1) >= alike
                sums[name] += (near.sum(), np.isin(future, found).sum(), len(future))
    return {
        name: {"relevance": float(s[0] / max(s[2], 1)), "recall": float(s[1] / max(s[2], 1))}
        for name, s in sums.items()
    }
