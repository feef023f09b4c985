"""What comes next: EASE on a history that fades by position, and steps from the last few items.

    score(u, j) = Σ_i decay^r(i) B_ij + m Σ_{r(i) < w} step^r(i) T_ij
    T_ij = c_ij / (c_i + s)      c_ij = Σ step^(gap - 1) over j taken within w places after i,  c_i = Σ_j c_ij

r(i) is how many other items the user took after i, B the weights of EASE. Items taken at the very same time
share their r. T is a skip-Markov chain: it steps over up to w - 1 items in between.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import msgspec
import numpy as np
from numpy.random import Generator

from penchant.data.interactions import Interactions
from penchant.data.snapshot import Snapshot
from penchant.kernel.arrays import F32, AnyArray, Csr, Rows, readonly
from penchant.kernel.ids import Vocab
from penchant.kernel.progress import Progress
from penchant.models.answering import Block, ByScores
from penchant.models.base import Card, Model, Queries, Scored, card_for
from penchant.models.ease import Ease, EaseFields, EaseModel
from penchant.models.histories import above, at_least, told_or_trained
from penchant.models.neighbours import NeighbourModel, csr_arrays, open_csr, spread_scores


class Recent(EaseFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """EASE, its fields, and how what a user took last counts most.

    ``decay`` is per item back, ``markov`` the weight m of the steps, ``window`` w, ``step`` how a step fades
    with its length and ``smoothing`` s.
    """

    name: ClassVar[str] = "recent"

    decay: float = 0.97
    markov: float = 1.0
    window: int = 5
    step: float = 0.7
    smoothing: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        above(self, 0, "decay", "step", "smoothing")
        at_least(self, 0, "markov")
        at_least(self, 1, "window")
        for field in ("decay", "step"):
            if getattr(self, field) > 1:
                raise ValueError(f"{field} is {getattr(self, field)}: it must be at most 1.")

    def train(
        self, snapshot: Snapshot, *, rng: Generator, progress: Progress, previous: Model | None = None
    ) -> "RecentModel":
        """Solve EASE and count the steps. ``rng`` and ``previous`` are not needed: both are exact."""
        ease = self.ease().train(snapshot, rng=rng, progress=progress)
        progress.start("steps", 1)
        found = self.transitions(snapshot)
        progress.advance(note=f"{found.nnz:,} pairs of items in turn")
        fading, last = self.rows(snapshot.interactions, snapshot.n_users, snapshot.n_items)
        return RecentModel(
            card=card_for(self, snapshot, notes=ease.card.notes),
            ease=ease,
            transitions=found,
            fading=fading,
            last=last,
        )

    def ease(self) -> Ease:
        """Return the recipe of B."""
        return Ease(**{name: getattr(self, name) for name in EaseFields.__struct_fields__})

    def rows(self, events: Interactions, n: int, n_items: int) -> tuple[Csr, Csr]:
        """Return decay^r of all items and m step^r of the last ``window`` of them, (n, n_items) both."""
        user, item, after = places(events, n_items)
        near = after < self.window
        fading = np.power(self.decay, after).astype(np.float32)
        last = (self.markov * np.power(self.step, after[near])).astype(np.float32)
        return (
            Csr.summed(user, item, fading, n_rows=n, n_columns=n_items),
            Csr.summed(user[near], item[near], last, n_rows=n, n_columns=n_items),
        )

    def transitions(self, snapshot: Snapshot) -> Csr:
        """Return T, each row in descending order."""
        positions = snapshot.by_user[1]
        events = snapshot.interactions
        user, item = events.user[positions], events.item[positions]
        sources: list[Rows] = []
        targets: list[Rows] = []
        weights: list[F32] = []
        for gap in range(1, self.window + 1):
            pair = (user[gap:] == user[:-gap]) & (item[gap:] != item[:-gap])
            sources.append(item[:-gap][pair])
            targets.append(item[gap:][pair])
            weights.append(np.full(int(pair.sum()), self.step ** (gap - 1), np.float32))
        n = snapshot.n_items
        counts = Csr.summed(
            np.concatenate(sources),
            np.concatenate(targets),
            np.concatenate(weights),
            n_rows=n,
            n_columns=n,
        )
        owner = np.repeat(np.arange(n), np.diff(counts.indptr))
        total = np.bincount(owner, weights=counts.data, minlength=n)
        chance = (counts.data / (total[owner] + self.smoothing)).astype(np.float32)
        order = np.lexsort((counts.indices, -chance, owner))
        return Csr(
            indptr=counts.indptr,
            indices=readonly(counts.indices[order]),
            data=readonly(chance[order]),
            n_columns=n,
        )


def places(events: Interactions, n_items: int) -> tuple[Rows, Rows, AnyArray]:
    """Return (user, item, r) of each different pair: r of the user's other items were taken after it."""
    key = events.user.astype(np.int64) * n_items + events.item
    order = np.lexsort((events.timestamp, key))
    key, time = key[order], events.timestamp[order]
    newest = np.append(key[1:] != key[:-1], True) if len(key) else np.zeros(0, np.bool_)
    key, time = key[newest], time[newest]
    user, item = (key // n_items).astype(np.int32), (key % n_items).astype(np.int32)
    order = np.lexsort((item, -time, user))
    user, item, time = user[order], item[order], time[order]
    place = np.arange(len(user))
    begins = np.ones(len(user), np.bool_)
    begins[1:] = user[1:] != user[:-1]
    later = begins.copy()
    later[1:] |= time[1:] != time[:-1]
    first = np.maximum.accumulate(np.where(begins, place, 0)) if len(place) else place
    same = np.maximum.accumulate(np.where(later, place, 0)) if len(place) else place
    return user, item, same - first


@dataclass(frozen=True, slots=True, kw_only=True)
class RecentModel(ByScores):
    """B of EASE, T, and of the users trained what fades and what is last."""

    kind: ClassVar[str] = "recent"

    card: Card
    ease: EaseModel | NeighbourModel
    transitions: Csr  # (n_items, n_items) T
    fading: Csr  # (n_users, n_items) decay^r
    last: Csr  # (n_users, n_items) m step^r of the last few

    @property
    def items(self) -> Vocab:
        """Return the items it can give."""
        return self.ease.items

    @property
    def users(self) -> Vocab:
        """Return the users it was trained with."""
        return self.ease.users

    def block(self, queries: Queries) -> Block:
        """Return the scores from each request's history."""
        recipe = msgspec.convert(self.card.config, Recent)
        n, width, t = len(queries), len(self.items), self.transitions
        fading = told_or_trained(queries, self.fading, lambda told: recipe.rows(told, n, width)[0])
        last = told_or_trained(queries, self.last, lambda told: recipe.rows(told, n, width)[1])

        def scores(start: int, stop: int) -> F32:
            out = self.ease.scores(fading, start, stop)
            spread_scores(last.indptr, last.indices, last.data, start, t.indptr, t.indices, t.data, out)
            return out

        return scores

    def similar(self, item: int, k: int, *, exclude: Rows | None = None) -> Scored:
        """Return the k items most like an item, as EASE says."""
        return self.ease.similar(item, k, exclude=exclude)

    def arrays(self) -> Mapping[str, AnyArray]:
        """Return all arrays to save."""
        return {
            **self.ease.arrays(),
            **csr_arrays(self.transitions, "transitions"),
            **csr_arrays(self.fading, "fading"),
            **csr_arrays(self.last, "last"),
        }

    @classmethod
    def open(cls, card: Card, arrays: Mapping[str, AnyArray]) -> Self:
        """Open what `arrays` named, in place."""
        recipe = msgspec.convert(card.config, Recent).ease()
        own = msgspec.structs.replace(card, recipe=Ease.name, config=msgspec.to_builtins(recipe))
        kind = NeighbourModel if "neighbours_data" in arrays else EaseModel
        ease = kind.open(own, arrays)
        n = len(ease.items)
        return cls(
            card=card,
            ease=ease,
            transitions=open_csr(arrays, "transitions", n),
            fading=open_csr(arrays, "fading", n),
            last=open_csr(arrays, "last", n),
        )
