"""How sure a number is: bootstrap intervals over users, paired differences and Holm's correction."""

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.random import Generator

from penchant.kernel.arrays import F64, readonly
from penchant.kernel.errors import InputError

RESAMPLES = 2_000
LEVEL = 0.95
_CELLS = 4_000_000  # draws held at once: 32 MB


class Interval(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A mean over users with its percentile bootstrap interval."""

    mean: float
    low: float
    high: float


class Difference(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much better ``first`` is than ``second`` on the same users.

    ``p`` is two-sided; ``p_holm`` is corrected for all differences of the same table.
    """

    first: str
    second: str
    metric: str
    mean: float
    low: float
    high: float
    p: float
    p_holm: float


def resampled_means(values: F64, *, rng: Generator, resamples: int = RESAMPLES) -> F64:
    """Return the means (resamples, m) of ``values`` (n, m) over users drawn with replacement.

    All columns share the draws, so a difference of two columns is a paired bootstrap (Efron & Tibshirani
    1993).

    Raises:
        InputError: there are no users.
    """
    n = len(values)
    if n == 0:
        raise InputError("there are no users to resample.")
    out = np.empty((resamples, values.shape[1]))
    step = max(1, _CELLS // n)
    for begin in range(0, resamples, step):
        rows = min(step, resamples - begin)
        drawn = rng.integers(0, n, (rows, n)) + np.arange(rows)[:, None] * n
        times = np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n)
        out[begin : begin + rows] = times @ values / n
    return readonly(out)


def resamples_for(n: int) -> int:
    """Return how many resamples the pairs of ``n`` names need.

    A p is never below 1 / (resamples + 1), so one corrected for m pairs never below m times that: of many
    pairs none could be told from chance. These are enough for .005.
    """
    return max(RESAMPLES, 200 * (n * (n - 1) // 2))


def interval(values: F64, means: F64, *, level: float = LEVEL) -> Interval:
    """Return the interval of one column: its ``values`` (n,) and resampled ``means`` (resamples,)."""
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(mean=float(values.mean()), low=float(low), high=float(high))


def p_value(values: F64, means: F64) -> float:
    """Return the two-sided p of "the mean is 0".

    With m the mean and m_b the resampled ones, shifted so that they are centred on 0 as the hypothesis says:

        p = (1 + #{ |m_b - m| >= |m| }) / (B + 1)
    """
    mean = float(values.mean())
    return float((1 + (np.abs(means - mean) >= abs(mean)).sum()) / (len(means) + 1))


def holm(p: Sequence[float]) -> list[float]:
    """Return p corrected for their number (Holm 1979): the i-th smallest times (m - i + 1), never falling."""
    order = np.argsort(np.asarray(p), kind="stable")
    scaled = np.asarray(p)[order] * np.arange(len(p), 0, -1)
    out = np.empty(len(p))
    out[order] = np.minimum(1.0, np.maximum.accumulate(scaled))
    return [float(x) for x in out]


def differences(
    metric: str, names: Sequence[str], values: F64, means: F64, *, level: float = LEVEL
) -> list[Difference]:
    """Return all pairs of ``names``, which are ordered best first, for columns of ``values`` and
    ``means``."""
    pairs = [(a, b) for a in range(len(names)) for b in range(a + 1, len(names))]
    found = [(values[:, a] - values[:, b], means[:, a] - means[:, b]) for a, b in pairs]
    bounds = [interval(own, resampled, level=level) for own, resampled in found]
    p = [p_value(own, resampled) for own, resampled in found]
    return [
        Difference(
            first=names[a],
            second=names[b],
            metric=metric,
            mean=bound.mean,
            low=bound.low,
            high=bound.high,
            p=raw,
            p_holm=corrected,
        )
        for (a, b), bound, raw, corrected in zip(pairs, bounds, p, holm(p), strict=True)
    ]
