"""The code store: one byte a value, by columns, built once and read by every seed list that follows.

Code 0 is "never" (NaN); codes 1.. are quantile bins of the population, so a code orders like its value. A
histogram of a seed list is then a gather of bytes, and the population's histogram is already there.
"""

import mmap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np

from penchant.features.matrix import FeatureName, Features
from penchant.kernel.arrays import F32, F64, I64, U8, AnyArray, Bools, Rows, open_arrays, readonly
from penchant.kernel.compiled import kernel, prange
from penchant.kernel.errors import InputError, NotFound
from penchant.kernel.progress import Progress, track

FORMAT = 1
BINS = 32
"""How many codes there are, "never" included; at most 256."""
SAMPLE = 100_000
CARD = "codes.json"
_BLOCK = 131_072  # users whose codes are handed out at a time
_AT_ONCE = 1 << 28  # bytes of columns that are mapped at a time
_LARGE = 1 << 31  # a smaller file stays mapped, which makes the next seed list faster


class CodesMeta(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What ``codes.json`` says."""

    format: int
    source: str  # digest of what it was computed from
    users: int
    bins: int
    book: list[FeatureName]


@kernel(parallel=True)
def _encode(values: F32, edges: F32, lengths: I64, out: U8) -> None:
    for j in prange(values.shape[0]):
        count = lengths[j]
        for i in range(values.shape[1]):
            value = values[j, i]
            if np.isnan(value):
                out[j, i] = 0
            else:
                low, high = 0, count
                while low < high:
                    middle = (low + high) >> 1
                    if edges[j, middle] < value:
                        low = middle + 1
                    else:
                        high = middle
                out[j, i] = low + 1


def _counting(codes: U8, wanted: Bools, lists: AnyArray, counts: I64) -> None:
    for j in prange(codes.shape[0]):
        if wanted[j]:
            for k in range(lists.shape[0]):
                for i in range(lists.shape[1]):
                    counts[k, j, codes[j, lists[k, i]]] += 1


_count_alone = kernel()(_counting)
_count_together = kernel(parallel=True)(_counting)


@kernel(parallel=True)
def _count_all(codes: U8, counts: I64) -> None:
    for j in prange(codes.shape[0]):
        for i in range(codes.shape[1]):
            counts[j, codes[j, i]] += 1


def count_codes(codes: U8, wanted: Bools, lists: AnyArray, counts: I64) -> None:
    """Add to ``counts`` (l, d, bins) the codes (d, n) of lists of users (l, m), in wanted columns (d,)."""
    # Below some milliseconds of work, waiting for the other threads costs more than they save.
    count = _count_together if len(codes) * lists.size > 4_000_000 else _count_alone
    count(codes, wanted, lists, counts)


def code_counts(codes: U8, bins: int) -> I64:
    """Return how many users have each code: (d, n) -> (d, bins)."""
    counts = np.zeros((len(codes), bins), np.int64)
    _count_all(codes, counts)
    return counts


def quantile_edges(values: F32, bins: int = BINS) -> F32:
    """Return the upper edges of the quantile bins of each column: (d, n) -> (d, bins - 2).

    The bins between them hold value <= edge; equal edges are one edge, and the places left over hold +inf.
    Two neighbouring values of a column with few different ones never share a bin.
    """
    edges = np.full((len(values), bins - 2), np.inf, np.float32)
    places = np.arange(1, bins - 1) / (bins - 1)
    for j, column in enumerate(values):
        known = np.sort(column[~np.isnan(column)])
        if not len(known):
            continue
        distinct = np.unique(known)
        if len(distinct) > bins - 1:
            distinct = np.unique(known[(places * len(known)).astype(np.int64)])
        else:
            distinct = distinct[:-1]
        edges[j, : len(distinct)] = distinct[: bins - 2]
    return edges


def encode(values: F32, edges: F32) -> U8:
    """Return the code of every value: (d, n) with edges (d, e) -> (d, n) uint8."""
    out = np.empty(values.shape, np.uint8)
    lengths = np.isfinite(edges).sum(1).astype(np.int64)
    _encode(np.ascontiguousarray(values, np.float32), np.ascontiguousarray(edges), lengths, out)
    return out


class Codes(Protocol):
    """What a seed list is answered from: codes of d features of n users, wherever they are.

    The methods are those of `CodeStore`; each passes over the codes once.
    """

    @property
    def book(self) -> tuple[FeatureName, ...]: ...  # noqa: D102 - see CodeStore

    @property
    def edges(self) -> F32: ...  # noqa: D102

    @property
    def counts(self) -> I64: ...  # noqa: D102

    @property
    def n_users(self) -> int: ...  # noqa: D102

    def histograms(self, lists: AnyArray, wanted: "Bools | None" = None) -> I64: ...  # noqa: D102

    def among(self, rows: Rows) -> "CodeStore": ...  # noqa: D102

    def mapped(  # noqa: D102
        self, columns: AnyArray, score: Callable[[Rows, U8], F64], width: int, *, progress: Progress
    ) -> F64: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeStore:
    """Codes of d features of n users, and how many users have each code.

    The codes may be mapped from a file that is larger than the memory: read them by the methods below, which
    pass over the file in order and let go of what they have read.
    """

    book: tuple[FeatureName, ...]
    codes: U8  # (d, n), in memory or memory-mapped
    edges: F32  # (d, bins - 2) upper edges, +inf where unused
    counts: I64  # (d, bins) users with each code

    @property
    def bins(self) -> int:
        """Return the number of codes, "never" included."""
        return self.counts.shape[1]

    @property
    def n_users(self) -> int:
        """Return the number of users."""
        return self.codes.shape[1]

    def histogram(self, rows: Rows) -> I64:
        """Count the codes of some users: (m,) rows -> (d, bins)."""
        return self.histograms(rows[None, :])[0]

    def histograms(self, lists: AnyArray, wanted: "Bools | None" = None) -> I64:
        """Count the codes of several lists of users in one pass over the columns: (l, m) -> (l, d, bins).

        Columns outside ``wanted`` (d,) are passed over and count nothing.
        """
        lists = np.sort(lists, axis=1)
        wanted = np.ones(len(self.codes), bool) if wanted is None else wanted
        counts = np.zeros((len(lists), *self.counts.shape), np.int64)
        for part in self._columns_at_once():
            found = np.zeros((len(lists), *self.counts[part].shape), np.int64)
            count_codes(self.codes[part], wanted[part], lists, found)
            counts[:, part] = found
            self._let_go()
        return counts

    def among(self, rows: Rows) -> "CodeStore":
        """Return the store of some users, copied; their places in ``rows`` are the new rows."""
        codes = np.empty((len(self.codes), len(rows)), np.uint8)
        for part in self._columns_at_once():
            for j in range(*part.indices(len(codes))):
                np.take(self.codes[j], rows, out=codes[j])
            self._let_go()
        counts = code_counts(codes, self.bins)
        return CodeStore(book=self.book, codes=readonly(codes), edges=self.edges, counts=readonly(counts))

    def mapped(
        self, columns: AnyArray, score: Callable[[Rows, U8], F64], width: int, *, progress: Progress
    ) -> F64:
        """Return what ``score`` gives (m, width) for each block of users, together (n, width).

        ``score`` gets the rows (m,) and the codes (k, m) of ``columns`` (k,).
        """
        out = np.empty((self.n_users, width))
        starts = range(0, self.n_users, _BLOCK)
        for first in track(progress, "scoring everybody", starts, len(starts)):
            end = min(first + _BLOCK, self.n_users)
            codes = self.block(columns, first, end)
            out[first:end] = score(np.arange(first, end, dtype=np.int32), codes)
        return out

    def block(self, columns: AnyArray, first: int, end: int) -> U8:
        """Return the codes (k, end - first) of some columns of the users first..end-1, copied."""
        codes = np.empty((len(columns), end - first), np.uint8)
        for k, j in enumerate(columns):
            codes[k] = self.codes[j, first:end]
        self._let_go()
        return codes

    def refreshed(self, rows: Rows, values: F32) -> "CodeStore":
        """Return the store after the features of some users changed: ``values`` (d, m) of ``rows`` (m,).

        The edges stay, so codes keep their meaning; build anew when the population has drifted. This copies
        the codes: `penchant.features.codes_write.refresh_store` does the same from file to file.
        """
        codes, new = np.array(self.codes), encode(values, self.edges)
        codes[:, rows] = new
        counts = self.counts - self.histogram(rows) + code_counts(new, self.bins)
        return CodeStore(book=self.book, codes=readonly(codes), edges=self.edges, counts=readonly(counts))

    def _columns_at_once(self) -> "Iterator[slice]":
        step = max(_AT_ONCE // max(self.n_users, 1), 1)
        return (slice(first, first + step) for first in range(0, len(self.codes), step))

    def _let_go(self) -> None:
        """Unmap the pages of a large file; they are in the system's cache as long as it has room."""
        base: Any = self.codes
        while isinstance(base, np.ndarray):
            base = base.base
        if isinstance(base, mmap.mmap) and self.codes.nbytes > _LARGE:
            base.madvise(mmap.MADV_DONTNEED)

    @classmethod
    def open(cls, folder: Path, *, source: str) -> "CodeStore":
        """Open a store by memory map.

        Raises:
            NotFound: there is none, or it was computed from something else than ``source``.
            InputError: it is damaged.
        """
        card = folder / CARD
        if not card.exists():
            raise NotFound("no code store here.", where=str(folder))
        try:
            meta = msgspec.json.decode(card.read_bytes(), type=CodesMeta)
        except msgspec.DecodeError as error:
            raise InputError(
                f"damaged code store ({error}).", where=str(card), fix="Delete the folder."
            ) from error
        if meta.format != FORMAT or meta.source != source:
            raise NotFound("this code store was computed from other data.", where=str(folder))
        arrays = open_arrays(folder)
        return cls(
            book=tuple(meta.book), codes=arrays["codes"], edges=arrays["edges"], counts=arrays["counts"]
        )


def code_features(features: Features, *, bins: int = BINS) -> CodeStore:
    """Return the code store of features that are in memory, in memory."""
    edges = quantile_edges(sample(features.values), bins)
    codes = encode(features.values, edges)
    counts = code_counts(codes, bins)
    return CodeStore(
        book=features.book, codes=readonly(codes), edges=readonly(edges), counts=readonly(counts)
    )


def sample(values: F32) -> F32:
    """Return every k-th user, so that at most `SAMPLE` are sorted for the edges."""
    step = -(-values.shape[1] // SAMPLE)
    return values if step <= 1 else values[:, ::step]
