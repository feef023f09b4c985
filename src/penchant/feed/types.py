"""The contracts of a feed: request, candidates, verdicts, slots and the trace that explains them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.random import Generator

from penchant.data.events import Value
from penchant.data.interactions import Interactions
from penchant.kernel.arrays import F32, F64, Bools, Rows, readonly
from penchant.kernel.ids import Vocab


class Catalogue(Protocol):
    """The items a feed can hold: those of the serving snapshot and those that arrived since.

    Rows below ``len(base)`` are rows of the snapshot's vocabulary; newer items follow in the order they were
    put, so that a row keeps its meaning until the next snapshot is swapped in.
    """

    @property
    def base(self) -> Vocab:
        """Return the snapshot's items."""
        ...

    def __len__(self) -> int: ...

    def id(self, row: int) -> str:
        """Return the outside id of a row."""
        ...

    def row(self, id_: str) -> int:
        """Return the row of an outside id, -1 when unknown."""
        ...

    def property(self, row: int, name: str) -> Any:
        """Return one property of an item (None when missing)."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Impressions:
    """What a user was shown lately: parallel, oldest first."""

    items: Rows  # (n,) catalogue rows
    timestamps: F64  # (n,) seconds, UTC

    def since(self, time: float) -> Rows:
        """Return the rows shown after a time, one entry an impression."""
        return self.items[np.searchsorted(self.timestamps, time, side="right") :]


NOTHING_SHOWN = Impressions(items=readonly(np.zeros(0, np.int32)), timestamps=readonly(np.zeros(0)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a feed is asked for, resolved to catalogue rows.

    ``user`` is the row in the serving snapshot's users, -1 for somebody it does not know. ``history`` is all
    that is known of the user, oldest first, item rows of the catalogue; ``fresh`` says that part of it is
    newer than the snapshot. ``shown`` is kept only where a feed asks for it. ``attributes`` are what was said
    of the user since the snapshot, None when nothing was.
    """

    request_id: str
    feed: str
    user_id: str
    user: int
    k: int
    now: float
    history: Interactions
    fresh: bool
    catalogue: Catalogue
    item: int = -1  # anchor of a related-items feed
    exclude: Rows = field(default_factory=lambda: readonly(np.zeros(0, np.int32)))
    context: Mapping[str, str] = field(default_factory=dict[str, str])
    shown: Impressions = NOTHING_SHOWN
    attributes: Mapping[str, Value] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """Items from one source, best first, no row twice."""

    source: str
    items: Rows  # (m,) catalogue rows
    scores: F32  # (m,)

    def __len__(self) -> int:
        return len(self.items)

    def select(self, keep: Bools) -> "Candidates":
        """Return those where ``keep`` is true, in the same order."""
        return Candidates(
            source=self.source, items=readonly(self.items[keep]), scores=readonly(self.scores[keep])
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a rule says: which candidates stay and, in one or two words, why the others go."""

    keep: Bools  # (m,)
    reason: str


class Slot(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One place of the feed. ``propensity`` is None where it is not known; ``why`` is for people.

    A struct and not a dataclass: a request makes dozens, and a frozen dataclass takes 30 times as long.
    """

    item: int
    item_id: str
    source: str
    score: float
    propensity: float | None = None
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one stage did: the one trace type of explain, metrics and console."""

    stage: str
    rows_in: int
    rows_out: int
    ms: float
    dropped: Mapping[str, int] = field(default_factory=dict[str, int])  # reason -> number
    broken: Mapping[str, int] = field(default_factory=dict[str, int])  # limit -> places that break it
    failure: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """The answer to a request: at most k slots, no item twice."""

    request_id: str
    feed: str
    user_id: str
    model_version: str
    slots: tuple[Slot, ...]
    trace: tuple[Step, ...]


class Source(Protocol):
    """Gives candidates for a request: best first, no row twice, each a row of the request's catalogue."""

    @property
    def name(self) -> str:
        """Return the name it is declared by."""
        ...

    def fetch(self, request: Request, k: int) -> Candidates:
        """Return up to ``k`` candidates; an empty answer is an answer."""
        ...


class Rule(Protocol):
    """Keeps or removes candidates with a reason; never reorders, never adds."""

    @property
    def name(self) -> str:
        """Return the name it is declared by."""
        ...

    def judge(self, request: Request, candidates: Candidates) -> Verdict:
        """Return which candidates stay."""
        ...


class Ranker(Protocol):
    """Orders the candidates of one source by a model's score; NaN = cannot score, goes last."""

    @property
    def name(self) -> str:
        """Return the name it is declared by."""
        ...

    def score(self, request: Request, candidates: Candidates) -> F32:
        """Return a score for each candidate."""
        ...


class Mixer(Protocol):
    """Lays out the feed from ranked candidates by source.

    Invariants: at most k slots; no item twice; never fewer than k while an eligible candidate is left.
    """

    @property
    def name(self) -> str:
        """Return the name it is declared by."""
        ...

    def mix(self, request: Request, ranked: Mapping[str, Candidates], *, rng: Generator) -> tuple[Slot, ...]:
        """Return the slots, first position first."""
        ...
