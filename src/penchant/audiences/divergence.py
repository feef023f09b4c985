"""How far apart two distributions are: Jensen-Shannon divergence, seeds against everybody."""

import numpy as np

from penchant.kernel.arrays import F32, F64, I64
from penchant.kernel.compiled import kernel

BINS = 30


@kernel()
def _histogram(values: F32, low: float, high: float, counts: I64) -> None:
    bins = len(counts) - 1
    scale = bins / (high - low) if high > low else 0.0
    for value in values:
        if np.isnan(value):
            counts[bins] += 1
        else:
            place = int((value - low) * scale)
            counts[min(max(place, 0), bins - 1)] += 1


def histogram(values: F32, low: float, high: float, bins: int = BINS) -> I64:
    """Count ``values`` (n,) in ``bins`` bins of equal width over [low, high]; NaN ("never") comes last.

    Returns (bins + 1,). What lies outside the range counts in the bin at that end; ``high`` itself in the
    last bin. A range of no width puts every value in the first.
    """
    counts = np.zeros(bins + 1, np.int64)
    _histogram(np.ascontiguousarray(values, np.float32), float(low), float(high), counts)
    return counts


@kernel()
def _range(values: F32) -> tuple[float, float]:
    low, high = np.inf, -np.inf
    for value in values:
        if value < low:
            low = float(value)
        if value > high:
            high = float(value)
    return low, high


def value_range(values: F32) -> tuple[float, float]:
    """Return the smallest and largest value of ``values`` (n,), NaN passed over; (0, 0) when all are NaN."""
    low, high = _range(np.ascontiguousarray(values, np.float32))
    return (low, high) if low <= high else (0.0, 0.0)


def jensen_shannon(first: "I64 | F64", second: "I64 | F64") -> F64:
    """Return JS(P, Q) in bits for histograms along the last axis: counts or masses (..., bins) -> (...).

    JS(P, Q) = H((P + Q) / 2) - (H(P) + H(Q)) / 2 with H in base 2 (Lin 1991): 0 for equal distributions, 1
    for ones that share no bin. A histogram without any count equals none other than itself: against
    anything else it gives 1, against itself 0.
    """
    p, q = np.asarray(first, np.float64), np.asarray(second, np.float64)
    total_p, total_q = p.sum(-1, keepdims=True), q.sum(-1, keepdims=True)
    p, q = p / np.maximum(total_p, 1e-300), q / np.maximum(total_q, 1e-300)
    middle = (p + q) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        left = np.where(p > 0, p * np.log2(p / middle), 0.0)
        right = np.where(q > 0, q * np.log2(q / middle), 0.0)
    js = np.clip((left.sum(-1) + right.sum(-1)) / 2, 0.0, 1.0)
    empty_p, empty_q = (total_p <= 0)[..., 0], (total_q <= 0)[..., 0]
    return np.where(empty_p | empty_q, np.where(empty_p & empty_q, 0.0, 1.0), js)


def weights(divergence: F64, focus: float = 1.0) -> F64:
    """Return w_j = JS_j^focus / sum over the given features, (d,) -> (d,); a larger focus favours the top."""
    powered = np.asarray(divergence, np.float64) ** focus
    return powered / powered.sum()
