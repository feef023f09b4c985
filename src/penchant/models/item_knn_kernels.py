"""The nearest items of every item, exactly: a sparse matrix times its own transpose, of each row the best.

    dot_ij = Σ_u w_ui w_uj        co_ij = #{u : w_ui, w_uj stored}
    s_ij = dot_ij / (source_i target_j + h)

The product is symmetric, so each pair is computed once and offered to both its rows. Items are numbered by
descending popularity and a pair is computed in the row of its less popular item: the sums then run over the
front of every user's list, whose few popular items stay in the first-level cache. (The product by rows is
that of Gustavson 1978.)

A candidate is one integer, larger = better: the score's bits, which ascend with a score above 0, and below
them the complement of the row, so that what is kept depends on nothing but the scores and the rows.
"""

import numpy as np

from penchant.kernel.arrays import F32, I64, Bools, Csr, Rows, readonly
from penchant.kernel.compiled import kernel
from penchant.kernel.parallel import available_threads, spread
from penchant.kernel.topk import largest_first

_MASK = 0x7FFFFFFF
_TILE = 512  # pairs looked at together
_MOST = 2**30  # bytes of all threads' candidates together, at the cost of threads


def nearest(
    weights: Csr,
    *,
    source: F32,
    target: F32,
    k: int,
    shrinkage: float = 0.0,
    least: int = 1,
    threads: int | None = None,
) -> Csr:
    """Return the k nearest of each column of ``weights`` (n_users, n_items), best first, ties in row order.

    Entries are 0 or more, none twice; ``source`` and ``target`` (n_items,) are above 0. Pairs of fewer than
    ``least`` common users are no neighbours. The number of threads changes no byte.
    """
    n = weights.n_columns
    popular = np.argsort(-np.bincount(weights.indices, minlength=n), kind="stable").astype(np.int32)
    rank = np.empty(n, np.int32)
    rank[popular] = np.arange(n, dtype=np.int32)
    source, target = readonly(source[popular]), readonly(target[popular])
    indptr, users, value, _ = by_column(weights.indptr, rank[weights.indices], weights.data, n)
    by_user, items, of_user, _ = by_column(indptr, users, value, weights.n_rows)
    indptr, users, of_item, place = by_column(by_user, items, of_user, n)
    counts_itself = least <= 1 or bool((of_user == 1).all())
    workers = max(1, min(threads or available_threads(), _MOST // max(16 * n * k, 1)))

    def work(first: int, stop: int) -> tuple[I64, Rows]:
        keys, held = np.empty((n, 2 * k), np.int64), np.zeros(n, np.int32)
        dots = np.zeros(n, np.float32)
        common = dots if counts_itself else np.zeros(n, np.float32)
        bars = np.zeros(n, np.float32)
        for_row = (source, target, np.float32(shrinkage), np.float32(least if least > 1 else 0))
        lists = (indptr, users, of_item, place, by_user, items, of_user)
        _pairs(*lists, *for_row, popular, dots, common, not counts_itself, bars, first, workers, keys, held)
        return keys, held

    found = spread(work, workers, chunk=1, threads=workers)
    keys, held = found[0]
    for others, number in found[1:]:
        _join(others, number, keys, held)
    out = np.zeros(n + 1, np.int64)
    out[popular + 1] = np.minimum(held, k)
    out = np.cumsum(out)
    rows, scores = np.empty(out[-1], np.int32), np.empty(out[-1], np.float32)
    _write(keys, held, popular, out, rows, scores)
    return Csr(indptr=readonly(out), indices=readonly(rows), data=readonly(scores), n_columns=n)


@kernel()
def by_column(indptr: I64, indices: Rows, data: F32, n: int) -> tuple[I64, Rows, F32, I64]:
    """Return the transpose of a matrix with n columns, its rows ascending, and where each entry stood."""
    out = np.zeros(n + 1, np.int64)
    for e in range(len(indices)):
        out[indices[e] + 1] += 1
    for j in range(n):
        out[j + 1] += out[j]
    at = out[:-1].copy()
    rows = np.empty(len(indices), np.int32)
    values = np.empty(len(indices), np.float32)
    place = np.empty(len(indices), np.int64)
    for i in range(len(indptr) - 1):
        for e in range(indptr[i], indptr[i + 1]):
            p = at[indices[e]]
            at[indices[e]] += 1
            rows[p], values[p], place[p] = i, data[e], e
    return out, rows, values, place


@kernel()
def _pairs(
    indptr: I64,
    users: Rows,
    of_item: F32,
    place: I64,
    by_user: I64,
    items: Rows,
    of_user: F32,
    source: F32,
    target: F32,
    shrinkage: np.float32,
    least: np.float32,
    popular: Rows,
    dots: F32,
    common: F32,
    count: bool,
    bars: F32,
    first: int,
    step: int,
    keys: I64,
    held: Rows,
) -> None:
    """Offer each pair of an item of ``first``, ``first + step``, ... and a more popular one to both rows.

    ``common`` is ``dots`` itself where that counts users, or where no count is asked for.
    """
    bits = np.empty(1, np.float32)
    as_integer = bits.view(np.int32)
    for i in range(first, len(indptr) - 1, step):
        work = 0
        for e in range(indptr[i], indptr[i + 1]):
            w, begin, end = of_item[e], by_user[users[e]], place[e]
            work += end - begin
            for p in range(begin, end):
                dots[items[p]] += w * of_user[p]
            if count:
                for p in range(begin, end):
                    common[items[p]] += np.float32(1)
        if 2 * work > i:  # most pairs exist
            _look_at_all(
                i,
                dots[:i],
                common[:i],
                least,
                source,
                target,
                shrinkage,
                popular,
                bars,
                bits,
                as_integer,
                keys,
                held,
            )
        else:
            entries = slice(indptr[i], indptr[i + 1])
            _look_at_some(
                i,
                users[entries],
                place[entries],
                by_user,
                items,
                dots,
                common,
                least,
                source,
                target,
                shrinkage,
                popular,
                bars,
                bits,
                as_integer,
                keys,
                held,
            )


@kernel()
def _look_at_all(
    i: int,
    dots: F32,
    common: F32,
    least: np.float32,
    source: F32,
    target: F32,
    shrinkage: np.float32,
    popular: Rows,
    bars: F32,
    bits: F32,
    as_integer: Rows,
    keys: I64,
    held: Rows,
) -> None:
    """Offer all pairs of i: scores and which are worth offering in loops that vectorise, then those few."""
    forth, back = np.empty(_TILE, np.float32), np.empty(_TILE, np.float32)
    worth = np.zeros(_TILE, np.bool_)
    eight = worth.view(np.int64)
    full = keys.shape[1]
    for b in range(0, len(dots), _TILE):
        m = min(_TILE, len(dots) - b)
        worth[m:] = False
        _score_tile(
            dots[b : b + m],
            common[b : b + m],
            least,
            source[i],
            target[i],
            source[b : b + m],
            target[b : b + m],
            shrinkage,
            bars[i],
            bars[b : b + m],
            forth,
            back,
            worth,
        )
        for g in range((m + 7) // 8):
            if eight[g] != 0:
                for q in range(8 * g, 8 * g + 8):
                    if worth[q]:
                        if forth[q] >= bars[i]:
                            bits[0] = forth[q]
                            keys[i, held[i]] = (np.int64(as_integer[0]) << 32) | (_MASK - popular[b + q])
                            held[i] += 1
                            if held[i] == full:
                                bars[i] = _tighten(keys[i])
                                held[i] = full // 2
                        if back[q] >= bars[b + q]:
                            bits[0] = back[q]
                            keys[b + q, held[b + q]] = (np.int64(as_integer[0]) << 32) | (_MASK - popular[i])
                            held[b + q] += 1
                            if held[b + q] == full:
                                bars[b + q] = _tighten(keys[b + q])
                                held[b + q] = full // 2
    dots[:] = np.float32(0)
    common[:] = np.float32(0)


@kernel()
def _look_at_some(
    i: int,
    users: Rows,
    place: I64,
    by_user: I64,
    items: Rows,
    dots: F32,
    common: F32,
    least: np.float32,
    source: F32,
    target: F32,
    shrinkage: np.float32,
    popular: Rows,
    bars: F32,
    bits: F32,
    as_integer: Rows,
    keys: I64,
    held: Rows,
) -> None:
    """Offer the pairs of i that exist, found by going through its users' lists once more."""
    full = keys.shape[1]
    for e in range(len(users)):
        for p in range(by_user[users[e]], place[e]):
            j = items[p]
            dot, enough = dots[j], common[j] >= least
            dots[j] = common[j] = np.float32(0)
            if dot > 0 and enough:
                s = dot / (source[i] * target[j] + shrinkage)
                if s >= bars[i]:
                    bits[0] = s
                    keys[i, held[i]] = (np.int64(as_integer[0]) << 32) | (_MASK - popular[j])
                    held[i] += 1
                    if held[i] == full:
                        bars[i] = _tighten(keys[i])
                        held[i] = full // 2
                s = dot / (source[j] * target[i] + shrinkage)
                if s >= bars[j]:
                    bits[0] = s
                    keys[j, held[j]] = (np.int64(as_integer[0]) << 32) | (_MASK - popular[i])
                    held[j] += 1
                    if held[j] == full:
                        bars[j] = _tighten(keys[j])
                        held[j] = full // 2


@kernel()
def _score_tile(
    dots: F32,
    common: F32,
    least: np.float32,
    source_i: np.float32,
    target_i: np.float32,
    source: F32,
    target: F32,
    shrinkage: np.float32,
    bar: np.float32,
    bars: F32,
    forth: F32,
    back: F32,
    worth: Bools,
) -> None:
    for q in range(len(dots)):
        s = dots[q] / (source_i * target[q] + shrinkage)
        t = dots[q] / (source[q] * target_i + shrinkage)
        forth[q], back[q] = s, t
        worth[q] = (dots[q] > 0) & (common[q] >= least) & ((s >= bar) | (t >= bars[q]))


@kernel()
def _tighten(keys: I64) -> np.float32:
    """Put the better half first; return the least score among it."""
    k = len(keys) // 2
    largest_first(keys, k)
    bits = np.empty(1, np.float32)
    bits.view(np.int32)[0] = np.int32(keys[k - 1] >> 32)
    return bits[0]


@kernel()
def _join(others: I64, number: Rows, keys: I64, held: Rows) -> None:
    """Add the others' candidates."""
    k = keys.shape[1] // 2
    for i in range(len(keys)):
        for p in range(number[i]):
            keys[i, held[i]] = others[i, p]
            held[i] += 1
            if held[i] == 2 * k:
                largest_first(keys[i], k)
                held[i] = k


@kernel()
def _write(keys: I64, held: Rows, popular: Rows, indptr: I64, rows: Rows, scores: F32) -> None:
    """Write the best k candidates as matrix rows, best first."""
    bits = np.empty(1, np.float32)
    as_integer = bits.view(np.int32)
    for i in range(len(keys)):
        ordered = np.sort(keys[i, : held[i]])
        begin = indptr[popular[i]]
        for p in range(indptr[popular[i] + 1] - begin):
            key = ordered[held[i] - 1 - p]
            rows[begin + p] = _MASK - (key & _MASK)
            as_integer[0] = np.int32(key >> 32)
            scores[begin + p] = bits[0]
