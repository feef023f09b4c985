"""The next best action: the probability that a user takes an action within a time of being asked to.

Two models, one on the other: what kind of user takes which action (`penchant.models.action_logit`), and what
the user's own trials say beside that (`penchant.models.action_belief`). How much of the latter there is, ω²
and ν², is what predicts the newest fifth of the trials best, given what came before each; on the same fifth
the metrics on the card are measured, before the final fit on everything.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import product
from typing import Any, ClassVar, Self

import msgspec
import numpy as np
import pyarrow as pa
from numpy.random import Generator

from penchant.data.events import Value
from penchant.data.interactions import Interactions
from penchant.data.snapshot import Snapshot
from penchant.features.user_encoder import UserEncoder
from penchant.features.user_features import UserColumn, encode_users, guess_columns
from penchant.kernel.arrays import F32, F64, I64, AnyArray, readonly
from penchant.kernel.arrow import ArrowTable
from penchant.kernel.clock import DAY
from penchant.kernel.errors import InputError
from penchant.kernel.ids import Vocab
from penchant.kernel.names import did_you_mean
from penchant.kernel.progress import Progress
from penchant.models.action_belief import predictions
from penchant.models.action_logit import Logits, fit_logits
from penchant.models.action_trials import Trials, haste_of, rates_of, trials_of, weights_of
from penchant.models.base import Card, Model, card_for

ABOUT_TIME = ("creation_timestamp", "action_expiration_timestamp", "repeat_frequency")
"""Columns of actions that say when they may be offered, not what they are."""
_HELD_OUT = 0.2
_ENOUGH = 200  # trials held out, to learn ω² and ν² from
_VARIANCES = (0.0, 0.1, 0.25, 0.5, 1.0, 2.0)
_GUESS = (0.5, 0.25)  # ω², ν² where there are too few trials to tell
_SHARED_BY = 3  # actions at least, for a property of theirs to speak for others
_BINS = 10
_BLOCK = 100_000
_TOO_FEW = "There are too few trials to measure on: what is usual says most."


class NextBestAction(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``period_days`` is within what time an action is to be taken.

    ``columns`` are those of the users' table to learn from, all that can serve when empty, as at most
    ``most_features`` numbers. ``half_life_days`` lets older trials count less.
    """

    name: ClassVar[str] = "next_best_action"

    period_days: float = 14.0
    columns: tuple[str, ...] = ()
    most_features: int = 64
    half_life_days: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.period_days <= 365:
            raise ValueError(f"period_days must lie in (0, 365], got {self.period_days}")
        if not 1 <= self.most_features <= 512:
            raise ValueError(f"most_features must lie in [1, 512], got {self.most_features}")
        if self.half_life_days is not None and self.half_life_days <= 0:
            raise ValueError(f"half_life_days must be above 0, got {self.half_life_days}")

    def train(
        self, snapshot: Snapshot, *, rng: Generator, progress: Progress, previous: Model | None = None
    ) -> "NextBestActionModel":
        """Train on the snapshot's actions; without any, the model knows none and takes what comes."""
        del rng, previous  # nothing is drawn, and the maximum is the same from wherever it is sought
        actions = snapshot.actions
        responses = Interactions.none() if actions is None else actions.interactions
        now = 0.0 if actions is None else actions.cutoff
        users, about = self._users(snapshot.user_table), _about(actions)
        work = _Work(
            x=np.concatenate([np.ones((snapshot.n_users, 1), np.float32), users.values], axis=1),
            about=about.values.astype(np.float64),
            period=self.period_days * DAY,
            half_life=None if self.half_life_days is None else self.half_life_days * DAY,
        )
        progress.start("actions", 2)
        (ready, liking), metrics = work.chosen(responses, now)
        progress.advance()
        fitted = work.fit(responses, now)
        progress.advance()
        fit = fitted.logits
        return NextBestActionModel(
            card=card_for(self, snapshot, metrics=metrics, notes=[] if metrics else [_TOO_FEW]),
            items=Vocab.of([]) if actions is None else actions.items,
            common=fit.common,
            own=fit.own,
            doubt=fit.doubt,
            nature=fit.kind,
            average=_average(fitted, work),
            rates=readonly(fitted.rates),
            middle=readonly(work.middle),
            chances=readonly(np.array([fit.differ, ready, liking, fitted.haste, work.period])),
            users_code=users.encoder.to_array(),
            users_kept=users.kept,
            about_code=about.encoder.to_array(),
            about_kept=about.kept,
        )

    def _users(self, table: ArrowTable) -> "_Columns":
        columns = guess_columns(table)
        for name in self.columns:
            if name not in table.column_names[1:]:
                raise InputError(
                    f"users have no column '{name}'.", fix=did_you_mean(name, table.column_names[1:])
                )
        chosen = [column for column in columns if not self.columns or column.column in self.columns]
        return _Columns.of(table, chosen, self.most_features)


@dataclass(frozen=True, kw_only=True)
class NextBestActionModel:
    """d numbers an action, and how users are read. Its items are actions; it knows users by features."""

    kind: ClassVar[str] = "next_best_action"

    card: Card
    items: Vocab
    common: F64  # (d,)
    own: F64  # (n_actions, d)
    doubt: F64  # (n_actions,) variance that is left in each action's log-odds
    nature: F64  # (q,) what the properties of an action say of it
    average: F64  # (n_actions,) log-odds with those who were asked
    rates: F64  # (n_actions,) shares of trials in which each was taken
    middle: F64  # (d,) mean features
    chances: F64  # (5,) τ², ω², ν², λ and the period in seconds
    users_code: AnyArray
    users_kept: I64
    about_code: AnyArray
    about_kept: I64

    @property
    def users(self) -> Vocab:
        """Return nobody: users are known by their features."""
        return Vocab.of([])

    @cached_property
    def _encoders(self) -> tuple[UserEncoder, UserEncoder]:
        return UserEncoder.of_array(self.users_code), UserEncoder.of_array(self.about_code)

    @property
    def differ(self) -> float:
        """Return τ², the variance of the log-odds of an action nothing is known of."""
        return float(self.chances[0])

    @property
    def haste(self) -> float:
        """Return λ, a second."""
        return float(self.chances[3])

    @property
    def period(self) -> float:
        """Return within how many seconds an action is to be taken."""
        return float(self.chances[4])

    def features(self, properties: Mapping[str, Value]) -> F64:
        """Return the features (d,) of a user with these properties."""
        return np.append(1.0, self._encoders[0].row(properties)[0][self.users_kept].astype(np.float64))

    def logits(self, x: F64) -> F64:
        """Return the log-odds (n_actions,) that a user with features ``x`` takes each action."""
        return (self.common + self.own) @ x

    def lean(self, properties: Mapping[str, Value]) -> float:
        """Return what the properties of an action say of it, in log-odds beside those common to all."""
        return float(self._encoders[1].row(properties)[0][self.about_kept].astype(np.float64) @ self.nature)

    def probabilities(
        self, responses: Interactions, logits: F64, doubts: F64, rates: F64, *, now: float
    ) -> F64:
        """Return P(taken) of n actions now, by one user with these ``responses``, whose items are 0..n-1.

        ``logits``, ``doubts`` and ``rates`` (n,) are of the actions.
        """
        trials = trials_of(responses, period=self.period, now=now)
        n = len(logits)
        # As if asked about every action at the end of time: a trial that weighs nothing.
        asked = Trials(
            user=np.zeros(n, np.int32),
            action=np.arange(n, dtype=np.int32),
            start=np.full(n, np.inf),
            end=np.full(n, np.inf),
            taken=np.zeros(n),
        )
        every = Trials.joined(trials.of_one(), asked)
        weight = np.zeros(len(every))
        weight[: len(trials)] = weights_of(
            trials, rates[trials.action], haste=self.haste, period=self.period, now=now
        )
        of = every.action
        found = predictions(
            every,
            weight,
            logits[of],
            doubts[of],
            ready=float(self.chances[1]),
            liking=float(self.chances[2]),
            n_actions=n,
        )
        return found[len(trials) :]

    def arrays(self) -> Mapping[str, AnyArray]:
        """Return all arrays to save."""
        return {**self.items.arrays("items"), **{name: getattr(self, name) for name in _ARRAYS}}

    @classmethod
    def open(cls, card: Card, arrays: Mapping[str, AnyArray]) -> Self:
        """Open what `arrays` named."""
        own: dict[str, Any] = {name: np.asarray(arrays[name]) for name in _ARRAYS}
        return cls(card=card, items=Vocab.from_arrays(arrays, "items"), **own)


_ARRAYS = tuple(field.name for field in fields(NextBestActionModel) if field.name not in ("card", "items"))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Columns:
    """The columns of a table as numbers: those kept of what the encoder gives."""

    values: F32  # (n, d)
    kept: I64  # (d,)
    encoder: UserEncoder

    @classmethod
    def of(cls, table: ArrowTable, columns: Sequence[UserColumn], most: int, least: int = 1) -> "_Columns":
        """Keep at most ``most`` numbers, those that vary most, of those that ``least`` rows have or more."""
        encoder = UserEncoder.fit(table, columns)
        if not columns or table.num_rows == 0:
            return cls(values=np.zeros((table.num_rows, 0), np.float32), kept=_NONE, encoder=encoder)
        values = encode_users(table, columns).values
        varies = values.var(axis=0, dtype=np.float64)
        varies[(values != 0).sum(axis=0) < least] = 0.0
        kept = np.argsort(-varies, kind="stable")[:most]
        kept = readonly(np.sort(kept[varies[kept] > 0]))
        return cls(values=values[:, kept], kept=kept, encoder=encoder)


_NONE = readonly(np.zeros(0, np.int64))


def _about(actions: Snapshot | None) -> _Columns:
    """Return what is known of actions that speaks for several of them."""
    table = pa.table({"item_id": pa.array([], pa.string())}) if actions is None else actions.item_table
    columns = [column for column in guess_columns(table) if column.column not in ABOUT_TIME]
    return _Columns.of(table, columns, table.num_rows // _SHARED_BY, _SHARED_BY)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fitted:
    """A fit, and what it was made from."""

    logits: Logits
    trials: Trials
    weight: F64
    rates: F64
    haste: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """One training."""

    x: F32  # (n_users, 1 + d)
    about: F64  # (n_actions, q)
    period: float
    half_life: float | None

    @property
    def middle(self) -> F64:
        """Return the mean features."""
        if len(self.x) == 0:
            return np.eye(1, self.x.shape[1])[0]
        return self.x.mean(axis=0, dtype=np.float64)

    def fit(self, responses: Interactions, now: float) -> _Fitted:
        """Fit on what was known at a time."""
        known = responses.select(responses.timestamp <= now)
        trials = trials_of(known, period=self.period, now=now)
        rates, haste = rates_of(trials, len(self.about)), haste_of(trials, period=self.period)
        weight = weights_of(trials, rates[trials.action], haste=haste, period=self.period, now=now)
        old = np.ones(len(trials))
        if self.half_life is not None:
            old = np.exp2(-(now - trials.start) / self.half_life)
        logits = fit_logits(
            self.x, trials.user, trials.action, old * trials.taken, old * weight, about=self.about
        )
        return _Fitted(logits=logits, trials=trials, weight=weight, rates=rates, haste=haste)

    def chosen(self, responses: Interactions, now: float) -> tuple[tuple[float, float], dict[str, float]]:
        """Return ω² and ν², and how good the newest trials are foretold; no metrics with too few of them."""
        trials = trials_of(responses, period=self.period, now=now)
        if len(trials) < _ENOUGH / _HELD_OUT:
            return _GUESS, {}
        since = float(np.quantile(trials.start, 1 - _HELD_OUT))
        before = self.fit(responses, since)
        tested = (trials.start > since) & ~trials.open
        if tested.sum() < _ENOUGH / 2:
            return _GUESS, {}
        weight = weights_of(
            trials, before.rates[trials.action], haste=before.haste, period=self.period, now=now
        )
        logit = _of_trials(before.logits, self.x, trials)
        doubt = before.logits.doubt[trials.action]
        taken = trials.taken[tested]

        def foretold(chances: tuple[float, float]) -> F64:
            ready, liking = chances
            n = len(self.about)
            return predictions(trials, weight, logit, doubt, ready=ready, liking=liking, n_actions=n)[tested]

        best = min(product(_VARIANCES, _VARIANCES), key=lambda chances: _log_loss(foretold(chances), taken))
        p, base = foretold(best), before.rates[trials.action[tested]]
        return best, {
            "trials": float(len(trials)),
            "tested": float(len(taken)),
            "taken_rate": float(taken.mean()),
            "log_loss": _log_loss(p, taken),
            "log_loss_of_action_rates": _log_loss(base, taken),
            "auc": _auc(p, taken),
            "calibration_error": _calibration_error(p, taken),
        }


def _of_trials(fit: Logits, x: F32, trials: Trials) -> F64:
    """Return f of each trial, a block of them at a time."""
    out = np.empty(len(trials))
    for first in range(0, len(trials), _BLOCK):
        at = slice(first, first + _BLOCK)
        weights = fit.common + fit.own[trials.action[at]]
        out[at] = np.einsum("ij,ij->i", x[trials.user[at]].astype(np.float64), weights)
    return out


def _average(fitted: _Fitted, work: _Work) -> F64:
    """Return each action's log-odds with those who were asked; with the mean user where nobody was."""
    trials, weight, n_actions = fitted.trials, fitted.weight, len(work.about)
    p = 1 / (1 + np.exp(-_of_trials(fitted.logits, work.x, trials)))
    total = np.bincount(trials.action, weight, minlength=n_actions)
    mean = np.bincount(trials.action, weight * p, minlength=n_actions) / np.maximum(total, 1e-9)
    mean = np.clip(mean, 1e-6, 1 - 1e-6)
    return readonly(np.where(total > 0, np.log(mean / (1 - mean)), fitted.logits.of(work.middle)))


def _log_loss(p: F64, taken: F64) -> float:
    sure = np.clip(p, 1e-9, 1 - 1e-9)
    return float(-(taken * np.log(sure) + (1 - taken) * np.log(1 - sure)).mean())


def _auc(p: F64, taken: F64) -> float:
    """Return how often a taken one is put above one that was not, ties half; 1/2 where all are alike."""
    n = float(taken.sum())
    if n in (0.0, float(len(taken))):
        return 0.5
    _, place, counts = np.unique(p, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return float((rank[taken > 0].sum() - n * (n + 1) / 2) / (n * (len(taken) - n)))


def _calibration_error(p: F64, taken: F64) -> float:
    """Return the mean of |p - share taken| over ten equal parts of the trials by p."""
    parts = np.array_split(np.argsort(p, kind="stable"), _BINS)
    return float(sum(len(part) * abs(p[part].mean() - taken[part].mean()) for part in parts) / len(p))
