"""States that take turns in two blocks of memory: what was handed out stays and equals learning on copies."""

import threading
import time
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penchant.data.interactions import Interactions
from penchant.kernel.arrays import AnyArray
from penchant.models.turns import Turns


class State(NamedTuple):
    total: AnyArray  # (n, 2) clicks of each item, and the sum of their times
    log: AnyArray  # (3,) number of events, the last item, the last time


START = State(np.zeros((4, 2)), np.zeros(3, np.float32))


def learn(state: State, events: Interactions) -> None:
    for item, when in zip(events.item.tolist(), events.timestamp.tolist(), strict=True):
        state.total[item] += (1.0, when)
        state.log[:] = (state.log[0] + 1, item, when)


def turns() -> Turns[State]:
    blank = State(np.zeros((1, 2)), np.zeros(3, np.float32))
    return Turns(make=State._make, by_item=[0], blank=blank, learn=learn)


def events_of(items: list[int]) -> Interactions:
    return Interactions.of(user=[0] * len(items), item=items, timestamp=np.arange(len(items)) + 1.0)


def oracle(batches: list[list[int]]) -> State:
    """Learn on a copy of exactly the size that is asked for."""
    state = State(*(array.copy() for array in START))
    for batch in batches:
        n = max(len(state.total), max(batch) + 1)
        state = State(np.concatenate([state.total, np.zeros((n - len(state.total), 2))]), state.log)
        learn(state, events_of(batch))
    return state


batches = st.lists(st.integers(0, 12), min_size=1, max_size=5)
steps = st.lists(st.tuples(st.integers(0, 20), batches, st.booleans()), min_size=1, max_size=12)


@pytest.mark.parametrize("copied", [0, 100, 10_000])
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(made=steps)
def test_versions_held_or_let_go_are_those_of_the_oracle(
    monkeypatch: pytest.MonkeyPatch, copied: int, made: list[tuple[int, list[int], bool]]
) -> None:
    """Each step goes on from one of the versions, mostly the newest, and lets go of it or keeps it."""
    line = turns()
    monkeypatch.setattr("penchant.models.turns._COPIED", copied)
    held: list[tuple[State, list[list[int]]]] = [(START, [])]
    for choice, batch, keep in made:
        at = len(held) - 1 if choice > 3 else choice % len(held)
        state, before = held[at] if keep else held.pop(at)
        held.append((line.after(state, events_of(batch)), [*before, batch]))
        del state
        for version, learnt in held:
            expected = oracle(learnt)
            np.testing.assert_array_equal(version.total, expected.total)
            np.testing.assert_array_equal(version.log, expected.log)
    assert not any(array.flags.writeable for version, learnt in held if learnt for array in version)


def address(state: State) -> Any:
    return state.total.__array_interface__["data"][0]


def test_memory_is_used_again_once_nobody_looks_at_it() -> None:
    start = State(np.zeros((5_000, 2)), np.zeros(3, np.float32))
    line = turns()
    one = line.after(start, events_of([1]))
    two = line.after(one, events_of([2]))
    first, second = address(one), address(two)
    view = one.total[:2].T
    del one
    three = line.after(two, events_of([3]))
    assert address(three) not in (first, second), "a view of a view still looks at the first"
    np.testing.assert_array_equal(view, [[0, 1], [0, 1]])
    del view, two
    four = line.after(three, events_of([4]))
    assert address(four) == second
    assert four.total[:6, 0].tolist() == [0, 1, 1, 1, 1, 0]
    del three
    five = line.after(four, events_of([5_600]))
    assert len(five.total) == 5_601
    assert five.total[[1, 2, 3, 4, 5_600], 0].tolist() == [1] * 5
    far = line.after(five, events_of([9_000]))
    assert far.total[:, 0].sum() == 6
    assert far.total[[1, 2, 3, 4, 5_600, 9_000], 0].tolist() == [1] * 6


def test_what_readers_hold_stays_while_others_learn_on() -> None:
    line = turns()
    newest = line.after(State(np.zeros((5_000, 2)), np.zeros(3, np.float32)), events_of([1]))
    done = threading.Event()
    looks: list[bool] = []

    def read() -> None:
        while not done.is_set():
            mine = newest
            total, log = mine.total.copy(), mine.log.copy()
            time.sleep(0.001)
            looks.append(bool((mine.total == total).all() and (mine.log == log).all()))

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    events = 1
    until = time.monotonic() + 30
    while len(looks) < 50 and time.monotonic() < until:
        newest = line.after(newest, events_of([events % 5_000, 7]))
        events += 2
        time.sleep(0.0002)
    done.set()
    for reader in readers:
        reader.join()
    assert len(looks) >= 50
    assert all(looks)
    assert newest.log[0] == newest.total[:, 0].sum() == events


def test_a_batch_that_takes_longer_to_learn_twice_is_not() -> None:
    learnt: list[int] = []

    def counts(state: State, events: Interactions) -> None:
        learnt.append(len(events))
        learn(state, events)

    blank = State(np.zeros((1, 2)), np.zeros(3, np.float32))
    line = Turns(make=State._make, by_item=[0], blank=blank, learn=counts)
    state = START
    for _ in range(4):
        state = line.after(state, events_of([1] * 10))
    assert learnt == [10] * 4
