"""P(arm draws the largest theta) for Beta posteriors, fast enough to be asked for every place of a feed.

In z = logit x a Beta has the density

    f(z) = s^a (1 - s)^b / B(a, b)        s = 1 / (1 + e^-z)        f' / f = u = a - (a + b) s

which is smooth and log-concave, so the trapezoid rule on one even grid converges faster than any power of its
step h (Trefethen & Weideman 2014). The distribution functions come from the same values of f by the
Euler-Maclaurin formula, f'' and f''' being polynomials in u:

    F(z + h) - F(z) = h/2 (f_0 + f_1) + h²/12 (f'_0 - f'_1) - h⁴/720 (f'''_0 - f'''_1) + O(h⁷)

The grid begins where almost surely some arm is already ahead: left of it no arm can be the best. Left of the
mode F < f / u, the density being log-concave, so that is where Σ log(f / u) has fallen to -30.
"""

import math

import numpy as np
from scipy import special

from penchant.kernel.arrays import F64
from penchant.kernel.compiled import kernel

_DROP = 30.0  # tails end where the density fell to e^-30 of its peak
_STEP = 0.16  # of the smallest standard deviation; in z no Beta has features narrower than about 1
_WIDEST = 0.25
MOST_NODES = 4_000  # more, and `quadrature` with its panels is the better rule


@kernel()
def _log_density(z: float, a: float, b: float) -> float:
    """a log s(z) + b log s(-z), up to a constant."""
    if z > 0:
        small = math.log1p(math.exp(-z))
        return -a * small - b * (z + small)
    small = math.log1p(math.exp(z))
    return a * (z - small) - b * small


@kernel()
def _tail(a: float, b: float, side: float) -> float:
    """Return where the log density has dropped by `_DROP` on one side (-1 or 1) of the mode log(a / b).

    Newton's method from outside: on a concave function it comes in without overshooting.
    """
    mode = math.log(a / b)
    target = _log_density(mode, a, b) - _DROP
    step = math.sqrt(2 * _DROP * (1 / a + 1 / b))
    while _log_density(mode + side * step, a, b) > target:
        step *= 2
    z = mode + side * step
    for _ in range(30):
        slope = a - (a + b) / (1 + math.exp(-z))
        move = (target - _log_density(z, a, b)) / slope
        z += move
        if abs(move) < 1e-2:
            break
    return z


@kernel()
def _all_below(z: float, a: F64, b: F64, scale: F64) -> float:
    """Return an upper bound of the log probability that every arm draws less than z."""
    total = 0.0
    for i in range(len(a)):
        u = a[i] - (a[i] + b[i]) / (1 + math.exp(-z))
        if u > 0:
            total += min(scale[i] + _log_density(z, a[i], b[i]) - math.log(u), 0.0)
    return total


@kernel()
def _reach(a: F64, b: F64, scale: F64) -> tuple[float, float, float]:
    """Return the first and last point where the best of the arms can be, and the step between nodes."""
    low, high, middle = -np.inf, -np.inf, -np.inf
    right = np.empty(len(a))
    for i in range(len(a)):
        low = max(low, _tail(a[i], b[i], -1.0))
        right[i] = _tail(a[i], b[i], 1.0)
        high = max(high, right[i])
        middle = max(middle, math.log(a[i] / b[i]))
    while middle - low > 1.0:
        z = (low + middle) / 2
        if _all_below(z, a, b, scale) > -_DROP:
            middle = z
        else:
            low = z
    narrow = np.inf
    for i in range(len(a)):
        if right[i] > low:
            narrow = min(narrow, 1 / a[i] + 1 / b[i])
    return low, high, min(_STEP * math.sqrt(narrow), _WIDEST)


@kernel()
def _race(a: F64, b: F64, scale: F64, start: F64, low: float, step: float, n_nodes: int) -> F64:
    """Return P(best) of each arm; ``start`` is each one's distribution function at ``low``."""
    n = len(a)
    density, below = np.empty(n), start.copy()
    slope, third = np.empty(n), np.empty(n)
    total, before = np.zeros(n), np.empty(n)
    for node in range(n_nodes):
        z = low + node * step
        s = 1 / (1 + math.exp(-z))
        log_s = _log_density(z, 1.0, 0.0)
        log_r = _log_density(z, 0.0, 1.0)
        for i in range(n):
            f = math.exp(scale[i] + a[i] * log_s + b[i] * log_r)
            u = a[i] - (a[i] + b[i]) * s
            u1 = -(a[i] + b[i]) * s * (1 - s)
            f1 = f * u
            f3 = f * (u * u * u + 3 * u * u1 + u1 * (1 - 2 * s))
            if node > 0:
                below[i] += step / 2 * (density[i] + f)
                below[i] += step**2 / 12 * (slope[i] - f1) - step**4 / 720 * (third[i] - f3)
            density[i], slope[i], third[i] = f, f1, f3
        running = 1.0
        for i in range(n):
            before[i] = running
            running *= min(below[i], 1.0)
        running = 1.0
        for i in range(n - 1, -1, -1):
            total[i] += density[i] * before[i] * running
            running *= min(below[i], 1.0)
    return total / total.sum()


def race(a: F64, b: F64) -> F64 | None:
    """Return P(arm is best), (n,), when arm i draws from Beta(a[i], b[i]).

    None when arms differ so much in certainty that an even grid would need more than `MOST_NODES`.
    """
    if len(a) == 1:
        return np.ones(1)
    scale = -special.betaln(a, b)
    low, high, step = _reach(a, b, scale)
    nodes = (high - low) / step
    if not nodes < MOST_NODES:
        return None
    x = special.expit(low)
    start = special.betainc(a, b, x) if low < 0 else 1.0 - special.betainc(b, a, special.expit(-low))
    return _race(a, b, scale, start, low, step, int(nodes) + 2)
