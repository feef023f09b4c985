"""EASE: each item predicted from all others by one ridge regression, in closed form.

    min_B |X - X B|² + Σ_i Λ_i |B_i|²,  B_jj = 0        Λ_i = λ + p / (1 - p) (XᵀX)_ii
    P = (XᵀX + Λ)^-1        B_ij = -P_ij / P_jj

(Steck: Embarrassingly shallow autoencoders for sparse data, 2019; the part of Λ with p is what hiding a share
p of each history would add on average, Steck: Autoencoders that don't overfit towards the identity, 2020.)

Where users are far fewer than items the same B is told through them (Woodbury), with V = Λ^-1:

    K = (I + X V Xᵀ)^-1        r_j = 1 - v_j x_jᵀ K x_j
    (x B)_j = x_j - (x_j - (Xᵀ K X V x)_j) / r_j

so that only a matrix of users by users is inverted and kept.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import numpy as np
from numpy.random import Generator

from penchant.data.snapshot import Snapshot
from penchant.kernel.arrays import F32, AnyArray, Csr, Rows, readonly
from penchant.kernel.errors import InputError
from penchant.kernel.ids import Vocab
from penchant.kernel.parallel import spread
from penchant.kernel.progress import Progress
from penchant.models.answering import Block, ByScores
from penchant.models.base import Card, Model, Queries, Scored, card_for
from penchant.models.best import best_one
from penchant.models.ease_solve import add_rows, gram, inner, item_weights, through_users
from penchant.models.ease_sparse import sparse_weights
from penchant.models.histories import Weighing, above, at_least, profiles
from penchant.models.inverse import invert, steps
from penchant.models.neighbours import NeighbourModel, csr_arrays, open_csr

_MOST_DENSE = 30_000  # items of the closed form: 3.6 GB
_CHUNK = 64

Form = Literal["items", "users", "sparse"]


class EaseFields(Weighing, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fields of the closed form. ``regularization`` is λ, ``dropout`` p.

    ``form`` is chosen by size unless named: ``users`` where they are less than half as many as the items,
    else ``items`` (memory: items² x 4 bytes), and above 30,000 items ``sparse``: each item is then predicted
    from its ``neighbours`` nearest by cosine only.
    """

    regularization: float = 300.0
    dropout: float = 0.0
    form: Literal["auto", "items", "users", "sparse"] = "auto"
    neighbours: int = 200

    def __post_init__(self) -> None:
        super().__post_init__()
        above(self, 0, "regularization")
        at_least(self, 0, "dropout")
        at_least(self, 1, "neighbours")
        if self.dropout >= 1:
            raise ValueError(f"dropout is {self.dropout}: it must be below 1.")

    def chosen(self, x: Csr) -> Form:
        """Return the form for these histories."""
        if self.form != "auto":
            return self.form
        items = int((np.bincount(x.indices, minlength=x.n_columns) > 0).sum())
        users = int((np.diff(x.indptr) > 0).sum())
        if 2 * users < items and users <= _MOST_DENSE:
            return "users"
        return "items" if items <= _MOST_DENSE else "sparse"

    def ridge(self, x: Csr) -> F32:
        """Return Λ, (n_items,)."""
        squares = np.bincount(x.indices, weights=x.data.astype(np.float64) ** 2, minlength=x.n_columns)
        return (self.regularization + self.dropout / (1 - self.dropout) * squares).astype(np.float32)


class Ease(EaseFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The closed form."""

    name: ClassVar[str] = "ease"

    def train(
        self, snapshot: Snapshot, *, rng: Generator, progress: Progress, previous: Model | None = None
    ) -> "EaseModel | NeighbourModel":
        """Solve. ``rng`` and ``previous`` are not needed: the solution is exact."""
        x = self.matrix(snapshot.interactions, snapshot.n_users, snapshot.n_items, now=snapshot.cutoff)
        form, ridge = self.chosen(x), self.ridge(x)
        card = card_for(self, snapshot, notes=[f"Solved in the form '{form}'."])
        if form == "sparse":
            progress.start(self.name, 1)
            found = sparse_weights(x, ridge, k=min(self.neighbours, snapshot.n_items))
            progress.advance(note=f"{found.nnz:,} weights")
            return NeighbourModel(
                card=card, items=snapshot.items, users=snapshot.users, neighbours=found, histories=x
            )
        solve = _over_users if form == "users" else _over_items
        return EaseModel(
            card=card,
            items=snapshot.items,
            users=snapshot.users,
            histories=x,
            solution=solve(x, ridge, progress),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OverItems:
    """B over the items somebody took."""

    weights: F32  # (m, m) B
    warm: Rows  # (m,) item row of each
    position: Rows  # (n_items,) its inverse, -1 for an item nobody took

    def scores(self, rows: Csr, start: int, stop: int) -> F32:
        """Return x B of rows start..stop-1, (stop - start, n_items), NaN for items nobody took."""
        out = np.full((stop - start, len(self.position)), np.nan, np.float32)
        add_rows(rows.indptr, rows.indices, rows.data, start, self.position, self.weights, self.warm, out)
        return out

    def arrays(self) -> dict[str, AnyArray]:
        """Return the arrays to save."""
        return {"weights": self.weights, "warm": self.warm, "position": self.position}


@dataclass(frozen=True, slots=True, kw_only=True)
class OverUsers:
    """K over the users, and the histories it speaks through."""

    of_users: F32  # (n_users, n_users) K
    ridge: F32  # (n_items,) Λ
    remainder: F32  # (n_items,) r, 0 for an item nobody took
    histories: Csr  # (n_users, n_items)
    takers: Csr  # (n_items, n_users), its transpose

    def scores(self, rows: Csr, start: int, stop: int) -> F32:
        """Return x B of rows start..stop-1, (stop - start, n_items), NaN for items nobody took."""
        out = np.empty((stop - start, len(self.ridge)), np.float32)
        x, t = self.histories, self.takers
        through_users(
            rows.indptr,
            rows.indices,
            rows.data,
            start,
            t.indptr,
            t.indices,
            t.data,
            x.indptr,
            x.indices,
            x.data,
            self.of_users,
            self.ridge,
            self.remainder,
            out,
        )
        return out

    def arrays(self) -> dict[str, AnyArray]:
        """Return the arrays to save; the histories are the model's."""
        own = {"of_users": self.of_users, "ridge": self.ridge, "remainder": self.remainder}
        return own | csr_arrays(self.takers, "takers")


@dataclass(frozen=True, slots=True, kw_only=True)
class EaseModel(ByScores):
    """The solution. Items that nobody took cannot be scored; who tells no history gets no answer."""

    kind: ClassVar[str] = "ease"

    card: Card
    items: Vocab
    users: Vocab
    histories: Csr  # (n_users, n_items) x of the users trained
    solution: OverItems | OverUsers

    def similar(self, item: int, k: int, *, exclude: Rows | None = None) -> Scored:
        """Return the k items that an item alone predicts most."""
        one = Csr(
            indptr=np.array([0, 1], np.int64),
            indices=np.array([item], np.int32),
            data=np.ones(1, np.float32),
            n_columns=len(self.items),
        )
        found = self.scores(one, 0, 1)
        if np.isnan(found[0, item]):
            return Scored.none()
        gone = np.array([item], np.int32) if exclude is None else np.append(exclude, np.int32(item))
        return best_one(found, k, exclude=gone)

    def block(self, queries: Queries) -> Block:
        """Return the predictions from each request's history."""
        rows = profiles(queries, self.histories, self.card)
        return lambda start, stop: self.scores(rows, start, stop)

    def scores(self, rows: Csr, start: int, stop: int) -> F32:
        """Return the predictions of some histories, (stop - start, n_items); NaN throughout for an empty
        one."""
        out = self.solution.scores(rows, start, stop)
        out[np.diff(rows.indptr[start : stop + 1]) == 0] = np.nan
        return out

    def arrays(self) -> Mapping[str, AnyArray]:
        """Return all arrays to save."""
        return {
            **self.items.arrays("items"),
            **self.users.arrays("users"),
            **csr_arrays(self.histories, "histories"),
            **self.solution.arrays(),
        }

    @classmethod
    def open(cls, card: Card, arrays: Mapping[str, AnyArray]) -> Self:
        """Open what `arrays` named, in place."""
        a = {name: np.asarray(array) for name, array in arrays.items()}
        items, users = Vocab.from_arrays(arrays, "items"), Vocab.from_arrays(arrays, "users")
        histories = open_csr(a, "histories", len(items))
        if "weights" in a:
            solution = OverItems(weights=a["weights"], warm=a["warm"], position=a["position"])
        else:
            solution = OverUsers(
                of_users=a["of_users"],
                ridge=a["ridge"],
                remainder=a["remainder"],
                histories=histories,
                takers=open_csr(a, "takers", len(users)),
            )
        return cls(card=card, items=items, users=users, histories=histories, solution=solution)


def _over_items(x: Csr, ridge: F32, progress: Progress) -> OverItems:
    warm = np.flatnonzero(np.bincount(x.indices, minlength=x.n_columns)).astype(np.int32)
    position = np.full(x.n_columns, -1, np.int32)
    position[warm] = np.arange(len(warm), dtype=np.int32)
    moved = Csr(indptr=x.indptr, indices=position[x.indices], data=x.data, n_columns=len(warm))
    try:
        b = gram(moved.transpose(), np.ones(x.n_rows, np.float32), np.float32)
    except MemoryError as error:
        need = 4 * len(warm) ** 2 / 1e9
        raise InputError(
            f"EASE over {len(warm):,} items needs {need:.1f} GB.", fix='Use form = "sparse".'
        ) from error
    b[np.diag_indices(len(b))] += ridge[warm]
    progress.start(Ease.name, steps(len(warm)))
    invert(b, progress=progress)
    diagonal = b.diagonal().copy()
    spread(lambda start, stop: item_weights(b, diagonal, start, stop), len(b), chunk=_CHUNK)
    return OverItems(weights=readonly(b), warm=readonly(warm), position=readonly(position))


def _over_users(x: Csr, ridge: F32, progress: Progress) -> OverUsers:
    k = gram(x, (1 / ridge).astype(np.float32), np.float64)
    k[np.diag_indices(len(k))] += 1
    progress.start(Ease.name, steps(len(k)))
    invert(k, progress=progress)
    takers = x.transpose()
    shared = np.zeros(x.n_columns)
    spread(
        lambda start, stop: inner(takers.indptr, takers.indices, takers.data, k, shared, start, stop),
        len(shared),
        chunk=_CHUNK,
    )
    remainder = np.where(np.diff(takers.indptr) > 0, np.maximum(1 - shared / ridge, 1e-6), 0.0)
    return OverUsers(
        of_users=readonly(k.astype(np.float32)),
        ridge=readonly(ridge),
        remainder=readonly(remainder.astype(np.float32)),
        histories=x,
        takers=takers,
    )
