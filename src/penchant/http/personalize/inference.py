"""Batch inference: a solution version's feed for each line of files, by the code that serves requests."""

import math
from pathlib import Path
from typing import Any

import msgspec

from penchant.feed.filter_parse import parse_values
from penchant.http.personalize.lines import Counts, answer_files
from penchant.http.personalize.ranking import shares
from penchant.http.personalize.tasks import Infer, Named
from penchant.kernel.errors import InputError
from penchant.workspace.filters import FilterAsked
from penchant.workspace.service import Workspace
from penchant.workspace.serving import Serving
from penchant.workspace.settings import FeedSettings

_FEED = "batch"


def infer(workspace: Workspace, task: Infer) -> Counts:
    """Answer the lines of a task; nothing of it is logged as served."""
    feed = msgspec.convert(task.feed, FeedSettings)
    workspace.settings = msgspec.structs.replace(workspace.settings, feeds={_FEED: feed})
    serving = workspace.serving()
    try:
        return answer_files(
            [Path(path) for path in task.inputs],
            Path(task.output),
            lambda line: {"output": _answer(serving, task, line)},
        )
    finally:
        serving.close()


def _answer(serving: Serving, task: Infer, line: dict[str, Any]) -> dict[str, Any]:
    filters = asked_filters(task.filter, line)
    if task.asks == "itemList":
        user, items = text(line, "userId"), _texts(line, "itemList")
        kept = serving.passing(user, items, filters) if filters else items
        ranked = serving.rank(user, kept, model=task.model)
        parts = shares([score for _, score in ranked])
        return {"recommendedItems": [id_ for id_, _ in ranked], "scores": parts}
    if task.asks == "itemId":
        feed = serving.feed(_FEED, "", k=task.k, item_id=text(line, "itemId"), filters=filters)
    else:
        feed = serving.feed(_FEED, text(line, "userId"), k=task.k, filters=filters)
    return {
        "recommendedItems": [slot.item_id for slot in feed.slots],
        "scores": [slot.score if math.isfinite(slot.score) else None for slot in feed.slots],
    }


def asked_filters(named: Named | None, line: dict[str, Any]) -> list[FilterAsked]:
    """Return the job's filter with the values that a line gives its $parameters.

    Raises:
        InputError: ``filterValues`` is not an object of texts.
    """
    values = line.get("filterValues", {})
    try:
        checked = msgspec.convert(values, dict[str, str])
    except msgspec.ValidationError as error:
        raise InputError(f"filterValues: {error}.") from None
    if named is None:
        return []
    parameters = {name: parse_values(value) for name, value in checked.items()}
    return [FilterAsked(name=named.name, expression=named.expression, parameters=parameters)]


def text(line: dict[str, Any], name: str) -> str:
    """Return a field that must be a text.

    Raises:
        InputError: it is missing or something else.
    """
    value = line.get(name)
    if not isinstance(value, str) or not value:
        raise InputError(f"the line needs {name}, a text.")
    return value


def _texts(line: dict[str, Any], name: str) -> list[str]:
    try:
        return list(dict.fromkeys(msgspec.convert(line.get(name), list[str])))
    except msgspec.ValidationError:
        raise InputError(f"the line needs {name}, a list of texts.") from None
