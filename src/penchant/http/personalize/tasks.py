"""What is asked of a process of the drop-in: tasks as JSON on its standard input.

They are told apart by ``task``; `penchant.http.personalize.worker` does them.
"""

from typing import Any, Literal, TypeAlias

import msgspec

from penchant.http.personalize.requests import MetricIn


class Task(msgspec.Struct, frozen=True, kw_only=True, tag_field="task", forbid_unknown_fields=True):
    """``folder`` is the workspace of the dataset group."""

    folder: str


class Measure(Task, frozen=True, kw_only=True, tag="measure"):
    """Evaluate one recipe of the settings; ``segments`` as a recipe that finds users."""

    recipe: str
    segments: bool


class Named(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A filter: its name and its expression."""

    name: str
    expression: str


class Infer(Task, frozen=True, kw_only=True, tag="infer"):
    """Answer each line of ``inputs`` into a file of the same name and ``.out`` in the folder ``output``.

    ``feed`` is a feed table of the settings; a line that lists items is ranked by ``model``.
    """

    inputs: list[str]
    output: str
    feed: dict[str, Any]
    model: str
    asks: Literal["userId", "itemId", "itemList"]
    k: int
    filter: Named | None = None


class Segment(Task, frozen=True, kw_only=True, tag="segment"):
    """Find the ``k`` users for each line of ``inputs`` by the factors of ``model``; files as `Infer`."""

    inputs: list[str]
    output: str
    model: str
    asks: Literal["itemId", "itemAttributes"]
    k: int
    filter: Named | None = None


class Attribute(Task, frozen=True, kw_only=True, tag="attribute"):
    """Write what recommendations brought to ``<name>.csv`` and ``<name>-by-recommendation.csv``.

    ``names`` says what to call the feeds.
    """

    name: str
    output: str
    metrics: list[MetricIn]
    names: dict[str, str]


AnyTask: TypeAlias = Measure | Infer | Segment | Attribute
