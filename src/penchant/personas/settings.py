"""How personas are made: ``[personas]`` of penchant.toml. Light to import: every command reads settings."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from penchant.features.user_features import UserColumn
from penchant.kernel.errors import InputError

SpaceName = Literal["attributes", "behaviour"]
CATEGORY = "category"
"""The item column that is looked for; one of another name was asked for and has to exist."""


class PersonaSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How personas are made. ``k`` None lets the elbow choose; no ``columns`` lets their types decide."""

    k: int | None = None
    space: SpaceName = "attributes"  # what users are clustered by
    factors: int = 32  # of the space of behaviour
    columns: list[UserColumn] = []
    category: str = CATEGORY  # the item column whose values are the categories of behaviour
    rank: int = 6  # dimensions kept by the uncentred SVD
    days: float = 30.0
    event_weights: dict[str, float] = {}
    by_value: list[str] = []  # types of events whose value counts, such as seconds of dwell
    most_categories: int = 30

    def __post_init__(self) -> None:
        if self.k is not None and self.k < 2:
            raise ValueError(f"k must be at least 2, got {self.k}")
        if self.rank < 1 or self.factors < 1:
            raise ValueError(f"rank and factors must be at least 1, got {self.rank} and {self.factors}")
        if not self.days > 0:  # a NaN is refused too
            raise ValueError(f"days must be above 0, got {self.days:g}")

    def but(self, asked: Mapping[str, Any]) -> "PersonaSettings":
        """Return the settings with what was asked for.

        Raises:
            InputError: a value makes no sense.
        """
        try:
            return msgspec.structs.replace(self, **asked)
        except ValueError as error:
            raise InputError(f"{error}.") from None
