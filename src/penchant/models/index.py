"""The exact index over item factors that retrieval models answer from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from penchant.kernel.arrays import F32, AnyArray, Bools, Csr, Rows, readonly
from penchant.kernel.topk import best_rows, dots, top_k, top_k_many
from penchant.models.base import Batch, Scored


@dataclass(frozen=True, slots=True, kw_only=True)
class ExactIndex:
    """Item factors in descending order of norm (ties by row). Items without a factor are not in it.

    ``position`` is the inverse of ``rows``, -1 for an item without a factor.
    """

    factors: F32  # (m, d)
    norms: F32  # (m,)
    rows: Rows  # (m,) item row of each
    position: Rows  # (n_items,)

    @classmethod
    def build(cls, factors: F32) -> Self:
        """Index ``factors`` (n_items, d); a row of zeros is an item that cannot be scored."""
        norms = np.sqrt(np.einsum("ij,ij->i", factors, factors, dtype=np.float64)).astype(np.float32)
        order = np.lexsort((np.arange(len(norms)), -norms)).astype(np.int32)
        rows = order[: int(np.count_nonzero(norms))]
        position = np.full(len(norms), -1, np.int32)
        position[rows] = np.arange(len(rows), dtype=np.int32)
        return cls(
            factors=readonly(np.ascontiguousarray(factors[rows], np.float32)),
            norms=readonly(norms[rows]),
            rows=readonly(rows),
            position=readonly(position),
        )

    def factor(self, item: int) -> F32:
        """Return the factor of an item row, zeros where it has none."""
        at = self.position[item]
        return self.factors[at] if at >= 0 else readonly(np.zeros(self.factors.shape[1], np.float32))

    def directions(self, items: Rows) -> F32:
        """Return the factors of item rows (m, d) at length 1, zeros for row -1 and where there is none."""
        at = np.where(items >= 0, self.position[items], -1)
        out = np.zeros((len(items), self.factors.shape[1]), np.float32)
        known = at >= 0
        out[known] = self.factors[at[known]] / self.norms[at[known], None]
        return out

    def by_row(self) -> F32:
        """Return a copy of all factors in row order (n_items, d), zeros where there is none."""
        out = np.zeros((len(self.position), self.factors.shape[1]), np.float32)
        out[self.rows] = self.factors
        return readonly(out)

    def with_factors(self, rows: Rows, factors: F32) -> Self:
        """Return the index with other factors for some item rows."""
        changed = self.by_row().copy()
        changed[rows] = factors
        return self.build(changed)

    def top(self, query: F32, k: int, *, exclude: Rows | None = None) -> Scored:
        """Return the k items with the largest inner product with ``query`` (d,)."""
        items, scores = top_k(query, self.factors, self.norms, self.rows, k, banned=self._banned(exclude))
        return Scored(items=items, scores=scores)

    def top_many(self, queries: F32, k: int, *, exclude: Csr | None = None) -> Batch:
        """Return the k best items for each of ``queries`` (n, d)."""
        banned = None
        if exclude is not None:
            at = self.position[exclude.indices]
            if (at < 0).any():
                owner = np.repeat(np.arange(exclude.n_rows, dtype=np.int32), np.diff(exclude.indptr))
                kept = at >= 0
                banned = Csr.group(
                    owner[kept],
                    at[kept],
                    exclude.data[kept],
                    n_rows=exclude.n_rows,
                    n_columns=len(self.rows),
                )
            else:
                banned = Csr(indptr=exclude.indptr, indices=at, data=exclude.data, n_columns=len(self.rows))
        items, scores = top_k_many(queries, self.factors, self.norms, self.rows, k, banned=banned)
        return Batch(items=items, scores=scores)

    def score(self, query: F32, items: Rows) -> F32:
        """Return the inner product of ``query`` with each item row, NaN without a factor."""
        at = self.position[items]
        out = np.full(len(items), np.nan, np.float32)
        known = at >= 0
        out[known] = dots(query, self.factors, at[known])
        return readonly(out)

    def similar(self, item: int, k: int, *, exclude: Rows | None = None, shrunk: bool = False) -> Scored:
        """Return the k items with the largest cosine to an item row, without that item.

        ``shrunk`` multiplies each cosine by |y| / sqrt(|y|² + s²), s² the mean of all |y|²: where a factor
        grows with what is known of its item, as in `ials`, a short one points anywhere.
        """
        at = self.position[item]
        if at < 0:
            return Scored.none()
        everything = np.arange(len(self.rows), dtype=np.int32)
        cosine = np.full(len(self.position), np.nan, np.float32)
        cosine[self.rows] = dots(self.factors[at], self.factors, everything) / (self.norms * self.norms[at])
        if shrunk:
            size = self.norms.astype(np.float64)
            cosine[self.rows] *= size / np.sqrt(size**2 + np.mean(size**2))
        cosine[item] = np.nan
        if exclude is not None:
            cosine[exclude] = np.nan
        items = best_rows(cosine, k)
        return Scored(items=items, scores=readonly(cosine[items]))

    def arrays(self) -> Mapping[str, AnyArray]:
        """Return the arrays to save."""
        return {
            "item_factors": self.factors,
            "item_norms": self.norms,
            "item_rows": self.rows,
            "item_position": self.position,
        }

    @classmethod
    def open(cls, arrays: Mapping[str, AnyArray]) -> Self:
        """Open what `arrays` named, in place."""
        return cls(
            factors=np.asarray(arrays["item_factors"]),
            norms=np.asarray(arrays["item_norms"]),
            rows=np.asarray(arrays["item_rows"]),
            position=np.asarray(arrays["item_position"]),
        )

    def _banned(self, exclude: Rows | None) -> Bools | None:
        if exclude is None or len(exclude) == 0:
            return None
        mask = np.zeros(len(self.rows), np.bool_)
        at = self.position[exclude]
        mask[at[at >= 0]] = True
        return mask
