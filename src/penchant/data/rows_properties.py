"""Columns without a meaning of their own: kept as JSON, and what type each of them seems to have.

A row's JSON depends on that row alone, so the same row imported beside other rows is the same event. Types
are therefore found beside it, from all rows, and not applied to it.
"""

import re
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import msgspec
import numpy as np
import pyarrow as pa

from penchant.data.rows_time import is_time_type
from penchant.kernel.arrow import ArrowColumn, pc

PropertyType: TypeAlias = Literal["category", "number", "text", "timestamp", "empty"]

# 15 digits are exact in a float, more before the point are a code; so are a leading zero and a capital E.
_JSON_NUMBER = r"^-?(0|[1-9][0-9]{0,14})(\.[0-9]{1,30})?(e[-+][0-9]{2})?$"
_SPECIAL = r'["\\\x00-\x1f]'
_CONTROL = r"[\x00-\x1f]"
_ISO = re.compile(r'^"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?)?"$')
_TIME_NAME = re.compile(r"(^|_)(time|timestamp|date|at|ts)$")
_SAMPLE = 20_000
_WORDS_OF_TEXT = 3.0  # on average
_DISTINCT_OF_TEXT = 0.2  # share


def pieces(column: ArrowColumn, *, untyped: bool) -> ArrowColumn:
    """Return each value as JSON text, null where there is none; a number that is not finite counts as none.

    ``untyped`` columns come from CSV: text that is a number becomes one.
    """
    kind = column.type
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind):
        return column.cast(pa.string())
    if pa.types.is_floating(kind):
        value = column.cast(pa.float64())
        return pc.if_else(pc.is_finite(value), value, pa.scalar(None, pa.float64())).cast(pa.string())
    if is_time_type(kind):
        return _quoted(column.cast(pa.string()))
    if pa.types.is_null(kind):
        return column.cast(pa.string())
    if not pa.types.is_string(kind):
        return pa.array([piece(value) for value in column.to_pylist()], pa.string())
    if not untyped:
        return _quoted(column)
    number = pc.match_substring_regex(column, _JSON_NUMBER)
    if pc.all(number).as_py():
        return column
    return pc.if_else(number, column, _quoted(column)) if pc.any(number).as_py() else _quoted(column)


def piece(value: Any) -> str | None:
    """Return one value as JSON text: a text, number, bool or list of texts; whatever else as its own text."""
    if isinstance(value, list):
        return "[" + ",".join(_text(entry) for entry in value) + "]"
    if value is None or isinstance(value, str | bool | float):
        text = msgspec.json.encode(value).decode()
        return None if text == "null" else text
    if isinstance(value, int) and -(1 << 63) <= value < 1 << 63:
        return str(value)
    return _text(value)


def _text(value: Any) -> str:
    """Return any value as a JSON text: itself when its JSON is one, otherwise its JSON."""
    try:
        encoded = msgspec.json.encode(value).decode()
    except (TypeError, OverflowError, ValueError):
        encoded = str(value)
    return encoded if encoded.startswith('"') else msgspec.json.encode(encoded).decode()


def _quoted(column: ArrowColumn) -> ArrowColumn:
    if pc.any(pc.match_substring_regex(column, _SPECIAL)).as_py():
        column = pc.replace_substring(column, "\\", "\\\\")
        column = pc.replace_substring(column, '"', '\\"')
        if pc.any(pc.match_substring_regex(column, _CONTROL)).as_py():
            for code in range(32):
                column = pc.replace_substring(column, chr(code), f"\\u{code:04x}")
    return pc.binary_join_element_wise('"', column, '"', "")


def joined(columns: Mapping[str, ArrowColumn], n: int) -> ArrowColumn:
    """Return a JSON object for each of n rows from `pieces` by name; null for a row without any."""
    if not columns:
        return pa.nulls(n, pa.string())
    # Joined by hand: with null_handling="skip" Arrow leaves out a row whose values are all null.
    fields = [
        pc.binary_join_element_wise("," + msgspec.json.encode(name).decode() + ":", column, "").fill_null("")
        for name, column in columns.items()
    ]
    inside = pc.utf8_ltrim(pc.binary_join_element_wise(*fields, ""), ",")
    some = pc.not_equal(inside, "")
    whole = pc.binary_join_element_wise("{", inside, "}", "")
    return whole if pc.all(some).as_py() else pc.if_else(some, whole, pa.scalar(None, pa.string()))


class PropertyKinds:
    """Finds the type of each property over the rows it is shown.

    number: every value is one. timestamp: every value is ISO 8601 text, or a number of the size of a time
    under a name such as ``created_at``. text: three words or more on average and at least a fifth of the
    values distinct. category: anything else. Words and distinct values are counted on the first 20,000 texts.
    """

    def __init__(self) -> None:
        self._texts: dict[str, list[str]] = {}
        self._numbers: dict[str, list[float]] = {}
        self._all_numbers: dict[str, bool] = {}

    def see(self, columns: Mapping[str, ArrowColumn]) -> None:
        """Take note of more rows, given as `pieces`."""
        for name, column in columns.items():
            texts = self._texts.setdefault(name, [])
            numbers = self._numbers.setdefault(name, [])
            present = column.drop_null()
            if len(present) == 0:
                continue
            number = pc.match_substring_regex(present, r"^[-0-9]")
            only = bool(pc.all(number).as_py())
            self._all_numbers[name] = self._all_numbers.get(name, True) and only
            if only:
                numbers += present.slice(0, _SAMPLE - len(numbers)).cast(pa.float64()).to_pylist()
            else:
                texts += present.slice(0, _SAMPLE - len(texts)).to_pylist()

    def types(self) -> dict[str, PropertyType]:
        """Return the type of every property seen."""
        return {name: self._type(name) for name in self._texts}

    def _type(self, name: str) -> PropertyType:
        if name not in self._all_numbers:
            return "empty"
        if self._all_numbers[name]:
            size = float(np.median(np.abs(self._numbers[name])))
            return "timestamp" if _TIME_NAME.search(name) and size >= 1e8 else "number"
        texts = self._texts[name]
        if all(_ISO.match(text) for text in texts):
            return "timestamp"
        words = sum(len(text.split()) for text in texts) / len(texts)
        distinct = len(set(texts)) / len(texts)
        return "text" if words >= _WORDS_OF_TEXT and distinct >= _DISTINCT_OF_TEXT else "category"
