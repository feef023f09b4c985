"""The users who speak for their personas: what each did, and what is predicted of it for every item.

A persona's pivot is the dense user nearest its centre, as in the blog of the published lookalike clustering.
What is predicted for a pivot is kept with the model and made again when the pivot does something: `after`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, Self

import msgspec
import numpy as np
from scipy.sparse import csr_array

from penchant.data.interactions import Interactions
from penchant.data.snapshot import Snapshot
from penchant.kernel.arrays import F32, F64, AnyArray, Rows, readonly
from penchant.models.base import Queries
from penchant.models.ials import IalsModel
from penchant.models.lookalike_space import PersonaSpace
from penchant.models.user_logistic import fit_users, probabilities

PivotModel = Literal["taste", "logistic"]
_NEGATIVES = 5  # drawn for each item that a pivot took
_COLUMNS = ("user", "item", "timestamp", "event_type", "value")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pivots:
    """One user of each of k personas, and how their preferences are predicted.

    By ``model`` "taste" it is the user's factor with every item's, by "logistic" a regression of that user
    alone on the items' factors and popularity, with ``penalty``.
    """

    users: Rows  # (k,) -1 for a persona that nobody speaks for
    history: Interactions  # theirs, the user being the position in ``users``
    popular: F64  # (n_items,) log(1 + users who took it in training)
    seed: int  # of the items that stand for those a pivot did not take
    model: PivotModel
    penalty: float

    @classmethod
    def of(cls, snapshot: Snapshot, users: Rows, *, seed: int, model: PivotModel, penalty: float) -> Self:
        """Return the given users (k,) of a snapshot with all that they did."""
        place = np.append(np.full(snapshot.n_users, -1, np.int32), np.int32(-1))
        place[users] = np.arange(len(users), dtype=np.int32)
        place[-1] = -1
        events = snapshot.interactions
        counts = np.bincount(snapshot.pairs().indices, minlength=snapshot.n_items)
        return cls(
            users=users,
            history=events.select(place[events.user] >= 0).mapped(users=place),
            popular=readonly(np.log1p(counts)),
            seed=seed,
            model=model,
            penalty=penalty,
        )

    def after(self, events: Interactions) -> tuple[Self, Rows]:
        """Return the pivots after ``events`` and the positions of those who are among them."""
        users, positions = np.unique(self.users, return_index=True)
        hit = np.isin(events.user, users[users >= 0])
        if not hit.any():
            return self, readonly(np.zeros(0, np.int32))
        own = events.select(hit)
        own = replace(own, user=readonly(positions[np.searchsorted(users, own.user)].astype(np.int32)))
        told = readonly(np.unique(own.user))
        return replace(self, history=Interactions.joined(self.history, own)), told

    def predict(self, taste: IalsModel, which: Rows) -> F32:
        """Return what the pivots at the given positions (m,) want of every item, (m, n_items), from 0 up.

        Nothing of anything where a pivot did nothing.
        """
        place = np.full(len(self.users), -1, np.int32)
        place[which] = np.arange(len(which), dtype=np.int32)
        histories = self.history.select(place[self.history.user] >= 0).mapped(users=place)
        if self.model == "taste":
            nobody = np.full(len(which), -1, np.int32)
            own = taste.vectors(Queries(users=nobody, histories=histories, now=taste.card.cutoff))
            items = taste.index.by_row()
            # One at a time: a product of many users has other bits than the products of each.
            return readonly(np.stack([np.maximum(items @ vector, np.float32(0)) for vector in own]))
        return self._by_logistic(taste, which, histories)

    def _by_logistic(self, taste: IalsModel, which: Rows, histories: Interactions) -> F32:
        features = np.column_stack([taste.index.by_row(), self.popular]).astype(np.float64)
        spread = features.std(axis=0)
        features = (features - features.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
        ones = np.ones(len(histories), np.float32)
        taken = histories.pairs(ones, n_users=len(which), n_items=len(features))
        out = np.zeros((len(which), len(features)), np.float32)
        for row in np.flatnonzero(np.diff(taken.indptr)).astype(np.int32):
            # A stream for each pivot: one pivot's events leave the others' predictions as they are.
            rng = np.random.default_rng([self.seed, int(which[row])])
            weights = fit_users(
                features, taken, np.array([row]), penalty=self.penalty, negatives=_NEGATIVES, rng=rng
            )
            out[row] = probabilities(features, weights)[0]
        return readonly(out)

    def arrays(self) -> Mapping[str, AnyArray]:
        """Return everything to save."""
        return {
            "users": self.users,
            "popular": self.popular,
            "seed": readonly(np.array([self.seed])),
            "event_types": readonly(np.frombuffer(msgspec.json.encode(self.history.event_types), np.uint8)),
            **{name: getattr(self.history, name) for name in _COLUMNS},
        }

    @classmethod
    def open(cls, a: Mapping[str, AnyArray], *, model: PivotModel, penalty: float) -> Self:
        """Return what `arrays` gave."""
        types = msgspec.json.decode(a["event_types"].tobytes(), type=tuple[str, ...])
        return cls(
            users=a["users"],
            history=Interactions(**{name: a[name] for name in _COLUMNS}, event_types=types),
            popular=a["popular"],
            seed=int(a["seed"][0]),
            model=model,
            penalty=penalty,
        )


def pivots(taken: csr_array, space: PersonaSpace, users: Rows) -> Rows:
    """Return the pivot of each persona among ``users``, (k,), -1 where the persona has none of them.

    Only users with at least the median number of items of the persona can be its pivot: who is hardly known
    speaks for nobody.
    """
    size = np.diff(taken.indptr)
    chosen = np.full(space.k, -1, np.int32)
    for c in range(space.k):
        own = users[space.labels[users] == c]
        if len(own):
            dense = own[size[own] >= np.median(size[own])]
            distance = ((space.points[dense] - space.centres[c]) ** 2).sum(axis=1)
            chosen[c] = dense[int(distance.argmin())]
    return readonly(chosen)
