"""From a path to files that can be read, chosen by the ending of the name."""

import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from penchant.data.readers_csv import CsvFile
from penchant.data.readers_jsonl import JsonLines
from penchant.data.readers_parquet import ParquetFile
from penchant.data.rows import Chunk
from penchant.data.schema import Table
from penchant.kernel.errors import InputError, NotFound

ENDINGS = ".csv, .tsv, .jsonl or .ndjson (each also with .gz), .parquet, or a folder of .parquet files"


class Source(Protocol):
    """A file whose header has been read and accepted."""

    path: Path

    def notes(self) -> list[str]:
        """Return what a user should know about how the file was understood."""
        ...

    def chunks(self) -> Iterator[Chunk]:
        """Yield all rows, in the file's order. May be called again.

        Raises:
            InputError: the file turns out to be damaged.
        """
        ...


def open_sources(path: Path, table: Table) -> list[Source]:
    """Open a file, or each Parquet file of a folder in the order of their paths.

    Raises:
        NotFound: nothing is there.
        InputError: the ending is unknown, or the file is empty, unreadable or has a wrong header.
    """
    if path.is_dir():
        return _folder(path, table)
    if not path.is_file():
        raise NotFound("there is no such file.", where=str(path), fix=_near(path))
    name = path.name.lower().removesuffix(".gz")
    if name.endswith((".csv", ".tsv")):
        return [CsvFile(path, table)]
    if name.endswith((".jsonl", ".ndjson")):
        return [JsonLines(path, table)]
    if path.name.lower().endswith(".parquet"):
        return [ParquetFile(path, table)]
    raise InputError("the ending does not say what the file is.", where=str(path), fix=f"Known: {ENDINGS}.")


def _folder(path: Path, table: Table) -> list[Source]:
    """Open what Spark and others write: parts, perhaps in folders called ``name=value``."""
    sources: list[Source] = []
    for file in sorted(path.rglob("*.parquet")):
        inner = file.relative_to(path).parts
        if not file.is_file() or any(part.startswith((".", "_")) for part in inner):
            continue
        partitions = dict(part.split("=", 1) for part in inner[:-1] if "=" in part)
        sources.append(ParquetFile(file, table, partitions=partitions))
    if not sources:
        raise InputError("the folder has no .parquet file.", where=str(path), fix=f"Known: {ENDINGS}.")
    return sources


def _near(path: Path) -> str:
    try:
        names = sorted(entry.name for entry in path.parent.iterdir())
    except OSError:
        return f"There is no folder {path.parent} either."
    near = difflib.get_close_matches(path.name, names, n=1, cutoff=0.6)
    return f"Did you mean '{path.parent / near[0]}'?" if near else "Check the path."
