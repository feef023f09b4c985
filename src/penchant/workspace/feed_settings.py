"""The tables of feeds and filters in ``penchant.toml``."""

from collections.abc import Collection, Mapping
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from penchant.feed.category_state import CATEGORIES
from penchant.feed.filter_parse import parse_filter
from penchant.kernel.errors import InputError
from penchant.kernel.names import did_you_mean
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


class SeenSettings(Section, frozen=True, kw_only=True, tag_field="rule", tag="seen"):
    """A rule: not what the user acted on already."""

    event_types: list[str] = []
    again_after_days: Positive | None = None


class ShownSettings(Section, frozen=True, kw_only=True, tag_field="rule", tag="shown"):
    """A rule: not what the user was shown so often without acting on it."""

    hide_after: Count = 5
    again_after_days: Positive = 7.0


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


class RotationSettings(Section, frozen=True, kw_only=True):
    """How much what was shown lately is lowered, and how fast that passes."""

    rate: Annotated[float, Meta(gt=0, lt=1)] = 0.5
    half_life_hours: Positive = 2.0


class PromotionSettings(Section, frozen=True, kw_only=True):
    """A share of the places for items that pass a named filter."""

    filter: str
    percent: Annotated[int, Meta(ge=1, le=100)]


class BlockSettings(Section, frozen=True, kw_only=True):
    """How many places in a row one source gets."""

    source: str
    take: Count = 1


class ExploreSettings(Section, frozen=True, kw_only=True):
    """How much a feed explores new items."""

    weight: Share = 0.3
    age_cut_off_days: Positive = 30.0
    enough: Count = 200


class FeedSettings(Section, frozen=True, kw_only=True):
    """``[feeds.NAME]``."""

    blocks: Annotated[list[BlockSettings], Meta(min_length=1)]
    backfill: list[str] = []
    rules: list[RuleSettings] = []
    filters: list[str] = []
    promotions: list[PromotionSettings] = []
    negative: NegativeSettings | None = None
    rotation: RotationSettings | None = None
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
    def shown_days(self) -> float:
        """Return how far back it asks what each user was shown, 0 when it does not."""
        asked = [rule.again_after_days for rule in self.rules if isinstance(rule, ShownSettings)]
        if self.rotation is not None:
            asked.append(_HALF_LIVES * self.rotation.half_life_hours / 24)
        return max(asked, default=0.0)


def source_recipe(source: str) -> str:
    """Return the recipe a source's name stands on: itself, or what follows ``similar:``."""
    return source.removeprefix(SIMILAR)


def check_filters(filters: Mapping[str, str], *, where: str) -> None:
    """Refuse an expression that is not of the language, or about users."""
    for name, expression in filters.items():
        try:
            clauses = parse_filter(expression)
        except InputError as error:
            raise InputError(f"filters.{name}: {error}", where=where) from None
        if any(clause.target != "item" for clause in clauses):
            raise InputError(f"filters.{name}: a feed is filtered by ItemID, not by UserID.", where=where)


def check_feed(
    name: str, feed: FeedSettings, *, recipes: Collection[str], filters: Collection[str], where: str
) -> None:
    """Refuse a feed that names a source, a recipe or a filter that is not there."""

    if feed.bandit is not None and feed.explore is not None:
        raise InputError(
            f"feeds.{name}.explore: the source '{CATEGORIES}' of its blocks explores by itself.",
            where=where,
            fix="Use one of the two, so that the chance of every place is known.",
        )

    def known(key: str, given: str, names: Collection[str], what: str) -> None:
        if given not in names:
            raise InputError(
                f"feeds.{name}.{key}: {what.format(repr(given))}.",
                where=where,
                fix=did_you_mean(given, list(names)),
            )

    own = [block.source for block in feed.blocks]
    for i, source in enumerate(own):
        if source not in BUILT_IN and source_recipe(source) not in recipes:
            known(f"blocks[{i}].source", source, (*recipes, *BUILT_IN), "there is no source {}")
    for i, source in enumerate(feed.backfill):
        known(f"backfill[{i}]", source, own, "{} is not a source of its blocks")
    personas = None if feed.categories is None else feed.categories.personas
    named = (("ranker", feed.ranker), ("fallback", feed.fallback), ("categories.personas", personas))
    for key, recipe in named:
        if recipe is not None:
            known(key, recipe, recipes, "there is no recipe named {}")
    for i, one in enumerate(feed.filters):
        known(f"filters[{i}]", one, filters, "there is no filter named {}")
    for i, promotion in enumerate(feed.promotions):
        known(f"promotions[{i}].filter", promotion.filter, filters, "there is no filter named {}")
    percent = sum(promotion.percent for promotion in feed.promotions)
    if percent > 100:
        raise InputError(f"feeds.{name}.promotions: they ask for {percent}% of the places.", where=where)
