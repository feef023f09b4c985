"""Hierarchical discounted Thompson state: global, cluster and user counts by category, decaying in time.

A key is (level, name); its counts decay on access by g = 2^(-Δt / half-life). The posterior of category c at
a level is Beta(n0 m + S, n0 (1 - m) + F), with m the parent level's posterior mean: a new user starts from
the cluster, a new cluster from everybody, and everybody from a pessimistic Beta(1, 99) (Bendada et al. 2020).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from penchant.kernel.arrays import F64
from penchant.kernel.clock import DAY
from penchant.kernel.errors import InputError


@dataclass(slots=True, kw_only=True)
class _Node:
    time: float
    success: F64
    failure: F64


@dataclass(slots=True, kw_only=True)
class Hierarchy:
    """Counts of n categories on nested levels.

    ``half_life`` (n,) is in seconds, one a category. ``prior_pulls`` is n0; ``root`` the Beta at the top.
    Rewards are applied once per ``reward_id``: a repeat is ignored; the last ``remembered`` ids are known.
    """

    half_life: F64
    prior_pulls: float = 20.0
    root: tuple[float, float] = (1.0, 99.0)
    remembered: int = 100_000
    _nodes: dict[str, _Node] = field(default_factory=dict[str, _Node])
    _seen: dict[str, None] = field(default_factory=dict[str, None])
    version: int = 0

    def __post_init__(self) -> None:
        if (self.half_life <= 0).any():
            raise InputError("every half-life must be above 0 seconds.")

    @property
    def n_categories(self) -> int:
        """Return the number of categories."""
        return len(self.half_life)

    def reward(
        self, path: tuple[str, ...], category: int, *, success: float, now: float, reward_id: str
    ) -> bool:
        """Add one outcome on every level of ``path``; return False when ``reward_id`` was applied before.

        ``success`` in [0, 1] adds that much success and the rest failure. ``path`` names the nodes from the
        top down, for example ``("all", "cluster:3", "user:42")``.
        """
        if not 0 <= success <= 1:
            raise InputError(f"a reward must lie in [0, 1], got {success}.")
        if reward_id in self._seen:
            return False
        self._seen[reward_id] = None
        if len(self._seen) > self.remembered:
            del self._seen[next(iter(self._seen))]
        for name in path:
            node = self._decayed(name, now)
            node.success[category] += success
            node.failure[category] += 1 - success
        self.version += 1
        return True

    def posterior(self, path: tuple[str, ...], now: float) -> tuple[F64, F64]:
        """Return the Beta parameters (a, b), each (n,), at the last level of ``path``."""
        a = np.full(self.n_categories, self.root[0])
        b = np.full(self.n_categories, self.root[1])
        for depth, name in enumerate(path):
            node = self._nodes.get(name)
            if depth > 0:
                mean = a / (a + b)
                a, b = self.prior_pulls * mean, self.prior_pulls * (1 - mean)
            if node is not None:
                g = self._decay(node, now)
                a, b = a + g * node.success, b + g * node.failure
        return a, b

    def counts(self, name: str, now: float) -> tuple[F64, F64]:
        """Return the decayed (successes, failures) of one node, zeros when it has none."""
        node = self._nodes.get(name)
        if node is None:
            return np.zeros(self.n_categories), np.zeros(self.n_categories)
        g = self._decay(node, now)
        return g * node.success, g * node.failure

    def state(self) -> Mapping[str, tuple[float, list[float], list[float]]]:
        """Return every node as (time, successes, failures), to save."""
        return {k: (n.time, n.success.tolist(), n.failure.tolist()) for k, n in self._nodes.items()}

    def restore(self, state: Mapping[str, tuple[float, list[float], list[float]]]) -> None:
        """Take over what `state` gave."""
        self._nodes = {
            name: _Node(time=time, success=np.array(success), failure=np.array(failure))
            for name, (time, success, failure) in state.items()
        }

    def _decay(self, node: _Node, now: float) -> F64:
        return np.exp2(-max(now - node.time, 0.0) / self.half_life)

    def _decayed(self, name: str, now: float) -> _Node:
        node = self._nodes.get(name)
        if node is None:
            zeros = np.zeros(self.n_categories)
            node = self._nodes[name] = _Node(time=now, success=zeros, failure=zeros.copy())
        else:
            g = self._decay(node, now)
            node.success *= g
            node.failure *= g
            node.time = max(node.time, now)
        return node


def half_lives(categories: list[str], *, default: float = 7 * DAY, own: Mapping[str, float]) -> F64:
    """Return the half-life of each category in seconds: its own where given, else the default of 7 days."""
    unknown = sorted(set(own) - set(categories))
    if unknown:
        raise InputError(f"half-lives are given for unknown categories: {', '.join(unknown)}.")
    return np.array([own.get(name, default) for name in categories], np.float64)
