"""From a snapshot or raw tables to the columns of all features, in bounded pieces and without a pivot."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from penchant.data.snapshot import Snapshot
from penchant.features.engine import DuckEngine, Engine, Slice, Table
from penchant.features.matrix import ACCOUNT, FeatureName, Features
from penchant.features.profile import Profile, profile_of
from penchant.features.purchase import (
    BEHAVIOUR,
    BEHAVIOUR_SQL,
    MILLION,
    NEEDS,
    PURCHASE_SQL,
    SYMBOLS,
    PurchaseFeatures,
    feature_name,
)
from penchant.kernel.arrays import F32, I64, AnyArray, readonly
from penchant.kernel.arrow import ArrowTable, pc
from penchant.kernel.clock import DAY
from penchant.kernel.errors import InputError
from penchant.kernel.ids import Vocab
from penchant.kernel.names import did_you_mean
from penchant.kernel.progress import Progress, Silent

PIECE = 200_000
KINDS = ("purchase", "view", "search")


@dataclass(frozen=True, slots=True, kw_only=True)
class PurchaseTable:
    """All that the feature SQL needs: the activity, who the rows are, and what the category codes mean."""

    users: Vocab
    categories: tuple[str, ...]  # code c is categories[c - 1]
    activity: Table  # the columns of `penchant.features.purchase.ACTIVITY`
    kinds: frozenset[str]
    end_at: float  # reference time, seconds UTC
    config: PurchaseFeatures
    profile: Profile

    @property
    def symbols(self) -> tuple[str, ...]:
        """Return the symbols that this data can give: without views there is no ``ctv``."""
        return tuple(s for s in SYMBOLS if NEEDS[s] <= self.kinds)

    @property
    def book(self) -> tuple[FeatureName, ...]:
        """Return the code book: every symbol in every cell, then behaviour, then profile."""
        cells = [(ACCOUNT, "ALL"), *enumerate(self.categories, start=1)]
        names = [
            FeatureName(name=feature_name(symbol, code), symbol=symbol, code=code, category=category)
            for symbol in self.symbols
            for code, category in cells
        ]
        if self.config.behaviour:
            names += [FeatureName(name=name, symbol=name) for name in BEHAVIOUR]
        return (*names, *self.profile.book)


def purchase_table(snapshot: Snapshot, config: PurchaseFeatures) -> PurchaseTable:
    """Return the activity of a snapshot: an order is what one user bought at one moment.

    ``event_value`` is what an interaction cost; each purchase interaction is one unit.

    Raises:
        InputError: the item table has no such category column, or a profile column is missing.
    """
    events = snapshot.interactions
    codes, categories = item_codes(snapshot, config.category)
    kind_of = kinds_of(events.event_types, config)
    kind = kind_of[events.event_type] if len(events) else np.zeros(0, np.int8)
    chosen = np.flatnonzero(kind >= 0)
    kind = kind[chosen]
    bought = kind == 0
    at = events.timestamp[chosen]
    value = events.value[chosen].astype(np.float64)
    priced = bought & np.isfinite(value)
    activity = pa.table(
        {
            "user_row": events.user[chosen],
            "code": codes[events.item[chosen]],
            "kind": pa.DictionaryArray.from_arrays(kind, list(KINDS)),
            "order_key": pa.array(at, mask=~bought),
            "quantity": pa.array(np.full(len(at), MILLION, np.int64), mask=~bought),
            "spend": pa.array(np.rint(np.where(priced, value, 0.0) * MILLION).astype(np.int64), mask=~priced),
            "moment": at,
        }
    )
    return PurchaseTable(
        users=snapshot.users,
        categories=categories,
        activity=activity,
        kinds=frozenset(KINDS[int(k)] for k in np.unique(kind)),
        end_at=snapshot.cutoff if config.reference is None else config.reference,
        config=config,
        profile=profile_of(snapshot.user_table, config.profile),
    )


def compute(
    table: PurchaseTable, *, engine: Engine | None = None, progress: Progress | None = None
) -> Features:
    """Return all features of all users in memory: 4 bytes x users x columns."""
    values = np.empty((len(table.book), len(table.users)), np.float32)
    for first, part in pieces(table, engine=engine, progress=progress, size=len(table.users)):
        values[:, first : first + part.shape[1]] = part
    return Features(users=table.users, book=table.book, values=readonly(values))


def pieces(
    table: PurchaseTable,
    *,
    engine: Engine | None = None,
    progress: Progress | None = None,
    size: int = PIECE,
) -> Iterator[tuple[int, F32]]:
    """Yield (first user row, values (d, m)) for consecutive ranges of users, in bounded memory."""
    engine = DuckEngine() if engine is None else engine
    progress = Silent() if progress is None else progress
    n = len(table.users)
    progress.start("features", n)
    for first in range(0, max(n, 1), max(size, 1)):
        last = min(first + size, n)
        yield first, piece(table, engine, first, last)
        progress.advance(last - first)


def piece(table: PurchaseTable, engine: Engine, first: int, last: int) -> F32:
    """Return the values (d, last - first): the long table scattered, cell by cell, into empty columns."""
    values = np.full((len(table.book), last - first), np.nan, np.float32)
    for part in cells(table, engine, first, last):
        for start, value in zip(part.starts, part.values, strict=True):
            values[start + part.code, part.user] = value
    return values


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """A part of the long table: s values for each of m pairs of a user and a category code.

    Value s of code c belongs to the feature ``starts[s] + c``. What has no cell is never, as is NaN.
    """

    starts: I64  # (s,)
    code: AnyArray  # (m,) integers
    user: AnyArray  # (m,) integers, counted from the first user asked for
    values: F32  # (s, m)


def cells(table: PurchaseTable, engine: Engine, first: int, last: int) -> Iterator[Cells]:
    """Yield the long table of the users first..last-1 as it comes from the engine; no pair comes twice."""
    activity = table.activity
    if isinstance(activity, Path):
        activity = Slice(path=activity, column="user_row", first=first, end=last)
    tables: dict[str, Table] = {"activity": activity, "period": period_of(table, first, last)}
    for batch in engine.query(PURCHASE_SQL, tables):
        yield cells_of(batch, table.symbols, symbol_starts(table), first)
    start = len(table.symbols) * (len(table.categories) + 1)
    if table.config.behaviour:
        for batch in engine.query(BEHAVIOUR_SQL, tables):
            yield cells_of(batch, tuple(BEHAVIOUR), start + np.arange(len(BEHAVIOUR)), first)
    profile = table.profile.values[:, first:last]
    yield Cells(
        starts=len(table.book) - len(profile) + np.arange(len(profile)),
        code=np.zeros(last - first, np.int64),
        user=np.arange(last - first),
        values=profile,
    )


def cells_of(batch: Any, names: Sequence[str], starts: I64, first: int) -> Cells:
    """Return the named columns of a batch with ``user_row`` and, unless all is of the account, ``code``."""
    user = np.asarray(batch["user_row"]) - first
    code = np.asarray(batch["code"]) if "code" in batch.schema.names else np.zeros(len(user), np.int64)
    values = np.empty((len(names), len(user)), np.float32)
    for s, name in enumerate(names):
        values[s] = batch[name].to_numpy(zero_copy_only=False)
    return Cells(starts=starts, code=code, user=user, values=values)


def symbol_starts(table: PurchaseTable) -> I64:
    """Return the first feature of each symbol (s,)."""
    return np.arange(len(table.symbols)) * (len(table.categories) + 1)


def period_of(table: PurchaseTable, first: int, last: int) -> ArrowTable:
    """Return the table ``period`` for the users first..last-1."""
    days = float(table.config.window_days)
    return pa.table(
        {
            "start_at": [table.end_at - days * DAY],
            "end_at": [float(table.end_at)],
            "days": [days],
            "first_user": [first],
            "end_user": [last],
        }
    )


def item_codes(snapshot: Snapshot, column: str) -> tuple[AnyArray, tuple[str, ...]]:
    """Return each item's category code (n_items,), 0 = none, and the category names in code order.

    Raises:
        InputError: items have no such column.
    """
    table: ArrowTable = snapshot.item_table
    if not column:
        return np.zeros(snapshot.n_items, np.int32), ()
    if column not in table.column_names:
        raise InputError(
            f"items have no column '{column}' to take categories from.",
            fix=did_you_mean(column, table.column_names[1:]),
        )
    texts = pc.cast(table[column], pa.string())
    known = pc.drop_null(texts)
    if not len(known):
        return np.zeros(snapshot.n_items, np.int32), ()
    vocab = Vocab.of(known)
    return (vocab.rows(texts) + 1).astype(np.int32), tuple(vocab.ids(range(len(vocab))))


def kinds_of(event_types: Sequence[str], config: PurchaseFeatures) -> AnyArray:
    """Return for each event type its place in `KINDS`, or -1 for none of them."""
    lists = (config.purchase, config.view, config.search)
    found = [next((k for k, names in enumerate(lists) if t.lower() in names), -1) for t in event_types]
    if 0 not in found:
        found = [0] * len(found)
    return np.array(found or [0], np.int8)
