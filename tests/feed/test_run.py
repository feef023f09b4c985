"""Running a plan: never fewer than asked while items are left, fail open past sources, the trace adds up."""

import time
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.random import Generator

from penchant.feed.bridge import Bridge
from penchant.feed.live import Live, as_rows
from penchant.feed.mixers import Blocks, Single
from penchant.feed.plan import Plan
from penchant.feed.rankers import ModelRanker
from penchant.feed.rules import Exclude, Seen
from penchant.feed.run import run
from penchant.feed.sources import Everything, ModelSource, by_place
from penchant.feed.types import Candidates, Feed, Mixer, Request, Rule, Slot, Source, Verdict
from penchant.kernel.arrays import F32, readonly
from penchant.kernel.errors import Defect, StageFailed
from penchant.kernel.seeds import derive
from penchant.testing.data import item_id, random_snapshot, user_id
from penchant.testing.feed_contracts import NeighbourModel, request_for, sample_live

N = 40
LIVE = Live(random_snapshot(1))  # 40 items


class Gives:
    """A source that gives a fixed list and remembers how often it was asked for how many."""

    def __init__(self, name: str, rows: list[int]) -> None:
        self.name = name
        self.rows = rows
        self.asked: list[int] = []

    def fetch(self, request: Request, k: int) -> Candidates:
        self.asked.append(k)
        return by_place(self.name, as_rows(self.rows[:k]))

    def why(self, request: Request, item: int) -> str:
        return f"{self.name} gave {item}"


class Fails:
    name = "fails"

    def __init__(self, error: Exception) -> None:
        self.error = error

    def fetch(self, request: Request, k: int) -> Candidates:
        raise self.error

    def judge(self, request: Request, candidates: Candidates) -> Verdict:
        raise self.error

    def score(self, request: Request, candidates: Candidates) -> F32:
        raise self.error

    def mix(self, request: Request, ranked: object, *, rng: object) -> tuple[Slot, ...]:
        raise self.error


class Without:
    """A rule against fixed rows."""

    def __init__(self, name: str, rows: list[int]) -> None:
        self.name = name
        self.rows = rows

    def judge(self, request: Request, candidates: Candidates) -> Verdict:
        return Verdict(keep=readonly(~np.isin(candidates.items, self.rows)), reason=self.name)


def plan_of(
    *sources: Source, rules: tuple[Rule, ...] = (), mixer: Mixer | None = None, **more: object
) -> Plan:
    blocks = Blocks(blocks=tuple((s.name, 1) for s in sources) or (("fallback", 1),))
    plan = Plan(
        name="home",
        sources=sources,
        rules=rules,
        mixer=blocks if mixer is None else mixer,
        fallback=Everything.of("fallback", N),
    )
    return replace(plan, **more)  # pyright: ignore[reportArgumentType] # fields of Plan by name


def answer(plan: Plan, *, k: int = 5, live: Live = LIVE, user: str = "nobody", explain: bool = False) -> Feed:
    return run(plan, request_for(live, user, k=k), derive(1), explain=explain)


orders = st.lists(st.integers(0, N - 1), unique=True)


@given(orders, orders, orders, orders, st.integers(1, 60))
def test_never_fewer_while_an_item_is_eligible(
    a: list[int], b: list[int], gone: list[int], late: list[int], k: int
) -> None:
    rules = (Without("gone", gone), Without("late", late))
    feed = answer(plan_of(Gives("a", a), Gives("b", b), rules=rules), k=k)
    rows = [slot.item for slot in feed.slots]
    eligible = set(range(N)) - set(gone) - set(late)
    assert len(set(rows)) == len(rows) == min(k, len(eligible))
    assert set(rows) <= eligible


@given(orders, orders, orders, st.integers(1, 20))
def test_the_trace_adds_up(a: list[int], b: list[int], gone: list[int], k: int) -> None:
    feed = answer(plan_of(Gives("a", a), Gives("b", b), rules=(Without("gone", gone),)), k=k)
    for step in feed.trace:
        assert step.failure is None
        assert step.ms >= 0
        if step.stage.startswith("rule"):
            assert step.rows_in - step.rows_out == sum(step.dropped.values())
            assert set(step.dropped) <= {"gone"}
    assert feed.trace[-1].stage == "mixer blocks"
    assert feed.trace[-1].rows_out == len(feed.slots)


def test_a_source_is_asked_again_only_when_rules_took_too_much() -> None:
    a = Gives("a", list(range(N)))
    answer(plan_of(a), k=5)
    assert a.asked == [5]
    a = Gives("a", list(range(N)))
    feed = answer(plan_of(a, rules=(Without("gone", list(range(20))),)), k=5)
    assert a.asked == [5, 33]  # none of 5 passed: as if one had, 5 and a third more
    assert [slot.item for slot in feed.slots] == [20, 21, 22, 23, 24]
    assert {slot.source for slot in feed.slots} == {"a"}


def test_seen_items_are_asked_for_on_top() -> None:
    history = request_for(LIVE, user_id(3)).history
    a = Gives("a", [*dict.fromkeys(history.item.tolist()), 39, 38])
    answer(plan_of(a, rules=(Seen(),)), k=2, user=user_id(3))
    assert a.asked == [2 + len(history)]


@pytest.mark.parametrize("error", [StageFailed("too slow."), ValueError("broken"), KeyError("x")])
def test_a_failing_source_is_left_out_and_recorded(error: Exception) -> None:
    feed = answer(plan_of(Fails(error), Gives("b", [7, 8])), k=4)
    assert [slot.item for slot in feed.slots] == [7, 8, 0, 1]
    assert [slot.source for slot in feed.slots] == ["b", "b", "fallback", "fallback"]
    failures = [step.failure for step in feed.trace if step.stage == "source fails"]
    assert len(failures) == 1
    assert str(error) in str(failures[0])


def test_all_sources_fail_and_the_fallback_answers() -> None:
    feed = answer(plan_of(Fails(RuntimeError("down"))), k=N + 5)
    assert [slot.item for slot in feed.slots] == list(range(N))
    assert answer(plan_of(Fails(RuntimeError("down"))), k=45, live=sample_live()).slots[-1].item_id == "new2"


@pytest.mark.parametrize("stage", ["source", "rule", "ranker", "mixer"])
def test_a_defect_is_never_swallowed(stage: str) -> None:
    broken = Fails(Defect("an invariant broke."))
    a = Gives("a", [1])
    plans = {
        "source": plan_of(broken),
        "rule": plan_of(a, rules=(broken,)),
        "ranker": plan_of(a, ranker=broken),
        "mixer": plan_of(a, mixer=broken),
    }
    with pytest.raises(Defect, match="an invariant broke"):
        answer(plans[stage])


def test_a_feed_does_not_fail_open_past_a_rule() -> None:
    with pytest.raises(StageFailed, match="rule fails: ValueError: no"):
        answer(plan_of(Gives("a", [1]), rules=(Fails(ValueError("no")),)))


def test_a_failing_ranker_or_mixer_leaves_the_order_of_the_sources() -> None:
    broken = Fails(ValueError("no"))
    for plan in (plan_of(Gives("a", [3, 1, 2]), ranker=broken), plan_of(Gives("a", [3, 1, 2]), mixer=broken)):
        feed = answer(plan, k=3)
        assert [slot.item for slot in feed.slots] == [3, 1, 2]
        assert [step.failure for step in feed.trace if step.failure] == ["ValueError: no"]


def test_a_mixer_that_repeats_itself_is_a_defect() -> None:
    class Repeats(Single):
        def mix(self, request: Request, ranked: object, *, rng: object) -> tuple[Slot, ...]:
            return (Slot(item=1, item_id=item_id(1), source="a", score=0.0),) * 2

    with pytest.raises(Defect, match="an item twice"):
        answer(plan_of(Gives("a", [1, 2, 3]), mixer=Repeats()), k=3)


def test_events_between_two_questions_neither_repeat_nor_lose_an_item() -> None:
    class Moves(Gives):
        def fetch(self, request: Request, k: int) -> Candidates:
            found = super().fetch(request, k)
            self.rows = self.rows[::-1]
            return found

    class Keeps(Single):
        def mix(
            self, request: Request, ranked: Mapping[str, Candidates], *, rng: Generator
        ) -> tuple[Slot, ...]:
            given.extend(ranked["a"].items.tolist())
            return super().mix(request, ranked, rng=rng)

    given: list[int] = []
    moves = Moves("a", list(range(N)))
    answer(plan_of(moves, rules=(Without("gone", list(range(15))),), mixer=Keeps()), k=5)
    assert len(moves.asked) > 1
    assert len(set(given)) == len(given)
    assert set(range(N - 5, N)) <= set(given)


def test_a_slow_source_costs_its_successors_not_the_feed() -> None:
    class Slow(Gives):
        def fetch(self, request: Request, k: int) -> Candidates:
            time.sleep(0.02)
            return super().fetch(request, k)

    feed = answer(plan_of(Slow("a", [9]), Gives("b", [8]), budget_ms=10.0), k=3)
    assert [slot.item for slot in feed.slots] == [9, 0, 1]
    (failure,) = [step.failure for step in feed.trace if step.failure]
    assert failure.startswith("source b: ")
    assert "of 10 ms were spent" in failure


def test_the_ranker_orders_each_source_and_what_it_cannot_score_goes_last() -> None:
    live = sample_live()
    bridge = Bridge.of("m", NeighbourModel(live.snapshot), live.snapshot)
    ranker = ModelRanker(name="m", bridge=bridge)
    new = live.catalogue.row("new1")
    plan = replace(
        plan_of(Gives("a", [new, *range(10)]), ranker=ranker), fallback=Everything.of("fallback", N)
    )
    feed = answer(plan, k=11, live=live, user=user_id(3))
    scores = bridge.score(request_for(live, user_id(3)), as_rows(range(10)))
    best = sorted(range(10), key=lambda row: (-scores[row], row))
    assert [slot.item for slot in feed.slots] == [*best, new]
    assert any(step.stage == "ranker m" for step in feed.trace)


def test_late_rules_judge_after_the_ranker() -> None:
    live = sample_live()
    bridge = Bridge.of("m", NeighbourModel(live.snapshot), live.snapshot)
    ranker = ModelRanker(name="m", bridge=bridge)
    plan = plan_of(Gives("a", [1, 2, 3]), ranker=ranker, late_rules=(Without("late", [2]),))
    feed = answer(plan, k=2, live=live, user=user_id(3))
    stages = [step.stage for step in feed.trace]
    assert stages == ["source a", "ranker m", "rule late", "mixer blocks"]
    assert 2 not in [slot.item for slot in feed.slots]


def test_why_is_said_when_asked() -> None:
    plan = plan_of(Gives("a", [3]))
    assert [slot.why for slot in answer(plan, k=2).slots] == ["", ""]
    told = answer(plan, k=2, explain=True).slots
    assert told[0].why == "a gave 3"
    assert told[1].source == "fallback"


def test_a_whole_plan_on_a_model_never_shows_what_is_seen() -> None:
    bridge = Bridge.of("m", NeighbourModel(LIVE.snapshot), LIVE.snapshot)
    plan = plan_of(ModelSource(name="m", bridge=bridge), rules=(Exclude(), Seen()))
    for user in range(LIVE.snapshot.n_users):
        seen = set(LIVE.snapshot.history(user).item.tolist())
        rows = [slot.item for slot in answer(plan, k=N, user=user_id(user)).slots]
        assert set(rows) == set(range(N)) - seen
        assert len(rows) == N - len(seen)


def test_a_plan_names_each_source_once() -> None:
    with pytest.raises(Defect, match="names a source twice"):
        plan_of(Gives("a", []), Gives("a", []), mixer=Single())
