"""Progress as an argument: whoever runs long work is handed something to tell."""

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

T = TypeVar("T")


class Progress(Protocol):
    """Shows how far a piece of work is."""

    def start(self, what: str, total: int | None = None) -> None:
        """Begin a named piece of work of ``total`` steps; ends the one before."""
        ...

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Say that ``steps`` more are done, with a short note such as the loss."""
        ...


class Silent:
    """Shows nothing."""

    def start(self, what: str, total: int | None = None) -> None:
        """Ignore."""

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Ignore."""


def track(progress: Progress, what: str, steps: Iterable[T], total: int | None = None) -> Iterator[T]:
    """Yield from ``steps``, advancing ``progress`` after each."""
    progress.start(what, total)
    for step in steps:
        yield step
        progress.advance()
