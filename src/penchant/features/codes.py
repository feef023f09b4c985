"""The code store: one byte a value, by columns, built once and read by every seed list that follows.

Code 0 is "never" (NaN); codes 1.. are quantile bins of the population, so a code orders like its value. A
histogram of a seed list is then a gather of bytes, and the population's histogram is already there.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from penchant.features.matrix import FeatureName, Features
from penchant.kernel.arrays import F32, I64, U8, AnyArray, Rows, open_arrays, readonly
from penchant.kernel.compiled import kernel, prange
from penchant.kernel.errors import InputError, NotFound
from penchant.kernel.folders import publish
from penchant.kernel.progress import Progress, Silent, track

FORMAT = 1
BINS = 32
"""How many codes there are, "never" included; at most 256."""
SAMPLE = 100_000


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


def _counting(codes: U8, rows: Rows, counts: I64) -> None:
    for j in prange(codes.shape[0]):
        for row in rows:
            counts[j, codes[j, row]] += 1


_count_alone = kernel()(_counting)
_count_together = kernel(parallel=True)(_counting)


def _count(codes: U8, rows: Rows, counts: I64) -> None:
    # Below some milliseconds of work, waiting for the other threads costs more than they save.
    count = _count_together if counts.shape[0] * len(rows) > 4_000_000 else _count_alone
    count(codes, rows, counts)


@kernel(parallel=True)
def _count_all(codes: U8, counts: I64) -> None:
    for j in prange(codes.shape[0]):
        for i in range(codes.shape[1]):
            counts[j, codes[j, i]] += 1


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


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeStore:
    """Codes of d features of n users, and how many users have each code."""

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
        counts = np.zeros_like(self.counts)
        _count(self.codes, np.sort(rows), counts)
        return counts

    def restricted(self, columns: AnyArray) -> "CodeStore":
        """Return the store of some columns, copied."""
        return CodeStore(
            book=tuple(self.book[int(j)] for j in columns),
            codes=readonly(np.ascontiguousarray(self.codes[columns])),
            edges=readonly(self.edges[columns]),
            counts=readonly(self.counts[columns]),
        )

    def among(self, rows: Rows) -> "CodeStore":
        """Return the store of some users, copied; their places in ``rows`` are the new rows."""
        codes = np.ascontiguousarray(self.codes[:, rows])
        counts = np.zeros_like(self.counts)
        _count_all(codes, counts)
        return CodeStore(book=self.book, codes=readonly(codes), edges=self.edges, counts=readonly(counts))

    def refreshed(self, rows: Rows, values: F32) -> "CodeStore":
        """Return the store after the features of some users changed: ``values`` (d, m) of ``rows`` (m,).

        The edges stay, so codes keep their meaning; build anew when the population has drifted.
        """
        codes, counts = np.array(self.codes), np.array(self.counts)
        before = self.histogram(rows)
        codes[:, rows] = encode(values, self.edges)
        _count(codes, np.sort(rows), counts)
        return CodeStore(
            book=self.book, codes=readonly(codes), edges=self.edges, counts=readonly(counts - before)
        )

    @classmethod
    def open(cls, folder: Path, *, source: str) -> "CodeStore":
        """Open a store by memory map.

        Raises:
            NotFound: there is none, or it was computed from something else than ``source``.
            InputError: it is damaged.
        """
        card = folder / "codes.json"
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
    edges = quantile_edges(_sample(features.values), bins)
    codes = encode(features.values, edges)
    counts = np.zeros((len(features), bins), np.int64)
    _count_all(codes, counts)
    return CodeStore(
        book=features.book, codes=readonly(codes), edges=readonly(edges), counts=readonly(counts)
    )


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
    """Write the store of features that come one column (n,) after the other; memory holds one column.

    The folder appears whole or not at all.
    """
    with publish(folder) as draft:
        codes: Any = np.lib.format.open_memmap(
            draft / "codes.npy", mode="w+", dtype=np.uint8, shape=(len(book), users)
        )
        edges = np.empty((len(book), bins - 2), np.float32)
        counts = np.zeros((len(book), bins), np.int64)
        quiet = Silent() if progress is None else progress
        for j, column in enumerate(track(quiet, "code store", columns, len(book))):
            values = np.ascontiguousarray(column, np.float32)[None, :]
            edges[j] = quantile_edges(_sample(values), bins)[0]
            codes[j] = encode(values, edges[j : j + 1])[0]
            counts[j] = np.bincount(codes[j], minlength=bins)
        codes.flush()
        np.save(draft / "edges.npy", edges)
        np.save(draft / "counts.npy", counts)
        meta = CodesMeta(format=FORMAT, source=source, users=users, bins=bins, book=list(book))
        (draft / "codes.json").write_bytes(msgspec.json.encode(meta))
    return CodeStore.open(folder, source=source)


class CodeWriter:
    """Builds a store from ranges of users: edges first, from a sample; then each range once."""

    def __init__(self, folder: Path, book: tuple[FeatureName, ...], users: int, edges: F32, *, source: str):
        self._folder, self._book, self._source, self._edges = folder, book, source, edges
        self._publishing = publish(folder)
        self._draft = self._publishing.__enter__()
        self._codes: Any = np.lib.format.open_memmap(
            self._draft / "codes.npy", mode="w+", dtype=np.uint8, shape=(len(book), users)
        )
        self._counts = np.zeros((len(book), edges.shape[1] + 2), np.int64)

    def write(self, first: int, values: F32) -> None:
        """Store the features (d, m) of users first..first+m-1."""
        codes = encode(values, self._edges)
        self._codes[:, first : first + values.shape[1]] = codes
        _count_all(codes, self._counts)

    def finish(self) -> CodeStore:
        """Publish what was written and open it."""
        self._codes.flush()
        np.save(self._draft / "edges.npy", self._edges)
        np.save(self._draft / "counts.npy", self._counts)
        users = self._codes.shape[1]
        meta = CodesMeta(
            format=FORMAT, source=self._source, users=users, bins=self._counts.shape[1], book=list(self._book)
        )
        (self._draft / "codes.json").write_bytes(msgspec.json.encode(meta))
        self._publishing.__exit__(None, None, None)
        return CodeStore.open(self._folder, source=self._source)


def _sample(values: F32) -> F32:
    """Return every k-th user, so that at most `SAMPLE` are sorted for the edges."""
    step = -(-values.shape[1] // SAMPLE)
    return values if step <= 1 else values[:, ::step]
