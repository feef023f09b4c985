"""The contract of a bandit policy.

A policy *is* its propensities: the exact probability of each arm, given its state and a context. Choosing is
drawing from them, so the logged propensity is right by construction: never a guess, never a pre-filter value.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.random import Generator

from penchant.kernel.arrays import F64, AnyArray, Bools
from penchant.kernel.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """An arm, the probability it had, and the version of the state that gave it."""

    arm: int
    propensity: float
    version: int


class Policy(Protocol):
    """Learns which of n arms pays; holds mutable state, one writer at a time.

    Invariants of `propensities`: (n_arms,), every entry >= 0, sum 1 within 1e-6, exactly 0 for an arm that is
    not eligible.
    """

    name: ClassVar[str]

    @property
    def n_arms(self) -> int:
        """Return the number of arms."""
        ...

    @property
    def version(self) -> int:
        """Return how many updates the state has seen."""
        ...

    def propensities(self, context: F64 | None = None, *, eligible: Bools | None = None) -> F64:
        """Return the probability of each arm for a context (dim,), None for policies without one."""
        ...

    def update(self, arm: int, reward: float, context: F64 | None = None) -> None:
        """Learn that ``arm`` paid ``reward``."""
        ...

    def arrays(self) -> Mapping[str, AnyArray]:
        """Return the state to save."""
        ...


def choose(
    policy: Policy, rng: Generator, context: F64 | None = None, *, eligible: Bools | None = None
) -> Choice:
    """Draw an arm from the policy's propensities."""
    p = policy.propensities(context, eligible=eligible)
    cumulative = np.cumsum(p)
    arm = int(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right"))
    arm = min(arm, int(np.flatnonzero(p)[-1]))
    return Choice(arm=arm, propensity=float(p[arm]), version=policy.version)


def mixed_with_uniform(p: F64, epsilon: float, eligible: Bools | None = None) -> F64:
    """Return (1 - epsilon) p + epsilon uniform over the eligible arms."""
    support = np.ones(len(p)) if eligible is None else eligible.astype(np.float64)
    return (1 - epsilon) * p + epsilon * support / support.sum()


def check_eligible(eligible: Bools | None, n_arms: int) -> Bools:
    """Return the mask of eligible arms, all when None.

    Raises:
        InputError: the mask has another length, or nothing is eligible.
    """
    if eligible is None:
        return np.ones(n_arms, np.bool_)
    if len(eligible) != n_arms:
        raise InputError(f"the mask of eligible arms has {len(eligible)} entries for {n_arms} arms.")
    if not eligible.any():
        raise InputError("no arm is eligible.", fix="Leave at least one arm eligible.")
    return eligible


def check_arm(arm: int, n_arms: int) -> None:
    """Raise InputError unless ``arm`` is one of ``n_arms``."""
    if not 0 <= arm < n_arms:
        raise InputError(f"arm {arm} does not exist: there are arms 0 to {n_arms - 1}.")
