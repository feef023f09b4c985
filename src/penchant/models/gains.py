"""NDCG of lists inside a recipe's own training: what its settings are chosen by.

    DCG = Σ_r hit_r / log2(r + 1)        NDCG = DCG / the DCG of a list with every hit first

Reports of quality come from `penchant.evaluation`, never from here.
"""

import numpy as np

from penchant.kernel.arrays import F64, Csr, Rows


def gains(lists: Rows, truth: Csr) -> F64:
    """Return NDCG (binary gains) of each list (n, k), NaN where there is nothing to find."""
    n, k = lists.shape
    key = np.repeat(np.arange(n, dtype=np.int64), np.diff(truth.indptr)) * truth.n_columns + truth.indices
    asked = np.arange(n, dtype=np.int64)[:, None] * truth.n_columns + lists
    hit = np.isin(asked, key) & (lists >= 0)
    discount = 1.0 / np.log2(np.arange(2, k + 2))
    wanted = np.diff(truth.indptr)
    ideal = np.concatenate([[np.nan], np.cumsum(discount)])[np.minimum(wanted, k)]
    return (hit * discount).sum(axis=1) / ideal


def mean_gain(lists: Rows, truth: Csr) -> float:
    """Return the mean of `gains` over those with something to find, 0 when there are none."""
    found = gains(lists, truth)
    found = found[~np.isnan(found)]
    return float(found.mean()) if len(found) else 0.0
