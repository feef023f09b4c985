"""Folders and files that appear whole or not at all."""

import os
import shutil
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def publish(target: Path) -> Generator[Path]:
    """Give an empty folder to fill; it becomes ``target`` by rename when the block ends without error.

    Everything is on disk before the name is. An existing ``target`` stays (its content has the same name,
    so it is the same content) and the new folder is dropped. An error removes what was written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.parent / f".{target.name}.{uuid.uuid4().hex}.tmp"
    draft.mkdir()
    try:
        yield draft
        for path in sorted(draft.rglob("*")):
            _sync(path)
        _sync(draft)
        if target.exists():
            shutil.rmtree(draft)
        else:
            draft.rename(target)
            _sync(target.parent)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


@contextmanager
def writing(target: Path) -> Generator[BinaryIO]:
    """Give a file to write; it replaces ``target`` when the block ends without error.

    A reader sees the old file or the new one, never a part.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.parent / f".{target.name}.{uuid.uuid4().hex}.tmp"
    try:
        with draft.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)
        _sync(target.parent)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def write_atomically(target: Path, content: bytes) -> None:
    """Replace ``target`` by ``content``, as `writing` does."""
    with writing(target) as file:
        file.write(content)
