"""Progress for people: bars on a terminal, plain lines in a log file. Both go to stderr."""

import signal
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress

from penchant.kernel.progress import Progress

_SHORT = 1.0  # seconds: what took less leaves no line behind


class Lines:
    """One plain line a piece of work that took a second or more, and one for a long wait in between."""

    def __init__(
        self,
        write: Callable[[str], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        every: float = 15.0,
    ) -> None:
        self._write = write
        self._clock = clock
        self._every = every
        self._what = ""
        self._total: int | None = None
        self._done = 0
        self._began = self._said = 0.0

    def start(self, what: str, total: int | None = None) -> None:
        """Begin a named piece of work; ends the one before."""
        self.finish()
        self._what, self._total, self._done = what, total, 0
        self._began = self._said = self._clock()

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Count steps; says so from time to time."""
        self._done += steps
        now = self._clock()
        if self._what and now - self._said >= self._every:
            self._said = now
            of = f" of {self._total:,}" if self._total else ""
            self._write(f"{self._what}: {self._done:,}{of}{_noted(note)} ({now - self._began:.0f} s)")

    def finish(self) -> None:
        """End the work at hand."""
        seconds = self._clock() - self._began
        if self._what and seconds >= _SHORT:
            self._write(f"{self._what}: {seconds:.1f} s")
        self._what = ""


class Bars:
    """A bar that moves; once done it stays as a line when it took a second or more, else it goes."""

    def __init__(self, shown: RichProgress, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._shown = shown
        self._clock = clock
        self._task: TaskID | None = None
        self._began = 0.0

    def start(self, what: str, total: int | None = None) -> None:
        """Begin a named piece of work; ends the one before."""
        self.finish()
        self._began = self._clock()
        self._task = self._shown.add_task(what, total=total, note="")

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Move the bar."""
        if self._task is not None:
            self._shown.update(self._task, advance=steps, note=note)

    def finish(self) -> None:
        """End the work at hand."""
        if self._task is None:
            return
        task = self._shown.tasks[self._shown.task_ids.index(self._task)]
        if self._clock() - self._began < _SHORT:
            self._shown.remove_task(self._task)
        else:
            total = task.total or task.completed or 1
            self._shown.update(self._task, total=total, completed=total)
            self._shown.stop_task(self._task)
        self._task = None


class Heeding:
    """Progress at whose next step a Ctrl-C is raised again, should a library have swallowed it.

    Compiled code that calls back into Python, as LLVM does for numba, prints the exception and goes on.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._asked = False

    def interrupt(self, number: int, frame: FrameType | None) -> None:
        """Handle SIGINT."""
        self._asked = True
        raise KeyboardInterrupt

    def start(self, what: str, total: int | None = None) -> None:
        """Begin a named piece of work."""
        self._heed()
        self._progress.start(what, total)

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Count steps."""
        self._heed()
        self._progress.advance(steps, note)

    def _heed(self) -> None:
        if self._asked:
            raise KeyboardInterrupt


@contextmanager
def heeding(progress: Progress) -> Generator[Progress]:
    """Give the progress by which no Ctrl-C is lost; signals reach the main thread alone."""
    given = Heeding(progress)
    if threading.current_thread() is not threading.main_thread():
        yield given
        return
    before = signal.signal(signal.SIGINT, given.interrupt)
    try:
        yield given
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def shown(console: Console) -> Generator[Progress]:
    """Give the progress that fits the console: bars when a person watches it, plain lines otherwise."""
    if not console.is_terminal:
        lines = Lines(lambda text: console.print(text, markup=False, highlight=False, soft_wrap=True))
        with heeding(lines) as heeded:
            yield heeded
        lines.finish()
        return
    columns = (
        SpinnerColumn(finished_text=" "),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with RichProgress(*columns, console=console) as rich:
        bars = Bars(rich)
        with heeding(bars) as heeded:
            yield heeded
        bars.finish()


def _noted(note: str) -> str:
    return f", {note}" if note else ""
