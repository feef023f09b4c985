"""Where the one SQL text runs: an engine takes tables and a query and gives back Arrow batches."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import duckdb

from penchant.kernel.arrow import ArrowBatch, ArrowTable


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """The rows of a Parquet file or folder whose integer ``column`` is at least ``first`` and below ``end``.

    Written as a literal condition, so that an engine passes over the row groups that lie outside.
    """

    path: Path
    column: str
    first: int
    end: int

    @property
    def condition(self) -> str:
        """Return the condition as SQL."""
        return f"{self.column} >= {self.first} AND {self.column} < {self.end}"


Table: TypeAlias = ArrowTable | Path | Slice
"""A table in memory, a Parquet file or a folder of them, or a part of those."""


class Engine(Protocol):
    """Runs portable SQL."""

    def query(self, sql: str, tables: Mapping[str, Table]) -> Iterator[ArrowBatch]:
        """Run ``sql`` over ``tables`` under those names; rows come in no particular order."""
        ...


class DuckEngine:
    """DuckDB in this process; ``memory_mb`` bounds its memory, beyond which it spills to ``spill``."""

    def __init__(
        self, *, memory_mb: int | None = None, spill: Path | None = None, threads: int | None = None
    ):
        options: dict[str, Any] = {"preserve_insertion_order": "false"}
        if memory_mb is not None:
            options["memory_limit"] = f"{memory_mb}MB"
        if spill is not None:
            options["temp_directory"] = str(spill)
        if threads is not None:
            options["threads"] = str(threads)
        self._options = options

    def query(self, sql: str, tables: Mapping[str, Table]) -> Iterator[ArrowBatch]:
        """Run on a connection of its own, closed when the rows are read."""
        with duckdb.connect(config=self._options) as connection:
            for name, table in tables.items():
                if isinstance(table, Slice):
                    _parquet(connection, table.path).filter(table.condition).create_view(name)
                elif isinstance(table, Path):
                    _parquet(connection, table).create_view(name)
                else:
                    connection.register(name, table)
            yield from connection.sql(sql).to_arrow_reader(131_072)


def _parquet(connection: duckdb.DuckDBPyConnection, path: Path) -> duckdb.DuckDBPyRelation:
    return connection.read_parquet(str(path / "*.parquet") if path.is_dir() else str(path))
