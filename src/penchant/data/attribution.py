"""What recommendations brought: counts and sums of events by who gave the recommendation, a day at a time.

The source of an event is the one it names (``event_attribution_source``), else the feed that was served under
its ``recommendation_id``, else unknown.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from penchant.data.eventlog import ReadableLog
from penchant.data.events import Value
from penchant.data.log_rows import PROPERTIES
from penchant.kernel.arrow import ArrowBatch, pc
from penchant.kernel.clock import DAY
from penchant.kernel.errors import InputError

SOURCE = "event_attribution_source"
_EXPRESSION = re.compile(
    r"\s*(?:(?P<count>SAMPLECOUNT|COUNT)\s*\(\s*\)"
    r"|SUM\s*\(\s*(?P<table>Items|Interactions)\s*\.\s*(?P<column>[A-Za-z_]\w*)\s*\))\s*",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One number to report: of events of a type, how many (``column`` None) or the sum of a column."""

    name: str
    event_type: str
    function: Literal["samplecount", "sum"]
    table: Literal["items", "interactions"] = "interactions"
    column: str | None = None

    @classmethod
    def of(cls, name: str, event_type: str, expression: str) -> "Metric":
        """Read an expression such as ``SUM(Items.PRICE)`` or ``SAMPLECOUNT()``.

        Raises:
            InputError: it is neither.
        """
        found = _EXPRESSION.fullmatch(expression)
        if found is None:
            raise InputError(
                f"the expression {expression[:100]!r} of '{name[:100]}' is not understood.",
                fix="Write SAMPLECOUNT(), SUM(Items.COLUMN) or SUM(Interactions.COLUMN).",
            )
        if found["count"]:
            return cls(name=name, event_type=event_type, function="samplecount")
        table = "items" if found["table"].lower() == "items" else "interactions"
        return cls(
            name=name, event_type=event_type, function="sum", table=table, column=found["column"].lower()
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributed:
    """One number: of a metric, a source (None: unknown), a recommendation (None: none named) and a day."""

    metric: Metric
    source: str | None
    recommendation: str | None
    day: float  # when it began, seconds UTC
    value: float


def attribute(
    log: ReadableLog, metrics: Sequence[Metric], *, names: Mapping[str, str] | None = None
) -> list[Attributed]:
    """Return the numbers of all metrics by source, recommendation and day, in that order.

    ``names`` says what to call a feed that is a source. An event that lacks the column, or has no number in
    it, adds nothing to a sum. Memory grows with the number of different recommendations that were acted on.
    """
    wanted = pa.array(sorted({metric.event_type for metric in metrics}), pa.string())
    prices = {m.column: _latest(log, m.column) for m in metrics if m.table == "items" and m.column}
    feeds = _feeds(log, _named(log, wanted), names or {})
    sums: dict[tuple[int, str, str, float], float] = {}
    for row in _events(log, wanted):
        properties = PROPERTIES.decode(row["properties"]) if row["properties"] else {}
        named = properties.get(SOURCE)
        request = row["recommendation_id"] or ""
        source = str(named) if named else feeds.get(request, "")
        day = math.floor(row["timestamp"] / DAY) * DAY
        for i, metric in enumerate(metrics):
            if metric.event_type != row["event_type"]:
                continue
            value = _value(metric, row, properties, prices)
            if value is not None:
                key = (i, source, request, day)
                sums[key] = sums.get(key, 0.0) + value
    return [
        Attributed(
            metric=metrics[i],
            source=source or None,
            recommendation=request or None,
            day=day,
            value=sums[i, source, request, day],
        )
        for i, source, request, day in sorted(sums)
    ]


def _value(
    metric: Metric, row: Mapping[str, Any], properties: Mapping[str, Any], prices: Mapping[str, Any]
) -> float | None:
    if metric.column is None:
        return 1.0
    if metric.table == "items":
        return prices[metric.column].get(row["item_id"])
    return row["event_value"] if metric.column == "event_value" else _number(properties.get(metric.column))


def _number(value: Value) -> float | None:
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _events(log: ReadableLog, types: Any) -> Iterator[dict[str, Any]]:
    columns = ["timestamp", "item_id", "event_type", "event_value", "recommendation_id", "properties"]
    for batch in log.scan("acted", columns=columns):
        yield from _of(batch, types).to_pylist()


def _of(batch: ArrowBatch, types: Any) -> ArrowBatch:
    return batch.filter(pc.is_in(batch["event_type"], value_set=types))


def _named(log: ReadableLog, types: Any) -> set[str]:
    """Return the recommendations that events of these types name."""
    found: set[str] = set()
    for batch in log.scan("acted", columns=["event_type", "recommendation_id"]):
        found.update(pc.drop_null(_of(batch, types)["recommendation_id"]).to_pylist())
    return found


def _feeds(log: ReadableLog, requests: set[str], names: Mapping[str, str]) -> dict[str, str]:
    """Return the feed that was served under each request, by the name it goes by."""
    if not requests:
        return {}
    wanted = pa.array(sorted(requests), pa.string())
    found: dict[str, str] = {}
    for batch in log.scan("served", columns=["event_id", "feed"]):
        own = batch.filter(pc.is_in(batch["event_id"], value_set=wanted))
        for request, feed in zip(own["event_id"].to_pylist(), own["feed"].to_pylist(), strict=True):
            found[request] = names.get(feed, feed)
    return found


def _latest(log: ReadableLog, column: str) -> dict[str, float]:
    """Return an item property that is a number as of the latest put of each item."""
    found: dict[str, tuple[float, float | None]] = {}
    for batch in log.scan("item_put", columns=["timestamp", "item_id", "properties"]):
        for row in batch.to_pylist():
            if row["timestamp"] >= found.get(row["item_id"], (-math.inf, None))[0]:
                told = PROPERTIES.decode(row["properties"])
                value = next((told[name] for name in told if name.lower() == column), None)
                found[row["item_id"]] = (row["timestamp"], _number(value))
    return {item: value for item, (_, value) in found.items() if value is not None}
