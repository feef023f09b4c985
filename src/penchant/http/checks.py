"""What JSON types cannot say about a request: lengths of ids, plausible times, limits of the settings."""

import re
from collections.abc import Collection, Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

from litestar import Request

from penchant.data.events import MAX_ID_CHARACTERS, Acted, AnyEvent
from penchant.data.log_rows import check_value
from penchant.feed.filter_parse import parse_values
from penchant.kernel.clock import DAY
from penchant.kernel.errors import InputError
from penchant.kernel.names import did_you_mean
from penchant.workspace.filters import PromotionNamed

_ID_FIELDS = ("event_id", "user_id", "item_id", "action_id", "followed_id", "recommendation_id", "session_id")
_PROMOTION = re.compile(r"(?P<filter>.+):(?P<number>[0-9]{1,4})(?P<slots>slots?)?")


def path_id(segment: str, what: str) -> str:
    """Return the id that a still encoded segment of a path stands for.

    Raises:
        InputError: it is not UTF-8 or too long.
    """
    id_ = segment
    if "%" in segment or not segment.isascii():
        try:
            id_ = unquote_to_bytes(segment.encode("latin-1")).decode()
        except UnicodeError as error:
            raise InputError("the id is not percent-encoded UTF-8.", where=what) from error
    if len(id_) > MAX_ID_CHARACTERS:
        raise InputError(f"the id has {len(id_)} characters; {MAX_ID_CHARACTERS} are accepted.", where=what)
    return id_


def known_parameters(request: Request[Any, Any, Any], known: Collection[str]) -> None:
    """Refuse a query parameter that the route does not know.

    Raises:
        InputError: there is one; the message names it and the nearest known name.
    """
    if not request.scope["query_string"]:
        return
    for name in request.query_params:
        if name not in known:
            raise InputError("unknown query parameter.", where=name, fix=did_you_mean(name, known))


def filter_values_of(given: Sequence[str]) -> dict[str, list[str | float]]:
    """Return the values of each parameter of filters, from texts NAME=VALUE.

    Raises:
        InputError: one is not of that form, or a name comes twice.
    """
    values: dict[str, list[str | float]] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name or name in values:
            raise InputError(
                f"{text[:80]!r} is not accepted: each parameter once, as NAME=VALUE.",
                where="filter_values",
                fix='Write several values of one parameter as NAME="a","b".',
            )
        values[name] = parse_values(value)
    return values


def promotion_of(text: str) -> PromotionNamed:
    """Return a promotion from a text FILTER:PERCENT or FILTER:NUMBERslots.

    Raises:
        InputError: it is not of that form.
    """
    found = _PROMOTION.fullmatch(text)
    number = int(found["number"]) if found else 0
    if found and found["slots"] and number >= 1:
        return PromotionNamed(found["filter"], count=number)
    if found and not found["slots"] and 1 <= number <= 100:
        return PromotionNamed(found["filter"], percent=number)
    raise InputError(
        f"{text[:80]!r} is not accepted: a filter and 1 to 100 percent, as FILTER:PERCENT, or a number of "
        "places, as FILTER:2slots.",
        where="promotion",
    )


def check_number(n: int, most: int, where: str, setting: str) -> None:
    """Refuse more than ``most`` things in one request.

    Raises:
        InputError: there are more.
    """
    if n > most:
        raise InputError(
            f"{n} at once; {most} are accepted.",
            where=where,
            fix=f"Send less, or raise {setting} in penchant.toml.",
        )


def check_events(events: Sequence[AnyEvent], *, now: float) -> None:
    """Refuse ids that are empty or too long, times that are no seconds or in the future, too large values.

    Raises:
        InputError: the first that is wrong, with its place in the batch.
    """
    for i, event in enumerate(events):
        for name in _ID_FIELDS:
            id_: str | None = getattr(event, name, None)
            if id_ is not None and not 1 <= len(id_) <= MAX_ID_CHARACTERS:
                raise InputError(
                    f"an id has 1 to {MAX_ID_CHARACTERS} characters, this one {len(id_)}.",
                    where=f"$.events[{i}].{name}",
                )
        if not 0 <= event.timestamp <= now + DAY:
            raise InputError(
                f"{event.timestamp:.0f} is no time until now in seconds since 1970 UTC.",
                where=f"$.events[{i}].timestamp",
                fix="Divide by 1000 if these are milliseconds." if event.timestamp > 1e11 else None,
            )
        if isinstance(event, Acted):
            check_value(event.event_value, f"$.events[{i}].event_value")
