"""Leiden: communities of an undirected weighted graph, each of them connected.

    Q = Σ_c [ w_c / 2m - γ (K_c / 2m)² ]

w_c is the weight inside community c (both directions), K_c the strength of its nodes, 2m that of all, γ the
resolution. Traag, Waltman & van Eck 2019, "From Louvain to Leiden"; without the refinement it is Louvain
(Blondel et al. 2008), whose communities may fall apart.
"""

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.random import Generator

from penchant.features.communities_kernels import move, split
from penchant.kernel.arrays import F64, I64, Csr, Rows, readonly

_ROUNDS = 10


def leiden(
    ties: Csr, *, rng: Generator, resolution: float = 1.0, start: Rows | None = None, refine: bool = True
) -> Rows:
    """Return a community number for each node of symmetric ``ties`` (n, n): (n,), numbers in no order.

    ``start`` (n,) is a partition to improve on, such as that of the last time, -1 for a node of its own;
    without it every node begins alone. ``refine=False`` is Louvain. Rounds end when one changes nothing.
    """
    n = ties.n_rows
    label = np.arange(n, dtype=np.int32) if start is None else _numbered(start)
    for _ in range(_ROUNDS):
        after = _round(ties, label.copy(), rng=rng, resolution=resolution, refine=refine)
        if _same(label, after):
            break
        label = after
    return readonly(label)


def _round(ties: Csr, label: Rows, *, rng: Generator, resolution: float, refine: bool) -> Rows:
    """Improve a partition level by level: move nodes, split what is loose, go on with the parts as nodes."""
    indptr, indices, weight = ties.indptr, ties.indices, ties.data.astype(np.float64)
    strength = np.add.reduceat(np.append(weight, 0.0), indptr[:-1]) * (np.diff(indptr) > 0)
    scale = resolution / max(float(strength.sum()), 1e-300)
    node = np.arange(len(label), dtype=np.int32)  # of the level that each node of ``ties`` is part of
    while True:
        n = len(strength)
        move(indptr, indices, weight, strength, label, rng.permutation(n), scale)
        found = len(np.unique(label))
        if found == n:
            return label[node]
        parts = label
        if refine:
            draws = rng.random(n)
            parts = split(indptr, indices, weight, strength, label, rng.permutation(n), draws, scale)
        which, first, parts = np.unique(parts, return_index=True, return_inverse=True)
        if len(which) == n:  # nothing merges: every node stays a part of its own community
            return label[node]
        indptr, indices, weight, strength = _merged(indptr, indices, weight, strength, parts, len(which))
        label = _numbered(label[first])
        node = parts.astype(np.int32)[node]


def _merged(
    indptr: I64, indices: Rows, weight: F64, strength: F64, parts: I64, n: int
) -> tuple[I64, Rows, F64, F64]:
    """Return the graph whose nodes are the ``parts``; weight within a part stays in its strength alone."""
    owner = np.repeat(parts, np.diff(indptr))
    other = parts[indices]
    between = owner != other
    merged: Any = sp.coo_array((weight[between], (owner[between], other[between])), shape=(n, n)).tocsr()
    total: F64 = np.bincount(parts, weights=strength, minlength=n).astype(np.float64)
    return merged.indptr.astype(np.int64), merged.indices.astype(np.int32), merged.data, total


def _numbered(label: Rows) -> Rows:
    """Return the partition with numbers 0.., each -1 a number of its own."""
    alone = label < 0
    given = np.where(alone, int(label.max(initial=-1)) + 1 + np.arange(len(label)), label)
    return np.unique(given, return_inverse=True)[1].astype(np.int32)


def _same(one: Rows, other: Rows) -> bool:
    """Return whether two partitions are equal but for their numbers."""
    pairs = np.unique(np.stack([one, other]), axis=1).shape[1]
    return pairs == len(np.unique(one)) == len(np.unique(other))
