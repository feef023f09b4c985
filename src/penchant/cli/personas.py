"""The command personas: clusters of users with a readable profile, and whether they mean anything."""

import csv
import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from penchant.cli.session import Folder, Json, Session, can_be_folder, session
from penchant.kernel.errors import InputError

if TYPE_CHECKING:
    from penchant.data.snapshot import Snapshot
    from penchant.kernel.progress import Progress
    from penchant.personas.analysis import Personas
    from penchant.personas.settings import PersonaSettings
    from penchant.workspace.personas import ServedPersonas
    from penchant.workspace.service import Workspace

_NOT_SERVED = (
    "These groups were found for this report and nobody is served by them. A trained recipe 'lookalike' has "
    "personas that are served; without --k and --space those are described."
)
_USERS, _MATRIX, _REPORT, _CARD = "users.csv", "behaviour.csv", "report.html", "personas.json"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("personas")(personas)


def personas(
    context: typer.Context,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the files go.")],
    k: Annotated[
        str | None, typer.Option("--k", help="Find so many groups anew, or auto: the elbow chooses.")
    ] = None,
    space: Annotated[
        str | None, typer.Option(help="Find groups anew: of attributes, or of behaviour.")
    ] = None,
    category: Annotated[
        str | None, typer.Option(help="The item column that behaviour is summed by. [default: from settings]")
    ] = None,
    days: Annotated[float | None, typer.Option(help="The window of behaviour, in days.")] = None,
    model: Annotated[
        str | None,
        typer.Option(help="The trained recipe whose personas are described. [default: the first with any]"),
    ] = None,
    folder: Folder = None,
    json: Json = False,
) -> None:
    """Describe the personas, and check what they are worth.

    Described are the personas of the trained recipe lookalike, by the ids they are served by. Without one, or
    with --k or --space, groups are found as [personas] says; their ids are kept from the files of an earlier
    run in the same folder where the groups match. Checked is whether groups behave differently. Groups of
    behaviour are checked as they serve somebody new, placed by attributes, and beside them as many groups of
    attributes.

    Writes report.html, personas.json, users.csv (user_id, persona) and behaviour.csv.
    """
    from penchant.kernel.folders import write_atomically
    from penchant.reports.page import write_page
    from penchant.reports.personas import persona_report
    from penchant.workspace.personas import served_losses, served_personas

    given: dict[str, Any] = {"space": _space(space), "category": category, "days": days}
    asked = {name: value for name, value in given.items() if value is not None}
    if k is not None:
        asked["k"] = _number(k)
    anew = k is not None or space is not None
    if anew and model is not None:
        raise InputError("--model names personas that are served, --k and --space find others: give one.")
    can_be_folder(out)
    here = session(context, folder, json=json)
    with here.workspace() as workspace, here.progress() as progress:
        settings = workspace.settings.personas.but(asked)
        served = None if anew else served_personas(workspace.registry, model)
        known = None if served is None else _served(workspace, settings, served, progress)
        found, snapshot = known or _anew(workspace, settings, out, progress)
        losses = served_losses(workspace.registry)
    write_page(out / _REPORT, persona_report(found, title="Personas"))
    write_atomically(out / _USERS, _users_csv(found, snapshot))
    if found.matrix is not None:
        write_atomically(out / _MATRIX, _matrix_csv(found))
    document = _document(found) | {
        "served": served.name if served is not None and known is not None else None,
        "served_losses": losses,
    }
    write_atomically(out / _CARD, msgspec.json.format(msgspec.json.encode(document), indent=2))
    here.answer(document, lambda: _show(here, found, losses, out))


def _served(
    workspace: "Workspace", settings: "PersonaSettings", served: "ServedPersonas", progress: "Progress"
) -> "tuple[Personas, Snapshot] | None":
    """Describe the personas that are served; None when the model does not tell where its users stand."""
    from penchant.kernel.seeds import derive
    from penchant.personas.analysis import describe_personas
    from penchant.personas.served import grouping_of

    grouping = grouping_of(served.name, served.model, served.ids, served.snapshot)
    if grouping is None:
        return None
    progress.start("personas", 2)
    rng = derive(workspace.settings.workspace.seed, "personas")
    found = describe_personas(served.snapshot, grouping, settings, rng=rng, progress=progress)
    return found, served.snapshot


def _anew(
    workspace: "Workspace", settings: "PersonaSettings", out: Path, progress: "Progress"
) -> "tuple[Personas, Snapshot]":
    """Find groups in what a training would learn from now; nobody is served by them."""
    from penchant.kernel.seeds import derive
    from penchant.personas.analysis import find_personas

    snapshot = workspace.learnt_from(progress=progress)
    rng = derive(workspace.settings.workspace.seed, "personas")
    previous = _previous(out / _USERS)
    found = find_personas(snapshot, settings, rng=rng, progress=progress, previous=previous)
    return replace(found, notes=(_NOT_SERVED, *found.notes)), snapshot


def _number(k: str) -> int | None:
    if k == "auto":
        return None
    if not k.isdecimal() or int(k) < 2:
        raise InputError(f"--k is a whole number from 2 up, or auto; got '{k}'.")
    return int(k)


def _space(space: str | None) -> str | None:
    if space not in (None, "attributes", "behaviour"):
        raise InputError(f"--space is attributes or behaviour; got '{space}'.")
    return space


def _previous(path: Path) -> Mapping[str, int] | None:
    if not path.exists():
        return None
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        try:
            return {row["user_id"]: int(row["persona"]) for row in rows}
        except (KeyError, ValueError, TypeError):
            raise InputError(
                "not a file that an earlier run wrote (user_id, persona).",
                where=str(path),
                fix="Choose another --out, or remove the file to number personas anew.",
            ) from None


def _users_csv(found: "Personas", snapshot: "Snapshot") -> bytes:
    ids = snapshot.users.to_arrow().to_pylist()
    return _csv(
        ["user_id", "persona"], [[i, int(n)] for i, n in zip(ids, found.labels, strict=True) if n >= 0]
    )


def _matrix_csv(found: "Personas") -> bytes:
    matrix = found.matrix
    if matrix is None:
        return b""
    rows = [
        [p.id, category, f"{matrix.mean[p.id, j]:.6g}", f"{matrix.median[p.id, j]:.6g}"]
        for p in found.personas
        for j, category in enumerate(matrix.categories)
    ]
    return _csv(["persona", "category", "mean", "median"], rows)


def _csv(header: list[str], rows: list[list[Any]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().encode()


def _document(found: "Personas") -> dict[str, Any]:
    return {
        "personas": found.personas,
        "check": found.check,
        "holds": found.check.holds if found.check is not None else None,
        "sentences": found.sentences(),
        "space": found.space,
        "kept": found.kept,
        "attribute_check": found.rival,
        "elbow": found.elbow,
        "used": found.used,
        "notes": found.notes,
    }


def _show(here: Session, found: "Personas", losses: dict[str, dict[str, float]], out: Path) -> None:
    here.say("Attributes used: " + "; ".join(f"{name} ({how})" for name, how in found.used.items()) + ".")
    rows = [[str(p.id), p.name, f"{p.users:,}", f"{p.share:.0%}"] for p in found.personas]
    here.table(["persona", "name", "users", "share"], rows, right=(0, 2, 3))
    for sentence in found.sentences():
        here.say(sentence)
    for note in found.notes:
        here.say(note)
    for name, lost in losses.items():
        new, known = (round(-lost[side], 4) + 0.0 for side in ("new", "known"))
        here.say(
            f"A persona's feed by '{name}' instead of one's own changes NDCG at 20 by {new:+.4f} for people "
            f"without a history and by {known:+.4f} for known ones (replay at training)."
        )
    here.say(f"Report: {out / _REPORT}")
