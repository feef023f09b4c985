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
_TURN_ROWS = 1024
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Axes:
    """The principal axes of a side's factors: Σ y_i y_iᵀ = Q Λ Qᵀ."""

    q: F32  # (f, f), a column an axis
    spread: F32  # (f,) Λ

    @classmethod
    def of(cls, total: F32) -> Self:
        """Find the axes of a `gram`."""
        values, vectors = np.linalg.eigh(total.astype(np.float64))
        return cls(q=vectors.astype(np.float32), spread=np.maximum(values, 0).astype(np.float32))


def turned(y: F32, q: F32, *, out: F32 | None = None) -> F32:
    """Return ``y q``, in ``out`` if given, which may be ``y``; the same on any number of threads."""
    target = np.empty_like(y) if out is None else out

    def turn(start: int, stop: int) -> None:
        np.matmul(y[start:stop], q, out=target[start:stop])

    spread(turn, len(y), chunk=_TURN_ROWS)
    return target


def sweep(
    side: Side, y: F32, x: F32, *, unobserved_weight: float, solver: Solver, steps: int
) -> tuple[F32, float]:
    """Solve all rows of one side against ``y`` (n_other, f) and return them, (n, f), with Σ L_u.

    Conjugate gradient starts from ``x`` (n, f).
    """
    axes = Axes.of(gram(y))
    solved = turned(x, axes.q) if solver == "cg" else np.empty_like(x)
    loss = solve_rows(
        side,
        turned(y, axes.q),
        solved,
        np.float32(unobserved_weight) * axes.spread,
        solver=solver,
        steps=steps,
    )
    return turned(solved, np.ascontiguousarray(axes.q.T), out=solved), loss


def solve_rows(side: Side, y: F32, x: F32, shared: F32, *, solver: Solver = "exact", steps: int = 0) -> float:
    """Solve all rows of ``x`` in place and return Σ L_u; ``y`` in its axes, ``shared`` (f,) = w0 Λ."""
    seen = side.seen
    given = (seen.indptr, seen.indices, seen.data, readonly(y.view()), readonly(shared.view()), side.ridge, x)

    def solve(start: int, stop: int) -> np.float64:
        if solver == "exact":
            return exact_rows(*given, start, stop)
        return cg_rows(*given, steps, start, stop)

    return float(sum(spread(solve, len(x), chunk=_SOLVE_ROWS)))
