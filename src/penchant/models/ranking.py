"""One order of items for everybody: what models that do not tell users apart answer from."""

from typing import final

import numpy as np

from penchant.kernel.arrays import F32, I64, Csr, Rows, readonly
from penchant.kernel.compiled import kernel
from penchant.kernel.topk import best_rows
from penchant.models.base import Batch, Scored

_HEAD = 1024


@final
class Ranking:
    """Items by descending score, ties in row order. ``scores`` is (n_items,), NaN = never given.

    The order is found when first asked for, and only as deep as asked for: an online model makes a new
    ranking after every event.
    """

    __slots__ = ("_complete", "_order", "scores")

    def __init__(self, scores: F32) -> None:
        self.scores = readonly(scores)
        self._order: Rows = np.zeros(0, np.int32)
        self._complete = False

    def top(self, k: int, *, exclude: Rows | None = None) -> Scored:
        """Return the best k rows that are not in ``exclude``."""
        gone = np.zeros(0, np.int32) if exclude is None else exclude
        order = self._head(k + len(gone))[: max(k, 0) + len(gone)]
        if len(gone):
            order = order[~np.isin(order, gone)]
        items = order[: max(k, 0)]
        return Scored(items=readonly(items.copy()), scores=readonly(self.scores[items]))

    def top_many(self, n: int, k: int, *, exclude: Csr | None = None) -> Batch:
        """Return the best k rows for each of n requests; row i of ``exclude`` is kept from request i."""
        width = max(k, 0)
        deepest = int(np.diff(exclude.indptr).max()) if exclude is not None and n else 0
        order = self._head(width + deepest)
        items = np.full((n, width), -1, np.int32)
        if exclude is None:
            items[:, : min(width, len(order))] = order[:width]
        else:
            indptr, indices = np.asarray(exclude.indptr), np.asarray(exclude.indices)
            _walk(readonly(order), readonly(indptr), readonly(indices), len(self.scores), items)
        scores = np.where(items >= 0, self.scores[items], np.float32(-np.inf))
        return Batch(items=readonly(items), scores=readonly(scores.astype(np.float32, copy=False)))

    def _head(self, depth: int) -> Rows:
        """Return the order at least ``depth`` deep, or all of it."""
        if depth > len(self._order) and not self._complete:
            wanted = max(_HEAD, 2 * depth)
            self._order = best_rows(self.scores, wanted)
            self._complete = len(self._order) < wanted
        return self._order


@kernel()
def _walk(order: Rows, indptr: I64, indices: Rows, n_items: int, out: Rows) -> None:
    """Fill each row of ``out`` with the first of ``order`` that the request's own row does not exclude."""
    seen_by = np.full(n_items, -1, np.int64)
    for i in range(out.shape[0]):
        for j in range(indptr[i], indptr[i + 1]):
            seen_by[indices[j]] = i
        filled = 0
        for row in order:
            if filled == out.shape[1]:
                break
            if seen_by[row] != i:
                out[i, filled] = row
                filled += 1
