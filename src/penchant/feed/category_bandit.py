"""A block whose places go to categories by a bandit, and within a category to the popular or the newest.

At each place, with U the items placed above and C the categories that have items left (`arm_propensities`):

    P(a | above) = p_c(a) · P(a best of c | U)
    P(a best of c | U) = P(theta_a is the largest of c's items left)   theta ~ Beta, c goes by popularity
                       = 1[a is the newest of c's items left]          c goes by recency

Theta is drawn anew at each place, so the propensity is exact, given what stands above. An item belongs to one
category, so there is one path to it; which block a place belongs to is not left to chance.
"""

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.random import Generator

from penchant.bandits.category import CategoryPolicy, arm_propensities
from penchant.bandits.hierarchy import Level, posterior
from penchant.bandits.quadrature import beta_best
from penchant.feed.category_arms import CategoryArms, Standing
from penchant.feed.category_state import CATEGORIES, EVERYBODY, persona_node, user_node
from penchant.feed.groups import Groups
from penchant.feed.sources import by_place
from penchant.feed.types import Candidates, Request
from penchant.kernel.arrays import F64

_RACED = 32  # items of a category that are drawn from; the others wait until one of them is placed


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class CategorySource:
    """The items of all categories as candidates: each one's best, then each one's second best, ..."""

    arms: CategoryArms
    name: str = CATEGORIES

    def fetch(self, request: Request, k: int) -> Candidates:
        """Return up to ``k`` items."""
        return by_place(self.name, self.arms.standing(request.now).order[:k])

    def why(self, request: Request, item: int) -> str:
        """Return the category, and by what its items are chosen."""
        standing = self.arms.standing(request.now)
        if item >= len(standing.arm):
            return ""
        arm = int(standing.arm[item])
        kind = "new" if standing.recency[arm] else "popular"
        return f"{kind} in {standing.names[arm]}"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryDealer:
    """Deals the places of a block, an item at a time."""

    arms: CategoryArms
    groups: Groups
    policy: CategoryPolicy = "thompson"
    uniform: float = 0.05
    prior_pulls: float = 20.0

    def hand(
        self, request: Request, candidates: Candidates, used: set[int], rng: Generator
    ) -> "CategoryHand":
        """Return what deals the places of one request; ``used`` are the rows placed by anybody so far."""
        standing = self.arms.standing(request.now)
        a, b = self.beliefs(request)
        n = len(standing.names)  # a category that appeared since waits for the next standing
        return CategoryHand(self, standing, (a[:n], b[:n]), candidates, used, rng)

    def beliefs(self, request: Request) -> tuple[F64, F64]:
        """Return the Beta parameters of each category for who asks, (n_arms,) each."""
        group = self.groups.of(request.user_id, request.user)
        levels = [Level(name=EVERYBODY)]
        if group >= 0:
            levels.append(Level(name=persona_node(group), lift=self.arms.lift_of_group(group)))
        levels.append(Level(name=user_node(request.user_id), lift=self.arms.lift_of(request.history, group)))
        return posterior(
            self.arms.evidence, levels, request.now, mean=self.arms.mean(), prior_pulls=self.prior_pulls
        )


@final
class CategoryHand:
    """The items of one request by category, each category in the order of the candidates."""

    def __init__(
        self,
        dealer: CategoryDealer,
        standing: Standing,
        beliefs: tuple[F64, F64],
        candidates: Candidates,
        used: set[int],
        rng: Generator,
    ) -> None:
        self._dealer = dealer
        self._standing = standing
        self._beliefs = beliefs
        self._used = used
        self._rng = rng
        self._source = candidates.source
        rows = candidates.items.tolist()
        self._scores: dict[int, float] = dict(zip(rows, candidates.scores.tolist(), strict=True))
        self._left: list[list[int]] = [[] for _ in range(len(standing.names))]
        arms = standing.arm[np.minimum(candidates.items, len(standing.arm) - 1)].tolist()
        for row, arm in zip(rows, arms, strict=True):
            if row < len(standing.arm):  # what arrived during the request waits for the next one
                self._left[arm].append(row)
        self._p = self._propensities()
        self._placed = len(used)  # of what was used, by anybody, all is taken out of what is left

    def next(self) -> tuple[int, str, float, float] | None:
        """Place an item: its row, source, score and propensity; None when there is none left."""
        self._take_out_used()
        if self._p is None:
            return None
        arm = _drawn(self._p, self._rng)
        chance = float(self._p[arm])
        left = self._left[arm]
        at = 0
        if not self._standing.recency[arm] and len(left) > 1:
            raced = np.array(left[:_RACED])
            q = beta_best(self._standing.a[raced], self._standing.b[raced])
            at = _drawn(q, self._rng)
            chance *= float(q[at])
        row = left.pop(at)
        self._used.add(row)
        self._placed += 1
        if not left:
            self._p = self._propensities()
        return row, self._source, self._scores[row], chance

    def _take_out_used(self) -> None:
        if len(self._used) == self._placed:
            return
        self._placed = len(self._used)
        open_ = sum(map(bool, self._left))
        self._left = [[row for row in rows if row not in self._used] for rows in self._left]
        if sum(map(bool, self._left)) < open_:
            self._p = self._propensities()

    def _propensities(self) -> F64 | None:
        """Return the probability of each category; None when no item is left."""
        left = np.array([bool(rows) for rows in self._left])
        if not left.any():
            return None
        a, b = self._beliefs
        return arm_propensities(self._dealer.policy, a, b, left, uniform=self._dealer.uniform)


def _drawn(p: F64, rng: Generator) -> int:
    """Return an index drawn with probabilities ``p``, never one of probability 0."""
    at = int(np.searchsorted(np.cumsum(p), rng.random() * p.sum(), side="right"))
    return at if at < len(p) and p[at] > 0 else int(np.flatnonzero(p)[-1])
