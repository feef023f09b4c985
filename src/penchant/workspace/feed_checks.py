"""Checks of feeds and filters in ``penchant.toml`` that need more than one table."""

from collections.abc import Collection, Iterator, Mapping

from penchant.feed.category_state import CATEGORIES
from penchant.feed.filter_parse import parse_filter
from penchant.kernel.errors import InputError
from penchant.kernel.names import did_you_mean
from penchant.workspace.feed_settings import (
    BUILT_IN,
    ActionsSettings,
    DuplicateSettings,
    FeedSettings,
    PlaceSettings,
    SeenSettings,
    ShownSettings,
    source_recipe,
)

_NO_RECIPE = "there is no recipe named {}"
_NO_FILTER = "there is no filter named {}"
_NO_ACTION_FILTER = "there is no filter by ActionID named {}"


def check_filters(filters: Mapping[str, str], *, where: str) -> dict[str, list[str]]:
    """Refuse an expression that is not of the language, or about users; return the names about each thing."""
    about: dict[str, list[str]] = {"item": [], "action": []}
    for name, expression in filters.items():
        try:
            clauses = parse_filter(expression)
        except InputError as error:
            raise InputError(f"filters.{name}: {error}", where=where) from None
        targets = {clause.target for clause in clauses}
        if targets not in ({"item"}, {"action"}):
            raise InputError(
                f"filters.{name}: a feed is filtered by ItemID, not by UserID.",
                where=where,
                fix="Actions are filtered by ActionID.",
            )
        about[targets.pop()].append(name)
    return about


def check_actions(
    name: str,
    actions: ActionsSettings,
    *,
    recipes: Collection[str],
    filters: Collection[str],
    where: str,
) -> None:
    """Refuse a table of actions that names what is not there."""
    named = [("recipe", actions.recipe, recipes, "there is no recipe next_best_action named {}")]
    named += [(f"filters[{i}]", one, filters, _NO_ACTION_FILTER) for i, one in enumerate(actions.filters)]
    for key, given, names, what in named:
        if given not in names:
            raise InputError(
                f"actions.{name}.{key}: {what.format(repr(given))}.",
                where=where,
                fix=did_you_mean(given, list(names)),
            )


def check_feed(
    name: str, feed: FeedSettings, *, recipes: Collection[str], filters: Collection[str], where: str
) -> None:
    """Refuse a feed that names what is not there, or asks for things that do not go together."""
    for key, given, names, what in _named(feed, recipes, filters):
        if given is not None and given not in names:
            raise InputError(
                f"feeds.{name}.{key}: {what.format(repr(given))}.",
                where=where,
                fix=did_you_mean(given, list(names)),
            )
    for i, place in enumerate(feed.places):
        _check_place(f"feeds.{name}.places[{i}]", place, where=where)
    for i, promotion in enumerate(feed.promotions):
        if (promotion.percent is None) is (promotion.slots is None):
            raise InputError(
                f"feeds.{name}.promotions[{i}]: needs percent or slots, one of them.", where=where
            )
    percent = sum(promotion.percent or 0 for promotion in feed.promotions)
    if percent > 100:
        raise InputError(f"feeds.{name}.promotions: they ask for {percent}% of the places.", where=where)
    if feed.bandit is not None:
        _check_chances(name, feed, where=where)


def _named(
    feed: FeedSettings, recipes: Collection[str], filters: Collection[str]
) -> Iterator[tuple[str, str | None, Collection[str], str]]:
    """Yield every name a feed mentions: its key, the name, those there are, and what to say without it."""
    own = [block.source for block in feed.blocks]
    sources = (*recipes, *BUILT_IN)
    for i, source in enumerate(own):
        if source_recipe(source) not in recipes:
            yield f"blocks[{i}].source", source, sources, "there is no source {}"
    for i, source in enumerate(feed.backfill):
        yield f"backfill[{i}]", source, own, "{} is not a source of its blocks"
    for i, place in enumerate(feed.places):
        yield f"places[{i}].source", place.source, own, "{} is not a source of its blocks"
    yield "ranker", feed.ranker, recipes, _NO_RECIPE
    yield "fallback", feed.fallback, recipes, _NO_RECIPE
    if feed.categories is not None:
        yield "categories.personas", feed.categories.personas, recipes, _NO_RECIPE
    if feed.diversity is not None:
        yield "diversity.model", feed.diversity.model, recipes, _NO_RECIPE
    yield from ((key, one.model, recipes, _NO_RECIPE) for key, one in _duplicates(feed))
    for i, one in enumerate(feed.filters):
        yield f"filters[{i}]", one, filters, _NO_FILTER
    for i, promotion in enumerate(feed.promotions):
        yield f"promotions[{i}].filter", promotion.filter, filters, _NO_FILTER


def _duplicates(feed: FeedSettings) -> Iterator[tuple[str, DuplicateSettings]]:
    """Yield every place where a feed says what near-duplicates are."""
    declared: list[tuple[str, DuplicateSettings | None]] = [("duplicates", feed.duplicates)]
    declared += [
        (f"rules[{i}].duplicates", rule.duplicates)
        for i, rule in enumerate(feed.rules)
        if isinstance(rule, SeenSettings | ShownSettings)
    ]
    declared.append(("negative.duplicates", None if feed.negative is None else feed.negative.duplicates))
    yield from ((f"{key}.model", one) for key, one in declared if one is not None)


def _check_place(key: str, place: PlaceSettings, *, where: str) -> None:
    """Refuse a place that wishes for nothing or for two things at once."""
    wishes = place.source is not None or place.property is not None
    if (place.item is not None) == wishes or (place.item is not None and place.every is not None):
        raise InputError(
            f"{key}: needs an item, at one place, or a source or a property with any_of.", where=where
        )
    if (place.property is not None) != bool(place.any_of):
        raise InputError(f"{key}: property and any_of go together.", where=where)


def _check_chances(name: str, feed: FeedSettings, *, where: str) -> None:
    """Refuse what would make the chances of places dealt by chance unknown."""
    if feed.explore is not None:
        raise InputError(
            f"feeds.{name}.explore: the source '{CATEGORIES}' of its blocks explores by itself.",
            where=where,
            fix="Use one of the two, so that the chance of every place is known.",
        )
    if feed.arranged:
        raise InputError(
            f"feeds.{name}: caps, places, duplicates, diversity and author_decay do not go with the source "
            f"'{CATEGORIES}'.",
            where=where,
            fix="Its places are dealt by chance; with these the chances would not be known.",
        )
