"""Lookalike: users nobody knows yet get what people like them want, and their own taste as it shows.

The parts: `lookalike_prior` places a user by attributes, `ials` learns tastes, `lookalike_blend` hands over
from one to the other, and `lookalike_replay` is what the weights are chosen on. None of them is a constant.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import msgspec
import numpy as np
from numpy.random import Generator

from penchant.data.snapshot import Snapshot
from penchant.features.user_features import UserColumn, encode_users, guess_columns
from penchant.kernel.arrays import F32, F64, I64, AnyArray, Csr, Rows, readonly
from penchant.kernel.clock import DAY
from penchant.kernel.durations import seconds_of
from penchant.kernel.ids import Vocab
from penchant.kernel.progress import Progress, Silent
from penchant.models.base import Batch, Card, Model, Queries, Query, Scored, card_for
from penchant.models.ials import Ials, IalsModel
from penchant.models.index import ExactIndex
from penchant.models.lookalike_blend import Blend
from penchant.models.lookalike_prior import (
    Attributes,
    Place,
    Placement,
    by_cluster,
    by_ridge,
    shared_preference,
    targets,
)
from penchant.models.lookalike_replay import DEPTH, Replay, best_of, make_replay, mean_gain, without

WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
HAND_OVERS = (0.0, 1.0, 3.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0, math.inf)
SESSIONS = (1, 2, 3, 5, 10)
_TASTE = "taste_"
_FEW = 20  # users with attributes that a placement needs


class Fitted(msgspec.Struct, frozen=True, kw_only=True):
    """What the replay chose, and how good each side was there (NDCG at 20)."""

    half_life: str = ""
    penalty: float = 0.0
    weight: float = 0.0  # of people alike against popularity
    k0: float = math.inf  # items of history at which the user's own taste has half the weight
    metrics: dict[str, float] = {}
    note: str = "Nothing to replay: everybody gets popularity."


class Lookalike(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Preference from attributes, handed over to the user's own taste as history grows.

    ``place`` is ``ridge`` (attributes -> preference for each item) or ``cluster`` (``clusters`` of the
    attributes' ``rank`` first singular vectors; ``soft`` mixes them). ``columns`` says how the users' table
    is used, by its types if empty. The replay chooses among ``half_lives`` (empty = never fades) and
    ``penalties`` of the ridge. ``factors`` to ``event_weights`` are those of `Ials`, which learns tastes.
    """

    name: ClassVar[str] = "lookalike"

    place: Place = "ridge"
    clusters: int = 6
    rank: int = 6
    soft: bool = False
    columns: tuple[UserColumn, ...] = ()
    half_lives: tuple[str, ...] = ("", "90d", "30d")
    penalties: tuple[float, ...] = (30.0, 100.0, 300.0)
    factors: int = 64
    epochs: int = 12
    regularization: float = 0.08
    alpha: float = 0.5
    unobserved_weight: float = 0.5
    event_weights: dict[str, float] = {}

    def __post_init__(self) -> None:
        if self.clusters < 1 or self.rank < 1:
            raise ValueError(f"clusters and rank must be at least 1, got {self.clusters} and {self.rank}.")
        if not self.half_lives or not self.penalties or min(self.penalties) <= 0:
            raise ValueError("half_lives and penalties need at least one value each, penalties above 0.")
        for span in filter(None, self.half_lives):
            seconds_of(span, field="half_lives")
        self.taste()

    def taste(self) -> Ials:
        """Return the recipe that learns tastes."""
        return Ials(
            factors=self.factors,
            epochs=self.epochs,
            regularization=self.regularization,
            alpha=self.alpha,
            unobserved_weight=self.unobserved_weight,
            event_weights=self.event_weights,
        )

    def train(
        self, snapshot: Snapshot, *, rng: Generator, progress: Progress, previous: Model | None = None
    ) -> "LookalikeModel":
        """Fit the weights on a replay, then place and learn on everything; ``previous`` is not used."""
        progress.start(self.name, 3)
        attributes = self._attributes(snapshot)
        # One seed for every placement: what is compared and what is used start from the same point.
        seed = int(rng.integers(1 << 31))
        fitted = self._fit(snapshot, attributes, seed, rng, progress)
        placed = self._place(snapshot, attributes, fitted, seed)
        taste = self.taste().train(snapshot, rng=rng, progress=Silent())
        progress.advance(note="tastes")
        card = card_for(
            self, snapshot, metrics=fitted.metrics | _finite("k0", fitted.k0), notes=[fitted.note]
        )
        return LookalikeModel(
            card=card,
            taste=taste,
            prior=readonly(placed.coordinates(fitted.weight)),
            blend=Blend.of(taste.index.by_row(), placed.rows()),
            seen=readonly(np.diff(snapshot.pairs().indptr)),
            hand_over=readonly(np.array([fitted.k0])),
        )

    def _attributes(self, snapshot: Snapshot) -> Attributes:
        columns = self.columns or guess_columns(snapshot.user_table)
        if not columns:
            nothing = np.zeros((snapshot.n_users, 0), np.float32)
            return Attributes(values=nothing, known=np.zeros(snapshot.n_users, np.bool_))
        matrix = encode_users(snapshot.user_table, columns)
        return Attributes(values=matrix.values, known=matrix.known)

    def _place(
        self,
        snapshot: Snapshot,
        attributes: Attributes,
        fitted: Fitted,
        seed: int,
        *,
        but: Rows | None = None,
    ) -> Placement:
        """Learn from all users, ``but`` those whose past is hidden; they are placed all the same."""
        learn = np.ones(snapshot.n_users, np.bool_)
        learn[but if but is not None else []] = False
        users = np.flatnonzero(learn).astype(np.int32)
        taken = targets(snapshot, weights=self.event_weights, half_life=fitted.half_life)
        if attributes.known[users].sum() < _FEW:
            return Placement(
                shared=shared_preference(taken, users),
                own=np.zeros((snapshot.n_users, 0), np.float32),
                directions=np.zeros((0, snapshot.n_items), np.float32),
            )
        if self.place == "ridge":
            return by_ridge(taken, attributes, users, fitted.penalty)
        return by_cluster(
            taken,
            attributes,
            users,
            rank=self.rank,
            clusters=self.clusters,
            soft=self.soft,
            rng=np.random.default_rng(seed),
        )

    def _fit(
        self, snapshot: Snapshot, attributes: Attributes, seed: int, rng: Generator, progress: Progress
    ) -> Fitted:
        """Choose half-life, penalty and weight for users without a history, then k0 for those with one."""
        among = attributes.known if attributes.known.sum() >= _FEW else np.ones(snapshot.n_users, np.bool_)
        replay = make_replay(snapshot, among, rng=rng)
        if replay is None:
            return Fitted(penalty=max(self.penalties))
        fitted, placed = self._fit_prior(replay, attributes, seed)
        progress.advance(note=f"people alike weigh {fitted.weight:g}")
        taste = self.taste().train(replay.train, rng=rng, progress=Silent())
        fitted = _fit_hand_over(replay, fitted, placed, taste)
        progress.advance(note=f"half own taste after {fitted.k0:g} items")
        return fitted

    def _fit_prior(self, replay: Replay, attributes: Attributes, seed: int) -> tuple[Fitted, Placement]:
        """Choose the best for the tail among what is not below the best popularity over all items.

        The tail is all but the tenth of items that most users took; NDCG is of a ranking without the head.
        """
        truth = replay.after(0)[2]
        head = _head(replay.train)
        tail_truth = without(truth, head)
        tried: list[tuple[Fitted, float, float]] = []
        for half_life in self.half_lives:
            for penalty in self.penalties if self.place == "ridge" else self.penalties[:1]:
                option = Fitted(half_life=half_life, penalty=penalty)
                placed = self._place(replay.train, attributes, option, seed, but=replay.new)
                rows = placed.rows().T
                whole, tail = ExactIndex.build(rows), ExactIndex.build(np.where(head[:, None], 0, rows))
                for weight in WEIGHTS if placed.own.shape[1] else WEIGHTS[:1]:
                    at = placed.coordinates(weight)[replay.new]
                    overall = mean_gain(whole.top_many(at, DEPTH).items, truth)
                    rare = mean_gain(tail.top_many(at, DEPTH).items, tail_truth)
                    tried.append((msgspec.structs.replace(option, weight=weight), overall, rare))
        least = max(overall for option, overall, _ in tried if option.weight == 0)
        good = [entry for entry in tried if entry[1] >= least]
        best, overall, rare = good[best_of([o + r for _, o, r in good])]
        metrics = {
            "replay_popularity_ndcg_at_20": least,
            "replay_prior_ndcg_at_20": overall,
            "replay_prior_tail_ndcg_at_20": rare,
            "prior_weight": best.weight,
            "prior_half_life_days": seconds_of(best.half_life) / DAY if best.half_life else 0.0,
        }
        chosen = msgspec.structs.replace(best, metrics=metrics)
        return chosen, self._place(replay.train, attributes, chosen, seed, but=replay.new)


def _fit_hand_over(replay: Replay, fitted: Fitted, placed: Placement, taste: IalsModel) -> Fitted:
    """Choose the k0 of the best mean NDCG over 1, 2, 3, 5 and 10 sessions of history."""
    blend = Blend.of(taste.index.by_row(), placed.rows())
    prior = placed.coordinates(fitted.weight)[replay.new]
    total = np.zeros(len(HAND_OVERS))
    for sessions in SESSIONS:
        history, shown, truth = replay.after(sessions)
        queries = Queries(
            users=np.full(len(replay.new), -1, np.int32), histories=history, now=replay.train.cutoff
        )
        own = taste.vectors(queries)
        for i, k0 in enumerate(HAND_OVERS):
            vectors = blend.vectors(own, prior, np.diff(shown.indptr), k0)
            total[i] += mean_gain(blend.index.top_many(vectors, DEPTH, exclude=shown).items, truth)
    k0 = HAND_OVERS[best_of(total.tolist())]
    metrics = fitted.metrics | {
        "replay_blend_ndcg_at_20": float(total.max()) / len(SESSIONS),
        "replay_taste_ndcg_at_20": float(total[0]) / len(SESSIONS),
    }
    note = f"Weights chosen on a replay with {len(replay.new):,} users made new."
    return msgspec.structs.replace(fitted, k0=k0, metrics=metrics, note=note)


def _head(snapshot: Snapshot) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return which items are among the tenth that most users took."""
    count = np.bincount(snapshot.pairs().indices, minlength=snapshot.n_items)
    head = np.zeros(snapshot.n_items, np.bool_)
    order = np.lexsort((np.arange(snapshot.n_items), -count))
    head[order[: int((count > 0).sum()) // 10]] = True
    return head


def _finite(name: str, value: float) -> dict[str, float]:
    return {name: value} if math.isfinite(value) else {}


@dataclass(frozen=True, slots=True, kw_only=True)
class LookalikeModel:
    """The trained parts. A user the training did not know, without a history, gets popularity."""

    kind: ClassVar[str] = "lookalike"

    card: Card
    taste: IalsModel
    prior: F32  # (n_users, 1 + m) coordinates over the directions
    blend: Blend
    seen: I64  # (n_users,) different items in training
    hand_over: F64  # (1,) k0

    @property
    def k0(self) -> float:
        """Return the number of items at which the user's own taste has half the weight."""
        return float(self.hand_over[0])

    @property
    def items(self) -> Vocab:
        """Return the items it can give."""
        return self.taste.items

    @property
    def users(self) -> Vocab:
        """Return the users of the snapshot, those without interactions included."""
        return self.taste.users

    def top(self, query: Query, k: int, *, exclude: Rows | None = None) -> Scored:
        """Return the best k items of the blend."""
        return self.blend.index.top(self.vectors(_alone(query))[0], k, exclude=exclude)

    def top_many(self, queries: Queries, k: int, *, exclude: Csr | None = None) -> Batch:
        """Return the best k items of the blend for each request."""
        return self.blend.index.top_many(self.vectors(queries), k, exclude=exclude)

    def score(self, query: Query, items: Rows) -> F32:
        """Return the blended scores, NaN for an item nobody took and that no factor was learnt for."""
        return self.blend.index.score(self.vectors(_alone(query))[0], items)

    def vectors(self, queries: Queries) -> F32:
        """Return the blended vector of each request, (n, f + 1 + m)."""
        known = queries.users >= 0
        prior = np.zeros((len(queries), self.prior.shape[1]), np.float32)
        prior[:, 0] = 1.0
        prior[known] = self.prior[queries.users[known]]
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
        return {
            **{_TASTE + name: array for name, array in self.taste.arrays().items()},
            **{f"blend_{name}": array for name, array in index.items()},
            "prior": self.prior,
            "taste_gram": self.blend.taste_gram,
            "prior_gram": self.blend.prior_gram,
            "seen": self.seen,
            "hand_over": self.hand_over,
        }

    @classmethod
    def open(cls, card: Card, arrays: Mapping[str, AnyArray]) -> Self:
        """Open what `arrays` named, in place."""
        a = {name: np.asarray(array) for name, array in arrays.items()}

        def part(prefix: str) -> dict[str, AnyArray]:
            return {name.removeprefix(prefix): v for name, v in a.items() if name.startswith(prefix)}

        recipe = msgspec.convert(card.config, Lookalike)
        own = msgspec.structs.replace(
            card, recipe=Ials.name, config=msgspec.to_builtins(recipe.taste()), metrics={}, notes=[]
        )
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
        )


def _alone(query: Query) -> Queries:
    """Return one request as a batch of one, so that both are answered by the same code."""
    told = query.history
    if told is not None:
        told = replace(told, user=readonly(np.zeros(len(told), np.int32)))
    return Queries(users=np.array([query.user], np.int32), histories=told, now=query.now)
