"""Metrics against 100 sampled negatives, kept to compare with papers that report nothing else.

They say how often one true item is ranked among the best ten of itself and 100 random items. They favour
other recommenders than the full catalogue does (Krichene & Rendle 2020): never choose a recipe by them.
"""

import numpy as np
from numpy.random import Generator

from penchant.data.splits import Split
from penchant.evaluation.protocols import asked, translated
from penchant.kernel.arrays import F64, Rows, readonly
from penchant.models.base import Query, Retriever

NEGATIVES = 100


def candidates_of(split: Split, rng: Generator) -> Rows | None:
    """Return (n, 101) item rows: the true item, then 100 others the user never took, all different.

    None where the metric is not defined: a request has several items to find, or too few others are left.
    """
    n_items = split.train.n_items
    taken = np.diff(split.exclude.indptr) + 1
    if (np.diff(split.truth.indptr) != 1).any() or n_items - taken.max() < NEGATIVES:
        return None
    out = np.empty((len(split), 1 + NEGATIVES), np.int32)
    free = np.ones(n_items, bool)
    for i in range(len(split)):
        known = np.concatenate([split.exclude.row(i), split.truth.row(i)])
        free[known] = False
        out[i, 0] = split.truth.row(i)[0]
        out[i, 1:] = rng.choice(np.flatnonzero(free), NEGATIVES, replace=False)
        free[known] = True
    return readonly(out)


def sampled_scores(model: Retriever, split: Split, candidates: Rows) -> F64:
    """Return the model's score of each candidate (n, 101), NaN where it has none."""
    queries = asked(model, split)
    inward = translated(split.train.items, model.items)
    out = np.full(candidates.shape, np.nan)
    told = queries.histories
    bounds = None if told is None else np.searchsorted(told.user, np.arange(len(split) + 1))
    for i in range(len(split)):
        history = None
        if told is not None and bounds is not None:
            history = told.select(slice(int(bounds[i]), int(bounds[i + 1])))
        items = inward[candidates[i]]
        query = Query(user=int(queries.users[i]), history=history, now=queries.now)
        out[i, items >= 0] = model.score(query, readonly(items[items >= 0]))
    return readonly(out)


def sampled_ranks(scores: F64) -> F64:
    """Return the rank (1 = first) of column 0 in each row of ``scores``; ties and NaN count against it."""
    given = np.where(np.isnan(scores), -np.inf, scores)
    return 1.0 + (given[:, 1:] >= given[:, :1]).sum(axis=1)


def sampled_metrics(ranks: F64) -> dict[str, F64]:
    """Return ``sampled_hit_rate_at_10`` and ``sampled_ndcg_at_10``, one value a request."""
    hit = ranks <= 10
    return {
        "sampled_hit_rate_at_10": hit.astype(np.float64),
        "sampled_ndcg_at_10": np.where(hit, 1.0 / np.log2(ranks + 1), 0.0),
    }
