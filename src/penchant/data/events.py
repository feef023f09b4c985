"""The one vocabulary of what can happen. Everything Penchant knows arrived as one of these events."""

from typing import Literal, TypeAlias

import msgspec

Value: TypeAlias = str | float | int | bool | list[str] | None
"""A property of a user, an item or an event."""


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", forbid_unknown_fields=True):
    """What all events carry.

    ``event_id`` makes appending idempotent: an id seen before is acknowledged and not stored again.
    ``timestamp`` is when it happened, seconds since 1970 UTC.
    """

    event_id: str
    timestamp: float


class ItemPut(Event, frozen=True, kw_only=True, tag="item_put"):
    """An item appeared or changed; the latest put of an item wins as a whole."""

    item_id: str
    properties: dict[str, Value] = {}


class UserPut(Event, frozen=True, kw_only=True, tag="user_put"):
    """A user appeared or changed; the latest put of a user wins as a whole."""

    user_id: str
    properties: dict[str, Value] = {}


class Followed(Event, frozen=True, kw_only=True, tag="followed"):
    """``user_id`` follows ``followed_id`` from now on, or no longer when not ``active``."""

    user_id: str
    followed_id: str
    active: bool = True


class ServedSlot(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """One item shown: at ``position`` 0.. of the feed, from ``source``.

    ``propensity`` is the probability that the policy put this item here given the slots above, or None where
    it is not known.
    """

    item_id: str
    position: int
    source: str
    score: float | None = None
    propensity: float | None = None


class Served(Event, frozen=True, kw_only=True, tag="served"):
    """A feed was served; ``event_id`` is the request id that later `Acted` events name."""

    user_id: str
    feed: str
    model_version: str
    slots: list[ServedSlot]


class Acted(Event, frozen=True, kw_only=True, tag="acted"):
    """A user did something with an item. ``impression`` lists the items shown at that moment, in order."""

    user_id: str
    item_id: str
    event_type: str = "click"
    event_value: float | None = None
    impression: list[str] | None = None
    recommendation_id: str | None = None
    session_id: str | None = None
    properties: dict[str, Value] = {}


class ActionPut(Event, frozen=True, kw_only=True, tag="action_put"):
    """An action, such as joining a club, appeared or changed; the latest put of an action wins as a whole."""

    action_id: str
    properties: dict[str, Value] = {}


class Offered(Event, frozen=True, kw_only=True, tag="offered"):
    """Actions were offered, as `Served` says it of items; a slot's ``item_id`` is an action's."""

    user_id: str
    feed: str
    model_version: str
    slots: list[ServedSlot]


Outcome: TypeAlias = Literal["TAKEN", "NOT_TAKEN", "VIEWED"]
OUTCOMES: tuple[Outcome, ...] = ("TAKEN", "NOT_TAKEN", "VIEWED")


class Responded(Event, frozen=True, kw_only=True, tag="responded"):
    """A user saw an action, took it or chose not to. ``impression`` lists the actions shown just then."""

    user_id: str
    action_id: str
    event_type: Outcome
    impression: list[str] | None = None
    recommendation_id: str | None = None
    session_id: str | None = None
    properties: dict[str, Value] = {}


AnyEvent: TypeAlias = ItemPut | UserPut | Followed | Served | Acted | ActionPut | Offered | Responded

KINDS: dict[str, type[AnyEvent]] = {
    "item_put": ItemPut,
    "user_put": UserPut,
    "followed": Followed,
    "served": Served,
    "acted": Acted,
    "action_put": ActionPut,
    "offered": Offered,
    "responded": Responded,
}
"""The tag on the wire and in the log -> the type. One vocabulary, one table."""

MAX_ID_CHARACTERS = 256

MAX_VALUE = 3.4028234663852886e38
"""The largest event value either side of zero: what single precision holds, as everything learns from it."""

ANONYMOUS = "session:"


def anonymous(session_id: str) -> str:
    """Return the user id of somebody who is known by a session only.

    When the session turns out to be a user's, because a later event names both, its earlier events are the
    user's: in feeds at once, in the next snapshot for good.
    """
    return ANONYMOUS + session_id
