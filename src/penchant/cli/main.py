"""The command ``penchant``: one Typer application, one place where errors become exit codes.

Exit codes: 0 done, 1 failed, 2 bad input, 130 stopped by Ctrl-C. An expected error is one plain sentence on
stderr; an unexpected one leaves its traceback in a file (or on stderr with ``--debug``).
"""

import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from penchant import __version__
from penchant.cli import (
    actions,
    audience,
    communities,
    data,
    demo,
    doctor,
    feeds,
    forget,
    models,
    personas,
    server,
    simulate,
)
from penchant.cli.session import Root
from penchant.kernel.errors import PenchantError

STOPPED = 130
COMMANDS = (
    demo,
    data,
    models,
    feeds,
    actions,
    audience,
    personas,
    communities,
    simulate,
    forget,
    server,
    doctor,
)
"""The modules of commands, in the order of the help. Each has ``register(app)``; a new group goes here."""


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"penchant {__version__}")
        raise typer.Exit


def _root(
    context: typer.Context,
    folder: Annotated[
        Path | None,
        typer.Option("-C", metavar="DIR", help="The workspace folder.", show_default="this folder"),
    ] = None,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an unexpected error.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Personalization that a small team owns and runs: feeds, audiences and personas."""
    context.obj = Root(folder=folder, debug=debug)


def build() -> typer.Typer:
    """Return the application with all commands."""
    app = typer.Typer(
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for module in COMMANDS:
        module.register(app)
    return app


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    try:
        code = build()(list(arguments), prog_name="penchant", standalone_mode=False)
    except PenchantError as error:
        return _fail(str(error), error.exit_code)
    except typer.TyperException as error:
        return _fail(_usage(error), error.exit_code)
    except KeyboardInterrupt:
        code = STOPPED
    except (typer.Abort, BrokenPipeError):
        return _fail("", 1)
    except OSError as error:
        return _fail(_system(error), 1)
    except Exception:  # noqa: BLE001  the one place where anything unforeseen ends
        return _fail(_unforeseen("--debug" in arguments), 1)
    if code == STOPPED:
        _fail("Stopped. What was finished is kept; the same command goes on from there.", STOPPED)
    return code if isinstance(code, int) else 0


def main() -> None:
    """Run the command line and exit."""
    code = run(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, such as `head`, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def _fail(sentence: str, code: int) -> int:
    if sentence:
        sys.stderr.write(f"{sentence}\n")
    return code


def _usage(error: typer.TyperException) -> str:
    context: typer.Context | None = getattr(error, "ctx", None)
    message = error.format_message()
    where = context.command_path if context else "penchant"
    end = "" if message.endswith((".", "?")) else "."
    return f"{message}{end} See `{where} --help`." if message else ""


def _system(error: OSError) -> str:
    place = f"{error.filename}: " if error.filename else ""
    return f"{place}{error.strerror or error}."


def _unforeseen(debug: bool) -> str:
    text = traceback.format_exc()
    if debug:
        return text.rstrip()
    handle, path = tempfile.mkstemp(prefix="penchant-error-", suffix=".log", text=True)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    return f"An unexpected error, a defect of Penchant: {text.strip().splitlines()[-1]} (details: {path})"


if __name__ == "__main__":
    main()
