"""Counts and sums of events by what brought them, on a log that can be counted by hand."""

import pytest

from penchant.data.attribution import Metric, attribute
from penchant.data.events import Acted, ItemPut, Served, ServedSlot
from penchant.kernel.errors import InputError
from penchant.testing.memory_log import MemoryLog

DAY = 86400.0


def act(n: int, item: str, *, at: float = 10.0, value: float | None = None, **more: object) -> Acted:
    return Acted(
        event_id=f"e{n}", timestamp=at, user_id="u", item_id=item, event_type="buy", event_value=value, **more
    )  # type: ignore[arg-type]


def filled() -> MemoryLog:
    log = MemoryLog()
    slot = ServedSlot(item_id="a", position=0, source="x")
    log.append(
        [
            ItemPut(event_id="p0", timestamp=1.0, item_id="a", properties={"PRICE": 9.0}),
            ItemPut(event_id="p1", timestamp=2.0, item_id="a", properties={"PRICE": "2.5"}),
            ItemPut(event_id="p2", timestamp=2.0, item_id="b", properties={"price": "dear"}),
            Served(event_id="r1", timestamp=5.0, user_id="u", feed="home", model_version="m", slots=[slot]),
            act(1, "a", value=1.0, recommendation_id="r1"),
            act(2, "a", value=2.0, recommendation_id="r1", properties={"event_attribution_source": "mail"}),
            act(3, "b", value=4.0, recommendation_id="gone"),
            act(4, "a", at=DAY + 1, recommendation_id="r1", properties={"margin": 0.5}),
            Acted(event_id="e5", timestamp=3.0, user_id="u", item_id="a", event_type="click"),
        ]
    )
    return log


def told(expression: str) -> dict[tuple[str | None, str | None, float], float]:
    metric = Metric.of("m", "buy", expression)
    found = attribute(filled(), [metric], names={"home": "front"})
    return {(one.source, one.recommendation, one.day): one.value for one in found}


def test_events_are_counted_by_source_recommendation_and_day() -> None:
    expected = {("front", "r1", 0.0): 1.0, ("mail", "r1", 0.0): 1.0, ("front", "r1", DAY): 1.0}
    assert told("SAMPLECOUNT()") == {**expected, (None, "gone", 0.0): 1.0}


def test_sums_take_the_latest_price_and_leave_out_what_is_no_number() -> None:
    assert told("sum( Items.price )") == {
        ("front", "r1", 0.0): 2.5,
        ("mail", "r1", 0.0): 2.5,
        ("front", "r1", DAY): 2.5,
    }
    assert told("SUM(Interactions.EVENT_VALUE)") == {
        ("front", "r1", 0.0): 1.0,
        ("mail", "r1", 0.0): 2.0,
        (None, "gone", 0.0): 4.0,
    }
    assert told("SUM(Interactions.MARGIN)") == {("front", "r1", DAY): 0.5}


@pytest.mark.parametrize("wrong", ["", "AVG(Items.PRICE)", "SUM(Users.AGE)", "SUM(Items.)", "SAMPLECOUNT(1)"])
def test_other_expressions_are_refused(wrong: str) -> None:
    with pytest.raises(InputError, match="SAMPLECOUNT"):
        Metric.of("m", "buy", wrong)
