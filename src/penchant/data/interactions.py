"""Interactions as columns: one type for a snapshot, one user's history, a batch of histories, new events."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from penchant.kernel.arrays import F32, F64, I16, AnyArray, Bools, Csr, Rows, readonly
from penchant.kernel.errors import Defect


@dataclass(frozen=True, slots=True, kw_only=True)
class Interactions:
    """n interactions, oldest first (within a user at least).

    ``user`` and ``item`` are rows of the vocabularies of whoever holds this: a snapshot's, a model's, or for
    ``user`` in a batch of histories the position of the history. ``event_type`` indexes ``event_types``.
    """

    user: Rows  # (n,)
    item: Rows  # (n,)
    timestamp: F64  # (n,) seconds, UTC
    event_type: I16  # (n,)
    value: F32  # (n,) the event value, NaN where none was given
    event_types: tuple[str, ...]

    def __post_init__(self) -> None:
        lengths = {len(self.user), len(self.item), len(self.timestamp), len(self.event_type), len(self.value)}
        if len(lengths) != 1:
            raise Defect(f"interaction columns differ in length: {sorted(lengths)}.")

    def __len__(self) -> int:
        return len(self.user)

    def select(self, which: "Bools | Rows | slice | AnyArray") -> "Interactions":
        """Return the chosen interactions: by mask or position (copied) or by slice (a view)."""
        return replace(
            self,
            user=readonly(self.user[which]),
            item=readonly(self.item[which]),
            timestamp=readonly(self.timestamp[which]),
            event_type=readonly(self.event_type[which]),
            value=readonly(self.value[which]),
        )

    def mapped(self, *, users: "Rows | None" = None, items: "Rows | None" = None) -> "Interactions":
        """Return the same interactions in other vocabularies: ``new = map[old]``; those mapped to -1 go."""
        user = self.user if users is None else users[self.user]
        item = self.item if items is None else items[self.item]
        moved = replace(self, user=readonly(user), item=readonly(item))
        keep = item >= 0 if users is None else (item >= 0) & (user >= 0)
        return moved if keep.all() else moved.select(keep)

    @classmethod
    def of(
        cls,
        *,
        user: "Sequence[int] | AnyArray",
        item: "Sequence[int] | AnyArray",
        timestamp: "Sequence[float] | AnyArray",
        event_type: "Sequence[int] | AnyArray | None" = None,
        value: "Sequence[float] | AnyArray | None" = None,
        event_types: tuple[str, ...] = ("click",),
    ) -> "Interactions":
        """Build from plain sequences; by default every event is the first type and carries no value."""

        def column(given: Any, dtype: Any) -> Any:
            return readonly(np.array(given, dtype=dtype))

        n = len(user)
        return cls(
            user=column(user, np.int32),
            item=column(item, np.int32),
            timestamp=column(timestamp, np.float64),
            event_type=column(np.zeros(n) if event_type is None else event_type, np.int16),
            value=column(np.full(n, np.nan) if value is None else value, np.float32),
            event_types=event_types,
        )

    @classmethod
    def none(cls, event_types: tuple[str, ...] = ()) -> "Interactions":
        """Return no interactions."""
        return cls.of(user=[], item=[], timestamp=[], event_types=event_types)

    @classmethod
    def joined(cls, first: "Interactions", second: "Interactions") -> "Interactions":
        """Return ``first`` followed by ``second``; the event types of both are united in that order."""
        names = tuple(dict.fromkeys((*first.event_types, *second.event_types)))
        recode = np.array([names.index(name) for name in second.event_types] or [0], np.int16)
        return cls(
            user=readonly(np.concatenate([first.user, second.user])),
            item=readonly(np.concatenate([first.item, second.item])),
            timestamp=readonly(np.concatenate([first.timestamp, second.timestamp])),
            event_type=readonly(np.concatenate([first.event_type, recode[second.event_type]])),
            value=readonly(np.concatenate([first.value, second.value])),
            event_types=names,
        )

    def pairs(self, weight: F32, *, n_users: int, n_items: int) -> Csr:
        """Return the (n_users, n_items) matrix that sums ``weight`` (n,) over equal (user, item)."""
        return Csr.summed(self.user, self.item, weight, n_rows=n_users, n_columns=n_items)
