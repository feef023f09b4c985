"""Where rows go that cannot be stored: one JSON line each, with file, row, reason and the row as it was."""

from pathlib import Path
from typing import BinaryIO, Literal, TypeAlias

import msgspec

from penchant.kernel.errors import PenchantError

Reason: TypeAlias = Literal[
    "missing_id",
    "missing_time",
    "bad_time",
    "future_time",
    "not_a_number",
    "nan_value",
    "too_large",
    "wrong_type",
    "id_too_long",
    "bad_impression",
    "bad_outcome",
    "ragged_line",
    "bad_quotes",
    "bad_utf8",
    "broken_json",
]

WORDS: dict[Reason, str] = {
    "missing_id": "an id is missing",
    "missing_time": "the time is missing",
    "bad_time": "the time cannot be read",
    "future_time": "the time lies in the future",
    "not_a_number": "a value is not a number",
    "nan_value": "a value is NaN or infinite",
    "too_large": "a value is beyond single precision (3.4e38)",
    "wrong_type": "a value has the wrong type",
    "id_too_long": "an id is longer than 256 characters",
    "bad_impression": "the impression names an empty or overlong item id",
    "bad_outcome": "the event type is none of TAKEN, NOT_TAKEN and VIEWED",
    "ragged_line": "the line has too few or too many fields",
    "bad_quotes": "a quote is never closed or is followed by text",
    "bad_utf8": "the bytes are not UTF-8",
    "broken_json": "the line is not a JSON object",
}
"""What each reason says to a reader."""


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One row that cannot be stored.

    ``row`` is the line in a text file, the row in a Parquet file, from 1. ``raw`` is the row as it was, bytes
    that are not UTF-8 written as ``\\xNN``.
    """

    table: str
    file: str
    row: int
    reason: Reason
    detail: str
    raw: str

    def sentence(self) -> str:
        """Return where and why, in one line."""
        return f"{self.file} row {self.row}: {self.detail}"


class Quarantine:
    """A file of faults that comes into being with the first one.

    ``path`` is None until then. Nothing already in the folder is overwritten.
    """

    def __init__(self, folder: Path, stem: str) -> None:
        self._folder = folder
        self._stem = stem
        self._file: BinaryIO | None = None
        self.path: Path | None = None
        self.first: list[Fault] = []  # the first few, to show

    def add(self, faults: list[Fault]) -> None:
        """Write faults.

        Raises:
            PenchantError: the disk refuses; the import must not go on as if nothing was lost.
        """
        if not faults:
            return
        self.first += faults[: max(0, 5 - len(self.first))]
        lines = msgspec.json.Encoder().encode_lines(faults)
        try:
            if self._file is None:
                self._file = self._create()
            self._file.write(lines)
        except OSError as error:
            raise PenchantError(
                f"cannot write the rows that were refused ({error.strerror or error}).",
                where=str(self.path or self._folder),
                fix="Make room there or make the folder writeable, and import again.",
            ) from error

    def close(self) -> None:
        """Finish the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _create(self) -> BinaryIO:
        self._folder.mkdir(parents=True, exist_ok=True)
        number = 0
        while True:
            suffix = f"-{number}" if number else ""
            self.path = self._folder / f"{self._stem}{suffix}.jsonl"
            try:
                return self.path.open("xb")
            except FileExistsError:
                number += 1
