"""Which category a place goes to: probabilities of the arms, exact, above 0 for each that has items left.

    published:   (1 - u) w_c / Σ w + u / C                     w_c the posterior mean: a multinomial
    thompson:    (1 - u) P(theta_c is the largest) + u / C     theta_c ~ Beta(a_c, b_c), drawn anew each place

C counts the arms that have items left. ExploreLookalike publishes u = 0.2; the same formula with a small u
keeps the logs of Thompson sampling usable for evaluation.
"""

from typing import Literal

import numpy as np

from penchant.bandits.quadrature import beta_best
from penchant.kernel.arrays import F64, Bools

CategoryPolicy = Literal["published", "thompson"]


def arm_propensities(policy: CategoryPolicy, a: F64, b: F64, left: Bools, *, uniform: float) -> F64:
    """Return the probability of each arm, (n_arms,), 0 where nothing is ``left``; at least one must be."""
    rows = np.flatnonzero(left)
    if policy == "published":
        mean = a[rows] / (a[rows] + b[rows])
        chosen = mean / mean.sum()
    else:
        chosen = beta_best(a[rows], b[rows])
    p = np.zeros(len(a))
    p[rows] = (1 - uniform) * chosen + uniform / len(rows)
    return p
