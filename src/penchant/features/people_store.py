"""Everybody in a folder: codes of all features, who they are, and the activity that it was made from.

For populations beyond memory. Whatever is asked of it reads the codes in a few passes, or the activity of
those few whose values a person wants to see.
"""

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from penchant.features.codes import CodeStore
from penchant.features.coding import chosen_part, code_table, refresh_table
from penchant.features.engine import DuckEngine
from penchant.features.profile import Profile, profile_of
from penchant.features.purchase import MILLION, PurchaseFeatures
from penchant.features.purchase_matrix import PurchaseTable, cells
from penchant.features.raw_tables import ACTIVITY, PEOPLE, SPILL, RawTables, gather
from penchant.kernel.arrays import F32, F64, AnyArray, Rows, open_arrays, save_arrays
from penchant.kernel.arrow import ArrowTable, pc
from penchant.kernel.clock import DAY
from penchant.kernel.errors import InputError, NotFound
from penchant.kernel.folders import publish
from penchant.kernel.ids import Vocab
from penchant.kernel.progress import Progress

FORMAT = 1
MEMORY_MB = 2500
"""What DuckDB may hold while a store is made."""
CARD, USERS, CODES = "people.json", "users.arrow", "codes"
_STALE = 7 * DAY
_ODD = np.uint64(0x9E3779B97F4A7C15)


class PeopleMeta(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What ``people.json`` says."""

    format: int
    source: str  # the state of the tables that it was made from
    config: PurchaseFeatures
    categories: tuple[str, ...]
    kinds: list[str]
    end_at: float
    newest: float
    left_out: int
    built_at: float  # the reference time when everybody was last computed
    digest: str  # of the content


@dataclass(frozen=True, slots=True, kw_only=True)
class PeopleStore:
    """n users with their features as codes; arrays are memory-mapped."""

    meta: PeopleMeta
    table: PurchaseTable
    codes: CodeStore
    user_table: ArrowTable
    first: F64  # (n,) time of the first interaction, +inf without one
    last: F64  # (n,) of the last, -inf without one
    spend: F64  # (n,) a year
    state: AnyArray  # (n,) uint64, equal when nothing of a user has changed

    def values(self, columns: Rows, rows: Rows) -> F32:
        """Return the values (k, m) of some features of users (m,), ascending, from their activity."""
        found = np.full((len(columns), len(rows)), np.nan, np.float32)
        place = {int(j): k for k, j in enumerate(columns)}
        engine = DuckEngine(memory_mb=MEMORY_MB)
        for part in cells(chosen_part(self.table, rows, engine), engine, 0, len(rows)):
            rows_of = {int(code): np.flatnonzero(part.code == code) for code in np.unique(part.code)}
            for start, value in zip(part.starts, part.values, strict=True):
                for code, mine in rows_of.items():
                    if (k := place.get(int(start) + code)) is not None:
                        found[k, part.user[mine]] = value[mine]
        return found


def people_store(
    raw: RawTables, config: PurchaseFeatures, folder: Path, *, source: str, progress: Progress
) -> PeopleStore:
    """Return the store of these tables in ``folder``; built, or refreshed from an older one, if need be.

    ``source`` tells the state that the tables are in from any other. Only users of whom something has
    changed are computed again, as long as the reference time is within a week of when all were: for the
    others the days since this and that are as of then. After that all are computed anew.

    Raises:
        InputError: as `gather`.
    """
    if (found := find_people(config, folder, source=source)) is not None:
        return found
    older = sorted(card.parent for card in folder.glob(f"{_named(config)}-*/{CARD}"))
    target = folder / f"{_named(config)}-{_digest(source)}"
    with publish(target) as draft:
        _write(raw, config, draft, source, _open(older[-1]) if older else None, progress)
    for place in older:
        shutil.rmtree(place)
    return _open(target)


def find_people(config: PurchaseFeatures, folder: Path, *, source: str) -> PeopleStore | None:
    """Return the store in ``folder`` that was made from this state of the tables, if there is one."""
    place = folder / f"{_named(config)}-{_digest(source)}"
    return _open(place) if place.exists() else None


def _named(config: PurchaseFeatures) -> str:
    return f"people-{_digest(msgspec.json.encode(config).decode())}"


def _digest(text: str) -> str:
    return hashlib.blake2b(f"{FORMAT} {text}".encode(), digest_size=6).hexdigest()


def _write(
    raw: RawTables,
    config: PurchaseFeatures,
    draft: Path,
    source: str,
    old: PeopleStore | None,
    progress: Progress,
) -> None:
    progress.start("reading the tables")
    found = gather(raw, config, draft, memory_mb=MEMORY_MB)
    shutil.rmtree(draft / SPILL, ignore_errors=True)
    user_table = _write_users(draft)
    profile = profile_of(user_table, config.profile)
    table = PurchaseTable(
        users=Vocab.of(user_table["user_id"]),
        categories=found.categories,
        activity=draft / ACTIVITY,
        kinds=found.kinds,
        end_at=found.end_at,
        config=config,
        profile=profile,
    )
    spend, state = _summed(table)
    save_arrays(draft, table.users.arrays("users"))
    save_arrays(draft, {"spend": spend, "state": state, "profile": profile.values})
    built_at = found.end_at
    if old is not None and (changed := _changed(old, table, state)) is not None:
        built_at = old.meta.built_at
        rows = old.table.users.rows(table.users.to_arrow())
        refresh_table(
            old.codes, table, draft / CODES, source=source, old_rows=rows, changed=changed, progress=progress
        )
    else:
        engine = DuckEngine(memory_mb=MEMORY_MB, spill=draft / SPILL)
        code_table(table, draft / CODES, source=source, engine=engine, progress=progress)
        shutil.rmtree(draft / SPILL, ignore_errors=True)
    meta = PeopleMeta(
        format=FORMAT,
        source=source,
        config=config,
        categories=found.categories,
        kinds=sorted(found.kinds),
        end_at=found.end_at,
        newest=found.newest,
        left_out=found.left_out,
        built_at=built_at,
        digest=_content(table, state),
    )
    (draft / CARD).write_bytes(msgspec.json.encode(meta))


def _write_users(draft: Path) -> ArrowTable:
    """Turn ``people.parquet`` into what is mapped: times as arrays, the users' table as an Arrow file."""
    source = draft / PEOPLE
    with pq.ParquetFile(source) as file:
        times = file.read(columns=["_first", "_last"])
        first = pc.fill_null(times["_first"], np.inf).to_numpy()
        last = pc.fill_null(times["_last"], -np.inf).to_numpy()
        save_arrays(draft, {"first": first, "last": last})
        columns = [name for name in file.schema_arrow.names if name not in ("_row", "_first", "_last")]
        schema = pa.schema([file.schema_arrow.field(name) for name in columns])
        with pa.OSFile(str(draft / USERS), "wb") as target, pa.ipc.new_file(target, schema) as writer:
            for batch in file.iter_batches(columns=columns):
                writer.write_batch(batch)
    source.unlink()
    return _mapped(draft / USERS)


def _mapped(path: Path) -> ArrowTable:
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def _summed(table: PurchaseTable) -> tuple[F64, AnyArray]:
    """Return spend a year, or the orders where nothing has a price, and the state of each user (n,)."""
    n, engine = len(table.users), DuckEngine(memory_mb=MEMORY_MB)
    spend, state = np.zeros(n), np.zeros(n, np.uint64)
    for batch in engine.query(_SUMS_SQL, {"activity": table.activity}):
        user = np.asarray(batch["user_row"])
        spend[user] = np.asarray(batch["spend"])
        state[user] = np.asarray(batch["state"])
    if spend.any():
        spend = spend / MILLION * 365 / table.config.window_days
    else:
        for batch in engine.query(_ORDERS_SQL, {"activity": table.activity}):
            spend[np.asarray(batch["user_row"])] = np.asarray(batch["orders"])
    for values in table.profile.values:
        state = state * _ODD + np.ascontiguousarray(values, np.float32).view(np.uint32)
    return spend.astype(np.float32).astype(np.float64), state


_SUMS_SQL = """
SELECT user_row, CAST(COALESCE(SUM(spend), 0) AS DOUBLE) AS spend,
  CAST(SUM(CAST(HASH(code, kind, order_key, quantity, spend, moment) AS HUGEINT)) % 18446744073709551557
    AS UBIGINT) AS state
FROM activity
GROUP BY user_row
"""
"""Never on Spark: its hash is another. A sum, and not an exclusive or, so that twice the same row counts."""

_ORDERS_SQL = """
SELECT user_row, COUNT(DISTINCT order_key) AS orders FROM activity WHERE kind = 'purchase' GROUP BY user_row
"""


def _changed(old: PeopleStore, table: PurchaseTable, state: AnyArray) -> Rows | None:
    """Return the rows of the users to compute again, None when all are."""
    if old.codes.book != table.book or abs(table.end_at - old.meta.built_at) > _STALE:
        return None
    rows = old.table.users.rows(table.users.to_arrow())
    changed = np.flatnonzero((rows < 0) | (old.state[rows] != state)).astype(np.int32)
    return changed if len(changed) <= len(rows) // 2 else None


def _content(table: PurchaseTable, state: AnyArray) -> str:
    """Return a digest of who there is and of what they did, whatever files it came in."""
    digest = hashlib.blake2b(f"{table.users.digest} {table.end_at}".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(state).data)
    return digest.hexdigest()


def _open(folder: Path) -> PeopleStore:
    card = folder / CARD
    try:
        meta = msgspec.json.decode(card.read_bytes(), type=PeopleMeta)
        codes = CodeStore.open(folder / CODES, source=meta.source)
    except (OSError, msgspec.DecodeError, NotFound) as error:
        raise InputError(f"damaged store ({error}).", where=str(card), fix="Delete the folder.") from error
    arrays, user_table = open_arrays(folder), _mapped(folder / USERS)
    profile = arrays["profile"]
    table = PurchaseTable(
        users=Vocab.from_arrays(arrays, "users"),
        categories=meta.categories,
        activity=folder / ACTIVITY,
        kinds=frozenset(meta.kinds),
        end_at=meta.end_at,
        config=meta.config,
        profile=Profile(book=codes.book[len(codes.book) - len(profile) :], values=profile),
    )
    return PeopleStore(
        meta=meta,
        table=table,
        codes=codes,
        user_table=user_table,
        **{name: arrays[name] for name in ("first", "last", "spend", "state")},
    )
