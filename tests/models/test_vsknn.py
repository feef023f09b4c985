"""Session neighbours: the contracts, a plain oracle, rings that forget the oldest, new items."""

import math
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penchant.data.interactions import Interactions
from penchant.kernel.progress import Silent
from penchant.kernel.seeds import derive
from penchant.models.base import Query
from penchant.models.vsknn import VsKnn, VsKnnModel
from penchant.testing.contracts import OnlineContract, RetrieverContract
from penchant.testing.data import random_snapshot, snapshot_of


class TestContract(OnlineContract, RetrieverContract):
    recipe: ClassVar = VsKnn(
        session_gap="3h", window="5d", half_life="2d", neighbours=7, sample=9, sessions=256, given_idf=0.5
    )
    model_type: ClassVar = VsKnnModel


class Oracle:
    """The equations of the module over lists of sessions; nothing of a session is ever forgotten."""

    def __init__(self, recipe: VsKnn, n_items: int) -> None:
        self.recipe, self.reach, self.n = recipe, recipe.reach, n_items
        self.sessions: list[tuple[list[int], float]] = []  # items and last click, by number
        self.open: dict[int, tuple[int, float]] = {}  # user -> number, last click
        self.lists: list[list[int]] = [[] for _ in range(n_items)]  # sessions of each item as they got it
        self.last = np.full(n_items, -np.inf)

    def number(self, user: int, now: float) -> int:
        number, last = self.open.get(user, (-1, -math.inf))
        return number if now - last <= self.reach.session_gap else -1

    def learn(self, user: int, item: int, now: float) -> None:
        self.last[item] = now
        number = self.number(user, now)
        if number < 0:
            number = len(self.sessions)
            self.sessions.append(([], now))
        self.open[user] = number, now
        items = self.sessions[number][0]
        if item not in items:
            items.append(item)
            for listed in items if len(items) == 2 else items[-1:] if len(items) > 2 else []:
                self.lists[listed].append(number)
        self.sessions[number] = items, now

    def idf(self, item: int) -> float:
        return math.log(1 + len(self.sessions) / max(len(self.lists[item]), 1))

    def scores(self, session: list[int], now: float) -> np.ndarray:
        near: dict[int, float] = {}
        for place, item in enumerate(session, start=1):
            worth = (place / len(session)) ** self.reach.position * self.idf(item) ** self.reach.shared_idf
            for number in self.lists[item][-self.recipe.sample :]:
                near[number] = near.get(number, 0.0) + worth
        worth_now = {
            number: value * 2 ** (-(now - self.sessions[number][1]) / self.reach.half_life)
            for number, value in near.items()
        }
        out = np.full(self.n, np.nan)
        taken = 0
        for number in sorted(worth_now, key=lambda n: (round(worth_now[n], 9), n), reverse=True):
            gives = [
                j
                for j in self.sessions[number][0]
                if j not in session and self.last[j] >= now - self.reach.window
            ]
            if gives and taken < self.reach.neighbours:
                taken += 1
                for j in gives:
                    out[j] = np.nan_to_num(out[j]) + worth_now[number] * self.idf(j) ** self.reach.given_idf
        return out


def clicks(seed: int, n: int = 400, n_users: int = 8, n_items: int = 15) -> Interactions:
    rng = np.random.default_rng(seed)
    return Interactions.of(
        user=rng.integers(0, n_users, n),
        item=np.minimum(rng.geometric(0.2, n) - 1, n_items - 1),
        timestamp=1e6 + np.cumsum(rng.exponential(60, n)),
    )


def started(recipe: VsKnn, n_items: int, since: float) -> VsKnnModel:
    data = random_snapshot(1)
    card = recipe.train(data, rng=derive(0), progress=Silent()).card
    return VsKnnModel(card=card, items=data.items, users=data.users, state=recipe.start(n_items, since))


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 1000),
    neighbours=st.sampled_from([1, 3, 50]),
    sample=st.sampled_from([1, 4, 300]),
    position=st.sampled_from([0.0, 1.0, 2.0]),
    shared_idf=st.sampled_from([0.0, 1.0]),
    given_idf=st.sampled_from([0.0, 1.0]),
)
def test_fold_and_score_say_what_the_oracle_says(
    seed: int, neighbours: int, sample: int, position: float, shared_idf: float, given_idf: float
) -> None:
    recipe = VsKnn(
        neighbours=neighbours,
        sample=sample,
        position=position,
        shared_idf=shared_idf,
        given_idf=given_idf,
        half_life="30m",
        session_gap="20m",
        window="2h",
    )
    events = clicks(seed, 200)
    oracle = Oracle(recipe, 15)
    model = started(recipe, 15, float(events.timestamp[0])).fold(events)
    for user, item, now in zip(events.user, events.item, events.timestamp, strict=True):
        oracle.learn(int(user), int(item), float(now))
    now = float(events.timestamp[-1]) + 30
    for user in range(8):
        number = oracle.number(user, now)
        expected = oracle.scores(oracle.sessions[number][0] if number >= 0 else [], now)
        history = events.select(events.user == user)
        for query in (Query(user=user, now=now), Query(history=history, now=now)):
            got = model.score(query, np.arange(15, dtype=np.int32))
            np.testing.assert_allclose(got, expected, rtol=1e-4)


def test_replay_agrees_with_the_oracle() -> None:
    recipe = VsKnn(session_gap="20m", window="2h", half_life="1h", neighbours=20)
    events = clicks(3)
    oracle = Oracle(recipe, 15)
    asked = np.arange(len(events)) % 2 == 1
    got = recipe.ranks(events, asked, 15)
    assert (got[~asked] == 0).all()
    compared = 0
    for e in range(len(events)):
        user, item, now = int(events.user[e]), int(events.item[e]), float(events.timestamp[e])
        number = oracle.number(user, now)
        if asked[e] and number >= 0:
            scores = oracle.scores(oracle.sessions[number][0], now)
            if np.isnan(scores[item]):
                assert got[e] == 0
            else:
                better = int((scores > scores[item] * (1 + 1e-5)).sum())
                tied = int((np.abs(scores - scores[item]) <= scores[item] * 1e-5).sum())
                assert better < got[e] <= better + tied
                compared += 1
        oracle.learn(user, item, now)
    assert compared > 60


def train(triples: list[tuple[int, int, float]], **fields: object) -> VsKnnModel:
    return VsKnn(**fields).train(snapshot_of(triples), rng=derive(0), progress=Silent())


def test_the_session_that_shares_more_speaks_louder() -> None:
    sessions = [[0, 1, 2], [0, 3], [4, 1, 5]]
    triples = [
        (u, item, 1e6 + 10 * u + i) for u, items in enumerate(sessions) for i, item in enumerate(items)
    ]
    model = train(triples, shared_idf=0.0)
    history = Interactions.of(user=[0, 0], item=[0, 1], timestamp=1e6 + 50 + np.arange(2))
    found = model.top(Query(history=history, now=1e6 + 55), 10)
    assert found.items[0] == 2
    # After it what goes with the latest item, then what goes with the one before; nothing of strangers.
    assert sorted(found.items[1:3].tolist()) == [4, 5]
    assert found.items[3:].tolist() == [3]


def test_of_equally_near_sessions_the_newest_are_neighbours() -> None:
    triples = [(u, item, 1e6 + u + i / 10) for u in range(5) for i, item in enumerate((0, u + 1))]
    history = Interactions.of(user=[0], item=[0], timestamp=[1e6 + 10])
    query = Query(history=history, now=1e6 + 11)
    few = train(triples, neighbours=2, half_life="1000d")
    assert sorted(few.top(query, 10).items.tolist()) == [4, 5]
    ring = train(triples, sample=3, half_life="1000d")
    assert sorted(ring.top(query, 10).items.tolist()) == [3, 4, 5]


def test_forgotten_sessions_are_no_neighbours() -> None:
    triples = [(u, item, 1e6 + u + i / 10) for u in range(6) for i, item in enumerate((0, u + 1))]
    model = train(triples, sessions=4)
    history = Interactions.of(user=[0], item=[0], timestamp=[1e6 + 10])
    assert set(model.top(Query(history=history, now=1e6 + 11), 10).items.tolist()) == {3, 4, 5, 6}


def test_one_click_lists_nothing_and_a_click_again_neither() -> None:
    model = train([(0, 0, 1e6), (1, 0, 1e6 + 1), (1, 0, 1e6 + 2), (2, 1, 1e6 + 3), (2, 0, 1e6 + 4)])
    assert model.state.held.tolist() == [1, 1]
    assert int(model.state.begun[0]) == 3


def test_sessions_longer_than_the_memory_keep_their_latest_items() -> None:
    triples = [(0, i, 1e6 + i) for i in range(25)]
    model = train(triples)
    history = Interactions.of(user=[0], item=[0], timestamp=[1e6 + 30])
    found = model.top(Query(history=history, now=1e6 + 31), 50)
    assert sorted(found.items.tolist()) == list(range(5, 25))


def test_items_and_users_beyond_the_vocabulary_are_learnt() -> None:
    model = train([(0, 0, 1e6), (0, 1, 1e6 + 10)])
    n = len(model.items)
    events = Interactions.of(user=[7, 7, 8, 8], item=[0, n + 3, 0, n + 3], timestamp=1e6 + 60 + np.arange(4))
    grown = model.fold(events)
    history = Interactions.of(user=[0], item=[0], timestamp=[1e6 + 70])
    assert grown.top(Query(history=history, now=1e6 + 75), 1).items.tolist() == [n + 3]
    exclude = np.array([n + 3, n + 900], np.int32)
    assert n + 3 not in grown.top(Query(history=history, now=1e6 + 75), 9, exclude=exclude).items


@pytest.mark.parametrize(
    ("field", "value"), [("neighbours", 0), ("half_life", "?"), ("position", -1.0), ("sessions", 0)]
)
def test_wrong_values_are_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        VsKnn(**{field: value})
