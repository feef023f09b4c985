"""Clusters of users: uncentred SVD, k-means with restarts, the elbow, and ids that survive a retrain."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from scipy.optimize import linear_sum_assignment

from penchant.kernel.arrays import F32, I64, Rows, readonly
from penchant.kernel.errors import InputError

_SAMPLE = 50_000  # restarts run on at most this many users, the winner is then refined on all
_SILHOUETTE_SAMPLE = 5_000
_PIECE = 16_384


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """The d x r right singular vectors of an uncentred matrix and how much of its energy they hold."""

    vectors: F32  # (d, r)
    energy: float  # in [0, 1]

    def project(self, values: F32) -> F32:
        """Return (n, r) coordinates of (n, d) rows."""
        return values @ self.vectors


@dataclass(frozen=True, slots=True, kw_only=True)
class Clusters:
    """k clusters: ``labels`` (n,) in 0..k-1, ``centres`` (k, r), ``inertia`` = sum of squared distances."""

    labels: Rows
    centres: F32
    inertia: float

    @property
    def k(self) -> int:
        """Return the number of clusters."""
        return len(self.centres)


@dataclass(frozen=True, slots=True, kw_only=True)
class Elbow:
    """The within-cluster sum of squares against k, the silhouette beside it, and the k chosen."""

    ks: tuple[int, ...]
    wcss: tuple[float, ...]
    silhouette: tuple[float, ...]
    chosen: int


def svd_basis(values: F32, rank: int) -> Basis:
    """Return the top right singular vectors: with X = U S Vᵀ, XᵀX = V S² Vᵀ.

    The Gram matrix is d x d, so a million users cost one matrix product and a small eigenproblem. A vector's
    sign is set so that its largest entry is positive: the same data gives the same bytes.
    """
    gram = np.zeros((values.shape[1], values.shape[1]))
    for start in range(0, len(values), _PIECE):  # a whole copy in float64 would cost more than the product
        piece = values[start : start + _PIECE].astype(np.float64)
        gram += piece.T @ piece
    energy, vectors = np.linalg.eigh(gram)
    top = np.argsort(energy, kind="stable")[::-1][: min(rank, values.shape[1])]
    chosen = vectors[:, top]
    largest = chosen[np.abs(chosen).argmax(axis=0), np.arange(len(top))]
    chosen = chosen * np.where(largest < 0, -1.0, 1.0)
    total = float(np.maximum(energy, 0).sum()) or 1.0
    return Basis(
        vectors=readonly(chosen.astype(np.float32)), energy=float(np.maximum(energy[top], 0).sum()) / total
    )


def k_means(points: F32, k: int, *, rng: Generator, restarts: int = 8) -> Clusters:
    """Cluster (n, r) points: k-means++ with the best of ``restarts``, refined by Lloyd steps on all points.

    Raises:
        InputError: there are fewer distinct points than clusters.
    """
    n = len(points)
    if k < 1 or k > n:
        raise InputError(f"cannot make {k} clusters of {n} users.", fix=f"Ask for 1 to {n}.")
    sample = points if n <= _SAMPLE else points[np.sort(rng.choice(n, _SAMPLE, replace=False))]
    seed = int(rng.integers(1 << 31))
    from sklearn.cluster import KMeans  # heavy: only here

    make: Any = KMeans  # scikit-learn's own types narrow n_init to text
    first = make(k, n_init=restarts, random_state=seed, max_iter=100).fit(sample)
    if n <= _SAMPLE:
        return _clusters(first)
    return _clusters(make(k, init=first.cluster_centers_, n_init=1, max_iter=20).fit(points))


def find_elbow(points: F32, *, rng: Generator, most: int = 15) -> Elbow:
    """Choose k where the curve of WCSS lies furthest below the chord between its ends.

    With both axes scaled to [0, 1] the distance is y_chord - y (Satopää et al. 2011, "Kneedle").
    """
    n = len(points)
    distinct = len(np.unique(points[: 20 * _SILHOUETTE_SAMPLE], axis=0))
    ks = tuple(range(1, min(most, distinct - 1, n - 1) + 1))
    if len(ks) < 3:
        raise InputError(
            f"{distinct} distinct users are too few to choose a number of clusters.", fix="Give --k yourself."
        )
    fits = [k_means(points, k, rng=rng, restarts=4) for k in ks]
    wcss = np.array([fit.inertia for fit in fits])
    x = (np.array(ks) - ks[0]) / (ks[-1] - ks[0])
    y = (wcss - wcss[-1]) / max(wcss[0] - wcss[-1], 1e-12)
    chosen = ks[int(np.argmax(1 - x - y))]
    shown = rng.choice(n, min(n, _SILHOUETTE_SAMPLE), replace=False)
    return Elbow(
        ks=ks,
        wcss=tuple(wcss.tolist()),
        silhouette=tuple(_silhouette(points[shown], fit.labels[shown]) for fit in fits),
        chosen=max(chosen, 2),
    )


def assign(points: F32, centres: F32) -> Rows:
    """Return the nearest centre of each point, the lower number on a tie."""
    distance = (centres * centres).sum(axis=1) - 2 * points @ centres.T
    return readonly(distance.argmin(axis=1).astype(np.int32))


def soft_assign(points: F32, centres: F32, *, temperature: float) -> F32:
    """Return (n, k) memberships ∝ exp(-‖x - c‖² / (2 temperature²)), rows sum to 1."""
    distance = ((points[:, None, :] - centres[None]) ** 2).sum(axis=2)
    z = -(distance - distance.min(axis=1, keepdims=True)) / (2 * temperature * temperature)
    weight = np.exp(z)
    return readonly((weight / weight.sum(axis=1, keepdims=True)).astype(np.float32))


def keep_ids(new: Clusters, old_labels: Rows) -> Clusters:
    """Renumber ``new`` so that as many users as possible keep the number they had (Hungarian matching).

    ``old_labels`` (n,) holds each user's former cluster, -1 for users who had none. Clusters without a
    counterpart take the numbers that are left.
    """
    both = old_labels >= 0
    n_old = int(old_labels.max(initial=-1)) + 1
    size = max(new.k, n_old)
    overlap = np.zeros((size, size), np.int64)
    np.add.at(overlap, (new.labels[both], old_labels[both]), 1)
    rows, columns = linear_sum_assignment(overlap, maximize=True)
    target = np.empty(size, np.int64)
    target[rows] = columns
    wanted = target[: new.k]
    # With more old numbers than new clusters some targets lie beyond k: squeeze them, keeping order.
    rank = np.argsort(np.argsort(wanted, kind="stable"), kind="stable") if wanted.max() >= new.k else wanted
    return _renumbered(new, rank)


def _renumbered(clusters: Clusters, number: I64) -> Clusters:
    centres = np.empty_like(clusters.centres)
    centres[number] = clusters.centres
    return Clusters(
        labels=readonly(number[clusters.labels].astype(np.int32)),
        centres=readonly(centres),
        inertia=clusters.inertia,
    )


def _clusters(fitted: Any) -> Clusters:
    """Number clusters by falling size, so that the same clustering has the same numbers."""
    labels, centres = np.asarray(fitted.labels_), np.asarray(fitted.cluster_centers_)
    sizes = np.bincount(labels, minlength=len(centres))
    order = np.lexsort((centres[:, 0], -sizes))
    number = np.empty(len(order), np.int64)
    number[order] = np.arange(len(order))
    return Clusters(
        labels=readonly(number[labels].astype(np.int32)),
        centres=readonly(centres[order].astype(np.float32)),
        inertia=float(fitted.inertia_),
    )


def _silhouette(points: F32, labels: Rows) -> float:
    found = len(np.unique(labels))
    from sklearn.metrics import silhouette_score  # heavy: only here

    return float(silhouette_score(points, labels)) if 1 < found < len(points) else 0.0
