"""What people like a user want: a preference for every item from attributes alone.

With t_ui in [0, 1] what user u took of item i, faded by age, p = mean over all users of t, and over the users
whose attributes x are known q = mean of t and z = x - mean of x:

    ridge:    t_u ≈ q + zᵀW        W = (ZᵀZ + λ I)⁻¹ Zᵀ (T - q)
    taste:    t_u ≈ Y (m + zᵀV)    V = (ZᵀZ + λ I)⁻¹ Zᵀ (U - m), m mean of U; few factors U, Y of implicit
                                   ALS; averaged over several that fade faster or slower
    cluster:  t_u ≈ Σ_c m_uc t̄_c   t̄_c = mean of t over cluster c of an uncentred SVD of x (or m soft)
    prior_u = (1 - s) p + s t_u    for a user with attributes, p for everybody else

The cluster reading is that of the published lookalike clustering; there t̄_c may also be what is predicted for
the pivot, the one dense user nearest the centre of c. Briand et al. (KDD 2021, Deezer) place new users in the
space of behaviour instead of clustering their attributes; so does `taste`. Its directions are learnt from
everybody, also from those whose attributes nobody knows: what few take is not lost in the noise of the few
with attributes who took it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from scipy.sparse import csr_array

from penchant.data.snapshot import Snapshot
from penchant.features.confidence import event_weights
from penchant.features.user_encoder import UserEncoder
from penchant.kernel.arrays import F32, F64, AnyArray, Bools, Rows, readonly
from penchant.kernel.durations import seconds_of
from penchant.models.ials import IalsModel
from penchant.models.lookalike_pivots import Pivots
from penchant.models.lookalike_space import PersonaSpace

Place = Literal["taste", "ridge", "cluster"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """``values`` (n_users, d), of which users at least one value is known (n_users,), and the encoder."""

    values: F32
    known: Bools
    encoder: UserEncoder = field(default_factory=lambda: UserEncoder(codes=[]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Preference as a product of a user's coordinates with directions over items.

    ``shared`` (n_items,) is p; ``own`` (n_users, m) with ``directions`` (m, n_items) is the second term,
    zero rows for users without attributes.
    """

    shared: F32
    own: F32
    directions: F32
    mean: F64 = field(
        default_factory=lambda: readonly(np.zeros(0))
    )  # (d,) of the features, where a ridge places
    pivots: Pivots | None = None  # whose preferences the directions are

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
    return _by_attributes(shared_preference(taken, users), attributes, mean, np.concatenate([usual[None], w]))


def by_taste(
    taken: csr_array, attributes: Attributes, users: Rows, tastes: Sequence[IalsModel], penalty: float
) -> Placement:
    """Learn on those of ``users`` of whom there is a taste; place everybody with known attributes.

    ``tastes`` are one or more of the same users and items; what each makes of the attributes is averaged.
    """
    known = np.all([taste.user_factors.any(axis=1) for taste in tastes], axis=0)
    dense = users[attributes.known[users] & known[users]]
    if len(dense) == 0:  # nobody with attributes did anything
        return by_ridge(taken, attributes, users, penalty)
    mean = attributes.values[dense].mean(axis=0, dtype=np.float64)
    z = attributes.values[dense] - mean
    told = np.linalg.solve(z.T @ z + penalty * np.eye(z.shape[1]), z.T)
    directions = np.zeros((1 + z.shape[1], len(tastes[0].items)))
    for taste in tastes:
        x = taste.user_factors[dense].astype(np.float64)
        usual = x.mean(axis=0)
        from_attributes = np.concatenate([usual[None], told @ (x - usual)])
        directions += from_attributes @ taste.index.by_row().T.astype(np.float64) / len(tastes)
    return _by_attributes(shared_preference(taken, users), attributes, mean, directions)


def _by_attributes(shared: F32, attributes: Attributes, mean: F64, directions: F64) -> Placement:
    """Place who has attributes at [1, x - mean] over directions (1 + d, n_items)."""
    own = np.concatenate([np.ones((len(attributes.known), 1)), attributes.values - mean], axis=1)
    own[~attributes.known] = 0.0
    return Placement(
        shared=shared,
        own=readonly(own.astype(np.float32)),
        directions=readonly(directions.astype(np.float32)),
        mean=readonly(mean),
    )


def by_cluster(taken: csr_array, space: PersonaSpace, users: Rows, *, soft: bool) -> Placement:
    """Give everybody of a persona the mean preference of those of ``users`` who belong to it."""
    dense = users[space.labels[users] >= 0]
    one = (space.labels[dense][:, None] == np.arange(space.k)).astype(np.float64)
    mean = np.asarray((taken[dense].T @ one).T) / np.maximum(one.sum(axis=0), 1)[:, None]
    return _by_persona(taken, space, users, mean, soft=soft)


def by_pivot(
    taken: csr_array, space: PersonaSpace, users: Rows, pivots: Pivots, taste: IalsModel, *, soft: bool
) -> Placement:
    """Give everybody of a persona what is predicted for its pivot."""
    wanted = pivots.predict(taste, np.arange(space.k, dtype=np.int32))
    return replace(_by_persona(taken, space, users, wanted, soft=soft), pivots=pivots)


def _by_persona(
    taken: csr_array, space: PersonaSpace, users: Rows, directions: AnyArray, *, soft: bool
) -> Placement:
    own = np.zeros((len(space.labels), space.k), np.float32)
    known = space.labels >= 0
    own[known] = space.members(space.points[known], soft=soft)
    return Placement(
        shared=shared_preference(taken, users),
        own=readonly(own),
        directions=readonly(directions.astype(np.float32)),
    )
