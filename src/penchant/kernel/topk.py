"""The best k of many, exactly, with ties in row order."""

import numpy as np

from penchant.kernel.arrays import F32, Rows, readonly


def best_rows(scores: F32, k: int) -> Rows:
    """Return the rows of the k largest of ``scores`` (n,), best first, ties in row order, NaN never."""
    known = np.flatnonzero(~np.isnan(scores))
    values = scores[known]
    if k <= 0 or len(values) == 0:
        return readonly(np.zeros(0, np.int32))
    if k < len(values):
        least = np.partition(values, len(values) - k)[len(values) - k]
        above = np.flatnonzero(values > least)
        level = np.flatnonzero(values == least)[: k - len(above)]
        chosen = np.sort(np.concatenate([above, level]))
    else:
        chosen = np.arange(len(values))
    order = np.argsort(-values[chosen], kind="stable")
    return readonly(known[chosen[order]].astype(np.int32))
