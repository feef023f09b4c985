"""User columns as features: numbers as they are, text as one column a value."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from penchant.features.matrix import FeatureName
from penchant.kernel.arrays import F32, readonly
from penchant.kernel.arrow import ArrowTable, pc
from penchant.kernel.errors import InputError
from penchant.kernel.names import did_you_mean

MOST_VALUES = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """p profile columns of n users; NaN where a number is missing."""

    book: tuple[FeatureName, ...]
    values: F32  # (p, n)


def profile_of(table: ArrowTable, columns: Sequence[str]) -> Profile:
    """Return the named columns of a user table.

    A number or a truth value gives one column under its own name; text gives a column ``name=value`` of 0 and
    1 for each value, at most `MOST_VALUES`, and ``name=unknown`` where some users have none.

    Raises:
        InputError: there is no such column, or its type or its number of values does not fit.
    """
    names: list[FeatureName] = []
    rows: list[F32] = []
    for column in columns:
        if column not in table.column_names[1:]:
            raise InputError(
                f"users have no column '{column}'.", fix=did_you_mean(column, table.column_names[1:])
            )
        data = table[column]
        kind = data.type
        if pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind):
            number = pc.cast(data, pa.float32(), safe=False).to_numpy(zero_copy_only=False)
            names.append(FeatureName(name=column, symbol=column))
            rows.append(np.asarray(number, np.float32))
        elif pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind):
            for value, indicator in _indicators(column, data):
                names.append(FeatureName(name=f"{column}={value}", symbol=column))
                rows.append(indicator)
        else:
            raise InputError(
                f"users' column '{column}' is {kind}, neither number nor text.",
                fix="Leave it out of `profile`.",
            )
    values = np.stack(rows) if rows else np.zeros((0, table.num_rows), np.float32)
    return Profile(book=tuple(names), values=readonly(values))


def _indicators(column: str, data: ArrowTable) -> list[tuple[str, F32]]:
    texts = pc.cast(data, pa.string())
    values = sorted(pc.unique(pc.drop_null(texts)).to_pylist())
    if len(values) > MOST_VALUES:
        raise InputError(
            f"users' column '{column}' has {len(values)} different texts, more than {MOST_VALUES}.",
            fix="Group them, or leave it out of `profile`.",
        )
    codes = np.asarray(pc.fill_null(pc.index_in(texts, value_set=pa.array(values, pa.string())), -1))
    found = [(value, (codes == j).astype(np.float32)) for j, value in enumerate(values)]
    if (codes < 0).any():
        found.append(("unknown", (codes < 0).astype(np.float32)))
    return found
