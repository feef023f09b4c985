"""Actions at run time: which a user is likely to take, and what users do when asked to."""

import math
import uuid
from typing import Any, final

from penchant.data.actions import OUTCOMES, outcome_of
from penchant.data.events import ActionPut, Responded, Value, anonymous
from penchant.feed.action_choice import RESERVED
from penchant.http.personalize.errors import invalid
from penchant.http.personalize.requests import Access, decoded
from penchant.http.personalize.runtime import Runtime, properties_of
from penchant.http.personalize.runtime_requests import (
    ActionInteractionIn,
    GetActionRecommendations,
    PutActionInteractions,
    PutActions,
)

_DEFAULT_RESULTS, _MOST_RESULTS = 5, 100


@final
class ActionRuntime:
    """Answers GetActionRecommendations, PutActions and PutActionInteractions."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def recommendations(self, body: bytes, access: Access) -> dict[str, Any]:
        """GetActionRecommendations: a score is the probability that the user takes the action in time."""
        asked: GetActionRecommendations = decoded(body, GetActionRecommendations)
        target = self._runtime.target(asked.campaign_arn, access)
        if target.role not in ("actions", "any"):
            raise invalid("This campaign's recipe recommends items: use GetRecommendations.")
        if asked.user_id is None:
            raise invalid("userId is required.")
        k = asked.num_results or _DEFAULT_RESULTS
        if k > _MOST_RESULTS:
            raise invalid(f"numResults must be at most {_MOST_RESULTS}, got {k}.")
        serving = (await self._runtime.groups.backend(target.group)).serving
        answer = serving.actions(
            target.feed,
            asked.user_id,
            k=k,
            filters=self._runtime.filters(asked.filter_arn, asked.filter_values, target.group, access),
        )
        return {
            "actionList": [{"actionId": slot.item_id, "score": slot.score} for slot in answer.slots],
            "recommendationId": answer.request_id,
        }

    async def put(self, body: bytes, access: Access) -> dict[str, Any]:
        """PutActions."""
        asked: PutActions = decoded(body, PutActions)
        group = self._runtime.dataset(asked.dataset_arn, "ACTIONS", access)
        now = self._runtime.now()
        await self._runtime.write(
            group,
            [
                ActionPut(
                    event_id=uuid.uuid4().hex,
                    timestamp=now,
                    action_id=one.action_id,
                    properties=_with_numbers(properties_of(one.properties)),
                )
                for one in asked.actions
            ],
        )
        return {}

    async def interactions(self, body: bytes, access: Access) -> dict[str, Any]:
        """PutActionInteractions: acknowledged when they are on disk."""
        asked: PutActionInteractions = decoded(body, PutActionInteractions)
        group = self._runtime.tracked_dataset(asked.tracking_id, access)
        await self._runtime.write(group, [_responded(one) for one in asked.action_interactions])
        return {}


def _responded(one: ActionInteractionIn) -> Responded:
    outcome = outcome_of(one.event_type)
    if outcome is None:
        raise invalid(f"eventType '{one.event_type[:50]}' is none of {', '.join(OUTCOMES)}.")
    return Responded(
        event_id=one.event_id or uuid.uuid4().hex,
        timestamp=one.timestamp,
        user_id=one.user_id or anonymous(one.session_id),
        action_id=one.action_id,
        event_type=outcome,
        impression=one.impression,
        recommendation_id=one.recommendation_id,
        session_id=one.session_id,
        properties=properties_of(one.properties),
    )


def _with_numbers(properties: dict[str, Value]) -> dict[str, Value]:
    """Return the properties with those that are numbers as numbers: clients send ``"value": "100"``."""
    for name in RESERVED:
        value = properties.get(name)
        if value is None:
            continue
        try:
            number = math.nan if isinstance(value, bool | list) else float(value)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise invalid(f"{name.upper()} must be a number, got {str(value)[:50]!r}.")
        properties[name] = number
    return properties
