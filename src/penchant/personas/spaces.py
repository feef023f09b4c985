"""Where users are clustered: by what is known of them, or by what they do.

    attributes   points are the uncentred SVD of the features
    behaviour    points are the directions of the factors of implicit ALS, x_u / ‖x_u‖; a user without a
                 history is placed by ridge regression of the points on the features, W = (ZᵀZ + λ I)⁻¹ Zᵀ P

Behaviour clusters explain behaviour by construction, so they are judged as they would serve somebody new:
each user is placed by a regression that has not seen them, and that placement is held against what they do
(Briand et al. 2021 cluster in the space of behaviour in the same way).
"""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from penchant.data.snapshot import Snapshot
from penchant.features.user_features import UserMatrix
from penchant.kernel.arrays import F32, F64, AnyArray, Rows, readonly
from penchant.kernel.errors import InputError
from penchant.kernel.progress import Silent
from penchant.models.ials import Ials
from penchant.models.user_clusters import svd_basis

_FEWEST = 10
_FOLDS = 5
_PENALTIES = (10.0, 100.0, 1000.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """``rows`` (m,) are the users who have a point, ``points`` (m, r).

    ``kept`` is how much of the features the points hold; in the space of behaviour how much of where users
    stand their attributes tell, of users not learnt from (R²). ``placed`` (n_users, r) is where attributes
    put each user, by a regression without them; zero rows where nothing is known; None for attributes.
    """

    rows: Rows
    points: F32
    kept: float
    placed: F32 | None = None


def attribute_space(matrix: UserMatrix, *, rank: int) -> Space:
    """Return the users of whom something is known, in the first ``rank`` dimensions of their features.

    Raises:
        InputError: there are fewer than 10.
    """
    rows = np.flatnonzero(matrix.known).astype(np.int32)
    if len(rows) < _FEWEST:
        raise InputError(
            f"only {len(rows)} users have any attribute, too few for personas.",
            fix="Import users with attributes.",
        )
    basis = svd_basis(matrix.values[rows], rank)
    return Space(rows=rows, points=basis.project(matrix.values[rows]), kept=basis.energy)


def behaviour_space(snapshot: Snapshot, matrix: UserMatrix, *, factors: int, rng: Generator) -> Space:
    """Return the users who did something in the space of their tastes, and where attributes put everybody.

    Raises:
        InputError: fewer than 10 users did anything and have an attribute.
    """
    model = Ials(factors=factors).train(snapshot, rng=rng, progress=Silent())
    length = np.linalg.norm(model.user_factors, axis=1)
    rows = np.flatnonzero(length > 0).astype(np.int32)
    told = np.flatnonzero((length > 0) & matrix.known)
    if len(told) < _FEWEST:
        raise InputError(
            f"only {len(told)} users did something and have an attribute, too few for personas of behaviour.",
            fix="Use --space attributes, or import more.",
        )
    points = model.user_factors[rows] / length[rows, None]
    place = np.zeros(snapshot.n_users, np.int64)
    place[rows] = np.arange(len(rows))
    placed, kept = _place(matrix, told, points[place[told]].astype(np.float64), rng)
    return Space(rows=rows, points=readonly(points), kept=kept, placed=placed)


def _place(matrix: UserMatrix, told: AnyArray, target: F64, rng: Generator) -> tuple[F32, float]:
    """Return everybody's place and the R² on users not learnt from, at the penalty that makes it largest."""
    x = matrix.values.astype(np.float64)
    fold = rng.permutation(len(told)) % _FOLDS
    spread = float(((target - target.mean(axis=0)) ** 2).sum()) or 1.0

    def crossed(penalty: float) -> F64:
        out = np.empty_like(target)
        for held in range(_FOLDS):
            mine, others = fold == held, fold != held
            out[mine] = _ridge(x[told[others]], target[others], x[told[mine]], penalty)
        return out

    tried = [(penalty, crossed(penalty)) for penalty in _PENALTIES]
    errors = [float(((target - found) ** 2).sum()) for _, found in tried]
    penalty, own = tried[int(np.argmin(errors))]
    placed = np.zeros((len(x), target.shape[1]))
    known = np.flatnonzero(matrix.known)
    placed[known] = _ridge(x[told], target, x[known], penalty)
    placed[told] = own
    length = np.linalg.norm(placed, axis=1, keepdims=True)
    placed /= np.where(length > 0, length, 1.0)
    return readonly(placed.astype(np.float32)), 1 - min(errors) / spread


def _ridge(x: F64, y: F64, at: F64, penalty: float) -> F64:
    """Return what a ridge regression of y on x says ``at`` other rows; the mean is not penalised."""
    mean, usual = x.mean(axis=0), y.mean(axis=0)
    z = x - mean
    w = np.linalg.solve(z.T @ z + penalty * np.eye(z.shape[1]), z.T @ (y - usual))
    return usual + (at - mean) @ w
