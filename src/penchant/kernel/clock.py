"""Time as an argument: seconds since 1970 UTC as a float, from a clock that tests can hold."""

import time
from typing import Protocol

MINUTE = 60.0
HOUR = 3600.0
DAY = 86400.0


class Clock(Protocol):
    """Tells the time."""

    def now(self) -> float:
        """Return seconds since 1970-01-01 UTC."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> float:
        """Return seconds since 1970-01-01 UTC."""
        return time.time()
