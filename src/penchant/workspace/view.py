"""What one process serves from: a snapshot, its models, the live state and the plans, opened as a whole."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from penchant.data.eventlog import EventLog
from penchant.data.interactions import Interactions
from penchant.data.snapshot import Snapshot
from penchant.feed.bridge import Bridge
from penchant.feed.live import Live
from penchant.feed.live_columns import LiveColumns
from penchant.feed.plan import Plan
from penchant.feed.showings import Showings
from penchant.feed.types import NOTHING_SHOWN, Request
from penchant.kernel.clock import DAY
from penchant.kernel.errors import PenchantError
from penchant.models.base import Model
from penchant.workspace.actions import ActionBook
from penchant.workspace.catalogue import ABOUT_ACTIONS, SAME_FOR_ALL
from penchant.workspace.filters import FilterBook
from penchant.workspace.online_bandit import Bandits
from penchant.workspace.personas import PersonaBook
from penchant.workspace.plans import Planner
from penchant.workspace.recall import recalled
from penchant.workspace.registry import Pointer, Registry
from penchant.workspace.settings import Settings

_WARM_K = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """All that a request reads, replaced as a whole."""

    pointer: Pointer
    live: Live
    planner: Planner
    models: Mapping[str, Bridge]
    plans: Mapping[str, Plan]
    filters: FilterBook
    bandits: Bandits
    personas: PersonaBook
    actions: ActionBook
    pending: list[Interactions]  # what the live state has taken and the online models have not

    def request(self, feed: str, user_id: str, *, request_id: str, k: int, now: float) -> Request:
        """Return a request with all that is known of the user now."""
        user = self.live.user(user_id)
        history, fresh = self.live.history(user_id, user)
        return Request(
            request_id=request_id,
            feed=feed,
            user_id=user_id,
            user=user,
            k=k,
            now=now,
            history=history,
            fresh=fresh,
            catalogue=self.live.catalogue,
            shown=NOTHING_SHOWN if self.live.showings is None else self.live.showings.of(user_id),
            attributes=self.live.put_since(user_id),
        )


def open_view(
    registry: Registry, settings: Settings, log: EventLog, previous: View | None, *, now: float
) -> View:
    """Open what the registry's pointer names. Nothing of ``previous``, which is being served, is touched."""
    pointer = registry.current()
    snapshot = Snapshot.open(registry.snapshot_folder(pointer.snapshot))
    limits = settings.serving
    live = Live(
        snapshot,
        max_users=limits.live_users,
        max_events=limits.live_events,
        author=settings.data.author,
        showings=_showings(settings, log, snapshot, now=now),
        negative=frozenset(
            name for feed in settings.feeds.values() if feed.negative for name in feed.negative.events
        ),
    )
    columns = LiveColumns(live)
    opened = {name: registry.open(name, version) for name, version in pointer.models.items()}
    models = {
        name: _bridge_to(name, model, snapshot)
        for name, model in opened.items()
        if model.card.recipe not in ABOUT_ACTIONS
    }
    actions = ActionBook(
        settings.actions,
        settings.filters,
        snapshot,
        opened,
        live,
        model_version=pointer.version,
        max_users=limits.live_users,
        max_events=limits.live_events,
    )
    before = None if previous is None else previous.bandits
    personas = PersonaBook.of(models, registry, pointer.models)
    bandits = Bandits.open(
        settings.feeds, registry.folder, log, live, personas, before, users=limits.live_users, now=now
    )
    planner = Planner(settings, models, live, columns, bandits, model_version=pointer.version)
    view = View(
        pointer=pointer,
        live=live,
        planner=planner,
        models=models,
        plans=planner.plans(models),
        filters=FilterBook(columns),
        bandits=bandits,
        personas=personas,
        actions=actions,
        pending=[],
    )
    _warm(view, now)
    return view


def _showings(settings: Settings, log: EventLog, snapshot: Snapshot, *, now: float) -> Showings | None:
    """Return what users were shown before, as far back as some feed looks; None when none does."""
    days = max((feed.shown_days for feed in settings.feeds.values()), default=0.0)
    if days == 0:
        return None
    return recalled(log, snapshot, since=now - days * DAY, max_users=settings.serving.live_users)


def _warm(view: View, now: float) -> None:
    """Ask every source once as for a history it was trained on and once as for a new one.

    The first call of a compiled kernel loads it, which would spend the whole budget of a first request.
    """
    snapshot = view.live.snapshot
    if len(snapshot.interactions) == 0:
        return
    someone = snapshot.users.id(int(snapshot.interactions.user[-1]))
    request = view.request("warm", someone, request_id="warm", k=_WARM_K, now=now)
    for source in (source for plan in view.plans.values() for source in plan.sources):
        for asked in (request, replace(request, fresh=True)):
            with suppress(PenchantError):  # it will say so again when a feed asks
                source.fetch(asked, _WARM_K)


def _bridge_to(name: str, model: Model, snapshot: Snapshot) -> Bridge:
    return Bridge.of(name, model, snapshot, personal=model.kind not in SAME_FOR_ALL)
