"""Files of batch jobs: JSON lines in, JSON lines out, written whole or not at all."""

import gzip
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from penchant.http.personalize.errors import AwsError
from penchant.kernel.errors import InputError, PenchantError
from penchant.kernel.folders import writing

ENDINGS = (".json", ".jsonl", ".json.gz", ".jsonl.gz", ".txt")
SUCCESS = "_SUCCESS"


class Counts(msgspec.Struct, kw_only=True):
    """How many lines were answered, and how many have an error instead."""

    answered: int = 0
    failed: int = 0


def answer_files(
    inputs: Sequence[Path], output: Path, answer: Callable[[dict[str, Any]], dict[str, Any]]
) -> Counts:
    """Write ``<input>.out`` for each input file into the folder ``output``, a line a line, and ``_SUCCESS``.

    ``answer`` gives the fields beside ``input`` and ``error``; what it raises is the line's ``error``.

    Raises:
        InputError: two inputs have the same name.
    """
    names = [path.name for path in inputs]
    if len(set(names)) < len(names):
        raise InputError("two input files have the same name.", where=str(output))
    counts = Counts()
    for path in inputs:
        with writing(output / f"{path.name}.out") as file:
            for line in _answered(_lines(path), answer, counts):
                file.write(line + b"\n")
    with writing(output / SUCCESS):
        pass
    return counts


def _lines(path: Path) -> Iterator[bytes]:
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
        yield from (stripped for line in file if (stripped := line.strip()))


def _answered(
    lines: Iterable[bytes], answer: Callable[[dict[str, Any]], dict[str, Any]], counts: Counts
) -> Iterator[bytes]:
    for line in lines:
        asked: Any = None
        try:
            asked = msgspec.json.decode(line)
            if not isinstance(asked, dict):
                raise InputError("a line must be a JSON object.")
            told = {**answer(asked), "error": None}  # pyright: ignore[reportUnknownArgumentType] - any JSON object
            counts.answered += 1
        except (PenchantError, AwsError, msgspec.DecodeError, UnicodeError, RecursionError) as error:
            told = {"output": None, "error": str(error)}
            asked = line.decode(errors="replace") if asked is None else asked
            counts.failed += 1
        yield msgspec.json.encode({"input": asked, **told})
