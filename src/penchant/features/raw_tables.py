"""Raw tables in Parquet to activity by user, out of core: DuckDB joins, sorts and spills to disk.

What comes out is what `penchant.features.purchase_matrix.purchase_table` makes of a snapshot in memory.
"""

import hashlib
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa

from penchant.data.rows_time import unit_of
from penchant.data.schema import TABLES, TableName, resolve_header
from penchant.features.purchase import MILLION, PurchaseFeatures
from penchant.features.purchase_matrix import KINDS, kinds_of
from penchant.kernel.clock import DAY
from penchant.kernel.errors import InputError
from penchant.kernel.names import did_you_mean

ACTIVITY, PEOPLE, SPILL = "activity.parquet", "people.parquet", "spill"
_ROW_GROUP: Final = 122_880  # a range of users reads the groups that it lies in


@dataclass(frozen=True, slots=True, kw_only=True)
class RawTables:
    """Parquet files, or folders of them, with the columns of an import; times in a number or a timestamp."""

    interactions: Path
    items: Path | None
    users: Path | None

    @classmethod
    def found(cls, folder: Path) -> "RawTables":
        """Return the tables of a folder: ``interactions.parquet`` or a folder ``interactions``, and so on.

        Raises:
            InputError: there are no interactions.
        """
        places: dict[str, Path | None] = {}
        for name in ("interactions", "items", "users"):
            choices = [folder / f"{name}.parquet", folder / name]
            places[name] = next((p for p in choices if p.is_file() or any(p.glob("*.parquet"))), None)
        if places["interactions"] is None:
            raise InputError(
                "there is neither interactions.parquet nor a folder interactions of Parquet files.",
                where=str(folder),
                fix="Convert the tables to Parquet; items and users stand beside them.",
            )
        return cls(interactions=places["interactions"], items=places["items"], users=places["users"])

    def state(self) -> str:
        """Return a digest of the files' names, sizes and times: what tells whether they were changed."""
        state = hashlib.blake2b(digest_size=16)
        for path in (self.interactions, self.items, self.users):
            files = [] if path is None else [path] if path.is_file() else sorted(path.glob("*.parquet"))
            for file in files:
                found = file.stat()
                state.update(f"{file.name} {found.st_size} {found.st_mtime_ns}\n".encode())
            state.update(b"--\n")
        return state.hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """What `gather` found besides the files that it wrote."""

    categories: tuple[str, ...]  # code c is categories[c - 1]
    kinds: frozenset[str]
    end_at: float  # the reference time
    newest: float  # of all interactions: their cut-off
    left_out: int  # interactions without a user, an item or a time


def gather(raw: RawTables, config: PurchaseFeatures, folder: Path, *, memory_mb: int) -> Gathered:
    """Write the activity within the window, sorted by user, and everybody, in the order of their ids.

    ``activity.parquet`` has the columns of `penchant.features.purchase.ACTIVITY`; ``people.parquet``
    _row, user_id, _first and _last (times of any interaction), then the columns of the users' table.

    Raises:
        InputError: a column is missing or of the wrong type, an id stands twice among items or users, or
            there are no interactions.
    """
    with _connection(folder, memory_mb) as connection:
        newest, left_out = _events(connection, raw.interactions)
        categories = _items(connection, raw.items, config.category)
        kinds = _kinds(connection, config)
        end_at = newest if config.reference is None else config.reference
        _people(connection, raw.users, folder / PEOPLE)
        connection.execute(_ACTIVITY_SQL, [end_at - config.window_days * DAY, end_at, str(folder / ACTIVITY)])
    return Gathered(categories=categories, kinds=kinds, end_at=end_at, newest=newest, left_out=left_out)


_ACTIVITY_SQL: Final = f"""
COPY (
  SELECT p.user_row, COALESCE(c.code, 0) AS code, k.kind,
    CASE WHEN k.kind = 'purchase' THEN e.moment END AS order_key,
    CASE WHEN k.kind = 'purchase' THEN CAST({MILLION} AS BIGINT) END AS quantity,
    CASE WHEN k.kind = 'purchase' AND ISFINITE(e.event_value)
      THEN CAST(ROUND_EVEN(CAST(e.event_value AS DOUBLE) * {MILLION}, 0) AS BIGINT) END AS spend,
    e.moment
  FROM events e JOIN kinds k ON k.event_type = e.event_type JOIN people p ON p.user_id = e.user_id
    LEFT JOIN item_codes c ON c.item_id = e.item_id
  WHERE e.moment > $1 AND e.moment <= $2
  ORDER BY p.user_row
) TO $3 (FORMAT parquet, ROW_GROUP_SIZE {_ROW_GROUP})
"""


@contextmanager
def _connection(folder: Path, memory_mb: int) -> Generator[duckdb.DuckDBPyConnection]:
    options: dict[str, Any] = {"memory_limit": f"{memory_mb}MB", "temp_directory": str(folder / SPILL)}
    with duckdb.connect(config=options) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        yield connection


def _view(
    connection: duckdb.DuckDBPyConnection, name: TableName, path: Path
) -> tuple[duckdb.DuckDBPyRelation, dict[str, str]]:
    """Return a table and its columns' own names, quoted, by their names of an import."""
    files = str(path / "*.parquet") if path.is_dir() else str(path)
    try:
        table = connection.read_parquet(files)
    except duckdb.Error as error:
        raise InputError(f"not a readable Parquet file ({error}).", where=files) from error
    names = resolve_header(TABLES[name], table.columns, files)
    quoted = ['"' + own.replace('"', '""') + '"' for own in table.columns]
    return table, {known: own for known, own in zip(names, quoted, strict=True) if known}


def _events(connection: duckdb.DuckDBPyConnection, path: Path) -> tuple[float, int]:
    """Create the view ``events``; return the newest moment and how many rows lack an id or a time."""
    table, columns = _view(connection, "interactions", path)
    at = columns["timestamp"]
    kind = str(table.types[table.columns.index(at.strip('"'))])
    if kind.startswith(("TIMESTAMP", "DATE")):
        moment = f"EPOCH({at})"
    elif kind.startswith(("VARCHAR", "BOOL")):
        raise InputError(
            f"timestamp holds {kind}, neither a number nor a time.", where=str(path), fix="Convert it."
        )
    else:
        ((largest,),) = table.aggregate(f"MAX(CAST({at} AS DOUBLE))").fetchall()
        moment = f"CAST({at} AS DOUBLE) / {unit_of(np.array([largest or 0.0]))[0]:.0f}"
    chosen = (
        f"CAST({columns['user_id']} AS VARCHAR) AS user_id, CAST({columns['item_id']} AS VARCHAR) AS item_id,"
        f" {moment} AS moment, COALESCE(CAST({columns.get('event_type', 'NULL')} AS VARCHAR), 'click')"
        f" AS event_type, CAST({columns.get('event_value', 'NULL')} AS FLOAT) AS event_value"
    )
    table.project(chosen).create_view("all_events")
    usable = "user_id IS NOT NULL AND item_id IS NOT NULL AND moment IS NOT NULL AND ISFINITE(moment)"
    connection.execute(f"CREATE VIEW events AS SELECT * FROM all_events WHERE {usable}")
    newest, left_out = connection.execute(
        f"SELECT MAX(moment) FILTER (WHERE {usable}), COUNT(*) - COUNT(*) FILTER (WHERE {usable})"
        " FROM all_events"
    ).fetchall()[0]
    if newest is None:
        raise InputError("there are no interactions.", where=str(path))
    return float(newest), int(left_out)


def _items(connection: duckdb.DuckDBPyConnection, path: Path | None, category: str) -> tuple[str, ...]:
    """Create the table ``item_codes``; return the category names in code order."""
    none = "CREATE TABLE item_codes (item_id VARCHAR, code INTEGER)"
    if not category:
        connection.execute(none)
        return ()
    if path is None:
        raise InputError(
            f"there is no table of items to take '{category}' from.",
            fix="Give items.parquet, or no category.",
        )
    table, columns = _view(connection, "items", path)
    if category not in columns:
        raise InputError(
            f"items have no column '{category}' to take categories from.",
            where=str(path),
            fix=did_you_mean(category, list(columns)),
        )
    _once(table, columns["item_id"], "item", path)
    table.project(
        f"CAST({columns['item_id']} AS VARCHAR) AS item_id, CAST({columns[category]} AS VARCHAR) AS category"
    ).create_view("items")
    found = connection.execute(
        "SELECT DISTINCT category FROM items WHERE category IS NOT NULL ORDER BY category"
    ).fetchall()
    names = tuple(str(name) for (name,) in found)
    codes = pa.table(
        {"category": pa.array(names, pa.string()), "code": np.arange(1, len(names) + 1, dtype=np.int32)}
    )
    connection.register("codes", codes)
    connection.execute(
        "CREATE TABLE item_codes AS SELECT i.item_id, c.code FROM items i JOIN codes c USING (category)"
    )
    return names


def _kinds(connection: duckdb.DuckDBPyConnection, config: PurchaseFeatures) -> frozenset[str]:
    """Create the table ``kinds`` of the event types that count; return which kinds there are."""
    types = sorted(str(t) for (t,) in connection.execute("SELECT DISTINCT event_type FROM events").fetchall())
    kind = kinds_of(types, config)
    chosen = [(t, KINDS[k]) for t, k in zip(types, kind, strict=True) if k >= 0]
    table = pa.table({"event_type": [t for t, _ in chosen], "kind": [k for _, k in chosen]})
    connection.register("kinds", table)
    return frozenset(name for _, name in chosen)


def _people(connection: duckdb.DuckDBPyConnection, path: Path | None, target: Path) -> None:
    """Write everybody, and create the table ``people`` of ids and rows."""
    columns, join = "", ""
    if path is not None:
        table, names = _view(connection, "users", path)
        _once(table, names["user_id"], "user", path)
        rest = {name: own for name, own in names.items() if name != "user_id"}
        chosen = "".join(f', {own} AS "{name}"' for name, own in rest.items())
        table.project(f"CAST({names['user_id']} AS VARCHAR) AS user_id{chosen}").filter(
            "user_id IS NOT NULL"
        ).create_view("users")
        columns = "".join(f', u."{name}"' for name in rest)
        join = " FULL JOIN users u ON u.user_id = a.user_id"
    either = "COALESCE(a.user_id, u.user_id)" if join else "a.user_id"
    connection.execute(
        f"COPY (SELECT CAST(ROW_NUMBER() OVER (ORDER BY {either}) - 1 AS INTEGER) AS _row,"
        f" {either} AS user_id, a.first_at AS _first, a.last_at AS _last{columns}"
        " FROM (SELECT user_id, MIN(moment) AS first_at, MAX(moment) AS last_at FROM events"
        " GROUP BY user_id) a"
        f"{join} ORDER BY _row) TO $1 (FORMAT parquet)",
        [str(target)],
    )
    connection.read_parquet(str(target)).project("_row AS user_row, user_id").create_view("people")


def _once(table: duckdb.DuckDBPyRelation, column: str, what: str, path: Path) -> None:
    """Refuse a table in which an id stands twice."""
    found = table.aggregate(f"{column} AS id, COUNT(*) AS n", column).filter("n > 1 AND id IS NOT NULL")
    if twice := found.order("id").limit(1).fetchall():
        raise InputError(
            f"{what} '{twice[0][0]}' stands {twice[0][1]} times in the table.",
            where=str(path),
            fix="Keep one row for each.",
        )
