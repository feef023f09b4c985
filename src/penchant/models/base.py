"""The contracts of recipes and models.

A recipe is a frozen configuration that trains; a model is immutable and is only ever a trained thing, so
"not fitted" cannot happen. A model is saved as arrays and a card, never pickled.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

import msgspec
import numpy as np
from numpy.random import Generator

from penchant.data.events import Value
from penchant.data.interactions import Interactions
from penchant.data.snapshot import Snapshot
from penchant.kernel.arrays import F32, AnyArray, Csr, Rows, readonly
from penchant.kernel.ids import Vocab
from penchant.kernel.progress import Progress

FORMAT = 1


class Card(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The model card: how a model came to be."""

    recipe: str  # name in the workspace's catalogue of recipes
    config: dict[str, Any]  # the recipe's own fields
    snapshot: str  # digest
    cutoff: float  # seconds UTC
    head: int  # last log event of the snapshot
    seed: int
    users: int
    items: int
    interactions: int
    format: int = FORMAT
    seconds: float = 0.0  # wall time of training
    cpu_seconds: float = 0.0
    peak_mb: float = 0.0  # peak resident memory of the training process
    metrics: dict[str, float] = {}
    notes: list[str] = []


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One request to a model.

    ``user`` is the row in the model's own users, -1 when it was trained without this user. ``history`` is
    the user's whole known history with item rows of the model; None says that nothing happened since
    training, so that the trained representation is exact. ``item`` is the anchor of a related-items request.
    ``attributes`` are what was said of the user since training, for a model that is `Placing`.
    """

    user: int = -1
    history: Interactions | None = None
    item: int = -1
    now: float = 0.0
    attributes: Mapping[str, Value] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Queries:
    """n requests at once: as `Query`, with ``histories.user`` naming the request (0..n-1) of each event."""

    users: Rows  # (n,), -1 = unknown to the model
    histories: Interactions | None = None
    now: float = 0.0

    def __len__(self) -> int:
        return len(self.users)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """Item rows with scores, best first; at most k, fewer when no more are eligible."""

    items: Rows  # (m,)
    scores: F32  # (m,)

    @classmethod
    def none(cls) -> "Scored":
        """Return no items."""
        return cls(items=readonly(np.zeros(0, np.int32)), scores=readonly(np.zeros(0, np.float32)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The best k of each of n requests: rows padded with -1, scores with -inf."""

    items: Rows  # (n, k)
    scores: F32  # (n, k)


@runtime_checkable
class Model(Protocol):
    """What a recipe returns: immutable, its arrays read-only."""

    kind: ClassVar[str]  # the name `open` is found by, stable across versions

    @property
    def card(self) -> Card:
        """Return the model card."""
        ...

    @property
    def items(self) -> Vocab:
        """Return the items it can give."""
        ...

    @property
    def users(self) -> Vocab:
        """Return the users it was trained with; empty when it does not tell users apart."""
        ...

    def arrays(self) -> Mapping[str, AnyArray]:
        """Return all arrays to save, vocabularies included."""
        ...

    @classmethod
    def open(cls, card: Card, arrays: Mapping[str, AnyArray]) -> Self:
        """Return the model that `arrays` was taken from, using the given (memory-mapped) arrays in place."""
        ...


@runtime_checkable
class Retriever(Model, Protocol):
    """A model that gives items.

    Invariants: best first; equal scores in ascending row (so item id) order; never an excluded row; never a
    row twice; no NaN score; at most k, and k when that many items are eligible.
    """

    def top(self, query: Query, k: int, *, exclude: Rows | None = None) -> Scored:
        """Return the best k items of one request."""
        ...

    def top_many(self, queries: Queries, k: int, *, exclude: Csr | None = None) -> Batch:
        """Return the best k items of each request; row i of ``exclude`` lists what request i must not get."""
        ...

    def score(self, query: Query, items: Rows) -> F32:
        """Return the score of each given item row, NaN where it cannot score; agrees with `top`."""
        ...


@runtime_checkable
class Similar(Model, Protocol):
    """A model that knows which items are alike."""

    def similar(self, item: int, k: int, *, exclude: Rows | None = None) -> Scored:
        """Return the k items most like an item row, that item itself never among them."""
        ...


@runtime_checkable
class Online(Model, Protocol):
    """A model that learns from new events without retraining; replay and live serving share this code."""

    def fold(self, events: Interactions) -> Self:
        """Return the model after ``events``, oldest first: its own item rows, user -1 = unknown."""
        ...


@runtime_checkable
class OpenEnded(Online, Protocol):
    """An online model that takes, and gives, rows past the end of its vocabularies: what came after training.

    Each such row stays the same item or user for as long as the model is served; rows it was never told of
    are simply unknown to it.
    """

    open_ended: ClassVar[bool]


@runtime_checkable
class Placing(Model, Protocol):
    """A model that knows personas, and places somebody by attributes alone (`Query.attributes`)."""

    @property
    def personas(self) -> Rows:
        """Return each user's persona, (n_users,), -1 for none."""
        ...

    @property
    def n_personas(self) -> int:
        """Return the number of personas."""
        ...

    def persona_of(self, attributes: Mapping[str, Value]) -> int:
        """Return the persona of somebody with these attributes, -1 for none."""
        ...

    def persona_top(self, persona: int, k: int) -> Scored:
        """Return the best k items of a persona."""
        ...


class Recipe(Protocol):
    """A frozen, validated configuration that trains.

    Implementations are `msgspec.Struct`s, frozen, keyword-only, unknown fields forbidden, so they round-trip
    through TOML; they check their values in ``__post_init__`` and raise ValueError with the field's name.
    """

    name: ClassVar[str]

    def train(
        self, snapshot: Snapshot, *, rng: Generator, progress: Progress, previous: Model | None = None
    ) -> Model:
        """Train on a snapshot; ``previous`` is the last model of this recipe, to start warm from."""
        ...


def card_for(recipe: Any, snapshot: Snapshot, *, seed: int = 0, **more: Any) -> Card:
    """Return the card of a model that ``recipe`` (a msgspec struct) trains on ``snapshot``."""
    return Card(
        recipe=type(recipe).name,
        # As JSON gives it back (lists, not tuples), so that a card read from disk equals the one written.
        config=msgspec.json.decode(msgspec.json.encode(recipe)),
        snapshot=snapshot.digest,
        cutoff=snapshot.cutoff,
        head=snapshot.head,
        seed=seed,
        users=snapshot.n_users,
        items=snapshot.n_items,
        interactions=len(snapshot.interactions),
        **more,
    )
