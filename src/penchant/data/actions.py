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
SHOWN, OFFERED = "SHOWN", "OFFERED"
"""Event types, in a snapshot of actions, of one that an impression lists, and of one that a feed offered."""


def outcome_of(text: str) -> Outcome | None:
    """Return the response that a text such as ``Not Taken`` names, None for another text."""
    name = "_".join(text.upper().split())
    return next((outcome for outcome in OUTCOMES if outcome == name), None)


def of_actions(event: AnyEvent) -> list[AnyEvent]:
    """Return an event about actions as events about items; none when it is not about actions.

    What was offered, and what stood beside the action responded to, are events of these actions too.
    """
    match event:
        case ActionPut():
            return [
                ItemPut(
                    event_id=event.event_id,
                    timestamp=event.timestamp,
                    item_id=event.action_id,
                    properties=event.properties,
                )
            ]
        case Offered():
            served = Served(
                event_id=event.event_id,
                timestamp=event.timestamp,
                user_id=event.user_id,
                feed=event.feed,
                model_version=event.model_version,
                slots=event.slots,
            )
            return [served, *(_seen(event, slot.item_id, OFFERED) for slot in event.slots)]
        case Responded():
            beside = [action for action in event.impression or () if action != event.action_id]
            return [_response(event), *(_seen(event, action, SHOWN) for action in beside)]
        case _:
            return []


def _response(event: Responded) -> Acted:
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


def _seen(event: Offered | Responded, action: str, kind: str) -> Acted:
    return Acted(
        event_id=f"{event.event_id}/{action}",
        timestamp=event.timestamp,
        user_id=event.user_id,
        item_id=action,
        event_type=kind,
    )
