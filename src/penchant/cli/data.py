"""Commands about data: init, import, check."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from penchant.cli.session import Folder, Json, Session, session
from penchant.kernel.errors import InputError

if TYPE_CHECKING:
    from penchant.data.importing import ImportSummary
    from penchant.data.insights import Insight
    from penchant.data.snapshot import Snapshot


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("init")(init)
    app.command("import")(import_)
    app.command("check")(check)


def init(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to make.")],
    json: Json = False,
) -> None:
    """Make a workspace: a folder with a commented penchant.toml."""
    from penchant.workspace.service import Workspace

    here = session(context, folder, json=json)
    workspace = Workspace.init(folder)
    workspace.close()
    made = folder / "penchant.toml"
    here.answer(
        {"folder": str(folder), "settings": str(made)},
        lambda: here.say(f"Made {made}. Next: penchant -C {folder} import --interactions FILE"),
    )


def import_(
    context: typer.Context,
    users: Annotated[list[Path] | None, typer.Option(metavar="FILE", help="Users; may be repeated.")] = None,
    items: Annotated[list[Path] | None, typer.Option(metavar="FILE", help="Items; may be repeated.")] = None,
    interactions: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="Interactions; may be repeated.")
    ] = None,
    follows: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="Follows; may be repeated.")
    ] = None,
    actions: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="Actions; may be repeated.")
    ] = None,
    action_interactions: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="Responses to actions; may be repeated.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse the import when a single row is bad.")
    ] = False,
    folder: Folder = None,
    json: Json = False,
) -> None:
    """Read files into the event log.

    Files are CSV, Parquet or JSONL, or folders of Parquet files.

    An import is all or nothing and may be repeated: rows that are there already are counted, not doubled.
    Bad rows go to a quarantine file with their row number and the reason. A table of nothing but bad rows is
    an error.
    """
    here = session(context, folder, json=json)
    if not (users or items or interactions or follows or actions or action_interactions):
        raise InputError(
            "nothing to import.", fix="Give --users, --items or --interactions with a file; see --help."
        )
    with here.workspace() as workspace, here.progress() as progress:
        summary = workspace.import_files(
            users=users or (),
            items=items or (),
            interactions=interactions or (),
            follows=follows or (),
            actions=actions or (),
            action_interactions=action_interactions or (),
            strict=strict,
            progress=progress,
        )
    here.answer(summary, lambda: show_import(here, summary))
    for table in summary.tables:
        if table.read and sum(table.rejected.values()) == table.read:
            raise InputError(
                f"no row of {table.table} can be used.", fix=f"Each row's reason is in {table.quarantine}."
            )


def check(context: typer.Context, folder: Folder = None, json: Json = False) -> None:
    """Say what is odd in the data, and what to do.

    Exit code 1 when something is a problem, 0 otherwise.
    """
    here = session(context, folder, json=json)
    with here.workspace() as workspace, here.progress() as progress:
        snapshot = workspace.snapshot(progress=progress)
        found = workspace.check(snapshot)

    def words() -> None:
        here.say(extent(snapshot))
        show_insights(here, found)

    here.answer(found, words)
    if any(insight.level == "problem" for insight in found):
        raise typer.Exit(1)


def show_import(here: Session, summary: "ImportSummary") -> None:
    """Print what an import did."""
    for sentence in summary.sentences():
        here.say(sentence)


def extent(snapshot: "Snapshot") -> str:
    """Say how much data there is, and from when."""
    events = snapshot.interactions
    said = f"{snapshot.n_users:,} users, {snapshot.n_items:,} items, {len(events):,} interactions"
    if not len(events):
        return f"{said}."
    first, last = (datetime.fromtimestamp(events.timestamp[i], UTC).date() for i in (0, -1))
    return f"{said} from {first} to {last}."


def show_insights(here: Session, found: "Sequence[Insight]") -> None:
    """Print insights, each with what to do about it."""
    if not found:
        here.say("Nothing is wrong or noteworthy.")
    for insight in found:
        here.say(f"{insight.level}: {insight.what}")
        if insight.what_to_do:
            here.say(f"    {insight.what_to_do}")
