"""Features of users as columns: what each is called, what it means, and its values."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import msgspec
import numpy as np

from penchant.kernel.arrays import F32, AnyArray, readonly
from penchant.kernel.errors import Defect, InputError
from penchant.kernel.ids import Vocab
from penchant.kernel.names import did_you_mean

ACCOUNT = 0
"""The category code of the whole account."""
PLAIN = -1
"""The code of a feature that belongs to no category: profile and behaviour columns."""


class FeatureName(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One entry of the code book: ``cto078`` is symbol ``cto`` in the category of code 78."""

    name: str
    symbol: str
    code: int = PLAIN
    category: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """d features of n users, by columns: ``values[j]`` (n,) float32 is contiguous; NaN means never.

    "Never" (no order in that category) is its own state: it is not zero, and no method may read it as one
    without saying so.
    """

    users: Vocab
    book: tuple[FeatureName, ...]
    values: F32  # (d, n), in memory or memory-mapped

    def __post_init__(self) -> None:
        if self.values.shape != (len(self.book), len(self.users)):
            raise Defect(
                f"{len(self.book)} names and {len(self.users)} users, but values of {self.values.shape}."
            )

    def __len__(self) -> int:
        return len(self.book)

    @property
    def names(self) -> list[str]:
        """Return the column names in order."""
        return [feature.name for feature in self.book]

    def column(self, name: str) -> F32:
        """Return one column (n,).

        Raises:
            InputError: there is no such feature; the message names the nearest.
        """
        names = self.names
        if name not in names:
            raise InputError(f"there is no feature '{name}'.", fix=did_you_mean(name, names))
        return self.values[names.index(name)]

    def take(self, columns: "Sequence[int] | AnyArray") -> "Features":
        """Return the chosen columns, copied, in that order."""
        pick = np.asarray(columns, np.int64)
        return Features(
            users=self.users,
            book=tuple(self.book[int(j)] for j in pick),
            values=readonly(np.ascontiguousarray(self.values[pick])),
        )


def hidden_columns(book: Sequence[FeatureName], hide: Iterable[str]) -> "list[int]":
    """Return the columns that ``hide`` names: a feature name, a pattern (``cto*``) or a category's name.

    Hiding a category hides its column under every symbol: the features a seed list was defined by must not
    be the features that recover it.

    Raises:
        InputError: an entry matches nothing.
    """
    hidden: set[int] = set()
    for entry in hide:
        found = [j for j, f in enumerate(book) if f.category == entry or fnmatchcase(f.name, entry)]
        if not found:
            known = [f.name for f in book] + [f.category for f in book if f.category]
            raise InputError(f"nothing to hide is called '{entry}'.", fix=did_you_mean(entry, known[:5000]))
        hidden.update(found)
    return sorted(hidden)
