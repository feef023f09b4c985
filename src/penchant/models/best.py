"""The best k of dense rows of scores: what models without a vector space answer with."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from penchant.kernel.arrays import F32, I64, Csr, Rows, readonly
from penchant.kernel.compiled import kernel
from penchant.kernel.parallel import spread
from penchant.kernel.topk import replace_least
from penchant.models.base import Batch, Queries, Query, Scored

_BLOCK = 32  # requests of one block: their scores stay in the caches
_MASK = 0x7FFFFFFF


def best_many(
    block: Callable[[int, int], F32], n: int, n_items: int, k: int, *, exclude: Csr | None = None
) -> Batch:
    """Return the best k of each of n requests, padded with -1 and -inf.

    ``block(start, stop)`` gives the scores (stop - start, n_items) of some requests, NaN = cannot score; it
    is called from several threads. Ties are in row order. Row i of ``exclude`` is kept from request i.
    """
    items = np.full((n, max(k, 0)), -1, np.int32)
    scores = np.full(items.shape, -np.inf, np.float32)
    width = min(items.shape[1], n_items)
    if width:
        none = np.zeros(n + 1, np.int64), np.zeros(0, np.int32)
        indptr, gone = none if exclude is None else (exclude.indptr, exclude.indices)

        def work(start: int, stop: int) -> None:
            found = block(start, stop)
            select(found, indptr, gone, start, width, items[start:stop], scores[start:stop])

        spread(work, n, chunk=_BLOCK)
    return Batch(items=readonly(items), scores=readonly(scores))


def best_one(scores: F32, k: int, *, exclude: Rows | None = None) -> Scored:
    """Return the best k of the scores (1, n_items) of one request, as `best_many` does."""
    width = max(min(k, scores.shape[1]), 0)
    items, values = np.full((1, width), -1, np.int32), np.full((1, width), -np.inf, np.float32)
    if width:
        gone = np.zeros(0, np.int32) if exclude is None else exclude
        select(scores, np.array([0, len(gone)], np.int64), gone, 0, width, items, values)
    found = items[0] >= 0
    return Scored(items=readonly(items[0][found]), scores=readonly(values[0][found]))


def alone(query: Query) -> Queries:
    """Return one request as a batch of one, so that both are answered by the same code."""
    told = query.history
    if told is not None:
        told = replace(told, user=readonly(np.zeros(len(told), np.int32)))
    return Queries(users=np.array([query.user], np.int32), histories=told, now=query.now)


def apart(queries: Queries) -> list[Query]:
    """Return the requests of a batch one by one; one that tells nothing has None for a history."""
    told = queries.histories
    owner = np.zeros(0, np.int32) if told is None else told.user
    order = np.argsort(owner, kind="stable")
    bounds = np.searchsorted(owner[order], np.arange(len(queries) + 1)).tolist()
    return [
        Query(
            user=user,
            history=told.select(order[low:high]) if told is not None and high > low else None,
            now=queries.now,
        )
        for user, low, high in zip(queries.users.tolist(), bounds[:-1], bounds[1:], strict=True)
    ]


@kernel()
def select(
    scores: F32, indptr: I64, gone: Rows, start: int, k: int, out_items: Rows, out_scores: F32
) -> None:
    """Fill the first k of each row of the outputs with the best of that row of ``scores``.

    Row r stands for request start + r, whose excluded rows are ``gone[indptr[start + r]:...]``. A score and
    its row make one integer, larger = better: the score's bits, made to ascend with it, above the row's
    complement.
    """
    excluded = np.zeros(scores.shape[1], np.bool_)
    bits = np.empty(1, np.float32)
    as_integer = bits.view(np.int32)
    heap = np.empty(k, np.int64)
    for r in range(scores.shape[0]):
        for e in range(indptr[start + r], indptr[start + r + 1]):
            excluded[gone[e]] = True
        held = 0
        least = np.float32(-np.inf)
        for j in range(scores.shape[1]):
            s = scores[r, j]
            if not s >= least or excluded[j]:
                continue
            bits[0] = s + np.float32(0)
            b = np.int64(as_integer[0])
            key = ((b ^ ((b >> 31) & _MASK)) << 32) | (_MASK - j)
            if held < k:
                heap[held] = key
                held += 1
                if held == k:
                    heap.sort()  # ascending is a heap with the least on top
                    least = score_of(heap[0], bits, as_integer)
            elif key > heap[0]:
                replace_least(heap, key)
                least = score_of(heap[0], bits, as_integer)
        for e in range(indptr[start + r], indptr[start + r + 1]):
            excluded[gone[e]] = False
        best = np.sort(heap[:held])
        for p in range(held):
            out_items[r, p] = _MASK - (best[held - 1 - p] & _MASK)
            out_scores[r, p] = score_of(best[held - 1 - p], bits, as_integer)


@kernel()
def score_of(key: np.int64, bits: F32, as_integer: Rows) -> np.float32:
    """Return the score in a key; ``bits`` and ``as_integer`` are views of the same four bytes."""
    high = key >> 32
    as_integer[0] = high ^ ((high >> 31) & _MASK)
    return bits[0]
