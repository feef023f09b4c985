"""Everybody an audience may be grown from: a snapshot in memory, or a store beyond it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from penchant.audiences.config import AudienceConfig
from penchant.audiences.seeds import Finding
from penchant.data.snapshot import Snapshot
from penchant.features.codes import Codes, CodeStore
from penchant.features.matrix import Features
from penchant.features.people_store import PeopleStore
from penchant.features.prepared import Prepared, prepare
from penchant.features.taste import MOST_COLUMNS, Axes, axes_of, item_rows, taste
from penchant.kernel.arrays import F32, F64, Rows
from penchant.kernel.arrow import ArrowTable
from penchant.kernel.errors import Defect, InputError
from penchant.kernel.ids import Vocab
from penchant.kernel.progress import Progress
from penchant.models.base import Model


class Known(Protocol):
    """What is known of n people: d features as codes, and what a person wants to read."""

    @property
    def codes(self) -> Codes: ...  # noqa: D102 - see the class

    @property
    def features(self) -> Features | None:
        """Return everybody's values where they are at hand."""
        ...

    @property
    def spend(self) -> F64:
        """Return spend a year, or the orders where nothing has a price, 0 for never (n,)."""
        ...

    def values(self, columns: Rows, rows: Rows) -> F32:
        """Return the values (k, m) of some features of users (m,), ascending."""
        ...

    def taste(self, config: AudienceConfig, sample: CodeStore) -> "F32 | Axes":
        """Return everybody's place in taste (n, r), or how it is read from codes, learned from ``sample``."""
        ...

    def items(self, config: AudienceConfig) -> Any:
        """Return everybody's single items (n, items), as `item_rows`; None where they are not used."""
        ...


class People(Protocol):
    """n users and their table, in the order of their ids."""

    @property
    def digest(self) -> str: ...  # noqa: D102 - of the content

    @property
    def cutoff(self) -> float: ...  # noqa: D102 - seconds UTC

    @property
    def users(self) -> Vocab: ...  # noqa: D102

    @property
    def user_table(self) -> ArrowTable: ...  # noqa: D102

    @property
    def findings(self) -> list[Finding]: ...  # noqa: D102 - what to know of where they come from

    def times(self) -> tuple[F64, F64]:
        """Return the first and the last activity (n,), +inf and -inf without any."""
        ...

    def any_item(self, ids: Sequence[str]) -> bool:
        """Return whether any of the ids is known as an item's."""
        ...

    def known(self, config: AudienceConfig, *, progress: Progress) -> Known:
        """Return their features, computing what has to be."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotPeople:
    """The users of a snapshot; ``cache`` keeps features between runs, ``model`` may give their space."""

    snapshot: Snapshot
    cache: Path | None = None
    model: Model | None = None

    @property
    def digest(self) -> str:
        """Return the snapshot's."""
        return self.snapshot.digest

    @property
    def cutoff(self) -> float:
        """Return the snapshot's."""
        return self.snapshot.cutoff

    @property
    def users(self) -> Vocab:
        """Return the snapshot's users."""
        return self.snapshot.users

    @property
    def user_table(self) -> ArrowTable:
        """Return the snapshot's table."""
        return self.snapshot.user_table

    @property
    def findings(self) -> list[Finding]:
        """Return none: an import has said what it left out."""
        return []

    def times(self) -> tuple[F64, F64]:
        """Return the first and the last activity (n,)."""
        events, n = self.snapshot.interactions, self.snapshot.n_users
        first, last = np.full(n, np.inf), np.full(n, -np.inf)
        np.minimum.at(first, events.user, events.timestamp)
        np.maximum.at(last, events.user, events.timestamp)
        return first, last

    def any_item(self, ids: Sequence[str]) -> bool:
        """Look among the snapshot's items."""
        return bool((self.snapshot.items.rows(ids) >= 0).any())

    def known(self, config: AudienceConfig, *, progress: Progress) -> Known:
        """Compute all features, or open those of the cache."""
        prepared = prepare(self.snapshot, config.features, cache=self.cache, progress=progress)
        return _InMemory(people=self, prepared=prepared)


@dataclass(frozen=True, slots=True, kw_only=True)
class _InMemory:
    people: SnapshotPeople
    prepared: Prepared

    @property
    def codes(self) -> CodeStore:
        return self.prepared.codes

    @property
    def features(self) -> Features:
        return self.prepared.features

    @property
    def spend(self) -> F64:
        for name in ("aas000", "cto000"):
            if name in self.features.names:
                column = np.nan_to_num(np.asarray(self.features.column(name), np.float64))
                if column.any():
                    return column
        return np.zeros(self.people.snapshot.n_users)

    def values(self, columns: Rows, rows: Rows) -> F32:
        return np.stack([self.features.values[j][rows] for j in columns])

    def taste(self, config: AudienceConfig, sample: CodeStore) -> F32:
        snapshot, model = self.people.snapshot, self.people.model
        if model is not None and config.method == "embedding":
            return _in_model(snapshot, model)
        category, fine = config.features.category, config.fine
        if fine is None and snapshot.n_items > MOST_COLUMNS:
            fine = category or None
        everyone = np.arange(snapshot.n_users, dtype=np.int32)
        return taste(snapshot, column=fine, category=category, hide=self._hidden(config), rows=everyone)

    def items(self, config: AudienceConfig) -> Any:
        if config.method != "auto" or not config.ensemble.items:
            return None
        snapshot, category = self.people.snapshot, config.features.category
        everyone = np.arange(snapshot.n_users, dtype=np.int32)
        return item_rows(snapshot, category=category, hide=self._hidden(config), rows=everyone)

    def _hidden(self, config: AudienceConfig) -> list[str]:
        """Return the categories among what is hidden."""
        categories = {feature.category for feature in self.features.book}
        return [entry for entry in config.hide if entry in categories]


def _in_model(snapshot: Snapshot, model: Model) -> F32:
    """Return the users' place in the model's space, zero for those it does not know."""
    factors = model.arrays().get("user_factors")
    if factors is None:
        raise InputError(f"a {model.kind} model has no space of users.", fix="Use an `ials` model.")
    known = model.users.rows(snapshot.users.to_arrow())
    space = np.zeros((snapshot.n_users, factors.shape[1]), np.float32)
    space[known >= 0] = factors[known[known >= 0]]
    return space


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPeople:
    """The users of a store. Taste is read from the codes of categories, not from single items."""

    store: PeopleStore

    @property
    def digest(self) -> str:
        """Return the digest of the store's content."""
        return self.store.meta.digest

    @property
    def cutoff(self) -> float:
        """Return the time of the newest interaction."""
        return self.store.meta.newest

    @property
    def users(self) -> Vocab:
        """Return the store's users."""
        return self.store.table.users

    @property
    def user_table(self) -> ArrowTable:
        """Return the users' table, memory-mapped."""
        return self.store.user_table

    @property
    def findings(self) -> list[Finding]:
        """Say which rows were left out, and as of when the features are."""
        meta, found = self.store.meta, list[Finding]()
        if meta.left_out:
            what = f"{meta.left_out:,} interactions without a user, an item or a time were left out."
            found.append(Finding(level="note", what=what))
        if meta.built_at < meta.end_at:
            built = datetime.fromtimestamp(meta.built_at, UTC).date()
            found.append(
                Finding(
                    level="note",
                    what=f"The days since this and that are as of {built} for users of whom nothing changed.",
                    todo="A week later everybody is computed anew; at once when the store is deleted.",
                )
            )
        return found

    def times(self) -> tuple[F64, F64]:
        """Return the first and the last activity (n,)."""
        return self.store.first, self.store.last

    def any_item(self, ids: Sequence[str]) -> bool:
        """Return False: a store keeps no ids of items."""
        return False

    def known(self, config: AudienceConfig, *, progress: Progress) -> Known:
        """Return the store's codes.

        Raises:
            InputError: the method needs everybody's values, or taste the single items.
        """
        if config.features != self.store.meta.config:
            raise Defect("an audience was asked for other features than its store has.")
        if config.method == "coupang":
            raise InputError(
                "the method coupang compares everybody's values, which a store does not hold.",
                fix="Use --method auto, or a sample of the customers that fits into memory.",
            )
        if config.fine is not None:
            raise InputError(
                "a store knows taste by its categories, not by finer groups.", fix="Leave out --fine."
            )
        return _Stored(store=self.store)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    store: PeopleStore

    @property
    def codes(self) -> CodeStore:
        return self.store.codes

    @property
    def features(self) -> None:
        return None

    @property
    def spend(self) -> F64:
        return self.store.spend

    def values(self, columns: Rows, rows: Rows) -> F32:
        return self.store.values(columns, rows)

    def taste(self, config: AudienceConfig, sample: CodeStore) -> Axes:
        return axes_of(sample, self.store.codes.counts, hide=config.hide)

    def items(self, config: AudienceConfig) -> None:
        return None
