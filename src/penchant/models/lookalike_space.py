"""Personas as a space: where attributes put a user, and which persona's centre is near."""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from penchant.kernel.arrays import F32, Bools, Rows, readonly
from penchant.models.user_clusters import assign, k_means, soft_assign, svd_basis


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonaSpace:
    """k personas: ``basis`` (d, r) of an uncentred SVD, ``centres`` (k, r), users' ``points`` (n, r).

    ``labels`` (n,) are -1 for users without attributes; ``spread`` is the temperature of a soft membership.
    """

    basis: F32
    centres: F32
    spread: float
    points: F32
    labels: Rows

    @property
    def k(self) -> int:
        """Return the number of personas."""
        return len(self.centres)

    def members(self, points: F32, *, soft: bool) -> F32:
        """Return the membership of points (n, r) in each persona, (n, k); rows sum to 1."""
        # A spread of nearly nothing is the limit of soft membership: the nearest centre alone.
        return soft_assign(points, self.centres, temperature=self.spread if soft else 1e-6)

    def means_of(self, coordinates: F32) -> F32:
        """Return the mean of the users' coordinates (n, m) in each persona, (k, m)."""
        one = (self.labels[:, None] == np.arange(self.k)).astype(np.float64)
        size = np.maximum(one.sum(axis=0), 1)[:, None]
        return readonly(((one.T @ coordinates) / size).astype(np.float32))

    def nearest(self, values: F32) -> int:
        """Return the persona of one user's features (d,)."""
        return int(assign((values @ self.basis)[None], self.centres)[0])


def find_personas_of(
    values: F32, known: Bools, users: Rows, *, rank: int, clusters: int, rng: Generator
) -> PersonaSpace:
    """Cluster those of ``users`` whose attributes are known; place everybody else who has some."""
    dense = users[known[users]]
    if len(dense) == 0:
        d, n = values.shape[1], len(values)
        return PersonaSpace(
            basis=readonly(np.zeros((d, 0), np.float32)),
            centres=readonly(np.zeros((0, 0), np.float32)),
            spread=1.0,
            points=readonly(np.zeros((n, 0), np.float32)),
            labels=readonly(np.full(n, -1, np.int32)),
        )
    basis = svd_basis(values[dense], rank)
    points = basis.project(values)
    distinct = len(np.unique(points[dense], axis=0))
    found = k_means(points[dense], min(clusters, distinct), rng=rng)
    return PersonaSpace(
        basis=basis.vectors,
        centres=found.centres,
        spread=max(float(np.sqrt(found.inertia / len(dense))), 1e-6),
        points=readonly(points),
        labels=readonly(np.where(known, assign(points, found.centres), -1).astype(np.int32)),
    )
