"""Exact probabilities of being best, and of each rank, for independent random scores.

Thompson sampling shows the arm whose draw is the largest; Plackett-Luce ranks items by exponential races.
Both probabilities are one-dimensional integrals, evaluated on a fixed grid of x with weights w:

    P(a is best)    = ∫ f_a(x) ∏_{b≠a} F_b(x) dx
    P(a has rank r) = ∫ f_a(x) PB_{r-1}({S_b(x)}_{b≠a}) dx        S = 1 - F, PB = Poisson-binomial mass

Densities enter as masses f_a(x) w on the grid, scaled to sum to 1, so that the result sums to 1 within the
error of the rule.
"""

from itertools import pairwise

import numpy as np
from scipy import special

from penchant.bandits.beta_race import race
from penchant.kernel.arrays import F64
from penchant.kernel.compiled import kernel

_NODES: dict[int, tuple[F64, F64]] = {}


def _legendre(n: int, low: F64 | float, high: F64 | float) -> tuple[F64, F64]:
    """Return the nodes and weights of the n-point Gauss-Legendre rule on [low, high]."""
    if n not in _NODES:
        _NODES[n] = np.polynomial.legendre.leggauss(n)
    x, w = _NODES[n]
    half = (high - low) / 2
    return low + half * (x + 1), half * w


@kernel()
def best_of(mass: F64, cdf: F64, out: F64) -> None:
    """P(a best) = Σ_g mass[a, g] ∏_{b≠a} cdf[b, g]; out is (n,).

    ``mass`` and ``cdf`` are (n, grid). The product over all others comes from prefix and suffix products, so
    that a cdf of 0 needs no division.
    """
    n, grid = mass.shape
    prefix = np.ones(n)
    for a in range(n):
        out[a] = 0.0
    for g in range(grid):
        running = 1.0
        for a in range(n):
            prefix[a] = running
            running *= cdf[a, g]
        running = 1.0
        for a in range(n - 1, -1, -1):
            out[a] += mass[a, g] * prefix[a] * running
            running *= cdf[a, g]


@kernel()
def _ranks(mass: F64, before: F64, out: F64) -> None:
    """out[a, r] = Σ_g mass[a, g] PB_r({before[b, g]}_{b≠a}), r = 0 .. top-1 others ahead of a.

    ``before[b, g]`` is the probability that b is ahead at grid point g.
    """
    n, grid = mass.shape
    top = out.shape[1]
    counts = np.empty(top)
    for a in range(n):
        for g in range(grid):
            if mass[a, g] == 0.0:
                continue
            counts[:] = 0.0
            counts[0] = 1.0
            for b in range(n):
                if b == a:
                    continue
                p = before[b, g]
                for r in range(top - 1, 0, -1):
                    counts[r] = counts[r] * (1 - p) + counts[r - 1] * p
                counts[0] *= 1 - p
            for r in range(top):
                out[a, r] += mass[a, g] * counts[r]


def _probabilities(mass: F64, cdf: F64) -> F64:
    out = np.empty(len(mass))
    best_of(mass, cdf, out)
    return out / out.sum()


_PANELS = 160
_POINTS = 10  # nodes a panel


def _panel_grid(cuts: F64) -> tuple[F64, F64]:
    """Return (nodes, weights) of Gauss-Legendre panels between the given cuts, at most `_PANELS` of them.

    Cuts are quantiles of every arm, so that an arm with millions of observations is resolved beside one that
    has none.
    """
    edges = np.unique(cuts)
    if len(edges) > _PANELS:
        edges = edges[np.linspace(0, len(edges) - 1, _PANELS + 1).round().astype(int)]
    parts = [_legendre(_POINTS, low, high) for low, high in pairwise(edges)]
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def beta_grid(a: F64, b: F64) -> tuple[F64, F64]:
    """Return (mass, cdf), each (n, grid), of Beta(a, b) on one logit grid that suits all n of them.

    In z = logit x the density is x^a (1-x)^b / B(a, b), smooth and light-tailed, also for a or b below 1.
    """
    tails = np.array([1e-12, 1e-6, 1e-3, 0.5])
    lower = special.logit(np.clip(special.betaincinv(a[:, None], b[:, None], tails), 1e-300, 1 - 1e-16))
    upper = -special.logit(np.clip(special.betaincinv(b[:, None], a[:, None], tails), 1e-300, 1 - 1e-16))
    # In z no Beta has features narrower than its quantiles or, in its tails, than about 1.
    low, high = lower.min(), upper.max()
    even = np.linspace(low, high, 2 + int(min((high - low) / 3, _PANELS / 2)))
    z, w = _panel_grid(np.concatenate([lower.ravel(), upper.ravel(), even]))
    log_f = a[:, None] * special.log_expit(z) + b[:, None] * special.log_expit(-z)
    mass = np.exp(log_f - special.betaln(a, b)[:, None]) * w
    # Above x = 1/2 by the complement: 1 - x, not x, keeps its digits near 1.
    half = int(np.searchsorted(z, 0.0))
    below = special.betainc(a[:, None], b[:, None], special.expit(z[:half]))
    above = 1.0 - special.betainc(b[:, None], a[:, None], special.expit(-z[half:]))
    return mass, np.concatenate([below, above], axis=1)


def beta_best(a: F64, b: F64) -> F64:
    """Return P(arm is best), (n,), when arm i draws from Beta(a[i], b[i])."""
    fast = race(a, b)
    return beta_best_by_panels(a, b) if fast is None else fast


def beta_best_by_panels(a: F64, b: F64) -> F64:
    """Return the same for arms of any certainty, some hundred times slower than on an even grid."""
    mass, cdf = beta_grid(a, b)
    return _probabilities(mass, cdf)


def normal_best(mean: F64, sd: F64) -> F64:
    """Return P(arm is best), (n,), when arm i draws from N(mean[i], sd[i]^2), sd > 0."""
    reach = np.array([-8.0, -3.0, 0.0, 3.0, 8.0])
    x, w = _panel_grid((mean[:, None] + sd[:, None] * reach).ravel())
    z = (x - mean[:, None]) / sd[:, None]
    mass = np.exp(-0.5 * z * z) * w / (sd[:, None] * np.sqrt(2 * np.pi))
    return _probabilities(mass, special.ndtr(z))


def plackett_luce_ranks(weight: F64, top: int, *, points: int = 100) -> F64:
    """Return P(item a stands at rank r), (n, top), under Plackett-Luce with positive weights (n,).

    Item a finishes at time T_a ~ Exp(weight_a); the order of finishing is the Plackett-Luce order. The grid
    is in log time, where each density is smooth (Gumbel).
    """
    # log T_a + log weight_a is Gumbel: outside [-37, 3.7] it holds under 1e-16.
    log_w = np.log(weight)
    low, high = -37.0 - log_w.max(), 3.7 - log_w.min()
    mass, before = _race_grid(log_w, low, high, points)
    out = np.zeros((len(weight), top))
    _ranks(mass, before, out)
    return out


def _race_grid(log_w: F64, low: float, high: float, points: int) -> tuple[F64, F64]:
    """Return (mass, P(finished by then)) on a composite Gauss-Legendre grid of unit-scale panels."""
    panels = max(1, int(np.ceil((high - low) / 20)))
    edges = np.linspace(low, high, panels + 1)
    parts = [_legendre(points, edges[i], edges[i + 1]) for i in range(panels)]
    s = np.concatenate([p[0] for p in parts])
    w = np.concatenate([p[1] for p in parts])
    rate = np.exp(log_w[:, None] + s)
    return rate * np.exp(-rate) * w, -np.expm1(-rate)
