"""Spans of time as people write them: ``30m``, ``3h``, ``1d``."""

import re

from penchant.kernel.clock import DAY, HOUR, MINUTE

_UNITS = {"s": 1.0, "m": MINUTE, "h": HOUR, "d": DAY, "w": 7 * DAY}
_FORM = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")


def seconds_of(span: str, *, field: str = "duration") -> float:
    """Return the seconds of a span such as ``90s``, ``30m``, ``1h``, ``30d`` or ``2w``.

    Raises:
        ValueError: it is not of that form or not above zero; the message names ``field``.
    """
    found = _FORM.fullmatch(span)
    if found is None or float(found[1]) <= 0:
        raise ValueError(
            f"{field} is '{span}': write a number above 0 and one of s, m, h, d, w, such as '30m'."
        )
    return float(found[1]) * _UNITS[found[2]]
