"""The lookalike method that Coupang described in 2018, as specified: divergence, weights, distance.

Kept for comparison and for reports that must match it. It is noisy on small seed lists, symmetric and
single-centred; `penchant.audiences.ensemble` is what `auto` uses.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import msgspec
import numpy as np

from penchant.audiences.divergence import BINS, histogram, jensen_shannon, value_range, weights
from penchant.features.matrix import Features
from penchant.kernel.arrays import F32, F64, Bools, Rows, readonly
from penchant.kernel.compiled import kernel, prange
from penchant.kernel.errors import InputError
from penchant.kernel.progress import Progress, Silent, track

Distance: TypeAlias = Literal["euclidean", "cosine", "mahalanobis"]


class Coupang(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Features with JS >= ``threshold``, the ``max_features`` highest of them, weighted by JS^``focus``."""

    threshold: float = 0.05
    max_features: int = 20
    focus: float = 1.0
    bins: int = BINS
    distance: Distance = "euclidean"

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold must be between 0 and 1, not {self.threshold}.")
        if self.max_features < 1:
            raise ValueError(f"max_features must be at least 1, not {self.max_features}.")
        if self.focus <= 0:
            raise ValueError(f"focus must be above 0, not {self.focus}.")
        if not 2 <= self.bins <= 10_000:
            raise ValueError(f"bins must be between 2 and 10000, not {self.bins}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class TopFeatures:
    """The selected features, highest divergence first, ties by column."""

    columns: Rows  # (m,) columns of the features
    divergence: F64  # (m,)
    weight: F64  # (m,), sums to 1


def divergences(
    features: Features,
    seeds: Rows,
    population: Rows,
    *,
    bins: int = BINS,
    progress: Progress | None = None,
) -> F64:
    """Return JS of each feature (d,), seeds against population, "never" as a bin of its own.

    The bins have equal width between the smallest and largest value of seeds and population together.
    """
    found = np.empty(len(features))
    for j in track(Silent() if progress is None else progress, "divergence", range(len(features))):
        found[j] = column_divergence(features.values[j], seeds, population, bins=bins)
    return found


def column_divergence(
    column: F32, seeds: Rows, population: "Rows | None" = None, *, bins: int = BINS
) -> float:
    """Return JS of one feature (n,); ``population`` None is everybody, and needs no copy."""
    every = column if population is None else column[population]
    chosen = column[seeds]
    (low, high), (low_s, high_s) = value_range(every), value_range(chosen)
    low, high = min(low, low_s), max(high, high_s)
    return float(jensen_shannon(histogram(chosen, low, high, bins), histogram(every, low, high, bins)))


def select(divergence: F64, config: Coupang) -> TopFeatures:
    """Return the top features.

    Raises:
        InputError: no feature reaches the threshold (the critical error of the published system).
    """
    order = np.argsort(-divergence, kind="stable")[: config.max_features]
    top = order[divergence[order] >= max(config.threshold, np.finfo(np.float64).tiny)]
    if not len(top):
        best = f"The highest is {divergence.max():.4f}" if len(divergence) else "There is none"
        raise InputError(
            f"critical: no feature diverges between the seeds and the population by {config.threshold:g}. "
            f"{best}.",
            fix="Lower --threshold, or give a more specific seed list.",
        )
    return TopFeatures(
        columns=readonly(top.astype(np.int32)),
        divergence=readonly(divergence[top]),
        weight=readonly(weights(divergence[top], config.focus)),
    )


def distances(
    features: Features, seeds: Rows, population: Rows, top: TopFeatures, distance: Distance = "euclidean"
) -> F64:
    """Return how far each of the population is from the persona, the mean of the seeds: (n,), 0 is nearest.

    z_ij = (x_ij - mean_j) / sd_j over the population, times w_j; so the squared Euclidean distance to the
    persona carries w_j^2. Never counts as no purchase, so as 0, in the mean as in the distance: the method
    needs a number there, and with the mean instead people without any activity look most alike.
    """
    if distance == "mahalanobis":
        return _mahalanobis(features, seeds, population, top)
    squares, dots, length = np.zeros(len(population)), np.zeros(len(population)), 0.0
    for j, weight in zip(top.columns, top.weight, strict=True):
        column = features.values[j]
        mean, spread = _moments(column, population)
        persona, _ = _moments(column, seeds)
        factor = weight / spread if spread > 0 else weight
        centre = (persona - mean) * factor
        length += centre * centre
        origin = persona if distance == "euclidean" else mean
        _add(column, population, origin, factor, centre, squares, dots)
    if distance == "cosine":
        return 1 - dots / np.maximum(np.sqrt(squares * length), 1e-300)
    return np.sqrt(squares)


@kernel()
def _moments(column: F32, rows: Rows) -> tuple[float, float]:
    """Return mean and standard deviation over some rows, NaN counted as 0."""
    total, count = 0.0, max(len(rows), 1)
    for row in rows:
        if not np.isnan(column[row]):
            total += float(column[row])
    mean, squares = total / count, 0.0
    for row in rows:
        gap = -mean if np.isnan(column[row]) else float(column[row]) - mean
        squares += gap * gap
    return mean, float(np.sqrt(squares / count))


@kernel(parallel=True)
def _add(
    column: F32, rows: Rows, origin: float, factor: float, centre: float, squares: F64, dots: F64
) -> None:
    for i in prange(len(rows)):
        value = column[rows[i]]
        z = ((0.0 if np.isnan(value) else value) - origin) * factor
        squares[i] += z * z
        dots[i] += z * centre


def _mahalanobis(features: Features, seeds: Rows, population: Rows, top: TopFeatures) -> F64:
    """Return the distance to the persona in the population's covariance; weights cancel in it."""
    z = _filled(features.values[top.columns][:, population])
    spread = z.std(1, keepdims=True)
    spread[spread == 0] = 1.0
    persona = _filled(features.values[top.columns][:, seeds]).mean(1, keepdims=True) / spread
    z /= spread
    covariance = np.atleast_2d(np.cov(z)) + 1e-9 * np.eye(len(z))
    z -= persona
    return np.sqrt(np.maximum(np.einsum("ij,ij->j", z, np.linalg.solve(covariance, z)), 0.0))


def _filled(values: F32) -> F64:
    return np.nan_to_num(values.astype(np.float64), nan=0.0)


def score(
    features: Features,
    seeds: Rows,
    population: Rows,
    config: Coupang,
    *,
    allowed: "Bools | None" = None,
    progress: Progress | None = None,
) -> tuple[F64, TopFeatures]:
    """Return minus the distance of each of the population (n,), and the features it was measured in.

    ``allowed`` (d,) leaves out features that the caller hides.
    """
    divergence = divergences(features, seeds, population, bins=config.bins, progress=progress)
    if allowed is not None:
        divergence = np.where(allowed, divergence, 0.0)
    top = select(divergence, config)
    return -distances(features, seeds, population, top, config.distance), top
