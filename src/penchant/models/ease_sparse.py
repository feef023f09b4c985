"""EASE where items are too many for one inverse: each item from its neighbours alone.

    b_j = (G_SS + Λ_S)^-1 G_Sj        S: the items most alike j by cosine        G = XᵀX

The ridge regression of EASE with all other weights held at 0; items never taken with j are not in S. (Steck:
Markov random fields for collaborative filtering, 2019, limits the same regression to the large entries of G.)
Entries of G beyond the nearest 2 |S| of both its items count as 0.
"""

import numpy as np

from penchant.kernel.arrays import F32, F64, I64, Csr, Rows, readonly
from penchant.kernel.compiled import kernel
from penchant.kernel.parallel import one_blas_thread, spread
from penchant.models.item_knn_kernels import nearest

_CHUNK = 64


def sparse_weights(x: Csr, ridge: F32, *, k: int) -> Csr:
    """Return W (n_items, n_items), k weights a column, each row in descending order, ties in row order."""
    n = x.n_columns
    squares = np.bincount(x.indices, weights=x.data.astype(np.float64) ** 2, minlength=n).astype(np.float64)
    norms = np.sqrt(np.where(squares > 0, squares, 1.0)).astype(np.float32)
    near = nearest(x, source=norms, target=norms, k=min(2 * k, n))
    columns, values = np.full((n, k), -1, np.int32), np.zeros((n, k), np.float32)
    with one_blas_thread():
        spread(
            lambda start, stop: _solve(
                near.indptr, near.indices, near.data, norms, squares, ridge, start, stop, columns, values
            ),
            n,
            chunk=_CHUNK,
        )
    kept = columns >= 0
    source, weight = columns[kept], values[kept]
    target = np.repeat(np.arange(n, dtype=np.int32), kept.sum(axis=1))
    order = np.lexsort((target, -weight, source))
    return Csr(
        indptr=readonly(np.concatenate([[0], np.cumsum(np.bincount(source, minlength=n))]).astype(np.int64)),
        indices=readonly(target[order]),
        data=readonly(weight[order]),
        n_columns=n,
    )


@kernel()
def _solve(
    indptr: I64,
    indices: Rows,
    cosine: F32,
    norms: F32,
    squares: F64,
    ridge: F32,
    start: int,
    stop: int,
    columns: Rows,
    values: F32,
) -> None:
    """Set ``columns[j]`` and ``values[j]`` to S and b_j for items start..stop-1."""
    n, k = columns.shape
    place = np.full(n, -1, np.int64)
    for j in range(start, stop):
        m = min(k, indptr[j + 1] - indptr[j])
        if m == 0:
            continue
        some = indices[indptr[j] : indptr[j] + m]
        for a in range(m):
            place[some[a]] = a
        g = np.zeros((m, m))
        right = np.empty(m)
        for a in range(m):
            i = some[a]
            right[a] = np.float64(cosine[indptr[j] + a]) * norms[i] * norms[j]
            g[a, a] = squares[i] + ridge[i]
            for p in range(indptr[i], indptr[i + 1]):
                b = place[indices[p]]
                if b >= 0:
                    g[a, b] = g[b, a] = np.float64(cosine[p]) * norms[i] * norms[indices[p]]
        for a in range(m):
            place[some[a]] = -1
        solved = np.linalg.solve(g, right)
        for a in range(m):
            columns[j, a] = some[a]
            values[j, a] = solved[a]
