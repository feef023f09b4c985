"""The vocabulary: outside ids (strings) on one side, row numbers on the other.

Ids are kept in ascending order of their UTF-8 bytes, so a smaller row is a smaller id: every tie that is
broken by row is broken by id, and a look-up is a binary search over two memory-mapped arrays that all
worker processes share instead of a dictionary that each would copy.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, final

import numpy as np
import pyarrow as pa

from penchant.kernel.arrays import I64, U8, AnyArray, Rows, readonly
from penchant.kernel.arrow import ArrowColumn, pc
from penchant.kernel.errors import Defect

_FEW = 256  # below this many ids, binary searches beat hashing the whole vocabulary


def _is_column(ids: object) -> bool:
    return isinstance(ids, pa.Array | pa.ChunkedArray)


def _column(ids: Iterable[str] | ArrowColumn) -> ArrowColumn:
    given: Any = ids
    return given.cast(pa.large_string()) if _is_column(ids) else pa.array(list(given), pa.large_string())


@final
class Vocab:
    """An immutable sorted set of ids.

    ``offsets`` is (n + 1,) int64, ``data`` the concatenated UTF-8 bytes, uint8.
    """

    __slots__ = ("_bounds", "_bytes", "_size", "data", "offsets")

    def __init__(self, offsets: I64, data: U8) -> None:
        self.offsets = readonly(offsets)
        self.data = readonly(data)
        self._bounds = offsets.data
        self._bytes = data.data
        self._size = len(offsets) - 1

    @classmethod
    def of(cls, ids: Iterable[str] | ArrowColumn) -> "Vocab":
        """Build from ids in any order, duplicates dropped, nulls refused."""
        array = _column(ids)
        if array.null_count:
            raise Defect("a vocabulary cannot hold a missing id.")
        unique = pc.unique(array)
        ordered = pc.take(unique, pc.sort_indices(unique))
        if isinstance(ordered, pa.ChunkedArray):
            ordered = ordered.combine_chunks()
        # Rebuilt from offset 0 so that the buffers hold these ids and nothing else.
        _, offsets, data = pa.concat_arrays([ordered, pa.array([], pa.large_string())]).buffers()
        n = len(ordered)
        if n == 0:
            return cls(np.zeros(1, np.int64), np.zeros(0, np.uint8))
        bounds = np.frombuffer(offsets, np.int64)[ordered.offset : ordered.offset + n + 1]
        raw = np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8)
        return cls((bounds - bounds[0]).copy(), raw[bounds[0] : bounds[-1]].copy())

    def __len__(self) -> int:
        return self._size

    def __contains__(self, id_: str) -> bool:
        return self.row(id_) >= 0

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Vocab):
            return NotImplemented
        return np.array_equal(self.offsets, other.offsets) and np.array_equal(self.data, other.data)

    def __hash__(self) -> int:
        return hash(self.digest)

    @property
    def digest(self) -> str:
        """Return a hex digest of the content, 32 characters."""
        state = hashlib.blake2b(digest_size=16)
        state.update(np.ascontiguousarray(self.offsets).data)
        state.update(np.ascontiguousarray(self.data).data)
        return state.hexdigest()

    def id(self, row: int) -> str:
        """Return the id of one row; a row outside 0..n-1 is a `Defect`."""
        if not 0 <= row < self._size:
            raise Defect(f"row {row} is outside a vocabulary of {self._size}.")
        return str(self._bytes[self._bounds[row] : self._bounds[row + 1]], "utf-8")

    def ids(self, rows: "Rows | Sequence[int]") -> list[str]:
        """Return the ids of many rows."""
        return [self.id(int(row)) for row in rows]

    def row(self, id_: str) -> int:
        """Return the row of ``id_``, or -1 when it is unknown."""
        wanted = id_.encode()
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            if self._raw(middle) < wanted:
                low = middle + 1
            else:
                high = middle
        return low if low < len(self) and self._raw(low) == wanted else -1

    def rows(self, ids: Sequence[str] | ArrowColumn) -> Rows:
        """Return an int32 row for each id, -1 where unknown or null."""
        if not _is_column(ids) and len(ids) < _FEW:
            return np.fromiter((self.row(i) for i in ids), np.int32, len(ids))
        found = pc.index_in(_column(ids), value_set=self.to_arrow(), skip_nulls=True)
        return np.asarray(pc.fill_null(found, -1)).astype(np.int32, copy=False)

    def to_arrow(self) -> ArrowColumn:
        """Return the ids as a pyarrow LargeStringArray that shares this memory."""
        offsets, data = np.ascontiguousarray(self.offsets), np.ascontiguousarray(self.data)
        return pa.LargeStringArray.from_buffers(len(self), pa.py_buffer(offsets), pa.py_buffer(data))

    def arrays(self, prefix: str) -> dict[str, AnyArray]:
        """Return the arrays to save, named ``<prefix>_offsets`` and ``<prefix>_bytes``."""
        return {f"{prefix}_offsets": self.offsets, f"{prefix}_bytes": self.data}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, AnyArray], prefix: str) -> "Vocab":
        """Open what `arrays` named."""
        return cls(arrays[f"{prefix}_offsets"], arrays[f"{prefix}_bytes"])

    def _raw(self, row: int) -> bytes:
        return bytes(self._bytes[self._bounds[row] : self._bounds[row + 1]])
