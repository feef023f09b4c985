"""The mixer of a feed from its settings: blocks alone, or blocks under limits, wishes and preferences."""

from collections.abc import Mapping
from typing import final

from penchant.feed.arrange import Arranged, Decay, Diversity
from penchant.feed.bridge import Bridge
from penchant.feed.likeness import LabelSpace, Space, VectorSpace
from penchant.feed.limits import Cap, Duplicates, Limit, TextGroups
from penchant.feed.live import Live
from penchant.feed.live_columns import LiveColumns
from penchant.feed.places import Place
from penchant.workspace.feed_settings import DuplicateSettings, FeedSettings, source_recipe

_CATEGORY = "category"


@final
class Arranger:
    """Makes the mixers of one snapshot; which items say the same is found once."""

    def __init__(self, live: Live, columns: LiveColumns, *, author: str) -> None:
        self._live = live
        self._columns = columns
        self._author = author
        self._groups: dict[tuple[str, ...], TextGroups] = {}

    def mixer(self, feed: FeedSettings, models: Mapping[str, Bridge]) -> Arranged:
        """Return the mixer of a feed with the models there are."""
        return Arranged(
            blocks=tuple((block.source, block.take) for block in feed.blocks),
            backfill=tuple(feed.backfill),
            limits=self._limits(feed, models),
            places=tuple(
                Place(
                    at=place.at - 1,
                    every=place.every,
                    item=place.item,
                    source=place.source,
                    column=place.property,
                    any_of=frozenset(place.any_of),
                )
                for place in feed.places
            ),
            diversity=self._diversity(feed, models),
            decay=self._decay(feed),
        )

    def _limits(self, feed: FeedSettings, models: Mapping[str, Bridge]) -> tuple[Limit, ...]:
        """Return the limits, the most important first: one of near-duplicates, then the caps as declared."""
        limits: list[Limit] = []
        if feed.duplicates is not None:
            groups, space, at_least = self.likeness(feed, feed.duplicates, models)
            limits.append(Duplicates(groups=groups, space=space, at_least=at_least))
        caps = [
            Cap(column=c.property, most=c.most, within=c.within, columns=self._columns) for c in feed.caps
        ]
        return (*limits, *caps)

    def likeness(
        self, feed: FeedSettings, same: DuplicateSettings, models: Mapping[str, Bridge]
    ) -> tuple[TextGroups | None, VectorSpace | None, float]:
        """Return what makes items near-duplicates: their texts, their vectors, and how near is too near."""
        groups = self._texts(tuple(same.text)) if same.text else None
        space = None if same.cosine is None else _vectors(feed, same.model, models)
        return groups, space, 1.0 if same.cosine is None else same.cosine

    def _texts(self, properties: tuple[str, ...]) -> TextGroups:
        if properties not in self._groups:
            self._groups[properties] = TextGroups(self._live, properties)
        return self._groups[properties]

    def _diversity(self, feed: FeedSettings, models: Mapping[str, Bridge]) -> Diversity | None:
        """Return diversity by a property when it is named, else by a model's vectors, else by category."""
        asked = feed.diversity
        if asked is None:
            return None
        space: Space | None = None if asked.property is not None else _vectors(feed, asked.model, models)
        if space is None:
            space = LabelSpace(column=asked.property or _CATEGORY, columns=self._columns)
        return Diversity(weight=asked.relevance, space=space)

    def _decay(self, feed: FeedSettings) -> Decay | None:
        asked = feed.author_decay
        if asked is None:
            return None
        return Decay(
            column=asked.property or self._author,
            decay=asked.decay,
            floor=asked.floor,
            columns=self._columns,
        )


def _vectors(feed: FeedSettings, model: str | None, models: Mapping[str, Bridge]) -> VectorSpace | None:
    """Return the space of the named model, or of the first of the feed's that has one; None without any."""
    names = [source_recipe(block.source) for block in feed.blocks] if model is None else [model]
    for name in names:
        bridge = models.get(name)
        if bridge is not None and bridge.embeds:
            return VectorSpace(bridge=bridge)
    return None
