"""Policies without context: counts of arms with forgetting, and four ways to choose from them.

All keep, for each arm, a discounted number of pulls n and sum of rewards s. An update first forgets,
n ← γ n and s ← γ s for **all** arms (Garivier & Moulines 2011; Raj & Kalyani 2017), then adds the pull.
"""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from penchant.bandits.base import check_arm, check_eligible, mixed_with_uniform
from penchant.bandits.quadrature import beta_best
from penchant.kernel.arrays import F64, AnyArray, Bools
from penchant.kernel.errors import InputError


class Counts:
    """Discounted pulls and rewards of n arms.

    ``gamma`` in (0, 1] is the forgetting of one update; rewards lie in [0, 1].
    """

    def __init__(self, n_arms: int, *, gamma: float = 1.0) -> None:
        if n_arms < 1:
            raise InputError(f"a policy needs at least one arm, got {n_arms}.")
        if not 0 < gamma <= 1:
            raise InputError(f"gamma must be above 0 and at most 1, got {gamma}.")
        self.gamma = gamma
        self.pulls: F64 = np.zeros(n_arms)
        self.rewards: F64 = np.zeros(n_arms)
        self._version = 0

    @property
    def n_arms(self) -> int:
        """Return the number of arms."""
        return len(self.pulls)

    @property
    def version(self) -> int:
        """Return how many updates the state has seen."""
        return self._version

    def update(self, arm: int, reward: float, context: F64 | None = None) -> None:
        """Forget a little, then learn that ``arm`` paid ``reward`` in [0, 1]."""
        del context
        check_arm(arm, self.n_arms)
        if not 0 <= reward <= 1:
            raise InputError(f"a reward must lie in [0, 1], got {reward}.")
        if self.gamma < 1:
            self.pulls *= self.gamma
            self.rewards *= self.gamma
        self.pulls[arm] += 1
        self.rewards[arm] += reward
        self._version += 1

    def update_batch(self, pulls: F64, rewards: F64) -> None:
        """Forget once, then add the pulls (n,) and sums of rewards (n,) of a whole batch."""
        self.pulls = self.gamma * self.pulls + pulls
        self.rewards = self.gamma * self.rewards + rewards
        self._version += 1

    def means(self, prior_pulls: float = 1.0, prior_mean: float = 0.5) -> F64:
        """Return each arm's mean reward, shrunk to ``prior_mean`` as if pulled ``prior_pulls`` times more."""
        return (self.rewards + prior_pulls * prior_mean) / (self.pulls + prior_pulls)

    def arrays(self) -> Mapping[str, AnyArray]:
        """Return the state to save."""
        return {"pulls": self.pulls, "rewards": self.rewards}


class EpsilonGreedy(Counts):
    """The best mean with probability 1 - epsilon, else any arm; ties for the best share its probability."""

    name: ClassVar[str] = "epsilon_greedy"

    def __init__(self, n_arms: int, *, epsilon: float = 0.1, gamma: float = 1.0) -> None:
        super().__init__(n_arms, gamma=gamma)
        if not 0 <= epsilon <= 1:
            raise InputError(f"epsilon must lie in [0, 1], got {epsilon}.")
        self.epsilon = epsilon

    def propensities(self, context: F64 | None = None, *, eligible: Bools | None = None) -> F64:
        """Return the probability of each arm."""
        del context
        usable = check_eligible(eligible, self.n_arms)
        return mixed_with_uniform(_shared_best(self.means(), usable), self.epsilon, usable)


class Softmax(Counts):
    """P(a) ∝ exp(mean_a / temperature)."""

    name: ClassVar[str] = "softmax"

    def __init__(self, n_arms: int, *, temperature: float = 0.1, gamma: float = 1.0) -> None:
        super().__init__(n_arms, gamma=gamma)
        if temperature <= 0:
            raise InputError(f"temperature must be above 0, got {temperature}.")
        self.temperature = temperature

    def propensities(self, context: F64 | None = None, *, eligible: Bools | None = None) -> F64:
        """Return the probability of each arm."""
        del context
        usable = check_eligible(eligible, self.n_arms)
        z = np.where(usable, self.means() / self.temperature, -np.inf)
        weight = np.exp(z - z.max())
        return weight / weight.sum()


class Ucb1(Counts):
    """The highest upper bound mean + width sqrt(2 ln N / n) (Auer et al. 2002), mixed with uniform.

    Without the uniform part it has no support and its log could not be evaluated off-policy.
    """

    name: ClassVar[str] = "ucb1"

    def __init__(self, n_arms: int, *, width: float = 1.0, epsilon: float = 0.05, gamma: float = 1.0) -> None:
        super().__init__(n_arms, gamma=gamma)
        self.width = width
        self.epsilon = epsilon

    def propensities(self, context: F64 | None = None, *, eligible: Bools | None = None) -> F64:
        """Return the probability of each arm; arms never pulled come first."""
        del context
        usable = check_eligible(eligible, self.n_arms)
        n = np.maximum(self.pulls, 1e-12)
        total = max(self.pulls.sum(), 1.0)
        bound = np.where(
            self.pulls > 0, self.rewards / n + self.width * np.sqrt(2 * np.log(total) / n), np.inf
        )
        return mixed_with_uniform(_shared_best(bound, usable), self.epsilon, usable)


class Thompson(Counts):
    """Discounted Thompson sampling on Beta posteriors, its propensities by quadrature.

    Posterior of arm a: Beta(n0 m + s_a, n0 (1 - m) + n_a - s_a), where m is the prior mean (one number or
    one an arm, so that a parent in a hierarchy can set it) and n0 its weight in pulls.
    """

    name: ClassVar[str] = "thompson"

    def __init__(
        self,
        n_arms: int,
        *,
        prior_mean: "float | F64" = 0.5,
        prior_pulls: float = 2.0,
        gamma: float = 1.0,
    ) -> None:
        super().__init__(n_arms, gamma=gamma)
        self.prior_mean: F64 = np.broadcast_to(np.asarray(prior_mean, np.float64), (n_arms,)).copy()
        if prior_pulls <= 0 or (self.prior_mean <= 0).any() or (self.prior_mean >= 1).any():
            raise InputError("a Beta prior needs prior_pulls above 0 and prior means strictly in (0, 1).")
        self.prior_pulls = prior_pulls

    def posterior(self) -> tuple[F64, F64]:
        """Return the Beta parameters (a, b), each (n_arms,)."""
        a = self.prior_pulls * self.prior_mean + self.rewards
        b = self.prior_pulls * (1 - self.prior_mean) + np.maximum(self.pulls - self.rewards, 0.0)
        return a, b

    def propensities(self, context: F64 | None = None, *, eligible: Bools | None = None) -> F64:
        """Return P(arm draws the largest theta), exact by quadrature."""
        del context
        usable = check_eligible(eligible, self.n_arms)
        rows = np.flatnonzero(usable)
        a, b = self.posterior()
        p = np.zeros(self.n_arms)
        p[rows] = beta_best(a[rows], b[rows])
        return p


def _shared_best(value: F64, usable: Bools) -> F64:
    """Return a distribution that shares 1 over the eligible arms of the highest value."""
    masked = np.where(usable, value, -np.inf)
    best = usable & (masked == masked.max())
    return best / best.sum()
