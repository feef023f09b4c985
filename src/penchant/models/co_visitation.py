"""Co-visitation: what is clicked next, from what others clicked next, with counts that fade.

It learns event by event; training is the same code run over the log. The equations are in
`penchant.models.co_visitation_kernels`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import ClassVar, Self

import msgspec
import numpy as np
from numpy.random import Generator

from penchant.data.interactions import Interactions
from penchant.data.snapshot import Snapshot
from penchant.kernel.arrays import F32, F64, AnyArray, Bools, Rows, readonly
from penchant.kernel.durations import seconds_of
from penchant.kernel.ids import Vocab
from penchant.kernel.progress import Progress
from penchant.models.base import Card, Model, Query, Scored, card_for
from penchant.models.co_visitation_kernels import (
    BY_ITEM,
    Pace,
    Trails,
    empty,
    learn_all,
    replay,
    scores,
    session_of,
)
from penchant.models.next_click import NextClick, best_of, moment, newest, session_asked
from penchant.models.next_click_kernels import WAYS
from penchant.models.popularity import counted
from penchant.models.turns import Turns

_SPAN = 16  # half-lives after which a count is not worth reading the event for
_LONG_AGO = -1e18  # when an item that is new was last clicked
_CHUNK = 100_000  # events learnt between two words of progress


class VisitFields(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fields of counting what follows what.

    A user's clicks less than ``session_gap`` apart are one session. ``click_half_lives`` are those of
    popularity, ``next_half_lives`` of what follows directly, ``near_half_lives`` of what shares a session,
    each ascending; what each is worth is learnt with ``rate``. Only items clicked within ``window`` are
    given, never those of the session itself. ``places`` bounds how many successors an item has, ``sessions``
    how many open sessions are remembered. ``event_types`` are those that count; none named = all.
    """

    click_half_lives: tuple[str, ...] = ("3m", "10m", "1h")
    next_half_lives: tuple[str, ...] = ("5m", "30m", "3h")
    near_half_lives: tuple[str, ...] = ("1h", "4h")
    session_gap: str = "30m"
    window: str = "1d"
    rate: float = 0.002
    places: int = 32
    sessions: int = 65_536
    event_types: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("click_half_lives", "next_half_lives", "near_half_lives"):
            spans = [seconds_of(span, field=name) for span in getattr(self, name)]
            if not spans or any(b <= a for a, b in pairwise(spans)):
                raise ValueError(f"{name} is {list(getattr(self, name))}: name one or more, ascending.")
        for name in ("session_gap", "window"):
            seconds_of(getattr(self, name), field=name)
        if not 0 < self.rate < 1:
            raise ValueError(f"rate is {self.rate}: it must be between 0 and 1.")
        for name in ("places", "sessions"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be above 0.")

    @property
    def pace(self) -> Pace:
        """Return the spans in seconds, as the kernels take them."""
        return Pace(
            click_half_lives=np.array([seconds_of(span) for span in self.click_half_lives]),
            next_half_lives=np.array([seconds_of(span) for span in self.next_half_lives]),
            near_half_lives=np.array([seconds_of(span) for span in self.near_half_lives]),
            session_gap=seconds_of(self.session_gap),
            window=seconds_of(self.window),
            rate=self.rate,
        )

    @property
    def span(self) -> float:
        """Return how far back, in seconds, an event is worth reading."""
        pace = self.pace
        return _SPAN * max(pace.window, *(float(h[-1]) for h in pace[:3]))

    def start(self, n_items: int, since: float) -> Trails:
        """Return the state that knows nothing yet."""
        return empty(n_items, -(-self.sessions // WAYS) * WAYS, self.places, self.pace, since)


class CoVisitation(VisitFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Next click from the last ones, mixed with recent popularity; learns online."""

    name: ClassVar[str] = "co_visitation"

    def train(
        self, snapshot: Snapshot, *, rng: Generator, progress: Progress, previous: Model | None = None
    ) -> "CoVisitationModel":
        """Learn from the log as `CoVisitationModel.fold` would. ``rng`` and ``previous`` are not needed."""
        pace = self.pace
        recent, since = newest(snapshot, self.span, self.event_types)
        state = self.start(snapshot.n_items, since)
        chances = np.zeros(len(recent))
        progress.start(self.name, len(recent))
        for begin in range(0, len(recent), _CHUNK):
            part = slice(begin, min(begin + _CHUNK, len(recent)))
            _learn(state, pace, recent.select(part), chances[part])
            progress.advance(part.stop - begin, note=f"{bits(chances[part]):.2f} bits a click")
        last = chances[-max(len(chances) // 10, 1) :]
        return CoVisitationModel(
            card=card_for(self, snapshot, metrics={"bits_a_click": bits(last)} if len(last) else {}),
            items=snapshot.items,
            users=snapshot.users,
            state=_sealed(state),
        )

    def ranks(self, events: Interactions, asked: Bools, n_items: int) -> Rows:
        """Replay ``events``; return at which rank each one ``asked`` for was given just before it happened.

        (n,) from 1, 0 = not given. It starts knowing nothing and learns from every event after asking.
        """
        state = self.start(n_items, float(events.timestamp[0]) if len(events) else 0.0)
        ranks = np.zeros(len(events), np.int32)
        replay(state, self.pace, events.user.astype(np.int64), events.item, events.timestamp, asked, ranks)
        return readonly(ranks)


def most_near(state: Trails, item: int, k: int, exclude: Rows | None) -> Scored:
    """Return the items that most often share a session with an item, by the longest half-life."""
    if item >= len(state.seen):
        return Scored.none()
    found = np.full(len(state.seen), np.nan, np.float32)
    near, weight = state.near_item[item], state.near_weight[item, :, -1]
    known = (near >= 0) & (weight > 0)
    found[near[known]] = weight[known]
    return best_of(found, k, exclude)


def bits(chances: F64) -> float:
    """Return the mean of -log2 of the chances, none below a millionth."""
    return float(-np.log2(np.maximum(chances, 1e-6)).mean())


def _learn(state: Trails, pace: Pace, events: Interactions, chances: F64) -> None:
    learn_all(state, pace, events.user.astype(np.int64), events.item, events.timestamp, chances)


def _turns(recipe: CoVisitation) -> Turns[Trails]:
    pace = recipe.pace
    return Turns(
        make=Trails._make,
        by_item=(at for at, name in enumerate(Trails._fields) if name in BY_ITEM),
        blank=empty(1, WAYS, recipe.places, pace, _LONG_AGO),
        learn=lambda state, events: _learn(state, pace, events, np.zeros(len(events))),
    )


def _sealed(state: Trails) -> Trails:
    return Trails._make(readonly(array) for array in state)


@dataclass(frozen=True, slots=True, kw_only=True)
class CoVisitationModel(NextClick):
    """What follows what at one moment, and the open sessions.

    It tells users apart by their open session alone: from the query's history, or, without one, what it saw
    itself. Somebody without an open session gets what is clicked first now. When nothing was clicked for a
    ``window`` before ``query.now``, it answers as at the last moment it knows of.

    It is open-ended: `fold` takes rows beyond ``items`` and ``users``, for what came after training, and then
    gives such items too.
    """

    kind: ClassVar[str] = "co_visitation"
    open_ended: ClassVar[bool] = True

    card: Card
    items: Vocab
    users: Vocab
    state: Trails
    turns: Turns[Trails] | None = field(default=None, repr=False, compare=False)

    @property
    def recipe(self) -> CoVisitation:
        """Return the recipe it was trained with."""
        return msgspec.convert(self.card.config, CoVisitation)

    def dense(self, query: Query) -> F32:
        """Return the probability that each item is the next click (n,), NaN for what it does not give."""
        pace, n = self.recipe.pace, len(self.state.seen)
        now = moment(query.now, float(self.state.clock[0]), pace.window)
        session = session_asked(
            query, pace.session_gap, now, n, remembered=lambda: session_of(self.state, pace, query.user, now)
        )
        found = np.empty(n, np.float32)
        scores(self.state, pace, session, now, found)
        return found

    def similar(self, item: int, k: int, *, exclude: Rows | None = None) -> Scored:
        """Return the items that most often share a session with an item, by the longest half-life."""
        return most_near(self.state, item, k, exclude)

    def fold(self, events: Interactions) -> Self:
        """Return the model after ``events``: microseconds an event, now and then a copy of its arrays."""
        recipe = self.recipe
        new = events.select(counted(events, recipe.event_types))
        if len(new) == 0:
            return self
        turns = self.turns or _turns(recipe)
        return replace(self, state=turns.after(self.state, new), turns=turns)

    def arrays(self) -> Mapping[str, AnyArray]:
        """Return all arrays to save."""
        return {**self.items.arrays("items"), **self.users.arrays("users"), **self.state._asdict()}

    @classmethod
    def open(cls, card: Card, arrays: Mapping[str, AnyArray]) -> Self:
        """Open what `arrays` named."""
        return cls(
            card=card,
            items=Vocab.from_arrays(arrays, "items"),
            users=Vocab.from_arrays(arrays, "users"),
            state=Trails._make(np.asarray(arrays[name]) for name in Trails._fields),
        )
