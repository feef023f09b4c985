"""What is compared: five baselines frozen before anything was measured, category bandits, and two ceilings.

The baselines count the likes of the run, as a shop that recounts every hour would: a feed that never recounts
is an easy one to beat.
"""

from typing import Protocol

import numpy as np
from numpy.random import Generator

from penchant.kernel.arrays import F32, F64, I64, AnyArray, Bools, Rows, readonly
from penchant.kernel.compiled import kernel
from penchant.simulation.posterior import ItemPosterior
from penchant.simulation.scene import Known


class Feed(Protocol):
    """Shows k items to each of m users and learns from what they did with them.

    ``who`` (m,) are positions among the simulated users, items are positions on offer.
    """

    def show(self, who: Rows, offered: Bools, k: int, rng: Generator) -> Rows:
        """Return (m, k) items, best first, only such as are ``offered`` (m, N)."""
        ...

    def learn(self, who: Rows, items: Rows, seen: Bools, liked: Bools) -> None:
        """Learn which of ``items`` (m, k) were looked at, and which of those were liked."""
        ...


@kernel()
def _best(scores: AnyArray, offered: Bools, out: AnyArray) -> None:
    m, n = scores.shape
    k = out.shape[1]
    top = np.empty(k)
    for u in range(m):
        held = 0
        for i in range(n):
            if not offered[u, i] or (held == k and scores[u, i] <= top[k - 1]):
                continue
            at = min(held, k - 1)
            while at > 0 and scores[u, i] > top[at - 1]:
                top[at] = top[at - 1]
                out[u, at] = out[u, at - 1]
                at -= 1
            top[at] = scores[u, i]
            out[u, at] = i
            held = min(held + 1, k)


def best(scores: AnyArray, offered: Bools, k: int) -> Rows:
    """Return the k offered items of the highest score of each row (m, N), best first, ties by position."""
    out = np.zeros((len(offered), k), np.int32)
    whole = np.broadcast_to(np.asarray(scores, np.float64), offered.shape)
    _best(readonly(np.ascontiguousarray(whole)), offered, out)
    return out


@kernel()
def _capped(order: AnyArray, offered: Bools, category: I64, cap: int, out: AnyArray) -> None:
    """Take items of each row of ``order`` in turn, at most ``cap`` of a category; then without a cap."""
    m, n = order.shape
    k = out.shape[1]
    count = np.zeros(category.max() + 1, np.int64)
    used = np.zeros(n, np.bool_)
    for u in range(m):
        count[:] = 0
        used[:] = False
        at = 0
        for most in (cap, k):
            for j in range(n):
                i = order[u, j]
                if at < k and offered[u, i] and not used[i] and count[category[i]] < most:
                    out[u, at] = i
                    used[i] = True
                    count[category[i]] += 1
                    at += 1


@kernel()
def _by_category(order: AnyArray, offered: Bools, category: I64, wanted: AnyArray, out: AnyArray) -> None:
    """Fill place s of row u with the first item of category wanted[u, s] left, else with the first left."""
    m, n = order.shape
    used = np.zeros(n, np.bool_)
    for u in range(m):
        used[:] = False
        for s in range(out.shape[1]):
            found = -1
            for j in range(n):
                i = order[u, j]
                if offered[u, i] and not used[i]:
                    if category[i] == wanted[u, s]:
                        found = i
                        break
                    if found < 0:
                        found = i
            out[u, s] = found
            used[found] = True


class Popular:
    """The items with the highest count of users, each like of the run counted too."""

    def __init__(self, count: F64) -> None:
        self.count: F64 = count.copy()

    def show(self, who: Rows, offered: Bools, k: int, rng: Generator) -> Rows:
        """Return the most counted."""
        del who, rng
        return best(self.count, offered, k)

    def learn(self, who: Rows, items: Rows, seen: Bools, liked: Bools) -> None:
        """Count the likes."""
        del who, seen
        self.count += np.bincount(items[liked], minlength=len(self.count))


class Pacing(Popular):
    """Rule-based pacing: no category has more than an even part of the places, which one rule fills.

    ``fill``: ``random``; ``half``, at random from the better half of a category by recent popularity; or
    ``popular``, by recent popularity.
    """

    def __init__(self, known: Known, fill: str) -> None:
        super().__init__(known.recent)
        self.category = known.category
        self.c = len(known.categories)
        self.fill = fill

    def show(self, who: Rows, offered: Bools, k: int, rng: Generator) -> Rows:
        """Return items in an order by the rule, categories capped at ceil(k / C)."""
        if self.fill == "popular":
            score = np.broadcast_to(self.count, offered.shape)
        else:
            score = rng.random(offered.shape) + (self._better_half() if self.fill == "half" else 0)
        order = np.argsort(-score, axis=1, kind="stable")
        out = np.zeros((len(who), k), np.int32)
        _capped(order, offered, self.category, -(-k // self.c), out)
        return out

    def _better_half(self) -> Bools:
        half = np.zeros(len(self.count), np.bool_)
        for c in range(self.c):
            rows = np.flatnonzero(self.category == c)
            half[rows[np.argsort(-self.count[rows], kind="stable")[: -(-len(rows) // 2)]]] = True
        return half


class Oracle:
    """Knows the chances (n, N): the ceiling that nothing without them reaches."""

    def __init__(self, chance: F32) -> None:
        self.chance = chance

    def show(self, who: Rows, offered: Bools, k: int, rng: Generator) -> Rows:
        """Return the items of the highest chance."""
        del rng
        return best(self.chance[who], offered, k)

    def learn(self, who: Rows, items: Rows, seen: Bools, liked: Bools) -> None:
        """Learn nothing."""


class SharedOracle(Oracle):
    """Knows each item's mean chance: the ceiling of feeds that tell nobody apart."""

    def __init__(self, chance: F32) -> None:
        super().__init__(np.broadcast_to(chance.mean(axis=0), chance.shape))


class Published:
    """The published cold-start recipe: 80% of the places by the persona's weights, 20% by any category.

    A category's place is filled with its item of the highest draw from Beta(likes, looked at but not liked).
    ``weights`` (k, C) are the shares of categories in what the personas did, ``persona`` (n,) of 0..k-1.
    """

    def __init__(self, known: Known, persona: Rows, weights: F64) -> None:
        self.category, self.persona = known.category, persona
        self.chance: F64 = np.cumsum(0.8 * weights + 0.2 / weights.shape[1], axis=1)
        self.items = ItemPosterior(known)

    def show(self, who: Rows, offered: Bools, k: int, rng: Generator) -> Rows:
        """Draw a category a place, then fill it."""
        chance = self.chance[self.persona[who]]
        wanted = (rng.random((len(who), k))[:, :, None] > chance[:, None, :-1]).sum(axis=2)
        return self._filled(wanted, offered, rng)

    def learn(self, who: Rows, items: Rows, seen: Bools, liked: Bools) -> None:
        """Count by item."""
        del who
        self.items.learn(items, seen, liked)

    def _filled(self, wanted: AnyArray, offered: Bools, rng: Generator) -> Rows:
        order = np.argsort(-self.items.draw(len(offered), rng), axis=1, kind="stable")
        out = np.zeros(wanted.shape, np.int32)
        _by_category(order, offered, self.category, wanted, out)
        return out


class CategoryThompson(Published):
    """Hierarchical Thompson sampling of categories: everybody -> persona -> user, drawn anew at each place.

    Level by level Beta(n0 m + S, n0 (1 - m) + F), m the posterior mean of the level above.
    """

    def __init__(self, known: Known, persona: Rows, weights: F64, *, n0: float = 20.0) -> None:
        super().__init__(known, persona, weights)
        c = len(known.categories)
        self.n0 = n0
        self.likes = [np.zeros((n, c)) for n in (1, len(weights), len(persona))]
        self.looks = [np.zeros((n, c)) for n in (1, len(weights), len(persona))]

    def show(self, who: Rows, offered: Bools, k: int, rng: Generator) -> Rows:
        """Return the items of the categories that draw highest."""
        a, b = self.posterior(who)
        shape = (len(who), k, a.shape[1])
        wanted = rng.beta(a[:, None, :], b[:, None, :], shape).argmax(axis=2)
        return self._filled(wanted, offered, rng)

    def posterior(self, who: Rows) -> tuple[F64, F64]:
        """Return the Beta parameters (a, b), each (m, C), of users."""
        a, b = np.full((len(who), self.likes[0].shape[1]), 1.0), np.full((), 99.0)
        for depth, at in enumerate((np.zeros(len(who), np.int64), self.persona[who], who)):
            if depth:
                mean = a / (a + b)
                a, b = self.n0 * mean, self.n0 * (1 - mean)
            likes, looks = self.likes[depth][at], self.looks[depth][at]
            a, b = a + likes, b + looks - likes
        return a, b

    def learn(self, who: Rows, items: Rows, seen: Bools, liked: Bools) -> None:
        """Count by item, and by category on every level."""
        self.items.learn(items, seen, liked)
        row, place = np.nonzero(seen)
        category = self.category[items[row, place]]
        won = liked[row, place]
        nodes = (np.zeros(len(row), np.int64), self.persona[who[row]], who[row])
        for depth, node in enumerate(nodes):
            np.add.at(self.looks[depth], (node, category), 1.0)
            np.add.at(self.likes[depth], (node[won], category[won]), 1.0)
