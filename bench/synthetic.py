"""Synthetic interactions with tastes, popularity and activity, the same for every benchmark that trains."""

from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix

CACHE = Path(__file__).parent / "results" / "cache"


def interactions(n_users: int, n_items: int, n: int, *, topics: int = 200, seed: int = 0) -> csr_matrix:
    """Return a binary (n_users, n_items) matrix of about ``n`` entries, kept on disk between processes.

    Each user mixes six of ``topics``; a topic likes its own items sixty times as much as chance, over a
    Zipf-like popularity; users' activity is log-normal.
    """
    path = CACHE / f"interactions_{n_users}_{n_items}_{n}_{seed}.npz"
    if not path.exists():
        made = _make(n_users, n_items, n, topics, np.random.default_rng(seed))
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, indptr=made.indptr, indices=made.indices)
    with np.load(path) as a:
        ones = np.ones(len(a["indices"]), np.float32)
        return csr_matrix((ones, a["indices"], a["indptr"]), shape=(n_users, n_items))


def _make(n_users: int, n_items: int, n: int, topics: int, rng: np.random.Generator) -> csr_matrix:
    popularity = rng.permutation((np.arange(n_items) + 20.0) ** -0.9)
    home = rng.integers(0, topics, n_items)
    active = rng.lognormal(0, 1.1, n_users)
    active = np.maximum(active / active.mean() * n * 1.38 / n_users, 4).astype(
        int
    )  # 1.38: repeats fall together
    tastes = rng.integers(0, topics, (n_users, 6))
    mix = np.cumsum(rng.dirichlet(np.full(6, 0.6), n_users), axis=1)
    user = np.repeat(np.arange(n_users), active)
    topic = tastes[user, (rng.random(len(user))[:, None] > mix[user]).sum(axis=1).clip(0, 5)]
    item = np.empty(len(user), np.int64)
    draw = rng.random(len(user))
    order = np.argsort(topic, kind="stable")
    bounds = np.searchsorted(topic[order], np.arange(topics + 1))
    for t in range(topics):
        weight = popularity * np.where(home == t, 60.0, 0.15) * np.exp(rng.normal(0, 0.7, n_items))
        cdf = np.cumsum(weight)
        at = order[bounds[t] : bounds[t + 1]]
        item[at] = np.searchsorted(cdf / cdf[-1], draw[at]).clip(0, n_items - 1)
    key = np.unique(user * n_items + item)
    shape = (n_users, n_items)
    return csr_matrix((np.ones(len(key), np.float32), (key // n_items, key % n_items)), shape=shape)
