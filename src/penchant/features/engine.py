"""Where the one SQL text runs: an engine takes tables and a query and gives back Arrow batches."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import duckdb

from penchant.kernel.arrow import ArrowBatch, ArrowTable

Table: TypeAlias = ArrowTable | Path
"""A table in memory, or a Parquet file or a folder of them."""


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
                if isinstance(table, Path):
                    source = str(table / "*.parquet") if table.is_dir() else str(table)
                    connection.read_parquet(source).create_view(name)
                else:
                    connection.register(name, table)
            yield from connection.sql(sql).to_arrow_reader(131_072)
