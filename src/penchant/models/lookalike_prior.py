"""What people like a user want: a preference for every item from attributes alone.

With t_ui in [0, 1] what user u took of item i, faded by age, p = mean over all users of t, and over the users
whose attributes x are known q = mean of t and z = x - mean of x:

    ridge:    t_u ≈ q + zᵀW        W = (ZᵀZ + λ I)⁻¹ Zᵀ (T - q)
    cluster:  t_u ≈ Σ_c m_uc t̄_c   t̄_c = mean of t over cluster c of an uncentred SVD of x (or m soft)
    prior_u = (1 - s) p + s t_u    for a user with attributes, p for everybody else

The cluster reading is that of the published lookalike clustering. Briand et al. (KDD 2021, Deezer) place new
users in the space of behaviour instead of clustering their attributes; so does `ridge`.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.random import Generator
from scipy.sparse import csr_array

from penchant.data.snapshot import Snapshot
from penchant.features.confidence import event_weights
from penchant.kernel.arrays import F32, Bools, Rows, readonly
from penchant.kernel.durations import seconds_of
from penchant.models.user_clusters import k_means, soft_assign, svd_basis

Place = Literal["ridge", "cluster"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """``values`` (n_users, d), and of which users at least one value is known (n_users,)."""

    values: F32
    known: Bools


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Preference as a product of a user's coordinates with directions over items.

    ``shared`` (n_items,) is p; ``own`` (n_users, m) with ``directions`` (m, n_items) is the second term,
    zero rows for users without attributes.
    """

    shared: F32
    own: F32
    directions: F32

    def coordinates(self, weight: float) -> F32:
        """Return (n_users, 1 + m) coordinates over `rows`: (1 - s) of p and s of the user's own."""
        known = self.own.any(axis=1)
        shared = np.where(known, 1.0 - weight, 1.0).astype(np.float32)
        return np.concatenate([shared[:, None], np.float32(weight) * self.own], axis=1)

    def rows(self) -> F32:
        """Return the (1 + m, n_items) directions, p first."""
        return np.concatenate([self.shared[None], self.directions])


def targets(snapshot: Snapshot, *, weights: dict[str, float], half_life: str) -> csr_array:
    """Return t (n_users, n_items): min(1, Σ event weight · 2^(-age / half_life)) of each pair."""
    weight = event_weights(
        snapshot.interactions,
        by_type=weights,
        half_life=seconds_of(half_life) if half_life else None,
        now=snapshot.cutoff,
    )
    seen = snapshot.interactions.pairs(weight, n_users=snapshot.n_users, n_items=snapshot.n_items)
    data = np.minimum(seen.data, np.float32(1)).astype(np.float64)
    return csr_array((data, seen.indices, seen.indptr), shape=(snapshot.n_users, snapshot.n_items))


def shared_preference(taken: csr_array, users: Rows) -> F32:
    """Return p over the given users."""
    total = np.asarray(taken[users].sum(axis=0)).ravel()
    return readonly((total / max(len(users), 1)).astype(np.float32))


def by_ridge(taken: csr_array, attributes: Attributes, users: Rows, penalty: float) -> Placement:
    """Learn on ``users``; place everybody with known attributes, so also who did nothing yet."""
    dense = users[attributes.known[users]]
    mean = attributes.values[dense].mean(axis=0, dtype=np.float64)
    z = attributes.values[dense] - mean
    theirs = taken[dense]
    usual = np.asarray(theirs.sum(axis=0)).ravel() / len(dense)
    moment = np.asarray((theirs.T @ z).T) - z.sum(axis=0)[:, None] * usual
    w = np.linalg.solve(z.T @ z + penalty * np.eye(z.shape[1]), moment)
    own = np.concatenate([np.ones((len(attributes.known), 1)), attributes.values - mean], axis=1)
    own[~attributes.known] = 0.0
    return Placement(
        shared=shared_preference(taken, users),
        own=readonly(own.astype(np.float32)),
        directions=readonly(np.concatenate([usual[None], w]).astype(np.float32)),
    )


def by_cluster(
    taken: csr_array,
    attributes: Attributes,
    users: Rows,
    *,
    rank: int,
    clusters: int,
    soft: bool,
    rng: Generator,
) -> Placement:
    """Cluster ``users`` by attributes and give everybody of a cluster its mean preference."""
    dense = users[attributes.known[users]]
    basis = svd_basis(attributes.values[dense], rank)
    points = basis.project(attributes.values)
    distinct = len(np.unique(points[dense], axis=0))
    found = k_means(points[dense], min(clusters, distinct), rng=rng)
    spread = float(np.sqrt(found.inertia / len(dense)))
    # A spread of nearly nothing is the limit of soft membership: the nearest centre alone.
    member = soft_assign(points, found.centres, temperature=max(spread, 1e-6) if soft else 1e-6)
    own = np.where(attributes.known[:, None], member, np.float32(0))
    one = (found.labels[:, None] == np.arange(found.k)).astype(np.float64)
    mean = np.asarray((taken[dense].T @ one).T) / np.maximum(one.sum(axis=0), 1)[:, None]
    return Placement(
        shared=shared_preference(taken, users),
        own=readonly(own.astype(np.float32)),
        directions=readonly(mean.astype(np.float32)),
    )
