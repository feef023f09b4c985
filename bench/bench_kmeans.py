"""Clusters of a million users with 40 features: uncentred SVD and k-means, against scikit-learn's fast way.

Users are a mixture of 12 kinds over 8 attributes of 5 levels each, one indicator a level (40 columns of
float32). Ours: `svd_basis` to 6 dimensions and `k_means` as `penchant personas` calls it (8 restarts, refined
on all). Peer: TruncatedSVD and MiniBatchKMeans with their defaults (one start, batches of 1,024). Both
cluster into 6. CPU seconds of the two functions in processes of their own, turn by turn, one thread each (two
spin while they wait, which would count against the peer), imports and compilation left out on both sides.
Inertia is over all users in each side's own projection; both span the same 6 dimensions.
"""

import time
from typing import Any

import numpy as np

from bench.paired import call, compare, versions
from penchant.kernel.arrays import F32
from penchant.models.user_clusters import k_means, svd_basis

K, RANK = 6, 6


def main(*, quick: bool) -> dict[str, object]:
    """Run both in turn."""
    users = 100_000 if quick else 1_000_000
    found = compare(
        call("bench.bench_kmeans:ours", users=users),
        call("bench.bench_kmeans:peer", users=users),
        rounds=3 if quick else 5,
        names=("penchant", "scikit-learn"),
        env={"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    cpu, inertia = (found["ratio"][name]["median"] for name in ("both_cpu", "inertia"))
    print(f"  CPU, peer over ours: {cpu:.2f}; inertia, peer over ours: {inertia:.4f}")
    return {
        "bar": "no slower than MiniBatchKMeans at equal or better inertia",
        "met": cpu >= 1 and inertia >= 1,
        "data": f"synthetic, {users:,} users x 40",
        "protocol": (__doc__ or "").replace("\n", " "),
        **found,
        "versions": versions("scikit-learn", "scipy"),
    }


def people(users: int) -> F32:
    """Return (users, 40) indicators."""
    rng = np.random.default_rng(7)
    kind = rng.integers(0, 12, users)
    chance = rng.dirichlet(np.full(5, 0.4), (12, 8)).cumsum(axis=2)
    out = np.zeros((users, 40), np.float32)
    for attribute in range(8):
        level = (rng.random(users)[:, None] > chance[kind, attribute, :-1]).sum(axis=1)
        out[np.arange(users), 5 * attribute + level] = 1.0
    return out


def ours(*, users: int) -> dict[str, float]:
    """Cluster as the personas do."""
    x = people(users)
    k_means(svd_basis(x[:2000], RANK).project(x[:2000]), K, rng=np.random.default_rng(0))
    with Cpu() as svd:
        points = svd_basis(x, RANK).project(x)
    with Cpu() as clusters:
        inertia = k_means(points, K, rng=np.random.default_rng(1)).inertia
    return {
        "svd_cpu": svd.used,
        "clusters_cpu": clusters.used,
        "both_cpu": svd.used + clusters.used,
        "inertia": inertia,
    }


def peer(*, users: int) -> dict[str, float]:
    """Cluster as a user of scikit-learn in a hurry would."""
    from sklearn.cluster import MiniBatchKMeans
    from sklearn.decomposition import TruncatedSVD

    x = people(users)
    make: Any = MiniBatchKMeans  # its types leave out what fit returns
    make(K, random_state=0).fit(TruncatedSVD(RANK, random_state=0).fit_transform(x[:2000]))
    with Cpu() as svd:
        points = TruncatedSVD(RANK, random_state=0).fit_transform(x)
    with Cpu() as clusters:
        inertia = float(make(K, random_state=1).fit(points).inertia_)
    return {
        "svd_cpu": svd.used,
        "clusters_cpu": clusters.used,
        "both_cpu": svd.used + clusters.used,
        "inertia": inertia,
    }


class Cpu:
    """CPU seconds of the process, all threads, inside the block."""

    used = 0.0

    def __enter__(self) -> "Cpu":
        self._begun = time.process_time()
        return self

    def __exit__(self, *error: object) -> None:
        self.used = time.process_time() - self._begun
