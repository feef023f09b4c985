"""The runtime and the events: recommendations, rankings, and what users do."""

import math
import re
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

from penchant.data.events import Acted, AnyEvent, ItemPut, UserPut, Value, anonymous
from penchant.feed.explore import EXPLORE
from penchant.feed.filter_parse import parse_values
from penchant.feed.types import Slot
from penchant.http.checks import check_events
from penchant.http.personalize.desk import Desk
from penchant.http.personalize.errors import AwsError, invalid, not_found
from penchant.http.personalize.groups import OWN
from penchant.http.personalize.kinds import ACTIVE
from penchant.http.personalize.ranking import shares
from penchant.http.personalize.recipes import plain_name
from penchant.http.personalize.requests import Access, decoded
from penchant.http.personalize.runtime_requests import (
    EventIn,
    GetPersonalizedRanking,
    GetRecommendations,
    PromotionIn,
    PutEvents,
    PutItems,
    PutUsers,
)
from penchant.http.personalize.store import path_of
from penchant.kernel.names import did_you_mean
from penchant.workspace.filters import FilterAsked, PromotionAsked
from penchant.workspace.serving import Serving

_DEFAULT_RESULTS, _MOST_RESULTS, _MOST_WITH_METADATA = 25, 500, 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What an ARN of a campaign or recommender stands for. ``model`` ranks; None = whichever can.

    The role of a feed of ``penchant.toml`` is "any": it takes whatever is asked.
    """

    group: str
    feed: str
    role: str
    model: str | None
    metadata: bool


@final
class Runtime:
    """Answers personalize-runtime and personalize-events."""

    def __init__(self, desk: Desk, noticed: Callable[[str], None]) -> None:
        self._store = desk.store
        self.groups = desk.groups
        self._clock = desk.clock
        self._noticed = noticed  # told of a group that events arrived in

    async def recommendations(self, body: bytes, access: Access) -> dict[str, Any]:
        """GetRecommendations."""
        asked: GetRecommendations = decoded(body, GetRecommendations)
        target = self.target(asked.campaign_arn or asked.recommender_arn, access)
        k = asked.num_results or _DEFAULT_RESULTS
        most = _MOST_WITH_METADATA if asked.metadata_columns else _MOST_RESULTS
        if k > most:
            raise invalid(f"numResults must be at most {most}, got {k}.")
        if target.role == "actions":
            raise invalid("This campaign's recipe recommends actions: use GetActionRecommendations.")
        if target.role == "similar" and asked.item_id is None:
            raise invalid("itemId is required: this recipe recommends items like one.")
        if target.role == "personal" and asked.user_id is None:
            raise invalid("userId is required: this recipe recommends to a user.")
        serving = (await self.groups.backend(target.group)).serving
        feed = serving.feed(
            target.feed,
            asked.user_id or "",
            k=k,
            item_id=asked.item_id if target.role in ("similar", "any") else None,
            context=asked.context,
            filters=self.filters(asked.filter_arn, asked.filter_values, target.group, access),
            promotions=[self._promotion(one, target.group, access) for one in asked.promotions],
        )
        metadata = _columns(asked.metadata_columns, target, serving)
        return {
            "itemList": [_item(slot, serving, metadata) for slot in feed.slots],
            "recommendationId": feed.request_id,
        }

    async def ranking(self, body: bytes, access: Access) -> dict[str, Any]:
        """GetPersonalizedRanking: scores sum to 1 over the known items, unknown ones go last with none."""
        asked: GetPersonalizedRanking = decoded(body, GetPersonalizedRanking)
        target = self.target(asked.campaign_arn, access)
        if target.role not in ("ranking", "personal", "any"):
            raise invalid("This campaign's recipe does not rank. Use aws-personalized-ranking.")
        serving = (await self.groups.backend(target.group)).serving
        items = list(dict.fromkeys(asked.input_list))
        filters = self.filters(asked.filter_arn, asked.filter_values, target.group, access)
        if filters:
            items = serving.passing(asked.user_id, items, filters)
        ranked = serving.rank(asked.user_id, items, model=target.model)
        metadata = _columns(asked.metadata_columns, target, serving)
        parts = shares([score for _, score in ranked])
        return {
            "personalizedRanking": [
                {
                    "itemId": item_id,
                    **({} if share is None else {"score": share}),
                    **_metadata(serving, item_id, metadata if share is not None else ()),
                }
                for (item_id, _), share in zip(ranked, parts, strict=True)
            ],
            "recommendationId": uuid.uuid4().hex,
        }

    async def events(self, body: bytes, access: Access) -> dict[str, Any]:
        """PutEvents: acknowledged when they are on disk."""
        asked: PutEvents = decoded(body, PutEvents)
        tracker = self._store.find(f"event-tracker/{asked.tracking_id}")
        if tracker is None:
            raise invalid(f"There is no event tracker with trackingId '{asked.tracking_id}'.")
        access.check(tracker.group)
        user = asked.user_id or anonymous(asked.session_id)
        await self.write(tracker.group, [_acted(event, user, asked.session_id) for event in asked.event_list])
        self._noticed(tracker.group)
        return {}

    async def items(self, body: bytes, access: Access) -> dict[str, Any]:
        """PutItems."""
        asked: PutItems = decoded(body, PutItems)
        group = self.dataset(asked.dataset_arn, "ITEMS", access)
        now = self._clock.now()
        await self.write(
            group,
            [
                ItemPut(
                    event_id=uuid.uuid4().hex,
                    timestamp=now,
                    item_id=one.item_id,
                    properties=properties_of(one.properties),
                )
                for one in asked.items
            ],
        )
        return {}

    async def users(self, body: bytes, access: Access) -> dict[str, Any]:
        """PutUsers."""
        asked: PutUsers = decoded(body, PutUsers)
        group = self.dataset(asked.dataset_arn, "USERS", access)
        now = self._clock.now()
        await self.write(
            group,
            [
                UserPut(
                    event_id=uuid.uuid4().hex,
                    timestamp=now,
                    user_id=one.user_id,
                    properties=properties_of(one.properties),
                )
                for one in asked.users
            ],
        )
        return {}

    def now(self) -> float:
        """Return the time."""
        return self._clock.now()

    async def write(self, group: str, events: Sequence[AnyEvent]) -> None:
        """Store events in a group; they are on disk when this returns."""
        check_events(events, now=self._clock.now())
        await (await self.groups.backend(group)).writer.write(events)

    def target(self, arn: str | None, access: Access) -> Target:
        """Return what a campaign or recommender stands for; AwsError when it is none that can answer."""
        if arn is None:
            raise invalid("campaignArn or recommenderArn is required.")
        path = path_of(arn)
        resource = self._store.find(path)
        if resource is None:
            kind, _, name = path.partition("/")
            if kind != "campaign":
                raise not_found(f"There is no campaign or recommender {arn}.")
            access.check(OWN)
            return Target(group=OWN, feed=name, role="any", model=None, metadata=True)
        access.check(resource.group)
        if resource.kind == "recommender":
            trained, config = resource, resource.fields["recommenderConfig"]
        elif resource.kind == "campaign":
            trained = self._store.get(path_of(resource.fields["solutionVersionArn"]))
            config = resource.fields["campaignConfig"]
        else:
            raise invalid(f"{arn} is neither a campaign nor a recommender.")
        if resource.status != ACTIVE:
            raise AwsError("ResourceInUseException", f"{resource.arn} is {resource.status}.", status=409)
        return Target(
            group=resource.group,
            feed=plain_name(resource.path),
            role=trained.fields["_role"],
            model=trained.fields["_model"],
            metadata=bool(config.get("enableMetadataWithRecommendations")),
        )

    def filters(
        self, arn: str | None, values: dict[str, str], group: str, access: Access
    ) -> list[FilterAsked]:
        """Return the filter of a request with its values; AwsError when it is not of this group."""
        if arn is None:
            return []
        resource = self._store.get(path_of(arn, "filter"))
        access.check(resource.group)
        if resource.group != group:
            raise invalid(f"The filter {arn} belongs to another dataset group.")
        return [
            FilterAsked(
                name=resource.name,
                expression=resource.fields["filterExpression"],
                parameters={name: parse_values(value) for name, value in values.items()},
            )
        ]

    def _promotion(self, asked: PromotionIn, group: str, access: Access) -> PromotionAsked:
        (chosen,) = self.filters(asked.filter_arn, asked.filter_values, group, access)
        return PromotionAsked(name=asked.name, percent=asked.percent_promoted_items, filter=chosen)

    def tracked_dataset(self, tracking_id: str, access: Access) -> str:
        """Return the group of the dataset of action interactions that has this tracking id."""
        found = self._store.all("dataset", trackingId=tracking_id)
        if not found:
            raise invalid(
                f"There is no dataset of action interactions with trackingId '{tracking_id}'. "
                "DescribeDataset tells it."
            )
        access.check(found[0].group)
        return found[0].group

    def dataset(self, arn: str, type_: str, access: Access) -> str:
        """Return the group of a dataset of this type; AwsError when it is none."""
        dataset = self._store.get(path_of(arn, "dataset"))
        access.check(dataset.group)
        if dataset.fields["datasetType"] != type_:
            raise invalid(f"{arn} is not a dataset of {type_.lower()}.")
        return dataset.group


def _acted(event: EventIn, user: str, session: str) -> Acted:
    properties = properties_of(event.properties)
    item = event.item_id or properties.pop("item_id", None)
    if not isinstance(item, str):
        raise invalid("Every event needs an itemId.")
    source = event.metric_attribution.get("eventAttributionSource")
    return Acted(
        event_id=event.event_id or uuid.uuid4().hex,
        timestamp=event.sent_at,
        user_id=user,
        item_id=item,
        event_type=event.event_type,
        event_value=event.event_value,
        impression=event.impression,
        recommendation_id=event.recommendation_id,
        session_id=session,
        properties=properties if source is None else {**properties, "event_attribution_source": source},
    )


def properties_of(text: str | None) -> dict[str, Value]:
    """Return a JSON object in camelCase as properties in snake_case."""
    if text is None:
        return {}
    given: dict[str, Value] = decoded(text.encode(), dict[str, Value])
    return {snake(name): value for name, value in given.items()}


def snake(name: str) -> str:
    """Return ``creationTimestamp`` and ``CREATION_TIMESTAMP`` as ``creation_timestamp``."""
    return name.lower() if name.isupper() else re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _item(slot: Slot, serving: Serving, columns: Sequence[str]) -> dict[str, Any]:
    told: dict[str, Any] = {"itemId": slot.item_id}
    if math.isfinite(slot.score):
        told["score"] = slot.score
    if slot.source.startswith("promotion:"):
        told["promotionName"] = slot.source.removeprefix("promotion:")
        told["reason"] = ["Promoted item"]
    elif slot.source == EXPLORE:
        told["reason"] = ["Exploration"]
    elif slot.source.endswith("popular") or slot.source == "fallback":
        told["reason"] = ["Popular item"]
    return {**told, **_metadata(serving, slot.item_id, columns)}


def _metadata(serving: Serving, item_id: str, columns: Sequence[str]) -> dict[str, Any]:
    if not columns:
        return {}
    known = {name.lower(): value for name, value in serving.item(item_id).items()}
    found = {column: known.get(column.lower()) for column in columns}
    return {"metadata": {c: _text(v) for c, v in found.items() if v is not None}}


def _text(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "|".join(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _columns(asked: dict[str, list[str]], target: Target, serving: Serving) -> Sequence[str]:
    for table in asked:
        if table != "ITEMS":
            raise invalid(f"metadataColumns are of ITEMS, not of '{table[:50]}'.")
    columns = asked.get("ITEMS", [])
    if columns and not target.metadata:
        raise invalid("Metadata is not enabled: set enableMetadataWithRecommendations on the campaign.")
    known = serving.item_columns()
    for column in columns:
        if column.lower() not in {name.lower() for name in known}:
            raise invalid(f"Items have no column '{column[:100]}'. {did_you_mean(column, known)}".strip())
    return columns
