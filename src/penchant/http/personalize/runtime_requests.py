"""The requests of the runtime and of events, with Amazon's limits; fields that change nothing are ignored."""

from typing import Annotated

import msgspec
from msgspec import Meta

Text = Annotated[str, Meta(min_length=1, max_length=256)]
Values = Annotated[dict[str, str], Meta(max_length=25)]


class PromotionIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A promotion of a request."""

    name: Text
    filter_arn: str
    percent_promoted_items: Annotated[int, Meta(ge=1, le=100)] = 100
    filter_values: Values = {}


class GetRecommendations(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """POST /recommendations."""

    campaign_arn: str | None = None
    recommender_arn: str | None = None
    user_id: Text | None = None
    item_id: Text | None = None
    num_results: Annotated[int, Meta(ge=0)] = 0
    context: Annotated[dict[str, str], Meta(max_length=150)] = {}
    filter_arn: str | None = None
    filter_values: Values = {}
    promotions: Annotated[list[PromotionIn], Meta(max_length=25)] = []
    metadata_columns: dict[str, list[str]] = {}


class GetPersonalizedRanking(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """POST /personalize-ranking."""

    campaign_arn: str
    input_list: Annotated[list[Text], Meta(min_length=1, max_length=500)]
    user_id: Text
    context: dict[str, str] = {}
    filter_arn: str | None = None
    filter_values: Values = {}
    metadata_columns: dict[str, list[str]] = {}


class EventIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One event of PutEvents."""

    event_type: Text
    sent_at: float
    event_id: Text | None = None
    event_value: float | None = None
    item_id: Text | None = None
    properties: Annotated[str, Meta(max_length=1024)] | None = None
    recommendation_id: Annotated[str, Meta(min_length=1, max_length=40)] | None = None
    impression: Annotated[list[Text], Meta(min_length=1, max_length=25)] | None = None
    metric_attribution: dict[str, str] = {}


class PutEvents(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """POST /events."""

    tracking_id: Text
    session_id: Text
    event_list: Annotated[list[EventIn], Meta(min_length=1, max_length=10)]
    user_id: Text | None = None


class ItemIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One item of PutItems."""

    item_id: Text
    properties: Annotated[str, Meta(max_length=32_000)] | None = None


class PutItems(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """POST /items."""

    dataset_arn: str
    items: Annotated[list[ItemIn], Meta(min_length=1, max_length=10)]


class UserIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One user of PutUsers."""

    user_id: Text
    properties: Annotated[str, Meta(max_length=24_000)] | None = None


class PutUsers(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """POST /users."""

    dataset_arn: str
    users: Annotated[list[UserIn], Meta(min_length=1, max_length=10)]


class GetActionRecommendations(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """POST /action-recommendations."""

    campaign_arn: str | None = None
    user_id: Text | None = None
    num_results: Annotated[int, Meta(ge=0)] = 0
    filter_arn: str | None = None
    filter_values: Values = {}


class ActionIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One action of PutActions."""

    action_id: Text
    properties: Annotated[str, Meta(max_length=32_000)] | None = None


class PutActions(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """POST /actions."""

    dataset_arn: str
    actions: Annotated[list[ActionIn], Meta(min_length=1, max_length=10)]


class ActionInteractionIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One event of PutActionInteractions."""

    action_id: Text
    session_id: Text
    timestamp: float
    event_type: Text
    user_id: Text | None = None
    event_id: Text | None = None
    recommendation_id: Annotated[str, Meta(min_length=1, max_length=40)] | None = None
    impression: Annotated[list[Text], Meta(min_length=1, max_length=25)] | None = None
    properties: Annotated[str, Meta(max_length=1024)] | None = None


class PutActionInteractions(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """POST /action-interactions."""

    tracking_id: Text
    action_interactions: Annotated[list[ActionInteractionIn], Meta(min_length=1, max_length=10)]
