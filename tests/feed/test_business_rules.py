"""What a shop may declare: hide what is shown in vain, dislikes, flags, rotation, what events count for."""

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penchant.data.events import Acted, Served, ServedSlot, UserPut, Value
from penchant.data.interactions import Interactions
from penchant.feed.filter_rule import Filtered, Promotion, run_promoted
from penchant.feed.filter_run import Facts, compile_filter
from penchant.feed.item_columns import Columns, Labels, Numbers, labels_of_numbers
from penchant.feed.live import Live, as_rows
from penchant.feed.live_columns import LiveColumns, says_yes
from penchant.feed.mixers import Blocks
from penchant.feed.plan import Plan
from penchant.feed.profile import Profile
from penchant.feed.rules import Seen, Sensitive, Shown
from penchant.feed.run import run
from penchant.feed.showings import Showings
from penchant.feed.sources import Everything, by_place
from penchant.feed.types import Candidates, Impressions, Ranker, Request, Rule
from penchant.feed.weights import Aversion, Rotation, Weighed, relevance
from penchant.kernel.arrays import F32, readonly
from penchant.kernel.errors import InputError
from penchant.kernel.seeds import derive
from penchant.testing.data import item_id, random_snapshot, user_id
from penchant.testing.feed_contracts import (
    RankerContract,
    RuleContract,
    acted,
    put,
    request_for,
    sample_live,
)

NOW = 4_000_000.0
DAY = 86400.0


def shown(*impressions: tuple[int, float]) -> Impressions:
    """Impressions as (row, seconds before the request)."""
    ordered = sorted(impressions, key=lambda one: -one[1])
    times = np.array([NOW - ago for _, ago in ordered])
    return Impressions(items=as_rows(row for row, _ in ordered), timestamps=readonly(times))


def with_shown(request: Request, impressions: Impressions) -> Request:
    return Request(**{name: getattr(request, name) for name in request.__slots__} | {"shown": impressions})


def everything(live: Live) -> Candidates:
    return by_place("all", as_rows(range(len(live.catalogue))))


def gone(rule: Rule, request: Request, live: Live) -> list[int]:
    return np.flatnonzero(~rule.judge(request, everything(live)).keep).tolist()


class TestDisliked(RuleContract):
    def make(self) -> Rule:
        return Seen(name="disliked", event_types=("buy",))


class TestSensitive(RuleContract):
    def make(self) -> Rule:
        live = sample_live()
        return Sensitive(property="title", allowed_by=None, live=live, columns=LiveColumns(live))


def test_shown_hides_what_nothing_was_done_with_for_a_while() -> None:
    live = Live(random_snapshot(1))
    live.fold([acted(1, "new", item_id(7), at=NOW - 101)])  # at NOW - 100
    times = [(3, ago) for ago in (10.0, 20.0, 30.0)] + [(4, 10.0), (4, 20.0), (5, 10.0), (5, 9 * DAY)]
    times += [(7, 50.0), (7, 60.0), (7, 200.0), (8, 1.0), (8, 2.0), (8, 3.0), (8, 8 * DAY)]
    request = with_shown(request_for(live, "new"), shown(*times))
    rule = Shown(hide_after=3, again_after=7 * DAY)
    assert gone(rule, request, live) == [3, 8]  # 7 was taken after one of its three
    assert gone(Shown(hide_after=2, again_after=7 * DAY), request, live) == [3, 4, 7, 8]
    assert gone(Shown(hide_after=2, again_after=30 * DAY), request, live) == [3, 4, 5, 7, 8]
    assert gone(Shown(hide_after=1, again_after=5.0), request, live) == [8]
    assert gone(rule, request_for(live, "new"), live) == []


@given(st.lists(st.tuples(st.integers(0, 9), st.floats(0, 20 * DAY)), max_size=60), st.integers(1, 4))
def test_shown_counts_as_one_would_by_hand(times: list[tuple[int, float]], hide_after: int) -> None:
    live = Live(random_snapshot(1))
    request = with_shown(request_for(live, user_id(3)), shown(*times))
    last: dict[int, float] = {}
    history = request.history
    for row, time in zip(history.item.tolist(), history.timestamp.tolist(), strict=True):
        last[row] = max(time, last.get(row, -math.inf))
    expected = []
    for row in range(40):
        since = max(NOW - 5 * DAY, last.get(row, -math.inf))
        if sum(1 for r, ago in times if r == row and NOW - ago > since) >= hide_after:
            expected.append(row)
    assert gone(Shown(hide_after=hide_after, again_after=5 * DAY), request, live) == expected


def test_sensitive_items_are_for_those_who_may_see_them() -> None:
    live = Live(random_snapshot(1))
    flags: list[Value] = [True, False, "yes", "no", "False", "", "horror", 1, 0.0, None]
    live.fold([put(i, item_id(i), adult=flag) for i, flag in enumerate(flags, 1)])
    live.fold([(20, user_put("grown", of_age=True)), (21, user_put("child", of_age="no"))])
    rule = Sensitive(property="ADULT", allowed_by="of_age", live=live, columns=LiveColumns(live))
    assert gone(rule, request_for(live, "child"), live) == [1, 3, 7, 8]
    assert gone(rule, request_for(live, "nobody"), live) == [1, 3, 7, 8]
    assert gone(rule, request_for(live, "grown"), live) == []
    assert [says_yes(flag) for flag in flags] == [row in (1, 3, 7, 8) for row in range(1, 11)]


def user_put(user: str, **properties: Value) -> UserPut:
    return UserPut(event_id=f"u-{user}", timestamp=3e6, user_id=user, properties=properties)


def test_a_flag_counts_at_once_for_a_new_item_and_within_a_second_for_a_changed_one() -> None:
    live = Live(random_snapshot(1))
    columns = LiveColumns(live)
    rows = as_rows([0, 40])
    assert columns.flagged("adult", rows, NOW).tolist() == [False, False]
    live.fold([put(1, "born", adult=True)])
    assert columns.flagged("adult", rows, NOW).tolist() == [False, True]
    live.fold([put(2, item_id(0), adult=True)])
    assert columns.flagged("adult", rows, NOW + 0.5).tolist() == [False, True]
    assert columns.flagged("adult", rows, NOW + 1.5).tolist() == [True, True]


class TestRotation(RankerContract):
    def make(self, live: Live) -> Ranker:
        return Weighed(name="w", inner=None, weights=(Rotation(rate=0.5, half_life=3600.0),))


class TestAversion(RankerContract):
    def make(self, live: Live) -> Ranker:
        weights = Aversion(
            weights={"click": 1.0}, properties=("author",), half_life=DAY, columns=LiveColumns(live)
        )
        return Weighed(name="w", inner=None, weights=(weights,))


def test_rotation_halves_for_each_impression_and_forgets() -> None:
    live = Live(random_snapshot(1))
    rotation = Rotation(rate=0.5, half_life=3600.0)
    request = with_shown(request_for(live, "nobody"), shown((3, 0.0), (3, 3600.0), (9, 7200.0)))
    found = rotation.factors(request, as_rows([9, 0, 3]))
    assert found is not None
    np.testing.assert_allclose(found, [0.5**0.25, 1.0, 0.5**1.5])
    assert rotation.factors(request_for(live, "nobody"), as_rows([1])) is None


def test_dislike_lowers_what_shares_a_category_or_an_author() -> None:
    live = Live(random_snapshot(1))
    live.fold(
        [
            put(1, item_id(0), category="news", author="ann"),
            put(2, item_id(1), category="news", author="bob"),
            put(3, item_id(2), category="sport", author="ann"),
            put(4, item_id(3), category="sport", author="bob"),
            acted(5, "u", item_id(0), at=NOW - DAY - 5, event_type="report"),
        ]
    )
    aversion = Aversion(
        weights={"hide": 1.0, "report": 3.0},
        properties=("category", "author", "no such property"),
        half_life=DAY,
        columns=LiveColumns(live),
    )
    rows = as_rows([0, 1, 2, 3, 9])
    found = aversion.factors(request_for(live, "u"), rows)
    assert found is not None
    np.testing.assert_allclose(found, [2**-3.0, 2**-1.5, 2**-1.5, 1, 1], rtol=1e-12)
    assert aversion.factors(request_for(live, "nobody"), rows) is None


@given(
    st.lists(st.lists(st.sampled_from("abcd"), max_size=3), min_size=1, max_size=12),
    st.lists(st.integers(0, 12), max_size=20),
)
def test_sums_over_labels_agree_with_a_loop(labels: list[list[str]], rows: list[int]) -> None:
    column = Columns.of(pa.table({"x": pa.array(["|".join(one) for one in labels])})).find("x")
    assert isinstance(column, Labels)
    values = np.arange(1.0, len(column.names) + 1)
    expected = [
        sum(values[column.names[name]] for name in labels[row] if name) if row < len(labels) else 0.0
        for row in rows
    ]
    assert column.sums(values, as_rows(rows)).tolist() == expected
    for row in rows:
        names = list(column.names)
        codes = column.of_row(row).tolist()
        assert [names[code] for code in codes if code >= 0] == (labels[row] if row < len(labels) else [])


def test_numbers_are_labels_too() -> None:
    labels = labels_of_numbers(Numbers.of(np.array([3.0, np.nan, 1.5, 3.0, 123456789.0])))
    assert dict(labels.names) == {"1.5": 0, "3": 1, "123456789": 2}
    assert labels.first_of(as_rows(range(6))).tolist() == [1, -1, 0, 1, 2, -1]


def test_relevance_is_of_any_scale() -> None:
    scores = np.array([-2.0, 8.0, 3.0, np.nan, np.inf], np.float32)
    np.testing.assert_allclose(relevance(scores), [0.0, 1.0, 0.5, np.nan, np.nan])
    assert relevance(np.array([4.0, 4.0], np.float32)).tolist() == [1.0, 1.0]
    assert len(relevance(np.zeros(0, np.float32))) == 0


def test_a_profile_repeats_and_drops_events() -> None:
    live = Live(random_snapshot(1))
    kinds = ["view", "buy", "view", "save", "buy"]
    live.fold([acted(i, user_id(3), item_id(i), event_type=kind) for i, kind in enumerate(kinds, 1)])
    request = request_for(live, user_id(3))
    types = [request.history.event_types[code] for code in request.history.event_type.tolist()]
    of = Profile(weights={"view": 0, "buy": 3}).of(request)
    assert of.fresh
    expected = [
        row
        for row, kind in zip(request.history.item.tolist(), types, strict=True)
        for _ in range({"view": 0, "buy": 3}.get(kind, 1))
    ]
    assert of.history.item.tolist() == expected
    assert Profile(weights={"never": 0, "view": 1}).of(request) is request


def served(number: int, user: str, request: str, items: list[int], at: float) -> tuple[int, Served]:
    slots = [ServedSlot(item_id=item_id(i), position=p, source="s") for p, i in enumerate(items)]
    return number, Served(
        event_id=request, timestamp=at, user_id=user, feed="home", model_version="1", slots=slots
    )


def of(showings: Showings, user: str) -> list[tuple[int, float]]:
    found = showings.of(user)
    return list(zip(found.items.tolist(), found.timestamps.tolist(), strict=True))


def test_live_keeps_what_was_shown_and_explicit_lists_replace_feeds() -> None:
    showings = Showings(max_users=10)
    live = Live(random_snapshot(1), showings=showings, negative=frozenset({"hide"}))
    live.fold([served(1, "u", "r1", [1, 2, 3], 10.0), served(2, "u", "r2", [1], 20.0)])
    assert of(showings, "u") == [(1, 10.0), (2, 10.0), (3, 10.0), (1, 20.0)]
    seen = Acted(
        event_id="a1",
        timestamp=30.0,
        user_id="u",
        item_id=item_id(1),
        impression=[item_id(1), "unknown", item_id(2)],
        recommendation_id="r1",
    )
    own = Acted(event_id="a2", timestamp=40.0, user_id="u", item_id=item_id(5), impression=[item_id(5)])
    hidden = Acted(
        event_id="a3",
        timestamp=50.0,
        user_id="u",
        item_id=item_id(2),
        event_type="hide",
        recommendation_id="r1",
    )
    live.fold([(3, seen), (4, own), (5, hidden)])
    assert of(showings, "u") == [(1, 10.0), (2, 10.0), (1, 20.0), (5, 40.0)]
    rates = live.shown
    assert rates.impressions(as_rows([1, 2, 5])).tolist() == [
        live.snapshot.impressions[1] + 2,
        live.snapshot.impressions[2] + 1,
        live.snapshot.impressions[5] + 1,
    ]
    assert rates._actions[[1, 2, 5]].tolist() == [1.0, 0.0, 1.0]  # pyright: ignore[reportPrivateUsage]


def test_a_stranger_s_feeds_are_the_user_s_when_it_is_known() -> None:
    showings = Showings(max_users=10)
    live = Live(random_snapshot(1), showings=showings)
    live.fold([served(1, "session:s", "r1", [1], 10.0)])
    click = Acted(event_id="a", timestamp=20.0, user_id="u", item_id=item_id(1), session_id="s")
    live.fold([(2, click)])
    assert of(showings, "u") == [(1, 10.0)]
    assert of(showings, "session:s") == []


def test_what_was_shown_is_bounded() -> None:
    showings = Showings(max_users=2)
    for i in range(60):
        showings.add("u", f"r{i}", float(i), as_rows([i]))
    assert [row for row, _ in of(showings, "u")] == list(range(10, 60))
    showings.add("v", "r", 1.0, as_rows([1]))
    showings.add("w", "r", 1.0, as_rows([1]))
    assert of(showings, "u") == []


class Scored:
    """A source of the first items with scores that fall by one, and a ranker that turns any order round."""

    def __init__(self, name: str = "a", n: int = 40) -> None:
        self.name = name
        self.n = n

    def fetch(self, request: Request, k: int) -> Candidates:
        rows = np.arange(min(k, self.n), dtype=np.int32)
        return Candidates(source=self.name, items=rows, scores=(100.0 - rows).astype(np.float32))

    def score(self, request: Request, candidates: Candidates) -> F32:
        return candidates.items.astype(np.float32)


def plan(**more: object) -> Plan:
    fields = {
        "name": "home",
        "sources": (Scored(),),
        "mixer": Blocks(blocks=(("a", 1),)),
        "fallback": Everything.of("fallback", 40),
    }
    return Plan(**(fields | more))  # pyright: ignore[reportArgumentType] # fields of Plan by name


def test_what_is_shown_makes_room_for_what_comes_behind() -> None:
    live = Live(random_snapshot(1))
    request = with_shown(request_for(live, "nobody", k=5), shown(*[(row, 0.0) for row in range(5)]))
    weighed = Weighed(name="order", inner=None, weights=(Rotation(rate=0.9, half_life=3600.0),))
    slots = run(plan(ranker=weighed, depth=4), request, derive(1)).slots
    assert [slot.item for slot in slots] == [5, 6, 7, 8, 9]
    expected = [1 - row / 19 for row in range(5, 10)]
    np.testing.assert_allclose([slot.score for slot in slots], expected, rtol=1e-6)


def test_a_source_whose_scores_are_its_own_is_not_ranked() -> None:
    live = Live(random_snapshot(1))
    request = request_for(live, "nobody", k=3)
    assert [s.item for s in run(plan(ranker=Scored()), request, derive(1)).slots] == [2, 1, 0]
    kept = run(plan(ranker=Scored(), unranked=frozenset({"a"})), request, derive(1)).slots
    assert [(s.item, s.score) for s in kept] == [(0, 100.0), (1, 99.0), (2, 98.0)]


def passing(name: str, expression: str, columns: Columns) -> Filtered:
    facts = Facts(history=Interactions.none(), user={}, parameters={}, now=NOW)
    return Filtered(name=name, filter=compile_filter(expression, columns), columns=columns, facts=facts)


@pytest.mark.parametrize(
    ("percent", "count", "exists", "k"),
    [
        (20, None, 9, 10),
        (50, None, 2, 10),
        (100, None, 3, 10),
        (1, None, 9, 1),
        (None, 3, 9, 10),
        (None, 3, 2, 10),
        (None, 30, 9, 4),
    ],
)
def test_a_promotion_says_what_it_lacked(percent: int | None, count: int | None, exists: int, k: int) -> None:
    live = Live(random_snapshot(1))
    live.fold([put(i, item_id(30 + i), sale="yes") for i in range(exists)][1:])
    exists -= 1
    columns = LiveColumns(live).current(NOW)
    rule = passing("sale", 'INCLUDE ItemID WHERE Items.SALE = "yes"', columns)
    promotion = Promotion(name="sale", percent=percent, count=count, rule=rule)
    feed = run_promoted(plan(), request_for(live, "nobody", k=k), derive(2), promotions=[promotion])
    rows = [slot.item for slot in feed.slots]
    assert len(set(rows)) == len(rows) == k
    asked = max(1, k * percent // 100) if percent is not None else min(count or 0, k)
    placed = [slot for slot in feed.slots if slot.source == "promotion:sale"]
    assert len(placed) == min(asked, exists)
    assert all(slot.propensity is None for slot in feed.slots)
    (step,) = [step for step in feed.trace if step.stage == "promotion sale"]
    assert (step.rows_in, step.rows_out) == (asked, len(placed))
    assert dict(step.dropped) == ({"no more items": asked - exists} if asked > exists else {})


@pytest.mark.parametrize(
    "amount", [{}, {"percent": 10, "count": 1}, {"percent": 0}, {"percent": 101}, {"count": 0}]
)
def test_a_promotion_asks_for_a_share_or_a_number(amount: dict[str, int]) -> None:
    anything = passing(
        "x", 'EXCLUDE ItemID WHERE Items.ITEM_ID = "x"', LiveColumns(Live(random_snapshot(1))).current(NOW)
    )
    with pytest.raises(InputError):
        Promotion(name="x", rule=anything, **amount)


def test_more_promotions_than_places_share_what_there_is() -> None:
    live = Live(random_snapshot(1))
    anything = passing("x", 'EXCLUDE ItemID WHERE Items.ITEM_ID = "x"', LiveColumns(live).current(NOW))
    one, two = (Promotion(name=name, percent=10, rule=anything) for name in ("one", "two"))
    feed = run_promoted(plan(), request_for(live, "nobody", k=1), derive(2), promotions=[one, two])
    assert [slot.source for slot in feed.slots] == ["promotion:one"]
