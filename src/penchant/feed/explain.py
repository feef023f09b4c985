"""Why an item is in a feed, from the models' own numbers and the user's own history; nothing is made up."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np

from penchant.feed.bridge import Bridge
from penchant.feed.types import Catalogue, Request
from penchant.kernel.arrays import readonly
from penchant.models.base import Model, Similar
from penchant.models.popularity import WHOLE, Popularity, PopularityModel

_NEAREST = 2


def label(catalogue: Catalogue, row: int, title: str) -> str:
    """Return what people call an item: its ``title`` property, else its id."""
    given = catalogue.property(row, title)
    return catalogue.id(row) if given is None or given == "" else str(given)


def why(bridge: Bridge, request: Request, item: int, *, title: str) -> str:
    """Return why a model gave an item: its own count, or what of the user's history is most like it."""
    row = bridge.row(item)
    if row < 0:
        return ""
    fact = FACTS.get(bridge.model.kind)
    if fact is not None:
        return fact(bridge.model, row)
    near = nearest(bridge, request, item)
    return f"like {' and '.join(label(request.catalogue, one, title) for one in near)}" if near else ""


def nearest(bridge: Bridge, request: Request, item: int, k: int = _NEAREST) -> list[int]:
    """Return up to ``k`` catalogue rows of the user's history that the model finds most like ``item``.

    Only what is alike at all (similarity above 0) is named.
    """
    if not isinstance(bridge.model, Similar) or len(request.history) == 0:
        return []
    others = np.ones(len(bridge.model.items), np.bool_)
    taken = bridge.rows(request.history.item)
    others[taken[taken >= 0]] = False
    found = bridge.model.similar(
        bridge.row(item), k, exclude=readonly(np.flatnonzero(others).astype(np.int32))
    )
    rows = bridge.catalogue_rows(found.items)
    return [int(row) for row, score in zip(rows, found.scores, strict=True) if row >= 0 and score > 0]


def _popularity(model: Any, row: int) -> str:
    counted: PopularityModel = model
    window = msgspec.convert(counted.card.config, Popularity).window
    span = "so far" if window == WHOLE else f"in the last {spoken(window)}"
    users = int(counted.counts[row])
    return f"taken by {users:,} user{'' if users == 1 else 's'} {span}" if users else ""


_UNITS = {"m": "minute", "min": "minute", "h": "hour", "d": "day", "w": "week"}


def spoken(span: str) -> str:
    """Return a span such as ``30d`` in words: ``30 days``."""
    digits = span.rstrip("abcdefghijklmnopqrstuvwxyz ")
    unit = _UNITS.get(span[len(digits) :].strip())
    if unit is None:
        return span
    return unit if digits == "1" else f"{digits} {unit}s"


FACTS: Mapping[str, Callable[[Model, int], str]] = {PopularityModel.kind: _popularity}
"""The kind of a model -> what it knows of an item row, in words."""
