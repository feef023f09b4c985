"""Plans from settings: which source, rule and mixer each feed of penchant.toml is made of."""

from collections.abc import Mapping
from typing import final

from penchant.feed.bridge import Bridge
from penchant.feed.explore import Explore, Pool
from penchant.feed.live import Live
from penchant.feed.mixers import Blocks
from penchant.feed.plan import Plan
from penchant.feed.rankers import ModelRanker
from penchant.feed.rules import Exclude, Known, Seen
from penchant.feed.sources import Everything, FollowedSource, ModelSource, NewestSource, SimilarSource
from penchant.feed.types import Mixer, Rule, Source
from penchant.kernel.clock import DAY
from penchant.workspace.settings import (
    FOLLOWED,
    NEWEST,
    SIMILAR,
    ExploreSettings,
    FeedSettings,
    KnownSettings,
    RuleSettings,
    SeenSettings,
    Settings,
    source_recipe,
)

FALLBACK = "fallback"


@final
class Planner:
    """Makes the plans of one snapshot and its models, again and again as online models learn.

    What does not change with them, the order of the fallback, is found once.
    """

    def __init__(
        self, settings: Settings, models: Mapping[str, Bridge], live: Live, *, model_version: str
    ) -> None:
        self._settings = settings
        self._live = live
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
        sources = [self._source(source, models) for source in names]
        ranker = models.get(feed.ranker) if feed.ranker is not None else None
        mixer: Mixer = Blocks(
            blocks=tuple((block.source, block.take) for block in feed.blocks), backfill=tuple(feed.backfill)
        )
        if feed.explore is not None and feed.explore.weight > 0:
            sources.append(self._pool(feed, feed.explore, models))
            mixer = Explore(inner=mixer, weight=feed.explore.weight)
        return Plan(
            name=name,
            sources=tuple(source for source in sources if source is not None),
            rules=(Exclude(), *map(_rule, feed.rules)),
            ranker=None if ranker is None else ModelRanker(name=ranker.name, bridge=ranker),
            mixer=mixer,
            fallback=self._fallbacks.get(feed.fallback or "", self._by_id),
            model_version=self._version,
            budget_ms=feed.budget_ms,
            k_max=feed.k_max,
            log_served=feed.log_served,
            draws=isinstance(mixer, Explore),  # blocks leave nothing to chance
        )

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


def _rule(rule: RuleSettings) -> Rule:
    match rule:
        case SeenSettings():
            days = rule.again_after_days
            return Seen(event_types=tuple(rule.event_types), again_after=None if days is None else days * DAY)
        case KnownSettings():
            return Known(property=rule.property)
