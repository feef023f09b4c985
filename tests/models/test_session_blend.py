"""The blend that learns online: the contracts, its features, shares and steps beside plain ones, and a world
in which only learning helps."""

from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penchant.data.interactions import Interactions
from penchant.kernel.progress import Silent
from penchant.kernel.seeds import derive
from penchant.models import session_blend_kernels as kernels
from penchant.models.base import Query
from penchant.models.boosted import no_trees
from penchant.models.co_visitation import CoVisitation, CoVisitationModel
from penchant.models.co_visitation_kernels import Pace
from penchant.models.session_blend import SessionBlend, SessionBlendModel, choices_of
from penchant.models.session_sights_kernels import notes, width
from penchant.models.vsknn import VsKnnModel
from penchant.testing.contracts import OnlineContract, RetrieverContract
from penchant.testing.data import random_snapshot


class TestContract(OnlineContract, RetrieverContract):
    recipe: ClassVar = SessionBlend(
        session_gap="3h", window="5d", next_half_lives=("1d",), fading="2d", sessions=256, learn_every=2,
        candidates=8,
    )  # fmt: skip
    model_type: ClassVar = SessionBlendModel


class TestContractWithTrees(OnlineContract, RetrieverContract):
    recipe: ClassVar = SessionBlend(
        session_gap="3d", window="9d", next_half_lives=("1d",), fading="2d", sessions=256, learn_every=1,
        candidates=16,
    )  # fmt: skip
    model_type: ClassVar = SessionBlendModel

    def test_there_are_trees(self) -> None:
        model = self.train()
        assert len(model.trees.root) > 5
        assert model.card.metrics["bits_trees"] < model.card.metrics["bits"]


def clicks(seed: int, n: int = 400, n_users: int = 8, n_items: int = 15) -> Interactions:
    rng = np.random.default_rng(seed)
    return Interactions.of(
        user=rng.integers(0, n_users, n),
        item=np.minimum(rng.geometric(0.2, n) - 1, n_items - 1),
        timestamp=1e6 + np.cumsum(rng.exponential(60, n)),
    )


def started(recipe: SessionBlend, n_items: int) -> SessionBlendModel:
    data = random_snapshot(1)
    card = recipe.train(data, rng=derive(0), progress=Silent()).card
    return SessionBlendModel(
        card=card, items=data.items, users=data.users, known=recipe.begin(n_items, 1e6), trees=no_trees()
    )


@given(
    values=st.lists(st.one_of(st.none(), st.integers(0, 5)), min_size=1, max_size=40), c=st.integers(1, 12)
)
@settings(deadline=None)
def test_the_likeliest_are_the_first_of_a_stable_sort(values: list[int | None], c: int) -> None:
    scores = np.array([np.nan if v is None else v for v in values], np.float32)
    able = np.flatnonzero(~np.isnan(scores))
    expected = able[np.argsort(-scores[able], kind="stable")][:c]
    assert sorted(kernels.likeliest(scores, c).tolist()) == sorted(expected.tolist())


def test_a_step_goes_down_the_slope_of_the_loss() -> None:
    rng = np.random.default_rng(1)
    phi, v = rng.normal(size=(6, 5)), rng.normal(size=5)

    def loss(at: np.ndarray) -> float:
        return -np.log(np.exp(phi @ at) / np.exp(phi @ at).sum())[2]

    slope = np.array([(loss(v + e) - loss(v - e)) / 2e-6 for e in np.eye(5) * 1e-6])
    weights = kernels.start(1, 3)._replace(straight=v.copy(), squares=np.full(5, 0.5))
    share = kernels.shares(weights.straight, phi)
    np.testing.assert_allclose(share, np.exp(phi @ v) / np.exp(phi @ v).sum())
    kernels.step(weights, 0.1, phi, share, 2)
    np.testing.assert_allclose(weights.squares, 0.5 + slope**2, rtol=1e-6)
    np.testing.assert_allclose(weights.straight, v - 0.1 * slope / np.sqrt(0.5 + slope**2), rtol=1e-6)
    assert loss(weights.straight) < loss(v)


def test_scores_are_the_equation_over_what_both_parts_say() -> None:
    recipe = SessionBlend(session_gap="20m", window="2h", candidates=4, learn_every=3, learning_rate=0.3)
    events = clicks(4)
    model = started(recipe, 15).fold(events)
    visits = CoVisitation(session_gap="20m", window="2h", next_half_lives=recipe.next_half_lives)
    data = random_snapshot(1)
    parts = {
        "visits": CoVisitationModel(
            card=visits.train(data, rng=derive(0), progress=Silent()).card,
            items=data.items, users=data.users, state=visits.start(15, 1e6),
        ).fold(events),
        "alike": VsKnnModel(
            card=recipe.alike().train(data, rng=derive(0), progress=Silent()).card,
            items=data.items, users=data.users, state=recipe.alike().start(15, 1e6),
        ).fold(events),
    }  # fmt: skip
    now, rows = float(events.timestamp[-1]) + 30, np.arange(15, dtype=np.int32)
    last = np.array([events.timestamp[events.item == j].max(initial=-1) for j in rows])
    first = np.array([events.timestamp[events.item == j].min(initial=np.inf) for j in rows])
    v, n_parts = model.known.weights.straight, len(model.known.weights.straight) - kernels.MORE
    asked = 0
    for user in range(8):
        query = Query(user=user, now=now)
        p, near = (part.score(query, rows).astype(np.float64) for part in parts.values())
        got = model.score(query, rows)
        order = np.argsort(-np.where(np.isnan(p), -1, p), kind="stable")[:4]
        beyond = np.setdiff1d(rows, order)
        np.testing.assert_allclose(got[beyond], p[beyond], rtol=1e-5)
        np.testing.assert_allclose(got[order].sum(), p[order].sum(), rtol=1e-4)
        if not np.isnan(near).all():
            asked += 1
            phi = np.stack([
                np.log1p(p / 1e-3),
                np.log1p(np.nan_to_num(near) / np.nansum(near) / 1e-3),
                np.log1p((now - first) / 60) / 5,
                np.log1p((now - last) / 60) / 5,
                np.isin(rows, events.item[events.user == user][-kernels.READS :]),
            ], axis=1)[order]  # fmt: skip
            # The features of the mixture's own parts are what is left of ln q.
            own = np.empty((4, len(v)))
            session = kernels.visits.session_of(model.known.trails, recipe.pace, user, now)
            kernels.features(
                model.known, recipe.pace, session, kernels.reads_of(model.known, user), now,
                p.astype(np.float32), near.astype(np.float32), order.astype(np.int32), own,
            )  # fmt: skip
            np.testing.assert_allclose(own[:, n_parts:], phi, rtol=1e-4)
            weights = parts["visits"].state.weights
            mixed = ((np.exp(own[:, :n_parts]) - 1) * 1e-3) @ weights.T
            assert np.isclose(mixed, p[order][:, None], rtol=1e-3).all(axis=0).any()
            raised = np.exp(own @ v)
            np.testing.assert_allclose(got[order], p[order].sum() * raised / raised.sum(), rtol=1e-3)
    assert asked > 2


def test_before_it_learns_it_ranks_as_co_visitation() -> None:
    events = clicks(5)
    asked = np.arange(len(events)) % 2 == 1
    blend = SessionBlend(session_gap="20m", window="2h", learn_every=10**9)
    plain = CoVisitation(session_gap="20m", window="2h", next_half_lives=blend.next_half_lives)
    assert blend.ranks(events, asked, 15).tolist() == plain.ranks(events, asked, 15).tolist()


def test_a_replay_is_what_serving_would_have_said() -> None:
    recipe = SessionBlend(session_gap="20m", window="2h", learn_every=2, candidates=5)
    events = clicks(6, 200)
    asked = np.arange(len(events)) % 2 == 1
    ranks = recipe.ranks(events, asked, 15)
    model = started(recipe, 15)
    for e in range(len(events)):
        if asked[e]:
            query = Query(user=int(events.user[e]), now=float(events.timestamp[e]))
            items = model.top(query, 15).items.tolist()
            item = int(events.item[e])
            assert ranks[e] == (items.index(item) + 1 if item in items else 0)
        model = model.fold(events.select(slice(e, e + 1)))


def test_a_replay_with_trees_is_what_serving_would_have_said() -> None:
    recipe = SessionBlend(session_gap="20m", window="2h", learn_every=1, candidates=12, examples=300)
    events = clicks(6, 700)
    asked = (np.arange(len(events)) % 2 == 1) & (np.arange(len(events)) >= 601)
    ranks = recipe.ranks(events, asked, 15)
    known = recipe.begin(15, float(events.timestamp[0]))
    first = events.select(slice(0, 601))
    trees, _ = recipe.learn(known, first, rng=derive(0, recipe.name), progress=Silent())
    assert len(trees.root) > 0
    model = replace(started(recipe, 15), known=known, trees=trees)
    other = 0
    for e in range(601, len(events)):
        if asked[e]:
            query = Query(user=int(events.user[e]), now=float(events.timestamp[e]))
            items, item = model.top(query, 15).items.tolist(), int(events.item[e])
            assert ranks[e] == (items.index(item) + 1 if item in items else 0)
            other += items != replace(model, trees=no_trees()).top(query, 15).items.tolist()
        model = model.fold(events.select(slice(e, e + 1)))
    assert other > 10


def test_the_newest_examples_are_kept_oldest_first() -> None:
    events = clicks(7, 300)
    kept: list[kernels.Notes] = []
    for n in (1000, 40):
        recipe = SessionBlend(session_gap="20m", window="2h", learn_every=1, candidates=5)
        known, ways = recipe.begin(15, 1e6), recipe.ways
        kept.append(notes(n, 5, len(known.weights.straight), ways.pace))
        user, chances = events.user.astype(np.int64), np.zeros(len(events))
        kernels.learn_all(known, ways, user, events.item, events.timestamp, chances, kept[-1])
    every, newest = (choices_of(noted, len(known.weights.straight)) for noted in kept)
    assert len(every.size) > 40 == len(newest.size)
    last = every.part(len(every.size) - 40, len(every.size))
    assert all(a.tobytes() == b.tobytes() for a, b in zip(last, newest, strict=True))


def test_what_somebody_read_before_is_known_from_memory_as_from_the_history() -> None:
    recipe = SessionBlend(session_gap="20m", window="2h", learn_every=2, candidates=5)
    events = clicks(8, 600)
    model = started(recipe, 15).fold(events)
    now, longer = float(events.timestamp[-1]) + 30, 0
    for user in range(8):
        history = events.select(events.user == user)
        longer += len(history) > kernels.READS
        asked = Query(user=user, now=now), Query(history=history, now=now)
        remembered, told = (model.top(query, 15) for query in asked)
        assert remembered.items.tolist() == told.items.tolist()
        assert remembered.scores.tobytes() == told.scores.tobytes()
        np.testing.assert_array_equal(kernels.reads_of(model.known, user), history.item[-kernels.READS :])
    assert longer > 2


def test_that_nobody_reads_an_item_twice_is_learnt() -> None:
    # Everybody reads three of six items in one session and the others in the next, hours later.
    rng = np.random.default_rng(2)
    items = np.concatenate([rng.permutation(6) for _ in range(500)])
    place = np.arange(3000) % 6
    time = 1e6 + np.arange(3000) // 6 * 60.0 + place * 5.0 + (place >= 3) * 7200.0
    order = np.argsort(time, kind="stable")
    events = Interactions.of(user=(np.arange(3000) // 6)[order], item=items[order], timestamp=time[order])
    asked = place[order] >= 4
    learnt = SessionBlend(learn_every=1, trees=0).ranks(events, asked, 6)[asked][300:]
    mixed = CoVisitation().ranks(events, asked, 6)[asked][300:]
    assert (learnt <= 2).mean() > 0.99
    assert (mixed <= 2).mean() < 0.6


def test_the_trees_see_what_was_counted() -> None:
    recipe = SessionBlend(session_gap="20m", window="2h", candidates=15, learn_every=1)
    events = clicks(9)
    known, pace = started(recipe, 15).fold(events).known, recipe.pace
    now, n, asked = float(events.timestamp[-1]) + 30, len(known.weights.straight), 0
    seen = Seen(events, pace, now)
    for user in range(8):
        session = kernels.visits.session_of(known.trails, pace, user, now)
        if len(session) == 0:
            continue
        asked += 1
        rows = np.setdiff1d(np.arange(15), session).astype(np.int32)
        phi, share = np.random.default_rng(user).random((len(rows), n)), np.full(len(rows), 0.25)
        out = np.empty((len(rows), width(n, pace)), np.float32)
        reads = kernels.reads_of(known, user)
        kernels.seen(known, recipe.ways, session, reads, now, rows, phi, share, out)
        np.testing.assert_allclose(out[:, :n], phi, rtol=1e-6)
        np.testing.assert_allclose(out[:, n], np.log(0.25), rtol=1e-6)
        for i, j in enumerate(rows.tolist()):
            expected = seen.of(j, session.tolist(), reads.tolist())
            np.testing.assert_allclose(out[i, n + 1 :], expected, rtol=1e-3, atol=1e-4)
    assert asked > 2


class Seen:
    """The sights, counted from the events themselves."""

    def __init__(self, events: Interactions, pace: Pace, now: float) -> None:
        self.pace, self.now, self.rows = pace, now, []
        self.next: list[tuple[int, int, float]] = []
        self.near: list[tuple[int, int, float]] = []
        self.first: dict[int, float] = {}
        self.sessions: dict[int, set[tuple[int, int]]] = {}
        trails: dict[int, list[int]] = {}
        last: dict[int, float] = {}
        begun: dict[int, int] = {}
        for user, item, at in zip(events.user.tolist(), events.item.tolist(), events.timestamp, strict=True):
            if user not in last or at - last[user] > pace.session_gap:
                trails[user], begun[user] = [], begun.get(user, 0) + 1
            last[user] = at
            trail = trails[user]
            again = item in trail
            self.rows.append((item, at, len(trail) > 0 and not again))
            self.first.setdefault(item, at)
            if again:
                continue
            if trail:
                self.next.append((trail[-1], item, at))
                for other in trail[-6:]:
                    self.near += [(other, item, at), (item, other, at)]
                for listed in (*trail, item):
                    self.sessions.setdefault(listed, set()).add((user, begun[user]))
            trails[user] = [*trail, item][-20:]

    def clicks(self, j: int, half_life: float, *, within: bool) -> float:
        return sum(
            2 ** (-(self.now - at) / half_life) for i, at, inner in self.rows if i == j and inner >= within
        )

    def of(self, j: int, session: list[int], reads: list[int]) -> list[float]:
        hs = [half_lives.tolist() for half_lives in self.pace[:3]]
        found: list[float] = []
        every = [self.clicks(j, h, within=False) for h in hs[0]]
        inner = [self.clicks(j, h, within=True) for h in hs[0]]
        for m in range(len(hs[0])):
            slower = every[min(m + 1, len(every) - 1)]
            found += [
                np.log1p(every[m]),
                np.log((inner[m] + 0.1) / (every[m] + 0.1)),
                np.log((every[m] + 0.1) / (slower + 0.1)),
            ]
        then = [self.counted(self.next, session[-1], j, h, self.now) for h in hs[1]]
        beside = [sum(self.counted(self.near, s, j, h, self.now) for s in session[-6:]) for h in hs[2]]
        found += np.log1p([*then, *beside]).tolist()
        others = [i for i in range(15) if i not in session]
        of_clicks = every[-1] / sum(self.clicks(i, hs[0][-1], within=False) for i in others) + 1e-3
        all_then = sum(self.counted(self.next, session[-1], i, hs[1][-1], self.now) for i in others)
        all_beside = sum(
            self.counted(self.near, s, i, hs[2][-1], self.now) for s in session[-6:] for i in others
        )
        found += [
            np.log((then[-1] / max(all_then, 1e-9) + 1e-3) / of_clicks),
            np.log((beside[-1] / max(all_beside, 1e-9) + 1e-3) / of_clicks),
            np.log1p(self.counted(self.next, session[max(len(session) - 2, 0)], j, hs[1][-1])),
            np.log1p(self.counted(self.next, j, session[-1], hs[1][-1])),
            np.log1p(len(self.sessions.get(j, ()))),
            (self.first[j] - self.first[session[-1]]) / 86400,
            np.log1p(sum(self.counted(self.near, i, j, hs[2][-1]) for i in reads[-8:])),
            len(reads),
            np.log1p(all_then),
            len(session),
        ]
        return found

    def counted(
        self, pairs: list[tuple[int, int, float]], source: int, target: int, half_life: float, now: float = 0
    ) -> float:
        """Return the pairs' worth now, or, without ``now``, at the last of the source's."""
        of_source = [(j, at) for i, j, at in pairs if i == source]
        now = now or max((at for _, at in of_source), default=0.0)
        return sum(2 ** (-(now - at) / half_life) for j, at in of_source if j == target)


def test_what_only_the_whole_session_tells_is_learnt() -> None:
    # A session begins with one of four items and goes through 4, which all do; what ends it depends on the
    # first. The mixture gives the last item a say of its own; neighbours that share both items know better.
    rng = np.random.default_rng(1)
    rows, time = [], 1e6
    for session in range(1500):
        first = int(rng.integers(4))
        for item in (first, 4, 5 + first):
            time += 5.0
            rows.append((session, item, time))
    user, item, at = zip(*rows, strict=True)
    events = Interactions.of(user=user, item=item, timestamp=at)
    asked = np.arange(len(events)) % 3 == 2
    fields = {"session_gap": "1h", "near_half_lives": ("1s",), "next_half_lives": ("1h",)}
    learnt = SessionBlend(**fields, learn_every=1).ranks(events, asked, 9)[asked][500:]
    mixed = CoVisitation(**fields).ranks(events, asked, 9)[asked][500:]
    assert (1 / mixed).mean() < 0.7
    assert (learnt == 1).mean() > 0.99


def test_items_and_users_beyond_the_vocabulary_are_learnt() -> None:
    model = SessionBlend().train(random_snapshot(1), rng=derive(0), progress=Silent())
    n, now = len(model.items), model.card.cutoff
    events = Interactions.of(
        user=[907, 907, 908, 908], item=[0, n + 3, 0, n + 3], timestamp=now + np.arange(1, 5)
    )
    grown = model.fold(events)
    history = Interactions.of(user=[0], item=[0], timestamp=[now + 10])
    assert grown.top(Query(history=history, now=now + 15), 1).items.tolist() == [n + 3]
    assert grown.similar(0, 1).items.tolist() == [n + 3]


@pytest.mark.parametrize(
    ("field", "value"), [("candidates", 0), ("learning_rate", 0.0), ("fading", "?"), ("neighbours", 0)]
)
def test_wrong_values_are_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        SessionBlend(**{field: value})
