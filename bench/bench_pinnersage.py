"""PinnerSage: clusters of users a CPU second against fastcluster alone; representations judged day by day."""

import time
from typing import Any

import fastcluster
import numpy as np
from scipy.cluster.hierarchy import fcluster

from bench.paired import call, compare, versions
from bench.quality_data import complete_journey
from bench.topic_world import DENSE, SPARSE, topic_world
from penchant.data.snapshot import Snapshot
from penchant.evaluation.interests import day_by_day, representations
from penchant.kernel.clock import DAY
from penchant.kernel.progress import Silent
from penchant.kernel.seeds import derive
from penchant.models.ials import Ials
from penchant.models.measure import train_measured
from penchant.models.pinnersage_kernels import cluster_users
from penchant.models.prod2vec import unit

SIZES = (50, 150, 300)
LIMIT, D = 1.0, 64
BAR = 0.8


def actions(n: int, users: int) -> np.ndarray:
    """Return actions of users with five interests each (users, n, D)."""
    rng = np.random.default_rng(n)
    centres = rng.normal(size=(users, 5, D))
    picked = np.take_along_axis(centres, rng.integers(0, 5, (users, n))[..., None], axis=1)
    shaken = picked + rng.normal(size=(users, n, D)) * 0.7
    return np.asarray(unit(shaken.reshape(-1, D).astype(np.float32))).reshape(users, n, D)


def ours(*, n: int, users: int) -> dict[str, float]:
    """Cluster, and find medoids and importances too."""
    given = actions(n, users)
    flat = np.ascontiguousarray(given.reshape(-1, D))
    places, weight = np.arange(len(flat), dtype=np.int32), np.ones(len(flat))
    rows, importance, counts = np.empty(len(flat), np.int32), np.empty(len(flat)), np.zeros(users, np.int64)
    indptr = np.arange(0, len(flat) + 1, n)
    cluster_users(flat, places[:n], weight[:n], indptr[:2], LIMIT, rows, importance, counts[:1])
    begun = time.process_time()
    cluster_users(flat, places, weight, indptr, LIMIT, rows, importance, counts)
    spent = time.process_time() - begun
    return {"us_a_user": 1e6 * spent / users, "clusters": float(counts.mean())}


def peer(*, n: int, users: int) -> dict[str, float]:
    """Cluster alone: the tree and its cut."""
    given = actions(n, users).astype(np.float64)
    begun = time.process_time()
    found = [fastcluster.linkage(points, "ward") for points in given]
    spent = time.process_time() - begun
    clusters = [fcluster(tree, LIMIT, "distance").max() for tree in found]
    return {"us_a_user": 1e6 * spent / users, "clusters": float(np.mean(clusters))}


def journey(quick: bool) -> dict[str, dict[str, float]]:
    """Complete Journey: vectors of ials from all but the last days, households' days after that."""
    snapshot: Snapshot = complete_journey()
    days = 3 if quick else 14
    start = snapshot.cutoff - days * DAY
    model: Any = train_measured(Ials(half_life="45d"), snapshot.before(start), seed=42, progress=Silent())
    users = derive(42, "users").choice(snapshot.n_users, 100 if quick else 500, replace=False)
    events = snapshot.interactions.select(np.isin(snapshot.interactions.user, users))
    vectors = unit(model.index.by_row())
    return day_by_day(events, vectors, representations(LIMIT), start=start, days=days, rng=derive(42))


def worlds(quick: bool) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Return relevance and recall of each representation in both made-up worlds, a number a seed."""
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    for world, size in (("sparse", SPARSE), ("dense", DENSE)):
        of_world: dict[str, dict[str, list[float]]] = {}
        for seed in range(1, 2 if quick else 4):
            events, vectors = topic_world(seed, 20 if quick else 100, size)
            once = day_by_day(
                events, vectors, representations(LIMIT), start=90 * DAY, days=5, rng=derive(seed)
            )
            for name, one in once.items():
                for what, value in one.items():
                    of_world.setdefault(name, {}).setdefault(what, []).append(value)
        for name, one in of_world.items():
            told = "  ".join(f"{what} {' '.join(f'{v:.3f}' for v in values)}" for what, values in one.items())
            print(f"{world} world, {name:20} {told}", flush=True)
        found[world] = of_world
    return found


def speeds(quick: bool) -> dict[str, Any]:
    """Return the paired rounds of each size of history."""
    speed: dict[str, Any] = {}
    for n in SIZES:
        sizes = {"n": n, "users": 50 if quick else 60_000 // n}
        print(f"{n} actions:")
        module = "bench.bench_pinnersage"
        env = {"OMP_NUM_THREADS": "1"}
        speed[str(n)] = compare(
            call(f"{module}:ours", **sizes),
            call(f"{module}:peer", **sizes),
            rounds=2 if quick else 5,
            env=env,
        )
    return speed


def main(*, quick: bool) -> dict[str, object]:
    """Compare the rates, then the representations on real and made-up users."""
    speed = speeds(quick)
    rates = {n: one["ratio"]["us_a_user"]["median"] for n, one in speed.items()}
    print(f"users a CPU second, ours / fastcluster: {rates}")
    table = journey(quick)
    for name, one in table.items():
        print(f"{name:20} relevance {one['relevance']:.3f}  recall {one['recall']:.3f}")
    return {
        "bar": f"users a CPU second at least {BAR} of fastcluster's, which finds no medoids",
        "met": min(rates.values()) >= BAR,
        "data": "five interests a user on the sphere of 64 dimensions; Complete Journey",
        "protocol": "5 rounds in turn; day by day, 400 candidates, relevance at cosine .8",
        "speed": speed,
        "ratio": rates,
        "complete_journey": table,
        "worlds": worlds(quick),
        "versions": versions("fastcluster", "scipy"),
    }
