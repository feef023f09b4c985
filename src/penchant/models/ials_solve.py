"""Half an epoch of implicit ALS: one side solved against the other, spread over threads.

Sums over rows are taken in chunks of a fixed size and added in order, so that the number of threads changes
no bit of the result.
"""

from dataclasses import dataclass
from typing import Literal, Self

import numpy as np

from penchant.kernel.arrays import F32, Csr, readonly
from penchant.kernel.parallel import spread
from penchant.models.ials_kernels import cg_rows, exact_rows, gram_rows

Solver = Literal["cg", "exact"]

_GRAM_ROWS = 4096
_SOLVE_ROWS = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """What one side (users, or items) has seen of the other.

    ``seen`` holds the confidences, (n, n_other); ``ridge`` (n,) is λ_u = λ (n_u + w0 n_other)^ν.
    """

    seen: Csr
    ridge: F32

    @classmethod
    def of(
        cls, seen: Csr, *, regularization: float, unobserved_weight: float, frequency_exponent: float
    ) -> Self:
        """Weigh the regularisation of each row by how much there is to fit."""
        terms = np.diff(seen.indptr) + unobserved_weight * seen.n_columns
        ridge = (regularization * terms**frequency_exponent).astype(np.float32)
        return cls(seen=seen, ridge=readonly(ridge))


def gram(y: F32) -> F32:
    """Return Σ y_i y_iᵀ, (f, f)."""
    rows = readonly(y.view())
    parts = spread(lambda start, stop: gram_rows(rows, start, stop), len(y), chunk=_GRAM_ROWS)
    total = np.zeros((y.shape[1], y.shape[1]), np.float32)
    for part in parts:
        total += part
    return readonly(total)


def sweep(side: Side, y: F32, x: F32, base: F32, *, solver: Solver, steps: int) -> float:
    """Solve all rows of ``x`` (n, f) in place against ``y`` (n_other, f); return Σ L_u after it.

    ``base`` is w0 `gram` of ``y``. Conjugate gradient starts from what ``x`` holds.
    """
    seen = side.seen
    given = (seen.indptr, seen.indices, seen.data, readonly(y.view()), readonly(base.view()), side.ridge, x)

    def solve(start: int, stop: int) -> np.float64:
        if solver == "exact":
            return exact_rows(*given, start, stop)
        return cg_rows(*given, steps, start, stop)

    return float(sum(spread(solve, len(x), chunk=_SOLVE_ROWS)))


def solve_rows(side: Side, y: F32, base: F32) -> F32:
    """Return the exact solution of each row, (n, f), zeros for a row that saw nothing."""
    x = np.zeros((side.seen.n_rows, y.shape[1]), np.float32)
    sweep(side, y, x, base, solver="exact", steps=0)
    return readonly(x)
