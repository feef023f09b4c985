"""What is counted, how it fades, how late rewards are joined to what was shown, and what follows from it."""

import itertools

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penchant.bandits.category import CategoryPolicy, arm_propensities
from penchant.bandits.delayed import Delayed, DelayedState, RewardRules
from penchant.bandits.evidence import OTHER, Evidence, EvidenceState
from penchant.bandits.hierarchy import Level, lifts, posterior
from penchant.kernel.clock import DAY, HOUR, MINUTE
from penchant.kernel.errors import InputError


def evidence(half_life: float = 7 * DAY, **more: int) -> Evidence:
    return Evidence(lambda name: DAY if name == "news" else half_life, **more)


def told(
    e: Evidence, *, success: float, failure: float, time: float, arm: str = "sport", who: str = "u"
) -> None:
    number = e.arm(arm)
    e.add(
        ["all"],
        passing=who,
        arms=[number],
        items=[e.item(f"{arm}-item", number)],
        success=success,
        failure=failure,
        time=time,
    )


def test_counts_halve_every_half_life_of_their_arm() -> None:
    e = evidence()
    told(e, success=8, failure=4, time=0.0)
    told(e, success=8, failure=4, time=0.0, arm="news")
    success, failure = e.of_node("all", 7 * DAY)
    assert success.tolist() == pytest.approx([4.0, 8 / 128])
    assert failure.tolist() == pytest.approx([2.0, 4 / 128])
    assert e.of_items(DAY)[0].tolist() == pytest.approx([8 * 2 ** (-1 / 7), 4.0])
    assert e.of_node("nobody", 0.0)[0].tolist() == [0.0, 0.0]


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["news", "sport", "food"]),
        st.sampled_from(["ann", "bob"]),
        st.floats(0, 3000 * DAY),
        st.integers(0, 3),
        st.integers(0, 3),
    ),
    max_size=12,
)


@given(EVENTS)
@settings(max_examples=60)
def test_order_does_not_matter_and_each_count_fades_on_its_own(
    events: list[tuple[str, str, float, int, int]],
) -> None:
    e = evidence()
    for arm in ("news", "sport", "food"):
        e.arm(arm)
    now = 3000 * DAY
    expected = np.zeros((2, 3))
    for arm, who, time, success, failure in events:
        told(e, success=success, failure=failure, time=time, arm=arm, who=who)
        g = 2 ** (-(now - time) / (DAY if arm == "news" else 7 * DAY))
        expected[:, e.arm(arm)] += g * np.array([success, failure])
    np.testing.assert_allclose(np.stack(e.of_node("all", now)), expected, rtol=1e-9, atol=1e-12)
    saved = msgspec.msgpack.decode(msgspec.msgpack.encode(e.state()), type=EvidenceState)
    again = evidence()
    again.restore(saved)
    for node in ("all", "ann", "bob"):
        assert np.array_equal(again.of_node(node, now), e.of_node(node, now))
    assert np.array_equal(again.of_items(now), e.of_items(now))
    assert again.version == e.version


def test_of_passing_nodes_those_counted_last_stay_and_of_arms_the_first() -> None:
    e = evidence(most_arms=3, most_passing=2)
    for who in ("a", "b", "a", "c"):
        told(e, success=1, failure=0, time=0.0, who=who)
    assert [e.of_node(who, 0.0)[0].sum() for who in "abc"] == [2.0, 0.0, 1.0]
    assert [e.arm(name) for name in ("x", "y", "z")] == [1, 2, 2]
    assert e.arms == ["sport", "x", OTHER]
    with pytest.raises(InputError, match="half-life"):
        Evidence(lambda _: 0.0).arm("x")


def test_a_new_user_starts_from_the_persona_and_a_new_persona_from_everybody() -> None:
    e = evidence()
    arms = [e.arm("news"), e.arm("sport")]
    items = [e.item("n", arms[0]), e.item("s", arms[1])]
    e.add(
        ["all", "persona:1"],
        passing="user:8",
        arms=arms[:1],
        items=items[:1],
        success=50,
        failure=0,
        time=0.0,
    )
    usual = np.full(2, 0.01)

    def mean(*names: str, lift: tuple[float, float] = (1.0, 1.0)) -> list[float]:
        levels = [Level(name=name) for name in names[:-1]]
        levels.append(Level(name=names[-1], lift=np.array(lift)))
        a, b = posterior(e, levels, 0.0, mean=usual, prior_pulls=20.0)
        return (a / (a + b)).tolist()

    # By hand: (1 + 50) / (100 + 50), then (20 * .34 + 50) / (20 + 50), and that for who did nothing.
    assert mean("all") == pytest.approx([0.34, 0.01])
    persona = (20 * 0.34 + 50) / 70
    assert mean("all", "persona:1") == pytest.approx([persona, 0.01])
    assert mean("all", "persona:1", "user:7") == pytest.approx([persona, 0.01])
    assert mean("all", "persona:2", "user:7") == pytest.approx([0.34, 0.01])
    assert mean("all", "user:7", lift=(0.5, 3.0)) == pytest.approx([0.17, 0.03])
    own = (20 * persona + 50) / 70
    assert mean("all", "persona:1", "user:8") == pytest.approx([own, 0.01])


def test_lifts_are_ratios_that_few_counts_move_little() -> None:
    usual = np.array([0.75, 0.25])
    np.testing.assert_allclose(lifts(np.zeros(2), usual, pulls=10), [1.0, 1.0])
    np.testing.assert_allclose(lifts(np.array([0.0, 10.0]), usual, pulls=10), [0.5, 2.5])


class Shop:
    """Lists of five items of one arm, shown to one user."""

    def __init__(self, rules: RewardRules | None = None) -> None:
        self.evidence = evidence(1e12)
        self.delayed = Delayed(self.evidence, RewardRules(examined=3) if rules is None else rules)
        self.arm = self.evidence.arm("sport")

    def show(self, name: str, time: float, ids: str = "abcde", who: str = "u") -> None:
        arms = [self.arm if id_.islower() else -1 for id_ in ids]
        self.delayed.show(name, path=["all"], passing=who, arms=arms, ids=list(ids), time=time)

    def act(
        self,
        item: str,
        time: float,
        *,
        name: str | None = "r",
        kind: str = "click",
        value: float | None = None,
        visible: str = "",
    ) -> bool:
        return self.delayed.act(
            item, kind=kind, value=value, time=time, request_id=name, who="u", visible=list(visible)
        )

    def counts(self) -> tuple[float, float]:
        success, failure = self.evidence.of_node("all", 0.0)
        return round(float(success.sum()), 6), round(float(failure.sum()), 6)


def test_silence_becomes_failure_by_quarters_until_the_window_closes() -> None:
    shop = Shop()
    shop.show("r", 0.0)
    assert shop.counts() == (0.0, 0.0)
    seen: list[float] = []
    for time in range(0, int(2 * HOUR), 5):
        shop.show(f"later-{time}", float(time), ids="")
        seen.append(shop.counts()[1])
    steps = [time * 5 for time, (x, y) in enumerate(itertools.pairwise(seen), 1) if y > x]
    assert [y - x for x, y in itertools.pairwise(seen) if y > x] == pytest.approx([0.75] * 4)
    # Before any delay is seen: quartiles of an exponential of a minute, known to a power of two.
    for step, quartile in zip(steps, [17.3, 41.6, 83.2], strict=False):
        assert quartile / 1.6 < step < quartile * 1.6
    assert 30 * MINUTE <= steps[3] < 30 * MINUTE + 6
    assert seen[-1] == 3.0  # the first three places were looked at


def test_the_delays_that_are_seen_set_the_pace() -> None:
    shop = Shop()
    for i in range(400):
        shop.show(f"r{i}", float(i))
        assert shop.act("a", i + 600.0, name=f"r{i}")
    before = shop.counts()[1]
    shop.show("slow", 1000.0, ids="xyz")
    shop.show("now", 1300.0, ids="")
    assert shop.evidence.of_items(0.0)[1][shop.evidence.item("x", shop.arm)] == 0.0
    shop.show("then", 2100.0, ids="")
    assert shop.evidence.of_items(0.0)[1][shop.evidence.item("x", shop.arm)] >= 0.5
    assert shop.counts()[1] >= before


def test_a_reward_takes_back_the_failure_it_was_taken_for_and_counts_once() -> None:
    shop = Shop()
    shop.show("r", 0.0)
    shop.show("later", 60.0, ids="")
    assert shop.counts()[1] > 0
    assert shop.act("b", 90.0)
    assert not shop.act("b", 91.0)
    assert not shop.act("b", 92.0, kind="like")
    shop.show("end", 3 * HOUR, ids="")
    assert shop.counts() == (1.0, 2.0)


def test_looking_goes_down_to_the_last_that_was_acted_on() -> None:
    shop = Shop(RewardRules(examined=1))
    shop.show("r", 0.0, ids="abCde")  # C is not the bandit's
    assert shop.act("d", 10.0)
    shop.show("end", 3 * HOUR, ids="")
    assert shop.counts() == (1.0, 2.0)  # a and b were passed over, e was not seen
    shop = Shop(RewardRules(examined=1))
    shop.show("r", 0.0, ids="abcde")
    shop.act("no such item", 10.0, visible="abcd")
    shop.show("end", 3 * HOUR, ids="")
    assert shop.counts() == (0.0, 4.0)


@pytest.mark.parametrize(
    ("kind", "age", "expected"),
    [
        ("click", 29 * MINUTE, 1.0),
        ("click", 31 * MINUTE, 0.0),
        ("share", 23 * HOUR, 1.0),
        ("share", 25 * HOUR, 0.0),
        ("click", -30.0, 1.0),
        ("click", -90.0, 0.0),
    ],
)
def test_each_kind_of_action_has_its_window(kind: str, age: float, expected: float) -> None:
    shop = Shop()
    shop.show("r", 0.0)
    assert shop.act("a", age, kind=kind) == bool(expected)
    shop.show("end", 30 * HOUR, ids="")
    assert shop.counts() == (expected, 3.0 - expected)


def test_what_counts_as_a_reward_is_said() -> None:
    shop = Shop(RewardRules(needs={"dwell": 10.0, "like": 0.0}, examined=3))
    shop.show("r", 0.0)
    assert not shop.act("a", 1.0)  # a click alone is none
    assert not shop.act("a", 1.0, kind="dwell", value=9.0)
    assert shop.act("a", 2.0, kind="dwell", value=10.0)
    assert shop.act("b", 2.0, kind="like")
    assert shop.act("c", 2.0, kind="hide")
    assert not shop.act("c", 3.0, kind="like")
    assert shop.counts() == (2.0, 1.0)


def test_an_action_that_names_no_list_but_what_was_visible_joins_the_latest() -> None:
    shop = Shop()
    shop.show("r1", 0.0)
    shop.show("r2", 10.0)
    assert not shop.act("a", 11.0, name=None)
    assert shop.act("a", 11.0, name=None, visible="ab")
    assert not shop.act("a", 12.0, name="r2")
    assert shop.act("a", 12.0, name="r1")


def test_what_waits_is_bounded_and_survives_saving() -> None:
    shop = Shop()
    small = Delayed(shop.evidence, RewardRules(examined=3), most=2)
    for i in range(5):
        small.show(f"r{i}", path=["all"], passing="u", arms=[0] * 3, ids=list("abc"), time=float(i))
    assert small.waiting == 2
    assert shop.counts() == (0.0, 9.0)  # the three let go count in full

    one, two = Shop(), Shop()
    for i in range(30):
        one.show(f"r{i}", i * 40.0)
        if i % 3 == 0:
            one.act("c", i * 40.0 + 20, name=f"r{i}")
    two.evidence = evidence(1e12)
    two.evidence.restore(one.evidence.state())
    two.delayed = Delayed(two.evidence, RewardRules(examined=3))
    two.delayed.restore(
        msgspec.msgpack.decode(msgspec.msgpack.encode(one.delayed.state()), type=DelayedState)
    )
    for shop in (one, two):
        shop.act("a", 1195.0, name="r29")
        shop.show("end", 5 * HOUR, ids="")
    assert one.counts() == two.counts()


@pytest.mark.parametrize("policy", ["published", "thompson"])
def test_every_category_with_items_left_has_a_chance_and_no_other(policy: CategoryPolicy) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = rng.gamma(2, 3, 7), rng.gamma(2, 30, 7)
        left = rng.random(7) < 0.6
        left[int(rng.integers(7))] = True
        p = arm_propensities(policy, a, b, left, uniform=0.2)
        assert p.sum() == pytest.approx(1.0, abs=1e-9)
        assert (p[~left] == 0).all()
        assert (p[left] >= 0.2 / left.sum() - 1e-12).all()


def test_category_chances_are_their_equations() -> None:
    a, b = np.array([2.0, 6.0, 1.0]), np.array([8.0, 4.0, 9.0])
    left = np.array([True, True, False])
    np.testing.assert_allclose(
        arm_propensities("published", a, b, left, uniform=0.2), [0.8 * 0.25 + 0.1, 0.8 * 0.75 + 0.1, 0.0]
    )
    draws = np.random.default_rng(1).beta(a[:2], b[:2], (200_000, 2)).argmax(axis=1).mean()
    p = arm_propensities("thompson", a, b, left, uniform=0.0)
    assert p[1] == pytest.approx(draws, abs=0.004)
