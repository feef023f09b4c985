"""Communities of the follow graph: found, numbered so that numbers last, and measured.

Leiden on the follows themselves is the method. Spectral clustering and k-means on the graph's features are
kept for comparison: where the groups were planted, k-means on features tells friends from strangers no better
than chance (`bench graph`), for two users with many followers are alike and yet far apart.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import scipy.sparse as sp
from numpy.random import Generator
from scipy.sparse.csgraph import min_weight_full_bipartite_matching
from scipy.sparse.linalg import eigsh

from penchant.features.communities_leiden import leiden
from penchant.features.graph import FollowGraph, graph_features
from penchant.kernel.arrays import F32, AnyArray, Csr, Rows, readonly
from penchant.kernel.parallel import one_blas_thread

Method = Literal["leiden", "louvain", "spectral", "kmeans"]
METHODS: tuple[Method, ...] = get_args(Method)

_SILHOUETTE_SAMPLE = 5_000
_DIMENSIONS = 16  # of the space silhouettes are measured in
_KMEANS_STARTS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Communities:
    """Who belongs together. ``labels`` (n_users,) is -1 for a user without a follow or of a small community.

    A number is only a name: after `keep_numbers` there may be gaps. ``modularity`` is of the labels at
    resolution 1, users of small communities counted as alone.
    """

    method: Method
    labels: Rows
    modularity: float

    def sizes(self) -> dict[int, int]:
        """Return the number of users by community, largest first."""
        numbers, counts = np.unique(self.labels[self.labels >= 0], return_counts=True)
        order = np.lexsort((numbers, -counts))
        return {int(numbers[i]): int(counts[i]) for i in order}


def find_communities(
    graph: FollowGraph,
    *,
    rng: Generator,
    method: Method = "leiden",
    resolution: float = 1.0,
    k: int | None = None,
    smallest: int = 1,
    previous: Rows | None = None,
) -> Communities:
    """Return the communities of a graph, numbered by falling size.

    ``resolution`` (Leiden, Louvain): more makes smaller communities. ``k`` (spectral, k-means) is their
    number, None for as many as Leiden finds. Communities of fewer than ``smallest`` users are dropped.
    ``previous`` (n_users,) holds the numbers of the last time, -1 for none: Leiden and Louvain start from
    them, and whatever the method each community keeps the number that most of its users had.
    """
    if method in ("leiden", "louvain"):
        labels = leiden(graph.ties, rng=rng, resolution=resolution, start=previous, refine=method == "leiden")
    else:
        wanted = k
        if wanted is None:
            wanted = len(find_communities(graph, rng=rng, resolution=resolution, smallest=smallest).sizes())
        points = (
            spectral_points(graph.ties, wanted, rows=True)
            if method == "spectral"
            else graph_features(graph, rng=rng).matrix()
        )
        labels = _k_means(points, np.diff(graph.ties.indptr) > 0, wanted, rng)
    labels = by_size(np.where(np.diff(graph.ties.indptr) > 0, labels, -1), smallest=smallest)
    found = Communities(method=method, labels=labels, modularity=modularity(graph.ties, labels))
    return found if previous is None else replace(found, labels=keep_numbers(labels, previous))


def by_size(labels: AnyArray, *, smallest: int = 1) -> Rows:
    """Return the labels numbered by falling size, ties by first member; small ones and -1 become -1."""
    known = labels >= 0
    numbers, first, inverse, counts = np.unique(
        labels[known], return_index=True, return_inverse=True, return_counts=True
    )
    place = np.empty(len(numbers), np.int32)
    place[np.lexsort((first, -counts))] = np.arange(len(numbers), dtype=np.int32)
    place[counts < smallest] = -1
    out = np.full(len(labels), -1, np.int32)
    out[known] = place[inverse]
    return readonly(out)


def modularity(ties: Csr, labels: Rows) -> float:
    """Return Q of `communities_leiden` at resolution 1; users labelled -1 are alone. 0 without a tie."""
    total = float(ties.data.sum(dtype=np.float64))
    if total == 0:
        return 0.0
    owner = np.repeat(np.arange(ties.n_rows), np.diff(ties.indptr))
    alone = np.where(labels < 0, int(labels.max(initial=-1)) + 1 + np.arange(len(labels)), labels)
    inside = float(ties.data[alone[owner] == alone[ties.indices]].sum(dtype=np.float64))
    strength = np.bincount(alone[owner], weights=ties.data)
    return inside / total - float(((strength / total) ** 2).sum())


def silhouette(ties: Csr, labels: Rows, *, rng: Generator) -> float:
    """Return the mean silhouette of at most 5,000 users in the graph's first spectral dimensions, -1 to 1.

    One space for all methods, so that their values compare; 0 where there are fewer than two communities.
    """
    rows = np.flatnonzero(labels >= 0)
    if len(rows) > _SILHOUETTE_SAMPLE:
        rows = np.sort(rng.choice(rows, _SILHOUETTE_SAMPLE, replace=False))
    if not 1 < len(np.unique(labels[rows])) < len(rows):
        return 0.0
    points = spectral_points(ties, _DIMENSIONS, rows=True)
    from sklearn.metrics import silhouette_score  # heavy: only here

    return float(silhouette_score(points[rows], labels[rows]))


def spectral_points(ties: Csr, dimensions: int, *, rows: bool) -> F32:
    """Return the top eigenvectors of D^-1/2 A D^-1/2 as (n, d); with ``rows`` each row of unit length.

    Ng, Jordan & Weiss 2001. Users without a tie stay at the origin.
    """
    degree = np.bincount(
        np.repeat(np.arange(ties.n_rows), np.diff(ties.indptr)), weights=ties.data, minlength=ties.n_rows
    )
    scale = np.divide(1.0, np.sqrt(degree), out=np.zeros(len(degree)), where=degree > 0)
    matrix: Any = sp.csr_array(
        (ties.data.astype(np.float64), ties.indices, ties.indptr), shape=(ties.n_rows,) * 2
    )
    matrix = sp.diags_array(scale) @ matrix @ sp.diags_array(scale)
    d = min(dimensions, ties.n_rows - 1)
    if d < 1 or ties.nnz == 0:
        return readonly(np.zeros((ties.n_rows, max(d, 0)), np.float32))
    solve: Any = eigsh  # its own types narrow tol to int
    with one_blas_thread():  # the sums of an eigenvector depend on how many threads share them
        _, vectors = solve(matrix, k=d, which="LA", v0=np.sqrt(degree + 1e-9), tol=1e-6)
    largest = vectors[np.abs(vectors).argmax(axis=0), np.arange(d)]
    points = vectors[:, ::-1] * np.where(largest < 0, -1.0, 1.0)[::-1]
    if rows:
        length = np.sqrt((points * points).sum(axis=1, keepdims=True))
        points = np.divide(points, length, out=np.zeros_like(points), where=length > 1e-12)
    return readonly(points.astype(np.float32))


def keep_numbers(labels: Rows, previous: Rows) -> Rows:
    """Renumber ``labels`` (n,) so that as many users as possible keep the number they had (both -1 = none).

    A maximum matching of new communities with old numbers, weighted by shared users. A community without a
    counterpart gets a number nobody had, so that an old number never changes its meaning silently.
    """
    both = (labels >= 0) & (previous >= 0)
    known = labels[labels >= 0]
    if not both.any():
        return labels
    new, old = int(known.max()) + 1, int(previous.max()) + 1
    overlap = sp.coo_array(
        (np.ones(int(both.sum())), (labels[both], previous[both])), shape=(new, old)
    ).tocsr()
    # Everybody gets one entry more, and one of its own to fall back to: then a full matching exists, and the
    # best one is the best without them.
    overlap.data += 1.0
    choice: Any = sp.hstack([overlap, sp.eye_array(new)]).tocsr()
    rows, columns = min_weight_full_bipartite_matching(choice, maximize=True)
    target = np.empty(new, np.int64)
    target[rows] = columns
    fresh = target >= old
    target[fresh] = old + np.arange(int(fresh.sum()))
    out = np.where(labels >= 0, target[labels], -1)
    return readonly(out.astype(np.int32))


def kept(labels: Rows, previous: Rows) -> float:
    """Return the share of users with a community both times whose number stayed."""
    both = (labels >= 0) & (previous >= 0)
    return float((labels[both] == previous[both]).mean()) if both.any() else 1.0


def lift(labels: Rows, follower: Rows, followed: Rows) -> float:
    """Return P(same community | a follow) / P(same community | any two users), NaN where undefined.

    Measure it on follows that the communities were not made from. A user without a community shares it with
    nobody.
    """
    n = len(labels)
    same = (labels[follower] == labels[followed]) & (labels[follower] >= 0)
    sizes = np.bincount(labels[labels >= 0]).astype(np.float64)
    chance = float((sizes * (sizes - 1)).sum()) / max(n * (n - 1), 1)
    return float(same.mean()) / chance if chance > 0 and len(follower) else float("nan")


def _k_means(points: F32, among: AnyArray, k: int, rng: Generator) -> Rows:
    labels = np.full(len(points), -1, np.int32)
    distinct = len(np.unique(points[among], axis=0))
    if distinct == 0:
        return labels
    from sklearn.cluster import KMeans  # heavy: only here

    make: Any = KMeans  # scikit-learn's own types narrow n_init to text
    fit = make(min(k, distinct), n_init=_KMEANS_STARTS, random_state=int(rng.integers(1 << 31)))
    labels[among] = fit.fit_predict(points[among].astype(np.float64))
    return labels
