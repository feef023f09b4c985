"""Users in a few dimensions of taste: an uncentred SVD of what they took, rarer things counting more."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from threadpoolctl import threadpool_limits

from penchant.data.snapshot import Snapshot
from penchant.features.codes import CodeStore
from penchant.features.matrix import ACCOUNT
from penchant.features.purchase_matrix import item_codes
from penchant.kernel.arrays import F32, I64, U8, Rows, readonly

MOST_COLUMNS = 5000
_LEARN_FROM = 200_000


def taste(
    snapshot: Snapshot,
    *,
    column: str | None,
    category: str,
    hide: Collection[str] = (),
    rows: Rows,
    dims: int = 32,
) -> F32:
    """Return (m, dims) for the users ``rows`` (m,), each dimension of unit spread.

    What is counted: items grouped by the item column ``column``; or single items when None. Entries are
    log(1 + count) x idf, a user's row of unit length. Items whose ``category`` is in ``hide`` are left out.
    The dimensions are learned from at most 200,000 users, and are the same on every run.
    """
    counts = _counts(snapshot, column)
    if hide:
        codes, names = item_codes(snapshot, category)
        hidden = np.array([False, *(name in hide for name in names)])[codes]
        counts = _counts(snapshot, column, without=hidden)
    matrix: Any = counts[rows]
    users_of = np.bincount(matrix.indices, minlength=matrix.shape[1])
    if matrix.shape[1] > MOST_COLUMNS:
        keep = np.sort(np.argsort(-users_of, kind="stable")[:MOST_COLUMNS])
        matrix, users_of = matrix[:, keep], users_of[keep]
    idf = np.log(max(len(rows), 1) / np.maximum(users_of, 1))
    matrix = matrix.astype(np.float64)
    matrix.data = np.log1p(matrix.data)
    matrix = sp.csr_array(matrix @ sp.diags_array(idf))
    lengths = np.sqrt(np.asarray((matrix * matrix).sum(1)).ravel())
    matrix = sp.csr_array(sp.diags_array(1 / np.maximum(lengths, 1e-12)) @ matrix)
    dims = min(dims, min(matrix.shape) - 1)
    if dims < 1:
        return readonly(np.zeros((len(rows), 0), np.float32))
    step = -(-len(rows) // _LEARN_FROM)
    with threadpool_limits(1):  # the sum of a product depends on how many threads share it
        from sklearn.utils.extmath import randomized_svd  # heavy: only here

        svd: Any = randomized_svd
        _, _, components = svd(matrix[::step], dims, n_iter=7, random_state=0)
        found = matrix @ components.T
    spread = found.std(0)
    return readonly((found / np.where(spread > 0, spread, 1.0)).astype(np.float32))


@dataclass(frozen=True, slots=True, kw_only=True)
class Axes:
    """Dimensions of taste that are read from codes: the same as `taste` where only a code store is at hand.

    t(u) = (w(u) / |w(u)|) A, with w(u) the weights of the user's codes in the categories.
    """

    columns: Rows  # (k,) of the store
    weight: F32  # (k, bins): log(1 + orders) x idf, orders being the middle of the code's bin
    axes: F32  # (k, r), scaled so that each dimension has unit spread

    def of(self, codes: U8) -> F32:
        """Return the taste (m, r) of users by their codes (k, m) in the columns."""
        values = np.take_along_axis(self.weight, codes, axis=1).T
        return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12) @ self.axes


def axes_of(sample: CodeStore, counts: I64, *, hide: Collection[str] = (), dims: int = 32) -> Axes:
    """Learn the axes from a sample of users; ``counts`` (d, bins) are those of everybody.

    Categories in ``hide`` are left out. The same sample gives the same axes.
    """
    found = [
        j
        for j, f in enumerate(sample.book)
        if f.symbol == "cto" and f.code > ACCOUNT and f.category not in hide and counts[j, 1:].any()
    ]
    found.sort(key=lambda j: -int(counts[j, 1:].sum()))
    columns = np.array(found[:MOST_COLUMNS], np.int32)
    weight = _weights(sample.edges[columns], counts[columns])
    plain = Axes(columns=columns, weight=weight, axes=np.eye(len(columns), dtype=np.float32))
    with threadpool_limits(1, user_api="blas"):
        rows = plain.of(sample.codes[columns])
        _, vectors = np.linalg.eigh(rows.T.astype(np.float64) @ rows.astype(np.float64))
        axes = vectors[:, ::-1][:, : max(min(dims, len(columns) - 1), 0)]
        spread = (rows @ axes).std(0)
    return Axes(
        columns=readonly(columns),
        weight=readonly(weight),
        axes=readonly((axes / np.where(spread > 0, spread, 1.0)).astype(np.float32)),
    )


def _weights(edges: F32, counts: I64) -> F32:
    """Return log(1 + middle of the bin) x idf for each code (k, bins), 0 for never."""
    finite = np.isfinite(edges)
    last = np.where(finite, edges, 0).max(1, keepdims=True).astype(np.float64)
    upper = np.where(finite, edges, last + 1)
    middle = (np.hstack([np.minimum(upper[:, :1], 1), upper]) + np.hstack([upper, last + 1])) / 2
    idf = np.log(counts.sum(1) / counts[:, 1:].sum(1))
    return np.hstack([np.zeros((len(edges), 1)), np.log1p(middle) * idf[:, None]]).astype(np.float32)


def _counts(snapshot: Snapshot, column: str | None, without: Any = None) -> Any:
    """Return the sparse (users, groups) matrix of interaction counts."""
    events = snapshot.interactions
    if column is None:
        group, n = np.arange(snapshot.n_items, dtype=np.int64), snapshot.n_items
    else:
        codes, names = item_codes(snapshot, column)
        group, n = codes.astype(np.int64) - 1, len(names)
    if without is not None:
        group = np.where(without, -1, group)
    taken = group[events.item]
    keep = taken >= 0
    shape = (snapshot.n_users, n)
    entries = (np.ones(int(keep.sum())), (events.user[keep], taken[keep]))
    return sp.coo_array(entries, shape=shape).tocsr()
