"""CSV as columns: records found by one pass over the bytes, every line accounted for.

RFC 4180 with the usual tolerance: fields are separated by one byte, records end with LF, CR LF or CR, a field
that begins with a double quote may hold separators, line ends and doubled quotes, a quote inside any other
field is a plain character, and blank lines are no records. What a general parser would refuse a file for
(a quote that is never closed, text after a closing quote, too few or many fields) costs that one line only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from penchant.kernel.arrays import I64, U8
from penchant.kernel.arrow import ArrowColumn
from penchant.kernel.compiled import kernel

GOOD, RAGGED, BAD_QUOTES = 0, 1, 2
_INCOMPLETE = 3
_RECORD_LIMIT = 1 << 20  # bytes that a quoted field may span before its quote counts as never closed
_QUOTE, _LF, _CR, _SPACE, _TAB = 34, 10, 13, 32, 9

I32 = NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """The n records of a block of bytes.

    Record ``i`` is ``data[start[i]:stop[i]]`` without its line end and began on line ``line[i]`` of the file.
    Its field ``j`` is ``data[left[i, j]:right[i, j]]`` without quotes, where ``state[i]`` is `GOOD`.
    """

    data: U8
    start: I32  # (n,)
    stop: I32  # (n,)
    line: I64  # (n,)
    fields: I32  # (n,) how many it has
    state: U8  # (n,) GOOD, RAGGED or BAD_QUOTES
    left: I32  # (n, n_fields)
    right: I32  # (n, n_fields)
    used: int  # bytes up to the end of the last complete record
    next_line: int  # the line that begins at ``used``

    def __len__(self) -> int:
        return len(self.start)

    def raw(self, i: int) -> bytes:
        """Return the bytes of record ``i``."""
        return self.data[self.start[i] : self.stop[i]].tobytes()

    def column(self, j: int, keep: Sequence[int] | NDArray[Any] | slice = slice(None)) -> ArrowColumn:
        """Return field ``j`` of the kept records as text, null where it is empty or blank.

        The bytes must be UTF-8; it is not checked here.
        """
        left, right = self.left[keep, j], self.right[keep, j]
        offsets = np.empty(len(left) + 1, np.int32)
        text = np.empty(int((right - left).sum()), np.uint8)
        present = np.empty(len(left), np.bool_)
        size = _gather(self.data, left, right, offsets, text, present)
        bitmap = None if present.all() else pa.py_buffer(np.packbits(present, bitorder="little"))
        buffers = (pa.py_buffer(offsets), pa.py_buffer(text[:size]), bitmap)
        return pa.StringArray.from_buffers(len(left), *buffers)


def split(data: U8, *, n_fields: int, separator: int, line: int, final: bool) -> Records:
    """Split a block that begins at the start of line ``line`` into records of ``n_fields``.

    ``n_fields`` 0 takes any number and finds no fields, as for a header. An incomplete record at the end is
    left for the next block unless this is the ``final`` one.
    """
    room = int(np.count_nonzero(data == _LF)) + int(np.count_nonzero(data == _CR)) + 1
    start, stop, fields = (np.empty(room, np.int32) for _ in range(3))
    lines, state = np.empty(room, np.int64), np.empty(room, np.uint8)
    left, right = (np.empty((room, n_fields), np.int32) for _ in range(2))
    n, used, next_line = _scan(data, separator, final, line, start, stop, fields, lines, state, left, right)
    return Records(
        data=data,
        start=start[:n],
        stop=stop[:n],
        line=lines[:n],
        fields=fields[:n],
        state=state[:n],
        left=left[:n],
        right=right[:n],
        used=used,
        next_line=next_line,
    )


@kernel()
def _ends_field(byte: int, separator: int) -> bool:
    return byte in (separator, _LF, _CR)


@kernel()
def _closing(data: U8, at: int, limit: int) -> tuple[int, int]:
    """Return where the quoted text that begins at ``at`` closes (-1: not before ``limit``), its line ends."""
    lines = 0
    while at < limit:
        byte = data[at]
        if byte == _QUOTE:
            if at + 1 < len(data) and data[at + 1] == _QUOTE:
                at += 2
                continue
            return at, lines
        if byte == _LF or (byte == _CR and not (at + 1 < len(data) and data[at + 1] == _LF)):
            lines += 1
        at += 1
    return -1, lines


@kernel()
def _record(
    data: U8, begin: int, separator: int, final: bool, left: I32, right: I32
) -> tuple[int, int, int, int]:
    """Find the fields of the record at ``begin``.

    Return where it ends, how many fields it has, the line ends within it, and `GOOD`, `BAD_QUOTES` or
    `_INCOMPLETE`.
    """
    size = len(data)
    limit = min(size, begin + _RECORD_LIMIT)
    at, j, lines = begin, 0, 0
    while True:
        low = at
        if at < size and data[at] == _QUOTE:
            low += 1
            high, more = _closing(data, low, limit)
            if not final and ((high < 0 and limit == size) or high == size - 1):
                return at, j, lines, _INCOMPLETE
            at = high + 1
            if high < 0 or (at < size and not _ends_field(data[at], separator)):
                return at, j, lines, BAD_QUOTES
            lines += more
        else:
            while at < size and not _ends_field(data[at], separator):
                at += 1
            high = at
        if j < len(left):
            left[j], right[j] = low, high
        j += 1
        if at == size or data[at] != separator:
            return at, j, lines, GOOD
        at += 1


@kernel()
def _scan(
    data: U8,
    separator: int,
    final: bool,
    line: int,
    start: I32,
    stop: I32,
    fields: I32,
    lines: I64,
    state: U8,
    left: I32,
    right: I32,
) -> tuple[int, int, int]:
    """Fill the arrays; return how many records there are, the bytes used and the next line."""
    size, wanted = len(data), left.shape[1]
    n, at = 0, 0
    while at < size:
        begin = at
        at, j, inner, how = _record(data, begin, separator, final, left[n], right[n])
        if how == BAD_QUOTES:  # the quote may be a slip: give up this line, not those that it swallowed
            at, inner = begin, 0
            while at < size and data[at] != _LF and data[at] != _CR:
                at += 1
        # What ends the block may go on in the next: an unfinished line, or CR LF cut in two.
        if how == _INCOMPLETE or (not final and (at >= size or (data[at] == _CR and at + 1 == size))):
            return n, begin, line
        if at > begin:
            ragged = how == GOOD and wanted > 0 and j != wanted
            state[n] = RAGGED if ragged else how
            start[n], stop[n], fields[n], lines[n] = begin, at, j, line
            n += 1
        if at < size:
            at += 2 if data[at] == _CR and at + 1 < size and data[at + 1] == _LF else 1
        line += 1 + inner
    return n, at, line


@kernel()
def _gather(data: U8, left: I32, right: I32, offsets: I32, text: U8, present: NDArray[np.bool_]) -> int:
    """Copy the fields one after the other, doubled quotes of quoted ones made single; return the length."""
    size = 0
    for i in range(len(left)):
        offsets[i] = size
        low, high = left[i], right[i]
        quoted = low > 0 and data[low - 1] == _QUOTE
        blank = True
        while low < high:
            byte = data[low]
            text[size] = byte
            size += 1
            low += 2 if quoted and byte == _QUOTE else 1
            if byte != _SPACE and byte != _TAB:
                blank = False
        present[i] = not blank
        if blank:
            size = offsets[i]
    offsets[len(left)] = size
    return size
