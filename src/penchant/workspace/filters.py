"""Filters of requests over the live catalogue: compiled once, their columns kept up to date."""

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from penchant.data.events import Value
from penchant.data.interactions import Interactions
from penchant.feed.filter_rule import Filtered, Promotion
from penchant.feed.filter_run import Facts, Filter, compile_filter
from penchant.feed.item_columns import Columns
from penchant.feed.live import Live
from penchant.kernel.arrays import Bools, readonly
from penchant.kernel.errors import InputError

_KEPT = 256  # compiled expressions, and masks of those that are the same for everybody
_REFRESH_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterAsked:
    """A filter as a request names it: expression and the values of its $parameters."""

    name: str
    expression: str
    parameters: Mapping[str, Sequence[str | float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionAsked:
    """A promotion as a request names it."""

    name: str
    percent: int
    filter: FilterAsked


@final
class FilterBook:
    """The filters of one snapshot and what was put since. Any number of threads may ask.

    A changed property counts within a second; an item that is new counts at once.
    """

    def __init__(self, live: Live) -> None:
        self._live = live
        self._lock = threading.Lock()
        self._base: Columns | None = None
        self._columns: Columns | None = None
        self._seen = -1  # changes of the catalogue in the columns
        self._made = 0.0
        self._filters: OrderedDict[str, Filter] = OrderedDict()
        self._masks: OrderedDict[str, Bools] = OrderedDict()

    def columns(self, now: float) -> Columns:
        """Return the items' properties as columns, one row a catalogue row."""
        with self._lock:
            return self._current(now)

    def rule(
        self, asked: FilterAsked, *, history: Interactions, user: Mapping[str, Value], now: float
    ) -> Filtered:
        """Return the rule for one request.

        Raises:
            InputError: the expression is wrong or about users, or an INCLUDE lacks a value.
        """
        with self._lock:
            columns = self._current(now)
            filter_ = self._compiled(asked.expression, columns)
            everyone = None if filter_.by_request else self._mask(filter_, columns, history, now)
        facts = Facts(history=history, user=user, parameters=asked.parameters, now=now)
        # Decided on nothing, so that what is wrong with the request is its own error and not a stage's.
        filter_.mask(columns, facts, readonly(np.zeros(0, np.int32)))
        return Filtered(name=asked.name, filter=filter_, columns=columns, facts=facts, everyone=everyone)

    def promotion(
        self, asked: PromotionAsked, *, history: Interactions, user: Mapping[str, Value], now: float
    ) -> Promotion:
        """Return the promotion for one request; raises as `rule` does."""
        rule = self.rule(asked.filter, history=history, user=user, now=now)
        return Promotion(name=asked.name, percent=asked.percent, rule=rule)

    def _current(self, now: float) -> Columns:
        catalogue = self._live.catalogue
        if self._base is None:
            self._base = Columns.of(self._live.snapshot.item_table)
            self._columns = self._base
            self._seen = 0
        columns = self._columns or self._base
        stale = catalogue.changes != self._seen and now - self._made >= _REFRESH_SECONDS
        if stale or len(catalogue) > columns.n_rows:
            self._seen, self._made = catalogue.changes, now
            columns = self._columns = self._base.updated(catalogue.changed(), len(catalogue))
            self._masks.clear()
        return columns

    def _compiled(self, expression: str, columns: Columns) -> Filter:
        found = self._filters.get(expression)
        if found is None:
            found = self._filters[expression] = compile_filter(expression, columns)
            if found.target != "item":
                raise InputError("a feed is filtered by ItemID, not by UserID.")
            if len(self._filters) > _KEPT:
                self._filters.popitem(last=False)
        return found

    def _mask(self, filter_: Filter, columns: Columns, history: Interactions, now: float) -> Bools:
        found = self._masks.get(filter_.text)
        if found is None:
            facts = Facts(history=history, user={}, parameters={}, now=now)
            rows = np.arange(columns.n_rows, dtype=np.int32)
            found = self._masks[filter_.text] = readonly(filter_.mask(columns, facts, rows))
            if len(self._masks) > _KEPT:
                self._masks.popitem(last=False)
        return found
