"""Points in time as they come in files: seconds, milliseconds, ISO 8601 text, Arrow timestamps and dates."""

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from penchant.kernel.arrays import F64, Bools
from penchant.kernel.arrow import ArrowColumn, pc

_NUMBER = r"^[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?$"
_ZONED = r"([zZ]|[+-][0-9]{2}:?([0-9]{2})?)$"
_UNITS = ((1e17, 1e9, "nanoseconds"), (1e14, 1e6, "microseconds"), (1e11, 1e3, "milliseconds"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """n times. ``value`` is in seconds UTC, but where ``plain`` it is the number as written, of unknown unit.

    ``value`` is NaN where ``missing`` or ``bad``.
    """

    value: F64
    plain: Bools
    missing: Bools
    bad: Bools


def unit_of(plain: F64) -> tuple[float, str]:
    """Return how many to a second, and the unit's name, from the magnitude of numbers as written.

    Seconds below 1e11 (the year 5138) by the median, which in milliseconds is 1973.
    """
    size = float(np.median(np.abs(plain))) if len(plain) else 0.0
    for least, divisor, name in _UNITS:
        if size >= least:
            return divisor, name
    return 1.0, "seconds"


def is_time_type(kind: object) -> bool:
    """Return whether an Arrow type is a timestamp or a date."""
    return pa.types.is_timestamp(kind) or pa.types.is_date(kind)


def read_times(column: ArrowColumn) -> Times:
    """Read a column of text, numbers, timestamps or dates; text without a zone is UTC."""
    missing = np.asarray(column.is_null())
    kind = column.type
    if is_time_type(kind):
        none = np.zeros(len(column), np.bool_)
        return Times(value=_of_timestamps(column), plain=none, missing=missing, bad=none)
    if pa.types.is_string(kind):
        return _of_text(column, missing)
    value = _floats(column)
    bad = ~missing & ~np.isfinite(value)
    return Times(value=value, plain=~missing & ~bad, missing=missing, bad=bad)


def _floats(column: ArrowColumn) -> F64:
    return column.cast(pa.float64(), safe=False).fill_null(np.nan).to_numpy(zero_copy_only=False)


def _of_timestamps(column: ArrowColumn) -> F64:
    """Return seconds; exact to the microsecond."""
    whole = column.cast(pa.timestamp("us", getattr(column.type, "tz", None)), safe=False)
    seconds = whole.cast(pa.int64()).cast(pa.float64(), safe=False)
    return pc.divide(seconds, 1e6).fill_null(np.nan).to_numpy(zero_copy_only=False)


def _of_text(column: ArrowColumn, missing: Bools) -> Times:
    try:
        value = _floats(column)
        plain = np.isfinite(value)
    except pa.ArrowInvalid:
        column = pc.utf8_trim_whitespace(column)
        plain = np.asarray(pc.match_substring_regex(column, _NUMBER).fill_null(False))
        value = np.full(len(column), np.nan)
        value[plain] = _floats(column.filter(pa.array(plain)))
        plain &= np.isfinite(value)
        _fill_dates(column, ~plain & ~missing, value)
    return Times(value=value, plain=plain, missing=missing, bad=np.isnan(value) & ~missing)


def _fill_dates(column: ArrowColumn, which: Bools, value: F64) -> None:
    """Write the seconds of ISO 8601 text into ``value`` where ``which``."""
    if not which.any():
        return
    zoned = np.asarray(pc.match_substring_regex(column, r"[T ].*" + _ZONED).fill_null(False))
    for mask, zone in ((which & zoned, "UTC"), (which & ~zoned, None)):
        if mask.any():
            some = column.filter(pa.array(mask))
            try:
                value[mask] = _of_timestamps(some.cast(pa.timestamp("ns", zone)))
            except pa.ArrowInvalid:
                value[mask] = [_date(text) for text in some.to_pylist()]


def _date(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return aware.timestamp()
    except (ValueError, OverflowError):
        return float("nan")
