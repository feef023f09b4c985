"""Co-visitation: the contracts, a plain oracle of the mixture, sessions, fading, new items."""

from typing import ClassVar

import numpy as np
import pytest

from penchant.data.interactions import Interactions
from penchant.kernel.progress import Silent
from penchant.kernel.seeds import derive
from penchant.models.base import Query
from penchant.models.co_visitation import CoVisitation, CoVisitationModel
from penchant.testing.contracts import OnlineContract, RetrieverContract
from penchant.testing.data import random_snapshot, snapshot_of


class TestContract(OnlineContract, RetrieverContract):
    recipe: ClassVar = CoVisitation(
        session_gap="3h", window="5d", near_half_lives=("6h", "2d"), next_half_lives=("1d",), sessions=256
    )
    model_type: ClassVar = CoVisitationModel


class Oracle:
    """The equations of the module in dictionaries, counts as lists of times."""

    def __init__(self, recipe: CoVisitation, n_items: int) -> None:
        self.recipe, self.pace, self.n = recipe, recipe.pace, n_items
        p, c, d = (len(h) for h in self.pace[:3])
        self.weights = np.full((25, 2 * p + c + d), 1 / (2 * p + c + d))
        self.clicks: list[list[float]] = [[] for _ in range(n_items)]
        self.later: list[list[float]] = [[] for _ in range(n_items)]
        self.next: dict[tuple[int, int], list[float]] = {}
        self.near: dict[tuple[int, int], list[float]] = {}
        self.open: dict[int, tuple[list[int], float]] = {}

    @staticmethod
    def worth(times: list[float], half_life: float, now: float) -> float:
        return sum(2.0 ** (-(now - t) / half_life) for t in times)

    def session(self, user: int, now: float) -> list[int]:
        items, last = self.open.get(user, ([], -1e18))
        return items if now - last <= self.pace.session_gap else []

    def parts(self, session: list[int], now: float) -> np.ndarray:
        """Return f_m(j) as (n, parts), 0 for the session's own items."""
        p, c = len(self.pace.click_half_lives), len(self.pace.next_half_lives)
        out = np.zeros((self.n, self.weights.shape[1]))
        for j in set(range(self.n)) - set(session):
            for m, h in enumerate(self.pace.click_half_lives):
                out[j, m] = self.worth(self.clicks[j], h, now)
                out[j, p + m] = self.worth(self.later[j], h, now)
            if session:
                for m, h in enumerate(self.pace.next_half_lives):
                    out[j, 2 * p + m] = self.worth(self.next.get((session[-1], j), []), h, now)
                for m, h in enumerate(self.pace.near_half_lives):
                    out[j, 2 * p + c + m] = sum(
                        self.worth(self.near.get((s, j), []), h, now) for s in session[-6:]
                    )
        return out

    def bucket(self, parts: np.ndarray, session: list[int]) -> int:
        if not session:
            return 0
        p, c = len(self.pace.click_half_lives), len(self.pace.next_half_lives)
        evidence = float(parts[:, 2 * p + c - 1].sum())
        level = 0 if evidence < 1 else min(int(np.floor(np.log(evidence) / np.log(3))) + 1, 7)
        return 1 + level * 3 + min(len(session), 3) - 1

    def shares(self, session: list[int], now: float) -> tuple[int, np.ndarray]:
        parts = self.parts(session, now)
        bucket = self.bucket(parts, session)
        total = parts.sum(axis=0)
        return bucket, np.where(total > 1e-9, parts / np.where(total > 1e-9, total, 1), 0)

    def scores(self, user: int, now: float) -> np.ndarray:
        session = self.session(user, now)
        bucket, shares = self.shares(session, now)
        out = shares @ self.weights[bucket]
        last = np.array([max(times, default=-1e18) for times in self.clicks])
        out[last < now - self.pace.window] = np.nan
        out[session] = np.nan
        return out

    def learn(self, user: int, item: int, now: float) -> None:
        session = list(self.session(user, now))
        if item not in session:
            bucket, shares = self.shares(session, now)
            mixed = self.weights[bucket] * shares[item]
            if mixed.sum() > 0:
                rate = self.recipe.rate
                self.weights[bucket] = (1 - rate) * self.weights[bucket] + rate * mixed / mixed.sum()
            if session:
                self.next.setdefault((session[-1], item), []).append(now)
                self.later[item].append(now)
                for other in session[-6:]:
                    self.near.setdefault((other, item), []).append(now)
                    self.near.setdefault((item, other), []).append(now)
            session.append(item)
        self.open[user] = (session, now)
        self.clicks[item].append(now)


def clicks(seed: int, n: int = 400, n_users: int = 8, n_items: int = 15) -> Interactions:
    rng = np.random.default_rng(seed)
    return Interactions.of(
        user=rng.integers(0, n_users, n),
        item=np.minimum(rng.geometric(0.2, n) - 1, n_items - 1),
        timestamp=1e6 + np.cumsum(rng.exponential(60, n)),
    )


def test_replay_agrees_with_the_oracle() -> None:
    recipe = CoVisitation(session_gap="20m", window="2h", rate=0.05)
    events = clicks(3)
    oracle = Oracle(recipe, 15)
    asked = np.arange(len(events)) % 2 == 1
    expected = np.zeros(len(events), np.int32)
    for e in range(len(events)):
        user, item, now = int(events.user[e]), int(events.item[e]), float(events.timestamp[e])
        if asked[e]:
            scores = oracle.scores(user, now)
            if not np.isnan(scores[item]):
                ahead = np.flatnonzero(scores > scores[item] + 1e-9)
                tied = np.flatnonzero(np.abs(scores - scores[item]) <= 1e-9)
                assert len(tied) == 1 or scores[item] == 0
                expected[e] = len(ahead) + 1 + int((tied < item).sum())
        oracle.learn(user, item, now)
    got = recipe.ranks(events, asked, 15)
    assert (expected > 0).sum() > 80
    assert got.tolist() == expected.tolist()


def test_fold_and_top_say_what_the_oracle_says() -> None:
    recipe = CoVisitation(session_gap="20m", window="2h", rate=0.05)
    events = clicks(4)
    oracle = Oracle(recipe, 15)
    model = CoVisitationModel(
        card=_card(recipe), items=random_snapshot(1).items, users=random_snapshot(1).users,
        state=recipe.start(15, float(events.timestamp[0])),
    ).fold(events)  # fmt: skip
    for user, item, now in zip(events.user, events.item, events.timestamp, strict=True):
        oracle.learn(int(user), int(item), float(now))
    now = float(events.timestamp[-1]) + 30
    for user in range(8):
        expected = oracle.scores(user, now)
        history = events.select(events.user == user)
        for query in (Query(user=user, now=now), Query(history=history, now=now)):
            np.testing.assert_allclose(model.score(query, np.arange(15, dtype=np.int32)), expected, rtol=1e-4)


def _card(recipe: CoVisitation):
    return recipe.train(random_snapshot(1), rng=derive(0), progress=Silent()).card


def train(triples: list[tuple[int, int, float]], recipe: CoVisitation | None = None) -> CoVisitationModel:
    data = snapshot_of(triples)
    return (recipe or CoVisitation()).train(data, rng=derive(0), progress=Silent())


def test_what_follows_a_click_is_first() -> None:
    # 40 sessions: 0 is followed by 1, 2 by 3; all four are equally popular.
    triples = []
    for n in range(40):
        first = 2 * (n % 2)
        triples += [(n, first, 1e6 + 10 * n), (n, first + 1, 1e6 + 10 * n + 5)]
    model = train(triples)
    now = 1e6 + 500
    for item, follower in ((0, 1), (2, 3)):
        history = Interactions.of(user=[0], item=[item], timestamp=[now - 5])
        assert model.top(Query(history=history, now=now), 1).items.tolist() == [follower]
    assert model.similar(0, 1).items.tolist() == [1]


def test_a_closed_session_is_not_continued() -> None:
    model = train([(0, 0, 1e6), (0, 1, 1e6 + 10), (1, 2, 1e6 + 20)])
    late = 1e6 + 20 + 2 * 3600
    assert 1 not in model.top(Query(user=0, now=1e6 + 30), 5).items  # her own session
    assert set(model.top(Query(user=0, now=late), 5).items.tolist()) == {0, 1, 2}


def test_old_clicks_fade_behind_new_ones() -> None:
    old = [(n, 0, 1e6 + n) for n in range(100)]
    new = [(200 + n, 1, 1e6 + 4 * 3600 + n) for n in range(10)]
    assert train(old + new).top(Query(now=1e6 + 4 * 3600 + 20), 1).items.tolist() == [1]


def test_nothing_clicked_within_the_window_is_not_given() -> None:
    model = train([(0, 0, 1e6), (1, 1, 1e6 + 30 * 3600)])
    assert model.top(Query(now=1e6 + 30 * 3600), 5).items.tolist() == [1]
    # Long after the last event it answers as at that event.
    assert model.top(Query(now=1e6 + 900 * 3600), 5).items.tolist() == [1]


def test_items_and_users_beyond_the_vocabulary_are_learnt() -> None:
    model = train([(0, 0, 1e6), (0, 1, 1e6 + 10)])
    n = len(model.items)
    events = Interactions.of(user=[7, 7, 8, 8], item=[0, n + 3, 0, n + 3], timestamp=1e6 + 60 + np.arange(4))
    grown = model.fold(events)
    history = Interactions.of(user=[0], item=[0], timestamp=[1e6 + 70])
    assert grown.top(Query(history=history, now=1e6 + 75), 1).items.tolist() == [n + 3]
    assert grown.fold(Interactions.of(user=[-1], item=[1], timestamp=[1e6 + 99])).card == model.card


def test_of_too_many_sessions_the_one_idle_longest_goes() -> None:
    recipe = CoVisitation(sessions=4, session_gap="1d")
    triples = [(u, u, 1e6 + u) for u in range(5)]
    state = train(triples, recipe).state
    assert sorted(state.owner.tolist()) == [1, 2, 3, 4]


def test_counts_keep_their_worth_when_the_scale_moves() -> None:
    recipe = CoVisitation(click_half_lives=("1m",), window="30d")
    triples = [(n, n % 3, 1e6 + 3600 * n) for n in range(50)]
    state = train(triples, recipe).state
    now, last = 1e6 + 3600 * 49, state.heat[:, 0].copy()
    scale = 2.0 ** ((now - state.heat_from[0]) / 60)
    expected = [sum(2.0 ** (-(now - 1e6 - 3600 * n) / 60) for n in range(50) if n % 3 == j) for j in range(3)]
    np.testing.assert_allclose(last / scale, expected, rtol=1e-6)
    np.testing.assert_allclose(state.heat_total[0], last.sum(), rtol=1e-6)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("next_half_lives", ()),
        ("near_half_lives", ("1h", "3m")),
        ("rate", 0.0),
        ("window", "?"),
        ("places", 0),
    ],
)
def test_wrong_values_are_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        CoVisitation(**{field: value})
