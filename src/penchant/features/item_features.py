"""What is known of items as numbers: one column a level of a property, and the vectors of their text.

Text with a level for few items each, such as a title, is left out: that is what `penchant.features.text` is
for. A list of labels, or text joined by '|', has one column a label; a number has one a range of quantiles.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import scipy.sparse as sp

from penchant.data.snapshot import Snapshot
from penchant.kernel.arrays import F32, F64, AnyArray, Bools, Rows, readonly
from penchant.kernel.arrow import ArrowColumn, pc
from penchant.kernel.errors import InputError
from penchant.kernel.names import did_you_mean

_LEAST = 3  # items that a level is learnt from
_RANGES = 8
_MOST = 1_000  # levels in all, those of most items first


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemFeatures:
    """(n_items, d): ``levels`` sparse, then ``text`` dense. ``known`` tells items with anything in them."""

    columns: tuple[str, ...]  # of the items' table that are in it
    levels: Any  # (n_items, l) scipy csr_array of ones
    text: F32  # (n_items, t)
    known: Bools  # (n_items,)

    @property
    def width(self) -> int:
        """Return d."""
        return self.levels.shape[1] + self.text.shape[1]

    def words(self) -> str:
        """Return in words what is in it."""
        *others, last = [*self.columns, *(["the text"] if self.text.shape[1] else [])]
        return f"{', '.join(others)} and {last}" if others else last

    def times(self, weights: F64, rows: Rows) -> F64:
        """Return the product of some ``rows`` (m,) with ``weights`` (d, f): (m, f)."""
        cut = self.levels.shape[1]
        return (
            np.asarray(self.levels[rows] @ weights[:cut]) + self.text[rows].astype(np.float64) @ weights[cut:]
        )

    def moments(self, rows: Rows, weight: F64, y: F64) -> tuple[F64, F64, F64]:
        """Return the weighted mean z̄ (d,), ZᵀDZ (d, d) and ZᵀDy (d, f) over some rows; y is centred."""
        levels, text = self.levels[rows], self.text[rows].astype(np.float64)
        heavy: Any = sp.diags_array(weight) @ levels
        weighed = text * weight[:, None]
        between = np.asarray(heavy.T @ text)
        gram = np.block([[np.asarray((heavy.T @ levels).todense()), between], [between.T, weighed.T @ text]])
        mean = np.concatenate([np.asarray(heavy.sum(axis=0)).ravel(), weighed.sum(axis=0)]) / weight.sum()
        return mean, gram, np.concatenate([np.asarray(heavy.T @ y), weighed.T @ y])


def item_features(snapshot: Snapshot, columns: Sequence[str], warm: Rows) -> ItemFeatures:
    """Return the features of all items; levels are those of at least 3 of the ``warm`` ones.

    ``columns`` of the items' table are used, all whose type allows it if none is named.

    Raises:
        InputError: there is no such column.
    """
    table, n = snapshot.item_table, snapshot.n_items
    require_columns(snapshot, columns)
    learnt = np.zeros(n, np.bool_)
    learnt[warm] = True
    used: list[str] = []
    parts: list[Any] = []
    for name in columns or table.column_names[1:]:
        owner, level = _levels(table[name].combine_chunks())
        part = _indicators(owner, level, learnt, always=name in columns)
        if part is not None:
            used.append(name)
            parts.append(part)
    levels: Any = sp.hstack(parts).tocsr() if parts else sp.csr_array((n, 0))
    if levels.shape[1] > _MOST:
        count = np.asarray(levels.sum(axis=0)).ravel()
        levels = levels[:, np.sort(np.argsort(-count, kind="stable")[:_MOST])]
    text = np.zeros((n, 0), np.float32) if snapshot.text is None else snapshot.text
    known = (np.diff(levels.indptr) > 0) | text.any(axis=1)
    return ItemFeatures(columns=tuple(used), levels=levels, text=text, known=readonly(known))


def require_columns(snapshot: Snapshot, columns: Sequence[str]) -> None:
    """Check that items have these columns.

    Raises:
        InputError: there is no such column.
    """
    names = snapshot.item_table.column_names
    for name in columns:
        if name not in names:
            raise InputError(f"items have no column '{name}'.", fix=did_you_mean(name, names[1:]))


def groups_of(snapshot: Snapshot, columns: Sequence[str]) -> dict[str, Rows]:
    """Return for each of ``columns`` that items have the number of each item's value, -1 for none."""
    found: dict[str, Rows] = {}
    for name in columns:
        if name in snapshot.item_table.column_names:
            column = snapshot.item_table[name].combine_chunks()
            if pa.types.is_list(column.type):
                continue  # several values put an item in no one group
            encoded = pc.dictionary_encode(column)
            found[name] = np.asarray(pc.fill_null(encoded.indices, -1)).astype(np.int32)
    return found


def _levels(column: ArrowColumn) -> tuple[AnyArray, AnyArray]:
    """Return (item, number of its level) of each entry: several for labels, none where it is missing."""
    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        values = pc.cast(column, pa.float64()).to_numpy(zero_copy_only=False)
        rows = np.flatnonzero(np.isfinite(values))
        if len(rows) == 0:
            return rows, rows
        edges = np.unique(np.quantile(values[rows], np.linspace(0, 1, _RANGES + 1)[1:-1]))
        return rows, np.searchsorted(edges, values[rows], side="right")
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        column = pc.split_pattern(column, "|")
    elif not (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        column = pc.split_pattern(pc.cast(column, pa.string()), "|")
    owner = np.asarray(pc.list_parent_indices(column)).astype(np.int64)
    encoded = pc.dictionary_encode(pc.cast(pc.list_flatten(column), pa.string()))
    codes = np.asarray(pc.fill_null(encoded.indices, -1)).astype(np.int64)
    return owner[codes >= 0], codes[codes >= 0]


def _indicators(owner: AnyArray, level: AnyArray, learnt: Bools, *, always: bool) -> Any:
    """Return (n, levels of enough learnt items) ones; None where they describe less than half of items."""
    n = len(learnt)
    pair = np.unique(owner * (int(level.max(initial=0)) + 1) + level)
    owner, level = np.divmod(pair, int(level.max(initial=0)) + 1)
    count = np.bincount(level[learnt[owner]])
    kept = np.flatnonzero(count >= _LEAST)
    place = np.full(int(level.max(initial=-1)) + 1, -1, np.int64)
    place[kept] = np.arange(len(kept))
    use = place[level] >= 0
    covered = len(np.unique(owner[use]))
    if len(kept) == 0 or (not always and covered < 0.5 * len(np.unique(owner))):
        return None
    return sp.csr_array((np.ones(int(use.sum())), (owner[use], place[level[use]])), shape=(n, len(kept)))
