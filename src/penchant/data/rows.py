"""Rows of any file as rows of the log: each column read by its role, each row kept or refused and why."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from penchant.data.eventlog import COLUMNS
from penchant.data.events import MAX_ID_CHARACTERS, MAX_VALUE, OUTCOMES
from penchant.data.quarantine import Fault, Reason
from penchant.data.rows_properties import joined
from penchant.data.rows_time import read_times, unit_of
from penchant.data.schema import Column, Table
from penchant.kernel.arrays import I64, Bools
from penchant.kernel.arrow import ArrowBatch, ArrowColumn, pc
from penchant.kernel.clock import DAY

_YEAR_1 = -62_135_596_800.0  # what calendars can show
_TRUE, _FALSE = ("true", "t", "yes", "y", "1", "1.0"), ("false", "f", "no", "n", "0", "0.0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Rows that are refused: where ``which`` (n,), for ``reason``, because of ``column``."""

    which: Bools
    reason: Reason
    column: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Some rows of a file, in its order, split into columns but not yet read.

    ``columns`` holds those that the table knows, of any Arrow type; ``properties`` the others as JSON pieces.
    ``row`` numbers the rows as `Fault` does and ``raw`` gives row i as it was. ``marks`` are rows already
    refused, ``faults`` those that could not be split into columns at all and are in no column.
    """

    columns: Mapping[str, ArrowColumn]
    properties: Mapping[str, ArrowColumn]
    row: I64
    raw: Callable[[int], str]
    marks: Sequence[Mark] = ()
    faults: Sequence[Fault] = ()
    size: int = 0  # bytes of the file that it came from, for progress

    def __len__(self) -> int:
        return len(self.row)


@dataclass(slots=True, kw_only=True)
class Units:
    """What a file's numbers that mean times count: the unit of each column, fixed by its first rows."""

    found: dict[str, tuple[float, str]] = field(default_factory=dict[str, tuple[float, str]])


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """What a chunk became: rows for the log, and the rows refused."""

    batch: ArrowBatch  # the COLUMNS of the table's kind
    faults: list[Fault]


class RowReader:
    """Reads the chunks of one file. ``now`` in seconds UTC: later times, past a day of grace, are refused."""

    def __init__(self, table: Table, file: str, *, now: float) -> None:
        self._table = table
        self._file = file
        self._latest = now + DAY
        self.units = Units()

    def read(self, chunk: Chunk) -> Read:
        """Return the rows for the log and the refused ones; together they are all rows of the chunk."""
        marks = list(chunk.marks)
        known: dict[str, ArrowColumn] = {}
        properties = dict(chunk.properties)
        for column in self._table.columns:
            given = chunk.columns.get(column.name)
            if given is None:
                continue
            value, found = self._column(column, given)
            marks += found
            if column.is_property:
                properties[column.name] = value.cast(pa.string())
            else:
                known[column.name] = value
        if self._table.has_properties:
            known["properties"] = joined(properties, len(chunk))
        batch = self._batch(known, len(chunk))
        faults = self._faults(chunk, marks)
        if faults:
            keep = np.ones(len(chunk), np.bool_)
            for mark in marks:
                keep &= ~mark.which
            batch = batch.filter(pa.array(keep))
        return Read(batch=batch, faults=[*chunk.faults, *faults])

    def _column(self, column: Column, given: ArrowColumn) -> tuple[ArrowColumn, list[Mark]]:
        if column.role == "id":
            return _ids(column, given)
        if column.role == "time":
            return self._times(column, given)
        if column.role == "number":
            return _numbers(column, given)
        if column.role == "outcome":
            return _outcomes(column, given)
        return _flags(column, given) if column.role == "flag" else _id_lists(column, given)

    def _times(self, column: Column, given: ArrowColumn) -> tuple[ArrowColumn, list[Mark]]:
        times = read_times(given)
        seconds = times.value.copy()
        if times.plain.any():
            divisor, _ = self.units.found.setdefault(column.name, unit_of(seconds[times.plain]))
            seconds[times.plain] /= divisor
        bad = times.bad | (seconds < _YEAR_1)
        marks = [Mark(which=bad, reason="bad_time", column=column.name)]
        if column.required:
            marks.append(Mark(which=times.missing, reason="missing_time", column=column.name))
        if not column.is_property:  # an item may be due to appear
            marks.append(Mark(which=seconds > self._latest, reason="future_time", column=column.name))
        return pa.array(seconds, mask=np.isnan(seconds)), marks

    def _batch(self, known: dict[str, ArrowColumn], n: int) -> ArrowBatch:
        """Return the `COLUMNS`; a table that does not say when holds from the beginning."""
        if "timestamp" not in known:
            known["timestamp"] = pa.array(np.zeros(n))
        known["timestamp"] = pc.fill_null(known["timestamp"], 0.0)
        for name, default in (("event_type", "click"), ("active", True)):
            if name in known:
                known[name] = pc.fill_null(known[name], default)
            elif name in COLUMNS[self._table.kind].names:
                known[name] = pa.repeat(pa.scalar(default), n)
        schema = COLUMNS[self._table.kind]
        columns = [known[f.name].cast(f.type) if f.name in known else pa.nulls(n, f.type) for f in schema]
        return pa.record_batch(columns, schema=schema)

    def _faults(self, chunk: Chunk, marks: list[Mark]) -> list[Fault]:
        """Return a fault for every marked row, for the first of its marks."""
        blamed: dict[int, Mark] = {}
        for mark in marks:
            for i in np.flatnonzero(mark.which).tolist():
                blamed.setdefault(i, mark)
        return [
            Fault(
                table=self._table.name,
                file=self._file,
                row=int(chunk.row[i]),
                reason=blamed[i].reason,
                detail=_detail(blamed[i], chunk.columns.get(blamed[i].column), i),
                raw=chunk.raw(i),
            )
            for i in sorted(blamed)
        ]


_DETAILS: dict[Reason, str] = {
    "missing_id": "{column} is missing",
    "missing_time": "{column} is missing",
    "bad_time": "{column} {value} is not a time",
    "future_time": "{column} {value} lies in the future",
    "not_a_number": "{column} {value} is not a number",
    "nan_value": "{column} {value} is not a finite number",
    "too_large": "{column} {value} is beyond single precision (3.4e38)",
    "wrong_type": "{column} has the wrong type",
    "id_too_long": f"{{column}} is longer than {MAX_ID_CHARACTERS} characters",
    "bad_impression": f"{{column}} has an item id that is empty or over {MAX_ID_CHARACTERS} characters",
    "bad_outcome": "{column} {value} is none of TAKEN, NOT_TAKEN and VIEWED",
    "bad_utf8": "{column} is not UTF-8",
}


def _detail(mark: Mark, column: ArrowColumn | None, i: int) -> str:
    value = ""
    if column is not None and "{value}" in _DETAILS[mark.reason]:
        text = column.slice(i, 1).cast(pa.string())[0].as_py()
        value = repr(text if len(text) <= 60 else text[:60] + "...")
    return _DETAILS[mark.reason].format(column=mark.column, value=value)


def as_text(column: ArrowColumn) -> tuple[ArrowColumn, Bools]:
    """Return ids of any type as text, and where a value cannot be an id: a fraction, a true or a list."""
    kind = column.type
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        value = column.cast(pa.float64()).fill_null(np.nan).to_numpy(zero_copy_only=False)
        none = np.isnan(value)  # what pandas writes for a missing whole number
        whole = (np.abs(value) < 2**53) & (np.floor(value) == value)
        number = np.where(whole, value, 0).astype(np.int64)
        return pa.array(number, mask=~whole).cast(pa.string()), ~none & ~whole
    if pa.types.is_boolean(kind) or pa.types.is_nested(kind):
        return pa.nulls(len(column), pa.string()), np.asarray(column.is_valid())
    return column.cast(pa.string()), np.zeros(len(column), np.bool_)


def _ids(column: Column, given: ArrowColumn) -> tuple[ArrowColumn, list[Mark]]:
    text, wrong = as_text(given)
    marks = [Mark(which=wrong, reason="wrong_type", column=column.name)]
    blank = pc.or_(pc.equal(text, ""), pc.utf8_is_space(text)).fill_null(True)
    if pc.any(blank).as_py():
        text = pc.if_else(blank, pa.scalar(None, pa.string()), text)
        if column.required:
            marks.append(Mark(which=np.asarray(blank), reason="missing_id", column=column.name))
    marks.append(Mark(which=_too_long(text), reason="id_too_long", column=column.name))
    return text, marks


def _too_long(text: ArrowColumn) -> Bools:
    if (pc.max(pc.binary_length(text)).as_py() or 0) <= MAX_ID_CHARACTERS:
        return np.zeros(len(text), np.bool_)
    return np.asarray(pc.greater(pc.utf8_length(text), MAX_ID_CHARACTERS).fill_null(False))


def _numbers(column: Column, given: ArrowColumn) -> tuple[ArrowColumn, list[Mark]]:
    none = np.zeros(len(given), np.bool_)
    if pa.types.is_boolean(given.type) or pa.types.is_nested(given.type):
        which = np.asarray(given.is_valid())
        return pa.nulls(len(given), pa.float64()), [
            Mark(which=which, reason="wrong_type", column=column.name)
        ]
    unreadable = none
    try:
        value = given.cast(pa.float64(), safe=False)
    except pa.ArrowInvalid:
        value, unreadable = _some_numbers(given)
    infinite = np.asarray(pc.invert(pc.is_finite(value)).fill_null(False))
    large = np.asarray(pc.greater(pc.abs(value), MAX_VALUE).fill_null(False)) & ~infinite
    return value, [
        Mark(which=unreadable, reason="not_a_number", column=column.name),
        Mark(which=infinite, reason="nan_value", column=column.name),
        Mark(which=large, reason="too_large", column=column.name),
    ]


def _some_numbers(text: ArrowColumn) -> tuple[ArrowColumn, Bools]:
    """Return the texts that are numbers, and where one is not; only a batch with a bad row comes here."""
    values: list[float | None] = []
    bad: list[bool] = []
    for given in text.to_pylist():
        try:
            values.append(None if given is None else float(given.replace("_", "x")))
            bad.append(False)
        except ValueError:
            values.append(None)
            bad.append(True)
    return pa.array(values, pa.float64()), np.array(bad, np.bool_)


def _flags(column: Column, given: ArrowColumn) -> tuple[ArrowColumn, list[Mark]]:
    if pa.types.is_boolean(given.type):
        return given, []
    text, wrong = as_text(given)
    text = pc.utf8_lower(text)
    true = pc.is_in(text, pa.array(_TRUE))
    known = pc.or_(true, pc.is_in(text, pa.array(_FALSE)))
    wrong = wrong | np.asarray(pc.and_(pc.invert(known), text.is_valid()))
    value = pc.if_else(known, true, pa.scalar(None, pa.bool_()))
    return value, [Mark(which=wrong, reason="wrong_type", column=column.name)]


def _outcomes(column: Column, given: ArrowColumn) -> tuple[ArrowColumn, list[Mark]]:
    """Return responses as the log names them: ``Not Taken`` is NOT_TAKEN."""
    text, wrong = as_text(given)
    name = pc.replace_substring(pc.utf8_upper(pc.utf8_trim_whitespace(text)), " ", "_")
    wrong = wrong | ~np.asarray(pc.is_in(name, pa.array(OUTCOMES)))
    return name, [Mark(which=wrong, reason="bad_outcome", column=column.name)]


def relist(lists: ArrowColumn, inner: ArrowColumn) -> ArrowColumn:
    """Return ``lists`` with other values: ``inner`` in the place of what flattening them gives."""
    sizes = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), inner, mask=lists.is_null())


def _id_lists(column: Column, given: ArrowColumn) -> tuple[ArrowColumn, list[Mark]]:
    is_list = pa.types.is_list(given.type) or pa.types.is_large_list(given.type)
    if is_list:
        lists = given.cast(pa.list_(given.type.value_type))
        inner, wrong = as_text(lists.flatten())
    else:
        text, wrong_row = as_text(given)
        lists = pc.split_pattern(text, "|")
        inner, wrong = lists.flatten(), np.zeros(0, np.bool_)
        if wrong_row.any():
            none = pa.nulls(len(given), pa.list_(pa.string()))
            return none, [Mark(which=wrong_row, reason="wrong_type", column=column.name)]
    bad = np.asarray(pc.equal(inner, "").fill_null(True)) | _too_long(inner)
    bad = bad | wrong if len(wrong) else bad
    which = np.zeros(len(given), np.bool_)
    if bad.any():
        which[np.asarray(pc.list_parent_indices(lists))[bad]] = True
    if is_list:
        lists = relist(lists, inner)
    return lists, [Mark(which=which, reason="bad_impression", column=column.name)]
