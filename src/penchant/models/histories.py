"""Histories as rows of a matrix: what linear models read of a user."""

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from penchant.data.interactions import Interactions
from penchant.features.confidence import confidences, event_weights
from penchant.kernel.arrays import Csr
from penchant.kernel.durations import seconds_of
from penchant.models.base import Card, Queries


class Weighing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much an item of a history counts; the fields that recipes over histories share.

    x_ui = (Σ event weight · 2^(-age / half_life))^alpha. An event type that ``event_weights`` does not name
    weighs 1, and 0 leaves it out. ``half_life`` is a span such as ``90d``, empty for never. With ``alpha`` 0
    an item counts the same however often it was taken.
    """

    event_weights: dict[str, float] = {}
    half_life: str = ""
    alpha: float = 0.5

    def __post_init__(self) -> None:
        for name, weight in self.event_weights.items():
            if not weight >= 0:
                raise ValueError(f"event_weights.{name} is {weight}: it must be 0 or more.")
        if self.half_life:
            seconds_of(self.half_life, field="half_life")
        at_least(self, 0, "alpha")

    @classmethod
    def of(cls, config: dict[str, Any]) -> "Weighing":
        """Return the weighing among the fields of a recipe that derives from it."""
        own = {name: config[name] for name in Weighing.__struct_fields__}
        return msgspec.convert(own, Weighing)

    def matrix(self, events: Interactions, n: int, n_items: int, *, now: float) -> Csr:
        """Return x (n, n_items) of ``events``, columns ascending."""
        half_life = seconds_of(self.half_life) if self.half_life else None
        weight = event_weights(events, by_type=self.event_weights, half_life=half_life, now=now)
        return confidences(events, weight, alpha=self.alpha, n_users=n, n_items=n_items)


def at_least(recipe: msgspec.Struct, least: float, *fields: str) -> None:
    """Raise ValueError when one of the ``fields`` is below ``least`` or no number."""
    for field in fields:
        if not getattr(recipe, field) >= least:
            raise ValueError(f"{field} is {getattr(recipe, field)}: it must be {least:g} or more.")


def above(recipe: msgspec.Struct, least: float, *fields: str) -> None:
    """Raise ValueError when one of the ``fields`` is not above ``least``."""
    for field in fields:
        if not getattr(recipe, field) > least:
            raise ValueError(f"{field} is {getattr(recipe, field)}: it must be above {least:g}.")


def profiles(queries: Queries, trained: Csr, card: Card) -> Csr:
    """Return the history of each request as a row: what it tells, else what was known in training.

    Told histories are weighed by the fields of the recipe on the ``card``.
    """
    n, width, weighing = len(queries), trained.n_columns, Weighing.of(card.config)
    return told_or_trained(queries, trained, lambda told: weighing.matrix(told, n, width, now=queries.now))


def told_or_trained(queries: Queries, trained: Csr, rows: Callable[[Interactions], Csr]) -> Csr:
    """Return a row for each request: that of ``rows`` (of all told histories) or that of ``trained``."""
    n = len(queries)
    if queries.histories is None or len(queries.histories) == 0:
        return trained.take(queries.users)
    told = rows(queries.histories)
    tells = np.zeros(n, np.bool_)
    tells[queries.histories.user] = True
    rest = trained.take(np.where(tells, np.int32(-1), queries.users))
    if rest.nnz == 0:
        return told
    owners = [np.repeat(np.arange(n, dtype=np.int32), np.diff(part.indptr)) for part in (told, rest)]
    return Csr.group(
        np.concatenate(owners),
        np.concatenate([told.indices, rest.indices]),
        np.concatenate([told.data, rest.data]),
        n_rows=n,
        n_columns=trained.n_columns,
    )
