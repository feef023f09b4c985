"""How models answer that are alike in what they know: rows of scores, or a vector for each request.

Both are mixins without a state of their own: a model says what it knows, they pick the best.
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np

from penchant.kernel.arrays import F32, Csr, Rows, readonly
from penchant.kernel.ids import Vocab
from penchant.models.base import Batch, Queries, Query, Scored
from penchant.models.best import alone, best_many, best_one
from penchant.models.index import ExactIndex

Block = Callable[[int, int], F32]
"""(start, stop) -> the scores (stop - start, n_items) of those requests, NaN = cannot score."""


class _Scoring(Protocol):
    @property
    def items(self) -> Vocab: ...

    def block(self, queries: Queries) -> Block: ...


class ByScores:
    """For a model whose ``block`` scores all items for some of the requests, from several threads."""

    __slots__ = ()

    def top(self: _Scoring, query: Query, k: int, *, exclude: Rows | None = None) -> Scored:
        """Return the k items of the largest score."""
        return best_one(self.block(alone(query))(0, 1), k, exclude=exclude)

    def top_many(self: _Scoring, queries: Queries, k: int, *, exclude: Csr | None = None) -> Batch:
        """Return the best k for each request."""
        return best_many(self.block(queries), len(queries), len(self.items), k, exclude=exclude)

    def score(self: _Scoring, query: Query, items: Rows) -> F32:
        """Return the scores, NaN for an item that cannot be scored."""
        return readonly(self.block(alone(query))(0, 1)[0, items])


class _Pointing(Protocol):
    @property
    def index(self) -> ExactIndex: ...

    def vector(self, query: Query) -> F32 | None: ...

    def vectors(self, queries: Queries) -> F32: ...


class ByVectors:
    """For a model whose ``vectors`` (n, d) point to items in its ``index``; zeros where nothing is known.

    Of whom nothing is known gets nothing.
    """

    __slots__ = ()

    def vector(self: _Pointing, query: Query) -> F32 | None:
        """Return the vector of one request (d,), None when nothing is known."""
        found = self.vectors(alone(query))[0]
        return found if found.any() else None

    def top(self: _Pointing, query: Query, k: int, *, exclude: Rows | None = None) -> Scored:
        """Return the k items with the largest inner product with the request's vector."""
        vector = self.vector(query)
        return Scored.none() if vector is None else self.index.top(vector, k, exclude=exclude)

    def top_many(self: _Pointing, queries: Queries, k: int, *, exclude: Csr | None = None) -> Batch:
        """Return the best k items of each request; padding only for who is unknown."""
        vectors = self.vectors(queries)
        known = vectors.any(axis=1)
        if known.all():
            return self.index.top_many(vectors, k, exclude=exclude)
        who = np.flatnonzero(known).astype(np.int32)
        some = self.index.top_many(vectors[who], k, exclude=None if exclude is None else exclude.take(who))
        items = np.full((len(queries), some.items.shape[1]), -1, np.int32)
        scores = np.full(items.shape, -np.inf, np.float32)
        items[who], scores[who] = some.items, some.scores
        return Batch(items=readonly(items), scores=readonly(scores))

    def score(self: _Pointing, query: Query, items: Rows) -> F32:
        """Return the inner products, NaN for an item without a vector or a user nothing is known of."""
        vector = self.vector(query)
        if vector is None:
            return readonly(np.full(len(items), np.nan, np.float32))
        return self.index.score(vector, items)

    def similar(self: _Pointing, item: int, k: int, *, exclude: Rows | None = None) -> Scored:
        """Return the k items with the largest cosine."""
        return self.index.similar(item, k, exclude=exclude)
