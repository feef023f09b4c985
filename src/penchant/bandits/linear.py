"""Contextual policies: one ridge regression an arm, updated in place by rank-1 steps.

For arm a with contexts x and rewards r (Li et al. 2010):

    A_a = λ I + Σ x xᵀ      b_a = Σ r x      θ_a = A_a⁻¹ b_a

Sherman-Morrison keeps the inverse, v = A⁻¹ x:   A⁻¹ ← A⁻¹ - v vᵀ / (1 + xᵀ v),   θ ← θ + A⁻¹ x (r - xᵀθ).
With forgetting, A ← γ A + (1 - γ) λ I + x xᵀ and b ← γ b + r x are of full rank and solved anew.
"""

import math
from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from penchant.bandits.base import check_arm, check_eligible, mixed_with_uniform
from penchant.bandits.quadrature import normal_best
from penchant.kernel.arrays import F64, AnyArray, Bools
from penchant.kernel.compiled import kernel
from penchant.kernel.errors import InputError


@kernel(fastmath=True)
def _learn(inverse: F64, theta: F64, x: F64, reward: float) -> None:
    """One Sherman-Morrison step on inverse (d, d) and theta (d,)."""
    d = len(x)
    v = np.empty(d)
    scale = 1.0
    error = reward
    for i in range(d):
        total = 0.0
        for j in range(d):
            total += inverse[i, j] * x[j]
        v[i] = total
        scale += x[i] * total
        error -= x[i] * theta[i]
    # A_new⁻¹ x = v / scale
    for i in range(d):
        step = v[i] / scale
        theta[i] += step * error
        for j in range(d):
            inverse[i, j] -= step * v[j]


@kernel(fastmath=True)
def _predict(inverse: F64, theta: F64, x: F64, mean: F64, variance: F64) -> None:
    """mean[a] = xᵀθ_a and variance[a] = xᵀA_a⁻¹x for inverse (n, d, d), theta (n, d)."""
    n, d = theta.shape
    for a in range(n):
        m = 0.0
        s = 0.0
        for i in range(d):
            m += theta[a, i] * x[i]
            row = 0.0
            for j in range(d):
                row += inverse[a, i, j] * x[j]
            s += row * x[i]
        mean[a] = m
        variance[a] = s


class LinearArms:
    """The regressions of n arms over contexts (dim,); ``ridge`` is λ, ``gamma`` what an update keeps."""

    def __init__(self, n_arms: int, dim: int, *, ridge: float = 1.0, gamma: float = 1.0) -> None:
        if n_arms < 1 or dim < 1:
            raise InputError(f"a linear policy needs arms and dimensions, got {n_arms} and {dim}.")
        if ridge <= 0 or not 0 < gamma <= 1:
            raise InputError(f"ridge must be above 0 and gamma in (0, 1], got {ridge} and {gamma}.")
        self.ridge = ridge
        self.gamma = gamma
        self.inverse: F64 = np.repeat(np.eye(dim)[None] / ridge, n_arms, axis=0)
        self.theta: F64 = np.zeros((n_arms, dim))
        self._version = 0

    @property
    def n_arms(self) -> int:
        """Return the number of arms."""
        return len(self.theta)

    @property
    def dim(self) -> int:
        """Return the length of a context."""
        return self.theta.shape[1]

    @property
    def version(self) -> int:
        """Return how many updates the state has seen."""
        return self._version

    def update(self, arm: int, reward: float, context: F64 | None = None) -> None:
        """Learn that ``arm`` paid ``reward`` in ``context``."""
        check_arm(arm, self.n_arms)
        x = self._checked(context)
        if not math.isfinite(reward):
            raise InputError(f"a reward must be a finite number, got {reward}.")
        if self.gamma == 1.0:
            _learn(self.inverse[arm], self.theta[arm], x, float(reward))
        else:
            self._forget_and_learn(arm, x, float(reward))
        self._version += 1

    def predict(self, context: F64 | None) -> tuple[F64, F64]:
        """Return each arm's mean reward and variance factor xᵀA⁻¹x, both (n_arms,)."""
        x = self._checked(context)
        mean, variance = np.empty(self.n_arms), np.empty(self.n_arms)
        _predict(self.inverse, self.theta, x, mean, variance)
        return mean, variance

    def arrays(self) -> Mapping[str, AnyArray]:
        """Return the state to save."""
        return {"inverse": self.inverse, "theta": self.theta}

    def _forget_and_learn(self, arm: int, x: F64, reward: float) -> None:
        a = np.linalg.inv(self.inverse[arm])
        b = a @ self.theta[arm]
        a = self.gamma * a + (1 - self.gamma) * self.ridge * np.eye(self.dim) + np.outer(x, x)
        self.inverse[arm] = np.linalg.inv(a)
        self.theta[arm] = self.inverse[arm] @ (self.gamma * b + reward * x)

    def _checked(self, context: F64 | None) -> F64:
        if context is None or context.shape != (self.dim,):
            given = "none" if context is None else str(context.shape)
            raise InputError(f"this policy needs a context of shape ({self.dim},), got {given}.")
        x = np.ascontiguousarray(context, np.float64)
        if not np.isfinite(x).all():
            raise InputError("a context must be finite numbers.")
        return x


class LinUcb(LinearArms):
    """The highest xᵀθ + width sqrt(xᵀA⁻¹x) (Li et al. 2010), mixed with uniform so that it has support."""

    name: ClassVar[str] = "lin_ucb"

    def __init__(
        self,
        n_arms: int,
        dim: int,
        *,
        width: float = 1.0,
        epsilon: float = 0.05,
        ridge: float = 1.0,
        gamma: float = 1.0,
    ) -> None:
        super().__init__(n_arms, dim, ridge=ridge, gamma=gamma)
        self.width = width
        self.epsilon = epsilon

    def best(self, context: F64 | None, *, eligible: Bools | None = None) -> int:
        """Return the arm of the highest bound, the lowest such arm on ties."""
        mean, variance = self.predict(context)
        bound = mean + self.width * np.sqrt(np.maximum(variance, 0.0))
        return int(np.argmax(np.where(check_eligible(eligible, self.n_arms), bound, -np.inf)))

    def propensities(self, context: F64 | None = None, *, eligible: Bools | None = None) -> F64:
        """Return the probability of each arm."""
        p = np.zeros(self.n_arms)
        p[self.best(context, eligible=eligible)] = 1.0
        return mixed_with_uniform(p, self.epsilon, eligible)


class LinTs(LinearArms):
    """Thompson sampling of θ_a ~ N(θ_a, scale² A_a⁻¹) (Agrawal & Goyal 2013).

    An arm's score xᵀθ is then normal, arms are independent, and the propensities are a quadrature.
    """

    name: ClassVar[str] = "lin_ts"

    def __init__(
        self, n_arms: int, dim: int, *, scale: float = 0.25, ridge: float = 1.0, gamma: float = 1.0
    ) -> None:
        super().__init__(n_arms, dim, ridge=ridge, gamma=gamma)
        if scale <= 0:
            raise InputError(f"scale must be above 0, got {scale}.")
        self.scale = scale

    def propensities(self, context: F64 | None = None, *, eligible: Bools | None = None) -> F64:
        """Return P(arm draws the largest score), exact by quadrature."""
        rows = np.flatnonzero(check_eligible(eligible, self.n_arms))
        mean, variance = self.predict(context)
        sd = self.scale * np.sqrt(np.maximum(variance, 1e-18))
        p = np.zeros(self.n_arms)
        p[rows] = normal_best(mean[rows], sd[rows])
        return p


class SquareCb(LinearArms):
    """Inverse gap weighting (Foster & Rakhlin 2020; the schedule of FALCON).

    With b the best of K eligible arms and g_t = gain t^0.5:   p_a = max(floor / K, 1 / (K + g_t (y_b - y_a)))
    for a ≠ b, and b gets the rest, which is at least 1 / K.
    """

    name: ClassVar[str] = "square_cb"

    def __init__(
        self,
        n_arms: int,
        dim: int,
        *,
        gain: float = 10.0,
        floor: float = 0.05,
        ridge: float = 1.0,
        gamma: float = 1.0,
    ) -> None:
        super().__init__(n_arms, dim, ridge=ridge, gamma=gamma)
        if not 0 <= floor <= 1 or gain < 0:
            raise InputError(f"floor must lie in [0, 1] and gain be at least 0, got {floor} and {gain}.")
        self.gain = gain
        self.floor = floor

    def propensities(self, context: F64 | None = None, *, eligible: Bools | None = None) -> F64:
        """Return the probability of each arm."""
        usable = check_eligible(eligible, self.n_arms)
        mean, _ = self.predict(context)
        k = int(usable.sum())
        masked = np.where(usable, mean, -np.inf)
        best = int(np.argmax(masked))
        gap = np.where(usable, mean[best] - mean, 0.0)
        g = self.gain * math.sqrt(self.version)
        p = np.where(usable, np.maximum(self.floor / k, 1.0 / (k + g * gap)), 0.0)
        p[best] = 0.0
        p[best] = 1.0 - p.sum()
        return p
