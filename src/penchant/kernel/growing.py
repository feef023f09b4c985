"""Arrays in versions: each version stays as it is, and what it shares with the one before is not copied."""

from dataclasses import dataclass
from typing import Generic, TypeVar, cast, final

import numpy as np

from penchant.kernel.arrays import AnyArray, readonly

A = TypeVar("A", bound=AnyArray)
_SPARE = 8  # a copy has room for an eighth more rows, and for some


@dataclass(slots=True)
class _Room:
    """What versions share: the rows, and how many of them some version has."""

    rows: AnyArray
    used: int


@final
@dataclass(frozen=True, slots=True)
class Growing(Generic[A]):
    """One version of an array (n, ...) that grows at its end and now and then changes within.

    Growing takes the time of the new rows, amortised: they are written behind the last row that any version
    has, where no reader looks. Changing copies. One thread makes versions, any number read them.
    """

    array: A  # read-only
    _room: _Room

    @classmethod
    def of(cls, array: A) -> "Growing[A]":
        """Return the first version; the array itself stays untouched."""
        return cls(readonly(array.view()), _Room(array, len(array)))

    def extended(self, new: A) -> "Growing[A]":
        """Return the version with ``new`` rows behind the others."""
        n, size = len(self.array), len(self.array) + len(new)
        room = self._room
        if room.used != n or len(room.rows) < size:
            room = self._copied(size)
        room.rows[n:size] = new
        room.used = size
        return Growing(cast("A", readonly(room.rows[:size])), room)

    def replaced(self, at: AnyArray, values: AnyArray) -> "Growing[A]":
        """Return the version with other values in the rows ``at``."""
        room = self._copied(len(self.array))
        room.rows[at] = values
        return Growing(cast("A", readonly(room.rows[: len(self.array)])), room)

    def _copied(self, size: int) -> _Room:
        rows = np.empty((size + size // _SPARE + 64, *self.array.shape[1:]), self.array.dtype)
        rows[: len(self.array)] = self.array
        return _Room(rows, len(self.array))
