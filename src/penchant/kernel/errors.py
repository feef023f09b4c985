"""Every error Penchant raises on purpose.

::

    PenchantError
    ├── InputError      what was given is wrong: a file, a row, a key, an argument     (HTTP 400, exit 2)
    ├── NotFound        the named thing does not exist                                 (HTTP 404, exit 2)
    ├── Conflict        it exists already, or is held by another process               (HTTP 409, exit 1)
    ├── NotReady        nothing is trained, loaded or reachable yet                    (HTTP 503, exit 1)
    ├── StageFailed     one stage of a feed failed; the feed may fail open             (HTTP 503, exit 1)
    └── Defect          an invariant of ours does not hold; never swallowed            (HTTP 500, exit 1)

A message says what is wrong, where (file, row, key) and how to mend it.
"""

from typing import ClassVar


class PenchantError(Exception):
    """Base of all; ``str(error)`` is the sentence a user reads.

    ``fix`` says how to mend it and is part of that sentence.
    """

    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, where: str | None = None, fix: str | None = None) -> None:
        self.what = what
        self.where = where
        self.fix = fix or None
        place = f"{where}: " if where else ""
        remedy = f" {fix}" if fix else ""
        super().__init__(f"{place}{what}{remedy}")


class InputError(PenchantError):
    """What was given is wrong."""

    status = 400
    exit_code = 2


class NotFound(PenchantError):
    """The named thing does not exist."""

    status = 404
    exit_code = 2


class Conflict(PenchantError):
    """It exists already, or another process holds it."""

    status = 409


class NotReady(PenchantError):
    """Nothing is trained, loaded or reachable yet."""

    status = 503


class StageFailed(PenchantError):
    """One stage of a feed failed; the feed may answer from its fallback."""

    status = 503


class Defect(PenchantError):
    """An invariant of Penchant itself does not hold."""
