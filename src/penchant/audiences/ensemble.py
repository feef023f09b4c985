"""The default method: three learners, none of which scores a user it learned from.

Positive-unlabelled learning by bagging (Mordelet and Vert 2014): a classifier of seeds against a random part
of the others, repeated, every user scored only by those that did not see it. One seed list then gives both
the ranking and, from the seeds' own scores, an honest measure of it.
"""

from collections.abc import Callable
from typing import Any, Final, TypeAlias

import msgspec
import numpy as np
from numpy.random import Generator
from scipy.stats import rankdata
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from penchant.audiences.pool import Pool
from penchant.kernel.arrays import F32, F64, Rows
from penchant.kernel.progress import Progress, Silent

FEW: Final = 50
"""Below this many seeds the logistic regression on all features stays out: it has nothing to average over."""
_CHUNK = 100_000

Predict: TypeAlias = Callable[[Rows], F64]
Fit: TypeAlias = Callable[[Pool, Rows, int], Predict]
"""Fits on some users of a pool (seeds and others), with a seed for its own randomness."""


class Ensemble(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which learners, and how hard each is held back.

    ``unlabelled`` and ``positives`` bound what one model learns from. The values were chosen by
    cross-validation within seed lists.
    """

    trees: bool = True
    linear: bool = True
    tastes: bool = True
    tree_bags: int = 5  # each two models, on the two halves of everybody
    tree_features: int = 60
    tree_rounds: int = 80
    linear_features: int = 2000
    linear_c: float = 1e-4
    taste_c: float = 1e-3
    folds: int = 5
    unlabelled: int = 20_000
    positives: int = 20_000


def score(
    pool: Pool, config: Ensemble, *, rng: Generator, progress: Progress | None = None
) -> tuple[F64, dict[str, F64]]:
    """Return how alike every user is (n,), the mean rank in [0, 1] over the learners, and each one's own."""
    quiet = Silent() if progress is None else progress
    plans: dict[str, tuple[Fit, int, int]] = {}
    if config.trees:
        plans["trees"] = (_trees(config), 2, config.tree_bags)
    if config.linear and len(pool.seeds) >= FEW:
        plans["linear"] = (_linear(config), config.folds, 1)
    if config.tastes:
        plans["taste"] = (_tastes(config), config.folds, 1)
    if not plans:
        plans["trees"] = (_trees(config), 2, config.tree_bags)
    found: dict[str, F64] = {}
    for name, (fit, folds, repeats) in plans.items():
        quiet.start(f"scoring by {name}", folds * repeats)
        with threadpool_limits(1):  # a product's last digit depends on how many threads share it
            raw = cross_fit(pool, fit, folds=folds, repeats=repeats, config=config, rng=rng, progress=quiet)
        found[name] = rankdata(raw) / len(raw)
    return np.mean(list(found.values()), axis=0), found


def cross_fit(
    pool: Pool, fit: Fit, *, folds: int, repeats: int, config: Ensemble, rng: Generator, progress: Progress
) -> F64:
    """Return each user's mean score (n,) by models that were fitted without it."""
    total = np.zeros(pool.size)
    seeds, marks = pool.seeds, pool.is_seed
    others = np.flatnonzero(~marks)
    for repeat in range(repeats):
        fold = np.empty(pool.size, np.int32)
        fold[rng.permutation(others)] = np.arange(len(others)) % folds
        fold[rng.permutation(seeds)] = np.arange(len(seeds)) % folds
        for held in range(folds):
            inside = fold != held
            positive = _some(seeds[inside[seeds]], config.positives, rng)
            negative = _some(others[inside[others]], config.unlabelled, rng)
            rows = np.sort(np.concatenate([positive, negative])).astype(np.int32)
            predict = fit(pool, rows, repeat * folds + held)
            out = np.flatnonzero(~inside).astype(np.int32)
            for first in range(0, len(out), _CHUNK):
                part = out[first : first + _CHUNK]
                total[part] += predict(part)
            progress.advance()
    return total / repeats


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
    def fit(pool: Pool, rows: Rows, seed: int) -> Predict:
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
        return lambda users: np.asarray(
            model.predict(pool.values(columns, users), raw_score=True, num_threads=1), np.float64
        )

    return fit


def _linear(config: Ensemble) -> Fit:
    def fit(pool: Pool, rows: Rows, seed: int) -> Predict:
        positive, weight = _labels(pool, rows)
        columns = _varied(pool)
        values = pool.values(columns, rows)
        if len(columns) > config.linear_features:
            pick = _strongest(values, positive, config.linear_features)
            columns, values = columns[pick], values[:, pick]
        return _logistic(values, positive, weight, config.linear_c, lambda u: pool.values(columns, u))

    return fit


def _tastes(config: Ensemble) -> Fit:
    def fit(pool: Pool, rows: Rows, seed: int) -> Predict:
        account = pool.account

        def design(users: Rows) -> F32:
            return np.hstack([pool.taste[users], pool.values(account, users)])

        positive, weight = _labels(pool, rows)
        return _logistic(design(rows), positive, weight, config.taste_c, design)

    return fit


def _logistic(values: F32, positive: Any, weight: F64, c: float, design: Callable[[Rows], F32]) -> Predict:
    """Fit a ridge logistic regression on standardised columns."""
    mean, spread = values.mean(0), values.std(0) + np.float32(1e-6)
    model: Any = LogisticRegression(C=c, max_iter=300)
    model.fit((values - mean) / spread, positive, sample_weight=weight / weight.mean())
    slope = (model.coef_[0] / spread).astype(np.float64)
    offset = float(model.intercept_[0] - mean @ slope)
    return lambda users: design(users).astype(np.float64) @ slope + offset
