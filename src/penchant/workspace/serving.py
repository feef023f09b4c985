"""One process's live view of a workspace: models and snapshot memory-mapped, the log's tail folded in."""

import contextlib
import random
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import final

import numpy as np

from penchant.data.eventlog import Appended, EventLog
from penchant.data.events import AnyEvent, Offered, Value
from penchant.data.interactions import Interactions
from penchant.feed.bridge import Bridge
from penchant.feed.filter_rule import Filtered, Promotion, run_promoted
from penchant.feed.live import as_rows
from penchant.feed.plan import Plan
from penchant.feed.run import run
from penchant.feed.types import Candidates, Feed, Request
from penchant.kernel.arrays import Rows, readonly
from penchant.kernel.clock import Clock
from penchant.kernel.errors import InputError, NotFound, PenchantError
from penchant.kernel.names import did_you_mean
from penchant.kernel.seeds import derive
from penchant.models.base import Retriever, Similar
from penchant.workspace.filters import FilterAsked, NamedFilters, PromotionAsked, PromotionNamed
from penchant.workspace.personas import PersonaFeed, PersonaShare
from penchant.workspace.registry import Registry
from penchant.workspace.settings import Settings
from penchant.workspace.view import View, open_view
from penchant.workspace.writer import ServedWriter

_CHUNK = 2_000  # events read at once; served feeds are 10 KB each as objects
_WARM_K = 25
_UNUSED = derive(0, "not drawn from")


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How a serving process is: for ``/v1/health`` and metrics."""

    model_version: str
    head: int  # last event folded in
    live_users: int  # users with events since the snapshot
    dropped_users: int  # users whose new events were dropped to bound memory
    waiting: int  # served feeds not yet in the log
    refused: int  # feeds refused because too many waited for the log
    problem: str | None  # why the log takes no events, or the newest models cannot be opened


@final
class Serving:
    """Answers feeds from the current models and follows the log.

    Any number of threads may ask while one refreshes: a request reads one view from beginning to end. A
    background thread writes what was served and refreshes every ``refresh_seconds``.
    """

    def __init__(self, registry: Registry, settings: Settings, log: EventLog, clock: Clock) -> None:
        self._registry = registry
        self._settings = settings
        self._log = log
        self._clock = clock
        self._loading = threading.Lock()  # one thread opens new models
        self._lock = threading.Lock()  # one thread folds events into the view
        self._problem: str | None = None
        # Seeded by the system, once: uuid4 asks it each time and lets go of the interpreter meanwhile.
        self._names = random.Random()
        self._stamp = registry.stamp()
        self._view = self._caught_up(self._open())
        self._writer = ServedWriter(
            log.append,
            capacity=settings.serving.queue,
            idle=self._background,
            idle_seconds=settings.serving.refresh_seconds,
        )

    @property
    def model_version(self) -> str:
        """Return the name of the set of models that is served."""
        return self._view.pointer.version

    def feed(
        self,
        name: str,
        user_id: str,
        *,
        k: int,
        exclude: Sequence[str] = (),
        item_id: str | None = None,
        context: Mapping[str, str] | None = None,
        filters: Sequence[FilterAsked | str] = (),
        promotions: Sequence[PromotionAsked | PromotionNamed] = (),
        filter_values: Mapping[str, Sequence[str | float]] | None = None,
        explain: bool = False,
    ) -> Feed:
        """Return ``k`` items for a user, known or not, and log what was served in the background.

        ``item_id`` is the anchor of a feed of related items; ``explain`` fills in each slot's ``why``.
        ``filters`` apply to all items but those of ``promotions``, which have filters of their own; what
        comes as a name (and a percentage, or a number of places) means filters of the settings, with
        ``filter_values`` for their $parameters. The feed's own filters and promotions always apply.

        Raises:
            NotFound: there is no feed of that name, or no such anchor.
            InputError: ``k`` is outside 1..k_max of the feed, or a filter or promotion is wrong.
            NotReady: the log takes no events and no more feeds can wait for it.
        """
        view = self._view
        plan = self._plan(view, name)
        if not 1 <= k <= plan.k_max:
            raise InputError(f"k = {k} is not accepted: feed '{name}' gives 1 to {plan.k_max} items.")
        now = self._clock.now()
        request = self._request(view, name, user_id, k=k, now=now)
        if exclude or item_id is not None or context:
            request = replace(
                request,
                exclude=self._rows(view, exclude),
                item=-1 if item_id is None else self._item_row(view, item_id),
                context=context or {},
            )
        drawn = plan.draws or bool(promotions) or bool(self._settings.feeds[name].promotions)
        rng = derive(self._settings.workspace.seed, request.request_id) if drawn else _UNUSED
        rules, promoted = self._asked(view, request, filters, promotions, filter_values or {})
        if rules or promoted:
            feed = run_promoted(plan, request, rng, rules=rules, promotions=promoted, explain=explain)
        else:
            feed = run(plan, request, rng, explain=explain)
        if plan.log_served:
            self._writer.put(feed, now)
        return feed

    def actions(
        self,
        name: str,
        user_id: str,
        *,
        k: int,
        filters: Sequence[FilterAsked | str] = (),
        filter_values: Mapping[str, Sequence[str | float]] | None = None,
        explain: bool = False,
    ) -> Feed:
        """Return ``k`` actions by the table ``[actions.name]`` for a user, and log them as offered.

        An item of a slot is an action; for what it raises see `ActionBook.feed`.
        """
        view, now = self._view, self._clock.now()
        request = self._request(view, name, user_id, k=k, now=now)
        rng = derive(self._settings.workspace.seed, request.request_id)
        feed = view.actions.feed(request, rng, filters=filters, filter_values=filter_values, explain=explain)
        if self._settings.actions[name].log_served:
            self._writer.put(feed, now, Offered)
        return feed

    def action(self, action_id: str) -> dict[str, Value]:
        """Return what is known of an action; NotFound when nobody ever named it."""
        return self._view.actions.action(action_id)

    def similar(self, item_id: str, k: int, *, model: str | None = None) -> list[tuple[str, float]]:
        """Return the items most like one, best first, by the named model or the first that can tell.

        Raises:
            NotFound: the item is unknown, or no trained model knows which items are alike.
            InputError: ``k`` is outside the limit.
        """
        view = self._view
        self._check_k(k)
        row = self._item_row(view, item_id)
        bridge = self._bridge(view, Similar, "knows which items are alike", model)
        items, scores = bridge.similar(row, k)
        ids = map(view.live.catalogue.id, items.tolist())
        return list(zip(ids, scores.tolist(), strict=True))

    def rank(
        self, user_id: str, item_ids: Sequence[str], *, model: str | None = None
    ) -> list[tuple[str, float | None]]:
        """Return the items in the order the user would like them; those that cannot be scored last, as given.

        Raises:
            InputError: there are too many items.
            NotFound: no trained model can rank.
        """
        view = self._view
        limit = self._settings.server.max_batch
        if len(item_ids) > limit:
            raise InputError(f"{len(item_ids)} items to rank: at most {limit}.")
        bridge = self._bridge(view, Retriever, "can rank", model)
        request = self._request(view, "rank", user_id, k=len(item_ids), now=self._clock.now())
        scores = bridge.score(request, self._rows(view, item_ids))
        last = np.where(np.isnan(scores), np.inf, -scores)
        order: list[int] = np.argsort(last, kind="stable").tolist()
        return [(item_ids[i], None if np.isnan(scores[i]) else float(scores[i])) for i in order]

    def passing(self, user_id: str, item_ids: Sequence[str], filters: Sequence[FilterAsked]) -> list[str]:
        """Return the items that pass all filters for a user, in the order given; unknown ones pass none.

        Raises:
            InputError: a filter is wrong.
        """
        view = self._view
        request = self._request(view, "rank", user_id, k=len(item_ids), now=self._clock.now())
        rules, _ = self._asked(view, request, filters, (), {})
        rows = self._rows(view, item_ids)
        keep = rows >= 0
        for rule in rules:
            known = readonly(np.flatnonzero(keep).astype(np.int32))
            candidates = Candidates(source="", items=rows[known], scores=np.zeros(len(known), np.float32))
            keep[known] = rule.judge(request, candidates).keep
        return [item_ids[i] for i in np.flatnonzero(keep).tolist()]

    def item_columns(self) -> list[str]:
        """Return the names of the items' properties."""
        return self._view.filters.columns.current(self._clock.now()).names

    def personas(self, model: str | None = None) -> tuple[str, list[PersonaShare], Mapping[str, float]]:
        """Return the model that has them, its personas by id, and what their feeds lose (NDCG at 20).

        Raises:
            NotFound: no trained model, or not the named one, has personas.
        """
        book = self._view.personas
        name = book.model(model)
        return name, book.shares(name), book.losses(name)

    def persona_feed(self, persona: int, k: int, *, model: str | None = None) -> PersonaFeed:
        """Return the best ``k`` items of a persona: the same for all who ask, until the model learns.

        Raises:
            NotFound: there is no such persona, or no model that has any.
            InputError: ``k`` is outside the limit.
        """
        self._check_k(k)
        view = self._view
        return view.personas.feed(view.personas.model(model), persona, k, view.live)

    def record(self, events: Sequence[AnyEvent]) -> Appended:
        """Store events and fold them in: durable on return, in this process's next feed at once."""
        done = self._log.append(events)
        with self._lock:
            self._read_tail(self._view)
        return done

    def item(self, item_id: str) -> dict[str, Value]:
        """Return what is known of an item.

        Raises:
            NotFound: nobody ever named this item.
        """
        view = self._view
        return view.live.catalogue.properties(self._item_row(view, item_id))

    def known_events(self, user_id: str) -> int:
        """Return how many interactions of a user are known here, 0 for somebody new."""
        live = self._view.live
        return len(live.history(user_id, live.user(user_id))[0])

    def refresh(self) -> None:
        """Follow the log's tail and the pointer to the current models; cheap when nothing is new."""
        with self._loading:
            stamp = self._registry.stamp()
            if stamp != self._stamp:
                view = self._caught_up(self._open(self._view))  # requests and events go on meanwhile
                with self._lock:
                    self._stamp, self._view = stamp, view
        with self._lock:
            self._view = self._caught_up(self._view)

    def warm(self) -> None:
        """Answer every feed once, for a known and for a new user, and log nothing.

        Compiled code is loaded when it first runs, which takes up to a second: not while a user waits.
        """
        view, users = self._view, self._view.live.snapshot.users
        somebody = users.id(0) if len(users) else ""
        for name, plan in view.plans.items():
            known = self._request(view, name, somebody, k=1, now=self._clock.now())
            for request in (known, replace(known, user=-1, fresh=True)):
                with contextlib.suppress(PenchantError):
                    run(plan, request, derive(self._settings.workspace.seed, "warm"))

    def health(self) -> Health:
        """Return how this process is."""
        view, writer = self._view, self._writer
        problem = self._problem if writer.error is None else str(writer.error)
        return Health(
            model_version=view.pointer.version,
            head=view.live.head,
            live_users=view.live.live_users,
            dropped_users=view.live.dropped_users,
            waiting=writer.waiting,
            refused=writer.refused,
            problem=problem,
        )

    def flush(self) -> None:
        """Return when all that was served is in the log; NotReady, with the reason, when it cannot be."""
        self._writer.flush()

    def close(self) -> None:
        """Write what waits and stop following; raises as `flush` does."""
        self._writer.close()
        self._view.bandits.keep(now=True)

    def _background(self) -> None:
        try:
            self.refresh()
            self._view.bandits.keep()
        except Exception as error:  # noqa: BLE001 - this thread also logs what is served: it must go on
            told = isinstance(error, PenchantError)
            self._problem = str(error) if told else f"{type(error).__name__}: {error}"  # health tells
        else:
            self._problem = None

    def _open(self, previous: View | None = None) -> View:
        return open_view(self._registry, self._settings, self._log, previous, now=self._clock.now())

    def _read_tail(self, view: View) -> None:
        while view.live.head < (head := self._log.head()):
            events = self._log.tail(view.live.head, _CHUNK)
            if not events:  # the last ones were taken out of the log for good
                view.live.head = head
            view.actions.fold(events)
            acted = view.live.fold(events)
            view.bandits.fold(events)
            if len(acted):
                view.pending.append(acted)

    def _caught_up(self, view: View) -> View:
        """Return the view after all events of the log; online models learn from them here, in one batch."""
        self._read_tail(view)
        if not view.pending:
            return view
        events = reduce(Interactions.joined, view.pending)
        models = {name: bridge.fold(events) for name, bridge in view.models.items()}
        if all(models[name] is view.models[name] for name in models):
            view.pending.clear()
            return view
        personas = view.personas.after(models)
        plans = view.planner.plans(models)
        return replace(view, models=models, plans=plans, personas=personas, pending=[])

    def _plan(self, view: View, name: str) -> Plan:
        plan = view.plans.get(name)
        if plan is None:
            raise NotFound(f"there is no feed '{name}'.", fix=did_you_mean(name, view.plans))
        return plan

    def _request(self, view: View, feed: str, user_id: str, *, k: int, now: float) -> Request:
        name = f"{self._names.getrandbits(128):032x}"
        return view.request(feed, user_id, request_id=name, k=k, now=now)

    def _asked(
        self,
        view: View,
        request: Request,
        filters: Sequence[FilterAsked | str],
        promotions: Sequence[PromotionAsked | PromotionNamed],
        values: Mapping[str, Sequence[str | float]],
    ) -> tuple[list[Filtered], list[Promotion]]:
        """Return the filters and promotions of the feed and of the request as rules for this request."""
        own = self._settings.feeds.get(request.feed)
        if not (filters or promotions or values or (own and (own.filters or own.promotions))):
            return [], []
        if own is not None:
            filters = (*own.filters, *filters)
            always = (PromotionNamed(one.filter, one.percent, one.slots) for one in own.promotions)
            promotions = (*always, *promotions)
        named = NamedFilters(expressions=self._settings.filters, values=values)
        user = view.live.properties(request.user_id, request.user)
        return view.filters.asked(named, request, user, filters, promotions)

    def _rows(self, view: View, item_ids: Sequence[str]) -> Rows:
        return as_rows(map(view.live.catalogue.row, item_ids))

    def _item_row(self, view: View, item_id: str) -> int:
        row = view.live.catalogue.row(item_id)
        if row < 0:
            raise NotFound(f"there is no item '{item_id}'.")
        return row

    def _check_k(self, k: int) -> None:
        limit = self._settings.serving.k_max
        if not 1 <= k <= limit:
            raise InputError(f"k = {k} is not accepted: 1 to {limit} items.")

    def _bridge(self, view: View, kind: type, what: str, model: str | None) -> Bridge:
        """Return the named model, or the first of its kind; one that tells users apart before others."""
        if model is not None and model not in view.models:
            raise NotFound(f"there is no model '{model}'.", fix=did_you_mean(model, view.models))
        asked = view.models.values() if model is None else (view.models[model],)
        able = [bridge for bridge in asked if isinstance(bridge.model, kind)]
        if not able:
            raise NotFound(
                f"no trained model {what}.", fix="Add a recipe such as ials and run `penchant train`."
            )
        return max(able, key=lambda bridge: bridge.personal)  # the first of equals
