"""The command communities: who belongs together in the follow graph, and what it is worth to know it."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from penchant.cli.session import Folder, Json, Session, session
from penchant.kernel.errors import InputError

if TYPE_CHECKING:
    from penchant.data.snapshot import Snapshot
    from penchant.evaluation.follow_study import FollowStudy
    from penchant.workspace.service import Workspace

_USERS, _REPORT, _CARD = "users.csv", "report.html", "communities.json"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("communities")(communities)


def communities(
    context: typer.Context,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the files go.")],
    resolution: Annotated[
        float | None, typer.Option(help="More makes smaller communities. [default: from settings]")
    ] = None,
    k: Annotated[int, typer.Option("--k", min=1, help="The length of the lists that are compared.")] = 20,
    folder: Folder = None,
    json: Json = False,
) -> None:
    """Find communities among those who follow each other.

    Measures on held-out data whether they are real, whether they last, and whether knowing them, or giving
    places to followed authors, makes recommendations better.

    Writes report.html, communities.json and users.csv (user_id, community). Numbers are kept from the files
    of an earlier run in the same folder.
    """
    from penchant.evaluation.follow_study import study_follows
    from penchant.kernel.folders import write_atomically
    from penchant.reports.communities import community_report
    from penchant.reports.page import write_page

    here = session(context, folder, json=json)
    with here.workspace() as workspace, here.progress() as progress:
        snapshot = workspace.snapshot(progress=progress)
        settings = workspace.settings.graph
        if resolution is not None:
            settings = _replaced(settings, resolution)
        study = study_follows(
            snapshot,
            settings,
            recipe=_recipe(workspace),
            author=workspace.settings.data.author,
            k=k,
            seed=workspace.settings.workspace.seed,
            progress=progress,
            previous=_previous(out / _USERS),
        )
    write_page(out / _REPORT, community_report(study, title="Communities"))
    write_atomically(out / _USERS, _users_csv(study, snapshot))
    document = _document(study)
    write_atomically(out / _CARD, msgspec.json.format(msgspec.json.encode(document), indent=2))
    here.answer(document, lambda: _show(here, study, out))


def _replaced(settings: Any, resolution: float) -> Any:
    try:
        return msgspec.structs.replace(settings, resolution=resolution)
    except ValueError as error:
        raise InputError(str(error), where="--resolution") from None


def _recipe(workspace: "Workspace") -> Any:
    """Return the workspace's recipe that reads what is known of users, or that recipe as it comes."""
    from penchant.models.lookalike import Lookalike

    found = (recipe for recipe in workspace.settings.recipes.values() if isinstance(recipe, Lookalike))
    return next(found, Lookalike(event_weights=workspace.settings.data.event_weights))


def _previous(path: Path) -> Mapping[str, int] | None:
    if not path.exists():
        return None
    with path.open(newline="", encoding="utf-8") as file:
        try:
            return {row["user_id"]: int(row["community"].removeprefix("c")) for row in csv.DictReader(file)}
        except (KeyError, ValueError, TypeError, AttributeError):
            raise InputError(
                "not a file that an earlier run wrote (user_id, community).",
                where=str(path),
                fix="Choose another --out, or remove the file to number communities anew.",
            ) from None


def _users_csv(study: "FollowStudy", snapshot: "Snapshot") -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["user_id", "community"])
    ids = snapshot.users.to_arrow().to_pylist()
    labels = study.communities.labels.tolist()
    writer.writerows([id_, f"c{label}"] for id_, label in zip(ids, labels, strict=True) if label >= 0)
    return text.getvalue().encode()


def _document(study: "FollowStudy") -> dict[str, Any]:
    from penchant.reports.communities import findings

    return {
        "users": study.graph.n_users,
        "follows": study.graph.n_follows,
        "method": study.communities.method,
        "communities": {f"c{number}": users for number, users in study.communities.sizes().items()},
        "modularity": study.communities.modularity,
        "silhouette": study.silhouette,
        "methods": study.methods,
        "kept_after_a_few_changes": study.kept_changed,
        "kept_when_found_from_nothing": study.kept_again,
        "behaviour": study.behaviour,
        "comparisons": study.comparisons,
        "findings": [finding.what for finding in findings(study)],
        "notes": study.notes,
    }


def _show(here: Session, study: "FollowStudy", out: Path) -> None:
    from penchant.reports.communities import findings

    sizes = study.communities.sizes()
    here.say(
        f"{len(sizes):,} communities of {sum(sizes.values()):,} users, modularity "
        f"{study.communities.modularity:.2f}; {study.kept_changed:.1%} keep their number when a few follows "
        "change."
    )
    for finding in findings(study):
        here.say(finding.what)
    for note in study.notes:
        here.say(note)
    here.say(f"Report: {out / _REPORT}")
