"""Segments: the users most likely to want an item, or any of a set of items.

    score(u, i) = x_u · y_i + β log(1 + c_ui)        β = ρ / (1 - ρ), at most 3
    score(u, S) = mean of score(u, i) over the items i of S that have a factor

x and y are the factors of implicit ALS (`penchant.models.ials`), c_ui how often the user took the item and ρ
the share of the newest tenth of interactions that repeat a pair of before. Where people buy again, who bought
is the best guess and the factors order the others; where nobody takes a thing twice (films, news), β is 0.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from penchant.data.interactions import Interactions
from penchant.kernel.arrays import F32, Csr, Rows, readonly
from penchant.kernel.topk import best_rows
from penchant.models.base import Scored
from penchant.models.ials import IalsModel

_NEWEST = 0.1
_MOST = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Affinity:
    """A model turned round. Users without a factor are in no segment; rows are the model's own."""

    users: F32  # (n_users, f)
    known: Rows  # (m,) user rows that have a factor
    items: F32  # (n_items, f), zeros where an item has none
    past: Csr  # (n_items, n_users) log(1 + how often)
    repeats: float  # β

    @classmethod
    def of(cls, model: IalsModel, interactions: Interactions) -> Self:
        """Turn a model round; ``interactions``, oldest first, are in its rows."""
        ones = np.ones(len(interactions), np.float32)
        pairs = interactions.pairs(ones, n_users=len(model.users), n_items=len(model.items)).transpose()
        past = Csr(
            indptr=pairs.indptr,
            indices=pairs.indices,
            data=readonly(np.log1p(pairs.data)),
            n_columns=pairs.n_columns,
        )
        return cls(
            users=model.user_factors,
            known=readonly(np.flatnonzero(model.user_factors.any(axis=1)).astype(np.int32)),
            items=model.index.by_row(),
            past=past,
            repeats=repeat_odds(interactions),
        )

    def segment(self, items: Rows, k: int, *, without: Rows | None = None) -> Scored:
        """Return the ``k`` users (rows in ``Scored.items``) that suit ``items`` best, best first.

        ``without`` are user rows that are left out. Nobody when no item has a factor.
        """
        able = items[self.items[items].any(axis=1)]
        if len(able) == 0:
            return Scored.none()
        scores = np.full(len(self.users), np.nan, np.float32)
        wanted = self.items[able].mean(axis=0, dtype=np.float32)
        scores[self.known] = self.users[self.known] @ wanted
        taken = self.past.take(able)
        if self.repeats > 0 and taken.nnz:
            often = np.bincount(taken.indices, weights=taken.data, minlength=len(scores))
            scores += np.float32(self.repeats / len(able)) * often.astype(np.float32)
        if without is not None:
            scores[without] = np.nan
        rows = best_rows(scores, k)
        return Scored(items=rows, scores=readonly(scores[rows]))


def repeat_odds(interactions: Interactions) -> float:
    """Return β: the odds that one of the newest tenth of interactions repeats a pair of before."""
    newest = int(len(interactions) * (1 - _NEWEST))
    if newest == len(interactions):
        return 0.0
    pair = interactions.user.astype(np.int64) << 32 | interactions.item
    share = float(np.isin(pair[newest:], pair[:newest]).mean())
    return min(share / (1 - share), _MOST) if share < 1 else _MOST
