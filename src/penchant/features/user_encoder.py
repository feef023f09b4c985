"""The features of one user at a time, as `encode_users` made them of a whole table: for who came since.

What was learnt from the table (levels, bounds, means) is kept as JSON text, so that a model can save it.
"""

import bisect
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from penchant.data.events import Value
from penchant.features.user_features import MISSING, RARE, How, UserColumn, levels_of
from penchant.kernel.arrays import F32, AnyArray, readonly
from penchant.kernel.arrow import ArrowTable, pc


class ColumnCode(msgspec.Struct, frozen=True, kw_only=True):
    """One column: ``levels`` or labels, ``bounds`` of buckets, ``mean`` and ``sd`` of a number.

    Labels taken within another column have a mean and a deviation for each of its ``groups``.
    """

    column: str
    how: How
    levels: list[str] = []
    bounds: list[float] = []
    missing: bool = False
    mean: float = 0.0
    sd: float = 1.0
    within: str | None = None
    groups: list[str] = []
    means: list[list[float]] = []
    sds: list[list[float]] = []


class UserEncoder(msgspec.Struct, frozen=True, kw_only=True):
    """Encodes the properties of one user; a value that the table did not have is rare, or nothing."""

    codes: list[ColumnCode]

    @classmethod
    def fit(cls, table: ArrowTable, columns: Sequence[UserColumn]) -> "UserEncoder":
        """Learn from the table what `encode_users` uses of it."""
        return cls(codes=[_fit(table, spec) for spec in columns])

    def row(self, properties: Mapping[str, Value]) -> tuple[F32, bool]:
        """Return the features (d,), and whether any of the columns is known."""
        parts = [_row(code, properties) for code in self.codes]
        known = any(properties.get(code.column) is not None for code in self.codes)
        return readonly(np.concatenate([np.zeros(0), *parts]).astype(np.float32)), known

    def to_array(self) -> AnyArray:
        """Return the encoder as bytes, to save."""
        return readonly(np.frombuffer(msgspec.json.encode(self), np.uint8))

    @classmethod
    def of_array(cls, saved: AnyArray) -> "UserEncoder":
        """Return what `to_array` gave."""
        return msgspec.json.decode(saved.tobytes(), type=UserEncoder)


def _fit(table: ArrowTable, spec: UserColumn) -> ColumnCode:
    column = table[spec.column].combine_chunks()
    if spec.how == "levels":
        names, _ = levels_of(column, rare=spec.rare)
        return ColumnCode(column=spec.column, how=spec.how, levels=names)
    if spec.how == "labels":
        return _fit_labels(table, spec, column)
    numbers = pc.cast(column, pa.float64()).to_numpy(zero_copy_only=False)
    if spec.how == "number":
        mean, sd = float(np.nanmean(numbers)), float(np.nanstd(numbers)) or 1.0
        return ColumnCode(column=spec.column, how=spec.how, mean=mean, sd=sd)
    bounds = np.unique(np.nanquantile(numbers, np.linspace(0, 1, spec.buckets + 1)[1:-1]))
    missing = bool(np.isnan(numbers).any())
    return ColumnCode(column=spec.column, how=spec.how, bounds=bounds.tolist(), missing=missing)


def _fit_labels(table: ArrowTable, spec: UserColumn, column: Any) -> ColumnCode:
    lists = column if not pa.types.is_string(column.type) else pc.split_pattern(column, "|")
    names: list[str] = sorted(set(pc.list_flatten(lists).cast(pa.string()).drop_null().to_pylist()))
    plain = ColumnCode(column=spec.column, how="labels", levels=names)
    if spec.within is None:
        return plain
    groups, code = levels_of(table[spec.within].combine_chunks(), rare=0.0)
    held = np.stack([_row(plain, {spec.column: value}) for value in column.to_pylist()])
    means = [held[code == g].mean(axis=0).tolist() for g in range(len(groups))]
    sds = [held[code == g].std(axis=0).tolist() for g in range(len(groups))]
    return msgspec.structs.replace(plain, within=spec.within, groups=groups, means=means, sds=sds)


def _row(code: ColumnCode, properties: Mapping[str, Value]) -> AnyArray:
    value = properties.get(code.column)
    if code.how == "labels":
        return _labels_row(code, value, properties)
    if code.how == "levels":
        return _one(len(code.levels), _level(code.levels, value))
    number = _number(value)
    if code.how == "number":
        return np.array([0.0 if number is None else (number - code.mean) / code.sd])
    size = len(code.bounds) + 1 + code.missing
    if number is None:
        return _one(size, size - 1 if code.missing else -1)
    return _one(size, bisect.bisect_right(code.bounds, number))


def _labels_row(code: ColumnCode, value: Value, properties: Mapping[str, Value]) -> AnyArray:
    given = value if isinstance(value, list) else [] if value is None else _text(value).split("|")
    held = np.array([name in given for name in code.levels], np.float64)
    if code.within is None:
        return held
    group = _level(code.groups, properties.get(code.within))
    if group < 0:
        return np.zeros(len(held))
    mean, sd = np.array(code.means[group]), np.array(code.sds[group])
    return np.where(sd > 0, (held - mean) / np.where(sd > 0, sd, 1.0), 0.0)


def _level(levels: Sequence[str], value: Value) -> int:
    """Return where a value stands among levels, -1 for nowhere."""
    name = MISSING if value is None else _text(value)
    if name not in levels and value is not None:
        name = RARE
    return levels.index(name) if name in levels else -1


def _one(size: int, at: int) -> AnyArray:
    out = np.zeros(size)
    if at >= 0:
        out[at] = 1.0
    return out


def _text(value: Value) -> str:
    """Return a value as the table would have it as text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(pa.scalar(value).cast(pa.string()).as_py())
    return str(value)


def _number(value: Value) -> float | None:
    try:
        return None if value is None or isinstance(value, list) else float(value)
    except ValueError:
        return None
