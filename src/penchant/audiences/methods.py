"""One scorer a method: higher is more alike, and no seed is scored by what it taught."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.random import Generator

from penchant.audiences import coupang, ensemble
from penchant.audiences.config import AudienceConfig
from penchant.audiences.ensemble import Ensemble
from penchant.audiences.pool import Population, mid_ranks, pool_of
from penchant.features.codes import Codes, CodeStore
from penchant.features.matrix import Features
from penchant.features.taste import Axes
from penchant.kernel.arrays import F32, F64, U8, Bools, Rows, readonly
from penchant.kernel.errors import InputError
from penchant.kernel.progress import Progress

FOLDS = 5
LEARN_FROM = 200_000
"""Of a larger population the models learn from this many users who are not seeds."""
_NEAREST_OF = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What all methods draw on: n people to be scored, and m of them, seeds among them, to learn from."""

    codes: Codes
    allowed: Bools  # (d,) features that are not hidden
    taste: "F32 | Axes"  # (n, r), or how it is read from the codes
    drawn: Rows  # (m,) of the n, ascending
    sample: CodeStore  # the codes of the m
    features: Features | None = None  # everybody's values, where they are at hand
    items: Any = None  # (n, items) sparse, as in `Population`

    @property
    def sample_taste(self) -> F32:
        """Return the taste of those drawn (m, r)."""
        if isinstance(self.taste, Axes):
            return self.taste.of(self.sample.codes[self.taste.columns])
        return self.taste if len(self.drawn) == len(self.taste) else self.taste[self.drawn]

    def places(self, rows: Rows) -> Rows:
        """Return where among those drawn some people stand, leaving out who was not drawn."""
        return np.searchsorted(self.drawn, rows[np.isin(rows, self.drawn)]).astype(np.int32)

    def part(self) -> "Material":
        """Return those drawn as a population of their own."""
        everyone = np.arange(len(self.drawn), dtype=np.int32)
        items = None if self.items is None else self.items[self.drawn]
        return replace(self, codes=self.sample, taste=self.sample_taste, drawn=everyone, items=items)


def drawn_from(codes: Codes, seeds: Rows, config: Ensemble, rng: Generator) -> tuple[Rows, CodeStore]:
    """Return whom models learn from, and their codes: everybody, or `LEARN_FROM` and a share of the seeds."""
    everybody = Population(codes=codes, seeds=seeds, taste=np.zeros((0, 0), np.float32))
    drawn = everybody.drawn(others=LEARN_FROM, seeds=config.positives * config.folds, rng=rng)
    if len(drawn) == codes.n_users and isinstance(codes, CodeStore):
        return drawn, codes
    return drawn, codes.among(drawn)


def learned(
    material: Material,
    learners: Ensemble,
    seeds: Rows,
    weight: "F64 | None",
    *,
    rng: Generator,
    progress: Progress,
) -> F64:
    """Return the score of everybody (n,) by models that learned from those drawn."""
    mine = np.isin(seeds, material.drawn)
    pool = pool_of(
        material.sample,
        material.sample_taste,
        material.places(seeds),
        allowed=material.allowed,
        weight=None if weight is None else weight[mine],
        rows=material.drawn,
        ranks=readonly(mid_ranks(material.codes)),
    )
    everybody = Population(codes=material.codes, seeds=seeds, taste=material.taste, items=material.items)
    return ensemble.score(pool, learners, rng=rng, population=everybody, progress=progress)[0]


def scorer(
    config: AudienceConfig, material: Material, *, progress: Progress
) -> Callable[[Rows, "F64 | None", Generator], F64]:
    """Return the function (seeds, their weights, rng) -> score of every user (n,)."""

    def by_learning(seeds: Rows, weight: "F64 | None", rng: Generator) -> F64:
        only = config.method
        chosen: Ensemble = config.ensemble
        if only != "auto":
            chosen = Ensemble(
                trees=only == "trees",
                linear=only == "linear",
                tastes=only == "taste",
                affinity=False,
                items=False,
            )
        return learned(material, chosen, seeds, weight, rng=rng, progress=progress)

    def published(seeds: Rows, weight: "F64 | None", rng: Generator) -> F64:
        assert material.features is not None  # a store refuses the method
        return _published(config, material.features, material.allowed, seeds, rng, progress)

    def nearest(seeds: Rows, weight: "F64 | None", rng: Generator) -> F64:
        return nearest_seeds(material, seeds, config.neighbours, rng=rng, progress=progress)

    if config.method == "coupang":
        return published
    return nearest if config.method == "embedding" else by_learning


def _published(
    config: AudienceConfig,
    features: Features,
    allowed: Bools,
    seeds: Rows,
    rng: Generator,
    progress: Progress,
) -> F64:
    """Score everybody by the published method.

    The seeds' own scores come from features chosen and personas made without them, in five folds.
    """
    everyone = np.arange(len(features.users), dtype=np.int32)
    divergence = coupang.divergences(features, seeds, everyone, progress=progress)
    top = coupang.select(np.where(allowed, divergence, 0.0), config.coupang)
    total = -coupang.distances(features, seeds, everyone, top, config.distance)
    order = rng.permutation(len(seeds))
    for fold in range(FOLDS):
        held, kept = seeds[order[fold::FOLDS]], np.delete(seeds[order], slice(fold, None, FOLDS))
        rest = np.sort(kept)
        without = np.where(allowed, coupang.divergences(features, rest, everyone), 0.0)
        try:
            chosen = coupang.select(without, config.coupang)
        except InputError:
            chosen = top  # the fold alone falls short of the threshold; the list does not
        total[held] = -coupang.distances(features, rest, everyone, chosen, config.distance)[held]
    return total


def nearest_seeds(
    material: Material, seeds: Rows, neighbours: int, *, rng: Generator, progress: Progress
) -> F64:
    """Return the mean cosine (n,) of each user to its ``neighbours`` nearest seeds, itself left out.

    At most 1,000 seeds, drawn at random, are compared with.
    """
    taste = material.taste
    seeds = material.drawn[material.places(seeds)]
    anchors = seeds if len(seeds) <= _NEAREST_OF else np.sort(rng.choice(seeds, _NEAREST_OF, replace=False))
    goals = _unit(material.sample_taste[material.places(anchors)]).T
    k = max(min(neighbours, len(anchors) - 1), 1)

    def score(rows: Rows, codes: U8) -> F64:
        cosine = _unit(taste.of(codes) if isinstance(taste, Axes) else taste[rows]) @ goals
        own = np.flatnonzero(np.isin(rows, anchors))
        cosine[own, np.searchsorted(anchors, rows[own])] = -np.inf
        return np.partition(cosine, cosine.shape[1] - k, axis=1)[:, -k:].mean(1, dtype=np.float64)[:, None]

    columns = taste.columns if isinstance(taste, Axes) else np.zeros(0, np.int32)
    return material.codes.mapped(columns, score, 1, progress=progress)[:, 0]


def _unit(space: F32) -> F32:
    return space / np.maximum(np.linalg.norm(space, axis=1, keepdims=True), 1e-12)
