"""Which actions a user is asked to take: how likely each is, what must not come, and what comes first.

Actions are the items of a live catalogue of their own (`penchant.data.actions`), so that filters, exploration
and plans are those of items.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, final

import numpy as np

from penchant.data.actions import OFFERED, SHOWN
from penchant.data.events import Acted, AnyEvent, Value
from penchant.data.snapshot import Snapshot
from penchant.feed.action_learning import Learning
from penchant.feed.item_columns import Numbers
from penchant.feed.live import Live
from penchant.feed.live_columns import LiveColumns
from penchant.feed.types import Candidates, Request, Verdict
from penchant.kernel.arrays import F32, F64, Bools, Rows, readonly
from penchant.kernel.clock import DAY
from penchant.models.next_best_action import NextBestActionModel

VALUE, EXPIRES, REPEATS = "value", "action_expiration_timestamp", "repeat_frequency"
RESERVED = (VALUE, EXPIRES, REPEATS, "creation_timestamp")
"""The properties of an action that are numbers, whatever they are written as."""


@final
class ActionScores:
    """A model's probabilities over the live catalogue of actions. One thread folds, any number ask."""

    def __init__(self, model: NextBestActionModel, snapshot: Snapshot, live: Live, users: Live) -> None:
        self.model = model
        self._live = live  # of actions
        self._users = users  # of items: knows the users' properties
        self._own = model.items.rows(snapshot.items.to_arrow())
        now = max(model.card.cutoff, snapshot.cutoff)
        self._learning = Learning(
            snapshot.interactions, snapshot.n_items, haste=model.haste, period=model.period, now=now
        )
        self._base = _stretched(model.average, self._own), _stretched(model.doubt, self._own)
        self._rates = _stretched(model.rates, self._own)
        self._leans: tuple[tuple[int, int], F64] = ((-1, -1), np.zeros(0))

    def fold(self, event: AnyEvent) -> None:
        """Learn from a response, before the live catalogue takes it."""
        if not isinstance(event, Acted):
            return
        row = self._live.catalogue.row(event.item_id)
        history, _ = self._live.history(event.user_id, self._live.user(event.user_id))
        before = history.select(history.item == row)
        self._learning.act(event, row if row >= 0 else len(self._live.catalogue), before)

    def probabilities(self, request: Request) -> F64:
        """Return for every action of the catalogue how likely the user takes it within the period."""
        model, n = self.model, len(request.catalogue)
        properties: Mapping[str, Value] = self._users.properties(
            request.user_id, self._users.user(request.user_id)
        )
        x = model.features(properties)
        new = self._new(n)
        average, doubt, rates = self._averages(new)
        moved, doubt = self._learning.shifts(average, doubt, request.now)
        logits = np.where(new, x @ model.common + self._lean(new), 0.0)
        logits[: len(self._own)][self._own >= 0] = model.logits(x)[self._own[self._own >= 0]]
        history, _ = self._live.history(request.user_id, request.user)
        history = history.select(history.item < n)
        return model.probabilities(history, logits + moved, doubt, rates, now=request.now)

    def score(self, request: Request, items: Rows) -> F32:
        """Return the probability of each action."""
        return readonly(self.probabilities(request)[items].astype(np.float32))

    def _new(self, n: int) -> Bools:
        """Return which of n actions the model does not know."""
        new = np.ones(n, np.bool_)
        new[: len(self._own)] = self._own < 0
        return new

    def _averages(self, new: Bools) -> tuple[F64, F64, F64]:
        """Return log-odds with the average user, their variance and the rates of all actions."""
        n, own = len(new), len(self._own)
        average = self.model.common @ self.model.middle + self._lean(new)
        doubt, rates = np.full(n, self.model.differ), np.zeros(n)
        average[:own][~new[:own]] = self._base[0][~new[:own]]
        doubt[:own][~new[:own]] = self._base[1][~new[:own]]
        rates[:own] = self._rates
        rates[new] = 1 / (1 + np.exp(-average[new]))
        return average, doubt, rates

    def _lean(self, new: Bools) -> F64:
        """Return what the properties of actions the model does not know say of them, 0 for the others."""
        catalogue = self._live.catalogue
        known, leans = self._leans
        state = (catalogue.changes, len(new))
        if known != state:
            leans = np.zeros(len(new))
            for row in np.flatnonzero(new).tolist():
                leans[row] = self.model.lean(catalogue.properties(row))
            self._leans = (state, leans)
        return leans.copy()


def _stretched(values: F64, rows: Rows) -> F64:
    """Return the value of each of ``rows``, 0 where it is -1."""
    return np.append(values, 0.0)[rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionSource:
    """All actions, those first that are likeliest, or of which most value is to be expected.

    Of equally likely ones the more valuable comes first. An action without a value counts as one of value 1.
    """

    name: str
    scores: ActionScores
    columns: LiveColumns
    order: Literal["probability", "value"] = "probability"

    def fetch(self, request: Request, k: int) -> Candidates:
        """Return the best ``k``."""
        p = self.scores.probabilities(request)
        value = np.nan_to_num(numbers(self.columns, VALUE, len(p), request.now), nan=1.0)
        key = p * value if self.order == "value" else p
        best = np.lexsort((np.arange(len(p)), -value, -key))[:k]
        return Candidates(
            source=self.name,
            items=readonly(best.astype(np.int32)),
            scores=readonly(key[best].astype(np.float32)),
        )

    def why(self, request: Request, item: int) -> str:
        """Return how likely it is."""
        days = self.scores.model.period / DAY
        return f"taken within {days:g} days with probability {self.scores.probabilities(request)[item]:.1%}"


def numbers(columns: LiveColumns, name: str, n: int, now: float) -> F64:
    """Return a property of n actions as numbers, NaN where an action has none."""
    column = columns.current(now).find(name)
    out = np.full(n, np.nan)
    if isinstance(column, Numbers):
        size = min(n, len(column.values))
        out[:size] = column.values[:size]
    return out


@dataclass(frozen=True, slots=True, kw_only=True)
class Unexpired:
    """No actions whose time to be offered is over."""

    name: str = "expired"
    columns: LiveColumns

    def judge(self, request: Request, candidates: Candidates) -> Verdict:
        """Keep what has no end, or one that lies ahead."""
        ends = numbers(self.columns, EXPIRES, len(request.catalogue), request.now)[candidates.items]
        return Verdict(keep=readonly(~(ends <= request.now)), reason=self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeats:
    """No actions that the user responded to fewer days ago than their ``repeat_frequency``."""

    name: str = "repeat frequency"
    columns: LiveColumns

    def judge(self, request: Request, candidates: Candidates) -> Verdict:
        """Keep what the user did not respond to lately, and what may be repeated at any time."""
        n = len(request.catalogue)
        days = np.nan_to_num(numbers(self.columns, REPEATS, n, request.now), nan=0.0)
        latest = np.full(n, -np.inf)
        history = request.history
        np.maximum.at(latest, history.item, history.timestamp)
        rested = request.now - latest >= days * DAY
        return Verdict(keep=readonly(rested[candidates.items]), reason=self.name)


def responded(request: Request) -> Request:
    """Return the request with a history of what the user responded to, without what was only shown."""
    history = request.history
    said = np.array([name not in (SHOWN, OFFERED) for name in history.event_types] or [True])
    return replace(request, history=history.select(said[history.event_type]))
