"""Items as words: vectors from the sessions they appear in; the next item is near the mean of the session's.

The equations and sources are in `penchant.models.prod2vec_kernels`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import msgspec
import numpy as np
from numpy.random import Generator

from penchant.data.interactions import Interactions
from penchant.data.snapshot import Snapshot
from penchant.kernel.arrays import F32, AnyArray, Csr, Rows, readonly
from penchant.kernel.durations import seconds_of
from penchant.kernel.ids import Vocab
from penchant.kernel.progress import Progress
from penchant.models.answering import ByVectors
from penchant.models.base import Card, Model, Queries, card_for
from penchant.models.early_stopping import best_epochs
from penchant.models.index import ExactIndex
from penchant.models.prod2vec_kernels import epoch
from penchant.models.sessions import newest_sessions, sessions_of

_VALIDATION = 0.1  # of the sessions, the latest
_LEAST_REQUESTS = 50  # fewer say nothing about when to stop
_MOST_REQUESTS = 5_000
_K = 10


class Prod2Vec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Continuous bag of words with negative sampling over sessions.

    A user's events less than ``session_gap`` apart are one session. ``negative_exponent`` may be negative:
    what is best depends on the data. ``subsample`` 0 leaves no frequent item out. Items of fewer than
    ``min_count`` events get no vector. Training stops once NDCG@10 of the next item in the latest tenth of
    the sessions has not grown for ``patience`` epochs; then it is done once more on all sessions, for as many
    epochs as were best. ``patience`` 0 does all ``epochs`` at once.
    """

    name: ClassVar[str] = "prod2vec"

    dimensions: int = 48
    epochs: int = 20
    window: int = 8
    negatives: int = 10
    negative_exponent: float = 0.75
    subsample: float = 0.0
    rate: float = 0.05
    min_count: int = 3
    session_gap: str = "30m"
    patience: int = 2

    def __post_init__(self) -> None:
        for field in ("dimensions", "epochs", "window", "negatives", "rate", "min_count"):
            if not getattr(self, field) > 0:
                raise ValueError(f"{field} is {getattr(self, field)}: it must be above 0.")
        for field in ("subsample", "patience"):
            if not getattr(self, field) >= 0:
                raise ValueError(f"{field} is {getattr(self, field)}: it must be 0 or more.")
        seconds_of(self.session_gap, field="session_gap")

    def train(
        self, snapshot: Snapshot, *, rng: Generator, progress: Progress, previous: Model | None = None
    ) -> "Prod2VecModel":
        """Train; items of a ``previous`` model of as many dimensions start from their vectors there."""
        sessions, _ = sessions_of(snapshot.interactions, seconds_of(self.session_gap), snapshot.n_items)
        start = self._start(snapshot, rng, previous)
        seed = int(rng.integers(1, 2**63))
        metrics: dict[str, float] = {}
        epochs = self.epochs
        early = _Validation.of(sessions) if self.patience else None
        if early is not None:
            progress.start(f"{self.name}: how many epochs", self.epochs)
            epochs, metrics = self._best_epochs(early, start.copy(), seed, progress)
        progress.start(self.name, epochs)
        learner = _Learner(self, sessions, start, seed, epochs)
        for _ in range(epochs):
            progress.advance(note=f"loss {learner.step():.4f}")
        vectors = learner.vectors()
        index = ExactIndex.build(vectors)
        last = newest_sessions(snapshot.interactions, seconds_of(self.session_gap))
        return Prod2VecModel(
            card=card_for(self, snapshot, metrics={"epochs": float(epochs), **metrics}),
            items=snapshot.items,
            users=snapshot.users,
            index=index,
            user_vectors=_by_user(last, last.item, vectors, snapshot.n_users),
        )

    def _start(self, snapshot: Snapshot, rng: Generator, previous: Model | None) -> F32:
        shape = (snapshot.n_items, self.dimensions)
        inputs = ((rng.random(shape, np.float32) - np.float32(0.5)) / self.dimensions).astype(np.float32)
        if isinstance(previous, Prod2VecModel) and previous.user_vectors.shape[1] == self.dimensions:
            at = previous.items.rows(snapshot.items.to_arrow())
            theirs = previous.index.by_row()[at]
            known = (at >= 0) & theirs.any(axis=1)
            inputs[known] = theirs[known]
        return inputs

    def _best_epochs(
        self, early: "_Validation", start: F32, seed: int, progress: Progress
    ) -> tuple[int, dict[str, float]]:
        learner = _Learner(self, early.train, start, seed, self.epochs)

        def qualities() -> Iterator[float]:
            for _ in range(self.epochs):
                loss = learner.step()
                quality = early.ndcg(learner.vectors())
                progress.advance(note=f"loss {loss:.4f}, NDCG@{_K} {quality:.4f}")
                yield quality

        epochs, best = best_epochs(qualities(), self.patience)
        return epochs, {f"validation_ndcg_at_{_K}": best}


class _Learner:
    """The state of one training: vectors, the order of sessions, the rate that falls with the epochs."""

    def __init__(self, recipe: Prod2Vec, sessions: Csr, inputs: F32, seed: int, epochs: int) -> None:
        counts = np.bincount(sessions.indices, minlength=sessions.n_columns).astype(np.float64)
        self._frequent = counts >= recipe.min_count
        share = counts / max(counts.sum(), 1.0)
        self._keep = self._frequent.astype(np.float64)
        if recipe.subsample > 0:
            self._keep *= np.minimum(np.sqrt(recipe.subsample / np.maximum(share, 1e-12)), 1.0)
        drawn = np.zeros(len(counts))
        drawn[self._frequent] = counts[self._frequent] ** recipe.negative_exponent
        self._cumulative = np.cumsum(drawn) / max(drawn.sum(), 1e-300)
        self._recipe, self._sessions, self._epochs = recipe, sessions, epochs
        self._inputs, self._outputs = inputs, np.zeros_like(inputs)
        self._rng = np.random.default_rng(seed)
        self._done = 0

    def step(self) -> float:
        """Learn from all sessions once; return the loss."""
        recipe, total = self._recipe, self._epochs
        falling = [recipe.rate * max(1 - e / total, 0.01) for e in (self._done, self._done + 1)]
        self._done += 1
        return epoch(
            self._sessions.indices,
            self._sessions.indptr,
            self._rng.permutation(self._sessions.n_rows),
            self._keep,
            self._cumulative,
            self._inputs,
            self._outputs,
            recipe.window,
            recipe.negatives,
            falling[0],
            falling[1],
            self._rng.integers(1, 2**63, 1, np.uint64),
        )

    def vectors(self) -> F32:
        """Return the items' vectors (n, d) at length 1, zeros for rare items."""
        return unit(np.where(self._frequent[:, None], self._inputs, np.float32(0)))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Validation:
    """The earlier sessions to learn from, and the latest with their last item to find from those before."""

    train: Csr
    asked: Csr
    wanted: Rows

    @classmethod
    def of(cls, sessions: Csr) -> Self | None:
        """Return None when too few sessions are left to ask about."""
        cut = int(sessions.n_rows * (1 - _VALIDATION))
        late = np.arange(cut, sessions.n_rows, dtype=np.int32)
        late = late[np.diff(sessions.indptr)[late] > 1][-_MOST_REQUESTS:]
        if len(late) < _LEAST_REQUESTS:
            return None
        taken = sessions.take(late)
        ends = taken.indptr[1:] - 1
        before = np.ones(taken.nnz, np.bool_)
        before[ends] = False
        owner = np.repeat(np.arange(len(late), dtype=np.int32), np.diff(taken.indptr))
        asked = Csr.group(
            owner[before],
            taken.indices[before],
            taken.data[before],
            n_rows=len(late),
            n_columns=sessions.n_columns,
        )
        return cls(
            train=sessions.take(np.arange(cut, dtype=np.int32)), asked=asked, wanted=taken.indices[ends]
        )

    def ndcg(self, vectors: F32) -> float:
        """Return the mean NDCG@10 of the last item."""
        return float(next_item_ndcg(vectors, means(self.asked, vectors), self.asked, self.wanted).mean())


def next_item_ndcg(vectors: F32, queries: F32, seen: Csr, wanted: Rows) -> F32:
    """Return NDCG@10 (n,) of one ``wanted`` item a request among the nearest to ``queries`` (n, d).

    Row i of ``seen`` is not given to request i; a request that knows no vector, or wants what has none,
    counts 0.
    """
    index = ExactIndex.build(vectors)
    if len(index.rows) == 0:
        return np.zeros(len(wanted), np.float32)
    found = index.top_many(queries, _K, exclude=seen).items
    hit = np.equal(found, wanted[:, None]) & np.any(queries, axis=1, keepdims=True)
    return (hit / np.log2(np.arange(_K) + 2.0)).sum(axis=1).astype(np.float32)


def unit(vectors: F32) -> F32:
    """Return each row at length 1, zeros as they are."""
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return readonly((vectors / np.where(norms > 0, norms, 1)).astype(np.float32))


def means(rows: Csr, vectors: F32) -> F32:
    """Return the mean vector (n, d) of each row's items, zeros where none has one."""
    owner = np.repeat(np.arange(rows.n_rows), np.diff(rows.indptr))
    total = np.zeros((rows.n_rows, vectors.shape[1]), np.float32)
    np.add.at(total, owner, vectors[rows.indices])
    return unit(total)


def _by_user(events: Interactions, places: Rows, vectors: F32, n: int) -> F32:
    """Return the mean vector of each user's events (n, d), -1 in ``places`` = has no vector."""
    has = places >= 0
    ones = np.ones(int(has.sum()), np.float32)
    grouped = Csr.group(events.user[has], places[has], ones, n_rows=n, n_columns=len(vectors))
    return means(grouped, vectors)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prod2VecModel(ByVectors):
    """Vectors of items at length 1, so that inner products are cosines.

    A request is answered by the items nearest to the mean of the last session: of the query's history, or of
    what was trained on. Who has none of that gets nothing.
    """

    kind: ClassVar[str] = "prod2vec"

    card: Card
    items: Vocab
    users: Vocab
    index: ExactIndex
    user_vectors: F32  # (n_users, d), zeros for a user without a vector

    @property
    def recipe(self) -> Prod2Vec:
        """Return the recipe it was trained with."""
        return msgspec.convert(self.card.config, Prod2Vec)

    def vectors(self, queries: Queries) -> F32:
        """Return the direction of each request's last session (n, d)."""
        out = np.zeros((len(queries), self.user_vectors.shape[1]), np.float32)
        known = queries.users >= 0
        out[known] = self.user_vectors[queries.users[known]]
        if queries.histories is not None and len(queries.histories):
            last = newest_sessions(queries.histories, seconds_of(self.recipe.session_gap))
            told = np.unique(last.user)
            places = self.index.position[last.item]
            out[told] = _by_user(last, places, self.index.factors, len(queries))[told]
        return readonly(out)

    def arrays(self) -> Mapping[str, AnyArray]:
        """Return all arrays to save."""
        return {
            **self.items.arrays("items"),
            **self.users.arrays("users"),
            **self.index.arrays(),
            "user_vectors": self.user_vectors,
        }

    @classmethod
    def open(cls, card: Card, arrays: Mapping[str, AnyArray]) -> Self:
        """Open what `arrays` named, in place."""
        return cls(
            card=card,
            items=Vocab.from_arrays(arrays, "items"),
            users=Vocab.from_arrays(arrays, "users"),
            index=ExactIndex.open(arrays),
            user_vectors=np.asarray(arrays["user_vectors"]),
        )
