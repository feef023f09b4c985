"""What every command shares: the workspace folder, the two ways to answer, progress, numbers for people."""

import os
import signal
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Annotated, TypeAlias, cast

import typer

from penchant.kernel.errors import InputError
from penchant.kernel.progress import Progress

if TYPE_CHECKING:  # at run time imported when a command needs them: `penchant --help` must not wait
    from rich.console import Console

    from penchant.workspace.service import Workspace

Folder: TypeAlias = Annotated[
    Path | None, typer.Option("-C", metavar="DIR", help="The workspace folder.", show_default="this folder")
]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Answer in JSON, for machines.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """The options before the command's name."""

    folder: Path | None
    debug: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One command's run: answers go to stdout, everything else to stderr."""

    folder: Path
    json: bool
    out: "Console"
    err: "Console"

    @contextmanager
    def workspace(self) -> "Generator[Workspace]":
        """Open the workspace and close it in the end."""
        with plainly_stopped():
            from penchant.workspace.service import Workspace

        opened = Workspace.open(self.folder)
        try:
            yield opened
        finally:
            opened.close()

    def progress(self) -> AbstractContextManager[Progress]:
        """Show progress on stderr while the block runs."""
        from penchant.cli.progress import shown

        return shown(self.err)

    def answer(self, value: object, words: Callable[[], None]) -> None:
        """Print ``value`` as one JSON document, or else let ``words`` print for people."""
        import msgspec

        if self.json:
            self.out.file.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")
        else:
            words()

    def say(self, text: str = "", *, exact: bool = False) -> None:
        """Print plain text; on a terminal long lines end between words unless ``exact``, as for commands."""
        if self.out.is_terminal and not exact:
            text = "\n".join(folded(line, self.out.width) for line in text.split("\n"))
        self.out.print(text, markup=False, highlight=False, soft_wrap=True)

    def heading(self, text: str) -> None:
        """Print a line that stands out on a terminal."""
        self.out.print(text, markup=False, highlight=False, style="bold", soft_wrap=True)

    def note(self, text: str) -> None:
        """Print a remark that is not part of the answer."""
        self.err.print(text, markup=False, highlight=False, soft_wrap=True)

    def table(
        self, columns: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()
    ) -> None:
        """Print a table; ``right`` are the columns of numbers."""
        from rich.table import Table

        grid = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
        for i, name in enumerate(columns):
            grid.add_column(name, justify="right" if i in right else "left", overflow="fold")
        for row in rows:
            grid.add_row(*(cell.replace("[", r"\[") for cell in row))
        self.out.print(grid, highlight=False)


@contextmanager
def plainly_stopped() -> Generator[None]:
    """Let Ctrl-C end the process at once: libraries abort at an exception while they are imported."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def session(context: typer.Context, folder: Path | None = None, *, json: bool = False) -> Session:
    """Return the session of a command: its own ``-C`` counts before the one ahead of its name."""
    from rich.console import Console

    root = cast("Root | None", context.obj)
    chosen = folder or (root.folder if root else None) or Path()
    width = None if Console().is_terminal else 160
    return Session(folder=chosen, json=json, out=Console(width=width), err=Console(stderr=True, width=width))


def can_be_folder(path: Path) -> None:
    """Refuse a place for files where no folder can be made, before the work rather than after it.

    Raises:
        InputError: the path or one above it is a file, or may not be written to.
    """
    above = next(each for each in (path.absolute(), *path.absolute().parents) if each.exists())
    if not above.is_dir():
        raise InputError("this is a file, not a folder.", where=str(above), fix="Name another folder.")
    if not os.access(above, os.W_OK | os.X_OK):
        raise InputError("this folder may not be written to.", where=str(above), fix="Name another folder.")


def folded(line: str, width: int) -> str:
    """Return a line in pieces of at most ``width`` characters, all as far to the right as it began."""
    if len(line) <= width:
        return line
    indent = line[: len(line) - len(line.lstrip())]
    return fill(line.strip(), width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)


def number(value: float | None, digits: int = 4) -> str:
    """Return a number for people: whole ones with thousands separated, others to ``digits`` digits."""
    if value is None or value != value:
        return "-"
    if isinstance(value, int) or abs(value) >= 1e6:
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


def seconds(value: float) -> str:
    """Return a duration for people."""
    return f"{value:.2f} s" if value < 10 else f"{value:.0f} s"
