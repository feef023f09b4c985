"""Events as bytes, as objects and as columns: the three forms the log moves between."""

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from penchant.data.eventlog import COLUMNS
from penchant.data.events import KINDS, MAX_VALUE, OUTCOMES, Acted, AnyEvent, ServedSlot, Value
from penchant.kernel.arrow import ArrowBatch, ArrowColumn, pc
from penchant.kernel.errors import Defect, InputError

_ENCODER = msgspec.json.Encoder()
_EVENTS = msgspec.json.Decoder(AnyEvent)
_SLOTS = msgspec.json.Decoder(list[ServedSlot])
PROPERTIES = msgspec.json.Decoder(dict[str, Value])
"""Reads the ``properties`` text of an event."""

PUTS = ("item_put", "user_put", "action_put")
"""The kinds that describe somebody or something; without properties they hold an empty object."""

_OPTIONAL = {"event_id", "properties", "event_value", "impression", "recommendation_id", "session_id"}
_DEFAULTS: dict[tuple[str, str], Any] = {("followed", "active"): True, ("acted", "event_type"): "click"}


def encode(event: AnyEvent) -> bytes:
    """Return an event as JSON; raises as `checked` does."""
    return checked(event)[0]


def checked(event: AnyEvent) -> tuple[bytes, AnyEvent]:
    """Return an event as JSON and as it will read back, after refusing what could not be.

    Raises:
        InputError: the id is empty, the time is not finite, the value is beyond `MAX_VALUE`, or a text or
            number has no JSON form.
    """
    where = f"event {event.event_id!r}"
    if not event.event_id:
        raise InputError("an event needs an event_id.", where=f"{type(event).__name__} at {event.timestamp}")
    if not math.isfinite(event.timestamp):
        raise InputError(
            f"timestamp {event.timestamp} is not a finite number of seconds.",
            where=where,
            fix="Send seconds since 1970 UTC.",
        )
    if isinstance(event, Acted):
        check_value(event.event_value, where)
    try:
        encoded = _ENCODER.encode(event)
        return encoded, _EVENTS.decode(encoded)
    except (msgspec.MsgspecError, UnicodeError, OverflowError, TypeError) as error:
        raise InputError(f"it cannot be stored as JSON ({error}).", where=where) from error


def check_value(value: float | None, where: str) -> None:
    """Refuse an event value that single precision would make infinite; one that is infinite is no value.

    Raises:
        InputError: it is beyond `MAX_VALUE`.
    """
    if value is not None and MAX_VALUE < abs(value) < math.inf:
        raise InputError(
            f"event_value {value:g} is beyond single precision.",
            where=where,
            fix=f"Send a number from -{MAX_VALUE:.2g} to {MAX_VALUE:.2g}, or no event_value.",
        )


def decode(encoded: bytes) -> AnyEvent:
    """Return the event that `encode` wrote."""
    return _EVENTS.decode(encoded)


def kind_of(event: AnyEvent) -> str:
    """Return the name of the event's kind, a key of `COLUMNS`."""
    return str(event.__struct_config__.tag)


def id_key(event_id: str) -> bytes:
    """Return the 16 bytes that stand for an event id wherever ids of sealed events are kept: its MD5."""
    return hashlib.md5(event_id.encode(), usedforsecurity=False).digest()


def to_batch(kind: str, events: Sequence[AnyEvent]) -> ArrowBatch:
    """Return events of one kind as columns: the `COLUMNS` of ``kind``."""
    schema = COLUMNS[kind]
    return pa.record_batch([_column(kind, field, events) for field in schema], schema=schema)


def _column(kind: str, field: Any, events: Sequence[AnyEvent]) -> ArrowColumn:
    values: list[Any] = [getattr(event, field.name) for event in events]
    if field.name == "slots":
        values = [_ENCODER.encode(slots).decode() for slots in values]
    elif field.name == "properties":
        none = "{}" if kind in PUTS else None
        values = [_ENCODER.encode(properties).decode() if properties else none for properties in values]
    return pa.array(values, field.type)


def to_events(kind: str, batch: ArrowBatch) -> list[AnyEvent]:
    """Return the rows of `COLUMNS` (other columns are ignored) as events.

    Raises:
        Defect: a row does not read back; what is in a log was checked on the way in.
    """
    names = COLUMNS[kind].names
    columns = [batch.column(name).to_pylist() for name in names]
    events: list[AnyEvent] = []
    for row in zip(*columns, strict=True):
        fields: dict[str, Any] = dict(zip(names, row, strict=True))
        try:
            if "properties" in fields:
                text = fields["properties"]
                fields["properties"] = PROPERTIES.decode(text) if text is not None else {}
            if "slots" in fields:
                fields["slots"] = _SLOTS.decode(fields["slots"])
        except msgspec.DecodeError as error:
            raise Defect(f"event {fields['event_id']!r} of the log does not read back ({error}).") from error
        events.append(KINDS[kind](**fields))
    return events


def conform(kind: str, batch: ArrowBatch) -> ArrowBatch:
    """Return a batch given for bulk import with exactly the `COLUMNS` of ``kind``, checked.

    Columns that may be null can be left out; a missing ``active`` is true, a missing ``event_type`` a click,
    an ``event_value`` that is not finite is null.

    Raises:
        InputError: an unknown kind or column, a missing or null id or time, a time that is not finite, a
            value beyond `MAX_VALUE`, or properties or slots that are not JSON of the declared form.
    """
    if kind not in COLUMNS:
        raise InputError(f"no kind of event is called {kind!r}.", fix=f"Known: {', '.join(COLUMNS)}.")
    schema = COLUMNS[kind]
    unknown = set(batch.schema.names) - set(schema.names)
    if unknown:
        raise InputError(
            f"unknown columns {sorted(unknown)}.", where=kind, fix="Put other columns into properties."
        )
    columns = [_conformed(kind, field, batch) for field in schema]
    return pa.record_batch(columns, schema=schema)


def _conformed(kind: str, field: Any, batch: ArrowBatch) -> ArrowColumn:
    name = field.name
    where = f"column {name} of {kind}"
    if name in batch.schema.names:
        try:
            column = batch.column(name).cast(field.type)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise InputError(f"not a column of {field.type} ({error}).", where=where) from error
    else:
        column = pa.nulls(batch.num_rows, field.type)
    if (kind, name) in _DEFAULTS:
        column = pc.fill_null(column, _DEFAULTS[kind, name])
    if name not in _OPTIONAL and column.null_count:
        raise InputError(f"{column.null_count} of {len(column)} values are missing.", where=where)
    if name == "timestamp" and not np.isfinite(column.to_numpy(zero_copy_only=False)).all():
        raise InputError("a time is not a finite number of seconds.", where=where)
    if name == "event_id" and pc.any(pc.equal(column, "")).as_py():
        raise InputError("an event_id is empty.", where=where, fix="Leave it null to have one made.")
    if name == "event_value":
        column = pc.if_else(pc.is_finite(column), column, pa.scalar(None, field.type))
        check_value(pc.max(pc.abs(column)).as_py(), where)
    if kind == "responded" and name == "event_type":
        _check_outcomes(column, where)
    if name == "impression" and column.flatten().null_count:
        raise InputError("an impression lists a missing item.", where=where)
    if name in ("properties", "slots"):
        _check_json(PROPERTIES if name == "properties" else _SLOTS, column, where)
    return column


def _check_outcomes(column: ArrowColumn, where: str) -> None:
    wrong = [name for name in pc.unique(column).to_pylist() if name not in OUTCOMES]
    if wrong:
        raise InputError(f"{wrong[0]!r} is none of {', '.join(OUTCOMES)}.", where=where)


def _check_json(decoder: "msgspec.json.Decoder[Any]", column: ArrowColumn, where: str) -> None:
    for text in pc.unique(column).to_pylist():
        if text is not None:
            try:
                decoder.decode(text)
            except msgspec.DecodeError as error:
                raise InputError(
                    f"{text[:80]!r} does not read as declared ({error}).", where=where
                ) from error
