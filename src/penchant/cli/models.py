"""Commands about models: train, evaluate, tune."""

from typing import TYPE_CHECKING, Annotated

import typer

from penchant.cli.session import Folder, Json, Session, number, seconds, session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from penchant.evaluation.tuning import Trial
    from penchant.models.base import Card, Recipe


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("train")(train)
    app.command("evaluate")(evaluate)
    app.command("tune")(tune)


def train(
    context: typer.Context,
    recipes: Annotated[
        list[str] | None, typer.Argument(metavar="RECIPE", help="Names from penchant.toml; all by default.")
    ] = None,
    folder: Folder = None,
    json: Json = False,
) -> None:
    """Train recipes and serve them from then on.

    All train on one snapshot of the log.

    A run that was stopped goes on where it was: recipes that finished are not trained again.
    """
    here = session(context, folder, json=json)
    with here.workspace() as workspace, here.progress() as progress:
        cards = workspace.train(recipes or (), progress=progress)
        names = recipes or list(workspace.settings.recipes)
    here.answer(dict(zip(names, cards, strict=True)), lambda: show_cards(here, names, cards))


def evaluate(
    context: typer.Context,
    protocol: Annotated[
        str | None,
        typer.Option(
            metavar="time|last|user",
            help="time: one cut for all; last: each user's last one; user: users unknown to the model.",
            show_default="[evaluation] in penchant.toml",
        ),
    ] = None,
    folder: Folder = None,
    json: Json = False,
) -> None:
    """Compare all recipes on held-out interactions.

    The popularity baselines are always among them.
    """
    here = session(context, folder, json=json)
    with here.workspace() as workspace, here.progress() as progress:
        board = workspace.evaluate(protocol, progress=progress)
    here.answer(board, lambda: here.say(board.text(here.out.width)))


def tune(
    context: typer.Context,
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A name from penchant.toml.")],
    trials: Annotated[int, typer.Option(help="How many settings to try, the present one first.")] = 20,
    protocol: Annotated[
        str | None,
        typer.Option(metavar="time|last|user", show_default="[evaluation] in penchant.toml"),
    ] = None,
    folder: Folder = None,
    json: Json = False,
) -> None:
    """Search better settings for a recipe.

    Each is trained and measured on a validation part; the test part that `evaluate` uses is not looked at.
    Needs the extra "tune". Nothing is changed: the best settings are printed for penchant.toml.
    """
    here = session(context, folder, json=json)
    with here.workspace() as workspace, here.progress() as progress:
        found = workspace.tune(recipe, trials=trials, protocol=protocol, progress=progress)
        now = workspace.settings.recipes[recipe]
    here.answer(found, lambda: show_trials(here, recipe, now, found))


def show_trials(here: Session, name: str, recipe: "Recipe", found: "Sequence[Trial]") -> None:
    """Print the best trials and the lines for penchant.toml."""
    from json import dumps

    best = found[0].fields
    present = {field: getattr(recipe, field) for field in best}
    before = next(trial.value for trial in found if trial.fields == present)
    here.say(f"Best on validation: {found[0].value:.4f}; as configured: {before:.4f}.")
    if best == present:
        here.say("The settings in penchant.toml are the best that was found.")
        return
    here.say(f"\n[recipes.{name}]\nrecipe = {dumps(recipe.name)}")
    for field, value in best.items():
        here.say(f"{field} = {dumps(float(f'{value:.4g}') if isinstance(value, float) else value)}")


def show_cards(here: Session, names: "Sequence[str]", cards: "Sequence[Card]") -> None:
    """Print how each model came to be."""
    rows = [
        [
            name,
            card.recipe,
            seconds(card.seconds),
            seconds(card.cpu_seconds),
            f"{card.peak_mb:,.0f} MB",
            number(card.users),
            number(card.items),
            number(card.interactions),
        ]
        for name, card in zip(names, cards, strict=True)
    ]
    columns = ["name", "recipe", "time", "CPU", "peak memory", "users", "items", "interactions"]
    here.table(columns, rows, right=range(2, 8))
