"""The code store as a Spark table: features, histograms and scores are computed where the data is.

One row a user: ``user_row`` and ``codes``, one byte a feature. What comes back to the driver is a sample,
histograms, and a few numbers a user; the methods are those of `penchant.features.codes.CodeStore`, so a seed
list is answered by the same code, with the same answer.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from penchant.features.codes import BINS, CodeStore, code_counts, count_codes, encode, quantile_edges
from penchant.features.codes_write import scatter
from penchant.features.coding import sampled
from penchant.features.engine import Table
from penchant.features.matrix import FeatureName
from penchant.features.purchase import BEHAVIOUR, BEHAVIOUR_SQL, PURCHASE_SQL
from penchant.features.purchase_matrix import PurchaseTable, cells_of, period_of, symbol_starts
from penchant.features.spark import SparkEngine
from penchant.kernel.arrays import F32, F64, I64, U8, AnyArray, Bools, Rows, readonly
from penchant.kernel.arrow import ArrowBatch
from penchant.kernel.progress import Progress, Silent

_ROWS, _CODES = "user_row int", "codes binary"
Batches = Iterator[ArrowBatch]


@dataclass(frozen=True, slots=True, kw_only=True)
class SparkCodes:
    """Codes of d features of n users in a Spark table."""

    session: Any
    table: Any  # DataFrame (user_row, codes)
    n_users: int
    book: tuple[FeatureName, ...]
    edges: F32  # (d, bins - 2)
    counts: I64  # (d, bins)

    def histograms(self, lists: AnyArray, wanted: "Bools | None" = None) -> I64:
        """Count the codes of several lists of users: (l, m) -> (l, d, bins)."""
        d, bins = self.counts.shape
        wanted = np.ones(d, bool) if wanted is None else wanted
        return _histograms(self.table, np.sort(lists, axis=1), wanted, d, bins)

    def among(self, rows: Rows) -> CodeStore:
        """Return the store of some users, ascending, in this process."""
        chosen = self.session.createDataFrame(pa.table({"user_row": np.asarray(rows, np.int32)}))
        found = self.table.join(chosen, "user_row").toArrow().combine_chunks()
        order = np.argsort(found["user_row"].to_numpy())
        codes = np.ascontiguousarray(_matrix(found["codes"], len(self.book))[order].T)
        counts = code_counts(codes, self.counts.shape[1])
        return CodeStore(book=self.book, codes=readonly(codes), edges=self.edges, counts=readonly(counts))

    def mapped(
        self, columns: AnyArray, score: Callable[[Rows, U8], F64], width: int, *, progress: Progress
    ) -> F64:
        """Return what ``score`` gives (m, width) for parts of the users, together (n, width)."""
        progress.start("scoring everybody")
        work = partial(_scored, columns=columns, score=score, d=len(self.book))
        found = self.table.mapInArrow(work, f"{_ROWS}, scores binary").toArrow().combine_chunks()
        out = np.empty((self.n_users, width))
        scores = _matrix(found["scores"], 8 * width).view(np.float64)
        out[found["user_row"].to_numpy()] = scores
        return out


def spark_codes(
    table: PurchaseTable,
    session: Any,
    folder: str,
    *,
    bins: int = BINS,
    partitions: int = 200,
    progress: Progress | None = None,
) -> SparkCodes:
    """Compute all features on Spark, store their codes as Parquet under ``folder``, and return them.

    ``folder`` is a place that the workers and the driver see, such as ``hdfs://...``. The users of a
    partition, a byte a feature each, must fit into a worker's memory.
    """
    engine, n = SparkEngine(session), len(table.users)
    edges = quantile_edges(sampled(table, engine, Silent() if progress is None else progress), bins)
    users = session.range(0, n, 1, partitions).selectExpr("CAST(id AS INT) AS user_row")
    tables: dict[str, Table] = {"activity": table.activity, "period": period_of(table, 0, n)}
    starts, end = symbol_starts(table), len(table.symbols) * (len(table.categories) + 1)
    parts = [_coded(engine.frame(PURCHASE_SQL, tables), users, table.symbols, starts, edges[:end])]
    if table.config.behaviour:
        first, end = end, end + len(BEHAVIOUR)
        whole = engine.frame(BEHAVIOUR_SQL, tables)
        parts.append(_coded(whole, users, tuple(BEHAVIOUR), np.arange(len(BEHAVIOUR)), edges[first:end]))
    if len(table.profile.book):
        codes = encode(table.profile.values, edges[end:]).T
        given = {"user_row": np.arange(n, dtype=np.int32), "codes": [row.tobytes() for row in codes]}
        parts.append(session.createDataFrame(pa.table(given)))
    for i, part in enumerate(parts):
        part.createOrReplaceTempView(f"coded_{i}")
    joins = " ".join(f"JOIN coded_{i} USING (user_row)" for i in range(1, len(parts)))
    every = ", ".join(f"coded_{i}.codes" for i in range(len(parts)))
    whole = session.sql(f"SELECT user_row, CONCAT({every}) AS codes FROM coded_0 {joins}")
    whole.write.mode("overwrite").parquet(folder)
    stored = session.read.parquet(folder)
    d = len(table.book)
    counts = _histograms(stored, None, np.ones(d, bool), d, bins)[0]
    return SparkCodes(
        session=session,
        table=stored,
        n_users=n,
        book=table.book,
        edges=readonly(edges),
        counts=readonly(counts),
    )


def _coded(long: Any, users: Any, names: Sequence[str], starts: I64, edges: F32) -> Any:
    """Return (user_row, codes) for every user from a long table, as `cells_of` reads it."""
    work = partial(_encoded, names=tuple(names), starts=starts, edges=edges)
    known = long.withColumnRenamed("user_row", "known")
    joined = users.join(known, users["user_row"] == known["known"], "left").repartition("user_row")
    return joined.mapInArrow(work, f"{_ROWS}, {_CODES}")


def _encoded(batches: Batches, *, names: tuple[str, ...], starts: I64, edges: F32) -> Batches:
    """Encode one partition, which holds all rows of its users; ``known`` is null for those without any."""
    found = list(batches)
    if not found:
        return
    long: Any = pa.Table.from_batches(found)
    rows, place = np.unique(long["user_row"].to_numpy(), return_inverse=True)
    active = long["known"].is_valid()
    part = long.set_column(0, "user_row", pa.array(place)).filter(active).combine_chunks()
    codes = np.zeros((len(rows), len(edges)), np.uint8)
    counts = np.zeros((len(edges), edges.shape[1] + 2), np.int64)
    scatter(cells_of(part, names, starts, 0), edges, codes, counts)
    yield _batch(rows, "codes", codes)


def _scored(batches: Batches, *, columns: AnyArray, score: Callable[[Rows, U8], F64], d: int) -> Batches:
    for batch in batches:
        rows = batch["user_row"].to_numpy()
        codes = np.ascontiguousarray(_matrix(batch["codes"], d)[:, columns].T)
        yield _batch(rows, "scores", score(rows, codes).view(np.uint8))


def _histograms(table: Any, lists: "AnyArray | None", wanted: Bools, d: int, bins: int) -> I64:
    """Count by partition, add up by list: (l, d, bins); ``lists`` None is one list of everybody."""
    count = partial(_counted, lists=lists, wanted=wanted, d=d, bins=bins)
    parts = table.mapInArrow(count, "list int, counts binary")
    sums = parts.groupBy("list").applyInArrow(_added, "list int, counts binary").toArrow().combine_chunks()
    out = np.zeros((1 if lists is None else len(lists), d, bins), np.int64)
    if sums.num_rows:
        found = _matrix(sums["counts"], 8 * d * bins).view(np.int64)
        out[sums["list"].to_numpy()] = found.reshape(-1, d, bins)
    return out


def _counted(batches: Batches, *, lists: "AnyArray | None", wanted: Bools, d: int, bins: int) -> Batches:
    total = np.zeros((1 if lists is None else len(lists), d, bins), np.int64)
    for batch in batches:
        codes = np.ascontiguousarray(_matrix(batch["codes"], d).T)
        rows = batch["user_row"].to_numpy()
        if lists is None:
            total[0] += code_counts(codes, bins)
            continue
        for k, chosen in enumerate(lists):
            mine = np.flatnonzero(np.isin(rows, chosen)).astype(np.int32)
            if len(mine):
                count_codes(codes, wanted, mine[None, :], total[k : k + 1])
    used = np.flatnonzero(total.any(axis=(1, 2)))
    yield _batch(used, "counts", total[used].reshape(len(used), -1).view(np.uint8), name="list")


def _added(table: Any) -> Any:
    """Add up the counts of one list over the partitions."""
    counts = np.sum([np.frombuffer(part.as_py(), np.int64) for part in table["counts"]], axis=0)
    return pa.table({"list": table["list"][:1], "counts": [counts.tobytes()]})


def _matrix(column: Any, width: int) -> U8:
    """Return a column of texts of bytes of one length as (m, width), without a copy."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    _, offsets, data = column.buffers()
    if not len(column):
        return np.zeros((0, width), np.uint8)
    kind = np.int64 if pa.types.is_large_binary(column.type) else np.int32
    first = int(np.frombuffer(offsets, kind)[column.offset])
    return np.frombuffer(data, np.uint8)[first : first + len(column) * width].reshape(-1, width)


def _batch(rows: AnyArray, what: str, cells: AnyArray, *, name: str = "user_row") -> ArrowBatch:
    """Return a batch of row numbers and bytes (m, width)."""
    data = np.ascontiguousarray(cells)
    offsets = np.arange(len(rows) + 1, dtype=np.int32) * data.shape[1]
    column: Any = pa.BinaryArray.from_buffers(
        pa.binary(), len(rows), [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    )
    numbers: Any = pa.array(rows.astype(np.int32))
    return pa.RecordBatch.from_arrays([numbers, column], names=[name, what])
