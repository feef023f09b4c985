"""The events that a process has just appended, as they read back: its own tail need not decode them again."""

import threading
from collections import deque
from collections.abc import Sequence
from typing import final

from penchant.data.events import AnyEvent

_KEPT = 1_000  # events; a few KB each


@final
class Recent:
    """The newest events by number. Threads may share it."""

    def __init__(self, kept: int = _KEPT) -> None:
        self._kept = kept
        self._lock = threading.Lock()
        self._runs: deque[tuple[int, Sequence[AnyEvent]]] = deque()  # number of the first, and the events
        self._size = 0

    def add(self, first: int, events: Sequence[AnyEvent]) -> None:
        """Take events numbered from ``first`` on; the oldest go when there are too many."""
        with self._lock:
            self._runs.append((first, events))
            self._size += len(events)
            while self._size > self._kept:
                self._size -= len(self._runs.popleft()[1])

    def between(self, after: int, upto: int) -> list[tuple[int, AnyEvent]] | None:
        """Return the events numbered above ``after`` and at most ``upto``, None when one is not known."""
        found: list[tuple[int, AnyEvent]] = []
        with self._lock:
            for first, events in self._runs:
                begin, end = max(after + 1 - first, 0), max(upto + 1 - first, 0)
                found += enumerate(events[begin:end], first + begin)
        return sorted(found, key=_number) if len(found) == upto - after else None


def _number(numbered: tuple[int, AnyEvent]) -> int:
    return numbered[0]
