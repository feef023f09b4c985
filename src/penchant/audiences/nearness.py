"""Nearness in single items: the brand or the size that a category hides, learned without weighing any."""

from typing import Any

import numpy as np

from penchant.kernel.arrays import F64, Bools, Rows


def nearness(items: Any, is_seed: Bools, learned: Rows, weight: F64) -> F64:
    """Return how much nearer everybody (n,) is to the seeds' items than to the others', themselves left out.

    s(u) = x(u) . (mean of the seeds' x - mean of the others' x) (Rocchio 1971), x(u) the rows of ``items``
    (n, m), sparse, of unit length or empty; u's own row counts in neither mean. Of the seeds, those that are
    ``learned`` (s,) from count, with their ``weight`` (s,).
    """
    mine, others = np.zeros(len(is_seed), np.float32), np.where(is_seed, 0, 1).astype(np.float32)
    mine[learned] = weight
    own = np.asarray(items.multiply(items).sum(1)).ravel()

    def toward(part: Any) -> F64:
        rest = part.sum(dtype=np.float64) - part
        return (items @ (items.T @ part) - part * own) / np.maximum(rest, 1e-12)

    return toward(mine) - toward(others)
