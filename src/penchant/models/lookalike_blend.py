"""The hand-over from what people like a user want to the user's own taste.

    score_u = (1 - a) prior_u / rms(prior_u) + a own_u / rms(own_u)        a = n / (n + k0)

n counts the different items of the user's history; rms is the root mean square over all items, so that k0
does not depend on the units of either side. Both sides are inner products, so the blend is one too: with the
item's factor y_i and its directions d_i joined to one row [y_i, d_i], an exact index answers everything.
"""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np

from penchant.kernel.arrays import F32, F64, I64, readonly
from penchant.kernel.compiled import kernel
from penchant.models.index import ExactIndex


@kernel()
def _root_mean_squares(vectors: F32, gram: F64, out: F64) -> None:
    """out_u = sqrt(v_uᵀ G v_u) for vectors (n, m): row by row, so that a batch gives a single's bits."""
    n, m = vectors.shape
    for u in range(n):
        total = 0.0
        for i in range(m):
            row = 0.0
            for j in range(m):
                row += gram[i, j] * vectors[u, j]
            total += row * vectors[u, i]
        out[u] = np.sqrt(max(total, 0.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Blend:
    """Factors and directions joined. ``taste_gram`` (f, f), ``prior_gram`` (m, m) are means over items."""

    index: ExactIndex
    taste_gram: F64
    prior_gram: F64

    @classmethod
    def of(cls, factors: F32, directions: F32) -> Self:
        """Join item factors (n_items, f) and directions (m, n_items)."""
        n = max(len(factors), 1)
        y, d = factors.astype(np.float64), directions.astype(np.float64)
        return cls(
            index=ExactIndex.build(np.concatenate([factors, directions.T], axis=1).astype(np.float32)),
            taste_gram=readonly(y.T @ y / n),
            prior_gram=readonly(d @ d.T / n),
        )

    def vectors(self, taste: F32, prior: F32, n: I64, k0: float) -> F32:
        """Return (n_users, f + m): rows of the equation above, for k0 up to infinity (the prior alone).

        Where one side says nothing the other has all the weight.
        """
        own, other = _scaled(taste, self.taste_gram), _scaled(prior, self.prior_gram)
        if math.isinf(k0):
            a = np.zeros(len(n))
        else:
            a = np.divide(n, n + k0, out=np.zeros(len(n)), where=n > 0)
        a[~own.any(axis=1)] = 0.0
        a[~other.any(axis=1)] = 1.0
        joined = np.concatenate([a[:, None] * own, (1 - a)[:, None] * other], axis=1)
        return readonly(joined.astype(np.float32))


def _scaled(vectors: F32, gram: F64) -> F64:
    size = np.zeros(len(vectors))
    _root_mean_squares(readonly(np.ascontiguousarray(vectors, np.float32)), gram, size)
    return vectors / np.where(size > 0, size, 1.0)[:, None]
