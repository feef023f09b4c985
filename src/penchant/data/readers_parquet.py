"""Parquet files as chunks of rows."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from penchant.data.readers_text import legible
from penchant.data.rows import Chunk, Mark, relist
from penchant.data.rows_properties import pieces
from penchant.data.rows_time import is_time_type
from penchant.data.schema import Role, Table, resolve_header
from penchant.kernel.arrays import Bools
from penchant.kernel.arrow import ArrowBatch, ArrowColumn, pc
from penchant.kernel.errors import InputError

_ROWS = 1 << 16


class ParquetFile:
    """A Parquet file; a property may also stand in its folder's name, as ``country=FR``.

    Raises:
        InputError: on opening, when it cannot be read, has wrong columns, or a column cannot mean what its
            name says.
    """

    def __init__(self, path: Path, table: Table, *, partitions: dict[str, str] | None = None) -> None:
        self.path = path
        self._table = table
        self._partitions = partitions or {}
        try:
            with pq.ParquetFile(path) as file:
                schema, self._rows = file.schema_arrow, int(file.metadata.num_rows)
        except (pa.ArrowException, OSError, EOFError) as error:
            raise _unreadable(path, error) from error
        self._names = resolve_header(table, [*schema.names, *self._partitions], str(path))
        for name, field in zip(self._names, schema, strict=False):
            column = table.column(name)
            if column is not None and not _fits(field.type, column.role):
                raise InputError(
                    f"column {field.name} holds {field.type}, which cannot be read as {column.role}.",
                    where=str(path),
                    fix="Convert the column before importing.",
                )

    def notes(self) -> list[str]:
        """Return what a user should know about how the file was understood."""
        return [f"column {j} has no name and was left out" for j, n in enumerate(self._names, 1) if not n]

    def chunks(self) -> Iterator[Chunk]:
        """Yield the rows."""
        size = self.path.stat().st_size
        start = 0
        try:
            with pq.ParquetFile(self.path, pre_buffer=False) as file:
                for batch in file.iter_batches(batch_size=_ROWS, use_threads=False):
                    yield self._chunk(batch, start, size * batch.num_rows // max(self._rows, 1))
                    start += batch.num_rows
        except (pa.ArrowException, OSError, EOFError) as error:
            raise _unreadable(self.path, error) from error

    def _chunk(self, batch: ArrowBatch, start: int, size: int) -> Chunk:
        columns: dict[str, ArrowColumn] = {}
        properties: dict[str, ArrowColumn] = {}
        marks: list[Mark] = []
        fixed = [pa.repeat(pa.scalar(value), batch.num_rows) for value in self._partitions.values()]
        for name, given in zip(self._names, [*batch.columns, *fixed], strict=True):
            if not name:
                continue
            column, bad = plain(given)
            if bad.any():
                marks.append(Mark(which=bad, reason="bad_utf8", column=name))
            if self._table.column(name) is not None:
                columns[name] = column
            else:
                properties[name] = self._pieces(name, column)
        return Chunk(
            columns=columns,
            properties=properties,
            row=np.arange(start + 1, start + 1 + batch.num_rows),
            raw=partial(_raw, batch),
            marks=marks,
            size=size,
        )

    def _pieces(self, name: str, column: ArrowColumn) -> ArrowColumn:
        try:
            return pieces(column, untyped=False)
        except (pa.ArrowException, ValueError, OverflowError) as error:
            raise InputError(
                f"column {name} of type {column.type} has no JSON form ({error}).",
                where=str(self.path),
                fix="Leave the column out, or convert it to text.",
            ) from error


def plain(column: ArrowColumn) -> tuple[ArrowColumn, Bools]:
    """Return a column without dictionaries, text as valid UTF-8, and where bytes were not (null there)."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    bad = np.zeros(len(column), np.bool_)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        inner, illegible = plain(column.flatten())
        if illegible.any():
            bad[np.asarray(pc.list_parent_indices(column))[illegible]] = True
        return relist(column, inner), bad
    textual = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    if not textual and not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        return column, bad
    raw = column.cast(pa.binary())
    try:
        return raw.cast(pa.string()), bad
    except pa.ArrowInvalid:
        texts: list[str | None] = []
        for i, value in enumerate(raw.to_pylist()):
            try:
                texts.append(None if value is None else value.decode())
            except UnicodeDecodeError:
                texts.append(None)
                bad[i] = True
        return pa.array(texts, pa.string()), bad


def _raw(batch: ArrowBatch, i: int) -> str:
    """Return row i as JSON."""
    row: dict[str, object] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            row[name] = column[i].as_py()
        except (UnicodeDecodeError, ValueError, OverflowError):
            value = column[i].cast(pa.binary()).as_py() if pa.types.is_string(column.type) else None
            row[name] = legible(value) if value is not None else f"({column.type} without a text form)"
    return msgspec.json.encode(row, enc_hook=str).decode()


def _fits(kind: object, role: Role) -> bool:
    """Return whether a column of an Arrow type can be read in a role."""
    if pa.types.is_dictionary(kind):
        kind = getattr(kind, "value_type", kind)
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    text = text or pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_null(kind)
    number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    return {
        "id": text or number,
        "time": text or number or is_time_type(kind),
        "number": text or number,
        "flag": text or number or pa.types.is_boolean(kind),
        "id list": text or is_list,
        "outcome": text,
    }[role]


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(
        f"cannot be read as Parquet ({str(error).splitlines()[0] if str(error) else type(error).__name__}).",
        where=str(path),
        fix="Check that the file is whole and its ending says what it is.",
    )
