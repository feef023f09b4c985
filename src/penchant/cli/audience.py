"""The command audience: grow a seed list, say how good the result is, write what an ad platform accepts."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from penchant.cli.session import Folder, Json, Session, session

if TYPE_CHECKING:
    from penchant.audiences.config import Audience


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("audience")(audience)


def audience(
    context: typer.Context,
    seeds: Annotated[Path, typer.Argument(metavar="SEEDS.csv", help="A file of user ids, one a line.")],
    size: Annotated[int, typer.Option("--size", help="How many people to find.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the files go.")],
    method: Annotated[str, typer.Option(help="auto, coupang, embedding, trees, linear or taste.")] = "auto",
    model: Annotated[
        str, typer.Option(metavar="RECIPE", help="embedding: a trained model's space of users, not taste.")
    ] = "",
    max_features: Annotated[
        int, typer.Option(help="How many features to report, or for coupang to use.")
    ] = 20,
    threshold: Annotated[float, typer.Option(help="coupang: the least divergence of a feature.")] = 0.05,
    focus: Annotated[float, typer.Option(help="coupang: the power of the divergence in the weights.")] = 1.0,
    distance: Annotated[str, typer.Option(help="coupang: euclidean, cosine or mahalanobis.")] = "euclidean",
    where: Annotated[
        str, typer.Option(help="A filter that candidates must pass: INCLUDE UserID WHERE Users.X = ...")
    ] = "",
    exclude: Annotated[
        list[Path] | None, typer.Option(help="A file of people to leave out; may be repeated.")
    ] = None,
    hide: Annotated[
        list[str] | None,
        typer.Option(help="A category or feature (cto*) that the list was made by; may be repeated."),
    ] = None,
    category: Annotated[
        str, typer.Option(help="The item column of categories; empty for none.")
    ] = "category",
    fine: Annotated[str | None, typer.Option(help="The item column of the finest useful groups.")] = None,
    days: Annotated[float, typer.Option(help="The window of activity, in days.")] = 365.0,
    profile: Annotated[
        list[str] | None, typer.Option(help="A user column to use as a feature; may be repeated.")
    ] = None,
    protect: Annotated[
        list[str] | None, typer.Option(help="A user column to report bias for; may be repeated.")
    ] = None,
    holdout: Annotated[
        float, typer.Option(help="Share to hold out at random, to measure the lift later.")
    ] = 0.0,
    export: Annotated[
        list[str] | None, typer.Option(help="meta, google, tiktok or csv; may be repeated.")
    ] = None,
    country_code: Annotated[str, typer.Option(help="Dialling code of phones without one, such as 44.")] = "",
    plain: Annotated[bool, typer.Option("--plain", help="Let contact data leave unhashed.")] = False,
    include_seeds: Annotated[bool, typer.Option("--include-seeds", help="Seeds may be chosen too.")] = False,
    previous: Annotated[
        Path | None, typer.Option(metavar="DIR", help="An earlier run, to measure drift against.")
    ] = None,
    store: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Work out of core, with a store of features kept here.")
    ] = None,
    tables: Annotated[
        Path | None,
        typer.Option("--from-tables", metavar="DIR", help="Parquet tables instead of the workspace's data."),
    ] = None,
    seed: Annotated[int, typer.Option(help="The seed of all randomness.")] = 0,
    folder: Folder = None,
    json: Json = False,
) -> None:
    """Grow a seed list into the people most like it.

    With the reasons and a measured quality.

    Writes audience.csv (user_id, score, rank), top_features.csv, features.csv, card.json and report.html;
    unknown_ids.csv, holdout.csv and the exported files where they apply.
    """
    from penchant.audiences.seeds import read_ids
    from penchant.kernel.errors import InputError
    from penchant.reports.audience_run import order_of, run_audience
    from penchant.workspace.people import people_of, people_of_tables

    if tables is not None and store is None:
        raise InputError("--from-tables needs a place for the store.", fix="Say where: --store DIR.")
    if tables is not None and model:
        raise InputError("--from-tables has no trained model.", fix="Leave out --model.")

    settings: dict[str, Any] = {
        "size": size,
        "method": method,
        "features": {"category": category, "window_days": days, "profile": profile or []},
        "fine": fine,
        "hide": hide or [],
        "max_features": max_features,
        "threshold": threshold,
        "focus": focus,
        "distance": distance,
        "include_seeds": include_seeds,
        "protected": protect or [],
    }
    order = order_of(
        {
            "config": settings,
            "where": where,
            "model": model,
            "holdout": holdout,
            "export": export or [],
            "country_code": country_code,
            "plain": plain,
            "seed": seed,
        }
    )
    given = read_ids(seeds)
    lists = {path.stem: read_ids(path) for path in exclude or []}
    here = session(context, folder, json=json)
    with ExitStack() as stack:
        progress = stack.enter_context(here.progress())
        features = order.config.features
        if tables is not None and store is not None:
            people = people_of_tables(tables, store, features, progress=progress)
        else:
            workspace = stack.enter_context(here.workspace())
            people = people_of(workspace, features, model=model, store=store, progress=progress)
        found, written = run_audience(
            people, order, given, out, exclude=lists, previous=previous, progress=progress
        )
    here.answer({"files": written, "card": found.card}, lambda: _show(here, found, out, written))


def _show(here: Session, found: "Audience", out: Path, written: list[str]) -> None:
    card, quality = found.card, found.card.quality
    here.heading(f"{len(found):,} people like the {card.seeds:,} seeds")
    here.say(
        f"Held-out AUC {quality.auc.value:.3f} ({quality.auc.low:.3f} to {quality.auc.high:.3f}); "
        f"among people who spend alike {quality.auc_within_spend.value:.3f}. 0.5 is chance."
    )
    for finding in card.findings:
        here.say(f"{finding.level}: {finding.what} {finding.todo}".rstrip())
    rows = [
        [t.feature, t.category, f"{t.js_div:.3f}", f"{t.log_odds:+.2f}", f"{t.support:,}"]
        for t in card.top[:10]
    ]
    here.table(["feature", "category", "JS", "log-odds", "seeds"], rows, right=(2, 3, 4))
    here.say(f"Written to {out}: {', '.join(written)}")
