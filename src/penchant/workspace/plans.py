"""Plans from settings: which source, rule and mixer each feed of penchant.toml is made of."""

from collections.abc import Mapping
from typing import final

from penchant.feed.bridge import Bridge
from penchant.feed.live import Live
from penchant.feed.mixers import Blocks
from penchant.feed.plan import Plan
from penchant.feed.rankers import ModelRanker
from penchant.feed.rules import Exclude, Known, Seen
from penchant.feed.sources import Everything, FollowedSource, ModelSource, NewestSource, SimilarSource
from penchant.feed.types import Rule, Source
from penchant.kernel.clock import DAY
from penchant.workspace.settings import (
    FOLLOWED,
    NEWEST,
    SIMILAR,
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
        return Plan(
            name=name,
            sources=tuple(source for source in sources if source is not None),
            rules=(Exclude(), *map(_rule, feed.rules)),
            ranker=None if ranker is None else ModelRanker(name=ranker.name, bridge=ranker),
            mixer=Blocks(
                blocks=tuple((block.source, block.take) for block in feed.blocks),
                backfill=tuple(feed.backfill),
            ),
            fallback=self._fallbacks.get(feed.fallback or "", self._by_id),
            model_version=self._version,
            budget_ms=feed.budget_ms,
            k_max=feed.k_max,
            log_served=feed.log_served,
            draws=False,  # blocks leave nothing to chance
        )

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
