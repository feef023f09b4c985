"""Matrix factorisation by stochastic gradients, with a choice of loss; `bpr` is the one that ranks pairs.

The losses, their gradients and papers are in `penchant.models.mf_sgd_kernels`. A history that the model was
not trained with gets its vector by the same steps, the items held still.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import msgspec
import numpy as np
from numpy.random import Generator

from penchant.data.snapshot import Snapshot
from penchant.kernel.arrays import F32, AnyArray, Rows, readonly
from penchant.kernel.ids import Vocab
from penchant.kernel.progress import Progress
from penchant.models.answering import ByVectors
from penchant.models.base import Card, Model, Queries, card_for
from penchant.models.early_stopping import Step, search
from penchant.models.histories import Weighing, above, at_least
from penchant.models.index import ExactIndex
from penchant.models.mf_sgd_kernels import BPR, LOGISTIC, SOFTMAX, run

_LOSSES = {"bpr": BPR, "logistic": LOGISTIC, "softmax": SOFTMAX}
_FOLDS = 20  # passes over a history that is folded in
_SEED = 88_172_645_463_325_252  # of the random numbers of every folding in
_START = 0.1  # AdaGrad's first sum of squares: how large the first steps may be


class SgdFields(Weighing, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fields of factorisation by gradients.

    Each pair counts once an epoch, however often it happened; only events that weigh above 0 make one.
    ``negatives`` are drawn for each pair, ``rate`` is AdaGrad's step. How many of the ``epochs`` are best is
    found first on the older nine tenths of the interactions, by how well they rank the newest tenth, until
    ``patience`` more brought nothing better. ``patience`` 0 does all ``epochs`` at once.
    """

    factors: int = 64
    epochs: int = 30
    rate: float = 0.05
    regularization: float = 0.01
    negatives: int = 4
    initial_deviation: float = 0.1
    patience: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "factors", "epochs", "negatives")
        at_least(self, 0, "regularization", "patience")
        above(self, 0, "rate", "initial_deviation")

    def fit(
        self, snapshot: Snapshot, loss: str, rng: Generator, progress: Progress, previous: Model | None
    ) -> "MfModel":
        """Train; whoever is in a ``previous`` model of as many factors starts from there."""
        seed = int(rng.integers(2**63))

        def afresh(part: Snapshot) -> Iterator[Step]:
            training = _Training(self, part, loss, np.random.default_rng(seed))
            for _ in range(self.epochs):
                yield training.epoch(), *training.vectors()

        epochs, metrics = search(
            afresh, snapshot, what=loss, epochs=self.epochs, patience=self.patience, progress=progress
        )
        training = _Training(self, snapshot, loss, rng)
        if isinstance(previous, MfModel) and previous.user_factors.shape[1] == self.factors:
            training.start_from(previous, snapshot)
        progress.start(loss, epochs)
        reached = 0.0
        for _ in range(epochs):
            reached = training.epoch()
            progress.advance(note=f"loss {reached:.4f}")
        users, items = training.vectors()
        return MfModel(
            card=card_for(self, snapshot, metrics={"loss": reached, "epochs": float(epochs), **metrics}),
            items=snapshot.items,
            users=snapshot.users,
            user_factors=readonly(np.ascontiguousarray(users[:, :-1])),
            index=ExactIndex.build(items),
        )


class MfSgd(SgdFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Factors by one of three losses: ``softmax`` over sampled items, ``logistic`` or ``bpr``."""

    name: ClassVar[str] = "mf_sgd"

    loss: Literal["softmax", "logistic", "bpr"] = "softmax"
    negatives: int = 32

    def train(
        self, snapshot: Snapshot, *, rng: Generator, progress: Progress, previous: Model | None = None
    ) -> "MfModel":
        """Train."""
        return self.fit(snapshot, self.loss, rng, progress, previous)


class Bpr(SgdFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bayesian personalised ranking: what happened above what did not."""

    name: ClassVar[str] = "bpr"

    def train(
        self, snapshot: Snapshot, *, rng: Generator, progress: Progress, previous: Model | None = None
    ) -> "MfModel":
        """Train."""
        return self.fit(snapshot, "bpr", rng, progress, previous)


class _Training:
    """The state of one training: factors, biases, AdaGrad's sums, the random numbers."""

    def __init__(self, recipe: SgdFields, snapshot: Snapshot, loss: str, rng: Generator) -> None:
        n, m, f = snapshot.n_users, snapshot.n_items, recipe.factors
        deviation = recipe.initial_deviation / np.sqrt(f)
        self._recipe, self._loss, self._rng = recipe, _LOSSES[loss], rng
        self._seen = recipe.matrix(snapshot.interactions, n, m, now=snapshot.cutoff)
        self._owner = np.repeat(np.arange(n, dtype=np.int32), np.diff(self._seen.indptr))
        self._warm = readonly(np.flatnonzero(np.bincount(self._seen.indices, minlength=m)).astype(np.int32))
        self._x = (rng.standard_normal((n, f)) * deviation).astype(np.float32)
        self._y = (rng.standard_normal((m, f)) * deviation).astype(np.float32)
        self._b = np.zeros(m, np.float32)
        self._of_x, self._of_y, self._of_b = (
            np.full(a.shape, _START, np.float32) for a in (self._x, self._y, self._b)
        )
        self._state = np.array([int(rng.integers(1, 2**62))])

    def start_from(self, previous: "MfModel", snapshot: Snapshot) -> None:
        """Take over what an earlier model knows of the same users and items."""
        at = previous.users.rows(snapshot.users.to_arrow())
        self._x[at >= 0] = previous.user_factors[at[at >= 0]]
        at = previous.items.rows(snapshot.items.to_arrow())
        old = previous.index.by_row()[at[at >= 0]]
        self._y[at >= 0], self._b[at >= 0] = old[:, :-1], old[:, -1]

    def epoch(self) -> float:
        """Learn from every pair once; return the mean loss."""
        order = self._rng.permutation(self._seen.nnz)
        return float(
            run(
                readonly(self._owner[order]),
                readonly(self._seen.indices[order]),
                self._seen.indptr,
                self._seen.indices,
                self._warm,
                self._x,
                self._y,
                self._b,
                self._of_x,
                self._of_y,
                self._of_b,
                np.float32(self._recipe.rate),
                np.float32(self._recipe.regularization),
                self._recipe.negatives,
                self._loss,
                True,
                self._state,
            )
        )

    def vectors(self) -> tuple[F32, F32]:
        """Return users with a 1 (n_users, f + 1) and items with their bias last; zeros: nothing known."""
        users = np.concatenate([self._x, np.ones((len(self._x), 1), np.float32)], axis=1)
        users[np.diff(self._seen.indptr) == 0] = 0
        items = np.zeros((len(self._y), users.shape[1]), np.float32)
        items[self._warm, :-1], items[self._warm, -1] = self._y[self._warm], self._b[self._warm]
        return users, items


@dataclass(frozen=True, slots=True, kw_only=True)
class MfModel(ByVectors):
    """Factors of users and, with their bias as the last column, of items.

    A user is answered from the trained factor, or from the history that the query tells; who has neither gets
    nothing. Items that nobody took are never given.
    """

    kind: ClassVar[str] = "mf_sgd"

    card: Card
    items: Vocab
    users: Vocab
    user_factors: F32  # (n_users, f), zeros for a user without interactions
    index: ExactIndex

    def vectors(self, queries: Queries) -> F32:
        """Return the vector of each request, a 1 for the bias last, (n, f + 1); zeros: nothing known."""
        out = np.zeros((len(queries), self.user_factors.shape[1] + 1), np.float32)
        known = queries.users >= 0
        out[known, :-1] = self.user_factors[queries.users[known]]
        if queries.histories is not None and len(queries.histories):
            recipe = self._recipe()
            told = recipe.matrix(queries.histories, len(queries), len(self.items), now=queries.now)
            factors = self.index.by_row()
            for i in np.unique(queries.histories.user):
                out[i, :-1] = self._folded(recipe, told.row(int(i)), factors)
        out[:, -1] = out[:, :-1].any(axis=1)
        return readonly(out)

    def arrays(self) -> Mapping[str, AnyArray]:
        """Return all arrays to save."""
        return {
            **self.items.arrays("items"),
            **self.users.arrays("users"),
            **self.index.arrays(),
            "user_factors": self.user_factors,
        }

    @classmethod
    def open(cls, card: Card, arrays: Mapping[str, AnyArray]) -> Self:
        """Open what `arrays` named, in place."""
        return cls(
            card=card,
            items=Vocab.from_arrays(arrays, "items"),
            users=Vocab.from_arrays(arrays, "users"),
            user_factors=np.asarray(arrays["user_factors"]),
            index=ExactIndex.open(arrays),
        )

    def _recipe(self) -> "MfSgd | Bpr":
        return msgspec.convert(self.card.config, Bpr if self.card.recipe == Bpr.name else MfSgd)

    def _folded(self, recipe: "MfSgd | Bpr", seen: Rows, factors: F32) -> F32:
        """Return the vector of one history; always by the same random numbers."""
        x = np.zeros((1, self.user_factors.shape[1]), np.float32)
        mine = np.ascontiguousarray(seen[self.index.position[seen] >= 0])
        if len(mine) == 0:
            return x[0]
        y, b = np.ascontiguousarray(factors[:, :-1]), np.ascontiguousarray(factors[:, -1])
        loss = recipe.loss if isinstance(recipe, MfSgd) else "bpr"
        run(
            readonly(np.zeros(_FOLDS * len(mine), np.int32)),
            readonly(np.tile(mine, _FOLDS)),
            readonly(np.array([0, len(mine)], np.int64)),
            readonly(mine),
            readonly(np.sort(self.index.rows)),
            x,
            y,
            b,
            np.full(x.shape, _START, np.float32),
            np.empty((0, 0), np.float32),
            np.empty(0, np.float32),
            np.float32(recipe.rate),
            np.float32(recipe.regularization),
            recipe.negatives,
            _LOSSES[loss],
            False,
            np.array([_SEED]),
        )
        return x[0]
