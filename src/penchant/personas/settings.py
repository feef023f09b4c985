"""How personas are made: ``[personas]`` of penchant.toml. Light to import: every command reads settings."""

from typing import Literal

import msgspec

from penchant.features.user_features import UserColumn

SpaceName = Literal["attributes", "behaviour"]


class PersonaSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How personas are made. ``k`` None lets the elbow choose; no ``columns`` lets their types decide."""

    k: int | None = None
    space: SpaceName = "attributes"  # what users are clustered by
    factors: int = 32  # of the space of behaviour
    columns: list[UserColumn] = []
    category: str = "category"  # the item column whose values are the categories of behaviour
    rank: int = 6  # dimensions kept by the uncentred SVD
    days: float = 30.0
    event_weights: dict[str, float] = {}
    by_value: list[str] = []  # types of events whose value counts, such as seconds of dwell
    most_categories: int = 30

    def __post_init__(self) -> None:
        if self.k is not None and self.k < 2:
            raise ValueError(f"k must be at least 2, got {self.k}")
        if self.rank < 1 or self.factors < 1 or self.days <= 0:
            raise ValueError("rank and factors must be at least 1 and days above 0")
