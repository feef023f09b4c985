"""Tiny data whose answers are known by construction."""

import numpy as np
import pyarrow as pa

from penchant.data.snapshot import Snapshot, build_snapshot


def user_id(i: int) -> str:
    """Return ``u000`` ... so that row order is number order."""
    return f"u{i:03d}"


def item_id(i: int) -> str:
    """Return ``i000`` ... so that row order is number order."""
    return f"i{i:03d}"


def snapshot_of(triples: list[tuple[int, int, float]], *, n_users: int = 0, n_items: int = 0) -> Snapshot:
    """Build a snapshot from (user number, item number, timestamp), with more users and items if asked."""
    table = pa.table(
        {
            "user_id": pa.array([user_id(u) for u, _, _ in triples], pa.string()),
            "item_id": pa.array([item_id(i) for _, i, _ in triples], pa.string()),
            "timestamp": pa.array([t for _, _, t in triples], pa.float64()),
        }
    )
    users = pa.table({"user_id": [user_id(u) for u in range(n_users)]}) if n_users else None
    items = pa.table({"item_id": [item_id(i) for i in range(n_items)]}) if n_items else None
    return build_snapshot(table, users=users, items=items)


def checkerboard(n: int = 20, *, hole: bool = True) -> Snapshot:
    """Return n users x n items where even users take even items and odd users odd ones.

    With ``hole`` user u has not taken item u, so the one unseen item of its own colour, u itself, is what any
    collaborative model must rank first among unseen items.
    """
    triples = [
        (u, i, 1_000_000.0 + 100 * u + i)
        for u in range(n)
        for i in range(n)
        if u % 2 == i % 2 and not (hole and u == i)
    ]
    return snapshot_of(triples, n_users=n, n_items=n)


def popularity_ladder(n: int = 10) -> Snapshot:
    """Return items where item i has n - i distinct users, all within one day: item 0 is the most popular."""
    triples = [(u, i, 1_000_000.0 + 60 * u + i) for i in range(n) for u in range(n - i)]
    return snapshot_of(triples, n_users=n, n_items=n)


def random_snapshot(seed: int, *, n_users: int = 50, n_items: int = 40, n: int = 600) -> Snapshot:
    """Return interactions drawn from a rank-4 taste, for oracles that must agree on anything."""
    rng = np.random.default_rng(seed)
    users = rng.integers(0, n_users, n)
    taste = rng.normal(size=(n_users, 4)) @ rng.normal(size=(4, n_items))
    items = [int(rng.choice(n_items, p=np.exp(taste[u]) / np.exp(taste[u]).sum())) for u in users]
    times = np.sort(rng.uniform(1_000_000, 2_000_000, n))
    return snapshot_of(
        [(int(u), i, float(t)) for u, i, t in zip(users, items, times, strict=True)],
        n_users=n_users,
        n_items=n_items,
    )
