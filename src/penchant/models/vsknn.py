"""Session neighbours: what sessions like this one went on with, as of the last click.

It learns event by event; training is the same code run over the log. The equations are in
`penchant.models.vsknn_kernels`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import msgspec
import numpy as np
from numpy.random import Generator

from penchant.data.interactions import Interactions
from penchant.data.snapshot import Snapshot
from penchant.kernel.arrays import F32, AnyArray, Bools, Rows, readonly
from penchant.kernel.durations import seconds_of
from penchant.kernel.ids import Vocab
from penchant.kernel.progress import Progress
from penchant.models.base import Card, Model, Query, card_for
from penchant.models.histories import above, at_least
from penchant.models.next_click import NextClick, moment, newest, session_asked
from penchant.models.next_click_kernels import WAYS
from penchant.models.popularity import counted
from penchant.models.turns import Turns
from penchant.models.vsknn_kernels import (
    BY_ITEM,
    Reach,
    Sessions,
    empty,
    learn_all,
    replay,
    scores,
    session_of,
)

_CHUNK = 100_000  # events learnt between two words of progress


class VsKnn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Vector session nearest neighbours; learns online.

    A user's clicks less than ``session_gap`` apart are one session. Of each item the latest ``sample``
    sessions are looked at, and the ``neighbours`` most alike speak. The later an item of the open session,
    the more it says, by its place to the power of ``position``; ``shared_idf`` and ``given_idf`` say how much
    more rare items count, shared ones and given ones. A neighbour fades with ``half_life``. Only items
    clicked within ``window`` are given, never those of the session itself. ``sessions`` bounds how many are
    remembered. ``event_types`` are those that count; none named = all.
    """

    name: ClassVar[str] = "vsknn"

    neighbours: int = 100
    sample: int = 200
    position: float = 2.0
    shared_idf: float = 1.0
    given_idf: float = 0.0
    half_life: str = "1h"
    session_gap: str = "30m"
    window: str = "1d"
    sessions: int = 65_536
    event_types: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("half_life", "session_gap", "window"):
            seconds_of(getattr(self, name), field=name)
        at_least(self, 0, "position", "shared_idf", "given_idf")
        above(self, 0, "neighbours", "sample", "sessions")

    @property
    def reach(self) -> Reach:
        """Return the numbers as the kernels take them, spans in seconds."""
        return Reach(
            neighbours=self.neighbours,
            position=self.position,
            shared_idf=self.shared_idf,
            given_idf=self.given_idf,
            half_life=seconds_of(self.half_life),
            session_gap=seconds_of(self.session_gap),
            window=seconds_of(self.window),
        )

    def start(self, n_items: int, since: float) -> Sessions:
        """Return the state that knows nothing yet."""
        return empty(n_items, -(-self.sessions // WAYS) * WAYS, self.sample, since)

    def train(
        self, snapshot: Snapshot, *, rng: Generator, progress: Progress, previous: Model | None = None
    ) -> "VsKnnModel":
        """Learn from the log as `VsKnnModel.fold` would. ``rng`` and ``previous`` are not needed."""
        reach = self.reach
        events, since = newest(snapshot, float("inf"), self.event_types)
        state = self.start(snapshot.n_items, since)
        progress.start(self.name, len(events))
        for begin in range(0, len(events), _CHUNK):
            _learn(state, reach, events.select(slice(begin, begin + _CHUNK)))
            progress.advance(min(_CHUNK, len(events) - begin), note=f"{int(state.begun[0]):,} sessions")
        return VsKnnModel(
            card=card_for(self, snapshot, metrics={"sessions": float(state.begun[0])}),
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
        replay(state, self.reach, events.user.astype(np.int64), events.item, events.timestamp, asked, ranks)
        return readonly(ranks)


def _learn(state: Sessions, reach: Reach, events: Interactions) -> None:
    learn_all(state, reach, events.user.astype(np.int64), events.item, events.timestamp)


def _turns(recipe: VsKnn) -> Turns[Sessions]:
    reach = recipe.reach
    return Turns(
        make=Sessions._make,
        by_item=(at for at, name in enumerate(Sessions._fields) if name in BY_ITEM),
        blank=empty(1, WAYS, recipe.sample, 0.0),
        learn=lambda state, events: _learn(state, reach, events),
    )


def _sealed(state: Sessions) -> Sessions:
    return Sessions._make(readonly(array) for array in state)


@dataclass(frozen=True, slots=True, kw_only=True)
class VsKnnModel(NextClick):
    """The latest sessions at one moment.

    It tells users apart by their open session alone: from the query's history, or, without one, what it saw
    itself. Somebody without an open session gets nothing. When nothing was clicked for a ``window`` before
    ``query.now``, it answers as at the last moment it knows of.

    It is open-ended: `fold` takes rows beyond ``items`` and ``users``, for what came after training, and then
    gives such items too.
    """

    kind: ClassVar[str] = "vsknn"
    open_ended: ClassVar[bool] = True

    card: Card
    items: Vocab
    users: Vocab
    state: Sessions
    turns: Turns[Sessions] | None = field(default=None, repr=False, compare=False)

    @property
    def recipe(self) -> VsKnn:
        """Return the recipe it was trained with."""
        return msgspec.convert(self.card.config, VsKnn)

    def dense(self, query: Query) -> F32:
        """Return what the neighbours say of every item (n,), NaN where they say nothing."""
        reach, n = self.recipe.reach, len(self.state.seen)
        now = moment(query.now, float(self.state.clock[0]), reach.window)
        session = session_asked(
            query,
            reach.session_gap,
            now,
            n,
            remembered=lambda: session_of(self.state, reach, query.user, now),
        )
        found = np.empty(n, np.float32)
        scores(self.state, reach, session, now, found)
        return found

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
            state=Sessions._make(np.asarray(arrays[name]) for name in Sessions._fields),
        )
