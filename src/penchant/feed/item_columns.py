"""Properties of items (or users) as columns that a filter can test by the hundred thousand.

Three kinds: numbers (float64, NaN = missing), one label a row (codes, -1 = missing), several labels a row.
Text that holds ``|`` is several labels, as in Amazon Personalize. Booleans are the labels true and false.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, final

import numpy as np
import pyarrow as pa

from penchant.data.events import Value
from penchant.kernel.arrays import F64, I64, AnyArray, Bools, Rows
from penchant.kernel.arrow import ArrowColumn, ArrowTable, pc
from penchant.kernel.growing import Growing


@final
@dataclass(frozen=True, slots=True)
class Numbers:
    """One number a row, NaN where missing."""

    _stored: Growing[F64]  # (n,)

    @classmethod
    def of(cls, values: F64) -> "Numbers":
        """Return the column of (n,) numbers."""
        return cls(Growing.of(values))

    @property
    def values(self) -> F64:
        """Return (n,) numbers."""
        return self._stored.array

    def updated(self, changes: Mapping[int, Value], n_rows: int) -> "Numbers":
        """Return the column of ``n_rows`` rows with some values changed; text without a number is missing."""
        n = len(self.values)
        at = np.fromiter(changes, np.int64, len(changes))
        values = np.fromiter(map(_number, changes.values()), np.float64, len(changes))
        stored = self._stored
        inside = at < n
        if not np.array_equal(stored.array[at[inside]], values[inside], equal_nan=True):
            stored = stored.replaced(at[inside], values[inside])
        if n_rows > n:
            new = np.full(n_rows - n, np.nan)
            new[at[~inside] - n] = values[~inside]
            stored = stored.extended(new)
        return self if stored is self._stored else Numbers(stored)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """Any number of labels a row. Rows that say the same may share a value; a value stands for labels.

    ``names`` gives each label its code. It is shared by all versions of a column and only gains.
    """

    names: dict[str, int]
    _values: Growing[Rows]  # (n,) the value of each row, -1 = none
    _bounds: Growing[I64] | None  # the codes of value v are _codes[bounds[v]:bounds[v + 1]];
    _codes: Growing[Rows] | None  # both None: each value is one label, and its number the label's code

    @classmethod
    def single(cls, codes: Rows, names: dict[str, int]) -> "Labels":
        """Return the column of at most one label a row, ``codes`` (n,), -1 = none."""
        return cls(names=names, _values=Growing.of(codes), _bounds=None, _codes=None)

    @classmethod
    def several(cls, values: Rows, bounds: I64, codes: Rows, names: dict[str, int]) -> "Labels":
        """Return the column whose row i has the labels ``codes[bounds[v]:bounds[v + 1]]``, v = values[i]."""
        nothing = np.append(np.diff(bounds) == 0, True)  # the last entry answers for -1
        values = np.where(nothing[values], np.int32(-1), values)
        return cls(
            names=names,
            _values=Growing.of(values),
            _bounds=Growing.of(bounds),
            _codes=Growing.of(codes),
        )

    def __len__(self) -> int:
        return len(self._values.array)

    def said(self, rows: Rows) -> Bools:
        """Return which of ``rows`` have a label."""
        return self._values.array[rows] >= 0

    def first_of(self, rows: Rows) -> Rows:
        """Return the first label of each of ``rows``, -1 where it has none or is beyond the columns."""
        values = np.full(len(rows), -1, np.int32)
        known = rows < len(self)
        values[known] = self._values.array[rows[known]]
        if self._bounds is None or self._codes is None:
            return values
        has = values >= 0
        values[has] = self._codes.array[self._bounds.array[values[has]]]
        return values

    def any_of(self, wanted: Iterable[str], rows: Rows) -> Bools:
        """Return which of ``rows`` carry at least one wanted label."""
        return self.carry(self.marks(wanted), rows)

    def marks(self, wanted: Iterable[str]) -> Bools:
        """Return which codes are wanted, (names + 1,)."""
        hit = np.zeros(len(self.names) + 1, np.bool_)  # the last entry answers for -1, missing
        hit[[code for code in map(self.names.get, wanted) if code is not None]] = True
        return hit

    def carry(self, hit: Bools, rows: Rows) -> Bools:
        """Return which of ``rows`` carry at least one marked label."""
        if self._bounds is None:
            return hit[self._values.array[rows]]
        owner, codes = self.spread(rows)
        out = np.zeros(len(rows), np.bool_)
        out[owner[hit[codes]]] = True
        return out

    def of_row(self, row: int) -> Rows:
        """Return the codes of one row; none for a row beyond the columns."""
        values = self._values.array
        value = int(values[row]) if row < len(values) else -1
        if self._bounds is None or self._codes is None:
            return values[row : row + 1] if value >= 0 else values[:0]
        bounds = self._bounds.array
        return self._codes.array[bounds[value] : bounds[value + 1]] if value >= 0 else values[:0]

    def sums(self, values: F64, rows: Rows) -> F64:
        """Return the sum of ``values`` (names,) over the labels of each row, 0 beyond the columns."""
        owner, codes = self.spread(rows)
        return np.bincount(owner, values[codes], minlength=len(rows)).astype(np.float64)

    def spread(self, rows: Rows) -> tuple[I64, Rows]:
        """Return all labels of ``rows``: whose (its place in ``rows``) and which; none beyond the columns."""
        n = len(self)
        known = np.flatnonzero(rows < n)
        values = self._values.array[rows[known]]
        owner, values = known[values >= 0], values[values >= 0]
        if self._bounds is None or self._codes is None:
            return owner, values
        starts = self._bounds.array[values]
        lengths = self._bounds.array[values + 1] - starts
        offset = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return np.repeat(owner, lengths), self._codes.array[np.repeat(starts, lengths) + offset]

    def updated(self, changes: Mapping[int, Value], n_rows: int) -> "Labels":
        """Return the column of ``n_rows`` rows with what some rows say changed."""
        n = len(self)
        told = {
            row: [self.names.setdefault(label, len(self.names)) for label in labels_of(value)]
            for row, value in changes.items()
        }
        other = {row: codes for row, codes in told.items() if row >= n or self.of_row(row).tolist() != codes}
        column = self
        if self._bounds is None and any(len(codes) > 1 for codes in other.values()):
            column = self._widened()
        return column._with(other, n_rows) if other or n_rows > n else self

    def _widened(self) -> "Labels":
        """Return the same column, ready for rows of several labels."""
        n = len(self.names)
        return replace(
            self,
            _bounds=Growing.of(np.arange(n + 1)),
            _codes=Growing.of(np.arange(n, dtype=np.int32)),
        )

    def _with(self, told: Mapping[int, list[int]], n_rows: int) -> "Labels":
        """Return the column with the codes of some rows changed."""
        n, bounds, codes = len(self), self._bounds, self._codes
        given = [codes for codes in told.values() if codes]
        if bounds is None or codes is None:
            fresh = [one for (one,) in given]
        else:
            flat = np.fromiter((code for one in given for code in one), np.int32)
            ends = np.cumsum([len(one) for one in given], dtype=np.int64) + bounds.array[-1]
            fresh = list(range(len(bounds.array) - 1, len(bounds.array) - 1 + len(given)))
            bounds, codes = bounds.extended(ends), codes.extended(flat)
        numbers = iter(fresh)
        at = np.fromiter(told, np.int64, len(told))
        values = np.array([next(numbers) if codes else -1 for codes in told.values()], np.int32)
        inside = at < n
        stored = self._values.replaced(at[inside], values[inside]) if inside.any() else self._values
        if n_rows > n:
            new = np.full(n_rows - n, -1, np.int32)
            new[at[~inside] - n] = values[~inside]
            stored = stored.extended(new)
        return replace(self, _values=stored, _bounds=bounds, _codes=codes)


Column: TypeAlias = Numbers | Labels


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Named columns of equal length; names are matched without regard to case.

    ``changes`` counts the rows that puts changed since the first version.
    """

    n_rows: int
    columns: Mapping[str, Column]
    changes: int = 0
    _started: frozenset[str] = frozenset()  # columns that a put began: only those may turn into text
    _by_folded_name: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def names(self) -> list[str]:
        """Return the names as they were given."""
        return list(self.columns)

    def find(self, name: str) -> Column | None:
        """Return a column by name in any case, None when there is none."""
        known = self._by_folded_name.get(name.lower())
        return None if known is None else self.columns[known]

    @classmethod
    def of(cls, table: ArrowTable) -> "Columns":
        """Read a pyarrow table, one row a row of the vocabulary it is aligned to."""
        columns = {name: _column(table[name]) for name in table.column_names}
        folded = {name.lower(): name for name in columns}
        return cls(n_rows=table.num_rows, columns=columns, _by_folded_name=folded)

    def updated(self, changes: Mapping[int, Mapping[str, Value]], n_rows: int) -> "Columns":
        """Return the columns after puts: row -> all its properties (as a whole), rows may be new.

        It takes the time of what changes: a column whose values stay is not copied. A property that no column
        has starts one, empty for all other rows: of numbers until somebody says something else.
        """
        told = [(row, {name.lower(): value for name, value in p.items()}) for row, p in changes.items()]
        folded = {name.lower(): name for properties in changes.values() for name in properties}
        folded = {**folded, **self._by_folded_name}
        begun = [name for key, name in folded.items() if key not in self._by_folded_name]
        started = self._started.union(begun)
        columns: dict[str, Column] = {}
        for name in (*self.columns, *begun):
            values = {row: properties.get(name.lower()) for row, properties in told}
            column = self.columns.get(name)
            if column is None or name in started:
                column = _fitting(column, values, self.n_rows)
            columns[name] = column.updated(values, n_rows)
        return Columns(
            n_rows=n_rows,
            columns=columns,
            changes=self.changes + len(changes),
            _started=started,
            _by_folded_name=folded,
        )


def _fitting(column: Column | None, changes: Mapping[int, Value], n_rows: int) -> Column:
    """Return the column that a put began as the kind that can hold all that was ever put into it."""
    given = [value for value in changes.values() if value is not None]
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in given)
    if isinstance(column, Numbers):
        return column if numeric else labels_of_numbers(column)
    if given and numeric and (column is None or not column.names):
        return Numbers.of(np.full(n_rows, np.nan))
    return Labels.single(np.full(n_rows, -1, np.int32), {}) if column is None else column


def labels_of(value: Value) -> list[str]:
    """Return the labels that a property value stands for."""
    if value is None:
        return []
    if isinstance(value, bool):
        return ["true" if value else "false"]
    if isinstance(value, list):
        return value
    return [part for part in value.split("|") if part] if isinstance(value, str) else [_spelled(value)]


def _spelled(number: float) -> str:
    return str(number if isinstance(number, int) or not number.is_integer() else int(number))


def labels_of_numbers(column: Numbers) -> Labels:
    """Return each different number as a label."""
    values, codes = np.unique(column.values, return_inverse=True, equal_nan=True)
    missing = np.isnan(column.values)
    names = {_spelled(value): i for i, value in enumerate(values.tolist()) if value == value}
    return Labels.single(np.where(missing, -1, codes).astype(np.int32), names)


def _column(column: ArrowColumn) -> Column:
    kind = column.type
    if pa.types.is_boolean(kind):
        return _labels(pc.if_else(column, "true", "false"))
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return Numbers.of(_to_numpy(pc.fill_null(column.cast(pa.float64()), np.nan)))
    return _labels(column)


def _labels(column: ArrowColumn) -> Labels:
    """Encode text or lists of text, splitting text at ``|`` where any row has it."""
    flat = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_list(flat.type) or pa.types.is_large_list(flat.type):
        return _several(np.arange(len(flat), dtype=np.int32), flat)
    text = flat.cast(pa.string())
    text = pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)
    encoded = text.dictionary_encode()
    values = _to_numpy(pc.fill_null(encoded.indices, -1)).astype(np.int32)
    if pc.any(pc.match_substring(encoded.dictionary, "|")).as_py():
        return _several(values, pc.split_pattern(encoded.dictionary, "|"))
    return Labels.single(values, {name: i for i, name in enumerate(encoded.dictionary.to_pylist())})


def _several(values: Rows, lists: ArrowColumn) -> Labels:
    """Return the column whose row i has the labels ``lists[values[i]]``."""
    lengths = _to_numpy(pc.fill_null(pc.list_value_length(lists), 0))
    encoded = pc.list_flatten(lists).dictionary_encode()
    codes = _to_numpy(pc.fill_null(encoded.indices, -1)).astype(np.int32)
    names = {name: i for i, name in enumerate(encoded.dictionary.to_pylist())}
    said = (codes >= 0) & (codes != names.get("", -1))  # an empty part of a|b||c says nothing
    before = np.concatenate([[0], np.cumsum(said)])
    bounds = before[np.concatenate([[0], np.cumsum(lengths)])]
    return Labels.several(values, bounds.astype(np.int64), codes[said], names)


def _number(value: Value) -> float:
    try:
        return float(value) if isinstance(value, int | float | str) else np.nan
    except (ValueError, OverflowError):
        return np.nan


def _to_numpy(column: ArrowColumn) -> AnyArray:
    given: Any = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return np.asarray(given.to_numpy(zero_copy_only=False))


def properties_of(table: ArrowTable, row: int, *, without: Sequence[str] = ()) -> dict[str, Value]:
    """Return one row of a table as properties, missing ones left out."""
    found = {name: table[name][row].as_py() for name in table.column_names if name not in without}
    return {name: value for name, value in found.items() if value is not None}
