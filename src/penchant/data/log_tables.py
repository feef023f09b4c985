"""The event log as raw tables in Parquet, in bounded memory: for work that goes beyond a snapshot."""

from collections.abc import Sequence
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from penchant.data.eventlog import COLUMNS, ReadableLog
from penchant.data.events import ANONYMOUS
from penchant.data.log_snapshot import Source, current, described
from penchant.kernel.arrow import ArrowTable, pc
from penchant.kernel.progress import Progress

_COLUMNS = ["user_id", "item_id", "timestamp", "event_type", "event_value"]


def write_tables(log: ReadableLog, folder: Path, *, progress: Progress) -> None:
    """Write interactions.parquet, items.parquet and users.parquet with what `snapshot_of` would read.

    Interactions pass through; the latest put of each item and of each user is held in memory. What was done
    in a session before an event gave it a user is that user's.
    """
    source = Source(log, log.head(), progress)
    if (items := described(source, "item_put", "item_id")) is not None:
        pq.write_table(items, folder / "items.parquet")
    if (users := _users(source)) is not None:
        pq.write_table(users, folder / "users.parquet")
    with duckdb.connect() as connection:
        _name_strangers(connection, source)
        _read(connection, source, _COLUMNS)
        connection.execute(
            "COPY (SELECT COALESCE(s.name, a.user_id) AS user_id, a.* EXCLUDE (user_id, number)"
            " FROM acted a LEFT JOIN strangers s ON s.user_id = a.user_id)"
            " TO $1 (FORMAT parquet)",
            [str(folder / "interactions.parquet")],
        )


def _read(connection: duckdb.DuckDBPyConnection, source: Source, columns: Sequence[str]) -> None:
    """Give the log's actions to the next query under the name ``acted``, once."""
    fields = [COLUMNS["acted"].field(name) for name in columns]
    schema = pa.schema([*fields, ("number", pa.int64())])
    batches = (batch.cast(schema) for batch in source.batches("acted", columns))
    connection.register("acted", pa.RecordBatchReader.from_batches(schema, batches))


def _name_strangers(connection: duckdb.DuckDBPyConnection, source: Source) -> None:
    """Create the table ``strangers`` of users known by a session only, with who they turned out to be."""
    _read(connection, source, ["user_id"])
    connection.execute(
        "CREATE TABLE sessions AS SELECT DISTINCT user_id, SUBSTR(user_id, LENGTH($1) + 1) AS session_id"
        " FROM acted WHERE STARTS_WITH(user_id, $1)",
        [ANONYMOUS],
    )
    connection.execute("CREATE TABLE strangers (user_id VARCHAR, name VARCHAR)")
    if connection.execute("SELECT COUNT(*) FROM sessions").fetchall() == [(0,)]:
        return
    _read(connection, source, ["user_id", "session_id"])
    connection.execute(
        "INSERT INTO strangers SELECT s.user_id, ARG_MAX(a.user_id, a.number) FROM acted a"
        " JOIN sessions s ON s.session_id = a.session_id WHERE NOT STARTS_WITH(a.user_id, $1) GROUP BY ALL",
        [ANONYMOUS],
    )


def _users(source: Source) -> ArrowTable | None:
    """Return the users that were put, and those that follow or are followed."""
    users = described(source, "user_put", "user_id")
    follows = source.table("followed", ["timestamp", "user_id", "followed_id", "active"], cutoff=None)
    if not follows.num_rows:
        return users
    active = current(follows)
    ends = [active[name].cast(pa.string()).combine_chunks() for name in ("user_id", "followed_id")]
    ids = pc.unique(pa.chunked_array(ends))
    if users is None:
        return pa.table({"user_id": ids})
    new = ids.filter(pc.invert(pc.is_in(ids, value_set=users["user_id"].combine_chunks())))
    return pa.concat_tables([users, pa.table({"user_id": new})], promote_options="default")
