"""The properties of the live catalogue as columns, kept up to date for filters, rules and mixers."""

import threading
from typing import final

import numpy as np

from penchant.data.events import Value
from penchant.feed.item_columns import Column, Columns, Labels, Numbers, labels_of_numbers
from penchant.feed.live import Live
from penchant.kernel.arrays import Bools, Rows, readonly

_REFRESH_SECONDS = 1.0
_NO = frozenset({"", "0", "false", "no"})


@final
class LiveColumns:
    """One row a catalogue row. Any number of threads may ask.

    A changed property counts within a second; an item that is new counts at once. Following the catalogue
    takes the time of what changed, not that of the catalogue.
    """

    def __init__(self, live: Live) -> None:
        self._live = live
        self._lock = threading.Lock()
        self._columns: Columns | None = None
        self._read = 0  # puts of the catalogue that are in the columns or wait
        self._waiting: dict[int, dict[str, Value]] = {}  # of items that the columns have, not in them yet
        self._rows: list[int] = []  # that puts changed in the columns, in turn
        self._made = 0.0
        self._labels: dict[str, tuple[Columns, Labels]] = {}  # of numbers
        self._flags: dict[str, tuple[Columns, Bools]] = {}

    def current(self, now: float) -> Columns:
        """Return the columns as of ``now``, at most a second old."""
        with self._lock:
            return self._current(now)

    def changed(self, before: Columns, after: Columns) -> Rows:
        """Return the rows in which ``after`` may differ from ``before``, an earlier version; new ones too."""
        put = np.fromiter(self._rows[before.changes : after.changes], np.int32)
        return np.union1d(put, np.arange(before.n_rows, after.n_rows, dtype=np.int32))

    def labels(self, name: str, now: float) -> Labels | None:
        """Return a property as labels, numbers too; None when no item has it."""
        with self._lock:
            columns = self._current(now)
            column = columns.find(name)
            return self._labels_of(name, column, columns) if isinstance(column, Numbers) else column

    def flagged(self, name: str, rows: Rows, now: float) -> Bools:
        """Return which rows have a property that says yes: true, a number that is not 0, text but no "no"."""
        with self._lock:
            columns = self._current(now)
            before = self._flags.get(name)
            if before is None or before[0] is not columns:
                before = self._flags[name] = columns, self._flags_of(name, columns, before)
            flags = before[1]
        return flags[np.minimum(rows, len(flags) - 1)]

    def _current(self, now: float) -> Columns:
        catalogue = self._live.catalogue
        columns = self._columns
        if columns is None:
            columns = self._columns = Columns.of(self._live.snapshot.item_table)
        upto = catalogue.changes
        due = (upto > self._read or self._waiting) and now - self._made >= _REFRESH_SECONDS
        if not due and len(catalogue) == columns.n_rows:
            return columns
        self._waiting |= catalogue.changed(self._read, upto)
        self._read = upto
        take = self._waiting
        if due:
            self._waiting, self._made = {}, now
        else:  # changing an old row copies its column, adding a row does not
            take = {row: put for row, put in take.items() if row >= columns.n_rows}
            self._waiting = {row: put for row, put in self._waiting.items() if row < columns.n_rows}
        self._columns = columns.updated(take, len(catalogue))
        self._rows += take
        return self._columns

    def _labels_of(self, name: str, column: Numbers, columns: Columns) -> Labels:
        before = self._labels.get(name)
        if before is None:
            labels = labels_of_numbers(column)
        elif before[0] is columns:
            return before[1]
        else:
            rows = self.changed(before[0], columns)
            given = zip(rows.tolist(), column.values[rows].tolist(), strict=True)
            told = {row: None if value != value else value for row, value in given}
            labels = before[1].updated(told, columns.n_rows)
        self._labels[name] = columns, labels
        return labels

    def _flags_of(self, name: str, columns: Columns, before: tuple[Columns, Bools] | None) -> Bools:
        """Return (n + 1,) flags: the last is for an item that arrived after the columns were made."""
        flags = np.zeros(columns.n_rows + 1, np.bool_)
        rows = np.arange(columns.n_rows, dtype=np.int32)
        if before is not None:
            flags[: before[0].n_rows] = before[1][:-1]
            rows = self.changed(before[0], columns)
        flags[rows] = _say_yes(columns.find(name), rows)
        return readonly(flags)


def says_yes(value: Value) -> bool:
    """Return whether a property says yes: true, a number that is not 0, text that is not a "no"."""
    return value.strip().lower() not in _NO if isinstance(value, str) else bool(value)


def _say_yes(column: Column | None, rows: Rows) -> Bools:
    if column is None:
        return np.zeros(len(rows), np.bool_)
    if isinstance(column, Numbers):
        return np.nan_to_num(column.values[rows]) != 0
    return column.any_of([label for label in list(column.names) if says_yes(label)], rows)
