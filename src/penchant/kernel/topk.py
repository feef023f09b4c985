"""The best k of many by inner product, exactly, with ties in row order.

Screening is done in whatever order of additions is fast (blocks of a matrix product, vector registers);
it keeps every item whose score could be among the best k, given how far single-precision sums can be off:

    |fl(q·y) - q·y| <= d ε |q| |y|

What is left is scored again by one kernel, `dot_rows`, that sums in one way only. So the answer is the same
to the bit for one query or many, any block size and any number of threads.

Items stand in descending order of norm: by Cauchy and Schwarz q·y <= |q| |y|, so once |q| |y_i| is below the
k-th best score found, so is everything behind i (Teflioudi, Gemulla, Mykytiuk: LEMP, 2015).
"""

import numpy as np

from penchant.kernel.arrays import F32, I64, Bools, Csr, Rows, readonly
from penchant.kernel.compiled import kernel
from penchant.kernel.parallel import one_blas_thread, spread

_LOWEST = np.float32(-3e38)  # below every score; finite, because the kernels may assume finite numbers
_USERS = 256  # queries of one block
_ITEMS = 2048  # items of one block: a block of scores stays in the second-level cache
_PAD = np.iinfo(np.int64).max


def best_rows(scores: F32, k: int) -> Rows:
    """Return the rows of the k largest of ``scores`` (n,), best first, ties in row order, NaN never."""
    known = np.flatnonzero(~np.isnan(scores))
    values = scores[known]
    if k <= 0 or len(values) == 0:
        return readonly(np.zeros(0, np.int32))
    if k < len(values):
        least = np.partition(values, len(values) - k)[len(values) - k]
        above = np.flatnonzero(values > least)
        level = np.flatnonzero(values == least)[: k - len(above)]
        chosen = np.sort(np.concatenate([above, level]))
    else:
        chosen = np.arange(len(values))
    order = np.argsort(-values[chosen], kind="stable")
    return readonly(known[chosen[order]].astype(np.int32))


def top_k(
    query: F32, factors: F32, norms: F32, rows: Rows, k: int, *, banned: Bools | None = None
) -> tuple[Rows, F32]:
    """Return rows and scores of the best k inner products with one query (d,).

    ``factors`` (m, d), C order, stand in descending order of their ``norms`` (m,); ``rows`` (m,) says which
    row each is and decides ties. ``banned`` (m,), by position, are never given.
    """
    m = len(factors)
    width = min(k, m)
    if width <= 0:
        return readonly(np.zeros(0, np.int32)), readonly(np.zeros(0, np.float32))
    gone = np.zeros(m, np.bool_) if banned is None else banned
    one = np.ascontiguousarray(query, np.float32).reshape(1, -1)
    positions = np.empty((1, m), np.int32)
    reach = _lengths(one)
    slack = _slack(reach, norms)
    found = _screen_one(
        readonly(one[0]), factors, norms, reach[0], slack[0], readonly(gone.view()), width, positions[0]
    )
    given = min(found, width)
    near = positions[0, :found]
    return _best(rows, readonly(near), dots(one[0], factors, near), given)


def top_k_many(
    queries: F32, factors: F32, norms: F32, rows: Rows, k: int, *, banned: Csr | None = None
) -> tuple[Rows, F32]:
    """Return rows (n, k) and scores (n, k) of the best k for each of n queries, padded with -1 and -inf.

    As `top_k`; row i of ``banned`` lists the positions that query i must not get.
    """
    n, width = len(queries), max(k, 0)
    items = np.full((n, width), -1, np.int32)
    scores = np.full((n, width), -np.inf, np.float32)
    depth = min(width, len(factors))
    if depth:
        asked = np.ascontiguousarray(queries, np.float32)

        def block(start: int, stop: int) -> None:
            found = _block(asked, factors, norms, rows, depth, banned, start, stop)
            items[start:stop, :depth], scores[start:stop, :depth] = found

        with one_blas_thread():
            spread(block, n, chunk=_USERS)
    return readonly(items), readonly(scores)


def dots(query: F32, factors: F32, positions: Rows) -> F32:
    """Return the inner product of one query with each of the positions; equal to what `top_k` says."""
    out = np.empty((1, len(positions)), np.float32)
    one = np.ascontiguousarray(query, np.float32).reshape(1, -1)
    counts = np.array([len(positions)], np.int64)
    dot_rows(readonly(one), factors, readonly(positions.reshape(1, -1)), readonly(counts), out)
    return readonly(out[0])


def _lengths(queries: F32) -> F32:
    return np.sqrt(np.einsum("ij,ij->i", queries, queries)) * np.float32(1 + 1e-5)


def _slack(reach: F32, norms: F32) -> F32:
    """Return how far two differently summed scores of a query and any item can be apart, doubled."""
    return reach * (norms[0] * np.float32(64 * 4 * 2**-24)) + np.float32(1e-37)


def _block(
    queries: F32,
    factors: F32,
    norms: F32,
    rows: Rows,
    k: int,
    banned: Csr | None,
    start: int,
    stop: int,
) -> tuple[Rows, F32]:
    """Answer queries start..stop-1."""
    asked = queries[start:stop]
    n, m = len(asked), len(factors)
    room = min(m, 2 * k + 256)
    positions = np.empty((n, room), np.int32)
    near = np.empty((n, room), np.float32)
    counts = np.zeros(n, np.int64)
    least = np.full(n, _LOWEST, np.float32)
    reach = _lengths(asked)
    slack = _slack(reach, norms)
    gone, bounds = _bans(banned, start, stop)
    scratch = np.empty(min(_USERS, n) * min(_ITEMS, m), np.float32)
    for first in range(0, m, _ITEMS):
        last = min(first + _ITEMS, m)
        active = np.flatnonzero((reach * norms[first] >= least - slack) & (counts >= 0))
        if len(active) == 0:
            break
        scores = scratch[: len(active) * (last - first)].reshape(len(active), last - first)
        np.matmul(asked if len(active) == n else asked[active], factors[first:last].T, out=scores)
        _screen_block(scores, active, first, gone, bounds, k, slack, least, counts, positions, near)
    _tighten(k, slack, counts, positions, near)
    items, scores = _rank(asked, factors, rows, positions, np.maximum(counts, 0), k)
    for i in np.flatnonzero(counts < 0):  # more near-ties than there was room for
        mask = np.zeros(m, np.bool_)
        mask[gone[bounds[i, 0] : bounds[i, 1]]] = True
        found, values = top_k(asked[i], factors, norms, rows, k, banned=mask)
        items[i], scores[i] = -1, -np.inf
        items[i, : len(found)], scores[i, : len(found)] = found, values
    return items, scores


def _bans(banned: Csr | None, start: int, stop: int) -> tuple[Rows, I64]:
    """Return all banned positions of a block, ascending within a query, and (n, 2) where each query's are."""
    if banned is None:
        return np.zeros(0, np.int32), np.zeros((stop - start, 2), np.int64)
    indptr = banned.indptr[start : stop + 1]
    gone = np.array(banned.indices[indptr[0] : indptr[-1]])
    bounds = np.stack([indptr[:-1], indptr[1:]], axis=1) - indptr[0]
    _sort_within(gone, bounds)
    return gone, bounds


@kernel()
def _sort_within(values: Rows, bounds: I64) -> None:
    for i in range(len(bounds)):
        values[bounds[i, 0] : bounds[i, 1]].sort()


@kernel(fastmath=True)
def _screen_one(
    query: F32,
    factors: F32,
    norms: F32,
    reach: np.float32,
    slack: np.float32,
    banned: Bools,
    k: int,
    positions: Rows,
) -> int:
    """Write the positions of all that could be among the best k; return how many."""
    m = len(factors)
    heap = np.full(k, _LOWEST, np.float32)
    scores = np.empty(m, np.float32)
    block = np.empty(4, np.float32)
    found = 0
    bar = _LOWEST
    for first in range(0, m, 4):
        if reach * norms[first] < bar:
            break
        n = min(4, m - first)
        _dot_four(query, factors, first, n, block)
        for e in range(n):
            s = block[e]
            if s >= bar and not banned[first + e]:
                positions[found] = first + e
                scores[found] = s
                found += 1
                if s > heap[0]:
                    replace_least(heap, s)
                    bar = heap[0] - slack
    kept = 0
    for e in range(found):
        if scores[e] >= bar:
            positions[kept] = positions[e]
            kept += 1
    return kept


@kernel(fastmath=True)
def _dot_four(query: F32, factors: F32, first: int, n: int, out: F32) -> None:
    """Set the first n of ``out`` (4,) to the products of ``query`` with rows first..first + n - 1."""
    d = len(query)
    if n < 4:
        for e in range(n):
            s = np.float32(0)
            for j in range(d):
                s += query[j] * factors[first + e, j]
            out[e] = s
        return
    y0, y1, y2, y3 = factors[first], factors[first + 1], factors[first + 2], factors[first + 3]
    s0, s1, s2, s3 = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
    for j in range(d):
        s0 += query[j] * y0[j]
        s1 += query[j] * y1[j]
        s2 += query[j] * y2[j]
        s3 += query[j] * y3[j]
    out[0], out[1], out[2], out[3] = s0, s1, s2, s3


@kernel()
def replace_least(heap: F32 | I64, value: np.float32 | np.int64) -> None:
    """Put ``value`` in place of the least of a binary heap."""
    n = len(heap)
    at = 0
    while True:
        child = 2 * at + 1
        if child >= n:
            break
        if child + 1 < n and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= value:
            break
        heap[at] = heap[child]
        at = child
    heap[at] = value


@kernel(fastmath=True)
def _screen_block(
    scores: F32,
    active: I64,
    first: int,
    gone: Rows,
    bounds: I64,
    k: int,
    slack: F32,
    least: F32,
    counts: I64,
    positions: Rows,
    near: F32,
) -> None:
    """Collect, for each active query, what in a block of scores could be among its best k.

    ``least`` is the k-th best score so far; ``counts`` becomes -1 when near-ties outgrow the room.
    """
    width = scores.shape[1]
    room = positions.shape[1]
    spare = np.empty(room, np.float32)
    for a in range(len(active)):
        i = active[a]
        row = scores[a]
        at, end = bounds[i, 0], bounds[i, 1]
        at += np.searchsorted(gone[at:end], first)
        while at < end and gone[at] < first + width:
            row[gone[at] - first] = np.float32(2) * _LOWEST / np.float32(1.9)
            at += 1
        count = int(counts[i])
        bar = least[i] - slack[i]
        for chunk in range(0, width, 16):
            stop = min(chunk + 16, width)
            best = row[chunk]
            for j in range(chunk, stop):
                best = max(best, row[j])
            if best < bar:
                continue
            for j in range(chunk, stop):
                if row[j] >= bar:
                    if count == room:
                        count = _keep_best(k, slack, positions, near, i, count, spare)
                        if count > room - 16 and count > k:
                            count = -1
                            break
                        least[i] = spare[0]
                        bar = least[i] - slack[i]
                        if row[j] < bar:
                            continue
                    positions[i, count] = first + j
                    near[i, count] = row[j]
                    count += 1
            if count < 0:
                break
        counts[i] = count


@kernel(fastmath=True)
def _tighten(k: int, slack: F32, counts: I64, positions: Rows, near: F32) -> None:
    spare = np.empty(positions.shape[1], np.float32)
    for i in range(len(counts)):
        if counts[i] > k:
            counts[i] = _keep_best(k, slack, positions, near, i, int(counts[i]), spare)


@kernel()
def largest_first(values: F32 | I64, k: int) -> None:
    """Put the k largest first, the k-th largest last among them (quickselect, Hoare 1961)."""
    low, high, wanted = 0, len(values) - 1, k - 1
    while low < high:
        pivot = values[(low + high) // 2]
        left, right = low, high
        while left <= right:
            while values[left] > pivot:
                left += 1
            while values[right] < pivot:
                right -= 1
            if left <= right:
                values[left], values[right] = values[right], values[left]
                left += 1
                right -= 1
        if wanted <= right:
            high = right
        elif wanted >= left:
            low = left
        else:
            return


@kernel(fastmath=True)
def _keep_best(k: int, slack: F32, positions: Rows, near: F32, i: int, count: int, spare: F32) -> int:
    """Keep query i's best k and those within ``slack`` of them; ``spare[0]`` becomes the k-th best score."""
    spare[:count] = near[i, :count]
    largest_first(spare[:count], k)
    bar = spare[k - 1] - slack[i]
    spare[0] = spare[k - 1]
    kept = 0
    for e in range(count):
        if near[i, e] >= bar:
            positions[i, kept] = positions[i, e]
            near[i, kept] = near[i, e]
            kept += 1
    return kept


@kernel(fastmath=True)
def dot_rows(queries: F32, factors: F32, positions: Rows, counts: I64, out: F32) -> None:
    """Set ``out[i, e]`` = queries[i] · factors[positions[i, e]] for e < counts[i]."""
    d = factors.shape[1]
    for i in range(len(queries)):
        query = queries[i]
        for e in range(counts[i]):
            y = factors[positions[i, e]]
            s = np.float32(0)
            for j in range(d):
                s += query[j] * y[j]
            out[i, e] = s


def _best(rows: Rows, positions: Rows, exact: F32, n: int) -> tuple[Rows, F32]:
    items, scores = np.empty(n, np.int32), np.empty(n, np.float32)
    _fill_best(rows, positions, exact, items, scores)
    return readonly(items), readonly(scores)


@kernel()
def _fill_best(rows: Rows, positions: Rows, exact: F32, items: Rows, scores: F32) -> None:
    """Fill ``items`` and ``scores`` with the best candidates, by score and then row, as `_rank` does."""
    candidates = rows[positions]
    order = np.argsort(candidates)
    order = order[np.argsort(-exact[order], kind="mergesort")]  # equal scores stay in row order
    for place in range(len(items)):
        items[place] = candidates[order[place]]
        scores[place] = exact[order[place]] + np.float32(0)  # no negative zero, as in `_rank`


def _rank(queries: F32, factors: F32, rows: Rows, positions: Rows, counts: I64, k: int) -> tuple[Rows, F32]:
    """Return rows and scores (n, k) of the best candidates, by score and then row; padded with -1, -inf."""
    scores = np.zeros(positions.shape, np.float32)
    dot_rows(readonly(queries.view()), factors, readonly(positions.view()), readonly(counts.view()), scores)
    beyond = np.arange(positions.shape[1]) >= counts[:, None]
    # One integer a candidate: the score's bits, made to ascend as the score descends, above the row.
    bits = (scores + np.float32(0)).view(np.int32)
    falling = ~(bits ^ ((bits >> 31) & 0x7FFFFFFF))
    safe = np.where(beyond, 0, positions)
    keys = np.where(beyond, _PAD, (falling.astype(np.int64) << 32) | rows[safe])
    keys.sort(axis=1)
    keys = keys[:, :k]
    if keys.shape[1] < k:
        keys = np.pad(keys, ((0, 0), (0, k - keys.shape[1])), constant_values=_PAD)
    none = keys == _PAD
    rising = ~(keys >> 32).astype(np.int32)
    values = (rising ^ ((rising >> 31) & 0x7FFFFFFF)).view(np.float32)
    items = (keys & 0xFFFFFFFF).astype(np.uint32).view(np.int32)
    return np.where(none, np.int32(-1), items), np.where(none, np.float32(-np.inf), values)
