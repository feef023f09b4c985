"""Properties of items (or users) as columns that a filter can test by the hundred thousand.

Three kinds: numbers (float64, NaN = missing), one label a row (codes, -1 = missing), several labels a row.
Text that holds ``|`` is several labels, as in Amazon Personalize. Booleans are the labels true and false.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from penchant.data.events import Value
from penchant.kernel.arrays import F64, I64, AnyArray, Bools, Rows, readonly
from penchant.kernel.arrow import ArrowColumn, ArrowTable, pc


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """One number a row, NaN where missing."""

    values: F64  # (n,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """Any number of labels a row: those of row i are ``codes[indptr[i]:indptr[i + 1]]``.

    ``single`` says that no row has more than one; then ``first`` (n,) holds it, -1 where missing.
    """

    indptr: I64  # (n + 1,)
    codes: Rows  # (labels in all,)
    names: Mapping[str, int]
    first: Rows  # (n,)
    single: bool

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
        if self.single:
            return hit[self.first[rows]]
        owner, codes = self.spread(rows)
        out = np.zeros(len(rows), np.bool_)
        out[owner[hit[codes]]] = True
        return out

    def of_row(self, row: int) -> Rows:
        """Return the codes of one row; none for a row beyond the columns."""
        return (
            self.codes[self.indptr[row] : self.indptr[row + 1]] if row < len(self.first) else self.codes[:0]
        )

    def sums(self, values: F64, rows: Rows) -> F64:
        """Return the sum of ``values`` (names,) over the labels of each row, 0 beyond the columns."""
        owner, codes = self.spread(rows)
        return np.bincount(owner, values[codes], minlength=len(rows)).astype(np.float64)

    def spread(self, rows: Rows) -> tuple[I64, Rows]:
        """Return all labels of ``rows``: whose (its place in ``rows``) and which; none beyond the columns."""
        last = len(self.first)
        starts = self.indptr[np.minimum(rows, last)]
        lengths = self.indptr[np.minimum(rows + 1, last)] - starts
        owner = np.repeat(np.arange(len(rows)), lengths)
        offset = np.arange(len(owner)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return owner, self.codes[np.repeat(starts, lengths) + offset]


Column: TypeAlias = Numbers | Labels


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Named columns of equal length; names are matched without regard to case."""

    n_rows: int
    columns: Mapping[str, Column]
    by_folded_name: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def names(self) -> list[str]:
        """Return the names as they were given."""
        return list(self.columns)

    def find(self, name: str) -> Column | None:
        """Return a column by name in any case, None when there is none."""
        known = self.by_folded_name.get(name.lower())
        return None if known is None else self.columns[known]

    @classmethod
    def of(cls, table: ArrowTable) -> "Columns":
        """Read a pyarrow table, one row a row of the vocabulary it is aligned to."""
        columns = {name: _column(table[name]) for name in table.column_names}
        return cls._named(table.num_rows, columns)

    def updated(self, changes: Mapping[int, Mapping[str, Value]], n_rows: int) -> "Columns":
        """Return the columns after puts: row -> all its properties (as a whole), rows may be new.

        A property that no column has starts one, empty for all other rows.
        """
        seen = dict.fromkeys(name for properties in changes.values() for name in properties)
        columns = {
            name: _patched(self.find(name), {row: p.get(name) for row, p in changes.items()}, n_rows)
            for name in dict.fromkeys((*self.columns, *seen))
        }
        return self._named(n_rows, columns)

    @classmethod
    def _named(cls, n_rows: int, columns: Mapping[str, Column]) -> "Columns":
        return cls(n_rows=n_rows, columns=columns, by_folded_name={name.lower(): name for name in columns})


def labels_of(value: Value) -> list[str]:
    """Return the labels that a property value stands for."""
    if value is None:
        return []
    if isinstance(value, bool):
        return ["true" if value else "false"]
    if isinstance(value, list):
        return value
    return [part for part in value.split("|") if part] if isinstance(value, str) else [f"{value:g}"]


def labels_of_numbers(column: Numbers) -> Labels:
    """Return each different number as a label."""
    values, codes = np.unique(column.values, return_inverse=True, equal_nan=True)
    missing = np.isnan(column.values)
    names = {
        str(int(value)) if value.is_integer() else str(value): i
        for i, value in enumerate(values.tolist())
        if value == value
    }
    return _single(np.where(missing, -1, codes).astype(np.int32), names)


def _column(column: ArrowColumn) -> Column:
    kind = column.type
    if pa.types.is_boolean(kind):
        return _labels(pc.if_else(column, "true", "false"))
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return Numbers(values=readonly(_to_numpy(pc.fill_null(column.cast(pa.float64()), np.nan))))
    return _labels(column)


def _labels(column: ArrowColumn) -> Labels:
    """Encode text or lists of text, splitting text at ``|`` where any row has it."""
    flat = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if not pa.types.is_list(flat.type) and not pa.types.is_large_list(flat.type):
        text = flat.cast(pa.string())
        text = pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)
        if not pc.any(pc.match_substring(text, "|")).as_py():
            encoded = text.dictionary_encode()
            codes = _to_numpy(pc.fill_null(encoded.indices, -1)).astype(np.int32)
            names = {name: i for i, name in enumerate(encoded.dictionary.to_pylist())}
            return _single(codes, names)
        flat = pc.split_pattern(text, "|")
    lengths = _to_numpy(pc.fill_null(pc.list_value_length(flat), 0))
    encoded = pc.list_flatten(flat).dictionary_encode()
    codes = _to_numpy(pc.fill_null(encoded.indices, -1)).astype(np.int32)
    names = {name: i for i, name in enumerate(encoded.dictionary.to_pylist())}
    said = (codes >= 0) & (codes != names.get("", -1))  # an empty part of a|b||c says nothing
    before = np.concatenate([[0], np.cumsum(said)])
    indptr = before[np.concatenate([[0], np.cumsum(lengths)])]
    return _many(indptr.astype(np.int64), codes[said], names)


def _single(codes: Rows, names: Mapping[str, int]) -> Labels:
    present = codes >= 0
    indptr = np.concatenate([[0], np.cumsum(present)]).astype(np.int64)
    return Labels(
        indptr=readonly(indptr),
        codes=readonly(codes[present]),
        names=names,
        first=readonly(codes),
        single=True,
    )


def _many(indptr: I64, codes: Rows, names: Mapping[str, int]) -> Labels:
    lengths = np.diff(indptr)
    first = np.full(len(lengths), -1, np.int32)
    first[lengths > 0] = codes[indptr[:-1][lengths > 0]]
    return Labels(
        indptr=readonly(indptr),
        codes=readonly(codes),
        names=names,
        first=readonly(first),
        single=bool(len(lengths) == 0 or lengths.max() <= 1),
    )


def _patched(column: Column | None, changes: Mapping[int, Value], n_rows: int) -> Column:
    given = [v for v in changes.values() if v is not None]
    numeric = all(isinstance(v, int | float) and not isinstance(v, bool) for v in given)
    if isinstance(column, Numbers) or (column is None and numeric and given):
        values = np.full(n_rows, np.nan)
        if column is not None:
            values[: len(column.values)] = column.values
        for row, value in changes.items():
            values[row] = _number(value)
        return Numbers(values=readonly(values))
    return _relabelled(column if isinstance(column, Labels) else None, changes, n_rows)


def _number(value: Value) -> float:
    try:
        return float(value) if isinstance(value, int | float | str) else np.nan
    except ValueError:
        return np.nan


def _relabelled(column: Labels | None, changes: Mapping[int, Value], n_rows: int) -> Labels:
    names: dict[str, int] = dict(column.names) if column is not None else {}
    new: dict[int, list[int]] = {
        row: [names.setdefault(label, len(names)) for label in labels_of(value)]
        for row, value in changes.items()
    }
    lengths = np.zeros(n_rows, np.int64)
    if column is not None:
        lengths[: len(column.first)] = np.diff(column.indptr)
    for row, codes in new.items():
        lengths[row] = len(codes)
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    codes = np.empty(indptr[-1], np.int32)
    if column is not None:
        kept = np.setdiff1d(np.arange(len(column.first)), np.fromiter(new, np.int64, len(new)))
        owner_lengths = lengths[kept]
        inner = np.arange(owner_lengths.sum()) - np.repeat(
            np.cumsum(owner_lengths) - owner_lengths, owner_lengths
        )
        codes[np.repeat(indptr[kept], owner_lengths) + inner] = column.codes[
            np.repeat(column.indptr[kept], owner_lengths) + inner
        ]
    for row, values in new.items():
        codes[indptr[row] : indptr[row + 1]] = values
    return _many(indptr, codes, names)


def _to_numpy(column: ArrowColumn) -> AnyArray:
    given: Any = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return np.asarray(given.to_numpy(zero_copy_only=False))


def properties_of(table: ArrowTable, row: int, *, without: Sequence[str] = ()) -> dict[str, Value]:
    """Return one row of a table as properties, missing ones left out."""
    found = {name: table[name][row].as_py() for name in table.column_names if name not in without}
    return {name: value for name, value in found.items() if value is not None}
