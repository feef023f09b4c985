"""Two models of how people answer, fitted on what real users did: chances, and how good they are.

For user u and item i on offer,   P(u likes i) = σ(w0 + w1 log appeal_i + w2 s_ui),   where appeal is the
share of users who took i in the simulated days and s_ui is

    taste    x_u·y_i, factors of implicit ALS over everything the users did
    habit    log of u's share of i's category over everybody's, both smoothed

The factors, shares and appeals see a part A (70%) of what was taken anew in those days, the weights are
fitted on a part B, and AUC and calibration are of a part C. What was not taken is drawn at random, as nobody
logged what was shown: a chance is relative to that draw, so w0 is moved until new users like what recent
popularity shows first with the mean chance that the settings say.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from penchant.data.snapshot import Snapshot
from penchant.kernel.arrays import F32, F64, AnyArray, readonly
from penchant.kernel.errors import InputError
from penchant.kernel.progress import Silent
from penchant.models.ials import Ials
from penchant.simulation.scene import Scene
from penchant.simulation.settings import SimulationSettings

MODELS = ("taste", "habit")
_NEGATIVES = 4
_BINS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """How good a response model is on pairs it was not fitted on."""

    model: str
    weights: tuple[float, ...]  # of log appeal and of s, both standardised
    auc: float
    auc_appeal: float  # of the appeal of the item alone
    pairs: int
    predicted: tuple[float, ...]  # mean chance of each tenth of the pairs
    observed: tuple[float, ...]  # the share of them that was taken

    @property
    def calibration_error(self) -> float:
        """Return the mean distance between predicted and observed over the tenths."""
        return float(np.abs(np.array(self.predicted) - np.array(self.observed)).mean())


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The chance (n, N) that a simulated user likes an item on offer, and how it was fitted."""

    chance: F32
    fit: Fit


def fit_worlds(scene: Scene, settings: SimulationSettings, *, rng: Generator) -> tuple[World, ...]:
    """Return one world for each of `MODELS`.

    Raises:
        InputError: too little was taken anew in the simulated days.
    """
    user, item, part = _new_pairs(scene, rng)
    if (part > 0).sum() < 100:
        raise InputError(
            f"only {len(user)} things on offer were taken in the simulated days, too few to fit answers.",
            fix="Widen --days or import more interactions.",
        )
    told = _without(scene, user[part > 0], item[part > 0])
    appeal = _appeal(scene, user[part == 0], item[part == 0])
    signals = {"taste": _taste(told, scene, settings, rng), "habit": _habit(told, scene)}
    train, test = (_with_negatives(scene, user[part == p], item[part == p], rng) for p in (1, 2))
    return tuple(_fit(name, signals[name], appeal, train, test, scene, settings) for name in MODELS)


def _new_pairs(scene: Scene, rng: Generator) -> tuple[AnyArray, AnyArray, AnyArray]:
    """Return (user row, position on offer, part) of what was taken in the simulated days and never before."""
    events, place = scene.everything.interactions, _places(scene)
    n = len(scene.known.items)
    own = place[events.item] >= 0
    key = events.user.astype(np.int64) * n + place[events.item]
    during = own & (events.timestamp >= scene.start) & (events.timestamp < scene.end)
    pairs = np.setdiff1d(key[during], key[own & (events.timestamp < scene.start)])
    return pairs // n, pairs % n, rng.choice(3, len(pairs), p=[0.7, 0.15, 0.15])


def _without(scene: Scene, user: AnyArray, item: AnyArray) -> Snapshot:
    """Return everything but what parts B and C hold."""
    everything, events = scene.everything, scene.everything.interactions
    hidden = user.astype(np.int64) * everything.n_items + scene.known.items[item]
    key = events.user.astype(np.int64) * everything.n_items + events.item
    return everything.with_interactions(events.select(~np.isin(key, hidden)))


def _appeal(scene: Scene, user: AnyArray, item: AnyArray) -> F64:
    count = np.bincount(item, minlength=len(scene.known.items))
    return np.log((count + 1.0) / (len(np.unique(user)) + 1.0))


def _taste(told: Snapshot, scene: Scene, settings: SimulationSettings, rng: Generator) -> F64:
    model = Ials(factors=settings.factors).train(told, rng=rng, progress=Silent())
    return model.user_factors.astype(np.float64) @ model.index.by_row()[scene.known.items].T


def _habit(told: Snapshot, scene: Scene, *, smoothing: float = 10.0) -> F64:
    """log((n_uc + m p_c) / (n_u + m)) - log p_c, over the items on offer and their categories."""
    place, known = _places(scene), scene.known
    at = place[told.interactions.item]
    kept = at >= 0
    c = len(known.categories)
    flat = told.interactions.user[kept].astype(np.int64) * c + known.category[at[kept]]
    count = np.bincount(flat, minlength=told.n_users * c).reshape(told.n_users, c).astype(np.float64)
    usual = (count.sum(axis=0) + 1) / (count.sum() + c)
    share = (count + smoothing * usual) / (count.sum(axis=1, keepdims=True) + smoothing)
    return np.log(share / usual)[:, known.category]


def _with_negatives(
    scene: Scene, user: AnyArray, item: AnyArray, rng: Generator
) -> tuple[AnyArray, AnyArray, AnyArray]:
    """Return (user, item, taken) with four pairs that were never taken beside each that was."""
    n = len(scene.known.items)
    events, place = scene.everything.interactions, _places(scene)
    own = place[events.item] >= 0
    ever = events.user[own].astype(np.int64) * n + place[events.item[own]]
    who = np.repeat(user, _NEGATIVES)
    what = rng.integers(0, n, len(who))
    fresh = ~np.isin(who * n + what, ever)
    taken = np.concatenate([np.ones(len(user), np.int64), np.zeros(int(fresh.sum()), np.int64)])
    return np.concatenate([user, who[fresh]]), np.concatenate([item, what[fresh]]), taken


def _fit(
    name: str,
    signal: F64,
    appeal: F64,
    train: tuple[AnyArray, AnyArray, AnyArray],
    test: tuple[AnyArray, AnyArray, AnyArray],
    scene: Scene,
    settings: SimulationSettings,
) -> World:
    sd = signal.std() or 1.0
    level, spread = appeal.mean(), appeal.std() or 1.0

    def features(user: AnyArray, item: AnyArray) -> F64:
        return np.stack([(appeal[item] - level) / spread, signal[user, item] / sd], axis=1)

    make: Any = LogisticRegression(C=100.0)
    model = make.fit(features(*train[:2]), train[2])
    alone = LogisticRegression(C=100.0).fit(features(*train[:2])[:, :1], train[2])
    x = features(*test[:2])
    chance = model.predict_proba(x)[:, 1]
    order = np.array_split(np.argsort(chance, kind="stable"), _BINS)
    users = scene.known.users
    logit = model.decision_function(
        np.stack(
            [
                np.broadcast_to((appeal - level) / spread, (len(users), len(appeal))).ravel(),
                (signal[users] / sd).ravel(),
            ],
            axis=1,
        )
    ).reshape(len(users), len(appeal))
    first = np.argsort(-scene.known.recent, kind="stable")[: settings.slots]
    shift = _shift(logit[: scene.known.n_new, first], settings.rate)
    return World(
        chance=readonly(expit(logit + shift).astype(np.float32)),
        fit=Fit(
            model=name,
            weights=tuple(float(w) for w in model.coef_[0]),
            auc=float(roc_auc_score(test[2], chance)),
            auc_appeal=float(roc_auc_score(test[2], alone.predict_proba(x[:, :1])[:, 1])),
            pairs=len(test[2]),
            predicted=tuple(float(chance[rows].mean()) for rows in order),
            observed=tuple(float(test[2][rows].mean()) for rows in order),
        ),
    )


def _shift(logit: F64, rate: float) -> float:
    """Return what to add to every logit so that the mean chance is ``rate``, by bisection."""
    low, high = -50.0, 50.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if expit(logit + middle).mean() < rate else (low, middle)
    return (low + high) / 2


def _places(scene: Scene) -> AnyArray:
    """Return the position on offer of each item row, -1 where it is not."""
    place = np.full(scene.everything.n_items, -1, np.int64)
    place[scene.known.items] = np.arange(len(scene.known.items))
    return place
