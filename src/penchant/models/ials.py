"""Implicit alternating least squares: users and items as vectors whose inner product is preference.

    L = Σ_{(u,i) seen} c_ui (x_u·y_i - 1)² + w0 Σ_{all u,i} (x_u·y_i)² + Σ_u λ_u |x_u|² + Σ_i λ_i |y_i|²
    λ_u = λ (n_u + w0 n_items)^ν        λ_i = λ (n_i + w0 n_users)^ν

n_u and n_i count the different partners. The sources are named in `penchant.models.ials_kernels`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import ClassVar, Literal, Self

import msgspec
import numpy as np
from numpy.random import Generator

from penchant.data.interactions import Interactions
from penchant.data.snapshot import Snapshot
from penchant.features.confidence import confidences, event_weights
from penchant.kernel.arrays import F32, AnyArray, Csr, Rows, readonly
from penchant.kernel.durations import seconds_of
from penchant.kernel.ids import Vocab
from penchant.kernel.parallel import one_blas_thread
from penchant.kernel.progress import Progress
from penchant.models.answering import ByVectors
from penchant.models.base import Card, Model, Queries, Query, Scored, card_for
from penchant.models.cold_items import ColdItems, fill_cold
from penchant.models.early_stopping import Step, search
from penchant.models.ials_solve import Axes, Side, gram, solve_rows, sweep, turned
from penchant.models.index import ExactIndex


class Ials(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Implicit ALS with confidences, a weight for the unobserved and frequency-scaled regularisation.

    The module's loss has ``regularization`` λ, ``unobserved_weight`` w0 and ``frequency_exponent`` ν. A
    pair's confidence is (Σ event weight · 2^(-age / half_life))^alpha; an event type that ``event_weights``
    does not name weighs 1, and 0 leaves it out. ``half_life`` is a span such as ``90d``, empty for never.
    ``solver`` is ``cg`` (``cg_steps`` of conjugate gradient a sweep) or ``exact`` (Cholesky). Training ends
    early once an epoch lowers the loss by less than ``tolerance`` of it; with ``patience`` above 0 it first
    finds how many epochs rank the newest tenth of the interactions best, learnt from the older ones, until so
    many more brought nothing better. ``cold_items`` says how items that nobody took get a factor.
    """

    name: ClassVar[str] = "ials"

    factors: int = 64
    epochs: int = 12
    regularization: float = 0.08
    alpha: float = 0.5
    unobserved_weight: float = 0.5
    frequency_exponent: float = 0.5
    solver: Literal["cg", "exact"] = "cg"
    cg_steps: int = 3
    event_weights: dict[str, float] = {}
    half_life: str = ""
    initial_deviation: float = 0.1
    tolerance: float = 0.0
    patience: int = 0
    cold_items: ColdItems = ColdItems()

    def __post_init__(self) -> None:
        for field in ("factors", "epochs", "regularization", "cg_steps", "initial_deviation"):
            if not getattr(self, field) > 0:
                raise ValueError(f"{field} is {getattr(self, field)}: it must be above 0.")
        for field in ("alpha", "unobserved_weight", "frequency_exponent", "tolerance", "patience"):
            if not getattr(self, field) >= 0:
                raise ValueError(f"{field} is {getattr(self, field)}: it must be 0 or more.")
        for name, weight in self.event_weights.items():
            if not weight >= 0:
                raise ValueError(f"event_weights.{name} is {weight}: it must be 0 or more.")
        if self.half_life:
            seconds_of(self.half_life, field="half_life")

    def train(
        self, snapshot: Snapshot, *, rng: Generator, progress: Progress, previous: Model | None = None
    ) -> "IalsModel":
        """Train; whoever is in a ``previous`` model with as many factors starts from there."""
        seed = int(rng.integers(2**63)) if self.patience else 0
        with one_blas_thread():
            epochs, metrics = search(
                lambda part: self._steps(self._begin(part, np.random.default_rng(seed))),
                snapshot,
                what=self.name,
                epochs=self.epochs,
                patience=self.patience,
                progress=progress,
            )
            begin = self._begin(snapshot, rng, previous)
            x, y, losses = begin.x, begin.y, list[float]()
            progress.start(self.name, epochs)
            for step in islice(self._steps(begin), epochs):
                loss, x, y = step
                losses.append(loss)
                progress.advance(note=f"loss {loss:,.4g}")
            # In the items' principal axes a user is folded in without a matrix of all items.
            axes = Axes.of(gram(y))
            x, y = turned(x, axes.q), turned(y, axes.q)
            user_gram = gram(x)
        cold = np.flatnonzero(np.diff(begin.items.seen.indptr) == 0).astype(np.int32)
        filled = fill_cold(self.cold_items, snapshot, y, x, begin.users.seen, rng=rng)
        return IalsModel(
            card=card_for(
                self,
                snapshot,
                metrics={"loss": losses[-1], "epochs": float(len(losses)), **metrics, **filled.metrics},
                notes=[filled.note] if filled.note else [],
            ),
            items=snapshot.items,
            users=snapshot.users,
            user_factors=readonly(x),
            index=ExactIndex.build(filled.factors),
            item_spread=readonly(axes.spread),
            user_gram=user_gram,
            cold=readonly(cold),
            fresh=_no_fresh(),
        )

    def confidence(self, events: Interactions, shape: tuple[int, int], *, now: float) -> Csr:
        """Return c_ui of the pairs in ``events``, a matrix of ``shape`` (n_users, n_items)."""
        half_life = seconds_of(self.half_life) if self.half_life else None
        weight = event_weights(events, by_type=self.event_weights, half_life=half_life, now=now)
        return confidences(events, weight, alpha=self.alpha, n_users=shape[0], n_items=shape[1])

    def side(self, seen: Csr) -> Side:
        """Return the rows of ``seen`` with this recipe's regularisation."""
        return Side.of(
            seen,
            regularization=self.regularization,
            unobserved_weight=self.unobserved_weight,
            frequency_exponent=self.frequency_exponent,
        )

    def _begin(self, snapshot: Snapshot, rng: Generator, previous: Model | None = None) -> "_Begin":
        shape = (snapshot.n_users, snapshot.n_items)
        seen = self.confidence(snapshot.interactions, shape, now=snapshot.cutoff)
        deviation = np.float32(self.initial_deviation / np.sqrt(self.factors))
        x = rng.standard_normal((snapshot.n_users, self.factors), np.float32) * deviation
        y = rng.standard_normal((snapshot.n_items, self.factors), np.float32) * deviation
        if isinstance(previous, IalsModel) and previous.user_factors.shape[1] == self.factors:
            for vocab, old, ours, theirs in (
                (snapshot.users, previous.users, x, previous.user_factors),
                (snapshot.items, previous.items, y, previous.index.by_row()),
            ):
                at = old.rows(vocab.to_arrow())
                ours[at >= 0] = theirs[at[at >= 0]]
        return _Begin(users=self.side(seen), items=self.side(seen.transpose()), x=x, y=y)

    def _steps(self, begin: "_Begin") -> Iterator[Step]:
        """Improve both sides in turn, items first so that users end fitted to the final items."""
        users, items, x, y = begin.users, begin.items, begin.x, begin.y
        before = np.inf
        for _ in range(self.epochs):
            y, _ = self.sweep(items, x, y)
            x, of_users = self.sweep(users, y, x)
            loss = of_users + float(items.ridge @ np.einsum("ij,ij->i", y, y))
            yield loss, x, y
            if before - loss < self.tolerance * abs(before):
                return
            before = loss

    def sweep(self, side: Side, other: F32, start: F32) -> tuple[F32, float]:
        """Return one side (n, f) solved against the ``other``, and the loss of its rows."""
        return sweep(
            side,
            other,
            start,
            unobserved_weight=self.unobserved_weight,
            solver=self.solver,
            steps=self.cg_steps,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Begin:
    """What the epochs start from: each side's rows, and first factors (n, f) of users and items."""

    users: Side
    items: Side
    x: F32
    y: F32


def _no_fresh() -> Interactions:
    return Interactions.none(("click",))


@dataclass(frozen=True, slots=True, kw_only=True)
class IalsModel(ByVectors):
    """Trained factors.

    A user is answered from the trained factor, or from the query's history by solving that user's row
    against the item factors; who has neither gets nothing. Items without a factor are never given.

    `fold` learns items: those without interactions in training get a factor from the known users who took
    them since. Users need no folding, their history comes with the query.
    """

    kind: ClassVar[str] = "ials"

    card: Card
    items: Vocab
    users: Vocab
    user_factors: F32  # (n_users, f), zeros for a user without interactions
    index: ExactIndex
    item_spread: (
        F32  # (f,) diagonal of Σ y yᵀ over the items trained; the axes are those where it is diagonal
    )
    user_gram: F32  # (f, f) Σ x xᵀ
    cold: Rows  # ascending: items without interactions in training
    fresh: Interactions  # what known users did with cold items since, weights as values

    @property
    def recipe(self) -> Ials:
        """Return the recipe it was trained with."""
        return msgspec.convert(self.card.config, Ials)

    def vector(self, query: Query) -> F32 | None:
        """Return the user's vector (f,), None when nothing is known of the user."""
        if query.history is not None and len(query.history):
            events = replace(query.history, user=np.zeros(len(query.history), np.int32))
            found = self._solve_users(events, 1, query.now)[0]
        elif query.user >= 0:
            found = self.user_factors[query.user]
        else:
            return None
        return found if found.any() else None

    def vectors(self, queries: Queries) -> F32:
        """Return the vector of each request, (n, f), zeros where nothing is known."""
        n = len(queries)
        out = np.zeros((n, self.user_factors.shape[1]), np.float32)
        known = queries.users >= 0
        out[known] = self.user_factors[queries.users[known]]
        if queries.histories is not None and len(queries.histories):
            solved = self._solve_users(queries.histories, n, queries.now)
            told = np.unique(queries.histories.user)
            out[told] = solved[told]
        return out

    def similar(self, item: int, k: int, *, exclude: Rows | None = None) -> Scored:
        """Return the k items with the largest cosine, less for items of which little is known."""
        return self.index.similar(item, k, exclude=exclude, shrunk=True)

    def fold(self, events: Interactions) -> Self:
        """Return the model after ``events``: cold items that known users took get a factor.

        Each event weighs as on its day; only events with cold items by known users change anything.
        """
        matters = (events.user >= 0) & np.isin(events.item, self.cold)
        if not matters.any():
            return self
        new = events.select(matters)
        weight = event_weights(new, by_type=self.recipe.event_weights, half_life=None, now=0.0)
        weighed = Interactions.of(user=new.user, item=new.item, timestamp=new.timestamp, value=weight)
        fresh = Interactions.joined(self.fresh, weighed)
        rows, factors = self._solve_items(fresh, np.unique(new.item))
        return replace(self, index=self.index.with_factors(rows, factors), fresh=fresh)

    def with_items(self, ids: Sequence[str]) -> Self:
        """Return the model with more items in its vocabulary, cold ones, for `fold` to learn.

        Rows are in id order, so the rows of items it had may move: look them up again in ``items``.
        """
        items = Vocab.of([*self.items.ids(range(len(self.items))), *ids])
        moved = items.rows(self.items.to_arrow())
        factors = np.zeros((len(items), self.user_factors.shape[1]), np.float32)
        factors[moved] = self.index.by_row()
        added = np.ones(len(items), np.bool_)
        added[moved] = False
        cold = np.sort(np.concatenate([moved[self.cold], np.flatnonzero(added)])).astype(np.int32)
        return replace(
            self,
            items=items,
            index=ExactIndex.build(factors),
            cold=readonly(cold),
            fresh=self.fresh.mapped(items=moved),
        )

    def arrays(self) -> Mapping[str, AnyArray]:
        """Return all arrays to save."""
        return {
            **self.items.arrays("items"),
            **self.users.arrays("users"),
            **self.index.arrays(),
            "user_factors": self.user_factors,
            "item_spread": self.item_spread,
            "user_gram": self.user_gram,
            "cold": self.cold,
            "fresh_user": self.fresh.user,
            "fresh_item": self.fresh.item,
            "fresh_timestamp": self.fresh.timestamp,
            "fresh_weight": self.fresh.value,
        }

    @classmethod
    def open(cls, card: Card, arrays: Mapping[str, AnyArray]) -> Self:
        """Open what `arrays` named, in place."""
        a = {name: np.asarray(array) for name, array in arrays.items()}
        return cls(
            card=card,
            items=Vocab.from_arrays(arrays, "items"),
            users=Vocab.from_arrays(arrays, "users"),
            user_factors=a["user_factors"],
            index=ExactIndex.open(arrays),
            item_spread=a["item_spread"],
            user_gram=a["user_gram"],
            cold=a["cold"],
            fresh=replace(
                _no_fresh(),
                user=a["fresh_user"],
                item=a["fresh_item"],
                timestamp=a["fresh_timestamp"],
                value=a["fresh_weight"],
                event_type=readonly(np.zeros(len(a["fresh_user"]), np.int16)),
            ),
        )

    def _solve_users(self, histories: Interactions, n: int, now: float) -> F32:
        recipe = self.recipe
        seen = recipe.confidence(histories, (n, len(self.items)), now=now)
        side = recipe.side(replace(seen, n_columns=self.card.items))
        at = self.index.position[seen.indices]  # the index holds the factors in its own order
        side = replace(side, seen=_drop(replace(side.seen, indices=at)))
        x = np.zeros((n, self.user_factors.shape[1]), np.float32)
        solve_rows(side, self.index.factors, x, np.float32(recipe.unobserved_weight) * self.item_spread)
        return readonly(x)

    def _solve_items(self, fresh: Interactions, rows: AnyArray) -> tuple[Rows, F32]:
        """Return the rows and their factors from what known users did with them."""
        recipe = self.recipe
        place = np.full(len(self.items), -1, np.int32)
        place[rows] = np.arange(len(rows), dtype=np.int32)
        theirs = fresh.select(place[fresh.item] >= 0)
        seen = confidences(
            replace(theirs, user=place[theirs.item], item=theirs.user),
            theirs.value,
            alpha=recipe.alpha,
            n_users=len(rows),
            n_items=len(self.users),
        )
        axes = Axes.of(self.user_gram)
        who, column = np.unique(seen.indices, return_inverse=True)
        side = recipe.side(seen)
        side = replace(side, seen=replace(seen, indices=readonly(column.astype(np.int32))))
        y = np.zeros((len(rows), len(axes.q)), np.float32)
        shared = np.float32(recipe.unobserved_weight) * axes.spread
        solve_rows(side, turned(self.user_factors[who], axes.q), y, shared)
        return rows.astype(np.int32), readonly(turned(y, np.ascontiguousarray(axes.q.T)))


def _drop(seen: Csr) -> Csr:
    """Return the matrix without the entries in column -1."""
    if not (seen.indices < 0).any():
        return seen
    owner = np.repeat(np.arange(seen.n_rows, dtype=np.int32), np.diff(seen.indptr))
    kept = seen.indices >= 0
    return Csr.group(
        owner[kept], seen.indices[kept], seen.data[kept], n_rows=seen.n_rows, n_columns=seen.n_columns
    )
