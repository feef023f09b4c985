"""Commands that answer from the trained models: recommend, similar, rank."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from penchant.cli.session import Folder, Json, Session, number, session
from penchant.kernel.errors import NotFound

if TYPE_CHECKING:
    from penchant.feed.types import Feed, Step
    from penchant.workspace.serving import Serving

_DETAILS = ("department", "category", "brand", "genres", "author")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("recommend")(recommend)
    app.command("similar")(similar)
    app.command("rank")(rank)


def recommend(
    context: typer.Context,
    user: Annotated[str, typer.Argument(metavar="USER", help="The user's id; it need not be known.")],
    feed: Annotated[str, typer.Option(help="The feed, a [feeds.NAME] of penchant.toml.")] = "home",
    k: Annotated[int, typer.Option("--k", "-k", help="How many items.")] = 25,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say why each item is there and what each step did.")
    ] = False,
    folder: Folder = None,
    json: Json = False,
) -> None:
    """Print one user's feed and where each item is from."""
    here = session(context, folder, json=json)
    with here.workspace() as workspace, served(workspace.serving()) as serving:
        answer = serving.feed(feed, user, k=k, explain=explain)
        items = [serving.item(slot.item_id) for slot in answer.slots]
        if not serving.known_events(user):
            here.note(f"Nothing is known of user '{user}': the feed is what suits everybody.")
        if not answer.slots:
            here.note("The feed is empty: there are no items, or none that its rules allow.")
    here.answer(
        feed_document(answer, items, explain=explain), lambda: show_feed(here, answer, items, explain=explain)
    )


def similar(
    context: typer.Context,
    item: Annotated[str, typer.Argument(metavar="ITEM", help="The item's id.")],
    k: Annotated[int, typer.Option("--k", "-k", help="How many items.")] = 10,
    folder: Folder = None,
    json: Json = False,
) -> None:
    """Print the items most like one."""
    here = session(context, folder, json=json)
    with here.workspace() as workspace, served(workspace.serving()) as serving:
        found = serving.similar(item, k)
        anchor = serving.item(item)
        items = [serving.item(item_id) for item_id, _ in found]

    def words() -> None:
        here.say(f"Most like {item_name(item, anchor)}:")
        _show_scored(here, found, items)

    here.answer(
        {
            "item_id": item,
            "items": [
                {"item_id": item_id, "score": score, "properties": properties}
                for (item_id, score), properties in zip(found, items, strict=True)
            ],
        },
        words,
    )


def rank(
    context: typer.Context,
    user: Annotated[str, typer.Argument(metavar="USER", help="The user's id.")],
    items: Annotated[list[str], typer.Argument(metavar="ITEM", help="The items' ids.")],
    folder: Folder = None,
    json: Json = False,
) -> None:
    """Put items in the order a user would like them.

    Those that the model cannot score go last.
    """
    here = session(context, folder, json=json)
    with here.workspace() as workspace, served(workspace.serving()) as serving:
        ranked = serving.rank(user, items)
        known = [_known(here, serving, item_id) for item_id, _ in ranked]
        if not serving.known_events(user):
            here.note(f"Nothing is known of user '{user}'.")
    here.answer(
        {"user_id": user, "items": [{"item_id": item_id, "score": score} for item_id, score in ranked]},
        lambda: _show_scored(here, ranked, known),
    )


def feed_document(feed: "Feed", items: Sequence[dict[str, Any]], *, explain: bool) -> dict[str, Any]:
    """Return a feed as JSON values; ``trace`` only when explained."""
    document: dict[str, Any] = {
        "request_id": feed.request_id,
        "feed": feed.feed,
        "user_id": feed.user_id,
        "model_version": feed.model_version,
        "items": [
            {
                "item_id": slot.item_id,
                "source": slot.source,
                "score": slot.score,
                "propensity": slot.propensity,
                **({"why": slot.why} if explain else {}),
                "properties": properties,
            }
            for slot, properties in zip(feed.slots, items, strict=True)
        ],
    }
    return {**document, "trace": feed.trace} if explain else document


def show_feed(here: Session, feed: "Feed", items: Sequence[dict[str, Any]], *, explain: bool) -> None:
    """Print a feed for people."""
    columns = ["", "item", "id", "source", *(["why"] if explain else ["detail"])]
    rows = [
        [
            str(place),
            item_name(slot.item_id, properties),
            slot.item_id,
            slot.source,
            slot.why if explain else item_detail(properties),
        ]
        for place, (slot, properties) in enumerate(zip(feed.slots, items, strict=True), start=1)
    ]
    here.table(columns, rows, right=[0])
    if explain:
        here.say()
        here.say("What each step did:")
        _show_trace(here, feed.trace)


def item_name(item_id: str, properties: dict[str, Any]) -> str:
    """Return what a person calls an item: its title or name, else its id."""
    return str(properties.get("title") or properties.get("name") or item_id)


def item_detail(properties: dict[str, Any]) -> str:
    """Return a short line that places an item, such as its department and brand."""
    return ", ".join(str(properties[key]) for key in _DETAILS if properties.get(key))


def _show_trace(here: Session, trace: "Sequence[Step]") -> None:
    rows = [
        [
            step.stage,
            number(step.rows_in),
            number(step.rows_out),
            f"{step.ms:.2f} ms",
            step.failure or ", ".join(f"{count:,} {reason}" for reason, count in step.dropped.items()),
        ]
        for step in trace
    ]
    here.table(["step", "in", "out", "time", "left out"], rows, right=[1, 2, 3])


def _show_scored(
    here: Session, scored: "Sequence[tuple[str, float | None]]", items: Sequence[dict[str, Any]]
) -> None:
    rows = [
        [str(place), item_name(item_id, properties), item_id, number(score), item_detail(properties)]
        for place, ((item_id, score), properties) in enumerate(zip(scored, items, strict=True), start=1)
    ]
    here.table(["", "item", "id", "score", "detail"], rows, right=[0, 3])


def _known(here: Session, serving: "Serving", item_id: str) -> dict[str, Any]:
    try:
        return serving.item(item_id)
    except NotFound as error:
        here.note(f"{error}")
        return {}


@contextmanager
def served(serving: "Serving") -> "Generator[Serving]":
    """Close a view in the end."""
    try:
        yield serving
    finally:
        serving.close()
