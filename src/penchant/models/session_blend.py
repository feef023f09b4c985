"""The next click by co-visitation and session neighbours together, weighed by what was clicked just now.

It learns event by event, its weights too; training is the same code run over the log. The equations are in
`penchant.models.session_blend_kernels`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from typing import ClassVar, Self

import msgspec
import numpy as np
from numpy.random import Generator

from penchant.data.interactions import Interactions
from penchant.data.snapshot import Snapshot
from penchant.kernel.arrays import F32, F64, AnyArray, Bools, Rows, readonly
from penchant.kernel.ids import Vocab
from penchant.kernel.progress import Progress
from penchant.models.base import Card, Model, Query, Scored, card_for
from penchant.models.co_visitation import VisitFields, bits, most_near
from penchant.models.co_visitation_kernels import BY_ITEM as OF_TRAILS
from penchant.models.co_visitation_kernels import Trails, session_of
from penchant.models.histories import above
from penchant.models.next_click import NextClick, moment, newest, session_asked
from penchant.models.next_click_kernels import WAYS
from penchant.models.popularity import counted
from penchant.models.session_blend_kernels import (
    Known,
    Learning,
    Ways,
    Weights,
    learn_all,
    replay,
    scores,
    start,
)
from penchant.models.turns import Turns
from penchant.models.vsknn import VsKnn
from penchant.models.vsknn_kernels import BY_ITEM as OF_SESSIONS
from penchant.models.vsknn_kernels import Sessions

_CHUNK = 50_000  # events learnt between two words of progress


class SessionBlend(VisitFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Co-visitation and session neighbours, blended by weights that learn online.

    Beside the fields of ``co_visitation``: ``neighbours``, ``sample``, ``position`` and ``fading`` are
    ``vsknn``'s (the last its half-life). Of the ``candidates`` likeliest items the order is learnt, with
    ``learning_rate``, from one in ``learn_every`` clicks within sessions.
    """

    name: ClassVar[str] = "session_blend"

    next_half_lives: tuple[str, ...] = ("15m", "1h", "4h")
    neighbours: int = 100
    sample: int = 200
    position: float = 2.0
    fading: str = "1h"
    candidates: int = 64
    learning_rate: float = 0.05
    learn_every: int = 12

    def __post_init__(self) -> None:
        super().__post_init__()
        above(self, 0, "candidates", "learning_rate", "learn_every")
        try:
            self.alike()
        except ValueError as error:
            raise ValueError(str(error).replace("half_life", "fading")) from error

    def alike(self) -> VsKnn:
        """Return the recipe of its session neighbours."""
        return VsKnn(
            neighbours=self.neighbours,
            sample=self.sample,
            position=self.position,
            half_life=self.fading,
            session_gap=self.session_gap,
            window=self.window,
            sessions=self.sessions,
        )

    @property
    def ways(self) -> Ways:
        """Return the numbers as the kernels take them."""
        learning = Learning(candidates=self.candidates, rate=self.learning_rate, every=self.learn_every)
        return Ways(pace=self.pace, reach=self.alike().reach, learning=learning)

    def begin(self, n_items: int, since: float) -> Known:
        """Return the state that knows nothing yet."""
        trails = self.start(n_items, since)
        return Known(
            trails=trails,
            sessions=self.alike().start(n_items, since),
            weights=start(trails.weights.shape[1], n_items),
        )

    def train(
        self, snapshot: Snapshot, *, rng: Generator, progress: Progress, previous: Model | None = None
    ) -> "SessionBlendModel":
        """Learn from the log as `SessionBlendModel.fold` would. ``rng`` and ``previous`` are not needed."""
        recent, since = newest(snapshot, self.span, self.event_types)
        known, ways = self.begin(snapshot.n_items, since), self.ways
        chances = np.zeros(len(recent))
        progress.start(self.name, len(recent))
        for first in range(0, len(recent), _CHUNK):
            part = slice(first, min(first + _CHUNK, len(recent)))
            _learn(known, ways, recent.select(part), chances[part])
            progress.advance(part.stop - first, note=f"{bits(chances[part]):.2f} bits a click")
        return SessionBlendModel(
            card=card_for(self, snapshot),
            items=snapshot.items,
            users=snapshot.users,
            known=_nested(map(readonly, _flat(known))),
        )

    def ranks(self, events: Interactions, asked: Bools, n_items: int) -> Rows:
        """Replay ``events``; return at which rank each one ``asked`` for was given just before it happened.

        (n,) from 1, 0 = not given. It starts knowing nothing and learns from every event after asking.
        """
        known = self.begin(n_items, float(events.timestamp[0]) if len(events) else 0.0)
        ranks = np.zeros(len(events), np.int32)
        replay(known, self.ways, events.user.astype(np.int64), events.item, events.timestamp, asked, ranks)
        return readonly(ranks)


def _learn(known: Known, ways: Ways, events: Interactions, chances: F64) -> None:
    learn_all(known, ways, events.user.astype(np.int64), events.item, events.timestamp, chances)


_State = tuple[AnyArray, ...]
_BY_ITEM = (
    *(name in OF_TRAILS for name in Trails._fields),
    *(name in OF_SESSIONS for name in Sessions._fields),
    *(name == "born" for name in Weights._fields),
)


def _flat(known: Known) -> _State:
    return tuple(chain.from_iterable(known))


def _nested(arrays: Iterable[AnyArray]) -> Known:
    left = iter(arrays)
    return Known(
        trails=Trails._make(islice(left, len(Trails._fields))),
        sessions=Sessions._make(islice(left, len(Sessions._fields))),
        weights=Weights._make(left),
    )


def _turns(recipe: SessionBlend) -> Turns[_State]:
    ways = recipe.ways
    return Turns(
        make=tuple[AnyArray, ...],
        by_item=(at for at, of_item in enumerate(_BY_ITEM) if of_item),
        blank=_flat(msgspec.structs.replace(recipe, sessions=WAYS).begin(1, 0.0)),
        learn=lambda state, events: _learn(_nested(state), ways, events, np.zeros(len(events))),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionBlendModel(NextClick):
    """What follows what and the latest sessions at one moment, and what each says is worth.

    It answers whom `penchant.models.co_visitation.CoVisitationModel` answers, and is as open-ended.
    """

    kind: ClassVar[str] = "session_blend"
    open_ended: ClassVar[bool] = True

    card: Card
    items: Vocab
    users: Vocab
    known: Known
    turns: Turns[_State] | None = field(default=None, repr=False, compare=False)

    @property
    def recipe(self) -> SessionBlend:
        """Return the recipe it was trained with."""
        return msgspec.convert(self.card.config, SessionBlend)

    def dense(self, query: Query) -> F32:
        """Return the probability that each item is the next click (n,), NaN for what it does not give."""
        ways, state = self.recipe.ways, self.known.trails
        now = moment(query.now, float(state.clock[0]), ways.pace.window)
        session = session_asked(
            query,
            ways.pace.session_gap,
            now,
            len(state.seen),
            remembered=lambda: session_of(state, ways.pace, query.user, now),
        )
        found = np.empty(len(state.seen), np.float32)
        scores(self.known, ways, session, now, found)
        return found

    def similar(self, item: int, k: int, *, exclude: Rows | None = None) -> Scored:
        """Return the items that most often share a session with an item, by the longest half-life."""
        return most_near(self.known.trails, item, k, exclude)

    def fold(self, events: Interactions) -> Self:
        """Return the model after ``events``: tens of microseconds an event, now and then a copy."""
        recipe = self.recipe
        new = events.select(counted(events, recipe.event_types))
        if len(new) == 0:
            return self
        turns = self.turns or _turns(recipe)
        return replace(self, known=_nested(turns.after(_flat(self.known), new)), turns=turns)

    def arrays(self) -> Mapping[str, AnyArray]:
        """Return all arrays to save."""
        return {
            **self.items.arrays("items"),
            **self.users.arrays("users"),
            **{
                f"{name}_{field}": array
                for name, part in self.known._asdict().items()
                for field, array in part._asdict().items()
            },
        }

    @classmethod
    def open(cls, card: Card, arrays: Mapping[str, AnyArray]) -> Self:
        """Open what `arrays` named."""
        a = {name: np.asarray(array) for name, array in arrays.items()}
        return cls(
            card=card,
            items=Vocab.from_arrays(arrays, "items"),
            users=Vocab.from_arrays(arrays, "users"),
            known=Known(
                trails=Trails._make(a[f"trails_{field}"] for field in Trails._fields),
                sessions=Sessions._make(a[f"sessions_{field}"] for field in Sessions._fields),
                weights=Weights._make(a[f"weights_{field}"] for field in Weights._fields),
            ),
        )
