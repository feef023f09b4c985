"""A blend of recipes whose weights were learnt on the newest part of the data.

    score(u, j) = Σ_p w_p z_p(u, j)        z = (s - mean) / deviation over the items p can score for u

With the mixing ``log`` z is taken once more, of ln(1 + z - least z): weights are then powers, and a taste is
multiplied by a power of the popularity instead of being added to it, so that the most popular few do not
drown it. What a part cannot score counts as the least it gave.

The weights are those of an ensemble selected greedily with replacement (Caruana, Niculescu-Mizil, Crew,
Ksikes: Ensemble selection from libraries of models, 2004): parts trained before a cut are added one at a
time, each time the one that raises NDCG most after the cut.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import msgspec
import numpy as np
from numpy.random import Generator

from penchant.data.snapshot import Snapshot
from penchant.data.splits import Split, random_split, time_split, user_split
from penchant.kernel.arrays import F32, F64, AnyArray, readonly
from penchant.kernel.errors import InputError
from penchant.kernel.progress import Progress
from penchant.models.base import Card, Model, Query, Recipe, Retriever, card_for
from penchant.models.parts import (
    ByParts,
    open_parts,
    part_arrays,
    query_of,
    raw,
    recipes_of,
    standard,
    three_parts,
    train_part,
)

_PROTOCOLS = ("time", "user", "random")
_ROUNDS = 24  # parts added to the ensemble: weights are multiples of 1 / 24 at finest
_REQUESTS = 1_500  # of the validation part at most
_POOL = 200  # best items of each part that a blend may order on the validation part


class Blend(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Recipes by name, each a table: ``parts.taste = { recipe = "ease", dropout = 0.3 }``.

    The weights are learnt for NDCG@``depth``: ``protocol`` ``time`` on the newest ``share`` of the
    interactions, ``user`` on ``share`` of the users, of whom part of the items is shown, ``random`` on
    ``share`` of everybody's items. Then every part is trained on all data. ``mixing``
    ``linear`` adds what the parts say, ``log`` multiplies powers of it.
    """

    name: ClassVar[str] = "blend"

    parts: dict[str, dict[str, Any]] = msgspec.field(default_factory=three_parts)
    protocol: str = "time"
    share: float = 0.1
    depth: int = 10
    mixing: Literal["linear", "log"] = "linear"

    def __post_init__(self) -> None:
        if self.protocol not in _PROTOCOLS:
            raise ValueError(f"protocol is '{self.protocol}': use one of {', '.join(_PROTOCOLS)}.")
        if not 0 < self.share < 0.5:
            raise ValueError(f"share is {self.share}: it must lie between 0 and 0.5.")
        if self.depth < 1:
            raise ValueError(f"depth is {self.depth}: it must be 1 or more.")
        self.recipes()

    def recipes(self) -> dict[str, Recipe]:
        """Return the recipes of the parts.

        Raises:
            ValueError: a part names no recipe that can be blended, or a field of it is wrong.
        """
        return recipes_of(self.parts)

    def train(
        self, snapshot: Snapshot, *, rng: Generator, progress: Progress, previous: Model | None = None
    ) -> "BlendModel":
        """Learn the weights, then train every part that has one on all data."""
        recipes = self.recipes()
        seeds = {name: int(rng.integers(2**63)) for name in recipes}
        weights, metrics, note = self._learn(recipes, seeds, snapshot, progress)
        kept = {name: recipe for name, recipe in recipes.items() if weights[name] > 0}
        models = {name: train_part(recipe, snapshot, seeds[name], progress) for name, recipe in kept.items()}
        card = card_for(
            self, snapshot, metrics=metrics | {f"weight_{n}": w for n, w in weights.items()}, notes=[note]
        )
        chosen = readonly(np.array([weights[n] for n in kept]))
        return BlendModel(card=card, parts=models, weights=chosen, log=self.mixing == "log")

    def _learn(
        self, recipes: Mapping[str, Recipe], seeds: Mapping[str, int], snapshot: Snapshot, progress: Progress
    ) -> tuple[dict[str, float], dict[str, float], str]:
        try:
            split = self._held_out(snapshot, seeds[next(iter(seeds))] % 2**31)
        except InputError as error:
            even = dict.fromkeys(recipes, 1 / len(recipes))
            return even, {}, f"Even weights: nothing to learn them on ({error.what})"
        models = {n: train_part(r, split.train, seeds[n], progress) for n, r in recipes.items()}
        progress.start("weights", 1)
        scores, relevant, wanted = _pooled(list(models.values()), split, log=self.mixing == "log")
        chosen, reached = select_greedily(scores, relevant, wanted, depth=self.depth)
        progress.advance(note=f"NDCG@{self.depth} {reached:.4f}")
        weights = dict(zip(recipes, chosen.tolist(), strict=True))
        note = f"Weights learnt on {len(wanted):,} requests of a part held out by '{self.protocol}'."
        return weights, {f"validation_ndcg_at_{self.depth}": reached}, note

    def _held_out(self, snapshot: Snapshot, seed: int) -> Split:
        if self.protocol == "time":
            return time_split(snapshot, share=self.share)
        rule = user_split if self.protocol == "user" else random_split
        return rule(snapshot, seed=seed, share=self.share)


def _pooled(
    models: Sequence[Retriever], split: Split, *, log: bool
) -> tuple[list[F32], list[AnyArray], AnyArray]:
    """Return for some requests z (parts, pool), which of the pool is wanted (pool,), and how many are in
    all.
    """
    step = max(1, len(split) // _REQUESTS)
    chosen = np.arange(0, len(split), step)
    scores: list[F32] = []
    relevant: list[AnyArray] = []
    for i in chosen:
        gone = split.exclude.row(int(i))
        z = standard(raw(models, query_of(split, int(i))), log=log)
        z[:, gone] = -np.inf
        depth = min(_POOL, z.shape[1])
        pool = np.unique(np.argpartition(-z, depth - 1, axis=1)[:, :depth])
        pool = pool[~np.isin(pool, gone)]
        scores.append(z[:, pool])
        relevant.append(np.isin(pool, split.truth.row(int(i))))
    return scores, relevant, np.diff(split.truth.indptr)[chosen]


def select_greedily(
    scores: Sequence[F32], relevant: Sequence[AnyArray], wanted: AnyArray, *, depth: int
) -> tuple[F64, float]:
    """Return weights (parts,) that sum to 1 and the mean NDCG@depth they reach.

    ``scores[r]`` (parts, pool) and ``relevant[r]`` (pool,) are of request r, which wants ``wanted[r]`` items.
    """
    parts = scores[0].shape[0]
    discount = 1 / np.log2(np.arange(2, depth + 2))
    ideal = np.cumsum(discount)[np.minimum(wanted, depth) - 1]

    def value(weights: F64) -> float:
        gain = np.zeros(len(scores))
        w = weights.astype(np.float32)
        for r, (z, good) in enumerate(zip(scores, relevant, strict=True)):
            total = w @ z
            k = min(depth, len(total))
            best = np.argpartition(-total, k - 1)[:k] if k else np.zeros(0, np.int64)
            best = best[np.argsort(-total[best], kind="stable")]
            gain[r] = discount[:k][good[best]].sum()
        return float((gain / ideal).mean())

    counts = np.zeros(parts)
    best, reached = counts, -1.0
    for _ in range(_ROUNDS):
        tried = [value((counts + one) / (counts + one).sum()) for one in np.eye(parts)]
        counts = counts + np.eye(parts)[int(np.argmax(tried))]
        if max(tried) > reached:
            best, reached = counts, max(tried)
    return best / best.sum(), reached


@dataclass(frozen=True, slots=True, kw_only=True)
class BlendModel(ByParts):
    """The parts with a weight above 0. An item no part can score is NaN."""

    kind: ClassVar[str] = "blend"

    card: Card
    parts: Mapping[str, Retriever]
    weights: F64  # (parts,)
    log: bool  # the mixing

    def arrays(self) -> Mapping[str, AnyArray]:
        """Return all arrays to save."""
        return {"weights": self.weights, **part_arrays(self.parts)}

    @classmethod
    def open(cls, card: Card, arrays: Mapping[str, AnyArray]) -> Self:
        """Open what `arrays` named, in place."""
        blend = msgspec.convert(card.config, Blend)
        recipes = blend.recipes()
        kept = {name: recipe for name, recipe in recipes.items() if card.metrics.get(f"weight_{name}", 0) > 0}
        log = blend.mixing == "log"
        parts = open_parts(kept, card, arrays)
        return cls(card=card, parts=parts, weights=np.asarray(arrays["weights"]), log=log)

    def all_scores(self, query: Query) -> F32:
        """Return the score of every item, NaN where no part can score it."""
        found = raw(list(self.parts.values()), query)
        blended = self.weights.astype(np.float32) @ standard(found, log=self.log)
        blended[np.isnan(found).all(axis=0)] = np.nan
        return blended
