"""The command simulate: the cold start against frozen baselines, on users simulated from your data."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from penchant.cli.session import Folder, Json, Session, can_be_folder, session

if TYPE_CHECKING:
    from penchant.simulation.result import Simulation

_REPORT, _CARD = "report.html", "simulation.json"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("simulate")(simulate)


def simulate(
    context: typer.Context,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the files go.")],
    category: Annotated[
        str | None, typer.Option(help="The item column of categories. [default: from settings, else topics]")
    ] = None,
    days: Annotated[
        float | None, typer.Option(help="How long the simulated time is. [default: what is left]")
    ] = None,
    seeds: Annotated[int | None, typer.Option(help="How many repetitions, at least 2. [default: 5]")] = None,
    new_users: Annotated[
        int | None,
        typer.Option("--new-users", help="How many users begin new. [default: 1000]"),
    ] = None,
    least_events: Annotated[
        int | None,
        typer.Option("--least-events", help="How many events tell a user's taste. [default: 10]"),
    ] = None,
    folder: Folder = None,
    json: Json = False,
) -> None:
    """Compare cold-start feeds on simulated users.

    Two models of how people answer are fitted on the interactions; what they say is simulated, never
    measured. Writes report.html and simulation.json.
    """
    from penchant.kernel.folders import write_atomically
    from penchant.reports.page import write_page
    from penchant.reports.simulate import simulation_report
    from penchant.simulation.run import simulate as run
    from penchant.simulation.settings import settings_of

    here = session(context, folder, json=json)
    asked: dict[str, Any] = {
        "days": days,
        "seeds": seeds,
        "new_users": new_users,
        "least_events": least_events,
    }
    settings = settings_of(asked)
    can_be_folder(out)
    with here.workspace() as workspace, here.progress() as progress:
        snapshot = workspace.snapshot(progress=progress)
        personas = workspace.settings.personas
        column = category or personas.category
        known = column in snapshot.item_table.column_names[1:]
        found = run(
            snapshot,
            settings,
            category=column if known or category else None,
            columns=tuple(personas.columns),
            seed=workspace.settings.workspace.seed,
            progress=progress,
        )
    import msgspec

    write_page(out / _REPORT, simulation_report(found, title="Simulation of the cold start"))
    write_atomically(out / _CARD, msgspec.json.format(msgspec.json.encode(found), indent=2))
    here.answer(found, lambda: _show(here, found, out))


def _show(here: Session, found: "Simulation", out: Path) -> None:
    from penchant.simulation.result import FEEDS

    here.say("Simulated, not measured: answers follow models fitted on your data. New users:")
    first = found.fits[0].model
    rows: list[list[str]] = []
    for feed, words in FEEDS.items():
        reward = found.level(first, feed, "new", "reward").value
        minutes = f"{found.level(first, feed, 'new', 'minutes').value:.2f}" if found.timed else "-"
        rows.append([words, f"{reward:.1%}", minutes])
    here.table(["feed", "liked of looked at", "minutes a visit"], rows, right=(1, 2))
    for sentence in found.sentences():
        here.say(sentence)
    here.say(f"Report: {out / _REPORT}")
