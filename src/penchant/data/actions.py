"""Actions that users may be asked to take, beside items: as a snapshot of their own, with the same machinery.

In that snapshot actions stand where items do, and responses where interactions do: what follows the log of
items (a live catalogue, filters, exploration) follows that of actions too.
"""

from penchant.data.events import (
    OUTCOMES,
    Acted,
    ActionPut,
    AnyEvent,
    ItemPut,
    Offered,
    Outcome,
    Responded,
    Served,
)

TAKEN, NOT_TAKEN, VIEWED = OUTCOMES
OFFERED = "OFFERED"
"""The event type, in a snapshot of actions, of one that was shown beside others or offered."""


def outcome_of(text: str) -> Outcome | None:
    """Return the response that a text such as ``Not Taken`` names, None for another text."""
    name = "_".join(text.upper().split())
    return next((outcome for outcome in OUTCOMES if outcome == name), None)


def of_actions(event: AnyEvent) -> AnyEvent | None:
    """Return an event about actions as the same event about items; None when it is not about actions.

    Seeing an action is being shown it.
    """
    match event:
        case ActionPut():
            return ItemPut(
                event_id=event.event_id,
                timestamp=event.timestamp,
                item_id=event.action_id,
                properties=event.properties,
            )
        case Offered():
            return Served(
                event_id=event.event_id,
                timestamp=event.timestamp,
                user_id=event.user_id,
                feed=event.feed,
                model_version=event.model_version,
                slots=event.slots,
            )
        case Responded():
            shown = event.impression
            if shown is None and event.recommendation_id is None and event.event_type == VIEWED:
                shown = [event.action_id]
            return Acted(
                event_id=event.event_id,
                timestamp=event.timestamp,
                user_id=event.user_id,
                item_id=event.action_id,
                event_type=event.event_type,
                impression=shown,
                recommendation_id=event.recommendation_id,
                session_id=event.session_id,
                properties=event.properties,
            )
        case _:
            return None
