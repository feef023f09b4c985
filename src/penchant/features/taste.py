"""Users in a few dimensions of taste: an uncentred SVD of what they took, rarer things counting more."""

from collections.abc import Collection
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.utils.extmath import randomized_svd
from threadpoolctl import threadpool_limits

from penchant.data.snapshot import Snapshot
from penchant.features.codes import CodeStore
from penchant.features.matrix import ACCOUNT
from penchant.features.purchase_matrix import item_codes
from penchant.kernel.arrays import F32, AnyArray, Rows, readonly
from penchant.kernel.progress import Progress, Silent, track

MOST_COLUMNS = 5000
_LEARN_FROM = 200_000
_BLOCK = 65_536


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
        svd: Any = randomized_svd
        _, _, components = svd(matrix[::step], dims, n_iter=7, random_state=0)
        found = matrix @ components.T
    spread = found.std(0)
    return readonly((found / np.where(spread > 0, spread, 1.0)).astype(np.float32))


def taste_of_codes(
    store: CodeStore, *, hide: Collection[str] = (), dims: int = 32, progress: Progress | None = None
) -> F32:
    """Return (n, dims) for all users of a code store: taste in its categories, read from the orders' codes.

    The same as `taste` where only the store is at hand: log(1 + orders) becomes its mean over a code's bin
    edges. The dimensions are learned from every k-th range of users, and are the same on every run.
    """
    columns = [
        j
        for j, f in enumerate(store.book)
        if f.symbol == "cto" and f.code > ACCOUNT and f.category not in hide
    ]
    columns = np.array(sorted(columns, key=lambda j: -int(store.counts[j, 1:].sum()))[:MOST_COLUMNS], int)
    weight = _weights(store, columns)
    dims = min(dims, len(columns) - 1)
    found = np.zeros((store.n_users, max(dims, 0)), np.float32)
    if dims < 1:
        return readonly(found)
    starts = range(0, store.n_users, _BLOCK)
    learned = starts[:: -(-store.n_users // _LEARN_FROM)]
    rows = np.vstack([_unit(store, columns, weight, first) for first in learned])
    with threadpool_limits(1):
        _, axes = np.linalg.eigh(rows.T @ rows)
        axes = axes[:, ::-1][:, :dims]
        axes = axes * np.where(axes.sum(0) < 0, -1, 1)
        for first in track(Silent() if progress is None else progress, "taste", starts, len(starts)):
            found[first : first + _BLOCK] = _unit(store, columns, weight, first) @ axes
    for dimension in found.T:
        spread = float(dimension.std(dtype=np.float64))
        dimension /= spread if spread > 0 else 1.0
    return readonly(found)


def _weights(store: CodeStore, columns: AnyArray) -> F32:
    """Return log(1 + middle of the bin) x idf for each code (k, bins) of the columns, 0 for never."""
    edges = store.edges[columns].astype(np.float64)
    last = np.where(np.isfinite(edges), edges, 0).max(1, keepdims=True)
    upper = np.where(np.isfinite(edges), edges, last + 1)
    lower = np.hstack([np.minimum(upper[:, :1], 1), upper])
    middle = (lower + np.hstack([upper, last + 1])) / 2
    users = store.counts[columns, 1:].sum(1)
    idf = np.log(max(store.n_users, 1) / np.maximum(users, 1))
    return np.hstack([np.zeros((len(columns), 1)), np.log1p(middle) * idf[:, None]]).astype(np.float32)


def _unit(store: CodeStore, columns: AnyArray, weight: F32, first: int) -> F32:
    """Return the weights (m, k) of one block of users, rows of unit length."""
    codes = store.block(columns, first, min(first + _BLOCK, store.n_users))
    values = np.take_along_axis(weight, codes, axis=1).T
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)


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
