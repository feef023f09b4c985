"""What the disk and the database say, as sentences for people."""

import errno
import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from penchant.kernel.errors import Conflict, PenchantError

_FULL = "the disk is full; nothing of this batch was stored."
_FREE = "Free some space and send it again."


@contextmanager
def storage_errors(where: Path) -> Generator[None]:
    """Turn errors of SQLite, DuckDB and the file system into errors of Penchant.

    Raises:
        Conflict: another process held the log for too long.
        PenchantError: the disk is full or failing, or the log's files are damaged or not writeable.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise _of_sqlite(error, str(where)) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise PenchantError(_FULL, where=str(where), fix=_FREE) from error
        raise _failed(error, str(where)) from error
    except duckdb.Error as error:
        if "no space left" in str(error).lower():
            raise PenchantError(_FULL, where=str(where), fix=_FREE) from error
        raise _failed(error, str(where)) from error


def _of_sqlite(error: sqlite3.Error, where: str) -> PenchantError:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return Conflict(
            "another process held the log for too long; nothing of this batch was stored.",
            where=where,
            fix="Send it again, or end the process that holds it.",
        )
    if code == sqlite3.SQLITE_FULL:
        return PenchantError(_FULL, where=where, fix=_FREE)
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return PenchantError(f"the log is damaged ({error}).", where=where, fix="Restore it from a backup.")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return PenchantError(
            f"the log cannot be written ({error}).",
            where=where,
            fix="Check who owns the folder and its mode.",
        )
    return _failed(error, where)


def _failed(error: Exception, where: str) -> PenchantError:
    return PenchantError(f"the log's disk failed ({error}); nothing of this batch was stored.", where=where)
