"""Properties as columns: JSON objects in, typed Arrow columns out, each type decided once over all rows.

| a column that holds              | becomes        |
|----------------------------------|----------------|
| true and false                   | bool           |
| whole numbers                    | int64          |
| numbers                          | float64        |
| texts                            | string         |
| lists of texts, or those and texts (a text is a list of one) | list<string> |
| anything else together           | string: texts as they are, the rest as JSON |
| nothing but nulls                | string         |

A numeric ``creation_timestamp`` is always float64, seconds since 1970 UTC.
"""

from collections.abc import Iterator, Set
from typing import Any

import msgspec
import pyarrow as pa

from penchant.data.events import Value
from penchant.data.log_rows import PROPERTIES
from penchant.kernel.arrow import ArrowColumn
from penchant.kernel.errors import InputError

_ROWS = 20_000  # decoded at a time
_INT64 = range(-(1 << 63), 1 << 63)
_NUMBERS = frozenset({"int", "big", "float"})


def typed_columns(texts: ArrowColumn, *, where: str) -> dict[str, ArrowColumn]:
    """Return a column for each name that any of the JSON objects has, by ascending name.

    ``texts`` is a chunked string column; a null is an object without names. ``where`` names it in errors.

    Raises:
        InputError: a text is not a JSON object of texts, numbers, booleans and lists of texts.
    """
    seen: dict[str, set[str]] = {}
    for rows in _decoded(texts, where):
        for row in rows:
            for name, value in row.items():
                kinds = seen.setdefault(name, set())
                if value is not None:
                    kinds.add(_kind(value))
    names = sorted(seen)
    types = {name: _type(name, seen[name]) for name in names}
    chunks: dict[str, list[ArrowColumn]] = {name: [] for name in names}
    for rows in _decoded(texts, where):
        for name in names:
            values = [_as(types[name], row.get(name)) for row in rows]
            chunks[name].append(pa.array(values, types[name]))
    return {name: pa.chunked_array(chunks[name], types[name]) for name in names}


def _decoded(texts: ArrowColumn, where: str) -> Iterator[list[dict[str, Value]]]:
    for start in range(0, len(texts), _ROWS):
        rows: list[dict[str, Value]] = []
        for text in texts.slice(start, _ROWS).to_pylist():
            try:
                rows.append({} if text is None else PROPERTIES.decode(text))
            except msgspec.DecodeError as error:
                raise InputError(
                    f"{repr(text)[:80]} is not a JSON object of values ({error}).", where=where
                ) from error
        yield rows


def _kind(value: Value) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int" if value in _INT64 else "big"
    if isinstance(value, float):
        return "float"
    return "text" if isinstance(value, str) else "list"


def _type(name: str, kinds: Set[str]) -> Any:
    if kinds == {"bool"}:
        return pa.bool_()
    if kinds == {"int"} and name != "creation_timestamp":
        return pa.int64()
    if kinds and kinds <= _NUMBERS:
        return pa.float64()
    if "list" in kinds and kinds <= {"list", "text"}:
        return pa.list_(pa.string())
    return pa.string()


def _as(type_: Any, value: Value) -> Value:
    if value is None:
        return None
    if pa.types.is_list(type_):
        return [value] if isinstance(value, str) else value
    if pa.types.is_float64(type_):
        return float(value) if isinstance(value, int) else value
    if pa.types.is_string(type_) and not isinstance(value, str):
        return msgspec.json.encode(value).decode()
    return value
