"""The next click by co-visitation and session neighbours together, weighed by what was clicked just now.

It learns event by event, its weights too. Training is the same code run over the log, and then fits trees on
the clicks that taught the weights last. The equations are in `penchant.models.session_blend_kernels`.
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
from penchant.kernel.progress import Progress, Silent
from penchant.kernel.seeds import derive
from penchant.models.base import Card, Model, Query, Scored, card_for
from penchant.models.boosted import Choices, Trees, fit_trees
from penchant.models.co_visitation import VisitFields, bits, most_near
from penchant.models.co_visitation_kernels import BY_ITEM as OF_TRAILS
from penchant.models.co_visitation_kernels import Trails, session_of
from penchant.models.histories import above, at_least
from penchant.models.next_click import NextClick, moment, newest, session_asked
from penchant.models.next_click_kernels import WAYS
from penchant.models.popularity import counted
from penchant.models.session_blend_kernels import (
    READS,
    Known,
    Learning,
    Readers,
    Ways,
    Weights,
    learn_all,
    no_readers,
    reads_of,
    replay,
    scores,
    start,
)
from penchant.models.session_sights_kernels import Notes, notes
from penchant.models.turns import Turns
from penchant.models.vsknn import VsKnn
from penchant.models.vsknn_kernels import BY_ITEM as OF_SESSIONS
from penchant.models.vsknn_kernels import Sessions

_CHUNK = 50_000  # events learnt between two words of progress


class SessionBlend(VisitFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Co-visitation and session neighbours, blended by weights that learn online.

    Beside the fields of ``co_visitation``: ``neighbours``, ``sample``, ``position`` and ``fading`` are
    ``vsknn``'s (the last its half-life). Of the ``candidates`` likeliest items the order is learnt, with
    ``learning_rate``, from one in ``learn_every`` clicks within sessions. On the newest ``examples`` of these
    training fits up to ``trees`` (none for 0), which stay until the next training.
    """

    name: ClassVar[str] = "session_blend"

    next_half_lives: tuple[str, ...] = ("15m", "1h", "4h")
    neighbours: int = 100
    sample: int = 200
    position: float = 2.0
    fading: str = "1h"
    candidates: int = 32
    learning_rate: float = 0.05
    learn_every: int = 4
    trees: int = 300
    examples: int = 60_000

    def __post_init__(self) -> None:
        super().__post_init__()
        above(self, 0, "candidates", "learning_rate", "learn_every", "examples")
        at_least(self, 0, "trees")
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
            readers=no_readers(len(trails.owner)),
        )

    def train(
        self, snapshot: Snapshot, *, rng: Generator, progress: Progress, previous: Model | None = None
    ) -> "SessionBlendModel":
        """Learn from the log as `SessionBlendModel.fold` would, then trees. ``previous`` is not needed."""
        recent, since = newest(snapshot, self.span, self.event_types)
        known = self.begin(snapshot.n_items, since)
        trees, metrics = self.learn(known, recent, rng=rng, progress=progress)
        return SessionBlendModel(
            card=card_for(self, snapshot, metrics=metrics),
            items=snapshot.items,
            users=snapshot.users,
            known=_nested(map(readonly, _flat(known))),
            trees=trees,
        )

    def learn(
        self, known: Known, events: Interactions, *, rng: Generator, progress: Progress
    ) -> tuple[Trees, dict[str, float]]:
        """Learn from events in place; return trees fitted on the newest of them, and what they are worth."""
        ways, chances = self.ways, np.zeros(len(events))
        noted = notes(
            self.examples if self.trees else 0, self.candidates, len(known.weights.straight), ways.pace
        )
        progress.start(self.name, len(events))
        for first in range(0, len(events), _CHUNK):
            part = slice(first, min(first + _CHUNK, len(events)))
            _learn(known, ways, events.select(part), chances[part], noted)
            progress.advance(part.stop - first, note=f"{bits(chances[part]):.2f} bits a click")
        choices = choices_of(noted, len(known.weights.straight))
        return fit_trees(choices, self.trees, seed=int(rng.integers(2**31)), progress=progress)

    def ranks(self, events: Interactions, asked: Bools, n_items: int) -> Rows:
        """Replay ``events``; return at which rank each one ``asked`` for was given just before it happened.

        (n,) from 1, 0 = not given. It starts knowing nothing and learns from every event after asking; trees
        are fitted once, on what came before the first one asked for.
        """
        known = self.begin(n_items, float(events.timestamp[0]) if len(events) else 0.0)
        first = int(np.argmax(asked)) if asked.any() else len(events)
        trees, _ = self.learn(
            known, events.select(slice(0, first)), rng=derive(0, self.name), progress=Silent()
        )
        rest, ranks = events.select(slice(first, None)), np.zeros(len(events), np.int32)
        replay(
            known, self.ways, trees, _nothing(self), rest.user.astype(np.int64), rest.item, rest.timestamp,
            asked[first:], ranks[first:],
        )  # fmt: skip
        return readonly(ranks)


def _learn(known: Known, ways: Ways, events: Interactions, chances: F64, noted: Notes) -> None:
    learn_all(known, ways, events.user.astype(np.int64), events.item, events.timestamp, chances, noted)


def _nothing(recipe: SessionBlend) -> Notes:
    return notes(0, recipe.candidates, 0, recipe.pace)


def choices_of(noted: Notes, features: int) -> Choices:
    """Return what was noted, oldest first."""
    room, count = len(noted.size), int(noted.ever[0])
    order = np.arange(max(count - room, 0), count) % max(room, 1)
    within = np.arange(noted.sights.shape[1])
    where = (order[:, None] * len(within) + within)[within < noted.size[order, None]]
    sights = noted.sights.reshape(-1, noted.sights.shape[2])[where]
    return Choices(
        features=sights,
        offset=sights[:, features].astype(np.float64),
        size=noted.size[order],
        chosen=noted.clicked[order],
    )


_State = tuple[AnyArray, ...]
_BY_ITEM = (
    *(name in OF_TRAILS for name in Trails._fields),
    *(name in OF_SESSIONS for name in Sessions._fields),
    *(name == "born" for name in Weights._fields),
    *(False for _ in Readers._fields),
)


def _flat(known: Known) -> _State:
    return tuple(chain.from_iterable(known))


def _nested(arrays: Iterable[AnyArray]) -> Known:
    left = iter(arrays)
    return Known(
        trails=Trails._make(islice(left, len(Trails._fields))),
        sessions=Sessions._make(islice(left, len(Sessions._fields))),
        weights=Weights._make(islice(left, len(Weights._fields))),
        readers=Readers._make(left),
    )


def _turns(recipe: SessionBlend) -> Turns[_State]:
    ways, noted = recipe.ways, _nothing(recipe)
    return Turns(
        make=tuple[AnyArray, ...],
        by_item=(at for at, of_item in enumerate(_BY_ITEM) if of_item),
        blank=_flat(msgspec.structs.replace(recipe, sessions=WAYS).begin(1, 0.0)),
        learn=lambda state, events: _learn(_nested(state), ways, events, np.zeros(len(events)), noted),
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
    trees: Trees
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
        scores(self.known, ways, self.trees, session, self._reads(query), now, found)
        return found

    def _reads(self, query: Query) -> Rows:
        if query.history is not None:
            items = query.history.item
            return readonly(items[items < len(self.known.trails.seen)][-READS:])
        return readonly(reads_of(self.known, query.user).view() if query.user >= 0 else np.zeros(0, np.int32))

    def similar(self, item: int, k: int, *, exclude: Rows | None = None) -> Scored:
        """Return the items that most often share a session with an item, by the longest half-life."""
        return most_near(self.known.trails, item, k, exclude)

    def fold(self, events: Interactions) -> Self:
        """Return the model after ``events``: a tenth of a millisecond an event, now and then a copy."""
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
                for name, part in {**self.known._asdict(), "trees": self.trees}.items()
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
                readers=Readers._make(a[f"readers_{field}"] for field in Readers._fields),
            ),
            trees=Trees._make(a[f"trees_{field}"] for field in Trees._fields),
        )
