"""The properties of the live catalogue as columns, kept up to date for filters, rules and mixers."""

import threading
from typing import final

import numpy as np

from penchant.data.events import Value
from penchant.feed.item_columns import Columns, Labels, Numbers, labels_of_numbers
from penchant.feed.live import Live
from penchant.kernel.arrays import Bools, Rows, readonly

_REFRESH_SECONDS = 1.0
_NO = frozenset({"", "0", "false", "no"})


@final
class LiveColumns:
    """One row a catalogue row. Any number of threads may ask.

    A changed property counts within a second; an item that is new counts at once.
    """

    def __init__(self, live: Live) -> None:
        self._live = live
        self._lock = threading.Lock()
        self._base: Columns | None = None
        self._columns: Columns | None = None
        self._seen = 0  # changes of the catalogue in the columns
        self._made = 0.0
        self._labels: dict[str, Labels | None] = {}
        self._flags: dict[str, Bools] = {}

    def current(self, now: float) -> Columns:
        """Return the columns as of ``now``, at most a second old."""
        with self._lock:
            return self._current(now)

    def labels(self, name: str, now: float) -> Labels | None:
        """Return a property as labels, numbers too; None when no item has it."""
        with self._lock:
            columns = self._current(now)
            if name not in self._labels:
                column = columns.find(name)
                self._labels[name] = labels_of_numbers(column) if isinstance(column, Numbers) else column
            return self._labels[name]

    def flagged(self, name: str, rows: Rows, now: float) -> Bools:
        """Return which rows have a property that says yes: true, a number that is not 0, text but no "no"."""
        with self._lock:
            columns = self._current(now)
            if name not in self._flags:
                self._flags[name] = _flags(columns, name)
            flags = self._flags[name]
        return flags[np.minimum(rows, len(flags) - 1)]

    def _current(self, now: float) -> Columns:
        catalogue = self._live.catalogue
        if self._base is None:
            self._base = Columns.of(self._live.snapshot.item_table)
        columns = self._base if self._columns is None else self._columns
        stale = catalogue.changes != self._seen and now - self._made >= _REFRESH_SECONDS
        if stale or len(catalogue) > columns.n_rows:
            self._seen, self._made = catalogue.changes, now
            columns = self._base.updated(catalogue.changed(), len(catalogue))
            self._labels, self._flags = {}, {}
        self._columns = columns
        return columns


def says_yes(value: Value) -> bool:
    """Return whether a property says yes: true, a number that is not 0, text that is not a "no"."""
    return value.strip().lower() not in _NO if isinstance(value, str) else bool(value)


def _flags(columns: Columns, name: str) -> Bools:
    """Return (n + 1,) flags: the last is for an item that arrived after the columns were made."""
    flags = np.zeros(columns.n_rows + 1, np.bool_)
    column = columns.find(name)
    if isinstance(column, Numbers):
        flags[:-1] = np.nan_to_num(column.values) != 0
    elif column is not None:
        yes = [label for label in column.names if says_yes(label)]
        flags[:-1] = column.any_of(yes, np.arange(columns.n_rows, dtype=np.int32))
    return readonly(flags)
