"""The category bandits of a workspace: their states follow the log and outlive snapshots and restarts.

A state is made from a checkpoint, when there is one of the same settings, and the events after it; without
one from all feeds that were served in the last `_LIVES` half-lives and the actions that followed. Any worker
may write a checkpoint: it is a function of the log, so all write the same.
"""

import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from heapq import merge
from pathlib import Path
from typing import Any, final

import msgspec

from penchant.data.eventlog import EventLog
from penchant.data.events import Acted, AnyEvent, Served, ServedSlot
from penchant.feed.category_arms import CategoryArms
from penchant.feed.category_bandit import CategoryDealer, CategorySource
from penchant.feed.category_state import CategoryState
from penchant.feed.groups import Groups
from penchant.feed.live import Live
from penchant.kernel.folders import write_atomically
from penchant.workspace.category_settings import CategorySettings
from penchant.workspace.feed_settings import FeedSettings
from penchant.workspace.personas import PersonaBook

FOLDER = "bandits"
_LIVES = 8  # half-lives after which a count is below half a percent
_CHECKPOINT_EVENTS = 20_000
_CHECKPOINT_SECONDS = 60.0
_SLOTS = msgspec.json.Decoder(list[ServedSlot])


@final
class CategoryBandit:
    """One feed's bandit over one view: the state, shared with other views, and the items it chooses from."""

    def __init__(self, settings: CategorySettings, state: CategoryState, live: Live, groups: Groups) -> None:
        self.settings = settings
        self.state = state
        self._live = live
        self._groups = groups
        self.arms = CategoryArms(
            live,
            state.evidence,
            column=settings.column,
            days=settings.window_days,
            prefer=settings.prefer,
            groups=groups.labels,
        )

    def fold(self, events: Iterable[tuple[int, AnyEvent]]) -> None:
        """Take numbered events; those it has seen are skipped."""
        self.state.fold(events, arm_of=self._arm_of, group_of=self._group_of)

    def source(self) -> CategorySource:
        """Return where its candidates come from."""
        return CategorySource(arms=self.arms)

    def dealer(self) -> CategoryDealer:
        """Return what gives its places."""
        return CategoryDealer(
            arms=self.arms,
            groups=self._groups,
            policy=self.settings.policy,
            uniform=self.settings.uniform_share,
            prior_pulls=self.settings.prior_pulls,
        )

    def _arm_of(self, item_id: str) -> int:
        row = self._live.catalogue.row(item_id)
        return -1 if row < 0 else self.arms.arm_of(row)

    def _group_of(self, user_id: str) -> int:
        return self._groups.of(user_id, self._live.user(user_id))


@final
class Checkpoints:
    """The files ``bandits/<feed>.state`` of a workspace."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / FOLDER
        self._written: dict[str, int] = {}  # feed -> head of the checkpoint this process knows

    def state(self, feed: str, settings: CategorySettings, *, max_users: int) -> CategoryState:
        """Return a state, empty or as the checkpoint has it."""
        text = msgspec.json.encode(settings, order="sorted")
        state = CategoryState(
            feed,
            half_life=settings.half_life_of,
            rules=settings.rules(),
            max_users=max_users,
            settings=hashlib.blake2b(text, digest_size=8).hexdigest(),
        )
        with suppress(FileNotFoundError):
            state.restore(self._file(feed).read_bytes())
        self._written[feed] = state.head
        return state

    def has(self, feed: str) -> bool:
        """Return whether there is a checkpoint of a feed."""
        return self._file(feed).is_file()

    def begin(self, state: CategoryState) -> None:
        """Write the first checkpoint of a state that was just made."""
        self._write(state)

    def keep(self, state: CategoryState, *, now: bool = False) -> None:
        """Write a checkpoint when a replay would be long and no other process has just done so.

        One that was removed is not written again: it is for a state made anew.
        """
        since = state.head - self._written.get(state.feed, 0)
        if since == 0 or (since < _CHECKPOINT_EVENTS and not now) or not self.has(state.feed):
            return
        fresh = time.time() - self._file(state.feed).stat().st_mtime < _CHECKPOINT_SECONDS
        if now or not fresh:
            self._write(state)

    def _write(self, state: CategoryState) -> None:
        self._written[state.feed] = state.head
        write_atomically(self._file(state.feed), state.saved())

    def _file(self, feed: str) -> Path:
        return self._folder / f"{feed}.state"


@final
class Bandits:
    """The bandits of all feeds that have one, over one view."""

    def __init__(self, by_feed: Mapping[str, CategoryBandit], checkpoints: Checkpoints) -> None:
        self._by_feed = by_feed
        self._checkpoints = checkpoints

    @classmethod
    def open(
        cls,
        feeds: Mapping[str, FeedSettings],
        folder: Path,
        log: EventLog,
        live: Live,
        personas: PersonaBook,
        previous: "Bandits | None",
        *,
        users: int,
        now: float,
    ) -> "Bandits":
        """Return the bandits over ``live``: states go on from the view before, else from disk and the log."""
        checkpoints = Checkpoints(folder) if previous is None else previous._checkpoints
        made: dict[str, CategoryBandit] = {}
        for name, feed in feeds.items():
            if feed.bandit is None:
                continue
            groups = personas.groups(feed.bandit.personas, live)
            before = None if previous is None else previous.get(name)
            # A checkpoint that is gone was removed because people are to be forgotten.
            if before is not None and checkpoints.has(name):
                made[name] = CategoryBandit(feed.bandit, before.state, live, groups)
                continue
            state = checkpoints.state(name, feed.bandit, max_users=users)
            made[name] = CategoryBandit(feed.bandit, state, live, groups)
            replay(made[name], log, now=now)
            checkpoints.begin(state)
        return cls(made, checkpoints)

    def get(self, feed: str) -> CategoryBandit | None:
        """Return the bandit of a feed, None when it has none."""
        return self._by_feed.get(feed)

    def fold(self, events: Sequence[tuple[int, AnyEvent]]) -> None:
        """Take numbered events; those seen are skipped."""
        for bandit in self._by_feed.values():
            bandit.fold(events)

    def keep(self, *, now: bool = False) -> None:
        """Write checkpoints where they are due, or all ``now``."""
        for bandit in self._by_feed.values():
            self._checkpoints.keep(bandit.state, now=now)


def replay(bandit: CategoryBandit, log: EventLog, *, now: float) -> None:
    """Bring a bandit's state up to the log's head."""
    state = bandit.state
    upto, after = log.head(), state.head
    longest = max(
        (bandit.settings.half_life_of(name) for name in ("", *bandit.settings.half_lives)), default=0.0
    )
    since = now - _LIVES * longest if after == 0 else 0.0
    bandit.fold(_feedback(log, state.feed, after=after, upto=upto, since=since))
    state.head = max(state.head, upto)


def _feedback(
    log: EventLog, feed: str, *, after: int, upto: int, since: float
) -> Iterator[tuple[int, AnyEvent]]:
    """Yield what a feed served after ``since`` and what may follow from it, by number."""
    served = (
        (
            row["number"],
            Served(
                event_id=row["event_id"],
                timestamp=row["timestamp"],
                user_id=row["user_id"],
                feed=feed,
                model_version="",
                slots=_SLOTS.decode(row["slots"]),
            ),
        )
        for row in _rows(log, "served", ["event_id", "timestamp", "user_id", "feed", "slots"], after, upto)
        if row["feed"] == feed and row["timestamp"] >= since
    )
    acted = (
        (
            row["number"],
            Acted(
                event_id="",
                timestamp=row["timestamp"],
                user_id=row["user_id"],
                item_id=row["item_id"],
                event_type=row["event_type"],
                event_value=row["event_value"],
                impression=row["impression"],
                recommendation_id=row["recommendation_id"],
            ),
        )
        for row in _rows(log, "acted", _ACTED, after, upto)
        if row["timestamp"] >= since
    )
    yield from merge(served, acted, key=lambda pair: pair[0])


_ACTED = [
    "timestamp",
    "user_id",
    "item_id",
    "event_type",
    "event_value",
    "impression",
    "recommendation_id",
]


def _rows(log: EventLog, kind: str, columns: list[str], after: int, upto: int) -> Iterator[Mapping[str, Any]]:
    for batch in log.scan(kind, upto=upto, columns=columns):
        new = batch.filter(batch["number"].to_numpy() > after)
        if kind == "acted":  # what was imported names no list and cannot follow from one
            joined = new["recommendation_id"].is_valid().to_numpy(zero_copy_only=False)
            seen = new["impression"].is_valid().to_numpy(zero_copy_only=False)
            new = new.filter(joined | seen)
        yield from new.to_pylist()
