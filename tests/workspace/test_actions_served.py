"""Next best actions through the whole workspace: chosen, ruled, explored, learnt from, kept and forgotten."""

import math
from collections.abc import Callable, Generator
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest
from scipy import special

from penchant.data.events import ActionPut, AnyEvent, Offered, Outcome, Responded, UserPut
from penchant.kernel.errors import InputError, NotFound
from penchant.testing.clock import FakeClock
from penchant.workspace.service import Workspace
from penchant.workspace.serving import Serving
from penchant.workspace.settings import FILE, Settings

DAY = 86400.0
NOW = 1_700_000_000.0
N, USERS = 8, 60
SETTINGS = """
[filters]
clubs = 'INCLUDE ActionID WHERE Actions.SORT = "club"'
not_taken = 'EXCLUDE ActionID WHERE Action_Interactions.EVENT_TYPE IN ("Taken")'
worth = "INCLUDE ActionID WHERE Action.VALUE > ($least)"
gold = 'INCLUDE ActionID WHERE Actions.SORT = "club" IF CurrentUser.PLAN = "gold"'

[recipes.next]
recipe = "next_best_action"

[actions.likely]
recipe = "next"
[actions.worth]
recipe = "next"
order = "value"
[actions.trying]
recipe = "next"
explore = { weight = 1.0 }
[actions.clubs]
recipe = "next"
filters = ["clubs"]
"""


def chance(action: int, user: int) -> float:
    """Return how likely a user takes an action.

    Later ones less, the even ones more by gold users; and a third of people take little, a third a lot.
    """
    plan = 1.5 if user % 2 and action % 2 == 0 else 0.0
    return float(special.expit(1.0 - 0.5 * action + plan + 1.2 * (user % 3 - 1)))


def history(seed: int = 0) -> list[AnyEvent]:
    rng = np.random.default_rng(seed)
    events: list[AnyEvent] = []
    for u in range(USERS):
        plan: dict[str, Any] = {"plan": "gold" if u % 2 else "free"}
        events.append(UserPut(event_id=f"u{u}", timestamp=0.0, user_id=f"u{u}", properties=plan))
    for a in range(N):
        properties: dict[str, Any] = {"sort": "club" if a % 2 else "share", "value": float(a + 1)}
        events.append(ActionPut(event_id=f"p{a}", timestamp=0.0, action_id=f"a{a}", properties=properties))
    for n in range(4000):
        user, action = int(rng.integers(USERS)), int(rng.integers(N))
        kind = "TAKEN" if rng.random() < chance(action, user) else "NOT_TAKEN"
        events.append(response(f"r{n}", f"u{user}", f"a{action}", kind, NOW - 90 * DAY + n * 1900.0))
    return events


def response(event_id: str, user: str, action: str, kind: Outcome, time: float, **more: Any) -> Responded:
    return Responded(
        event_id=event_id, user_id=user, action_id=action, event_type=kind, timestamp=time, **more
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("actions")
    (folder / FILE).write_text(SETTINGS)
    workspace = Workspace.open(folder, clock=FakeClock(NOW))
    workspace.log.append(history())
    workspace.train()
    workspace.close()
    return folder


@pytest.fixture
def opened(made: Path, tmp_path: Path) -> Generator[Callable[[], tuple[Workspace, Serving, FakeClock]]]:
    folder = tmp_path / "w"
    copytree(made, folder)
    open_: list[tuple[Workspace, Serving]] = []

    def again() -> tuple[Workspace, Serving, FakeClock]:
        clock = FakeClock(NOW)
        workspace = Workspace.open(folder, clock=clock)
        serving = workspace.serving()
        open_.append((workspace, serving))
        return workspace, serving, clock

    yield again
    for workspace, serving in open_:
        serving.close()
        workspace.close()


def ids(feed: Any) -> list[str]:
    return [slot.item_id for slot in feed.slots]


def test_the_likeliest_come_first_with_their_probability(opened: Any) -> None:
    workspace, serving, _ = opened()
    errors: list[float] = []
    for user in range(0, USERS, 7):
        feed = serving.actions("likely", f"u{user}", k=N)
        scores = [slot.score for slot in feed.slots]
        assert scores == sorted(scores, reverse=True)
        assert len(set(ids(feed))) == N
        assert all(slot.propensity == 1.0 for slot in feed.slots)
        real = [chance(int(slot.item_id[1:]), user) for slot in feed.slots]
        errors += np.abs(np.array(scores) - real).tolist()
    assert np.mean(errors) < 0.08
    assert "%" in serving.actions("likely", "u1", k=1, explain=True).slots[0].why
    serving.flush()
    offered = [event for _, event in workspace.log.tail(0) if isinstance(event, Offered)]
    assert len(offered) == 10
    assert offered[0].slots[0].propensity == 1.0
    worth = serving.actions("worth", "u1", k=N)
    expected = sorted(worth.slots, key=lambda s: -s.score * (int(s.item_id[1:]) + 1))
    assert list(worth.slots) == expected
    with pytest.raises(InputError, match="1 to 100"):
        serving.actions("likely", "u1", k=101)
    with pytest.raises(NotFound, match="likely"):
        serving.actions("likly", "u1", k=1)


def test_filters_are_by_action_and_by_what_the_user_did_with_them(opened: Any) -> None:
    _, serving, clock = opened()
    assert set(ids(serving.actions("clubs", "u3", k=N))) == {"a1", "a3", "a5", "a7"}
    worth = serving.actions("likely", "u3", k=N, filters=["worth"], filter_values={"least": [6.0]})
    assert set(ids(worth)) == {"a6", "a7"}
    for user, expected in (("u3", 4), ("u4", N)):
        assert len(ids(serving.actions("likely", user, k=N, filters=["gold"]))) == expected
    serving.record([response("n1", "new", "a0", "TAKEN", clock.now())])
    assert "a0" not in ids(serving.actions("likely", "new", k=N, filters=["not_taken"]))
    assert len(ids(serving.actions("likely", "other", k=N, filters=["not_taken"]))) == N
    with pytest.raises(InputError, match="no filter"):
        serving.actions("likely", "u1", k=1, filter_values={"leest": [1.0]})


def test_what_has_ended_or_must_rest_is_not_offered(opened: Any) -> None:
    _, serving, clock = opened()
    rests: dict[str, Any] = {"sort": "share", "value": 1.0, "repeat_frequency": 7}
    ends: dict[str, Any] = {"sort": "share", "value": 1.0, "action_expiration_timestamp": NOW + DAY}
    serving.record(
        [
            ActionPut(event_id="x1", timestamp=NOW, action_id="a0", properties=rests),
            ActionPut(event_id="x2", timestamp=NOW, action_id="a2", properties=ends),
            response("x3", "ann", "a0", "VIEWED", NOW),
            response("x4", "ann", "a4", "TAKEN", NOW),
        ]
    )
    clock.advance(2.0)
    assert "a0" not in ids(serving.actions("likely", "ann", k=N))
    assert "a0" in ids(serving.actions("likely", "bob", k=N))
    assert {"a2", "a4"} <= set(ids(serving.actions("likely", "ann", k=N)))
    clock.advance(DAY)
    assert "a2" not in ids(serving.actions("likely", "bob", k=N))
    clock.advance(6 * DAY)
    assert "a0" in ids(serving.actions("likely", "ann", k=N))
    trace = serving.actions("likely", "bob", k=N, explain=True).trace
    assert any("expired" in step.dropped for step in trace)


def test_what_a_user_answers_moves_what_comes_next(opened: Any) -> None:
    _, serving, _ = opened()

    def p(user: str) -> dict[str, float]:
        return {slot.item_id: slot.score for slot in serving.actions("likely", user, k=N).slots}

    before = p("fresh")
    for n in range(6):
        serving.record([response(f"no{n}", "fresh", f"a{n}", "NOT_TAKEN", NOW - 100 + n)])
    after = p("fresh")
    assert after["a7"] < before["a7"]  # never asked, but this user refuses everything
    assert p("other") == pytest.approx(before, abs=0.02)


def test_a_new_action_is_explored_and_learnt_from_its_first_answers(opened: Any) -> None:
    _, serving, clock = opened()
    put = ActionPut(event_id="n", timestamp=NOW, action_id="new", properties={"sort": "club"})
    serving.record([put])
    clock.advance(2.0)
    slots = [serving.actions("trying", f"s{n}", k=5).slots for n in range(120)]
    explored = [slot for row in slots for slot in row if slot.source == "explore"]
    assert len(explored) > 30
    assert {slot.item_id for slot in explored} == {"new"}
    first = [row[0] for row in slots]
    assert all(0 < slot.propensity <= 1 for slot in first if slot.propensity is not None)
    assert all(slot.propensity == pytest.approx(0.5) for slot in first)  # weight 1: every other first place
    start = {slot.item_id: slot.score for slot in serving.actions("likely", "who", k=9).slots}["new"]
    rng = np.random.default_rng(1)
    for n in range(60):
        kind: Outcome = "TAKEN" if rng.random() < 0.9 else "NOT_TAKEN"
        serving.record([response(f"l{n}", f"s{n}", "new", kind, clock.now())])
    learnt = {slot.item_id: slot.score for slot in serving.actions("likely", "who", k=9).slots}["new"]
    assert learnt > start + 0.1
    assert learnt == pytest.approx(0.9, abs=0.1)


def test_what_was_seen_and_not_answered_counts_as_time_passes(opened: Any) -> None:
    _, serving, clock = opened()
    for n in range(80):
        serving.record([response(f"v{n}", f"v{n}", "a0", "VIEWED", NOW)])
    at_once = serving.actions("likely", "z", k=N).slots
    clock.advance(20 * DAY)
    late = serving.actions("likely", "z", k=N).slots
    p = {slot.item_id: slot.score for slot in at_once}, {slot.item_id: slot.score for slot in late}
    assert p[1]["a0"] < p[0]["a0"] - 0.03
    assert p[1]["a5"] == pytest.approx(p[0]["a5"], abs=1e-6)


def test_a_restart_answers_the_same_and_a_training_takes_all_in(opened: Any) -> None:
    workspace, serving, _ = opened()
    serving.record(
        [
            ActionPut(event_id="n", timestamp=NOW, action_id="new", properties={"sort": "club"}),
            response("q1", "u5", "new", "TAKEN", NOW),
            response("q2", "u5", "a1", "VIEWED", NOW),
        ]
    )
    told = [(slot.item_id, slot.score) for slot in serving.actions("likely", "u5", k=9).slots]
    _, second, _ = opened()
    assert [(slot.item_id, slot.score) for slot in second.actions("likely", "u5", k=9).slots] == told
    (card,) = workspace.train()
    assert card.metrics["calibration_error"] < 0.1
    second.refresh()
    assert "new" in ids(second.actions("likely", "u5", k=9))
    assert second.action("new") == {"sort": "club"}
    with pytest.raises(NotFound, match="no action"):
        second.action("newer")


def test_forgetting_takes_a_person_out_of_actions_and_their_models(opened: Any) -> None:
    workspace, serving, _ = opened()
    serving.actions("likely", "u7", k=3)
    serving.flush()
    receipt = workspace.forget(["u7"])
    assert receipt.events["responded"] > 20
    assert receipt.events["offered"] == 1
    left = [event for _, event in workspace.log.tail(0)]
    assert not [event for event in left if getattr(event, "user_id", "") == "u7"]
    serving.refresh()
    snapshot = workspace.snapshot()
    assert "u7" not in snapshot.users
    p = [slot.score for slot in serving.actions("likely", "u7", k=N).slots]
    stranger = [slot.score for slot in serving.actions("likely", "nobody", k=N).slots]
    assert p == stranger  # as if never met


def test_choosing_by_the_model_beats_everybodys_favourite_and_is_near_the_oracle(opened: Any) -> None:
    """Simulated users who answer what is offered: what is lost against the oracle's order, by policy."""
    _, serving, _ = opened()
    users = range(USERS)
    ours = np.mean([chance(int(ids(serving.actions("likely", f"u{u}", k=1))[0][1:]), u) for u in users])
    best = np.mean([max(chance(a, u) for a in range(N)) for u in users])
    favourite = max(np.mean([chance(a, u) for u in users]) for a in range(N))
    worst = np.mean([[chance(a, u) for a in range(N)] for u in users])
    assert ours >= favourite - 1e-9
    assert best - ours < 0.05 * (best - worst)


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ('[actions.x]\nrecipe = "nxt"', "no recipe next_best_action named 'nxt'"),
        ('[actions.x]\nrecipe = "next"\nfilters = ["red"]', "no filter by ActionID named 'red'"),
        ('[actions.x]\nrecipe = "next"\norder = "price"', "order"),
        ('[feeds.x]\nblocks = [{ source = "next" }]', "no source 'next'"),
        ('[feeds.x]\nblocks = [{ source = "newest" }]\nfilters = ["clubs"]', "no filter named 'clubs'"),
    ],
)
def test_wrong_tables_of_actions_are_refused_by_name(wrong: str, word: str) -> None:
    start = """
[filters]
clubs = 'INCLUDE ActionID WHERE Actions.SORT = "club"'
red = 'INCLUDE ItemID WHERE Items.COLOUR = "red"'
[recipes.next]
recipe = "next_best_action"
"""
    assert math.isclose(Settings.of_toml(start).recipes["next"].period_days, 14.0)
    with pytest.raises(InputError, match=word):
        Settings.of_toml(start + wrong)
    whole = Settings.of_toml(SETTINGS)
    assert Settings.of_toml(whole.to_toml()) == whole
