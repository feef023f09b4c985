"""Models that score by a sparse item-by-item matrix: a user's items each speak for their neighbours.

    score(u, j) = Σ_i x_ui W_ij

x_u is the user's history as `penchant.models.histories` weighs it; row i of W holds the neighbours of item i,
best first. Item kNN, RP3beta and the sparse form of EASE differ only in how they find W.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from penchant.kernel.arrays import F32, I64, AnyArray, Csr, Rows
from penchant.kernel.compiled import kernel
from penchant.kernel.ids import Vocab
from penchant.models.answering import Block, ByScores
from penchant.models.base import Card, Queries, Scored
from penchant.models.histories import profiles


@dataclass(frozen=True, slots=True, kw_only=True)
class NeighbourModel(ByScores):
    """Neighbours of items and the histories of training.

    What no item of a history is a neighbour of cannot be scored: it is NaN and never given. Who tells no
    history and was not trained gets nothing.
    """

    kind: ClassVar[str] = "neighbours"

    card: Card
    items: Vocab
    users: Vocab
    neighbours: Csr  # (n_items, n_items) W, each row in descending order, never an item itself
    histories: Csr  # (n_users, n_items) x of the users trained

    def similar(self, item: int, k: int, *, exclude: Rows | None = None) -> Scored:
        """Return the nearest k of the neighbours that are kept."""
        rows, values = self.neighbours.row(item), self.neighbours.values(item)
        if exclude is not None and len(exclude):
            kept = ~np.isin(rows, exclude)
            rows, values = rows[kept], values[kept]
        return Scored(items=rows[: max(k, 0)], scores=values[: max(k, 0)])

    def block(self, queries: Queries) -> Block:
        """Return the scores from each request's history."""
        rows = profiles(queries, self.histories, self.card)
        return lambda start, stop: self.scores(rows, start, stop)

    def scores(self, rows: Csr, start: int, stop: int) -> F32:
        """Return x W of rows start..stop-1, (stop - start, n_items), NaN where nothing is reached."""
        out = np.full((stop - start, len(self.items)), np.nan, np.float32)
        w = self.neighbours
        spread_scores(rows.indptr, rows.indices, rows.data, start, w.indptr, w.indices, w.data, out)
        return out

    def arrays(self) -> Mapping[str, AnyArray]:
        """Return all arrays to save."""
        return {
            **self.items.arrays("items"),
            **self.users.arrays("users"),
            **csr_arrays(self.neighbours, "neighbours"),
            **csr_arrays(self.histories, "histories"),
        }

    @classmethod
    def open(cls, card: Card, arrays: Mapping[str, AnyArray]) -> Self:
        """Open what `arrays` named, in place."""
        items = Vocab.from_arrays(arrays, "items")
        return cls(
            card=card,
            items=items,
            users=Vocab.from_arrays(arrays, "users"),
            neighbours=open_csr(arrays, "neighbours", len(items)),
            histories=open_csr(arrays, "histories", len(items)),
        )


def csr_arrays(matrix: Csr, name: str) -> dict[str, AnyArray]:
    """Return the arrays of a matrix to save under ``name``."""
    return {f"{name}_indptr": matrix.indptr, f"{name}_indices": matrix.indices, f"{name}_data": matrix.data}


def open_csr(arrays: Mapping[str, AnyArray], name: str, n_columns: int) -> Csr:
    """Return the matrix that `csr_arrays` was taken from, in place."""
    indptr, indices, data = (np.asarray(arrays[f"{name}_{part}"]) for part in ("indptr", "indices", "data"))
    return Csr(indptr=indptr, indices=indices, data=data, n_columns=n_columns)


@kernel()
def spread_scores(
    indptr: I64,
    indices: Rows,
    data: F32,
    start: int,
    w_indptr: I64,
    w_indices: Rows,
    w_data: F32,
    out: F32,
) -> None:
    """Set ``out[r, j]`` = Σ_i x_i W_ij for the rows x from ``start`` on, added in the order of i.

    ``out`` comes in full of NaN; what is not reached stays so.
    """
    for r in range(len(out)):
        row = out[r]
        for e in range(indptr[start + r], indptr[start + r + 1]):
            x, i = data[e], indices[e]
            for p in range(w_indptr[i], w_indptr[i + 1]):
                j = w_indices[p]
                old = row[j]
                row[j] = x * w_data[p] + (old if old == old else np.float32(0))
