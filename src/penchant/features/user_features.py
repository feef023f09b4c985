"""What is known of users besides what they did: columns of the users table as one numeric matrix.

A text column becomes one indicator a level, with rare levels folded into one and missing a level of its own;
a number becomes quantile buckets (indicators) or a standardised value; a list of labels becomes one indicator
a label, if asked standardised within the groups of another column, so that "likes fashion" means more than
others who own a phone of the same price do.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import msgspec
import numpy as np
import pyarrow as pa

from penchant.kernel.arrays import F32, F64, AnyArray, Bools, readonly
from penchant.kernel.arrow import ArrowColumn, ArrowTable, pc
from penchant.kernel.errors import InputError
from penchant.kernel.names import did_you_mean

RARE = "(rare)"
MISSING = "(missing)"

How = Literal["levels", "buckets", "number", "labels"]


class UserColumn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one column of the users table becomes features.

    ``levels``: indicators of its values, those rarer than ``rare`` (share of users who have one) folded.
    ``buckets``: indicators of ``buckets`` quantile ranges. ``number``: standardised, missing at the mean.
    ``labels``: indicators of each label of a list (or text joined by '|'); with ``within`` they are
    standardised inside each level of that other column, of a number inside each of ``buckets`` ranges.
    """

    column: str
    how: How
    buckets: int = 5
    rare: float = 0.01
    within: str | None = None

    def __post_init__(self) -> None:
        if self.buckets < 2:
            raise ValueError(f"buckets must be at least 2, got {self.buckets}")
        if not 0 <= self.rare < 1:
            raise ValueError(f"rare must lie in [0, 1), got {self.rare}")


@dataclass(frozen=True, slots=True, kw_only=True)
class UserMatrix:
    """n users x d features. ``groups`` names the users' column each feature came from.

    ``known`` tells the users who have at least one value; for the others every row says "missing".
    """

    names: tuple[str, ...]  # (d,) such as "age=25-34"
    groups: tuple[str, ...]  # (d,)
    values: F32  # (n, d)
    known: Bools  # (n,)


def guess_columns(table: ArrowTable, *, most_levels: int = 50) -> tuple[UserColumn, ...]:
    """Guess how to use every column of a users table (first column the id); see `UserColumn`.

    Text with more than ``most_levels`` values, such as a name, and columns of one value are left out.
    """
    chosen: list[UserColumn] = []
    for name in table.column_names[1:]:
        how = _guess(table[name], most_levels)
        if how is not None:
            chosen.append(UserColumn(column=name, how=how))
    return tuple(chosen)


def encode_users(table: ArrowTable, columns: Sequence[UserColumn]) -> UserMatrix:
    """Return the features of every row of ``table``.

    Raises:
        InputError: a column does not exist, has a type that does not fit, or none is asked for.
    """
    if not columns:
        raise InputError(
            "no column of the users table can serve as a feature.",
            fix="Import users with attributes, or name columns under [[personas.columns]].",
        )
    parts: list[tuple[list[str], F32]] = []
    known = np.zeros(table.num_rows, np.bool_)
    for spec in columns:
        if spec.column not in table.column_names:
            raise InputError(
                f"users have no column '{spec.column}'.",
                fix=did_you_mean(spec.column, table.column_names[1:]),
            )
        column = table[spec.column].combine_chunks()
        known |= np.asarray(column.is_valid())
        parts.append(_encode(column, spec, table))
    names = tuple(name for part in parts for name in part[0])
    groups = tuple(spec.column for spec, part in zip(columns, parts, strict=True) for _ in part[0])
    values = np.concatenate([part[1] for part in parts], axis=1)
    return UserMatrix(
        names=names, groups=groups, values=readonly(values.astype(np.float32)), known=readonly(known)
    )


def levels_of(column: ArrowColumn, *, rare: float) -> tuple[list[str], AnyArray]:
    """Return (level names, code of each row): kept levels by falling count, then rare, then missing."""
    text = column.cast(pa.string())
    counts = sorted(
        ((c["values"], c["counts"]) for c in pc.value_counts(pc.drop_null(text)).to_pylist()),
        key=lambda pair: (-pair[1], pair[0]),
    )
    total = sum(count for _, count in counts)
    kept = [name for name, count in counts if count >= rare * total]
    codes = np.asarray(pc.fill_null(pc.index_in(text, value_set=pa.array(kept, pa.string())), -1)).copy()
    present = np.asarray(text.is_valid())
    names = list(kept)
    for label, which in ((RARE, present & (codes < 0)), (MISSING, ~present)):
        if which.any():
            codes[which] = len(names)
            names.append(label)
    return names, codes


def _guess(column: ArrowColumn, most_levels: int) -> How | None:
    kind = column.type
    if pa.types.is_dictionary(kind):  # said to be a category, however many values it has
        return "levels"
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return "labels"
    distinct = pc.count_distinct(column, mode="only_valid").as_py()
    if distinct < 2:
        return None
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return "levels" if distinct <= 5 else "buckets"
    if pa.types.is_string(kind) and pc.any(pc.match_substring(column, "|")).as_py():
        return "labels"
    return "levels" if distinct <= most_levels else None


def _encode(column: ArrowColumn, spec: UserColumn, table: ArrowTable) -> tuple[list[str], F32]:
    if spec.how == "levels":
        return _indicators(spec.column, *levels_of(column, rare=spec.rare))
    if spec.how == "labels":
        return _labels(column, spec, table)
    try:
        numbers = pc.cast(column, pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        raise InputError(
            f"users' column '{spec.column}' is {column.type}, which cannot be used as '{spec.how}'.",
            fix="Use 'levels'.",
        ) from None
    missing = np.isnan(numbers)
    if spec.how == "number":
        mean, sd = np.nanmean(numbers), np.nanstd(numbers) or 1.0
        scaled = np.where(missing, 0.0, (numbers - mean) / sd)
        return [spec.column], scaled[:, None].astype(np.float32)
    edges, codes = _ranges(numbers, spec.buckets)
    bounds = ["", *(f"{edge:g}" for edge in edges), ""]
    names = [
        f"{low}..{high}" if low and high else (f"<{high}" if high else f">={low}")
        for low, high in pairwise(bounds)
    ]
    return _indicators(spec.column, [*names, MISSING] if missing.any() else names, codes)


def _indicators(column: str, names: Sequence[str], codes: AnyArray) -> tuple[list[str], F32]:
    values = (codes[:, None] == np.arange(len(names))).astype(np.float32)
    return [f"{column}={name}" for name in names], values


def _labels(column: ArrowColumn, spec: UserColumn, table: ArrowTable) -> tuple[list[str], F32]:
    lists = column if not pa.types.is_string(column.type) else pc.split_pattern(column, "|")
    flat = pc.list_flatten(lists).cast(pa.string())
    names = sorted(set(flat.drop_null().to_pylist()))
    owner = np.asarray(pc.list_parent_indices(lists))
    codes = np.asarray(pc.fill_null(pc.index_in(flat, value_set=pa.array(names, pa.string())), -1))
    values = np.zeros((len(column), len(names)), np.float32)
    values[owner[codes >= 0], codes[codes >= 0]] = 1.0
    if spec.within is not None:
        if spec.within not in table.column_names:
            raise InputError(
                f"users have no column '{spec.within}' to standardise '{spec.column}' within.",
                fix=did_you_mean(spec.within, table.column_names[1:]),
            )
        values = _within(values, _buckets_of(table[spec.within].combine_chunks(), spec.buckets))
    return [f"{spec.column}={name}" for name in names], values


def _buckets_of(column: ArrowColumn, buckets: int) -> AnyArray:
    """Return the code of each row's group: its value, or its quantile range where values are many numbers."""
    if _guess(column, 0) != "buckets":
        return levels_of(column, rare=0.0)[1]
    return _ranges(pc.cast(column, pa.float64()).to_numpy(zero_copy_only=False), buckets)[1]


def _ranges(numbers: F64, buckets: int) -> tuple[F64, AnyArray]:
    """Return the inner edges of quantile ranges and the range of each number, the last for missing ones."""
    edges = np.unique(np.nanquantile(numbers, np.linspace(0, 1, buckets + 1)[1:-1]))
    missing = np.isnan(numbers)
    return edges, np.where(missing, len(edges) + 1, np.searchsorted(edges, numbers, side="right"))


def _within(values: F32, group: AnyArray) -> F32:
    """z = (x - mean of the group) / sd of the group, 0 where the group does not vary."""
    out = np.zeros_like(values)
    for level in np.unique(group):
        rows = group == level
        mean, sd = values[rows].mean(axis=0), values[rows].std(axis=0)
        out[rows] = np.where(sd > 0, (values[rows] - mean) / np.where(sd > 0, sd, 1.0), 0.0)
    return out


def describe(columns: Sequence[UserColumn]) -> Mapping[str, str]:
    """Return, for each column, in words how it is used; printed when the choice was a guess."""
    words = {
        "levels": "one feature a value",
        "buckets": "quantile ranges",
        "number": "a standardised number",
        "labels": "one feature a label",
    }
    return {c.column: words[c.how] + (f", within {c.within}" if c.within else "") for c in columns}
