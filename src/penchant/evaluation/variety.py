"""Beyond accuracy, of lists and their requests: surprise, and lists that keep a user's mix of categories.

    serendipity@k = hits among the first k that the k most popular items would not have been / k
    miscalibration@k = Σ_c p(c) log2( p(c) / q'(c) ),   q' = (1 - a) q + a p,   a = .01

The first after Ge, Delgado-Battenfeld, Jannach (Beyond accuracy, 2010); the second, of Steck (Calibrated
recommendations, 2018), compares p, the categories of what is known of the user, with q, those of the list: 0
where they agree.
"""

import numpy as np

from penchant.data.splits import Split
from penchant.evaluation.metrics import hits
from penchant.kernel.arrays import F64, I64, Rows, readonly
from penchant.kernel.arrow import pc
from penchant.kernel.topk import best_rows

CATEGORY = "category"
_SMOOTHING = 0.01


def serendipity(lists: Rows, split: Split, counts: I64, k: int) -> F64:
    """Return the serendipity of each request, (n,); ``counts`` (n_items,) are the users of each item.

    The most popular items are those the request may get: what it excludes does not count among them.
    """
    hit = hits(lists[:, :k], split.truth)
    longest = int(np.diff(split.exclude.indptr).max(initial=0))
    order = best_rows(counts.astype(np.float32), k + longest)
    out = np.zeros(len(lists))
    for i in np.flatnonzero(hit.any(axis=1)):
        gone = split.exclude.row(int(i))
        head = order[: k + len(gone)]
        obvious = head[~np.isin(head, gone)][:k]
        out[i] = (~np.isin(lists[i, :k][hit[i]], obvious)).sum() / k
    return readonly(out)


def categories_of(split: Split) -> Rows | None:
    """Return the category of each item as a number, -1 = none; None where items have no such column."""
    table = split.train.item_table
    if CATEGORY not in table.column_names:
        return None
    codes = pc.dictionary_encode(table[CATEGORY].combine_chunks()).indices
    return readonly(np.asarray(pc.fill_null(codes, -1)).astype(np.int32))


def miscalibration(lists: Rows, split: Split, categories: Rows, k: int) -> F64:
    """Return the miscalibration of each request, (n,); NaN where either side has no category."""
    n_categories = int(categories.max(initial=-1)) + 1
    out = np.full(len(lists), np.nan)
    bounds = np.searchsorted(split.histories.user, np.arange(len(split) + 1))
    for i in range(len(lists)):
        known = np.unique(split.histories.item[bounds[i] : bounds[i + 1]])
        p = _shares(categories[known], n_categories)
        q = _shares(categories[lists[i, :k][lists[i, :k] >= 0]], n_categories)
        if p is not None and q is not None:
            has = p > 0
            out[i] = (p[has] * np.log2(p[has] / ((1 - _SMOOTHING) * q[has] + _SMOOTHING * p[has]))).sum()
    return readonly(out)


def _shares(categories: Rows, n: int) -> F64 | None:
    some = categories[categories >= 0]
    return np.bincount(some, minlength=n) / len(some) if len(some) else None
