"""CSV files as chunks of rows."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from penchant.data.csv_rows import BAD_QUOTES, GOOD, Records, split
from penchant.data.quarantine import Fault, Reason
from penchant.data.readers_text import BLOCK, LINE_LIMIT, blocks, empty, legible, too_long, with_end
from penchant.data.rows import Chunk
from penchant.data.rows_properties import pieces
from penchant.data.schema import Table, resolve_header
from penchant.kernel.errors import InputError

_SEPARATORS = ",\t;"
_HEADER_BLOCK = 1 << 16


class CsvFile:
    """A CSV file with a header, UTF-8, separated by commas, tabs or semicolons, perhaps gzipped.

    Raises:
        InputError: on opening, when it is empty, cannot be read or has a wrong header.
    """

    def __init__(self, path: Path, table: Table, *, block: int = BLOCK) -> None:
        self.path = path
        self._table = table
        self._block = block
        header = _first_line(path)
        self._separator = max(_SEPARATORS, key=header.count)
        self._names = resolve_header(table, _titles(header, self._separator, str(path)), str(path))

    def notes(self) -> list[str]:
        """Return what a user should know about how the file was understood."""
        found = [f"column {j} has no name and was left out" for j, n in enumerate(self._names, 1) if not n]
        if self._separator != ",":
            found.append(f"columns are separated by {self._separator!r}")
        return found

    def chunks(self) -> Iterator[Chunk]:
        """Yield the rows below the header."""
        rest, line, skip_header = b"", 1, True
        for block, size, final in with_end(blocks(self.path, self._block)):
            data = np.frombuffer(rest + block, np.uint8)
            records = split(
                data,
                n_fields=len(self._names),
                separator=ord(self._separator),
                line=line,
                final=final,
            )
            if records.used == 0 and len(data) > LINE_LIMIT:
                raise too_long(self.path, line)
            rest, line = data[records.used :].tobytes(), records.next_line
            if len(records):
                yield self._chunk(records, size, skip=1 if skip_header else 0)
                skip_header = False

    def _chunk(self, records: Records, size: int, *, skip: int) -> Chunk:
        state = records.state.copy()
        state[:skip] = BAD_QUOTES  # the header is no row
        illegible = _not_utf8(records)
        keep = np.flatnonzero((state == GOOD) & ~illegible)
        refused = np.flatnonzero((state != GOOD) | illegible)
        where = slice(None) if len(keep) == len(records) else keep
        known = {c.name for c in self._table.columns}
        return Chunk(
            columns={name: records.column(j, where) for j, name in enumerate(self._names) if name in known},
            properties={
                name: pieces(records.column(j, where), untyped=True)
                for j, name in enumerate(self._names)
                if name and name not in known
            },
            row=records.line[where],
            raw=lambda i: legible(records.raw(int(keep[i]))),
            faults=[self._fault(records, i, bool(illegible[i])) for i in refused.tolist() if i >= skip],
            size=size,
        )

    def _fault(self, records: Records, i: int, illegible: bool) -> Fault:
        reason: Reason = "ragged_line"
        detail = f"{records.fields[i]} fields where the header has {len(self._names)}"
        if records.state[i] == BAD_QUOTES:
            reason, detail = "bad_quotes", "a quote is never closed or is followed by text"
        elif illegible and records.state[i] == GOOD:
            reason, detail = "bad_utf8", "the line is not UTF-8"
        return Fault(
            table=self._table.name,
            file=str(self.path),
            row=int(records.line[i]),
            reason=reason,
            detail=detail,
            raw=legible(records.raw(i)),
        )


def _not_utf8(records: Records) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return which records are not UTF-8: the whole block at once, each record only where that fails."""
    which = np.zeros(len(records), np.bool_)
    if not _is_utf8(records.data[: records.used].tobytes()):
        which[:] = [not _is_utf8(records.raw(i)) for i in range(len(records))]
    return which


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def _first_line(path: Path) -> str:
    """Return the first line that is not blank."""
    head = b""
    for block, _, final in with_end(blocks(path, _HEADER_BLOCK)):
        head += block
        records = split(np.frombuffer(head, np.uint8), n_fields=0, separator=0, line=1, final=final)
        if len(records):
            try:
                return records.raw(0).decode()
            except UnicodeDecodeError as error:
                raise InputError(
                    f"the header is not UTF-8 (byte {error.start + 1}).",
                    where=f"{path} line {records.line[0]}",
                    fix="Save the file as UTF-8.",
                ) from error
        if len(head) > LINE_LIMIT:
            raise too_long(path, 1)
    raise empty(path)


def _titles(header: str, separator: str, where: str) -> list[str]:
    """Return the column titles of a header line."""
    data = np.frombuffer(header.encode(), np.uint8)
    count = int(split(data, n_fields=0, separator=ord(separator), line=1, final=True).fields[0])
    record = split(data, n_fields=count, separator=ord(separator), line=1, final=True)
    if record.state[0] != GOOD:
        raise InputError(
            "a quote in the header is never closed or is followed by text.",
            where=where,
            fix="The header must be one line of column names.",
        )
    return [record.column(j)[0].as_py() or "" for j in range(count)]
