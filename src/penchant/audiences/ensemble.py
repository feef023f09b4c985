"""The default method: five learners, none of which scores a user it learned from.

Positive-unlabelled learning by bagging (Mordelet and Vert 2014): a classifier of seeds against a random part
of the others, repeated, every user scored only by those that did not see it. One seed list then gives both
the ranking and, from the seeds' own scores, an honest measure of it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import msgspec
import numpy as np
from numpy.random import Generator
from threadpoolctl import threadpool_limits

from penchant.audiences.learners import Additive, Leaning, Model, forest_of, gather
from penchant.audiences.nearness import nearness
from penchant.audiences.pool import Pool, Population
from penchant.features.taste import Axes, affinity_of
from penchant.kernel.arrays import F32, F64, U8, AnyArray, Rows, readonly
from penchant.kernel.progress import Progress, Silent

FEW: Final = 50
"""Below this many seeds the logistic regression on all features never ranks alone."""
LEAST_CATEGORIES: Final = 32
"""Of fewer categories one says little of another."""
SHORT: Final = 1000
"""Below so many seeds a ranking depends on how the list was cut: models keep more of it and are repeated."""
Fit: TypeAlias = Callable[[Pool, Rows, int], Model]
"""Fits on some users of a pool (seeds and others), with a seed for its own randomness."""


class Ensemble(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which learners, and how hard each is held back.

    ``trees`` and ``linear`` see all features, ``tastes`` the dimensions of taste, ``affinity`` how much of
    each category the others let expect, ``items`` single items where they are at hand. ``unlabelled`` and
    ``positives`` bound what one model learns from. The values were chosen by cross-validation within seed
    lists, and on lists that no benchmark measures.
    """

    trees: bool = True
    linear: bool = True
    tastes: bool = True
    affinity: bool = True
    items: bool = True
    tree_bags: int = 5  # each two models, on the two halves of everybody
    tree_features: int = 60
    tree_rounds: int = 80
    linear_features: int = 2000
    linear_c: float = 1e-4
    taste_c: float = 1e-3
    affinity_c: float = 1e-3
    folds: int = 5
    short_folds: int = 10  # of short lists, as all that follows
    linear_repeats: int = 2
    taste_repeats: int = 5
    affinity_repeats: int = 2
    unlabelled: int = 20_000
    positives: int = 20_000


def score(
    pool: Pool,
    config: Ensemble,
    *,
    rng: Generator,
    population: Population | None = None,
    progress: Progress | None = None,
) -> tuple[F64, dict[str, F64]]:
    """Return how alike every user is (n,), the mean rank in [0, 1] over the learners, and each one's own.

    A learner counts by the square of its edge: where one category says nothing of another, affinity hardly.
    Models learn from the pool; scored is the ``population`` that it was drawn from, in one pass over its
    codes. Without one the pool is everybody.
    """
    if population is None:
        population = Population(codes=pool.codes, seeds=pool.seeds, taste=pool.taste)
    quiet = Silent() if progress is None else progress
    fitted: dict[str, list[Fold]] = {}
    for name, (fit, folds, repeats) in _plans(config, pool).items():
        quiet.start(f"learning {name}", folds * repeats)
        with threadpool_limits(1):  # a product's last digit depends on how many threads share it
            fitted[name] = cross_fit(
                population, pool, fit, folds=folds, repeats=repeats, config=config, rng=rng, progress=quiet
            )
    found = score_all(population, fitted, progress=quiet)
    if config.items and population.items is not None:
        learned = pool.rows[pool.seeds]
        found["items"] = nearness(population.items, population.is_seed, learned, pool.weight[pool.seeds])
    from scipy.stats import rankdata  # heavy: only here

    ranked = {name: rankdata(raw) / len(raw) for name, raw in found.items()}
    weights = [_edge(ranks, population) ** 2 for ranks in ranked.values()]
    return np.average(list(ranked.values()), axis=0, weights=weights), ranked


def _edge(ranked: F64, population: Population) -> float:
    """Return how far a learner's AUC is above chance, at least .01, by the seeds that it did not learn from.

    ``ranked`` (n,) are ranks in (0, 1].
    """
    n, s = population.size, len(population.seeds)
    above = ranked[population.seeds].sum() * n - s * (s + 1) / 2
    return max(above / (s * max(n - s, 1)) - 0.5, 0.01)


def _plans(config: Ensemble, pool: Pool) -> dict[str, tuple[Fit, int, int]]:
    """Return what is fitted, in how many folds and how often: trees where nothing else could be."""
    plans: dict[str, tuple[Fit, int, int]] = {}
    if config.trees:
        plans["trees"] = (_trees(config), 2, config.tree_bags)
    short = len(pool.seeds) < SHORT
    folds = config.short_folds if short else config.folds
    if config.linear and (plans or config.tastes or len(pool.seeds) >= FEW):
        plans["linear"] = (_linear(config), folds, config.linear_repeats if short else 1)
    if config.tastes:
        plans["taste"] = (_tastes(config), folds, config.taste_repeats if short else 1)
    if config.affinity:
        affinity = affinity_of(pool.codes, pool.usable)
        if len(affinity.columns) >= LEAST_CATEGORIES:
            fit = _affinities(config, affinity)
            plans["affinity"] = (fit, folds, config.affinity_repeats if short else 1)
    return plans or {"trees": (_trees(config), 2, config.tree_bags)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """Models that together score everybody once: user u by ``models[of[u]]``, which did not learn from u."""

    of: AnyArray  # (n,) int8
    models: Sequence[Model]


def cross_fit(
    population: Population,
    pool: Pool,
    fit: Fit,
    *,
    folds: int,
    repeats: int,
    config: Ensemble,
    rng: Generator,
    progress: Progress,
) -> list[Fold]:
    """Split the population ``repeats`` times and fit a model beside each fold, on users of the pool."""
    found: list[Fold] = []
    others = np.flatnonzero(~population.is_seed)
    mine, rest = pool.seeds, np.flatnonzero(~pool.is_seed)
    for repeat in range(repeats):
        of = np.empty(population.size, np.int8)
        of[rng.permutation(others)] = np.arange(len(others)) % folds
        of[rng.permutation(population.seeds)] = np.arange(len(population.seeds)) % folds
        models: list[Model] = []
        for held in range(folds):
            inside = of[pool.rows] != held
            positive = _some(mine[inside[mine]], config.positives, rng)
            negative = _some(rest[inside[rest]], config.unlabelled, rng)
            chosen = np.sort(np.concatenate([positive, negative])).astype(np.int32)
            models.append(fit(pool, chosen, repeat * folds + held))
            progress.advance()
        found.append(Fold(of=readonly(of), models=models))
    return found


def score_all(
    population: Population, fitted: Mapping[str, Sequence[Fold]], *, progress: Progress
) -> dict[str, F64]:
    """Return for each learner every user's mean score (n,), by one pass over the codes."""
    taste = population.taste
    used = [model.columns for folds in fitted.values() for fold in folds for model in fold.models]
    if isinstance(taste, Axes):
        used.append(taste.columns)
    columns = np.unique(np.concatenate(used))

    def score(rows: Rows, codes: U8) -> F64:
        found = np.zeros((len(rows), len(fitted)))
        with threadpool_limits(1, user_api="blas"):
            if isinstance(taste, Axes):
                space = taste.of(codes[np.searchsorted(columns, taste.columns)])
            else:
                space = taste[rows]
            for place, folds in enumerate(fitted.values()):
                for fold in folds:
                    of = fold.of[rows]
                    for held, model in enumerate(fold.models):
                        mine = np.flatnonzero(of == held)
                        part = gather(codes, np.searchsorted(columns, model.columns), mine)
                        found[mine, place] += model.score(part, space[mine]) / len(folds)
        return found

    scores = population.codes.mapped(columns, score, len(fitted), progress=progress)
    return {name: np.ascontiguousarray(scores[:, place]) for place, name in enumerate(fitted)}


def _some(rows: "Rows | Any", most: int, rng: Generator) -> Any:
    return rows if len(rows) <= most else rng.choice(rows, most, replace=False)


def _labels(pool: Pool, rows: Rows) -> tuple[Any, F64]:
    """Return who of ``rows`` is a seed, and weights that give both sides the same sum."""
    positive = pool.weight[rows] > 0
    weight = np.where(positive, pool.weight[rows], 1.0)
    weight[positive] *= (~positive).sum() / max(weight[positive].sum(), 1e-12)
    return positive, weight


def _varied(pool: Pool, share: float = 0.02) -> Rows:
    """Return the usable features in which at least this share of the users leaves the commonest code."""
    rest = pool.size - pool.codes.counts.max(1)
    return np.flatnonzero(pool.usable & (rest >= share * pool.size)).astype(np.int32)


def _strongest(values: F32, positive: Any, most: int) -> Any:
    """Return the places of the features whose mean differs most, in standard deviations."""
    gap = np.abs(values[positive].mean(0) - values[~positive].mean(0)) / (values.std(0) + 1e-6)
    return np.sort(np.argsort(-gap, kind="stable")[:most])


def _trees(config: Ensemble) -> Fit:
    def fit(pool: Pool, rows: Rows, seed: int) -> Model:
        import lightgbm as lgb  # heavy, and needs the system's libgomp

        positive, weight = _labels(pool, rows)
        columns = _varied(pool)
        values = pool.values(columns, rows)
        columns = columns[(pick := _strongest(values, positive, config.tree_features))]
        parameters = {
            "objective": "binary",
            "num_leaves": 4,
            "learning_rate": 0.05,
            "feature_fraction": 0.3,
            "min_data_in_leaf": 5,
            "min_sum_hessian_in_leaf": 1.0,
            "lambda_l2": 5.0,
            "max_bin": 32,
            "seed": seed,
            "num_threads": 1,
            "deterministic": True,
            "force_col_wise": True,
            "verbose": -1,
        }
        data = lgb.Dataset(values[:, pick], positive.astype(np.float64), weight=weight, params=parameters)
        model: Any = lgb.train(parameters, data, config.tree_rounds)
        return forest_of(model.dump_model()["tree_info"], columns, pool.ranks[columns])

    return fit


def _linear(config: Ensemble) -> Fit:
    def fit(pool: Pool, rows: Rows, seed: int) -> Model:
        positive, weight = _labels(pool, rows)
        columns = _varied(pool)
        values = pool.values(columns, rows)
        if len(columns) > config.linear_features:
            pick = _strongest(values, positive, config.linear_features)
            columns, values = columns[pick], values[:, pick]
        slope, offset = _logistic(values, positive, weight, config.linear_c)
        return _additive(pool, columns, slope, offset)

    return fit


def _tastes(config: Ensemble) -> Fit:
    def fit(pool: Pool, rows: Rows, seed: int) -> Model:
        positive, weight = _labels(pool, rows)
        values = np.hstack([pool.taste[rows], pool.values(pool.account, rows)])
        slope, offset = _logistic(values, positive, weight, config.taste_c)
        return _additive(pool, pool.account, slope, offset)

    return fit


def _affinities(config: Ensemble, affinity: Axes) -> Fit:
    def fit(pool: Pool, rows: Rows, seed: int) -> Model:
        positive, weight = _labels(pool, rows)
        expected = affinity.of(gather(pool.codes.codes, affinity.columns, rows))
        values = np.hstack([expected, pool.values(pool.account, rows)])
        slope, offset = _logistic(values, positive, weight, config.affinity_c)
        k = len(affinity.columns)
        return Leaning(
            columns=np.concatenate([affinity.columns, pool.account]),
            lean=readonly(affinity.weight * (affinity.axes @ slope[:k])[:, None]),
            square=readonly(affinity.weight.astype(np.float64) ** 2),
            table=readonly(pool.ranks[pool.account] * slope[k:, None]),
            offset=offset,
        )

    return fit


def _logistic(values: F32, positive: Any, weight: F64, c: float) -> tuple[F64, float]:
    """Fit a ridge logistic regression on standardised columns; return slopes and offset for raw ones."""
    mean, spread = values.mean(0), values.std(0) + np.float32(1e-6)
    from sklearn.linear_model import LogisticRegression  # heavy: only here

    model: Any = LogisticRegression(C=c, max_iter=300)
    model.fit((values - mean) / spread, positive, sample_weight=weight / weight.mean())
    slope = (model.coef_[0] / spread).astype(np.float64)
    return slope, float(model.intercept_[0] - mean @ slope)


def _additive(pool: Pool, columns: Rows, slope: F64, offset: float) -> Model:
    """Return the model of slopes over taste, if there are more than columns, and the columns' ranks."""
    tastes = len(slope) - len(columns)
    table = pool.ranks[columns] * slope[tastes:, None]
    return Additive(columns=columns, table=readonly(table), slope=readonly(slope[:tastes]), offset=offset)
