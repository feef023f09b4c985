"""The live view of actions: what was put and responded to since the snapshot, and the plans to offer by."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import final

import msgspec
from numpy.random import Generator

from penchant.data.actions import of_actions
from penchant.data.events import AnyEvent, Value
from penchant.data.snapshot import Snapshot, no_actions
from penchant.feed.action_choice import ActionScores, ActionSource, Repeats, Unexpired, responded
from penchant.feed.explore import Explore, Pool
from penchant.feed.filter_rule import Filtered, run_promoted
from penchant.feed.live import Live
from penchant.feed.live_columns import LiveColumns
from penchant.feed.mixers import Single
from penchant.feed.plan import Plan
from penchant.feed.rules import Exclude
from penchant.feed.sources import Everything
from penchant.feed.types import Feed, Mixer, Request, Source
from penchant.kernel.clock import DAY
from penchant.kernel.errors import InputError, NotFound, NotReady
from penchant.kernel.names import did_you_mean
from penchant.models.base import Model
from penchant.models.next_best_action import NextBestActionModel
from penchant.workspace.feed_settings import ActionsSettings
from penchant.workspace.filters import FilterAsked, FilterBook, NamedFilters

_FALLBACK = "fallback"


@final
class ActionBook:
    """Answers which actions to offer. One thread folds, any number ask."""

    def __init__(
        self,
        settings: Mapping[str, ActionsSettings],
        expressions: Mapping[str, str],
        snapshot: Snapshot,
        models: Mapping[str, Model],
        users: Live,
        *,
        model_version: str,
        max_users: int,
        max_events: int,
    ) -> None:
        base = no_actions(snapshot) if snapshot.actions is None else snapshot.actions
        self._settings = settings
        self._expressions = expressions
        self._users = users
        self._live = Live(
            base, max_users=max_users, max_events=max_events, negative=frozenset({"NOT_TAKEN", "VIEWED"})
        )
        self._columns = LiveColumns(self._live)
        self._filters = FilterBook(self._columns, target="action")
        self._scores = {
            name: ActionScores(model, base, self._live, users)
            for name, model in models.items()
            if isinstance(model, NextBestActionModel)
        }
        self._plans = {
            name: self._plan(name, one, self._scores[one.recipe], base, model_version)
            for name, one in settings.items()
            if one.recipe in self._scores
        }

    def fold(self, events: Iterable[tuple[int, AnyEvent]]) -> None:
        """Take numbered events; those that are not about actions change nothing."""
        for one in (one for _, event in events for one in of_actions(event)):
            for scores in self._scores.values():
                scores.fold(one)
            self._live.fold([(self._live.head + 1, one)])

    def action(self, action_id: str) -> dict[str, Value]:
        """Return what is known of an action.

        Raises:
            NotFound: nobody ever named it.
        """
        row = self._live.catalogue.row(action_id)
        if row < 0:
            raise NotFound(f"there is no action '{action_id}'.")
        return self._live.catalogue.properties(row)

    def feed(
        self,
        request: Request,
        rng: Generator,
        *,
        filters: Sequence[FilterAsked | str] = (),
        filter_values: Mapping[str, Sequence[str | float]] | None = None,
        explain: bool = False,
    ) -> Feed:
        """Return the actions for a ``request`` of the main view, its feed the name of a table of actions.

        A slot's score is the probability that the user takes the action within the recipe's period.

        Raises:
            NotFound: there is no such table.
            NotReady: its recipe is not trained yet.
            InputError: too many are asked for, or a filter is wrong.
        """
        plan = self._plan_of(request.feed)
        if not 1 <= request.k <= plan.k_max:
            raise InputError(
                f"k = {request.k} is not accepted: '{plan.name}' gives 1 to {plan.k_max} actions."
            )
        history, fresh = self._live.history(request.user_id, request.user)
        catalogue = self._live.catalogue
        own = responded(replace(request, history=history, fresh=fresh, catalogue=catalogue, attributes=None))
        rules = self._rules(own, filters, filter_values or {})
        feed = run_promoted(plan, own, rng, rules=rules, explain=explain)
        p = self._scores[self._settings[plan.name].recipe].probabilities(own)
        slots = tuple(msgspec.structs.replace(slot, score=float(p[slot.item])) for slot in feed.slots)
        return replace(feed, slots=slots)

    def _rules(
        self,
        request: Request,
        filters: Sequence[FilterAsked | str],
        values: Mapping[str, Sequence[str | float]],
    ) -> list[Filtered]:
        named = NamedFilters(expressions=self._expressions, values=values)
        user = self._users.properties(request.user_id, request.user)
        asked = (*self._settings[request.feed].filters, *filters)
        return self._filters.asked(named, request, user, asked)[0]

    def _plan_of(self, name: str) -> Plan:
        plan = self._plans.get(name)
        if plan is not None:
            return plan
        if name in self._settings:
            raise NotReady(
                f"the recipe of the actions '{name}' is not trained yet.", fix="Run `penchant train`."
            )
        raise NotFound(
            f"there is no table [actions.{name}].",
            fix=did_you_mean(name, self._settings) or "penchant.toml shows how to write one.",
        )

    def _plan(
        self, name: str, settings: ActionsSettings, scores: ActionScores, base: Snapshot, version: str
    ) -> Plan:
        source = ActionSource(
            name=settings.recipe, scores=scores, columns=self._columns, order=settings.order
        )
        sources: tuple[Source, ...] = (source,)
        mixer: Mixer = Single()
        explore = settings.explore
        if explore is not None and explore.weight > 0:
            pool = Pool(self._live, scores, age_cut_off=explore.age_cut_off_days * DAY, enough=explore.enough)
            sources, mixer = (source, pool), Explore(inner=mixer, weight=explore.weight)
        return Plan(
            name=name,
            sources=sources,
            rules=(Exclude(), Unexpired(columns=self._columns), Repeats(columns=self._columns)),
            mixer=mixer,
            fallback=Everything.of(_FALLBACK, base.n_items),
            model_version=version,
            budget_ms=math.inf,  # both sources are the same few microseconds of arithmetic
            k_max=settings.k_max,
            log_served=settings.log_served,
            draws=isinstance(mixer, Explore),
        )
