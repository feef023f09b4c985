"""Users in a few dimensions of taste: an uncentred SVD of what they took, rarer things counting more."""

from collections.abc import Collection
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.utils.extmath import randomized_svd
from threadpoolctl import threadpool_limits

from penchant.data.snapshot import Snapshot
from penchant.features.purchase_matrix import item_codes
from penchant.kernel.arrays import F32, Rows, readonly

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
        svd: Any = randomized_svd
        _, _, components = svd(matrix[::step], dims, n_iter=7, random_state=0)
        found = matrix @ components.T
    spread = found.std(0)
    return readonly((found / np.where(spread > 0, spread, 1.0)).astype(np.float32))


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
