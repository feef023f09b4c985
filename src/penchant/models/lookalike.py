"""Lookalike: users nobody knows yet get what people like them want, and their own taste as it shows.

The parts: `lookalike_space` finds personas, `lookalike_prior` places a user by attributes, `ials` learns
tastes, `lookalike_blend` hands over from one to the other, and `lookalike_replay` is what the weights are
chosen on. None of them is a constant.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import msgspec
import numpy as np
from numpy.random import Generator

from penchant.data.snapshot import Snapshot
from penchant.features.user_encoder import UserEncoder
from penchant.features.user_features import UserColumn, encode_users, guess_columns
from penchant.kernel.arrays import F32, Csr, Rows, readonly
from penchant.kernel.clock import DAY
from penchant.kernel.durations import seconds_of
from penchant.kernel.progress import Progress, Silent
from penchant.models.base import Model, Queries, card_for
from penchant.models.cold_items import ColdItems
from penchant.models.gains import mean_gain
from penchant.models.ials import Ials, IalsModel
from penchant.models.index import ExactIndex
from penchant.models.lookalike_blend import Blend
from penchant.models.lookalike_model import LookalikeModel, Newcomers, persona_vectors
from penchant.models.lookalike_pivots import PivotModel, Pivots, pivots
from penchant.models.lookalike_prior import (
    Attributes,
    Place,
    Placement,
    by_cluster,
    by_pivot,
    by_ridge,
    by_taste,
    shared_preference,
    targets,
)
from penchant.models.lookalike_replay import DEPTH, Replay, best_of, make_replay, without
from penchant.models.lookalike_space import PersonaSpace, find_personas_of

WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
HAND_OVERS = (0.0, 1.0, 2.0, 3.0, 5.0, 7.0, 10.0, 14.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0, math.inf)
SESSIONS = (1, 2, 3, 5, 10)
_UNOBSERVED = 0.1  # in tastes that attributes tell: the less, the more rare items stand out
_FEW = 20  # users with attributes that a placement needs


class Fitted(msgspec.Struct, frozen=True, kw_only=True):
    """What the replay chose, and how good each side was there (NDCG at 20)."""

    place: Place = "ridge"
    half_life: str = ""
    penalty: float = 0.0
    weight: float = 0.0  # of people alike against popularity
    k0: float = math.inf  # items of history at which the user's own taste has half the weight
    metrics: dict[str, float] = {}
    note: str = "Nothing to replay: everybody gets popularity."


class Lookalike(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Preference from attributes, handed over to the user's own taste as history grows.

    ``place`` is ``taste`` (attributes -> tastes in ``directions`` factors), ``ridge`` (attributes ->
    preference for each item), ``best`` (that of these two that the replay finds better) or ``cluster``
    (``clusters`` of the attributes' ``rank`` first singular vectors; ``soft`` mixes them). A cluster speaks
    by the ``mean`` of its users or by its ``pivot``, the dense user nearest the centre, of whom
    ``pivot_model`` predicts: the ``taste`` of all, or a ``logistic`` regression of that user alone. Whoever
    places, users are also sorted into the clusters, which are the personas that are served. ``columns`` says
    how the users' table is used, by its types if empty. The replay chooses among ``penalties`` of the
    regression and ``half_lives`` (empty = never fades), over which tastes are averaged. ``factors`` to
    ``event_weights`` are those of `Ials`, which learns tastes.
    """

    name: ClassVar[str] = "lookalike"

    place: Place | Literal["best"] = "best"
    directions: int = 16
    clusters: int = 6
    rank: int = 6
    soft: bool = False
    speaks: Literal["mean", "pivot"] = "mean"
    pivot_model: PivotModel = "taste"
    pivot_penalty: float = 1.0
    columns: tuple[UserColumn, ...] = ()
    half_lives: tuple[str, ...] = ("", "60d", "14d")
    penalties: tuple[float, ...] = (10.0, 30.0, 100.0, 300.0)
    factors: int = 64
    epochs: int = 12
    regularization: float = 0.08
    alpha: float = 0.5
    unobserved_weight: float = 0.5
    event_weights: dict[str, float] = {}

    def __post_init__(self) -> None:
        if min(self.clusters, self.rank, self.directions) < 1:
            raise ValueError(
                "clusters, rank and directions must be at least 1, "
                f"got {self.clusters}, {self.rank} and {self.directions}."
            )
        if not self.half_lives or not self.penalties or min(self.penalties) <= 0:
            raise ValueError("half_lives and penalties need at least one value each, penalties above 0.")
        for span in filter(None, self.half_lives):
            seconds_of(span, field="half_lives")
        if self.pivot_penalty <= 0:
            raise ValueError(f"pivot_penalty must be above 0, got {self.pivot_penalty}.")
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
        taste = self.taste().train(snapshot, rng=rng, progress=Silent())
        learning = self._learning(snapshot, attributes, taste, seed)
        placed = self._place(learning, fitted)
        prior = placed.coordinates(fitted.weight)
        progress.advance(note="tastes")
        card = card_for(
            self, snapshot, metrics=fitted.metrics | _finite("k0", fitted.k0), notes=[fitted.note]
        )
        return LookalikeModel(
            card=card,
            taste=taste,
            prior=readonly(prior),
            blend=Blend.of(taste.index.by_row(), placed.rows()),
            seen=readonly(np.diff(snapshot.pairs().indptr)),
            hand_over=readonly(np.array([fitted.k0])),
            newcomers=Newcomers.of(
                attributes.encoder, learning.space, placed.mean, weight=fitted.weight, soft=self.soft
            ),
            persona_prior=learning.space.means_of(prior),
            pivots=placed.pivots,
        )

    def _attributes(self, snapshot: Snapshot) -> Attributes:
        columns = self.columns or guess_columns(snapshot.user_table)
        if not columns:
            nothing = np.zeros((snapshot.n_users, 0), np.float32)
            known = np.zeros(snapshot.n_users, np.bool_)
            return Attributes(values=nothing, known=known, encoder=UserEncoder(codes=[]))
        matrix = encode_users(snapshot.user_table, columns)
        encoder = UserEncoder.fit(snapshot.user_table, columns)
        return Attributes(values=matrix.values, known=matrix.known, encoder=encoder)

    def _learning(
        self,
        snapshot: Snapshot,
        attributes: Attributes,
        taste: IalsModel,
        seed: int,
        *,
        but: Rows | None = None,
    ) -> "_Learning":
        """Return what a placement learns from: all users ``but`` those whose past is hidden."""
        learn = np.ones(snapshot.n_users, np.bool_)
        learn[but if but is not None else []] = False
        users = np.flatnonzero(learn).astype(np.int32)
        space = find_personas_of(
            attributes.values,
            attributes.known if attributes.known[users].sum() >= _FEW else np.zeros_like(attributes.known),
            users,
            rank=self.rank,
            clusters=self.clusters,
            rng=np.random.default_rng(seed),
        )
        few = self._few(snapshot, seed) if space.k and self.place in ("best", "taste") else []
        return _Learning(
            snapshot=snapshot,
            attributes=attributes,
            users=users,
            space=space,
            taste=taste,
            few=few,
            seed=seed,
        )

    def _few(self, snapshot: Snapshot, seed: int) -> list[IalsModel]:
        """Return the tastes that attributes can tell: in few factors, one for each half-life."""
        lean = msgspec.structs.replace(
            self.taste(),
            factors=self.directions,
            unobserved_weight=_UNOBSERVED,
            cold_items=ColdItems(way="none"),
        )
        return [
            msgspec.structs.replace(lean, half_life=half_life).train(
                snapshot, rng=np.random.default_rng(seed), progress=Silent()
            )
            for half_life in self.half_lives
        ]

    def _place(self, learning: "_Learning", fitted: Fitted) -> Placement:
        """Place everybody, those whose past is hidden too."""
        snapshot, users, space = learning.snapshot, learning.users, learning.space
        taken = targets(snapshot, weights=self.event_weights, half_life=fitted.half_life)
        if space.k == 0:
            return Placement(
                shared=shared_preference(taken, users),
                own=np.zeros((snapshot.n_users, 0), np.float32),
                directions=np.zeros((0, snapshot.n_items), np.float32),
            )
        if fitted.place == "taste":
            return by_taste(taken, learning.attributes, users, learning.few, fitted.penalty)
        if fitted.place == "ridge":
            return by_ridge(taken, learning.attributes, users, fitted.penalty)
        if self.speaks == "mean":
            return by_cluster(taken, space, users, soft=self.soft)
        spoken = Pivots.of(
            snapshot,
            pivots(taken, space, users),
            seed=learning.seed,
            model=self.pivot_model,
            penalty=self.pivot_penalty,
        )
        return by_pivot(taken, space, users, spoken, learning.taste, soft=self.soft)

    def _options(self) -> list[Fitted]:
        """Return what the replay chooses from."""
        places: tuple[Place, ...] = ("taste", "ridge") if self.place == "best" else (self.place,)
        return [
            Fitted(place=place, half_life=half_life, penalty=penalty)
            for place in places
            for half_life in self.half_lives
            for penalty in (self.penalties if place != "cluster" else self.penalties[:1])
        ]

    def _fit(
        self, snapshot: Snapshot, attributes: Attributes, seed: int, rng: Generator, progress: Progress
    ) -> Fitted:
        """Choose half-life, penalty and weight for users without a history, then k0 for those with one."""
        among = attributes.known if attributes.known.sum() >= _FEW else np.ones(snapshot.n_users, np.bool_)
        replay = make_replay(snapshot, among, rng=rng)
        if replay is None:
            place: Place = "ridge" if self.place == "best" else self.place
            return Fitted(place=place, penalty=max(self.penalties))
        taste = self.taste().train(replay.train, rng=rng, progress=Silent())
        learning = self._learning(replay.train, attributes, taste, seed, but=replay.new)
        fitted, placed = self._fit_prior(replay, learning)
        progress.advance(note=f"people alike weigh {fitted.weight:g}")
        fitted = _fit_hand_over(replay, fitted, placed, taste)
        fitted = _persona_loss(replay, fitted, placed, learning)
        progress.advance(note=f"half own taste after {fitted.k0:g} items")
        return fitted

    def _fit_prior(self, replay: Replay, learning: "_Learning") -> tuple[Fitted, Placement]:
        """Choose the best for the tail among what is not below the best popularity over all items.

        The tail is all but the tenth of items that most users took; NDCG is of a ranking without the head.
        """
        truth = replay.after(0)[2]
        head = _head(replay.train)
        tail_truth = without(truth, head)
        tried: list[tuple[Fitted, float, float]] = []
        for option in self._options():
            placed = self._place(learning, option)
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
        return chosen, self._place(learning, chosen)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Learning:
    """What a placement learns from: these ``users`` of a snapshot, their attributes, personas and tastes.

    ``few`` are the tastes that attributes can tell, empty where none is asked for.
    """

    snapshot: Snapshot
    attributes: Attributes
    users: Rows
    space: PersonaSpace
    taste: IalsModel
    few: list[IalsModel]
    seed: int


def _persona_loss(replay: Replay, fitted: Fitted, placed: Placement, learning: _Learning) -> Fitted:
    """Add what a persona's feed loses against each user's own: NDCG at 20 of users with a persona.

    Of users without a history against the prior, and, over 1 to 10 sessions, of known ones against the blend.
    """
    label = learning.space.labels[replay.new]
    inside = np.flatnonzero(label >= 0).astype(np.int32)
    if len(inside) == 0:
        return fitted
    blend = Blend.of(learning.taste.index.by_row(), placed.rows())
    prior = placed.coordinates(fitted.weight)
    theirs = persona_vectors(blend, learning.space.means_of(prior))[label[inside]]

    def ndcg(vectors: F32, shown: Csr, truth: Csr) -> float:
        lists = blend.index.top_many(vectors, DEPTH, exclude=shown.take(inside)).items
        return mean_gain(lists, truth.take(inside))

    lost: dict[int, float] = {}
    for sessions in (0, *SESSIONS):
        history, shown, truth = replay.after(sessions)
        queries = Queries(
            users=np.full(len(replay.new), -1, np.int32), histories=history, now=replay.train.cutoff
        )
        own = blend.vectors(
            learning.taste.vectors(queries), prior[replay.new], np.diff(shown.indptr), fitted.k0
        )
        lost[sessions] = ndcg(own[inside], shown, truth) - ndcg(theirs, shown, truth)
    metrics = fitted.metrics | {
        "persona_loss_new_ndcg_at_20": lost[0],
        "persona_loss_known_ndcg_at_20": sum(lost[n] for n in SESSIONS) / len(SESSIONS),
    }
    return msgspec.structs.replace(fitted, metrics=metrics)


def _fit_hand_over(replay: Replay, fitted: Fitted, placed: Placement, taste: IalsModel) -> Fitted:
    """Choose the k0 of the best mean NDCG over 1, 2, 3, 5 and 10 sessions of history.

    Only among those that are nowhere worse than the better of prior and taste alone, by more than the one
    that is least so: at no length of history somebody pays for somebody else's.
    """
    blend = Blend.of(taste.index.by_row(), placed.rows())
    prior = placed.coordinates(fitted.weight)[replay.new]
    gain = np.zeros((len(SESSIONS), len(HAND_OVERS)))
    for row, sessions in enumerate(SESSIONS):
        history, shown, truth = replay.after(sessions)
        queries = Queries(
            users=np.full(len(replay.new), -1, np.int32), histories=history, now=replay.train.cutoff
        )
        own = taste.vectors(queries)
        for i, k0 in enumerate(HAND_OVERS):
            vectors = blend.vectors(own, prior, np.diff(shown.indptr), k0)
            gain[row, i] = mean_gain(blend.index.top_many(vectors, DEPTH, exclude=shown).items, truth)
    total = gain.sum(axis=0)
    worst = (gain - np.maximum(gain[:, :1], gain[:, -1:])).min(axis=0)
    fair = worst >= min(worst.max(), 0.0)
    chosen = best_of(np.where(fair, total, -np.inf).tolist())
    k0 = HAND_OVERS[chosen]
    metrics = fitted.metrics | {
        "replay_blend_ndcg_at_20": float(total[chosen]) / len(SESSIONS),
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
