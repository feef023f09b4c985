"""Why an item is in a feed, from the models' own numbers and the user's own history; nothing is made up."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np

from penchant.feed.bridge import Bridge
from penchant.feed.types import Catalogue, Request
from penchant.kernel.arrays import readonly
from penchant.models.base import Model
from penchant.models.popularity import WHOLE, Popularity, PopularityModel
from penchant.models.trending import TrendingModel

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
        return fact(bridge.model, row, request.now)
    near = nearest(bridge, request, item)
    return f"like {' and '.join(label(request.catalogue, one, title) for one in near)}" if near else ""


def nearest(bridge: Bridge, request: Request, item: int, k: int = _NEAREST) -> list[int]:
    """Return up to ``k`` catalogue rows of the user's history that the model finds most like ``item``.

    Only what is alike at all (similarity above 0) is named.
    """
    if bridge.kin is None or len(request.history) == 0:
        return []
    others = np.ones(len(bridge.model.items), np.bool_)
    taken = bridge.rows(request.history.item)
    others[taken[taken >= 0]] = False
    found = bridge.kin.similar(bridge.row(item), k, exclude=readonly(np.flatnonzero(others).astype(np.int32)))
    rows = bridge.catalogue_rows(found.items)
    return [int(row) for row, score in zip(rows, found.scores, strict=True) if row >= 0 and score > 0]


def _popularity(model: Any, row: int, _now: float) -> str:
    counted: PopularityModel = model
    window = msgspec.convert(counted.card.config, Popularity).window
    span = "so far" if window == WHOLE else f"in the last {spoken(window)}"
    users = int(counted.counts[row])
    return f"taken by {users:,} user{'' if users == 1 else 's'} {span}" if users else ""


def _trending(model: Any, row: int, now: float) -> str:
    grown: TrendingModel = model
    before, current = grown.counts(row, now)
    return f"rising: {before:,} -> {current:,} in {spoken(grown.recipe.discovery_frequency, one='1')}"


_UNITS = {"s": "second", "m": "minute", "h": "hour", "d": "day", "w": "week"}


def spoken(span: str, *, one: str = "") -> str:
    """Return a span such as ``30d`` in words, ``30 days``; of ``1d`` ``one`` is the number: ``day``."""
    digits, unit = span[:-1], _UNITS[span[-1]]
    return f"{one} {unit}".strip() if digits == "1" else f"{digits} {unit}s"


FACTS: Mapping[str, Callable[[Model, int, float], str]] = {
    PopularityModel.kind: _popularity,
    TrendingModel.kind: _trending,
}
"""The kind of a model -> what it knows of an item row at a time, in words."""
