"""The trained lookalike: what people like a user want, the user's own taste, and the personas between."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import msgspec
import numpy as np

from penchant.data.events import Value
from penchant.data.interactions import Interactions
from penchant.features.user_encoder import UserEncoder
from penchant.kernel.arrays import F32, F64, I64, AnyArray, Csr, Rows, readonly
from penchant.kernel.ids import Vocab
from penchant.models.base import Batch, Card, Queries, Query, Scored
from penchant.models.ials import Ials, IalsModel
from penchant.models.index import ExactIndex
from penchant.models.lookalike_blend import Blend
from penchant.models.lookalike_pivots import Pivots
from penchant.models.lookalike_space import PersonaSpace

_TASTE, _PIVOTS = "taste_", "pivots_"
_TASTE_FIELDS = ("factors", "epochs", "regularization", "alpha", "unobserved_weight", "event_weights")
_NOBODY = np.zeros((0, 0), np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Newcomers:
    """What places somebody by attributes alone, also one who came after the training.

    A ridge places features x at [1, x - ``mean``] over its directions, personas by their membership.
    """

    encoder: UserEncoder
    encoded: AnyArray  # the encoder as bytes
    space: PersonaSpace
    mean: F64  # (d,), empty where personas place
    placing: F64  # (3,) weight of people alike against popularity, spread of the space, 1 if it is soft

    @classmethod
    def of(
        cls, encoder: UserEncoder, space: PersonaSpace, mean: F64, *, weight: float, soft: bool
    ) -> "Newcomers":
        """Return the parts together."""
        placing = readonly(np.array([weight, space.spread, float(soft)]))
        return cls(encoder=encoder, encoded=encoder.to_array(), space=space, mean=mean, placing=placing)

    def place(self, attributes: Mapping[str, Value]) -> F32 | None:
        """Return coordinates (1 + m,) over the directions, None when no attribute is known."""
        values, known = self.encoder.row(attributes)
        if not known or not self.space.k:
            return None
        weight, _, soft = self.placing.tolist()
        if len(self.mean):
            own = np.append(1.0, values - self.mean)
        else:
            own = self.space.members((values @ self.space.basis)[None], soft=bool(soft))[0]
        return np.append(1.0 - weight, weight * own).astype(np.float32)

    def persona(self, attributes: Mapping[str, Value]) -> int:
        """Return the persona, -1 when no attribute is known or there are no personas."""
        values, known = self.encoder.row(attributes)
        return self.space.nearest(values) if known and self.space.k else -1

    def arrays(self) -> Mapping[str, AnyArray]:
        """Return everything to save."""
        return {
            "encoder": self.encoded,
            "basis": self.space.basis,
            "centres": self.space.centres,
            "labels": self.space.labels,
            "points": self.space.points,
            "feature_mean": self.mean,
            "placing": self.placing,
        }

    @classmethod
    def open(cls, a: Mapping[str, AnyArray]) -> "Newcomers":
        """Return what `arrays` gave."""
        placing = a["placing"]
        space = PersonaSpace(
            basis=a["basis"],
            centres=a["centres"],
            spread=float(placing[1]),
            points=a.get("points", _NOBODY),  # models of an earlier version do not have them
            labels=a["labels"],
        )
        return cls(
            encoder=UserEncoder.of_array(a["encoder"]),
            encoded=a["encoder"],
            space=space,
            mean=a["feature_mean"],
            placing=placing,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LookalikeModel:
    """The trained parts.

    A user the training did not know is placed by the attributes of the query; without attributes and without
    a history it is popularity that answers.

    `fold` predicts anew for pivots that did something; of others the query brings the history.
    """

    kind: ClassVar[str] = "lookalike"

    card: Card
    taste: IalsModel
    prior: F32  # (n_users, 1 + m) coordinates over the directions
    blend: Blend
    seen: I64  # (n_users,) different items in training
    hand_over: F64  # (1,) k0
    newcomers: Newcomers
    persona_prior: F32  # (k, 1 + m) mean coordinates of each persona's users
    pivots: Pivots | None = None  # where single users speak for personas

    @property
    def k0(self) -> float:
        """Return the number of items at which the user's own taste has half the weight."""
        return float(self.hand_over[0])

    @property
    def personas(self) -> Rows:
        """Return each user's persona, (n_users,), -1 for who has no attributes."""
        return self.newcomers.space.labels

    @property
    def n_personas(self) -> int:
        """Return the number of personas."""
        return len(self.persona_prior)

    def persona_of(self, attributes: Mapping[str, Value]) -> int:
        """Return the persona of somebody with these attributes, -1 when none is known."""
        return self.newcomers.persona(attributes)

    def persona_top(self, persona: int, k: int) -> Scored:
        """Return what a persona's users want on average: the best k items."""
        return self.blend.index.top(self._of_persona(persona), k)

    def _of_persona(self, persona: int) -> F32:
        return persona_vectors(self.blend, self.persona_prior[persona][None])[0]

    @property
    def items(self) -> Vocab:
        """Return the items it can give."""
        return self.taste.items

    @property
    def users(self) -> Vocab:
        """Return the users of the snapshot, those without interactions included."""
        return self.taste.users

    def fold(self, events: Interactions) -> Self:
        """Return the model after ``events``: what is predicted for pivots among their users is made anew."""
        if self.pivots is None:
            return self
        pivots, told = self.pivots.after(events)
        if len(told) == 0:
            return self
        factors = self.taste.index.by_row()
        directions = self.blend.index.by_row()[:, factors.shape[1] :].T.copy()
        directions[1 + told] = pivots.predict(self.taste, told)
        return replace(self, pivots=pivots, blend=Blend.of(factors, directions))

    def top(self, query: Query, k: int, *, exclude: Rows | None = None) -> Scored:
        """Return the best k items of the blend."""
        return self.blend.index.top(self._vector(query), k, exclude=exclude)

    def top_many(self, queries: Queries, k: int, *, exclude: Csr | None = None) -> Batch:
        """Return the best k items of the blend for each request."""
        return self.blend.index.top_many(self.vectors(queries), k, exclude=exclude)

    def score(self, query: Query, items: Rows) -> F32:
        """Return the blended scores, NaN for an item nobody took and that no factor was learnt for."""
        return self.blend.index.score(self._vector(query), items)

    def _vector(self, query: Query) -> F32:
        placed = None if query.attributes is None else self.newcomers.place(query.attributes)
        return self.vectors(_alone(query), None if placed is None else placed[None])[0]

    def vectors(self, queries: Queries, placed: F32 | None = None) -> F32:
        """Return the blended vector of each request, (n, f + 1 + m); ``placed`` (n, 1 + m) are new priors."""
        known = queries.users >= 0
        prior = np.zeros((len(queries), self.prior.shape[1]), np.float32)
        prior[:, 0] = 1.0
        prior[known] = self.prior[queries.users[known]]
        if placed is not None:
            prior = placed
        n = np.zeros(len(queries), np.int64)
        n[known] = self.seen[queries.users[known]]
        told = queries.histories
        if told is not None and len(told):
            ones = np.ones(len(told), np.float32)
            counted = np.diff(told.pairs(ones, n_users=len(queries), n_items=len(self.items)).indptr)
            n = np.where(counted > 0, counted, n)
        return self.blend.vectors(self.taste.vectors(queries), prior, n, self.k0)

    def arrays(self) -> Mapping[str, AnyArray]:
        """Return all arrays to save."""
        index = self.blend.index.arrays()
        spoken = {} if self.pivots is None else self.pivots.arrays()
        return {
            **{_TASTE + name: array for name, array in self.taste.arrays().items()},
            **{f"blend_{name}": array for name, array in index.items()},
            "prior": self.prior,
            "taste_gram": self.blend.taste_gram,
            "prior_gram": self.blend.prior_gram,
            "seen": self.seen,
            "hand_over": self.hand_over,
            "persona_prior": self.persona_prior,
            **{f"new_{name}": array for name, array in self.newcomers.arrays().items()},
            **{_PIVOTS + name: array for name, array in spoken.items()},
        }

    @classmethod
    def open(cls, card: Card, arrays: Mapping[str, AnyArray]) -> Self:
        """Open what `arrays` named, in place."""
        a = {name: np.asarray(array) for name, array in arrays.items()}

        def part(prefix: str) -> dict[str, AnyArray]:
            return {name.removeprefix(prefix): v for name, v in a.items() if name.startswith(prefix)}

        taste: dict[str, Any] = {name: card.config[name] for name in _TASTE_FIELDS}
        spoken = part(_PIVOTS)
        own = msgspec.structs.replace(card, recipe=Ials.name, config=taste, metrics={}, notes=[])
        return cls(
            card=card,
            taste=IalsModel.open(own, part(_TASTE)),
            prior=a["prior"],
            blend=Blend(
                index=ExactIndex.open(part("blend_")),
                taste_gram=a["taste_gram"],
                prior_gram=a["prior_gram"],
            ),
            seen=a["seen"],
            hand_over=a["hand_over"],
            newcomers=Newcomers.open(part("new_")),
            persona_prior=a["persona_prior"],
            pivots=Pivots.open(spoken, model=card.config["pivot_model"], penalty=card.config["pivot_penalty"])
            if spoken
            else None,
        )


def persona_vectors(blend: Blend, prior: F32) -> F32:
    """Return the vectors (n, f + 1 + m) of priors (n, 1 + m) alone."""
    nothing = np.zeros((len(prior), len(blend.taste_gram)), np.float32)
    return blend.vectors(nothing, prior, np.zeros(len(prior), np.int64), np.inf)


def _alone(query: Query) -> Queries:
    """Return one request as a batch of one, so that both are answered by the same code."""
    told = query.history
    if told is not None:
        told = replace(told, user=readonly(np.zeros(len(told), np.int32)))
    return Queries(users=np.array([query.user], np.int32), histories=told, now=query.now)
