"""What a list of recommendations is worth, over the full catalogue.

Full-catalogue metrics decide. Metrics against sampled negatives do not keep the order of recommenders even in
expectation (Krichene & Rendle 2020) and live under their own name in `penchant.evaluation.sampled`.

Gains are binary. With hits h_1..h_k of a list and T items to find:

    precision@k = sum h / k          recall@k = sum h / T          hit_rate@k = [sum h > 0]
    MRR@k  = 1 / (rank of the first hit), 0 without one
    NDCG@k = sum_j h_j / log2(j + 1)  /  sum_{j <= min(k, T)} 1 / log2(j + 1)     (Järvelin & Kekäläinen 2002)

A list shorter than k counts as one with misses at its end.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from penchant.kernel.arrays import F32, F64, I64, Bools, Csr, Rows, readonly
from penchant.kernel.compiled import kernel
from penchant.kernel.errors import InputError

ACCURACY = ("ndcg", "recall", "precision", "hit_rate", "mrr")
"""Metrics with one value a request, at each k: ``ndcg_at_10`` and so on."""

AMAZON = {
    "coverage": "coverage_at_25",
    "mean_reciprocal_rank_at_25": "mrr_at_25",
    **{f"normalized_discounted_cumulative_gain_at_{k}": f"ndcg_at_{k}" for k in (5, 10, 25)},
    **{f"precision_at_{k}": f"precision_at_{k}" for k in (5, 10, 25)},
}
"""Amazon Personalize's name of a metric -> ours, so that its users find the numbers they know."""

AMAZON_CUTS = (5, 10, 25)
_LISTS = 2_000  # lists whose inner similarity is computed: its error is far below the users' own spread


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """What metrics beyond accuracy need to know of the training part."""

    takers: Csr  # (n_items, n_users): who took each item, ascending
    n_users: int  # users with at least one interaction

    @classmethod
    def of(cls, pairs: Csr) -> "Catalogue":
        """Build from the (n_users, n_items) matrix of training interactions without duplicate entries."""
        return cls(takers=pairs.transpose(), n_users=int((np.diff(pairs.indptr) > 0).sum()))

    @property
    def counts(self) -> I64:
        """Return how many users took each item, (n_items,)."""
        return np.diff(self.takers.indptr)


def cuts(at: Iterable[int]) -> tuple[int, ...]:
    """Return the list lengths to measure at, ascending, without repeats.

    Raises:
        InputError: none is given, or one is below 1.
    """
    found = tuple(sorted(set(at)))
    if not found or found[0] < 1:
        raise InputError(f"cannot measure at k = {list(found)}.", fix="Use k of 1 or more.")
    return found


def hits(lists: Rows, truth: Csr) -> Bools:
    """Return which of ``lists`` (n, k) rows, -1 = nothing, are in the same row of ``truth`` (n, n_items)."""
    out = np.zeros(lists.shape, np.bool_)
    marked = np.full(truth.n_columns, -1, np.int64)
    _mark(np.ascontiguousarray(lists), truth.indptr, truth.indices, marked, out)
    return readonly(out)


def accuracy(lists: Rows, truth: Csr, at: Sequence[int]) -> dict[str, F64]:
    """Return each metric of `ACCURACY` at each k, one value a request: ``{"ndcg_at_10": (n,), ...}``.

    Every row of ``truth`` has at least one item; ``lists`` is at least as wide as the largest k.
    """
    hit = hits(lists, truth).astype(np.float64)
    wanted = np.diff(truth.indptr)
    ranks = np.arange(1, lists.shape[1] + 1)
    discount = 1.0 / np.log2(ranks + 1)
    best = np.cumsum(discount)
    found = np.cumsum(hit, axis=1)
    gain = np.cumsum(hit * discount, axis=1)
    # Only the first hit counts for MRR: the largest reciprocal rank so far.
    first = np.maximum.accumulate(hit / ranks, axis=1)
    out: dict[str, F64] = {}
    for k in at:
        out[f"ndcg_at_{k}"] = gain[:, k - 1] / best[np.minimum(wanted, k) - 1]
        out[f"recall_at_{k}"] = found[:, k - 1] / wanted
        out[f"precision_at_{k}"] = found[:, k - 1] / k
        out[f"hit_rate_at_{k}"] = (found[:, k - 1] > 0).astype(np.float64)
        out[f"mrr_at_{k}"] = first[:, k - 1]
    return out


def beyond(lists: Rows, catalogue: Catalogue, at: Sequence[int]) -> dict[str, float]:
    """Return coverage, Gini, novelty, popularity percentile, intra-list similarity and distance at each
    k."""
    out: dict[str, float] = {}
    for k in at:
        top = lists[:, :k]
        out[f"coverage_at_{k}"] = coverage(top, len(catalogue.counts))
        out[f"gini_at_{k}"] = gini(top, len(catalogue.counts))
        out[f"novelty_at_{k}"] = novelty(top, catalogue)
        out[f"popularity_percentile_at_{k}"] = popularity_percentile(top, catalogue)
        alike = intra_list_similarity(top, catalogue)
        out[f"intra_list_similarity_at_{k}"] = alike
        out[f"intra_list_distance_at_{k}"] = 1 - alike
    return out


def coverage(lists: Rows, n_items: int) -> float:
    """Return the share of the catalogue that appears in any list."""
    return len(np.unique(lists[lists >= 0])) / n_items if n_items else 0.0


def gini(lists: Rows, n_items: int) -> float:
    """Return how unequally the catalogue is shown: 0 = every item as often, near 1 = always the same few.

    With the times each item is shown sorted ascending, x_1 <= ... <= x_n:

        G = sum_i (2 i - n - 1) x_i / (n sum_i x_i)
    """
    shown = np.sort(np.bincount(lists[lists >= 0], minlength=n_items)).astype(np.float64)
    if shown.sum() == 0:
        return 0.0
    weight = 2 * np.arange(1, n_items + 1) - n_items - 1
    return float((weight * shown).sum() / (n_items * shown.sum()))


def novelty(lists: Rows, catalogue: Catalogue) -> float:
    """Return the mean self-information of the items shown, in bits: mean of -log2(takers / users).

    An item nobody took counts as taken once (Zhou et al. 2010).
    """
    bits = np.log2(max(catalogue.n_users, 1)) - np.log2(np.maximum(catalogue.counts, 1))
    return _mean_of(bits, lists)


def popularity_percentile(lists: Rows, catalogue: Catalogue) -> float:
    """Return the mean, over items shown, of the share of the catalogue that is less popular.

    Equally popular items count half: .5 is what drawing items evenly would give.
    """
    counts = catalogue.counts
    ordered = np.sort(counts)
    below = np.searchsorted(ordered, counts, side="left")
    upto = np.searchsorted(ordered, counts, side="right")
    return _mean_of((below + upto) / (2 * max(len(counts), 1)), lists)


def intra_list_similarity(lists: Rows, catalogue: Catalogue) -> float:
    """Return the mean cosine between the takers of two items of one list (Ziegler et al. 2005).

    With x_i the unit vector of the takers of item i, the mean over the pairs of a list of m items is

        ( |sum_i x_i|^2 - sum_i |x_i|^2 ) / (m (m - 1))

    Lists with fewer than two items are left out; of more than 2,000 lists, 2,000 evenly spaced are taken.
    """
    some = np.unique(np.linspace(0, len(lists) - 1, min(len(lists), _LISTS)).astype(np.int64))
    takers = catalogue.takers
    sums, counted = _list_similarity(
        np.ascontiguousarray(lists[some]), takers.indptr, takers.indices, takers.n_columns
    )
    return float(sums[0] / counted) if counted else 0.0


def amazon(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return the metrics under Amazon Personalize's keys, from ours measured at 5, 10 and 25."""
    return {theirs: metrics[ours] for theirs, ours in AMAZON.items()}


def _mean_of(value: F64 | F32, lists: Rows) -> float:
    """Return the mean over lists of the mean of ``value`` (n_items,) over their items; empty lists left
    out."""
    there = lists >= 0
    length = there.sum(axis=1)
    total = np.where(there, value[lists], 0.0).sum(axis=1)
    return float((total[length > 0] / length[length > 0]).mean()) if (length > 0).any() else 0.0


@kernel()
def _mark(lists: Rows, indptr: I64, indices: Rows, marked: I64, out: Bools) -> None:
    """Set ``out`` where an item of list i is in row i; ``marked`` says which row last had each item."""
    for i in range(lists.shape[0]):
        for j in range(indptr[i], indptr[i + 1]):
            marked[indices[j]] = i
        for j in range(lists.shape[1]):
            item = lists[i, j]
            out[i, j] = item >= 0 and marked[item] == i


@kernel()
def _list_similarity(lists: Rows, indptr: I64, indices: Rows, n_users: int) -> tuple[F64, int]:
    """Return (1,) the sum over lists of their mean pairwise cosine, and how many lists had a pair."""
    total, counted = np.zeros(1), 0
    vector = np.zeros(n_users)
    for i in range(lists.shape[0]):
        length, units = 0, 0
        for item in lists[i]:
            if item < 0:
                continue
            length += 1
            begin, end = indptr[item], indptr[item + 1]
            if end > begin:
                units += 1
                for j in range(begin, end):
                    vector[indices[j]] += 1.0 / np.sqrt(end - begin)
        squared = 0.0
        for item in lists[i]:
            if item < 0:
                continue
            for j in range(indptr[item], indptr[item + 1]):
                squared += vector[indices[j]] ** 2
                vector[indices[j]] = 0.0
        if length > 1:
            total[0] += (squared - units) / (length * (length - 1))
            counted += 1
    return total, counted
