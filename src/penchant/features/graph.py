"""The follow graph: who follows whom, both ways round, and what it says of each user.

followers, following, mutual    in-degree, out-degree, and how many follow back
clustering   c_v = 2 T_v / (d_v (d_v - 1)), T_v triangles of the undirected graph (Watts & Strogatz 1998)
pagerank     p = (1 - a) / n + a (Pᵀ p + dangling / n), a = 0.85 (Brin & Page 1998)
betweenness  b_v = Σ_{s,t} σ_st(v) / σ_st over directed shortest paths (Brandes 2001), from sampled sources
             s and scaled to all (Brandes & Pich 2007)
"""

from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
from numpy.random import Generator

from penchant.data.snapshot import Follows
from penchant.features.graph_kernels import betweenness_of, pagerank_step, triangles
from penchant.kernel.arrays import F32, F64, Csr, Rows, readonly
from penchant.kernel.parallel import spread

DAMPING = 0.85
PIVOTS = 256
_PIVOTS_AT_ONCE = 16


@dataclass(frozen=True, kw_only=True)  # no slots: what is derived is kept once found
class FollowGraph:
    """n users and m different follows, nobody following themselves.

    Row v of ``following`` lists whom v follows, row v of ``followers`` who follows v, both ascending.
    """

    following: Csr  # (n, n) of ones
    followers: Csr  # its transpose

    @classmethod
    def of(cls, follows: Follows, n_users: int) -> "FollowGraph":
        """Build from the follows of a snapshot of ``n_users``; repeated ones count once."""
        real = follows.follower != follows.followed
        return cls.between(follows.follower[real], follows.followed[real], n_users)

    @classmethod
    def between(cls, follower: Rows, followed: Rows, n_users: int) -> "FollowGraph":
        """Build from edges (m,) that may repeat; none from a user to itself."""
        ones = np.ones(len(follower), np.float32)
        summed = Csr.summed(follower, followed, ones, n_rows=n_users, n_columns=n_users)
        once = readonly(np.ones(summed.nnz, np.float32))
        following = Csr(indptr=summed.indptr, indices=readonly(summed.indices), data=once, n_columns=n_users)
        return cls(following=following, followers=following.transpose())

    @property
    def n_users(self) -> int:
        """Return the number of users, those without a follow included."""
        return self.following.n_rows

    @property
    def n_follows(self) -> int:
        """Return the number of follows."""
        return self.following.nnz

    @cached_property
    def ties(self) -> Csr:
        """Return the undirected graph: symmetric, a tie weighs 1, and 2 where both follow each other."""
        one = np.repeat(np.arange(self.n_users, dtype=np.int32), np.diff(self.following.indptr))
        other = self.following.indices
        n = self.n_users
        weight = np.ones(2 * len(one), np.float32)
        return Csr.summed(
            np.concatenate([one, other]), np.concatenate([other, one]), weight, n_rows=n, n_columns=n
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphFeatures:
    """What the graph says of each user; every field is (n_users,) float32."""

    followers: F32
    following: F32
    mutual: F32
    clustering: F32
    pagerank: F32
    betweenness: F32

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Return the names of the fields, which are those of the users' columns."""
        return tuple(field.name for field in fields(cls))

    def matrix(self) -> F32:
        """Return (n_users, 6) for clustering: counts and centralities as log(1 + x / mean), standardised."""
        if len(self.followers) == 0:
            return readonly(np.zeros((0, len(self.names())), np.float32))
        columns: list[F64] = []
        for name in self.names():
            values = np.asarray(getattr(self, name), np.float64)
            mean = values.mean()
            if name != "clustering" and mean > 0:
                values = np.log1p(values / mean)
            columns.append((values - values.mean()) / (values.std() or 1.0))
        return readonly(np.stack(columns, axis=1).astype(np.float32))


def graph_features(graph: FollowGraph, *, rng: Generator, pivots: int = PIVOTS) -> GraphFeatures:
    """Return every feature of every user; betweenness from at most ``pivots`` sources."""
    ties = graph.ties
    both = np.bincount(_owners(ties)[ties.data > 1], minlength=graph.n_users)
    return GraphFeatures(
        followers=readonly(np.diff(graph.followers.indptr).astype(np.float32)),
        following=readonly(np.diff(graph.following.indptr).astype(np.float32)),
        mutual=readonly(both.astype(np.float32)),
        clustering=clustering(graph),
        pagerank=pagerank(graph),
        betweenness=betweenness(graph, rng=rng, pivots=pivots),
    )


def clustering(graph: FollowGraph) -> F32:
    """Return the share of pairs of each user's neighbours that are tied themselves, 0 without a pair."""
    ties = graph.ties
    degree = np.diff(ties.indptr)
    # Each triangle is found once, from its user of lowest degree: O(m^1.5) also where somebody has all ties.
    rank = np.empty(graph.n_users, np.int64)
    rank[np.lexsort((np.arange(graph.n_users), degree))] = np.arange(graph.n_users)
    owner = _owners(ties)
    up = rank[owner] < rank[ties.indices]
    counts = np.bincount(owner[up], minlength=graph.n_users)
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    found = triangles(indptr, ties.indices[up])
    pairs = degree * (degree - 1) / 2
    return readonly((found / np.maximum(pairs, 1)).astype(np.float32))


def pagerank(graph: FollowGraph, *, damping: float = DAMPING, tolerance: float = 1e-10) -> F32:
    """Return the share of visits of somebody who goes from follower to followed; sums to 1."""
    n = graph.n_users
    if n == 0:
        return readonly(np.zeros(0, np.float32))
    out = np.diff(graph.following.indptr).astype(np.float64)
    rank = np.full(n, 1.0 / n)
    for _ in range(1000):
        share = np.divide(rank, out, out=np.zeros(n), where=out > 0)
        lost = rank[out == 0].sum()
        after = pagerank_step(graph.followers.indptr, graph.followers.indices, share)
        after = (1 - damping) / n + damping * (after + lost / n)
        if np.abs(after - rank).sum() < tolerance:
            return readonly(after.astype(np.float32))
        rank = after
    return readonly(rank.astype(np.float32))


def betweenness(graph: FollowGraph, *, rng: Generator, pivots: int = PIVOTS) -> F32:
    """Return the share of ordered pairs of others whose shortest paths lead over each user.

    Exact with as many ``pivots`` as users, else an unbiased estimate; the same rng gives the same bytes on
    any number of threads.
    """
    n = graph.n_users
    if n < 3:
        return readonly(np.zeros(n, np.float32))
    chosen = np.sort(rng.choice(n, min(pivots, n), replace=False)).astype(np.int32)
    indptr, indices = graph.following.indptr, graph.following.indices
    parts = spread(
        lambda start, stop: betweenness_of(indptr, indices, chosen[start:stop]),
        len(chosen),
        chunk=_PIVOTS_AT_ONCE,
    )
    total = np.zeros(n)
    for part in parts:
        total += part
    return readonly((total * (n / len(chosen)) / ((n - 1) * (n - 2))).astype(np.float32))


def _owners(matrix: Csr) -> Rows:
    return np.repeat(np.arange(matrix.n_rows, dtype=np.int32), np.diff(matrix.indptr))
