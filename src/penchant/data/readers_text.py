"""Text files as blocks of bytes, plain or gzipped."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from penchant.kernel.errors import InputError

BLOCK = 8 << 20  # bytes: what is in memory of a file at a time
LINE_LIMIT = 16 << 20  # bytes
_BOM = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


def blocks(path: Path, size: int = BLOCK) -> Iterator[tuple[bytes, int]]:
    """Yield blocks of about ``size`` bytes, and how many bytes of the file each took; an empty file has none.

    A byte order mark is left out.

    Raises:
        InputError: the file cannot be read, is damaged, or is UTF-16.
    """
    try:
        with path.open("rb") as raw:
            file: Any = gzip.GzipFile(fileobj=raw) if path.suffix.lower() == ".gz" else raw
            before, first = 0, True
            while block := file.read(size):
                if first and block.startswith(_UTF16):
                    raise InputError(
                        "the text is UTF-16.", where=str(path), fix="Save it as UTF-8 and import that."
                    )
                at = raw.tell()
                yield (block.removeprefix(_BOM) if first else block), at - before
                before, first = at, False
    except (OSError, EOFError, zlib.error) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"cannot be read ({why}).", where=str(path), fix="Check the file and its permissions."
        ) from error


def with_end(parts: Iterator[tuple[bytes, int]]) -> Iterator[tuple[bytes, int, bool]]:
    """Yield the blocks with whether it is the last one, which is empty."""
    for block, size in parts:
        yield block, size, False
    yield b"", 0, True


def too_long(path: Path, line: int) -> InputError:
    """Return the error for a line that does not fit into memory."""
    return InputError(
        f"the line is longer than {LINE_LIMIT >> 20} MB; this is not a table in text form.",
        where=f"{path} line {line}",
        fix="Check that the file is what its name says.",
    )


def empty(path: Path) -> InputError:
    """Return the error for a file with nothing in it."""
    return InputError("the file is empty.", where=str(path), fix="Export it again, or leave it out.")


def legible(raw: bytes) -> str:
    """Return bytes as text, those that are not UTF-8 as ``\\xNN``."""
    return raw.decode("utf-8", "backslashreplace")
