"""Filters of requests over the live catalogue: compiled once, their columns kept up to date."""

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from penchant.data.events import Value
from penchant.data.interactions import Interactions
from penchant.feed.filter_parse import Target
from penchant.feed.filter_rule import Filtered, Promotion
from penchant.feed.filter_run import Facts, Filter, compile_filter
from penchant.feed.item_columns import Columns
from penchant.feed.live_columns import LiveColumns
from penchant.feed.types import Request
from penchant.kernel.arrays import Bools, readonly
from penchant.kernel.errors import InputError
from penchant.kernel.names import did_you_mean

_KEPT = 256  # compiled expressions, and masks of those that are the same for everybody


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
    percent: int | None = None
    count: int | None = None
    filter: FilterAsked


@dataclass(frozen=True, slots=True)
class PromotionNamed:
    """A promotion by the name of its filter: a percentage of the places, or a number of them."""

    filter: str
    percent: int | None = None
    count: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedFilters:
    """The filters of ``penchant.toml`` with the values that one request gives their $parameters."""

    expressions: Mapping[str, str]
    values: Mapping[str, Sequence[str | float]]

    def filter(self, name: str) -> FilterAsked:
        """Return a filter by name.

        Raises:
            InputError: there is none of that name.
        """
        expression = self.expressions.get(name)
        if expression is None:
            raise InputError(f"there is no filter '{name}'.", fix=did_you_mean(name, list(self.expressions)))
        return FilterAsked(name=name, expression=expression, parameters=self.values)

    def promotion(self, asked: PromotionNamed) -> PromotionAsked:
        """Return a promotion of what a named filter keeps; raises as `filter` does."""
        chosen = self.filter(asked.filter)
        return PromotionAsked(name=asked.filter, percent=asked.percent, count=asked.count, filter=chosen)

    def check_used(self, rules: Iterable[Filtered]) -> None:
        """Refuse a value that none of the request's filters takes: likely a typing error."""
        taken = sorted(frozenset[str]().union(*(rule.filter.parameters for rule in rules)))
        for name in self.values:
            if name not in taken:
                raise InputError(f"no filter of this request takes '{name}'.", fix=did_you_mean(name, taken))


@final
class FilterBook:
    """The filters of one snapshot and what was put since. Any number of threads may ask."""

    def __init__(self, columns: LiveColumns, *, target: Target = "item") -> None:
        self.columns = columns
        self._target = target
        self._lock = threading.Lock()
        self._filters: OrderedDict[str, Filter] = OrderedDict()
        self._masks: OrderedDict[str, tuple[Columns, Bools]] = OrderedDict()  # with what each is about

    def rule(self, asked: FilterAsked, request: Request, user: Mapping[str, Value]) -> Filtered:
        """Return the rule for one request by a ``user`` with these properties.

        Raises:
            InputError: the expression is wrong or about users, or an INCLUDE lacks a value.
        """
        columns = self.columns.current(request.now)
        with self._lock:
            filter_ = self._compiled(asked, columns)
            everyone = None if filter_.by_request else self._mask(filter_, columns)
        facts = Facts(history=request.history, user=user, parameters=asked.parameters, now=request.now)
        # Decided on nothing, so that what is wrong with the request is its own error and not a stage's.
        filter_.mask(columns, facts, readonly(np.zeros(0, np.int32)))
        return Filtered(name=asked.name, filter=filter_, columns=columns, facts=facts, everyone=everyone)

    def asked(
        self,
        named: NamedFilters,
        request: Request,
        user: Mapping[str, Value],
        filters: Sequence[FilterAsked | str],
        promotions: Sequence[PromotionAsked | PromotionNamed] = (),
    ) -> tuple[list[Filtered], list[Promotion]]:
        """Return filters and promotions, by name or in full, as rules for a request; raises as `rule`."""
        rules = [
            self.rule(named.filter(one) if isinstance(one, str) else one, request, user) for one in filters
        ]
        promoted = [
            self.promotion(one if isinstance(one, PromotionAsked) else named.promotion(one), request, user)
            for one in promotions
        ]
        named.check_used((*rules, *(one.rule for one in promoted)))
        return rules, promoted

    def promotion(self, asked: PromotionAsked, request: Request, user: Mapping[str, Value]) -> Promotion:
        """Return the promotion for one request; raises as `rule` does."""
        rule = self.rule(asked.filter, request, user)
        return Promotion(name=asked.name, percent=asked.percent, count=asked.count, rule=rule)

    def _compiled(self, asked: FilterAsked, columns: Columns) -> Filter:
        found = self._filters.get(asked.expression)
        if found is None:
            try:
                found = compile_filter(asked.expression, columns)
            except InputError as error:
                raise InputError(error.what, where=f"filter '{asked.name}'", fix=error.fix) from None
            if found.target != self._target:
                wanted, given = self._target.capitalize(), found.target.capitalize()
                raise InputError(f"here a filter is by {wanted}ID, not by {given}ID.")
            self._filters[asked.expression] = found
            if len(self._filters) > _KEPT:
                self._filters.popitem(last=False)
        return found

    def _mask(self, filter_: Filter, columns: Columns) -> Bools:
        """Return which rows pass, (columns.n_rows,) or more; of a mask from before, where rows changed."""
        known = self._masks.get(filter_.text)
        if known is not None and known[0].changes >= columns.changes and known[0].n_rows >= columns.n_rows:
            return known[1]
        mask = np.zeros(columns.n_rows, np.bool_)
        rows = np.arange(columns.n_rows, dtype=np.int32)
        if known is not None:
            rows = self.columns.changed(known[0], columns)
            mask[: len(known[1])] = known[1]
        facts = Facts(history=Interactions.none(), user={}, parameters={}, now=0.0)
        mask[rows] = filter_.mask(columns, facts, rows)
        self._masks[filter_.text] = columns, readonly(mask)
        if len(self._masks) > _KEPT:
            self._masks.popitem(last=False)
        return mask
