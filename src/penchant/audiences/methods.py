"""One scorer a method: higher is more alike, and no seed is scored by what it taught."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from penchant.audiences import coupang, ensemble
from penchant.audiences.config import AudienceConfig
from penchant.audiences.ensemble import Ensemble
from penchant.audiences.pool import pool_of
from penchant.features.prepared import Prepared
from penchant.kernel.arrays import F32, F64, Bools, Rows
from penchant.kernel.errors import InputError
from penchant.kernel.progress import Progress

FOLDS = 5
_NEAREST_OF = 1000
_CHUNK = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What all methods draw on; arrays are in the order of the snapshot's users."""

    prepared: Prepared
    allowed: Bools  # (d,) features that are not hidden
    taste: F32  # (n, r)


def scorer(
    config: AudienceConfig, material: Material, *, progress: Progress
) -> Callable[[Rows, "F64 | None", Generator], F64]:
    """Return the function (seeds, their weights, rng) -> score of every user (n,)."""

    def learned(seeds: Rows, weight: "F64 | None", rng: Generator) -> F64:
        only = config.method
        chosen: Ensemble = config.ensemble
        if only != "auto":
            chosen = Ensemble(trees=only == "trees", linear=only == "linear", tastes=only == "taste")
        pool = pool_of(
            material.prepared.codes, material.taste, seeds, allowed=material.allowed, weight=weight
        )
        return ensemble.score(pool, chosen, rng=rng, progress=progress)[0]

    def published(seeds: Rows, weight: "F64 | None", rng: Generator) -> F64:
        return _published(config, material, seeds, rng, progress)

    def nearest(seeds: Rows, weight: "F64 | None", rng: Generator) -> F64:
        return nearest_seeds(material.taste, seeds, config.neighbours, rng=rng)

    if config.method == "coupang":
        return published
    return nearest if config.method == "embedding" else learned


def _published(
    config: AudienceConfig, material: Material, seeds: Rows, rng: Generator, progress: Progress
) -> F64:
    """Score everybody by the published method.

    The seeds' own scores come from features chosen and personas made without them, in five folds.
    """
    features = material.prepared.features
    everyone = np.arange(len(features.users), dtype=np.int32)
    divergence = coupang.divergences(features, seeds, everyone, progress=progress)
    top = coupang.select(np.where(material.allowed, divergence, 0.0), config.coupang)
    total = -coupang.distances(features, seeds, everyone, top, config.distance)
    order = rng.permutation(len(seeds))
    for fold in range(FOLDS):
        held, kept = seeds[order[fold::FOLDS]], np.delete(seeds[order], slice(fold, None, FOLDS))
        rest = np.sort(kept)
        without = np.where(material.allowed, coupang.divergences(features, rest, everyone), 0.0)
        try:
            chosen = coupang.select(without, config.coupang)
        except InputError:
            chosen = top  # the fold alone falls short of the threshold; the list does not
        total[held] = -coupang.distances(features, rest, everyone, chosen, config.distance)[held]
    return total


def nearest_seeds(space: F32, seeds: Rows, neighbours: int, *, rng: Generator) -> F64:
    """Return the mean cosine (n,) of each user to its ``neighbours`` nearest seeds, itself left out.

    At most 1,000 seeds, drawn at random, are compared with.
    """
    unit = space / np.maximum(np.linalg.norm(space, axis=1, keepdims=True), 1e-12)
    anchors = seeds if len(seeds) <= _NEAREST_OF else np.sort(rng.choice(seeds, _NEAREST_OF, replace=False))
    k = max(min(neighbours, len(anchors) - 1), 1)
    found = np.empty(len(space))
    place = {int(row): i for i, row in enumerate(anchors)}
    for first in range(0, len(space), _CHUNK):
        cosine = unit[first : first + _CHUNK] @ unit[anchors].T
        for row in range(first, min(first + _CHUNK, len(space))):
            if row in place:
                cosine[row - first, place[row]] = -np.inf
        best = np.partition(cosine, cosine.shape[1] - k, axis=1)[:, -k:]
        found[first : first + len(cosine)] = best.mean(1)
    return found
