"""Plans from settings: which source, rule and mixer each feed of penchant.toml is made of."""

from collections.abc import Mapping
from typing import final

from penchant.feed.bridge import Bridge
from penchant.feed.category_state import CATEGORIES
from penchant.feed.explore import EXPLORE, Explore, Pool
from penchant.feed.live import Live
from penchant.feed.live_columns import LiveColumns
from penchant.feed.mixers import Blocks
from penchant.feed.places import PINNED, PinnedSource
from penchant.feed.plan import Plan
from penchant.feed.profile import Profile
from penchant.feed.rankers import ModelRanker
from penchant.feed.rules import Alike, Exclude, Known, Seen, Sensitive, Shown
from penchant.feed.sources import Everything, FollowedSource, ModelSource, NewestSource, SimilarSource
from penchant.feed.types import Mixer, Ranker, Rule, Source
from penchant.feed.weights import Aversion, Rotation, Weighed, Weight
from penchant.kernel.clock import DAY, HOUR
from penchant.workspace.arranging import Arranger
from penchant.workspace.feed_settings import (
    FOLLOWED,
    NEWEST,
    SIMILAR,
    DuplicateSettings,
    ExploreSettings,
    FeedSettings,
    KnownSettings,
    RuleSettings,
    SeenSettings,
    SensitiveSettings,
    ShownSettings,
    source_recipe,
)
from penchant.workspace.online_bandit import Bandits
from penchant.workspace.settings import Settings

FALLBACK = "fallback"
_DEPTH = 4  # times more candidates than places, where they are reordered


@final
class Planner:
    """Makes the plans of one snapshot and its models, again and again as online models learn.

    What does not change with them, the order of the fallback, is found once.
    """

    def __init__(
        self,
        settings: Settings,
        models: Mapping[str, Bridge],
        live: Live,
        columns: LiveColumns,
        bandits: Bandits,
        *,
        model_version: str,
    ) -> None:
        self._settings = settings
        self._live = live
        self._columns = columns
        self._bandits = bandits
        self._arranger = Arranger(live, columns, author=settings.data.author)
        self._version = model_version
        self._fallbacks = {
            name: Everything.of(FALLBACK, live.snapshot.n_items, models[name].everyone())
            for feed in settings.feeds.values()
            if (name := feed.fallback) is not None and name in models
        }
        self._by_id = Everything.of(FALLBACK, live.snapshot.n_items)

    def plans(self, models: Mapping[str, Bridge]) -> dict[str, Plan]:
        """Return the plan of each feed. A source whose model is not trained yet is left out."""
        return {name: self._plan(name, feed, models) for name, feed in self._settings.feeds.items()}

    def _plan(self, name: str, feed: FeedSettings, models: Mapping[str, Bridge]) -> Plan:
        names = dict.fromkeys(block.source for block in feed.blocks)
        sources = [self._source(source, models) for source in names if source != CATEGORIES]
        ranker = models.get(feed.ranker) if feed.ranker is not None else None
        bandit = self._bandits.get(name)
        mixer: Mixer
        if feed.arranged:
            mixer = self._arranger.mixer(feed, models)
            pinned = tuple(place.item for place in feed.places if place.item is not None)
            sources.append(PinnedSource(items=pinned) if pinned else None)
        else:
            mixer = Blocks(
                blocks=tuple((block.source, block.take) for block in feed.blocks),
                backfill=tuple(feed.backfill),
                dealers={} if bandit is None else {CATEGORIES: bandit.dealer()},
            )
        if bandit is not None:
            sources.append(bandit.source())
        if feed.explore is not None and feed.explore.weight > 0:
            sources.append(self._pool(feed, feed.explore, models))
            mixer = Explore(inner=mixer, weight=feed.explore.weight)
        weights, profile = self._weights(feed), _profile(feed)
        return Plan(
            name=name,
            sources=tuple(source for source in sources if source is not None),
            rules=(Exclude(), *self._rules(feed, models)),
            ranker=self._ranker(ranker, weights, profile),
            profile=profile,
            unranked=frozenset({EXPLORE, CATEGORIES, PINNED}),
            depth=_DEPTH if weights or feed.arranged else 1,
            mixer=mixer,
            fallback=self._fallbacks.get(feed.fallback or "", self._by_id),
            model_version=self._version,
            budget_ms=feed.budget_ms,
            k_max=feed.k_max,
            log_served=feed.log_served,
            at_least={} if bandit is None else {CATEGORIES: bandit.settings.candidates},
            draws=isinstance(mixer, Explore) or bandit is not None,  # blocks leave nothing to chance
        )

    def _rules(self, feed: FeedSettings, models: Mapping[str, Bridge]) -> list[Rule]:
        rules = [one for rule in feed.rules for one in self._rule(feed, rule, models)]
        if feed.negative is not None:
            disliked = Seen(name="disliked", event_types=tuple(feed.negative.events))
            rules += self._with_alike(feed, disliked, feed.negative.duplicates, models)
        return rules

    def _with_alike(
        self,
        feed: FeedSettings,
        rule: Seen | Shown,
        same: DuplicateSettings | None,
        models: Mapping[str, Bridge],
    ) -> list[Rule]:
        """Return the rule, and the one that removes near-duplicates of what it removes."""
        if same is None:
            return [rule]
        groups, space, at_least = self._arranger.likeness(feed, same, models)
        alike = Alike(name=f"like {rule.name}", to=rule, groups=groups, space=space, at_least=at_least)
        return [rule, alike]

    def _rule(self, feed: FeedSettings, rule: RuleSettings, models: Mapping[str, Bridge]) -> list[Rule]:
        match rule:
            case SeenSettings():
                days = rule.again_after_days
                seen = Seen(
                    event_types=tuple(rule.event_types), again_after=None if days is None else days * DAY
                )
                return self._with_alike(feed, seen, rule.duplicates, models)
            case ShownSettings():
                shown = Shown(hide_after=rule.hide_after, again_after=rule.again_after_days * DAY)
                return self._with_alike(feed, shown, rule.duplicates, models)
            case KnownSettings():
                return [Known(property=rule.property)]
            case SensitiveSettings():
                sensitive = Sensitive(
                    property=rule.property,
                    allowed_by=rule.allowed_by,
                    live=self._live,
                    columns=self._columns,
                )
                return [sensitive]

    def _weights(self, feed: FeedSettings) -> tuple[Weight, ...]:
        weights: list[Weight] = []
        if feed.negative is not None and feed.negative.lowers:
            weights.append(
                Aversion(
                    weights=feed.negative.events,
                    properties=tuple(feed.negative.lowers),
                    half_life=feed.negative.half_life_days * DAY,
                    columns=self._columns,
                )
            )
        if feed.rotation is not None:
            weights.append(Rotation(rate=feed.rotation.rate, half_life=feed.rotation.half_life_hours * HOUR))
        return tuple(weights)

    @staticmethod
    def _ranker(bridge: Bridge | None, weights: tuple[Weight, ...], profile: Profile | None) -> Ranker | None:
        inner = None if bridge is None else ModelRanker(name=bridge.name, bridge=bridge, profile=profile)
        if not weights:
            return inner
        return Weighed(name="order" if inner is None else inner.name, inner=inner, weights=weights)

    def _pool(self, feed: FeedSettings, explore: ExploreSettings, models: Mapping[str, Bridge]) -> Pool:
        """Return the new items; which are relevant says the feed's first model that tells users apart."""
        bridges = [models.get(source_recipe(block.source)) for block in feed.blocks]
        bridge = next((one for one in bridges if one is not None and one.personal), None)
        return Pool(self._live, bridge, age_cut_off=explore.age_cut_off_days * DAY, enough=explore.enough)

    def _source(self, name: str, models: Mapping[str, Bridge]) -> Source | None:
        if name == NEWEST:
            return NewestSource(name=name)
        if name == FOLLOWED:
            return FollowedSource(name=name, live=self._live)
        bridge, title = models.get(source_recipe(name)), self._settings.data.title
        if bridge is None:
            return None
        if name.startswith(SIMILAR):
            return SimilarSource(name=name, bridge=bridge, title=title)
        return ModelSource(name=name, bridge=bridge, title=title)


def _profile(feed: FeedSettings) -> Profile | None:
    """Return what the user's events count for: what says dislike is nothing to learn a taste from."""
    disliked = {} if feed.negative is None else dict.fromkeys(feed.negative.events, 0)
    weights = {**disliked, **feed.event_weights}
    return Profile(weights=weights) if weights else None
