"""From raw tables to the code store, out of core: no table of all values ever exists."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from penchant.features.codes import BINS, SAMPLE, CodeStore, quantile_edges
from penchant.features.codes_write import BLOCK, code_writer, refresh_store
from penchant.features.engine import DuckEngine, Engine, Slice, Table
from penchant.features.profile import Profile
from penchant.features.purchase_matrix import PurchaseTable, cells, piece
from penchant.kernel.arrays import F32, Rows, readonly
from penchant.kernel.ids import Vocab
from penchant.kernel.progress import Progress, Silent, track

_RANGES = 50
"""From how many places of the id order the sample for the edges is taken: ids often follow time."""


def code_table(
    table: PurchaseTable,
    folder: Path,
    *,
    source: str,
    bins: int = BINS,
    engine: Engine | None = None,
    progress: Progress | None = None,
) -> CodeStore:
    """Compute all features range by range of users and store their codes only.

    Memory holds the codes of `BLOCK` users (a byte a feature each) and what the engine needs for them. With
    the activity as a folder of Parquet files sorted by ``user_row`` each range reads its own row groups.
    """
    engine = DuckEngine() if engine is None else engine
    quiet = Silent() if progress is None else progress
    users = len(table.users)
    edges = quantile_edges(sampled(table, engine, quiet), bins)
    with code_writer(folder, table.book, users, edges, source=source) as writer:
        for first in track(quiet, "code store", range(0, users, BLOCK), -(-users // BLOCK)):
            end = min(first + BLOCK, users)
            writer.write_cells(first, end - first, cells(table, engine, first, end))
    return CodeStore.open(folder, source=source)


def sampled(table: PurchaseTable, engine: Engine, progress: Progress) -> F32:
    """Return the features (d, m) of at most `SAMPLE` users, in ranges spread over the ids."""
    users = len(table.users)
    if users <= SAMPLE:
        return piece(table, engine, 0, users)
    starts = np.linspace(0, users - SAMPLE // _RANGES, _RANGES).astype(int)
    found = [
        piece(table, engine, int(first), int(first) + SAMPLE // _RANGES)
        for first in track(progress, "edges", starts, _RANGES)
    ]
    return np.hstack(found)


def refresh_table(
    old: CodeStore,
    table: PurchaseTable,
    folder: Path,
    *,
    source: str,
    old_rows: Rows,
    changed: Rows,
    engine: Engine | None = None,
    progress: Progress | None = None,
) -> CodeStore:
    """Write the store of ``table`` from an older one, computing only the users who changed.

    ``old_rows`` (n,) says which row of ``old`` each user had, -1 for new ones; ``changed`` (m,) are the rows,
    ascending, of those whose activity in the window is not what it was, new ones among them. What is counted
    from the reference time (days since ...) moves for everybody when that moves: within a few days it stays
    in its bin for most, after that build anew.
    """
    engine = DuckEngine() if engine is None else engine
    places = range(0, len(changed), BLOCK)
    parts = (chosen_part(table, changed[first : first + BLOCK], engine) for first in places)
    values = (piece(part, engine, 0, len(part.users)) for part in parts)
    return refresh_store(
        old,
        folder,
        source=source,
        old_rows=old_rows,
        changed=changed,
        values=values,
        progress=progress,
    )


def chosen_part(table: PurchaseTable, rows: Rows, engine: Engine) -> PurchaseTable:
    """Return the table of some users (m,), ascending, with their activity in memory."""
    numbers = pa.table({"user_row": rows, "place": np.arange(len(rows), dtype=np.int32)})
    activity: Table = table.activity
    if isinstance(activity, Path) and len(rows):
        activity = Slice(path=activity, column="user_row", first=int(rows[0]), end=int(rows[-1]) + 1)
    batches = list(engine.query(_CHOSEN_SQL, {"activity": activity, "numbers": numbers}))
    return replace(
        table,
        users=Vocab.of(table.users.to_arrow().take(pa.array(rows))),
        activity=pa.Table.from_batches(batches) if batches else _NONE.empty_table(),
        profile=Profile(book=table.profile.book, values=readonly(table.profile.values[:, rows])),
    )


_NONE = pa.schema(
    [
        ("user_row", pa.int32()),
        ("code", pa.int32()),
        ("kind", pa.string()),
        ("order_key", pa.float64()),
        ("quantity", pa.int64()),
        ("spend", pa.int64()),
        ("moment", pa.float64()),
    ]
)
_CHOSEN_SQL = """
SELECT n.place AS user_row, a.code, a.kind, a.order_key, a.quantity, a.spend, a.moment
FROM activity a JOIN numbers n ON n.user_row = a.user_row
"""
