"""Which event ids are sealed already: sorted files of 16-byte keys that all processes map and share.

A key is the MD5 of an event id, read as two big-endian 64-bit halves. A run is one file: all high halves in
ascending order (ties by low half), then all low halves. A look-up is a binary search in each run, so the
cost of an append grows with the number of runs, which `KeyRuns.small` keeps down, and hardly with their size.
"""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from penchant.kernel.arrays import Bools

U64: TypeAlias = NDArray[np.uint64]
Keys: TypeAlias = tuple[U64, U64]
"""High and low halves, each (n,)."""

SMALL = 1_000_000  # runs up to this many keys are merged with others
CROWD = 8  # once there are this many of them


def keys_of(raw: Sequence[bytes] | bytes) -> Keys:
    """Return 16-byte keys as halves, in the order given."""
    joined = raw if isinstance(raw, bytes) else b"".join(raw)
    halves = np.frombuffer(joined, ">u8").astype(np.uint64).reshape(-1, 2)
    return np.ascontiguousarray(halves[:, 0]), np.ascontiguousarray(halves[:, 1])


def sorted_keys(parts: Sequence[Keys]) -> Keys:
    """Return all keys of ``parts`` in ascending order."""
    high, low = (np.concatenate([part[half] for part in parts]) for half in (0, 1))
    order = np.lexsort((low, high))
    return high[order], low[order]


def among(run: Keys, asked: Keys) -> Bools:
    """Return for each key asked whether it is in ``run``, which is sorted."""
    high, low = run
    wanted_high, wanted_low = asked
    start = np.searchsorted(high, wanted_high, side="left")
    found = np.zeros(len(wanted_high), np.bool_)
    candidates = np.flatnonzero(start < len(high))
    # Two keys rarely share a high half, so this loop ends after one round but for such neighbours.
    while len(candidates):
        candidates = candidates[start[candidates] < len(high)]
        candidates = candidates[high[start[candidates]] == wanted_high[candidates]]
        hit = low[start[candidates]] == wanted_low[candidates]
        found[candidates[hit]] = True
        candidates = candidates[~hit]
        start[candidates] += 1
    return found


def write_run(path: Path, parts: Iterable[Keys]) -> int:
    """Write a run from sorted parts that follow one another, without holding them all; return how many."""
    lows = path.with_name(f"{path.name}.low")
    n = 0
    with path.open("wb") as first, lows.open("wb") as second:
        for high, low in parts:
            first.write(high.astype("<u8", copy=False).tobytes())
            second.write(low.astype("<u8", copy=False).tobytes())
            n += len(high)
    with path.open("ab") as first, lows.open("rb") as second:
        shutil.copyfileobj(second, first, 1 << 20)
    lows.unlink()
    return n


def open_run(path: Path) -> Keys:
    """Return the keys of a run, memory-mapped."""
    halves: NDArray[Any] = np.memmap(path, "<u8", mode="r")
    n = len(halves) // 2
    return np.asarray(halves[:n]), np.asarray(halves[n:])


class KeyRuns:
    """The runs that the manifest names, opened once each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[str, Keys] = {}

    def follow(self, files: Iterable[str]) -> None:
        """Open the runs named now, and let go of others."""
        self._open = {file: self._open.get(file) or open_run(self._folder / file) for file in files}

    def include(self, keys: Keys) -> None:
        """Know these keys too, which are in no file."""
        self._open[""] = sorted_keys([keys])

    def know(self, asked: Keys) -> Bools:
        """Return for each key whether any run has it."""
        found = np.zeros(len(asked[0]), np.bool_)
        for run in self._open.values():
            found |= among(run, asked)
        return found

    def small(self) -> Iterator[tuple[str, Keys]]:
        """Yield the runs to merge into one, none while there are few of them."""
        small = [(file, run) for file, run in self._open.items() if len(run[0]) <= SMALL]
        if len(small) >= CROWD:
            yield from small
