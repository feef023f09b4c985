"""Clusters of one user's actions: Ward's method by chains of nearest neighbours.

Merging A and B raises the sum of squared distances to the means; with |A| the size and c_A the mean,

    d(A, B)² = 2 |A| |B| / (|A| + |B|) · |c_A - c_B|²

which for single points is their distance. Of all pairs the nearest is merged, and so on, until d exceeds the
limit (Ward, 1963; PinnerSage: Pal et al., 2020, arXiv:2007.03634, algorithm 1). A chain of nearest neighbours
ends in a pair that is merged sooner or later, so the order does not matter and n² steps are enough (Murtagh,
1983); distances to a merged pair follow from the old ones (Lance and Williams, 1967):

    d(A∪B, C)² = [(|A|+|C|) d(A,C)² + (|B|+|C|) d(B,C)² - |C| d(A,B)²] / (|A|+|B|+|C|)
"""

import numpy as np

from penchant.kernel.arrays import F32, F64, I64, Rows
from penchant.kernel.compiled import kernel


@kernel(fastmath=True)
def _squares(points: F32, out: F32) -> None:
    """Set ``out`` (n, n) to the squared distances."""
    n, d = points.shape
    for i in range(n):
        a = points[i]
        for j in range(i):
            b = points[j]
            s = np.float32(0)
            for m in range(d):
                s += (a[m] - b[m]) * (a[m] - b[m])
            out[i, j] = s
            out[j, i] = s
        out[i, i] = np.float32(np.inf)


@kernel(fastmath=False)
def _nearest(row: F32, alive: Rows, n: int) -> int:
    """Return which of the first n of ``alive`` has the least of ``row``, the first of equals."""
    best, least = -1, np.float32(np.inf)
    for k in range(n):
        value = row[alive[k]]
        if value < least:
            least = value
            best = alive[k]
    return best


@kernel()
def _merge(square: F32, size: F32, alive: Rows, n: int, a: int, b: int) -> int:
    """Make ``b`` the union of both; return how many are left alive."""
    height, both = square[a, b], size[a] + size[b]
    kept = 0
    for k in range(n):
        c = alive[k]
        if c == a:
            continue
        alive[kept] = c
        kept += 1
        if c != b:
            value = (
                (size[a] + size[c]) * square[a, c] + (size[b] + size[c]) * square[b, c] - size[c] * height
            ) / (both + size[c])
            square[b, c] = value
            square[c, b] = value
    size[b] = both
    return kept


@kernel()
def _root(parent: Rows, i: int) -> int:
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@kernel()
def ward(points: F32, limit: float) -> Rows:
    """Return the cluster (n,) of each of ``points`` (n, d), numbered by their first point."""
    n = len(points)
    square = np.empty((n, n), np.float32)
    _squares(points, square)
    size = np.ones(n, np.float32)
    alive = np.arange(n).astype(np.int32)
    parent = np.arange(n).astype(np.int32)
    chain = np.empty(n + 1, np.int32)
    left, length, most = n, 0, np.float32(limit * limit)
    while left > 1:
        if length == 0:
            chain[0] = alive[0]
            length = 1
        tip = chain[length - 1]
        before = chain[length - 2] if length > 1 else -1
        near = _nearest(square[tip], alive, left)
        if before >= 0 and square[tip, before] <= square[tip, near]:
            near = before  # of equals the one the chain came from, or it would never end
        if near != before:
            chain[length] = near
            length += 1
            continue
        if square[tip, near] <= most:
            a, b = _root(parent, tip), _root(parent, near)
            parent[a] = b
        left = _merge(square, size, alive, left, tip, near)
        length -= 2
    return _numbered(parent)


@kernel()
def _numbered(parent: Rows) -> Rows:
    n, found = len(parent), 0
    number = np.full(n, -1, np.int32)
    out = np.empty(n, np.int32)
    for i in range(n):
        root = _root(parent, i)
        if number[root] < 0:
            number[root] = found
            found += 1
        out[i] = number[root]
    return out


@kernel()
def medoids(points: F32, cluster: Rows, weight: F64, item: Rows, importance: F64) -> int:
    """Write each cluster's medoid (its point's number) to ``item`` and Σ weight to ``importance``.

    The medoid has the least sum of squared distances to the cluster, which is the point nearest to the mean.
    Returns the number of clusters.
    """
    n, d = points.shape
    k = cluster.max() + 1
    mean, size = np.zeros((k, d), np.float32), np.zeros(k, np.float32)
    importance[:k] = 0.0
    for i in range(n):
        mean[cluster[i]] += points[i]
        size[cluster[i]] += 1
        importance[cluster[i]] += weight[i]
    least = np.full(k, np.inf)
    for i in range(n):
        c = cluster[i]
        away = 0.0
        for m in range(d):
            away += (points[i, m] - mean[c, m] / size[c]) ** 2
        if away < least[c]:
            least[c] = away
            item[c] = i
    return int(k)


@kernel()
def cluster_users(
    vectors: F32,
    places: Rows,
    weight: F64,
    indptr: I64,
    limit: float,
    found_place: Rows,
    found_importance: F64,
    counts: I64,
) -> None:
    """Cluster each user's actions: user u did ``places[indptr[u]:indptr[u + 1]]``, rows of ``vectors``.

    The medoids' places and importances go to the same slice of ``found_place`` and ``found_importance``,
    ``counts`` says how many they are, the most important first, equals by place.
    """
    for u in range(len(indptr) - 1):
        low, high = indptr[u], indptr[u + 1]
        n = high - low
        if n == 0:
            counts[u] = 0
            continue
        points = np.empty((n, vectors.shape[1]), np.float32)
        for e in range(n):
            points[e] = vectors[places[low + e]]
        item, importance = np.empty(n, np.int32), np.empty(n, np.float64)
        k = medoids(points, ward(points, limit), weight[low:high], item, importance)
        order = np.argsort(-importance[:k], kind="mergesort")
        for c in range(k):
            found_place[low + c] = places[low + item[order[c]]]
            found_importance[low + c] = importance[order[c]]
        counts[u] = k
