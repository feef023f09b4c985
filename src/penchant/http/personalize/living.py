"""Which workers of a workspace are there: each holds a lock on a file, which the system lets go."""

import fcntl
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, final

FOLDER = "personalize.workers"
_JOIN = "join.lock"


@final
class Living:
    """One worker among those of a workspace folder; ``name`` is its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / FOLDER
        self.name = uuid.uuid4().hex
        self._file: IO[str] | None = None

    @contextmanager
    def joining(self) -> Generator[frozenset[str]]:
        """Be there from now on; gives who is there, this one included. Workers join one after the other."""
        self._folder.mkdir(exist_ok=True)
        with (self._folder / _JOIN).open("a") as door:
            fcntl.flock(door, fcntl.LOCK_EX)
            self._file = (self._folder / self.name).open("a")
            fcntl.flock(self._file, fcntl.LOCK_EX)
            yield frozenset(path.name for path in self._folder.iterdir() if _is_held(path))

    def leave(self) -> None:
        """Be gone."""
        if self._file is not None:
            self._file.close()
            (self._folder / self.name).unlink(missing_ok=True)


def _is_held(path: Path) -> bool:
    """Return whether somebody holds the lock of a file; what nobody holds is removed."""
    if path.name == _JOIN:
        return False
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    path.unlink(missing_ok=True)
    return False
