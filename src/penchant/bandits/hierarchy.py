"""Beta posteriors on nested levels: a new user starts from the persona, a new persona from everybody.

With S and F the faded successes and failures of an arm at a level, m the posterior mean of the level above
and l the lift that older history gives the arm there (1 = none):

    top:     Beta(h m0 + S, h (1 - m0) + F)
    below:   Beta(n0 m l + S, n0 (1 - m l) + F)

m0 is 1/100 without any history, the pessimistic start of Bendada et al. 2020; n0 says for how many pulls the
level above speaks.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from penchant.bandits.evidence import Evidence
from penchant.kernel.arrays import F64

PESSIMISM = 0.01
ROOT_PULLS = 100.0
_LEAST, _MOST = 1e-4, 0.99


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """A node of the evidence, and the lift (n_arms,) of each arm there, None for 1."""

    name: str
    lift: F64 | None = None


def posterior(
    evidence: Evidence, levels: Sequence[Level], now: float, *, mean: F64, prior_pulls: float
) -> tuple[F64, F64]:
    """Return the Beta parameters (a, b), each (n_arms,), at the last level; ``mean`` (n_arms,) is m0."""
    a, b = ROOT_PULLS * mean, ROOT_PULLS * (1 - mean)
    for depth, level in enumerate(levels):
        if depth > 0:
            m = a / (a + b) if level.lift is None else a / (a + b) * level.lift
            m = np.clip(m, _LEAST, _MOST)
            a, b = prior_pulls * m, prior_pulls * (1 - m)
        success, failure = evidence.of_node(level.name, now)
        a, b = a + success, b + failure
    return a, b


def lifts(counts: F64, usual: F64, *, pulls: float) -> F64:
    """Return how much likelier each arm is here than usual, (n_arms,), from counts (n_arms,) of history.

    ``usual`` are the shares of the arms elsewhere, all above 0; ``pulls`` is for how many counts they speak:
    l = (n_c + pulls q_c) / ((n + pulls) q_c).
    """
    return (counts + pulls * usual) / ((counts.sum() + pulls) * usual)
