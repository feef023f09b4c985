"""The inverse of a symmetric positive definite matrix, in place and by blocks.

Sweeping block k of a symmetric A, with D = A_kk^-1,

    A_ij <- A_ij - A_ik D A_kj        A_ik <- A_ik D        A_kk <- -D

for all i, j other than k, keeps A symmetric; once every block is swept, A has become -A^-1 (Goodnight: A
tutorial on the sweep operator, 1979). So only the lower triangle is ever computed: n^3 operations in all, as
many as Cholesky's inverse, nearly all of them products of blocks, and no second matrix. In positive definite
matrices no pivots are needed.
"""

from typing import Any

import numpy as np

from penchant.kernel.arrays import AnyArray
from penchant.kernel.compiled import kernel
from penchant.kernel.parallel import one_blas_thread, spread
from penchant.kernel.progress import Progress

_BLOCK = 768


def invert(a: AnyArray, *, progress: Progress | None = None, block: int = _BLOCK) -> None:
    """Replace ``a`` (n, n), C order, by its inverse; only its lower triangle is read.

    Advances ``progress`` once a block; the result does not depend on the number of threads.
    """
    n = len(a)
    with one_blas_thread():
        for first in range(0, n, block):
            _sweep(a, first, min(first + block, n), block)
            if progress is not None:
                progress.advance(note=f"{min(first + block, n):,} of {n:,}")
    _negate_and_mirror(a)


def steps(n: int) -> int:
    """Return how often `invert` advances its progress."""
    return -(-n // _BLOCK)


def _sweep(a: AnyArray, first: int, last: int, block: int) -> None:
    n, width = len(a), last - first
    column: AnyArray = np.empty((n, width), a.dtype)  # A_ik for every i
    column[:first] = a[first:last, :first].T
    column[last:] = a[last:, first:last]
    corner: Any = np.tril(a[first:last, first:last]).astype(np.float64)
    d = np.linalg.inv(corner + np.tril(corner, -1).T).astype(a.dtype)
    column[first:last] = 0
    scaled = column @ d  # A_ik D

    def rows(start: int, stop: int) -> None:
        """Update the rows of one block, tile by tile up to the diagonal."""
        product: AnyArray = np.empty((stop - start, block), a.dtype)
        for left in range(0, stop, block):
            right = min(left + block, stop)
            part = product[:, : right - left]
            np.matmul(scaled[start:stop], column[left:right].T, out=part)
            a[start:stop, left:right] -= part

    spread(rows, n, chunk=block)
    a[first:last, :first] = scaled[:first].T
    a[last:, first:last] = scaled[last:]
    a[first:last, first:last] = -d


@kernel()
def _negate_and_mirror(a: AnyArray) -> None:
    """Copy the lower triangle, negated, over both; tiles of 64 x 64 keep both sides in the cache."""
    n = len(a)
    for top in range(0, n, 64):
        for left in range(0, top + 1, 64):
            for i in range(top, min(top + 64, n)):
                for j in range(left, min(left + 64, i + 1)):
                    a[i, j] = -a[i, j]
                    a[j, i] = a[i, j]
