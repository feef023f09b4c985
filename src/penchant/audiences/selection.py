"""Which features tell the seeds from everybody, if any does: decided by a permutation null.

With no signal at all, the divergence of a sparse feature under thirty seeds passes the usual threshold of
0.05 four times in five. So every feature is measured against seed lists of the same size drawn at random from
the same population, and the whole list is refused when it looks like one of those.
"""

from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.random import Generator
from scipy.special import gammaincc

from penchant.audiences.divergence import jensen_shannon
from penchant.features.codes import Codes, CodeStore
from penchant.kernel.arrays import F64, U8, Bools, Rows, readonly
from penchant.kernel.progress import Progress, Silent

_SAMPLE = 20_000
_MOST = 20_000  # seeds that are measured: more would only sharpen what is certain
_AT_ONCE = 4_000_000  # rows of random lists held at a time


class Selection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How features are chosen.

    ``support``: a feature needs this many seeds, and this share of the population, on either side of
    "never". ``false_share``: the expected share of false features among the chosen (Benjamini and Hochberg
    1995). ``refuse_at``: the chance that a list without any signal is let through. ``alike``: of two chosen
    features with a rank correlation of at least this, the weaker goes.
    """

    support_seeds: int = 5
    support_share: float = 0.002
    false_share: float = 0.05
    refuse_at: float = 0.01
    draws: int = 199
    alike: float = 0.95

    def __post_init__(self) -> None:
        if self.draws < 19:
            raise ValueError(f"draws must be at least 19, not {self.draws}.")
        for name in ("false_share", "refuse_at", "alike", "support_share"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} must be between 0 and 1, not {getattr(self, name)}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """What the scan of all features found; arrays are (d,), ``chosen`` is strongest first."""

    divergence: F64  # JS in bits on the quantile codes
    strength: F64  # standard deviations above the null; 0 where support is missing
    p_value: F64  # of the feature, 1 where support is missing
    supported: Bools
    chosen: Rows  # columns that pass the false discovery rate, pruned of those alike
    p_overall: float  # chance that seeds drawn at random look this different
    refused: bool


def scan(
    store: Codes,
    seeds: Rows,
    config: Selection,
    *,
    rng: Generator,
    sample: CodeStore,
    allowed: "Bools | None" = None,
    progress: Progress | None = None,
) -> Signal:
    """Measure every feature of ``store`` for the seeds (rows of the store) against the permutation null.

    ``sample`` is the store of some of the users, or of all: it tells which features are alike.

    The null of a feature is a gamma distribution with the mean and variance of ``draws`` random lists (a
    divergence is close to a scaled chi-squared); the null of the whole list is exact: the rank of its
    largest and of its mean strength among those of the random lists. Of a longer list 20,000 seeds drawn at
    random are measured.
    """
    seeds = seeds if len(seeds) <= _MOST else np.sort(rng.choice(seeds, _MOST, replace=False))
    mine = store.histograms(seeds[None, :])[0]
    divergence = jensen_shannon(mine, store.counts)
    supported = _supported(store, len(seeds), config)
    if allowed is not None:
        supported &= allowed
    null = _null(store, len(seeds), supported, config.draws, rng, Silent() if progress is None else progress)
    mean, variance = null.mean(0), np.maximum(null.var(0, ddof=1), 1e-18)
    strength, p_value = np.zeros(len(store.book)), np.ones(len(store.book))
    strength[supported] = (divergence[supported] - mean) / np.sqrt(variance)
    shape, scale = mean**2 / variance, variance / np.maximum(mean, 1e-18)
    p_value[supported] = gammaincc(shape, divergence[supported] / scale)
    p_overall = _overall(strength[supported], (null - mean) / np.sqrt(variance))
    refused = p_overall > config.refuse_at
    passed = np.flatnonzero(_discoveries(p_value, supported, config.false_share))
    ordered = passed[np.lexsort((passed, -strength[passed]))].astype(np.int32)
    chosen = ordered[:0] if refused else prune(sample.codes, ordered, config.alike)
    return Signal(
        divergence=readonly(divergence),
        strength=readonly(strength),
        p_value=readonly(p_value),
        supported=readonly(supported),
        chosen=readonly(chosen),
        p_overall=p_overall,
        refused=refused,
    )


def _null(store: Codes, seeds: int, measured: Bools, draws: int, rng: Generator, progress: Progress) -> F64:
    """Return the divergence (draws, measured) of seed lists drawn at random from everybody.

    The lists of one batch are counted in one pass over the store.
    """
    null = np.empty((draws, int(measured.sum())))
    batch = min(draws, max(_AT_ONCE // max(seeds, 1), 1))
    progress.start("random seed lists", draws)
    for first in range(0, draws, batch):
        lists = [rng.choice(store.n_users, seeds, replace=False) for _ in range(min(batch, draws - first))]
        found = store.histograms(np.array(lists, np.int32), measured)[:, measured]
        null[first : first + len(found)] = jensen_shannon(found, store.counts[measured])
        progress.advance(len(found))
    return null


def _supported(store: Codes, seeds: int, config: Selection) -> Bools:
    """Mark features that vary enough to be measured: their commonest code leaves enough users over."""
    rest = store.n_users - store.counts.max(1)
    expected = rest * (seeds / max(store.n_users, 1))
    return (rest >= config.support_share * store.n_users) & (expected >= config.support_seeds)


def _overall(strength: F64, null: F64) -> float:
    """Return twice the smaller exact permutation p-value: of the largest and of the mean strength."""
    if not len(strength):
        return 1.0
    draws = len(null)
    largest = (1 + (null.max(1) >= strength.max()).sum()) / (draws + 1)
    typical = (1 + (null.mean(1) >= strength.mean()).sum()) / (draws + 1)
    return float(min(2 * min(largest, typical), 1.0))


def _discoveries(p_value: F64, tested: Bools, share: float) -> Bools:
    """Mark the features that pass Benjamini-Hochberg at ``share`` among those tested."""
    order = np.argsort(p_value, kind="stable")
    m = int(tested.sum())
    below = p_value[order] <= share * np.arange(1, len(order) + 1) / max(m, 1)
    last = int(np.flatnonzero(below)[-1]) + 1 if below.any() else 0
    passed = np.zeros(len(p_value), bool)
    passed[order[:last]] = True
    return passed & tested


def prune(codes: U8, ordered: Rows, alike: float, *, most: int = 1000) -> Rows:
    """Keep the features of ``ordered`` that are not nearly the same as an earlier kept one.

    Alike is an absolute correlation of the codes, which are ranks, of at least ``alike``, over at most
    20,000 users.
    """
    step = -(-codes.shape[1] // _SAMPLE)
    sample = codes[ordered, ::step].astype(np.float32)
    sample -= sample.mean(1, keepdims=True)
    sample /= np.maximum(np.linalg.norm(sample, axis=1, keepdims=True), 1e-12)
    kept: list[int] = []
    for place, candidate in enumerate(sample):
        if len(kept) == most:
            break
        if not kept or np.abs(sample[: len(kept)] @ candidate).max() < alike:
            sample[len(kept)] = candidate  # the kept ones stand together at the front
            kept.append(place)
    return ordered[kept]
