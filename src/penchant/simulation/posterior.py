"""What the run teaches of items: a Beta each, its prior from the past, the prior's weight learnt as well.

    θ_i ~ Beta(n0 m_i + S_i, n0 (1 - m_i) + F_i)        m_i = s · share_i

S likes and F looks without a like; share_i is the item's part of the users in the past, and the scale
s = Σ likes / Σ shares of what was looked at turns it into a chance. n0, and whether share counts all of the
past or its last days, maximise the likelihood of the run so far,
Π_i B(n0 m_i + S_i, n0 (1 - m_i) + F_i) / B(n0 m_i, n0 (1 - m_i)): empirical Bayes. Where the past still holds
it weighs much, where it does not (news) little.
"""

from itertools import product

import numpy as np
from numpy.random import Generator
from scipy.special import betaln

from penchant.kernel.arrays import F64, Bools, Rows
from penchant.simulation.scene import Known

_EXPLORED = 0.2
_WEIGHTS = (5.0, 20.0, 80.0, 320.0, 1280.0)


class ItemPosterior:
    """The posterior of every item on offer."""

    def __init__(self, known: Known) -> None:
        self._shares = [
            np.maximum(count / known.past.n_users, 1e-4) for count in (known.recent, known.popularity)
        ]
        self.likes: F64 = np.zeros(len(known.items))
        self.looks: F64 = np.zeros(len(known.items))
        self.n0, self._share = _WEIGHTS[-1], self._shares[0]

    def learn(self, items: Rows, seen: Bools, liked: Bools) -> None:
        """Count, and weigh the prior anew."""
        n = len(self.likes)
        self.likes += np.bincount(items[liked], minlength=n)
        self.looks += np.bincount(items[seen], minlength=n)
        options = list(product(_WEIGHTS, self._shares))
        self.n0, self._share = options[int(np.argmax([self._evidence(*option) for option in options]))]

    def parameters(self) -> tuple[F64, F64]:
        """Return the Beta parameters (a, b), each (N,)."""
        m = self._mean(self._share)
        return self.n0 * m + self.likes, self.n0 * (1 - m) + self.looks - self.likes

    def mean(self) -> F64:
        """Return E[θ], (N,)."""
        a, b = self.parameters()
        return a / (a + b)

    def draw(self, n: int, rng: Generator) -> F64:
        """Return n draws of every item, (n, N)."""
        a, b = self.parameters()
        return rng.beta(a, b, (n, len(a)))

    def explore(self, n: int, rng: Generator) -> F64:
        """Return E[θ] of every item for n users, (n, N), a draw in its place for one user in five."""
        drawn = rng.random((n, len(self.likes))) < _EXPLORED
        return np.where(drawn, self.draw(n, rng), self.mean())

    def _mean(self, share: F64) -> F64:
        scale = (self.likes.sum() + 1) / (float(self.looks @ share) + 1)
        return np.clip(scale * share, 1e-5, 0.9)

    def _evidence(self, n0: float, share: F64) -> float:
        m = self._mean(share)
        a, b = n0 * m, n0 * (1 - m)
        return float((betaln(a + self.likes, b + self.looks - self.likes) - betaln(a, b)).sum())
