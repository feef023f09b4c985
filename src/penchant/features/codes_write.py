"""Writing a code store: by columns, by ranges of users, or from an older store of the same features.

Whichever way, the folder appears whole or not at all, and memory holds one column or one range.
"""

import os
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, final

import msgspec
import numpy as np

from penchant.features.codes import (
    BINS,
    CARD,
    FORMAT,
    CodesMeta,
    CodeStore,
    code_counts,
    encode,
    quantile_edges,
    sample,
)
from penchant.features.matrix import FeatureName
from penchant.features.purchase_matrix import Cells
from penchant.kernel.arrays import F32, I64, U8, Rows
from penchant.kernel.compiled import kernel, prange
from penchant.kernel.folders import publish
from penchant.kernel.progress import Progress, Silent, track

BLOCK = 100_000
"""How many users are coded, or copied, at a time."""


@kernel()
def _scatter(
    starts: I64, code: I64, user: I64, values: F32, edges: F32, lengths: I64, codes: U8, counts: I64
) -> None:
    for i in range(len(user)):
        for s in range(len(starts)):
            value = values[s, i]
            if np.isnan(value):
                continue
            j = starts[s] + code[i]
            low, high = 0, lengths[j]
            while low < high:
                middle = (low + high) >> 1
                if edges[j, middle] < value:
                    low = middle + 1
                else:
                    high = middle
            codes[user[i], j] = low + 1
            counts[j, low + 1] += 1
            counts[j, 0] -= 1


def scatter(cells: Cells, edges: F32, codes: U8, counts: I64) -> None:
    """Encode cells into ``codes`` (n, d), a row a user, and move them in ``counts`` (d, bins) from never."""
    lengths = np.isfinite(edges).sum(1).astype(np.int64)
    code, user = cells.code.astype(np.int64), cells.user.astype(np.int64)
    _scatter(cells.starts, code, user, cells.values, edges, lengths, codes, counts)


@kernel(parallel=True)
def _turn(rows: U8, columns: U8) -> None:
    for block in prange((rows.shape[0] + 63) // 64):
        first = block * 64
        end = min(first + 64, rows.shape[0])
        for j in range(rows.shape[1]):
            for i in range(first, end):
                columns[j, i] = rows[i, j]


@final
class CodeWriter:
    """Takes ranges of users in any order, each once; made by `code_writer`."""

    def __init__(self, file: BinaryIO, start: int, users: int, edges: F32) -> None:
        self._file, self._start, self._users = file, start, users
        self.edges = edges
        self.counts = np.zeros((len(edges), edges.shape[1] + 2), np.int64)

    def write(self, first: int, values: F32) -> None:
        """Store the features (d, m) of users first..first+m-1; NaN is never."""
        self.write_codes(first, encode(values, self.edges))

    def write_cells(self, first: int, m: int, cells: Iterable[Cells]) -> None:
        """Store the features of users first..first+m-1 from parts of the long table; no pair comes twice."""
        rows = np.zeros((m, len(self.edges)), np.uint8)  # a user's cells share a page
        self.counts[:, 0] += m
        for part in cells:
            scatter(part, self.edges, rows, self.counts)
        codes = np.empty(rows.shape[::-1], np.uint8)
        _turn(rows, codes)
        self._put(first, codes)

    def write_codes(self, first: int, codes: U8) -> None:
        """Store codes (d, m) of users first..first+m-1."""
        self.counts += code_counts(codes, self.counts.shape[1])
        self._put(first, codes)

    def _put(self, first: int, codes: U8) -> None:
        # Written, not mapped: dirty mapped pages would count as this process's memory.
        for j, column in enumerate(codes):
            os.pwrite(self._file.fileno(), column.data, self._start + j * self._users + first)


@contextmanager
def code_writer(
    folder: Path, book: tuple[FeatureName, ...], users: int, edges: F32, *, source: str
) -> Generator[CodeWriter]:
    """Give a writer of a store with known edges (d, bins - 2); published when the block ends well."""
    with publish(folder) as draft:
        with (draft / "codes.npy").open("w+b") as file:
            start = _header(file, len(book), users)
            file.truncate(start + len(book) * users)
            writer = CodeWriter(file, start, users, edges)
            yield writer
        _finish(draft, book, users, edges, writer.counts, source)


def build_store(
    folder: Path,
    book: tuple[FeatureName, ...],
    users: int,
    columns: Iterable[F32],
    *,
    source: str,
    bins: int = BINS,
    progress: Progress | None = None,
) -> CodeStore:
    """Write the store of features that come one column (n,) after the other; memory holds one column."""
    with publish(folder) as draft:
        edges = np.empty((len(book), bins - 2), np.float32)
        counts = np.zeros((len(book), bins), np.int64)
        quiet = Silent() if progress is None else progress
        with (draft / "codes.npy").open("wb") as file:
            _header(file, len(book), users)
            for j, column in enumerate(track(quiet, "code store", columns, len(book))):
                values = np.ascontiguousarray(column, np.float32)[None, :]
                edges[j] = quantile_edges(sample(values), bins)[0]
                codes = encode(values, edges[j : j + 1])[0]
                counts[j] = np.bincount(codes, minlength=bins)
                file.write(codes.data)
        _finish(draft, book, users, edges, counts, source)
    return CodeStore.open(folder, source=source)


def refresh_store(
    old: CodeStore,
    folder: Path,
    *,
    source: str,
    old_rows: Rows,
    changed: Rows,
    values: Iterable[F32],
    progress: Progress | None = None,
) -> CodeStore:
    """Write the store as it is after some users changed, came or went, reading ``old`` once in order.

    ``old_rows`` (n,) says which row of ``old`` each of the n users had, -1 for the new ones. ``changed`` (m,)
    are the users, ascending, whose features are given anew, all new ones among them; ``values`` are theirs in
    that order, in parts (d, any number). The edges stay: build anew when the population has drifted.
    """
    quiet = Silent() if progress is None else progress
    parts, held = iter(values), np.empty((len(old.book), 0), np.uint8)
    users = len(old_rows)
    with code_writer(folder, old.book, users, old.edges, source=source) as writer:
        for first in track(quiet, "refresh", range(0, users, BLOCK), -(-users // BLOCK)):
            end = min(first + BLOCK, users)
            codes = _taken(old, old_rows[first:end])
            mine = changed[np.searchsorted(changed, first) : np.searchsorted(changed, end)]
            while held.shape[1] < len(mine):
                held = np.hstack([held, encode(next(parts), old.edges)])
            codes[:, mine - first] = held[:, : len(mine)]
            held = held[:, len(mine) :]
            writer.write_codes(first, codes)
    return CodeStore.open(folder, source=source)


def _taken(old: CodeStore, rows: Rows) -> U8:
    """Return the codes (d, m) of some rows, 0 for -1."""
    known = rows[rows >= 0]
    codes = np.zeros((len(old.book), len(rows)), np.uint8)
    if len(known):
        first, end = int(known.min()), int(known.max()) + 1
        if end - first <= 4 * len(rows):  # ids keep their order, so this is how rows come
            whole = old.block(np.arange(len(old.book)), first, end)
            codes[:, rows >= 0] = whole[:, known - first]
        else:
            codes[:, rows >= 0] = old.among(known).codes
    return codes


def _header(file: BinaryIO, d: int, n: int) -> int:
    """Write what stands before the codes in a .npy file; return its length."""
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (d, n)})
    return file.tell()


def _finish(
    draft: Path, book: tuple[FeatureName, ...], users: int, edges: F32, counts: I64, source: str
) -> None:
    np.save(draft / "edges.npy", edges)
    np.save(draft / "counts.npy", counts)
    meta = CodesMeta(format=FORMAT, source=source, users=users, bins=counts.shape[1], book=list(book))
    (draft / CARD).write_bytes(msgspec.json.encode(meta))
