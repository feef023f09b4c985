"""What the service takes and gives: its JSON and its OpenAPI schema come from these types."""

from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from penchant.data.events import AnyEvent, Value
from penchant.feed.types import Feed, Step

Id = Annotated[str, Meta(min_length=1, max_length=256, description="Any Unicode text, 1 to 256 characters.")]


class Incoming(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A body that is sent to the service; unknown fields are refused."""


class Outgoing(msgspec.Struct, frozen=True, kw_only=True):
    """A body that the service answers with."""


class EventsIn(Incoming, frozen=True, kw_only=True):
    """A batch of events. An ``event_id`` the log has already is acknowledged and not stored again."""

    events: Annotated[list[AnyEvent], Meta(min_length=1)]


class Acknowledged(Outgoing, frozen=True, kw_only=True):
    """``acknowledged`` events are on disk; ``head`` is the number of the last event in the log."""

    acknowledged: int
    head: int


class Properties(Incoming, frozen=True, kw_only=True):
    """All properties of a user or an item; they replace what was there."""

    properties: dict[str, Value] = {}


class UserIn(Properties, frozen=True, kw_only=True):
    """One user of a batch."""

    user_id: Id


class ItemIn(Properties, frozen=True, kw_only=True):
    """One item of a batch."""

    item_id: Id


class UsersIn(Incoming, frozen=True, kw_only=True):
    """Users to put, all or none."""

    users: Annotated[list[UserIn], Meta(min_length=1)]


class ItemsIn(Incoming, frozen=True, kw_only=True):
    """Items to put, all or none."""

    items: Annotated[list[ItemIn], Meta(min_length=1)]


class RankIn(Incoming, frozen=True, kw_only=True):
    """Items to put in the order a user would like best."""

    user_id: Id
    item_ids: Annotated[list[Id], Meta(min_length=1)]


class FeedItem(Outgoing, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One place of a feed; ``why`` is there when the feed was asked to explain itself."""

    item_id: str
    source: str
    score: float | None
    propensity: float | None = None
    why: str = ""


class FeedAnswer(Outgoing, frozen=True, kw_only=True, omit_defaults=True):
    """A feed, first item first. ``request_id`` is what events about it name as ``recommendation_id``."""

    request_id: str
    feed: str
    user_id: str
    model_version: str
    items: list[FeedItem]
    trace: Sequence[Step] | None = None


class ActionOut(Outgoing, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One action with the probability that the user takes it; ``why`` when asked for."""

    action_id: str
    probability: float
    source: str
    propensity: float | None = None
    why: str = ""


class ActionsAnswer(Outgoing, frozen=True, kw_only=True, omit_defaults=True):
    """Actions, the first to be asked first. Responses name ``request_id`` as ``recommendation_id``."""

    request_id: str
    name: str
    user_id: str
    model_version: str
    actions: list[ActionOut]
    trace: Sequence[Step] | None = None


class ScoredItem(Outgoing, frozen=True, kw_only=True, gc=False):
    """An item with its score; null when the model cannot score it."""

    item_id: str
    score: float | None


class SimilarAnswer(Outgoing, frozen=True, kw_only=True):
    """The items most like one, best first."""

    item_id: str
    items: list[ScoredItem]


class RankAnswer(Outgoing, frozen=True, kw_only=True):
    """The items asked about, best first, those nobody can score last."""

    user_id: str
    items: list[ScoredItem]


class ItemAnswer(Outgoing, frozen=True, kw_only=True):
    """An item with its latest properties."""

    item_id: str
    properties: dict[str, Value]


class HealthAnswer(Outgoing, frozen=True, kw_only=True):
    """The process is up and the log takes events."""

    status: str
    waiting: int  # events and served feeds not yet on disk


class ReadyAnswer(Outgoing, frozen=True, kw_only=True):
    """Models are loaded and feeds can be asked for."""

    status: str
    model_version: str


def feed_answer(feed: Feed, *, explain: bool) -> FeedAnswer:
    """Return a feed as it is sent."""
    return FeedAnswer(
        request_id=feed.request_id,
        feed=feed.feed,
        user_id=feed.user_id,
        model_version=feed.model_version,
        items=[
            FeedItem(
                item_id=slot.item_id,
                source=slot.source,
                score=slot.score,
                propensity=slot.propensity,
                why=slot.why if explain else "",
            )
            for slot in feed.slots
        ],
        trace=feed.trace if explain else None,
    )


def actions_answer(feed: Feed, *, explain: bool) -> ActionsAnswer:
    """Return actions as they are sent."""
    return ActionsAnswer(
        request_id=feed.request_id,
        name=feed.feed,
        user_id=feed.user_id,
        model_version=feed.model_version,
        actions=[
            ActionOut(
                action_id=slot.item_id,
                probability=slot.score,
                source=slot.source,
                propensity=slot.propensity,
                why=slot.why if explain else "",
            )
            for slot in feed.slots
        ],
        trace=feed.trace if explain else None,
    )
