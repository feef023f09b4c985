"""Insights: silence on healthy data, and each rule alone on data made to break it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from penchant.data.events import Acted, Served, ServedSlot
from penchant.data.insights import Insight, insights
from penchant.data.insights_events import find_gaps, find_strays
from penchant.data.log_snapshot import snapshot_of
from penchant.data.snapshot import build_snapshot
from penchant.testing.memory_log import MemoryLog

DAY = 86400.0
START = 1_600_000_000.0
Columns = dict[str, Any]


def healthy() -> tuple[Columns, Columns, Columns]:
    """Return interactions, items and users without a flaw: 200 users, 50 items, 4,000 events in 60 days."""
    rng = np.random.default_rng(5)
    n = 4_000
    interactions: Columns = {
        "user_id": np.array([f"u{u}" for u in rng.integers(0, 200, n)], object),
        "item_id": np.array([f"i{i}" for i in rng.integers(0, 50, n)], object),
        "timestamp": START + np.sort(rng.uniform(0, 60 * DAY, n)),
        "event_type": np.array(["view", "buy"], object)[rng.integers(0, 2, n)],
    }
    interactions["event_value"] = np.where(interactions["event_type"] == "buy", 2.0, np.nan)
    items: Columns = {
        "item_id": [f"i{i}" for i in range(50)],
        "genre": ["rock", "jazz", "folk", "soul", "punk"] * 10,
        "about": [f"A long story about thing number {i}" for i in range(50)],
        "sku": [f"sku-{i}" for i in range(50)],
        "creation_timestamp": [START + i for i in range(50)],
    }
    users: Columns = {
        "user_id": [f"u{u}" for u in range(200)],
        "age": pa.array([20 + u % 50 for u in range(200)]),
    }
    return interactions, items, users


def found(*tables: Columns) -> list[Insight]:
    interactions, items, users = (pa.table(dict(table)) for table in tables)
    value = interactions["event_value"].to_numpy()
    interactions = interactions.set_column(4, "event_value", pa.array(value, mask=np.isnan(value)))
    return insights(build_snapshot(interactions, items=items, users=users))


def rules(*tables: Columns) -> list[str]:
    return [insight.rule for insight in found(*tables)]


def test_nothing_is_said_of_healthy_data() -> None:
    assert found(*healthy()) == []


def few_interactions(e: Columns, _i: Columns, _u: Columns) -> None:
    for name in e:
        e[name] = e[name][:999]


def few_users(e: Columns, i: Columns, u: Columns) -> None:
    e["user_id"] = np.array([f"u{n % 24}" for n in range(4_000)], object)
    u.update(user_id=u["user_id"][:24], age=u["age"].slice(0, 24))


def many_event_types(e: Columns, _i: Columns, _u: Columns) -> None:
    e["event_type"] = np.array([f"page {n % 11}" for n in range(4_000)], object)
    e["event_value"] = np.full(4_000, np.nan)


def one_time(e: Columns, _i: Columns, _u: Columns) -> None:
    e["timestamp"] = np.full(4_000, START)
    # Different pairs, so that nothing is told twice.
    e["user_id"] = np.array([f"u{n % 200}" for n in range(4_000)], object)
    e["item_id"] = np.array([f"i{(n // 200 + n) % 50}" for n in range(4_000)], object)


def early_times(e: Columns, _i: Columns, _u: Columns) -> None:
    e["timestamp"][0] = 20_200_101


def gap_in_time(e: Columns, _i: Columns, _u: Columns) -> None:
    e["timestamp"][2_000:] += 5 * DAY


def duplicates(e: Columns, _i: Columns, _u: Columns) -> None:
    for name in e:
        e[name] = np.concatenate([e[name], e[name][:60]])


def dominating_user(e: Columns, _i: Columns, _u: Columns) -> None:
    e["user_id"][:300] = "u7"


def dominating_item(e: Columns, i: Columns, _u: Columns) -> None:
    e["item_id"][:1_000] = "i7"


def user_called_none(e: Columns, _i: Columns, u: Columns) -> None:
    e["user_id"][:20] = "nan"
    u["user_id"][3] = "nan"


def item_called_none(e: Columns, i: Columns, _u: Columns) -> None:
    e["item_id"][:20] = "NULL"
    i["item_id"][3] = "NULL"
    e["item_id"][e["item_id"] == "i3"] = "i4"


def incomplete_column(_e: Columns, i: Columns, _u: Columns) -> None:
    i["genre"] = [g if n % 3 else None for n, g in enumerate(i["genre"])]


def incomplete_text(_e: Columns, i: Columns, _u: Columns) -> None:
    i["about"] = [a if n % 6 else None for n, a in enumerate(i["about"])]


def many_categories(_e: Columns, _i: Columns, u: Columns) -> None:
    u["city"] = [f"town-{n % 31}" for n in range(200)]


def one_time_in_column(_e: Columns, i: Columns, _u: Columns) -> None:
    i["creation_timestamp"] = [START] * 50


def users_without_interactions(_e: Columns, _i: Columns, u: Columns) -> None:
    u.update(user_id=[*u["user_id"], *(f"x{n}" for n in range(100))], age=pa.array([30] * 300))


def items_without_interactions(e: Columns, i: Columns, _u: Columns) -> None:
    for name, column in i.items():
        more = [f"x{n}" for n in range(30)] if name == "item_id" else column[:30]
        i[name] = [*column, *more]


def undescribed_users(_e: Columns, _i: Columns, u: Columns) -> None:
    u.update(user_id=u["user_id"][:180], age=u["age"].slice(0, 180))


def undescribed_items(_e: Columns, i: Columns, _u: Columns) -> None:
    for name in i:
        i[name] = i[name][:40]


def incomplete_event_value(e: Columns, _i: Columns, _u: Columns) -> None:
    e["event_value"][:2_000] = np.nan


@pytest.mark.parametrize(
    "spoil",
    [
        few_interactions,
        few_users,
        many_event_types,
        one_time,
        early_times,
        gap_in_time,
        duplicates,
        dominating_user,
        dominating_item,
        user_called_none,
        item_called_none,
        incomplete_column,
        incomplete_text,
        many_categories,
        one_time_in_column,
        users_without_interactions,
        items_without_interactions,
        undescribed_users,
        undescribed_items,
        incomplete_event_value,
    ],
)
def test_each_rule_finds_its_fault_and_nothing_else(spoil: Callable[..., None]) -> None:
    tables = healthy()
    spoil(*tables)
    assert rules(*tables) == [spoil.__name__]


def test_the_words_carry_the_numbers() -> None:
    tables = healthy()
    duplicates(*tables)
    few = healthy()
    few_interactions(*few)
    (repeated,), (small,) = found(*tables), found(*few)
    assert repeated.numbers["duplicates"] == 60
    assert repeated.what.startswith("60 interactions (1%) repeat another")
    assert small.level == "problem"
    assert small.what == "Only 999 interactions; 1,000 is the least to learn from."
    assert small.what_to_do


def test_thresholds_are_not_crossed_a_step_before() -> None:
    """One less than each fault needs: silence."""
    interactions, items, users = healthy()
    for name in interactions:
        interactions[name] = np.concatenate([interactions[name], interactions[name][:30]])
    interactions["timestamp"][2_000:4_000] += DAY
    items["genre"] = [g if n % 4 else None for n, g in enumerate(items["genre"])]
    users["city"] = [f"town-{n % 30}" for n in range(200)]
    assert rules(interactions, items, users) == []


def test_items_alone_are_a_problem_said_once() -> None:
    _, items, _ = healthy()
    empty = pa.table({"user_id": pa.array([], pa.string()), "item_id": pa.array([], pa.string())})
    empty = empty.append_column("timestamp", pa.array([], pa.float64()))
    found = insights(build_snapshot(empty, items=pa.table(items)))
    assert [insight.rule for insight in found] == ["no_interactions"]


def test_gaps_by_the_hour_and_not_in_thin_data() -> None:
    hours = np.repeat(np.arange(24 * 10), 10) * 3600.0
    night = hours[(hours % DAY) >= 8 * 3600]
    assert find_gaps(night, width=3600, least=24) == []
    day_lost = night[(night < 4 * DAY) | (night >= 6 * DAY)]
    ((start, stop),) = find_gaps(day_lost, width=3600, least=24)
    first = day_lost[0]
    assert (start - first + 8 * 3600, stop - first + 8 * 3600) == (4 * DAY, 6 * DAY + 8 * 3600)
    thin = np.sort(np.random.default_rng(1).uniform(0, 365 * DAY, 150))
    assert find_gaps(thin, width=DAY, least=3) == []
    days = np.arange(0.0, 400, 3)
    bursts = np.repeat(np.concatenate([days, days + 420]), 40) * DAY
    assert find_gaps(bursts, width=DAY, least=3) == []
    weekdays = np.array([d for d in range(400) if d % 7 < 5 and not 100 <= d < 105], float)
    assert len(find_gaps(np.repeat(weekdays, 40) * DAY, width=DAY, least=3)) == 1
    stragglers = np.concatenate([np.repeat(np.arange(16.0), 1000) * DAY, np.arange(20.0, 40, 7) * DAY])
    assert find_gaps(stragglers, width=DAY, least=3) == []


def test_a_few_events_long_after_all_others_are_strays() -> None:
    year = np.sort(np.random.default_rng(1).uniform(0, 365 * DAY, 5000))
    assert find_strays(year) == 0
    assert find_strays(np.append(year, [390 * DAY])) == 0
    assert find_strays(np.append(year, [2000 * DAY])) == 1
    assert find_strays(np.append(year, [2000 * DAY, 2001 * DAY, 9000 * DAY])) == 3
    assert find_strays(np.append(year, 2000 * DAY + np.arange(6))) == 0, "six in 5,000 are no accident"
    assert find_strays(np.append(year[:900], [2000 * DAY])) == 0, "too few to tell"


def acted(n: int, item: str, **given: Any) -> Acted:
    return Acted(event_id=f"a{n}", timestamp=START + n, user_id=f"u{n % 40}", item_id=item, **given)


def positions(events: list[Any]) -> list[Insight]:
    log = MemoryLog()
    log.append(events)
    said = insights(snapshot_of(log), log)
    return [i for i in said if i.rule in ("one_position", "acted_on_not_shown")]


SHOWN = ["a", "b", "c", "d"]


def test_actions_all_on_one_position_of_impressions() -> None:
    spread = [acted(n, SHOWN[n % 4], impression=SHOWN) for n in range(120)]
    assert positions(spread) == []
    (fault,) = positions([acted(n, "b", impression=SHOWN) for n in range(120)])
    assert (fault.rule, fault.level) == ("one_position", "problem")
    assert fault.what == "100% of 120 interactions with lists are on position 2."
    assert positions([acted(n, "b", impression=SHOWN) for n in range(99)]) == []
    assert positions([acted(n, "b", impression=["b"]) for n in range(120)]) == []


def test_actions_all_on_one_position_of_served_feeds() -> None:
    slots = [ServedSlot(item_id=item, position=p, source="popular") for p, item in enumerate(SHOWN)]
    feeds = [
        Served(
            event_id=f"s{n}", timestamp=START + n, user_id="u", feed="home", model_version="1", slots=slots
        )
        for n in range(120)
    ]
    clicks = [acted(n, "c", recommendation_id=f"s{n}") for n in range(120)]
    (fault,) = positions([*feeds, *clicks])
    assert fault.numbers == {"interactions": 120, "share": 1.0, "position": 3}
    spread = [acted(n, SHOWN[n % 4], recommendation_id=f"s{n}") for n in range(120)]
    assert positions([*feeds, *spread]) == []


def test_actions_on_what_was_not_shown() -> None:
    events = [acted(n, [*SHOWN, "z"][n % 5], impression=SHOWN) for n in range(200)]
    (fault,) = positions(events)
    assert (fault.rule, fault.numbers["interactions"]) == ("acted_on_not_shown", 40)
