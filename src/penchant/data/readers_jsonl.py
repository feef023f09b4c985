"""JSON lines as chunks of rows."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from penchant.data.quarantine import Fault, Reason
from penchant.data.readers_text import BLOCK, LINE_LIMIT, blocks, empty, legible, too_long, with_end
from penchant.data.rows import Chunk, Mark
from penchant.data.rows_properties import piece
from penchant.data.schema import Role, Table, canonical_name, resolve_header
from penchant.kernel.arrow import ArrowColumn

_DECODER = msgspec.json.Decoder(dict[str, Any])
_TYPES: dict[Role, tuple[type, ...]] = {
    "id": (str, int, float),
    "time": (str, int, float),
    "number": (str, int, float),
    "flag": (bool, str, int),
    "id list": (list, str),
    "outcome": (str,),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """A line that is an object, its keys canonical."""

    number: int
    text: bytes
    fields: dict[str, Any]


class JsonLines:
    """A file with one JSON object a line, UTF-8, perhaps gzipped.

    Raises:
        InputError: on opening, when it is empty, cannot be read, or the first objects lack a required key.
    """

    def __init__(self, path: Path, table: Table, *, block: int = BLOCK) -> None:
        self.path = path
        self._table = table
        self._block = block
        self._known = {column.name: column for column in table.columns}
        self._names: dict[str, str] = {}  # key as written -> canonical name
        self._check()

    def notes(self) -> list[str]:
        """Return what a user should know about how the file was understood."""
        return []

    def chunks(self) -> Iterator[Chunk]:
        """Yield the rows."""
        rest, number = b"", 1
        for block, size, final in with_end(blocks(self.path, self._block)):
            data = rest + block
            end = len(data) if final else data.rfind(b"\n") + 1
            if end == 0 and len(data) > LINE_LIMIT:
                raise too_long(self.path, number)
            lines, rest = data[:end].split(b"\n"), data[end:]
            if lines != [b""]:
                yield self._chunk(lines, number, size)
            number += len(lines) - 1

    def _check(self) -> None:
        """Refuse a file whose first objects all lack a required key: that is a wrong table, not bad rows."""
        head = next(blocks(self.path, 1 << 20), None)
        if head is None or not head[0].strip():
            raise empty(self.path)
        keys: dict[str, None] = {}
        whole, _, part = head[0].rpartition(b"\n")
        for text in (whole or part).split(b"\n"):
            try:
                keys |= dict.fromkeys(_DECODER.decode(text))
            except (msgspec.DecodeError, ValueError, RecursionError):
                continue
        if keys:
            resolve_header(self._table, self._distinct(keys), str(self.path))

    def _distinct(self, keys: dict[str, None]) -> list[str]:
        """Return one spelling of each key: objects of one file may differ in style."""
        return list({canonical_name(key): key for key in keys}.values())

    def _chunk(self, lines: list[bytes], number: int, size: int) -> Chunk:
        good: list[_Line] = []
        faults: list[Fault] = []
        for n, text in enumerate(lines, number):
            if text and not text.isspace():
                try:
                    found = _DECODER.decode(text)
                    good.append(_Line(number=n, text=text, fields=self._canonical(found)))
                except (msgspec.DecodeError, ValueError, RecursionError) as error:
                    faults.append(self._fault(n, text, error))
        columns: dict[str, ArrowColumn] = {}
        marks: list[Mark] = []
        for name, column in self._known.items():
            columns[name], wrong = _column([line.fields.get(name) for line in good], column.role)
            marks.append(Mark(which=wrong, reason="wrong_type", column=name))
        others = {name: None for line in good for name in line.fields if name not in self._known}
        return Chunk(
            columns=columns,
            properties={
                name: pa.array([piece(line.fields.get(name)) for line in good], pa.string())
                for name in others
            },
            row=np.array([line.number for line in good], np.int64),
            raw=lambda i: legible(good[i].text),
            marks=marks,
            faults=faults,
            size=size,
        )

    def _canonical(self, found: dict[str, Any]) -> dict[str, Any]:
        """Return the object under canonical names.

        Raises:
            ValueError: two keys have one name, or a text has no UTF-8 form.
        """
        names = self._names
        for key in found.keys() - names.keys():
            names[key] = canonical_name(key)
        fields = {names[key]: value for key, value in found.items()}
        if len(fields) < len(found):
            raise ValueError("two keys have one name")
        return fields

    def _fault(self, number: int, text: bytes, error: Exception) -> Fault:
        reason: Reason = "broken_json"
        detail = f"not a JSON object ({error})"
        try:
            text.decode()
        except UnicodeDecodeError:
            reason, detail = "bad_utf8", "the line is not UTF-8"
        return Fault(
            table=self._table.name,
            file=str(self.path),
            row=number,
            reason=reason,
            detail=detail,
            raw=legible(text),
        )


def _column(values: list[Any], role: Role) -> tuple[ArrowColumn, np.ndarray[Any, np.dtype[np.bool_]]]:
    """Return JSON values as a column for their role, and where one has a type that the role cannot read."""
    wrong = np.zeros(len(values), np.bool_)
    allowed = _TYPES[role]
    kinds = {type(value) for value in values} - {type(None)}
    if kinds - set(allowed) or role == "id list":
        for i, value in enumerate(values):
            if value is not None and (type(value) not in allowed or (role == "id list" and not _ids(value))):
                wrong[i] = True
        values = [None if bad else value for value, bad in zip(values, wrong.tolist(), strict=True)]
        kinds = {type(value) for value in values} - {type(None)}
    if role == "id list":
        lists = [v.split("|") if isinstance(v, str) else v for v in values]
        return pa.array(lists, pa.list_(pa.string())), wrong
    if kinds <= {str}:
        return pa.array(values, pa.string()), wrong
    if kinds == {bool}:
        return pa.array(values, pa.bool_()), wrong
    texts = [None if value is None else value if type(value) is str else _number(value) for value in values]
    return pa.array(texts, pa.string()), wrong


def _ids(value: Any) -> bool:
    return isinstance(value, str) or all(isinstance(entry, str) for entry in value)


def _number(value: float) -> str:
    """Return a number as the text of an id: 7.0 and 7 are the same."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
