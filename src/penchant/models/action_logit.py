"""Logistic regression of many actions at once, each drawn to what holds for all of them.

The log-odds that a user with features x (the first is 1) takes action a of a trial are

    f(x, a) = (θ + w_a)·x,   w_a0 ~ N(z_a·δ, τ²),   w_aj ~ N(0, σ²) for j >= 1

with z_a what is known of the action itself. So an action with few trials answers as its kind does, and where
users differ it takes the word of all actions until its own trials say otherwise. θ, w and δ are the maximum
of the posterior, found in turns by Newton's method; τ² and σ² follow by expectation-maximisation from the
means and variances of w (Laplace's approximation; Tipping 2001 has the updates).
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from penchant.kernel.arrays import F32, F64, Rows, readonly

_ROUNDS = 25
_STEPS = 30
_CLOSE = 1e-6
_SETTLED = 0.02  # relative change of both variances
_VAGUE, _WEAK = 100.0, 4.0  # prior variances of the common intercept and of common slopes
_LEAST = 1e-3  # variance: below, an action never differs again
_KIND = 1.0  # prior variance of δ


@dataclass(frozen=True, slots=True, kw_only=True)
class Logits:
    """A fit: ``common`` (d,) is θ, ``own`` (n_actions, d) w, ``doubt`` (n_actions,) the variance of w_a0."""

    common: F64
    own: F64
    doubt: F64
    kind: F64  # (q,) δ
    differ: float  # τ²
    lean: float  # σ²

    def of(self, x: F64) -> F64:
        """Return f of a user with features (d,) for every action, (n_actions,)."""
        return (self.common + self.own) @ x


def fit_logits(x: F32, user: Rows, action: Rows, taken: F64, weight: F64, *, about: F64) -> Logits:
    """Fit trials of users with features ``x`` (n_users, d), the first 1; ``about`` (n_actions, q) is z."""
    (n_actions, n_kinds), d = about.shape, x.shape[1]
    order = np.lexsort((user, action))
    blocks = np.searchsorted(action[order], np.arange(n_actions + 1))
    parts = [order[first:last] for first, last in pairwise(blocks)]
    groups = [_grouped(x, user[at], taken[at], weight[at]) for at in parts]
    common, own, kind = np.zeros(d), np.zeros((n_actions, d)), np.zeros(n_kinds)
    variances = np.zeros((n_actions, d))
    differ, lean = 1.0, 0.1
    vague = 1 / np.array([_VAGUE, *[_WEAK] * (d - 1)])
    for _ in range(_ROUNDS):
        common, _ = _newton(
            [(g, g.x @ w) for g, w in zip(groups, own, strict=True)], common, np.zeros(d), vague
        )
        prior = 1 / np.array([differ, *[lean] * (d - 1)])
        means = about @ kind
        for a, group in enumerate(groups):
            mean = np.array([means[a], *[0.0] * (d - 1)])
            own[a], variances[a] = _newton([(group, group.x @ common)], own[a], mean, prior)
        # What all have in common belongs to θ: alone, the turns would take long to move it there.
        off = own.copy()
        off[:, 0] -= means
        shift = (off.sum(axis=0) * prior - vague * common) / (n_actions * prior + vague)
        common, own = common + shift, own - shift
        kind = _ridge(about, own[:, 0], differ + variances[:, 0])
        news = _variances(own, about @ kind, variances)
        if max(abs(news[0] / differ - 1), abs(news[1] / lean - 1)) < _SETTLED:
            break
        differ, lean = news
    return Logits(
        common=readonly(common),
        own=readonly(own),
        doubt=readonly(variances[:, 0].copy()),
        kind=readonly(kind),
        differ=differ,
        lean=lean,
    )


def _variances(own: F64, means: F64, variances: F64) -> tuple[float, float]:
    """Return τ² and σ² as the actions' means and variances tell them."""
    off = own.copy()
    off[:, 0] -= means
    seen = off**2 + variances
    differ = float(seen[:, 0].mean()) if len(seen) else 1.0
    lean = float(seen[:, 1:].mean()) if seen[:, 1:].size else 0.1
    return max(differ, _LEAST), max(lean, _LEAST)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    """The trials of one action, those of one user together."""

    x: F64  # (m, d)
    taken: F64  # (m,)
    weight: F64  # (m,)


def _grouped(x: F32, user: Rows, taken: F64, weight: F64) -> _Group:
    users, at = np.unique(user, return_inverse=True)
    return _Group(
        x=x[users].astype(np.float64),
        taken=np.bincount(at, taken, minlength=len(users)).astype(np.float64),
        weight=np.bincount(at, weight, minlength=len(users)).astype(np.float64),
    )


def _newton(parts: list[tuple[_Group, F64]], w: F64, mean: F64, precision: F64) -> tuple[F64, F64]:
    """Return the maximum over w of the posterior of groups with offsets, and w's variances (Laplace).

    minimise Σ weight log(1 + e^z) - taken z + ½ Σ precision (w - mean)²,   z = offset + x·w
    """

    def loss(w: F64) -> float:
        total = 0.5 * float((precision * (w - mean) ** 2).sum())
        for group, offset in parts:
            z = offset + group.x @ w
            total += float((group.weight * np.logaddexp(0, z) - group.taken * z).sum())
        return total

    now = loss(w)
    bend = np.diag(precision)
    for _ in range(_STEPS):
        slope, bend = precision * (w - mean), np.diag(precision)
        for group, offset in parts:
            p = 1 / (1 + np.exp(-(offset + group.x @ w)))
            slope += group.x.T @ (group.weight * p - group.taken)
            bend += (group.x * (group.weight * p * (1 - p))[:, None]).T @ group.x
        step, size = np.linalg.solve(bend, slope), 1.0
        while (tried := loss(w - size * step)) > now and size > 1e-4:
            size /= 2
        if tried > now:
            break
        w, now = w - size * step, tried
        if np.abs(size * step).max() < _CLOSE:
            break
    return w, np.diag(np.linalg.inv(bend)).astype(np.float64)


def _ridge(about: F64, intercepts: F64, variance: F64) -> F64:
    """Return δ from the actions' intercepts, each as sure as its variance says."""
    weighed = about.T / variance
    bend = weighed @ about + np.eye(about.shape[1]) / _KIND
    return np.linalg.solve(bend, weighed @ intercepts).astype(np.float64)
