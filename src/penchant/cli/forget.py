"""The command that forgets people."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from penchant.cli.session import Folder, Json, Session, session
from penchant.kernel.errors import InputError

if TYPE_CHECKING:
    from penchant.workspace.forgetting import Receipt


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("forget")(forget)


def forget(
    context: typer.Context,
    users: Annotated[list[str] | None, typer.Argument(metavar="USER", help="Ids of users.")] = None,
    file: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="A CSV file with a column user_id; may be repeated."),
    ] = None,
    folder: Folder = None,
    json: Json = False,
) -> None:
    """Take people out for good: log, snapshots, models.

    Models that are served are trained again without them.

    A run that was stopped has done all or nothing. The receipt in the folder receipts says which files were
    rewritten; it names nobody. Files that you made elsewhere, such as exported audiences, are not touched.
    """
    here = session(context, folder, json=json)
    named = [*(users or ()), *(user for path in file or () for user in _listed(path))]
    if not named:
        raise InputError("nobody is named.", fix="Give users, or --file with a list of them.")
    with here.workspace() as workspace, here.progress() as progress:
        receipt = workspace.forget(named, progress=progress)
    here.answer(receipt, lambda: _show(here, receipt))


def _listed(path: Path) -> list[str]:
    import csv

    if not path.is_file():
        raise InputError("there is no such file.", where=str(path))
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        column = next((name for name in reader.fieldnames or () if name.lower() == "user_id"), None)
        if column is None:
            raise InputError("the file has no column user_id.", where=str(path))
        return [row[column] for row in reader if row[column]]


def _show(here: Session, receipt: "Receipt") -> None:
    if not receipt.events:
        here.say("Nothing in the log named them.")
        return
    files, others = len(receipt.files), len(receipt.removed)
    told = ", ".join(f"{count:,} {kind}" for kind, count in receipt.events.items())
    here.say(f"Removed of {receipt.people:,} people: {told}.")
    here.say(f"{files} files of the log were written anew, {others} other files or folders removed.")
    here.say(f"{len(receipt.models)} models were trained again without them.")
