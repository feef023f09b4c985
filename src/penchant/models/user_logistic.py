"""One small logistic regression a user, many users at once: which items would this one take?

For user u with items i of features x_i, labels y_i in {0, 1} and weights c_i (Newton's method, damped):

    min_w  λ/2 ‖w‖² + Σ_i c_i (log(1 + e^(x_i·w + w_0)) - y_i (x_i·w + w_0))        w_0 is not penalised

Every model is d + 1 numbers and is solved on its own, in a compiled loop over users, a few threads
taking parts. As user-level random effects these are GLMix's (Zhang et al. 2016).
"""

import math

import numpy as np
from numpy.random import Generator

from penchant.kernel.arrays import F32, F64, I64, Csr, Rows, readonly
from penchant.kernel.compiled import kernel
from penchant.kernel.parallel import spread

_STEPS = 50
_CLOSE = 1e-8
_SMALLEST = 1e-6  # of a Newton step
_CHUNK = 64  # users that a thread takes at once


def fit_users(
    features: F64, taken: Csr, users: Rows, *, penalty: float, negatives: int, rng: Generator
) -> F64:
    """Return (n, d + 1) weights, the intercept last, of each of ``users`` (n,).

    ``features`` (n_items, d); a user's items in ``taken`` are positive. Of the others so many ``negatives``
    are drawn for each positive and weighted so as to stand for all that the user did not take.
    """
    rows: list[Rows] = []
    labels: list[F64] = []
    weights: list[F64] = []
    n_items = len(features)
    for user in users.tolist():
        own = taken.row(user)
        rest = np.setdiff1d(np.arange(n_items, dtype=np.int32), own)
        drawn = rng.choice(rest, min(len(rest), negatives * max(len(own), 1)), replace=False)
        rows.append(np.concatenate([own, drawn]))
        labels.append(np.repeat([1.0, 0.0], [len(own), len(drawn)]))
        weights.append(np.repeat([1.0, len(rest) / max(len(drawn), 1)], [len(own), len(drawn)]))
    starts = np.concatenate([[0], np.cumsum([len(r) for r in rows])]).astype(np.int64)
    return fit_many(
        features, starts, np.concatenate(rows), np.concatenate(labels), np.concatenate(weights), penalty
    )


def fit_many(features: F64, starts: I64, rows: Rows, labels: F64, weights: F64, penalty: float) -> F64:
    """Return (n, d + 1) weights: model u learns from entries ``starts[u]`` to ``starts[u + 1]``."""
    out = np.zeros((len(starts) - 1, features.shape[1] + 1))
    chosen = rows.astype(np.int32)

    def fit(first: int, last: int) -> None:
        _fit(features, starts, chosen, labels, weights, penalty, first, last, out)

    spread(fit, len(out), chunk=_CHUNK)
    return out


def probabilities(features: F64, weights: F64) -> F32:
    """Return P(takes) of every item (n, n_items) by models (n, d + 1)."""
    z = weights[:, :-1] @ features.T + weights[:, -1:]
    return readonly((1 / (1 + np.exp(-np.clip(z, -50, 50)))).astype(np.float32))


@kernel()
def _score(x: F64, w: F64) -> float:
    d = len(x)
    z = w[d]
    for j in range(d):
        z += x[j] * w[j]
    return z


@kernel()
def _loss(features: F64, rows: Rows, labels: F64, weights: F64, penalty: float, w: F64) -> float:
    total = 0.0
    for j in range(len(w) - 1):
        total += 0.5 * penalty * w[j] * w[j]
    for e in range(len(rows)):
        z = _score(features[rows[e]], w)
        total += weights[e] * (max(z, 0.0) + math.log1p(math.exp(-abs(z))) - labels[e] * z)
    return total


@kernel()
def _bend(
    features: F64, rows: Rows, labels: F64, weights: F64, penalty: float, w: F64, slope: F64, bend: F64
) -> None:
    """Fill in the gradient (d + 1,) and the lower half of the Hessian (d + 1, d + 1)."""
    d = len(w) - 1
    for j in range(d + 1):
        slope[j] = penalty * w[j] if j < d else 0.0
        for k in range(j + 1):
            bend[j, k] = 0.0
        bend[j, j] = penalty if j < d else 1e-9
    for e in range(len(rows)):
        x = features[rows[e]]
        p = 1 / (1 + math.exp(-_score(x, w)))
        c, h = weights[e] * (p - labels[e]), weights[e] * p * (1 - p)
        for j in range(d):
            slope[j] += c * x[j]
            for k in range(j + 1):
                bend[j, k] += h * x[j] * x[k]
            bend[d, j] += h * x[j]
        slope[d] += c
        bend[d, d] += h


@kernel()
def _solve(a: F64, b: F64) -> None:
    """Solve a x = b for a symmetric positive a, given its lower half, by Cholesky; x replaces b."""
    n = len(b)
    for j in range(n):
        for k in range(j + 1):
            total = a[j, k]
            for m in range(k):
                total -= a[j, m] * a[k, m]
            a[j, k] = math.sqrt(max(total, 1e-12)) if j == k else total / a[k, k]
    for j in range(n):
        for m in range(j):
            b[j] -= a[j, m] * b[m]
        b[j] /= a[j, j]
    for j in range(n - 1, -1, -1):
        for m in range(j + 1, n):
            b[j] -= a[m, j] * b[m]
        b[j] /= a[j, j]


@kernel()
def _fit(
    features: F64,
    starts: I64,
    rows: Rows,
    labels: F64,
    weights: F64,
    penalty: float,
    first: int,
    last: int,
    out: F64,
) -> None:
    n = features.shape[1] + 1
    slope, bend, tried = np.empty(n), np.empty((n, n)), np.empty(n)
    for u in range(first, last):
        lo, hi = starts[u], starts[u + 1]
        r, y, c, w = rows[lo:hi], labels[lo:hi], weights[lo:hi], out[u]
        loss = _loss(features, r, y, c, penalty, w)
        for _ in range(_STEPS):
            _bend(features, r, y, c, penalty, w, slope, bend)
            _solve(bend, slope)
            size, moved = 1.0, 0.0
            while size > _SMALLEST:
                for j in range(n):
                    tried[j] = w[j] - size * slope[j]
                now = _loss(features, r, y, c, penalty, tried)
                if now <= loss:
                    loss = now
                    for j in range(n):
                        moved = max(moved, abs(tried[j] - w[j]))
                        w[j] = tried[j]
                    break
                size /= 2
            if moved < _CLOSE:
                break
