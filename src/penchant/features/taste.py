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
from penchant.kernel.arrays import F32, I64, U8, Bools, Rows, readonly

MOST_COLUMNS = 5000
MOST_ITEMS = 20_000
_LEARN_FROM = 200_000
_MOST_AFFINE = 512
_AFFINE_FROM = 50_000


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
    counts = _counts(snapshot, column, without=_hidden(snapshot, category, hide))
    matrix = _weighted(counts[rows], MOST_COLUMNS)
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


def item_rows(snapshot: Snapshot, *, category: str, hide: Collection[str] = (), rows: Rows) -> Any:
    """Return (m, items) float32, sparse: what the users ``rows`` (m,) took, weighted as in `taste`.

    Items that fewer than three of them took are left out, and all but the 20,000 commonest.
    """
    counts = _counts(snapshot, None, without=_hidden(snapshot, category, hide))
    return _weighted(counts[rows], MOST_ITEMS, least=3).astype(np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Axes:
    """Dimensions that are read from codes, where only a code store is at hand: of taste, or of affinity.

    t(u) = (w(u) / |w(u)|) A, with w(u) the weights of the user's codes in the categories.
    """

    columns: Rows  # (k,) of the store
    weight: F32  # (k, bins): log(1 + orders) x idf, orders being the middle of the code's bin
    axes: F32  # (k, r)

    def of(self, codes: U8) -> F32:
        """Return the taste (m, r) of users by their codes (k, m) in the columns."""
        values = np.take_along_axis(self.weight, codes, axis=1).T
        return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12) @ self.axes


def axes_of(sample: CodeStore, counts: I64, *, hide: Collection[str] = (), dims: int = 32) -> Axes:
    """Learn the axes of taste from a sample of users; ``counts`` (d, bins) are those of everybody.

    Each dimension has unit spread. Categories in ``hide`` are left out. The same sample gives the same axes.
    """
    shown = np.array([f.category not in hide for f in sample.book], bool)
    plain = _plain(sample, counts, shown, MOST_COLUMNS)
    columns, weight = plain.columns, plain.weight
    with threadpool_limits(1, user_api="blas"):
        rows = plain.of(sample.codes[columns])
        _, vectors = np.linalg.eigh(rows.T.astype(np.float64) @ rows.astype(np.float64))
        axes = vectors[:, ::-1][:, : max(min(dims, len(columns) - 1), 0)]
        spread = (rows @ axes).std(0)
    return Axes(
        columns=columns,
        weight=weight,
        axes=readonly((axes / np.where(spread > 0, spread, 1.0)).astype(np.float32)),
    )


def affinity_of(sample: CodeStore, usable: Bools) -> Axes:
    """Learn how much of each category is expected of a user who takes what they take of the others.

    The axes are B = I - P / diag(P) by columns, P = (X'X + l I)^-1 over the unit rows X of the users, l twice
    the mean of the diagonal of X'X (EASE: Steck 2019). ``usable`` (d,) marks the columns that may be read; of
    more than 512 categories the commonest count.
    """
    plain = _plain(sample, sample.counts, usable, _MOST_AFFINE)
    k = len(plain.columns)
    step = -(-sample.n_users // _AFFINE_FROM)
    with threadpool_limits(1, user_api="blas"):
        rows = plain.of(sample.codes[plain.columns, ::step]).astype(np.float64)
        gram = rows.T @ rows
        inverse = np.linalg.inv(gram + max(2 * np.trace(gram) / max(k, 1), 1e-12) * np.eye(k))
    axes = np.eye(k) - inverse / np.diag(inverse)
    return Axes(columns=plain.columns, weight=plain.weight, axes=readonly(axes.astype(np.float32)))


def _plain(sample: CodeStore, counts: I64, shown: Bools, most: int) -> Axes:
    """Return the ``most`` commonest categories as axes of their own; ``counts`` (d, bins), ``shown`` (d,)."""
    found = [
        j
        for j, f in enumerate(sample.book)
        if shown[j] and f.symbol == "cto" and f.code > ACCOUNT and counts[j, 1:].any()
    ]
    found.sort(key=lambda j: -int(counts[j, 1:].sum()))
    columns = np.array(found[:most], np.int32)
    weight = _weights(sample.edges[columns], counts[columns])
    axes = np.eye(len(columns), dtype=np.float32)
    return Axes(columns=readonly(columns), weight=readonly(weight), axes=axes)


def _weights(edges: F32, counts: I64) -> F32:
    """Return log(1 + middle of the bin) x idf for each code (k, bins), 0 for never."""
    finite = np.isfinite(edges)
    last = np.where(finite, edges, 0).max(1, keepdims=True).astype(np.float64)
    upper = np.where(finite, edges, last + 1)
    middle = (np.hstack([np.minimum(upper[:, :1], 1), upper]) + np.hstack([upper, last + 1])) / 2
    idf = np.log(counts.sum(1) / counts[:, 1:].sum(1))
    return np.hstack([np.zeros((len(edges), 1)), np.log1p(middle) * idf[:, None]]).astype(np.float32)


def _weighted(matrix: Any, most: int, *, least: int = 0) -> Any:
    """Return log(1 + count) x idf with rows of unit length, of the ``most`` commonest columns (n, k)."""
    users_of = np.bincount(matrix.indices, minlength=matrix.shape[1])
    keep = np.flatnonzero(users_of >= least)
    if len(keep) > most:
        keep = np.sort(keep[np.argsort(-users_of[keep], kind="stable")[:most]])
    if len(keep) < matrix.shape[1]:
        matrix, users_of = matrix[:, keep], users_of[keep]
    idf = np.log(max(matrix.shape[0], 1) / np.maximum(users_of, 1))
    matrix = matrix.astype(np.float64)
    matrix.data = np.log1p(matrix.data)
    matrix = sp.csr_array(matrix @ sp.diags_array(idf))
    lengths = np.sqrt(np.asarray((matrix * matrix).sum(1)).ravel())
    return sp.csr_array(sp.diags_array(1 / np.maximum(lengths, 1e-12)) @ matrix)


def _hidden(snapshot: Snapshot, category: str, hide: Collection[str]) -> "Bools | None":
    """Mark the items (m,) whose category is in ``hide``."""
    if not hide:
        return None
    codes, names = item_codes(snapshot, category)
    return np.array([False, *(name in hide for name in names)])[codes]


def _counts(snapshot: Snapshot, column: str | None, without: "Bools | None" = None) -> Any:
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
