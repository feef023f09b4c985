"""The command that asks for actions: what is a user likely to do when asked to?"""

from typing import Annotated, Any

import typer

from penchant.cli.feeds import item_name, served
from penchant.cli.session import Folder, Json, session


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("actions")(actions)


def actions(
    context: typer.Context,
    user: Annotated[str, typer.Argument(metavar="USER", help="The user's id; it need not be known.")],
    name: Annotated[
        str, typer.Option(help="How they are chosen, an [actions.NAME] of penchant.toml.")
    ] = "next",
    k: Annotated[int, typer.Option("--k", "-k", help="How many actions.")] = 5,
    folder: Folder = None,
    json: Json = False,
) -> None:
    """Print the actions to ask a user to take.

    Each comes with the probability that the user takes it within the recipe's period.
    """
    here = session(context, folder, json=json)
    with here.workspace() as workspace, served(workspace.serving()) as serving:
        answer = serving.actions(name, user, k=k)
        known = [serving.action(slot.item_id) for slot in answer.slots]
    told: list[dict[str, Any]] = [
        {
            "action_id": slot.item_id,
            "probability": slot.score,
            "source": slot.source,
            "propensity": slot.propensity,
            "properties": properties,
        }
        for slot, properties in zip(answer.slots, known, strict=True)
    ]
    rows = [
        [
            str(place),
            item_name(one["action_id"], one["properties"]),
            one["action_id"],
            f"{one['probability']:.1%}",
        ]
        for place, one in enumerate(told, start=1)
    ]
    here.answer(
        {"request_id": answer.request_id, "user_id": user, "actions": told},
        lambda: here.table(["", "action", "id", "probability"], rows, right=[0, 3]),
    )
