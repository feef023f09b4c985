"""Do clusters mean anything? Three numbers with intervals before anybody serves by them.

With behaviour vectors x_i (square-rooted category shares) and clusters C:

- variance ratio   R² = Σ_c n_c ‖m_c - m‖² / Σ_i ‖x_i - m‖², reported as 1 - (1 - R²)(n - 1)/(n - k), which
  is 0 on average for clusters that mean nothing and 1 when they explain all
- permutation p    share of label shufflings with an R² at least as large (Anderson 2001, PERMANOVA)
- held-out gain    1 - Σ ‖x_i - m_c(i)‖² / Σ ‖x_i - m‖², means over the other nine tenths of users: what a
  cluster's mean says about users it has not seen, beyond the mean of everybody
"""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from penchant.kernel.arrays import F32, F64, I64, Rows
from penchant.kernel.errors import InputError

_MOST_USERS = 20_000
_FOLDS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A number with its 95% interval over users."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """The verdict on k clusters of n active users."""

    users: int
    variance_ratio: Interval
    p_value: float
    held_out_gain: Interval

    @property
    def holds(self) -> bool:
        """Return whether clusters may serve: p < .05 and the gain's whole interval above 0."""
        return self.p_value < 0.05 and self.held_out_gain.low > 0

    def sentences(self) -> list[str]:
        """Return the verdict in plain words."""
        r, g = self.variance_ratio, self.held_out_gain
        first = (
            f"Clusters explain {r.value:.1%} of how {self.users:,} users differ in what they do "
            f"[{r.low:.1%}, {r.high:.1%}]; by chance this much or more in {self.p_value:.1%} of shufflings."
        )
        second = (
            f"For users it has not seen, a cluster's mean errs {abs(g.value):.2%} "
            f"{'less' if g.value > 0 else 'more'} than the mean of everybody "
            f"(gain {g.low:+.2%} to {g.high:+.2%})."
        )
        verdict = (
            "Behaviour is alike within clusters and different between them: serving by persona is justified."
            if self.holds
            else "Clusters do not behave reliably differently: "
            "they say no more of somebody new than popularity."
        )
        return [first, second, verdict]


def check_clusters(
    behaviour: F32, labels: Rows, k: int, *, rng: Generator, permutations: int = 499, bootstraps: int = 400
) -> Check:
    """Check ``labels`` (n,) against ``behaviour`` (n, c); rows of zeros (inactive users) are left out.

    At most 20,000 users, drawn at random, are looked at.

    Raises:
        InputError: fewer than 20 users are active.
    """
    active = np.flatnonzero(behaviour.any(axis=1))
    if len(active) < 20:
        raise InputError(
            f"only {len(active)} users did anything in the window, too few to check clusters.",
            fix="Widen the window.",
        )
    if len(active) > _MOST_USERS:
        active = np.sort(rng.choice(active, _MOST_USERS, replace=False))
    x, own = behaviour[active].astype(np.float64), labels[active]
    ratio = _variance_ratio(x, own, k)
    shuffled = [_variance_ratio(x, rng.permutation(own), k) for _ in range(permutations)]
    p = (1 + sum(value >= ratio for value in shuffled)) / (1 + permutations)
    fold = rng.permutation(len(x)) % _FOLDS
    by_cluster, by_all = _held_out_errors(x, own, k, fold)
    draws = rng.integers(0, len(x), (bootstraps, len(x)))
    gains = np.array([1 - by_cluster[d].sum() / by_all[d].sum() for d in draws])
    low, high = np.quantile(gains, [0.025, 0.975])
    return Check(
        users=len(x),
        variance_ratio=_jackknife(x, own, k, ratio, fold),
        p_value=p,
        held_out_gain=Interval(
            value=float(1 - by_cluster.sum() / by_all.sum()), low=float(low), high=float(high)
        ),
    )


def _jackknife(x: F64, labels: Rows, k: int, ratio: float, fold: I64) -> Interval:
    """Leave one fold of users out at a time: var = (G - 1)/G Σ (θ_g - mean)². A bootstrap would be biased:
    users drawn twice look like agreement within a cluster.
    """
    parts = [_variance_ratio(x[fold != g], labels[fold != g], k) for g in range(_FOLDS)]
    half = 1.96 * float(np.sqrt((_FOLDS - 1) * np.var(parts)))
    return Interval(value=ratio, low=ratio - half, high=ratio + half)


def _variance_ratio(x: F64, labels: Rows, k: int) -> float:
    """Adjusted R² through group sums: Σ_c ‖s_c‖²/n_c - ‖s‖²/n over Σ‖x‖² - ‖s‖²/n."""
    one_hot = (labels[:, None] == np.arange(k)).astype(np.float64)
    sums, sizes = one_hot.T @ x, one_hot.sum(axis=0)
    common = float((x.sum(axis=0) ** 2).sum()) / len(x)
    between = float(((sums**2).sum(axis=1) / np.maximum(sizes, 1)).sum()) - common
    total = float((x * x).sum()) - common
    if total <= 0 or len(x) <= k:
        return 0.0
    return 1 - (1 - between / total) * (len(x) - 1) / (len(x) - k)


def _held_out_errors(x: F64, labels: Rows, k: int, fold: I64) -> tuple[F64, F64]:
    """Return each user's squared distance to the cluster mean and to the global mean of the other folds."""
    by_cluster, by_all = np.empty(len(x)), np.empty(len(x))
    for held_fold in range(_FOLDS):
        seen, held = fold != held_fold, fold == held_fold
        overall = x[seen].mean(axis=0)
        means = np.tile(overall, (k, 1))
        for cluster in range(k):
            rows = seen & (labels == cluster)
            if rows.any():
                means[cluster] = x[rows].mean(axis=0)
        by_cluster[held] = ((x[held] - means[labels[held]]) ** 2).sum(axis=1)
        by_all[held] = ((x[held] - overall) ** 2).sum(axis=1)
    return by_cluster, by_all
