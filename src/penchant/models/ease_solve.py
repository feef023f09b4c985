"""The Gram matrix of histories and what EASE needs of inverses: the inner loops.

Each kernel works on rows start..stop-1 without the GIL; no row depends on another.
"""

from typing import Any

import numpy as np

from penchant.kernel.arrays import F32, F64, I64, AnyArray, Csr, Rows
from penchant.kernel.compiled import kernel
from penchant.kernel.parallel import spread
from penchant.models.item_knn_kernels import by_column

_CHUNK = 64


def gram(x: Csr, scale: F32, dtype: Any) -> AnyArray:
    """Return the lower triangle of X diag(scale) Xᵀ, (n_rows, n_rows); what is above it is 0."""
    indptr, owners, values, _ = by_column(x.indptr, x.indices, x.data, x.n_columns)
    out: AnyArray = np.zeros((x.n_rows, x.n_rows), dtype)
    spread(
        lambda start, stop: _gram_rows(
            x.indptr, x.indices, x.data, indptr, owners, values, scale, out, start, stop
        ),
        x.n_rows,
        chunk=_CHUNK,
    )
    return out


@kernel()
def _gram_rows(
    indptr: I64,
    indices: Rows,
    data: F32,
    back: I64,
    owners: Rows,
    values: F32,
    scale: F32,
    out: AnyArray,
    start: int,
    stop: int,
) -> None:
    for r in range(start, stop):
        row = out[r]
        for e in range(indptr[r], indptr[r + 1]):
            j = indices[e]
            w = np.float64(data[e]) * scale[j]
            for p in range(back[j], back[j + 1]):
                if owners[p] > r:  # they ascend
                    break
                row[owners[p]] += w * values[p]


@kernel()
def item_weights(p: F32, diagonal: F32, start: int, stop: int) -> None:
    """Turn rows of P into rows of B: B_ij = -P_ij / P_jj, 0 on the diagonal."""
    for i in range(start, stop):
        for j in range(p.shape[1]):
            p[i, j] = -p[i, j] / diagonal[j]
        p[i, i] = np.float32(0)


@kernel()
def inner(back: I64, owners: Rows, values: F32, k: F64, out: F64, start: int, stop: int) -> None:
    """Set ``out[j]`` = x_jᵀ K x_j for items start..stop-1, K symmetric."""
    for j in range(start, stop):
        total = 0.0
        for a in range(back[j], back[j + 1]):
            u, half = owners[a], 0.0
            for b in range(back[j], a):
                half += values[b] * k[u, owners[b]]
            total += values[a] * (2 * half + values[a] * k[u, u])
        out[j] = total


@kernel()
def add_rows(
    indptr: I64, indices: Rows, data: F32, start: int, position: Rows, b: F32, columns: Rows, out: F32
) -> None:
    """Set ``out[r, columns]`` = Σ_i x_i B_i for the rows x from ``start`` on, added in the order of i.

    ``position`` says where an item stands in B, -1 = nowhere.
    """
    total = np.empty(len(columns), np.float32)
    for r in range(len(out)):
        total[:] = np.float32(0)
        for e in range(indptr[start + r], indptr[start + r + 1]):
            at = position[indices[e]]
            if at >= 0:
                x, row = data[e], b[at]
                for j in range(len(columns)):
                    total[j] += x * row[j]
        for j in range(len(columns)):
            out[r, columns[j]] = total[j]


@kernel()
def through_users(
    indptr: I64,
    indices: Rows,
    data: F32,
    start: int,
    back: I64,
    owners: Rows,
    values: F32,
    by_user: I64,
    items: Rows,
    weights: F32,
    k: F32,
    ridge: F32,
    remainder: F32,
    out: F32,
) -> None:
    """Set ``out[r, j]`` = x_j - (x_j - (Xᵀ K X V x)_j) / r_j for the rows x from ``start`` on.

    V is 1 / ``ridge``; an item with a ``remainder`` r of 0 is NaN.
    """
    n, m = len(k), out.shape[1]
    a, b = np.empty(n, np.float32), np.empty(n, np.float32)
    for r in range(len(out)):
        row = out[r]
        a[:] = np.float32(0)
        b[:] = np.float32(0)
        row[:] = np.float32(0)
        for e in range(indptr[start + r], indptr[start + r + 1]):
            i = indices[e]
            w = data[e] / ridge[i]
            for p in range(back[i], back[i + 1]):
                a[owners[p]] += w * values[p]
        for u in range(n):
            if a[u] != 0:
                w, of_user = a[u], k[u]
                for v in range(n):
                    b[v] += w * of_user[v]
        for u in range(n):
            w = b[u]
            for p in range(by_user[u], by_user[u + 1]):
                row[items[p]] += w * weights[p]
        for e in range(indptr[start + r], indptr[start + r + 1]):
            row[indices[e]] -= data[e]
        for j in range(m):
            row[j] = row[j] / remainder[j] if remainder[j] > 0 else np.float32(np.nan)
        for e in range(indptr[start + r], indptr[start + r + 1]):
            row[indices[e]] += data[e]
