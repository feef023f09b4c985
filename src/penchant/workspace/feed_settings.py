"""The tables of feeds and filters in ``penchant.toml``."""

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from penchant.feed.category_state import CATEGORIES
from penchant.workspace.category_settings import CategorySettings

Count: TypeAlias = Annotated[int, Meta(ge=1)]
Positive: TypeAlias = Annotated[float, Meta(gt=0)]
Share: TypeAlias = Annotated[float, Meta(ge=0, le=1)]
SIMILAR = (
    "similar:"  # a source of items like the anchor, or like the user's latest, by the model named after it
)
FOLLOWED, NEWEST = "followed", "newest"
_HALF_LIVES = 7  # after which an impression weighs less than a hundredth
BUILT_IN = (FOLLOWED, NEWEST, CATEGORIES)  # sources that need no model


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table of a feed."""


class DuplicateSettings(Section, frozen=True, kw_only=True):
    """Which items are too much alike: to stand in one feed, or to come after one that is hidden."""

    text: list[str] = []
    cosine: Annotated[float, Meta(gt=0, le=1)] | None = None
    model: str | None = None


class SeenSettings(Section, frozen=True, kw_only=True, tag_field="rule", tag="seen"):
    """A rule: not what the user acted on already."""

    event_types: list[str] = []
    again_after_days: Positive | None = None
    duplicates: DuplicateSettings | None = None


class ShownSettings(Section, frozen=True, kw_only=True, tag_field="rule", tag="shown"):
    """A rule: not what the user was shown so often without acting on it."""

    hide_after: Count = 5
    again_after_days: Positive = 7.0
    duplicates: DuplicateSettings | None = None


class KnownSettings(Section, frozen=True, kw_only=True, tag_field="rule", tag="known"):
    """A rule: only items that have a property, such as a title to show."""

    property: str


class SensitiveSettings(Section, frozen=True, kw_only=True, tag_field="rule", tag="sensitive"):
    """A rule: no items whose flag is set, except for users with a property that allows them."""

    property: str = "sensitive"
    allowed_by: str | None = None


RuleSettings: TypeAlias = SeenSettings | ShownSettings | KnownSettings | SensitiveSettings


class NegativeSettings(Section, frozen=True, kw_only=True):
    """What events of dislike do: they hide the item and lower what is like it."""

    events: Annotated[dict[str, Positive], Meta(min_length=1)]
    lowers: tuple[str, ...] = ("category", "author")
    half_life_days: Positive = 30.0
    duplicates: DuplicateSettings | None = None


class RotationSettings(Section, frozen=True, kw_only=True):
    """How much what was shown lately is lowered, and how fast that passes."""

    rate: Annotated[float, Meta(gt=0, lt=1)] = 0.5
    half_life_hours: Positive = 2.0


class CapSettings(Section, frozen=True, kw_only=True):
    """At most so many items with the same value of a property."""

    property: str
    most: Count
    within: Annotated[int, Meta(ge=2)] | None = None


class PlaceSettings(Section, frozen=True, kw_only=True):
    """A place, or every so many, with a wish of its own."""

    at: Count
    every: Count | None = None
    item: str | None = None
    source: str | None = None
    property: str | None = None
    any_of: list[str] = []


class DiversitySettings(Section, frozen=True, kw_only=True):
    """Maximal marginal relevance."""

    relevance: Share = 0.7
    model: str | None = None
    property: str | None = None


class DecaySettings(Section, frozen=True, kw_only=True):
    """What the second, third ... item by one author is worth."""

    property: str | None = None
    decay: Share = 0.5
    floor: Share = 0.25


class PromotionSettings(Section, frozen=True, kw_only=True):
    """A share of the places, or so many of them, for items that pass a named filter."""

    filter: str
    percent: Annotated[int, Meta(ge=1, le=100)] | None = None
    slots: Count | None = None


class BlockSettings(Section, frozen=True, kw_only=True):
    """How many places in a row one source gets."""

    source: str
    take: Count = 1


class ExploreSettings(Section, frozen=True, kw_only=True):
    """How much a feed explores new items."""

    weight: Share = 0.3
    age_cut_off_days: Positive = 30.0
    enough: Count = 200


class ActionsSettings(Section, frozen=True, kw_only=True):
    """``[actions.NAME]``: which actions to ask users to take, by a recipe ``next_best_action``."""

    recipe: str
    order: Literal["probability", "value"] = "probability"
    filters: list[str] = []
    explore: ExploreSettings | None = None
    k_max: Annotated[int, Meta(ge=1, le=10_000)] = 100
    log_served: bool = True


class FeedSettings(Section, frozen=True, kw_only=True):
    """``[feeds.NAME]``."""

    blocks: Annotated[list[BlockSettings], Meta(min_length=1)]
    backfill: list[str] = []
    rules: list[RuleSettings] = []
    filters: list[str] = []
    promotions: list[PromotionSettings] = []
    negative: NegativeSettings | None = None
    rotation: RotationSettings | None = None
    caps: list[CapSettings] = []
    duplicates: DuplicateSettings | None = None
    places: list[PlaceSettings] = []
    diversity: DiversitySettings | None = None
    author_decay: DecaySettings | None = None
    event_weights: dict[str, Annotated[int, Meta(ge=0, le=20)]] = {}
    ranker: str | None = None
    fallback: str | None = None
    explore: ExploreSettings | None = None
    categories: CategorySettings | None = None
    k_max: Annotated[int, Meta(ge=1, le=10_000)] = 500
    budget_ms: Positive = 250.0
    log_served: bool = True

    @property
    def bandit(self) -> CategorySettings | None:
        """Return how the places of the source ``categories`` are given; None when no block has it."""
        used = any(block.source == CATEGORIES for block in self.blocks)
        return (self.categories or CategorySettings()) if used else None

    @property
    def arranged(self) -> bool:
        """Return whether what stands at a place depends on what stands above it."""
        return bool(self.caps or self.places or self.duplicates or self.diversity or self.author_decay)

    @property
    def shown_days(self) -> float:
        """Return how far back it asks what each user was shown, 0 when it does not."""
        asked = [rule.again_after_days for rule in self.rules if isinstance(rule, ShownSettings)]
        if self.rotation is not None:
            asked.append(_HALF_LIVES * self.rotation.half_life_hours / 24)
        return max(asked, default=0.0)


def source_recipe(source: str) -> str:
    """Return the recipe a source's name stands on: itself, or what follows ``similar:``."""
    return source.removeprefix(SIMILAR)
