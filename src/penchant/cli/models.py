"""Commands about models: train, evaluate."""

from typing import TYPE_CHECKING, Annotated

import typer

from penchant.cli.session import Folder, Json, Session, number, seconds, session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from penchant.models.base import Card


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("train")(train)
    app.command("evaluate")(evaluate)


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
    here.answer(board, lambda: here.say(board.text()))


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
