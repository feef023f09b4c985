"""Two stages: other recipes name candidates, boosted trees order them by the chance that they are taken.

    s(u, j) = Σ_t leaf of tree t that x(u, j) falls into      for the candidates j, x in `two_stage_features`

What no part has among its candidates comes after them, and so does what the user took before: both in the
order of the parts' mean z. The trees learn from several windows of time (`two_stage_learning`), as winners of
the H&M, OTTO and RecSys challenges do; the parts are then trained on all data.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self

import msgspec
import numpy as np
from numpy.random import Generator

from penchant.data.interactions import Interactions
from penchant.data.snapshot import Snapshot
from penchant.features.item_features import require_columns
from penchant.kernel.arrays import F32, F64, AnyArray, Rows, readonly
from penchant.kernel.arrow import pc
from penchant.kernel.clock import DAY
from penchant.kernel.durations import seconds_of
from penchant.kernel.progress import Progress
from penchant.models.base import Card, Model, Query, Retriever, card_for
from penchant.models.boosted import Trees, add_trees
from penchant.models.histories import above, at_least
from penchant.models.parts import (
    ByParts,
    open_parts,
    part_arrays,
    raw,
    recipes_of,
    standard,
    three_parts,
    train_part,
)
from penchant.models.two_stage_features import Facts, facts_of, features
from penchant.models.two_stage_learning import candidates, learn, windows

_TEXT = ("string", "large_string")
_SHARE = 0.1  # of the interactions, the newest: a span where none is named


class TwoStage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Recipes by name that give ``candidates`` each, and trees that order them.

    ``parts.taste = { recipe = "ease", dropout = 0.3 }`` as for ``blend``. The trees (at most ``trees``, of
    ``leaves``, learning at ``rate``) learn from ``windows`` spans of time before the end, each of ``span``
    (such as ``30d``; empty: the time of the newest tenth of the interactions), from at most ``requests``
    users in each. ``columns`` are those of the items whose values a user may like, all text without too many
    values if none is named. It orders what a user has not taken yet; what was taken comes last.
    """

    name: ClassVar[str] = "two_stage"

    parts: dict[str, dict[str, Any]] = msgspec.field(default_factory=three_parts)
    candidates: int = 80
    windows: int = 4
    span: str = ""
    requests: int = 4_000
    columns: tuple[str, ...] = ()
    trees: int = 300
    leaves: int = 15
    rate: float = 0.05

    def __post_init__(self) -> None:
        above(self, 0, "candidates", "windows", "requests", "rate")
        at_least(self, 0, "trees")
        at_least(self, 2, "leaves")
        if self.span:
            seconds_of(self.span, field="span")
        recipes_of(self.parts)

    def train(
        self, snapshot: Snapshot, *, rng: Generator, progress: Progress, previous: Model | None = None
    ) -> "TwoStageModel":
        """Learn the trees from the past, then train every part on all data.

        Raises:
            InputError: items have no such column.
        """
        recipes = recipes_of(self.parts)
        seeds = {name: int(rng.integers(2**63)) for name in recipes}
        columns, span = self._columns(snapshot), self._span(snapshot)
        found = windows(
            snapshot, recipes, seeds, columns=columns, span=span, most=self.windows, depth=self.candidates,
            requests=self.requests, progress=progress,
        )  # fmt: skip
        seed = int(rng.integers(2**31))
        trees, metrics = learn(
            found, trees=self.trees, leaves=self.leaves, rate=self.rate, seed=seed, progress=progress
        )
        note = f"Learnt from {sum(len(one.size) for one in found):,} requests of {len(found)} windows"
        told = f"{note} of {span / DAY:.1f} days; columns: {', '.join(columns) or 'none'}."
        models = {
            name: train_part(recipe, snapshot, seeds[name], progress) for name, recipe in recipes.items()
        }
        return TwoStageModel(
            card=card_for(self, snapshot, metrics=metrics, notes=[told]),
            parts=models,
            facts=facts_of(snapshot, columns, span),
            trees=trees,
            taken=Taken.of(snapshot),
            depth=self.candidates,
        )

    def _span(self, snapshot: Snapshot) -> float:
        if self.span:
            return seconds_of(self.span)
        at = snapshot.interactions.timestamp
        newest = float(at[int((1 - _SHARE) * len(at))]) if len(at) else snapshot.cutoff
        return max(snapshot.cutoff - newest, 1.0)

    def _columns(self, snapshot: Snapshot) -> tuple[str, ...]:
        require_columns(snapshot, self.columns)
        if self.columns:
            return self.columns
        table = snapshot.item_table
        text = [f.name for f in table.schema if f.name != "item_id" and str(f.type) in _TEXT]
        return tuple(n for n in text if 1 < pc.count_distinct(table[n]).as_py() <= snapshot.n_items // 4)


class Taken(NamedTuple):
    """What each trained user took, oldest first: user u's items stand at ``bounds[u]:bounds[u + 1]``."""

    bounds: AnyArray  # (n_users + 1,) int64
    item: Rows  # (n,)
    timestamp: F64  # (n,)

    @classmethod
    def of(cls, snapshot: Snapshot) -> "Taken":
        """Return it of all users."""
        bounds, positions = snapshot.by_user
        events = snapshot.interactions
        return cls(
            bounds=readonly(bounds.astype(np.int64)),
            item=readonly(events.item[positions]),
            timestamp=readonly(events.timestamp[positions]),
        )

    def history(self, user: int) -> Interactions:
        """Return a user's, none for row -1."""
        if user < 0:
            return Interactions.none()
        some = slice(int(self.bounds[user]), int(self.bounds[user + 1]))
        item, at = self.item[some], self.timestamp[some]
        return Interactions.of(user=np.full(len(item), user), item=item, timestamp=at)


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoStageModel(ByParts):
    """The parts, what is known of items and users, and the trees. An item no part can score is NaN."""

    kind: ClassVar[str] = "two_stage"

    card: Card
    parts: Mapping[str, Retriever]
    facts: Facts
    trees: Trees
    taken: Taken
    depth: int  # candidates of each part

    def arrays(self) -> Mapping[str, AnyArray]:
        """Return all arrays to save."""
        own: dict[str, AnyArray] = {f"facts_{k}": a for k, a in self.facts._asdict().items()}
        own |= {f"trees_{k}": a for k, a in self.trees._asdict().items()}
        own |= {f"taken_{k}": a for k, a in self.taken._asdict().items()}
        return own | part_arrays(self.parts)

    @classmethod
    def open(cls, card: Card, arrays: Mapping[str, AnyArray]) -> Self:
        """Open what `arrays` named, in place."""
        recipe = msgspec.convert(card.config, TwoStage)
        return cls(
            card=card,
            parts=open_parts(recipes_of(recipe.parts), card, arrays),
            depth=recipe.candidates,
            facts=Facts(**{k: arrays[f"facts_{k}"] for k in Facts._fields}),
            trees=Trees(**{k: arrays[f"trees_{k}"] for k in Trees._fields}),
            taken=Taken(**{k: arrays[f"taken_{k}"] for k in Taken._fields}),
        )

    def all_scores(self, query: Query) -> F32:
        """Return the score of every item, NaN where no part can score it."""
        found = raw(list(self.parts.values()), query)
        z = standard(found)
        scores = z.mean(axis=0)
        if len(self.trees.root):
            history = self.taken.history(query.user) if query.history is None else query.history
            pool = candidates(z, np.unique(history.item), self.depth)
            odds = np.zeros(len(pool))
            add_trees(self.trees, features(self.facts, z, history, pool), odds)
            after = 1.0 / (2.0 + scores.max() - scores)  # in (0, 1/2], as the mean z orders
            scores = (odds.min(initial=0.0) - 1.0 + after).astype(np.float32)
            scores[pool] = odds
        scores[np.isnan(found).all(axis=0)] = np.nan
        return scores
