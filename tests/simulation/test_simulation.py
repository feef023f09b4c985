"""The simulation on users whose taste is known by construction, and what a feed may and may not know."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.random import Generator

from penchant.data.snapshot import Snapshot, build_snapshot
from penchant.kernel.arrays import Bools, Rows
from penchant.kernel.clock import DAY
from penchant.kernel.errors import InputError
from penchant.kernel.progress import Silent
from penchant.kernel.seeds import derive
from penchant.reports.simulate import simulation_report
from penchant.simulation.dwell import stay_minutes
from penchant.simulation.feeds import (
    CategoryThompson,
    Feed,
    Oracle,
    Pacing,
    Popular,
    Published,
    SharedOracle,
    best,
)
from penchant.simulation.personal import CategoryRatios, Personal
from penchant.simulation.posterior import ItemPosterior
from penchant.simulation.response import fit_worlds
from penchant.simulation.result import BASELINES, FEEDS, OURS, Simulation
from penchant.simulation.run import category_weights, make_feeds, persona_of, play, simulate
from penchant.simulation.scene import Scene, make_scene, sample_users
from penchant.simulation.settings import SimulationSettings, settings_of

USERS, ITEMS, DAYS = 240, 60, 20
SMALL = SimulationSettings(
    known_share=0.6,
    candidates=48,
    slots=6,
    visits=2,
    new_users=60,
    known_users=60,
    waves=6,
    factors=4,
    seeds=2,
    most_categories=4,
)


def town(seed: int = 0, *, taste: bool = True) -> Snapshot:
    """Three kinds of people, told by ``kind``, take mostly items of their own of three categories.

    Item i belongs to category i % 3; low numbers appeal most. They pause a minute between two things, five
    after one of category A.
    """
    rng = np.random.default_rng(seed)
    kind = np.arange(USERS) % 3
    appeal = 1.0 / (1.0 + np.arange(ITEMS) / 6)
    rows: list[tuple[str, str, float]] = []
    for u in range(USERS):
        own = np.where(np.arange(ITEMS) % 3 == kind[u], 6.0, 1.0) if taste else np.ones(ITEMS)
        for day in range(DAYS):
            chosen = rng.choice(ITEMS, 2, replace=False, p=appeal * own / (appeal * own).sum())
            pause = 300.0 if chosen[0] % 3 == 0 else 60.0
            at = 86400.0 * day + float(rng.integers(0, 80_000))
            rows += [(f"u{u:03d}", f"i{chosen[0]:02d}", at), (f"u{u:03d}", f"i{chosen[1]:02d}", at + pause)]
    events = pa.table(
        {"user_id": [r[0] for r in rows], "item_id": [r[1] for r in rows], "timestamp": [r[2] for r in rows]}
    )
    users = pa.table(
        {"user_id": [f"u{u:03d}" for u in range(USERS)], "kind": [f"k{k}" for k in kind.tolist()]}
    )
    items = pa.table(
        {"item_id": [f"i{i:02d}" for i in range(ITEMS)], "category": ["ABC"[i % 3] for i in range(ITEMS)]}
    )
    return build_snapshot(events, users=users, items=items)


@pytest.fixture(scope="module")
def scene() -> Scene:
    sample = sample_users(town(), SMALL, rng=derive(0, "sample"))
    return make_scene(sample, SMALL, category="category", rng=derive(0, "scene"))


@pytest.fixture(scope="module")
def found() -> Simulation:
    return simulate(town(), SMALL, category="category", seed=3, progress=Silent())


def test_a_feed_knows_nothing_of_new_users_and_nothing_later(scene: Scene) -> None:
    known = scene.known
    new = known.users[: known.n_new]
    assert not np.isin(known.past.interactions.user, new).any()
    assert known.past.interactions.timestamp.max() < scene.start
    assert not known.taken[: known.n_new].any()
    assert known.taken[known.n_new :].any()
    everything = scene.everything.interactions
    assert np.isin(everything.user, new).any()  # the answers do know them
    assert known.popularity.sum() >= known.recent.sum() > 0


def test_what_new_users_did_changes_no_feed(scene: Scene) -> None:
    """Another past of the new users makes another world, and the same first feed for everybody."""
    new = scene.known.users[: scene.known.n_new]
    everything = scene.everything
    events = everything.interactions
    item = events.item.copy()
    theirs = np.isin(events.user, new)
    item[theirs] = derive(9, "other").permutation(item[theirs])
    other = everything.with_interactions(replace(events, item=item), cutoff=everything.cutoff)
    shown: list[bytes] = []
    chances: list[bytes] = []
    for each in (everything, other):
        again = make_scene(each, SMALL, category="category", rng=derive(0, "scene"))
        chances.append(fit_worlds(again, SMALL, rng=derive(1, "w"))[0].chance.tobytes())
        # What is on offer is chosen by everybody's recent interest, so it is held fixed here.
        known = replace(
            again.known,
            items=scene.known.items,
            category=scene.known.category,
            popularity=scene.known.popularity,
            recent=scene.known.recent,
            taken=scene.known.taken,
        )
        feeds = make_feeds(known, SMALL, (), rng=derive(2, "f"))
        who = np.arange(20, dtype=np.int32)
        shown += [make().show(who, ~known.taken[:20], 6, derive(3, "s")).tobytes() for make in feeds.values()]
    half = len(shown) // 2
    assert shown[:half] == shown[half:]
    assert chances[0] != chances[1]


def test_answers_learn_what_tells_people_apart(scene: Scene) -> None:
    told = fit_worlds(scene, SMALL, rng=derive(1, "w"))
    sample = sample_users(town(taste=False), SMALL, rng=derive(0, "sample"))
    alike = make_scene(sample, SMALL, category="category", rng=derive(0, "scene"))
    for world, plain in zip(told, fit_worlds(alike, SMALL, rng=derive(1, "w")), strict=True):
        gain = world.fit.auc - world.fit.auc_appeal
        assert gain > plain.fit.auc - plain.fit.auc_appeal + 0.04
        assert world.fit.calibration_error < 0.1
        first = np.argsort(-scene.known.recent, kind="stable")[: SMALL.slots]
        assert world.chance[: scene.known.n_new, first].mean() == pytest.approx(SMALL.rate, abs=1e-4)


def test_minutes_follow_the_pauses(scene: Scene) -> None:
    minutes = stay_minutes(scene, rng=derive(0, "m"))
    assert minutes is not None
    names = scene.known.categories
    by = {name: minutes[:, scene.known.category == i].mean() for i, name in enumerate(names)}
    assert by["A"] > 3 * by["B"]
    bare = scene.everything.with_interactions(
        replace(scene.everything.interactions, timestamp=np.zeros(len(scene.everything.interactions)))
    )
    assert stay_minutes(replace(scene, everything=bare), rng=derive(0, "m")) is None


@pytest.mark.parametrize("every", [4, 20])
def test_few_pauses_are_no_minutes(scene: Scene, every: int) -> None:
    """Baskets of ``every`` items, two a minute apart and then none for a day: 1 of 2 x every has a pause."""
    events = scene.everything.interactions
    basket = np.arange(len(events)) // every
    time = basket // 2 * DAY + basket % 2 * 60.0
    baskets = replace(events, user=np.zeros_like(events.user), timestamp=time)
    told = stay_minutes(
        replace(scene, everything=scene.everything.with_interactions(baskets)), rng=derive(0, "m")
    )
    assert (told is not None) == (every == 4)


@given(st.integers(0, 10_000))
@settings(max_examples=30)
def test_best_is_a_sort(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 8, (5, 40)).astype(np.float64)  # with ties
    offered = rng.random((5, 40)) < 0.7
    expected = np.argsort(np.where(offered, -scores, np.inf), axis=1, kind="stable")[:, :7]
    assert np.array_equal(best(scores, offered, 7), expected)


class Watched:
    """Checks what a feed shows: offered items only, none twice, and what was looked at never again."""

    def __init__(self, feed: Feed, name: str) -> None:
        self.feed, self.name = feed, name
        self.seen: dict[int, set[int]] = {}

    def show(self, who: Rows, offered: Bools, k: int, rng: Generator) -> Rows:
        items = self.feed.show(who, offered, k, rng)
        for at, row in zip(who.tolist(), items.tolist(), strict=True):
            assert len(set(row)) == k, self.name
            assert not self.seen.get(at, set()) & set(row), self.name
        assert np.take_along_axis(offered, items, 1).all(), self.name
        return items

    def learn(self, who: Rows, items: Rows, seen: Bools, liked: Bools) -> None:
        assert not (liked & ~seen).any()
        for row, place in zip(*np.nonzero(seen), strict=True):
            self.seen.setdefault(int(who[row]), set()).add(int(items[row, place]))
        self.feed.learn(who, items, seen, liked)


def test_every_feed_keeps_the_contract(scene: Scene) -> None:
    known = scene.known
    chance = fit_worlds(scene, SMALL, rng=derive(1, "w"))[0].chance
    feeds = {name: make() for name, make in make_feeds(known, SMALL, (), rng=derive(0, "f")).items()}
    for name, feed in {**feeds, "shared_oracle": SharedOracle(chance), "oracle": Oracle(chance)}.items():
        played = play(Watched(feed, name), chance, None, known, SMALL, luck=1)
        assert played.looks.sum() > 0
        assert played.minutes is None


def test_pacing_caps_every_category(scene: Scene) -> None:
    known = scene.known
    who = np.arange(10, dtype=np.int32)
    for fill in ("random", "half", "popular"):
        items = Pacing(known, fill).show(who, np.ones((10, len(known.items)), np.bool_), 6, derive(1, "p"))
        for row in items:
            assert np.bincount(known.category[row], minlength=3).max() == 2
    popular = Pacing(known, "popular").show(who, np.ones((10, len(known.items)), np.bool_), 6, derive(1, "p"))
    for c in range(3):
        own = np.flatnonzero(known.category == c)
        top = own[np.argsort(-known.recent[own], kind="stable")[:2]]
        assert set(top) <= set(popular[0])


def test_popularity_counts_the_likes_of_the_run() -> None:
    feed = Popular(np.array([3.0, 2.0, 1.0]))
    items = np.array([[2, 1]], np.int32)
    for _ in range(3):
        feed.learn(np.zeros(1, np.int32), items, np.ones((1, 2), bool), np.array([[True, False]]))
    shown = feed.show(np.zeros(1, np.int32), np.ones((1, 3), bool), 3, derive(0, "x"))
    assert shown.tolist() == [[2, 0, 1]]


def test_published_draws_categories_as_stated(scene: Scene) -> None:
    known = scene.known
    weights = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    persona = (np.arange(len(known.users)) % 2).astype(np.int32)
    feed = Published(known, persona, weights)
    who = np.arange(100, dtype=np.int32)
    rng = derive(0, "pub")
    offered = np.ones((100, len(known.items)), np.bool_)
    first = np.concatenate([known.category[feed.show(who, offered, 3, rng)[:, 0]] for _ in range(30)])
    group = np.tile(persona[who], 30)
    for g in (0, 1):
        share = np.bincount(first[group == g], minlength=3) / (group == g).sum()
        wanted = 0.8 * weights[g] + 0.2 / 3
        assert np.abs(share - wanted).max() < 0.04


def test_category_thompson_is_the_hierarchy_written_out(scene: Scene) -> None:
    known = scene.known
    persona = (np.arange(len(known.users)) % 2).astype(np.int32)
    feed = CategoryThompson(known, persona, np.full((2, 3), 1 / 3))
    rng = np.random.default_rng(0)
    who = np.arange(4, dtype=np.int32)
    items = rng.integers(0, len(known.items), (4, 6)).astype(np.int32)
    seen = rng.random((4, 6)) < 0.7
    liked = seen & (rng.random((4, 6)) < 0.5)
    feed.learn(who, items, seen, liked)
    a, b = feed.posterior(who)
    for u in range(4):
        for c in range(3):
            mean, n0 = 0.01, 100.0
            for rows in (range(4), [v for v in range(4) if v % 2 == u % 2], [u]):
                on = [known.category[items[v]] == c for v in rows]
                s = sum(int((liked[v] & m).sum()) for v, m in zip(rows, on, strict=True))
                n = sum(int((seen[v] & m).sum()) for v, m in zip(rows, on, strict=True))
                up, down = n0 * mean + s, n0 * (1 - mean) + n - s
                mean, n0 = up / (up + down), 20.0
            assert a[u, c] == pytest.approx(up)
            assert b[u, c] == pytest.approx(down)


def test_the_prior_of_items_weighs_what_it_is_worth(scene: Scene) -> None:
    """Where the past is right its weight grows, where it is wrong it shrinks."""
    known = scene.known
    n = len(known.items)
    rng = np.random.default_rng(0)
    share = known.recent / known.past.n_users
    for truth, low, high in ((share / share.max() * 0.5, 80.0, 1e9), (rng.random(n), 0.0, 20.0)):
        posterior = ItemPosterior(known)
        items = np.tile(np.arange(n, dtype=np.int32), (200, 1))
        seen = np.ones(items.shape, np.bool_)
        posterior.learn(items, seen, rng.random(items.shape) < truth)
        assert low <= posterior.n0 <= high
        assert np.abs(posterior.mean() - truth).max() < 0.15


def test_category_ratios_are_likes_over_expected(scene: Scene) -> None:
    known = scene.known
    ratios = CategoryRatios(known, np.zeros(len(known.users), np.int32), group=2.0, user=1.0)
    who = np.array([0, 0, 1], np.int32)
    ratios.learn(who, np.array([0, 0, 0]), np.array([1.0, 1.0, 0.0]), np.array([0.5, 0.5, 0.5]))
    group, user = ratios.logs(np.array([0, 1, 2], np.int32))
    assert np.exp(group[:, 0]) == pytest.approx([(2 + 2) / (2 + 1.5)] * 3)
    assert np.exp(user[:, 0]) == pytest.approx([3 / 2, 1 / 1.5, 1.0])
    assert np.allclose(user[:, 1:], 0)


def test_powers_stay_at_nothing_without_signal_and_grow_with_it(scene: Scene) -> None:
    known = scene.known
    feeds = make_feeds(known, SMALL, (), rng=derive(0, "f"))
    worlds = fit_worlds(scene, SMALL, rng=derive(1, "w"))
    for chance, low, high in (
        (worlds[0].chance, 0.1, 2.0),
        (np.full_like(worlds[0].chance, 0.2), 0.0, 0.3),
    ):
        feed = feeds["prior"]()
        assert isinstance(feed, Personal)
        play(feed, chance, None, known, SMALL, luck=2)
        assert low <= feed.powers[0] <= high


def test_ours_wins_where_people_can_be_told_apart(scene: Scene) -> None:
    """Everybody likes their own kind's category alone: the persona's categories tell."""
    known = scene.known
    kind = known.users % 3
    own = np.array(["ABC".index(known.categories[c]) for c in known.category])[None] == kind[:, None]
    chance = np.where(own, 0.5, 0.02).astype(np.float32)
    feeds = make_feeds(known, SMALL, (), rng=derive(0, "f"))
    liked = {
        name: play(feeds[name](), chance, None, known, SMALL, luck=5).likes[: known.n_new].sum()
        for name in ("global", "pacing_popular", OURS)
    }
    ceiling = play(Oracle(chance), chance, None, known, SMALL, luck=5).likes[: known.n_new].sum()
    assert liked[OURS] > 1.3 * max(liked["global"], liked["pacing_popular"])
    assert liked[OURS] <= ceiling


def test_all_feeds_are_compared(found: Simulation) -> None:
    for world in ("taste", "habit"):
        assert found.lift(world, "pacing_random", "new", "reward").value > 0
        assert found.lift(world, "oracle", "new", "reward").value < 0
        top = found.level(world, "oracle", "new", "reward").value
        for feed in FEEDS:
            assert found.level(world, feed, "new", "reward").value <= top * 1.02, feed
    assert found.timed
    assert len(found.fits) == 4
    assert {lift.over for lift in found.lifts} >= set(BASELINES)
    steps = [s for s in found.steps if (s.world, s.group, s.metric) == ("taste", "new", "reward")]
    assert [s.feed for s in steps] == ["prior", "items", "categories", OURS]


def test_the_same_seed_gives_the_same_simulation(found: Simulation) -> None:
    again = simulate(town(), SMALL, category="category", seed=3, progress=Silent())
    assert again == found


def test_the_page_says_that_it_is_simulated(found: Simulation) -> None:
    page = simulation_report(found, title="Cold start")
    assert "Simulated, not measured" in page
    for words in FEEDS.values():
        assert words in page
    assert "AUC" in page
    assert "Calibration" in page
    for sentence in found.sentences():
        assert sentence in page.replace("&#39;", "'")


def test_topics_stand_in_for_categories() -> None:
    sample = sample_users(town(), SMALL, rng=derive(0, "sample"))
    scene = make_scene(sample, SMALL, category=None, rng=derive(0, "scene"))
    assert scene.known.categories[0] == "topic 1"
    assert len(np.unique(scene.known.category)) == len(scene.known.categories)
    persona = persona_of(scene.known, (), rng=derive(0, "p"))
    weights = category_weights(scene.known, persona)
    assert np.allclose(weights.sum(axis=1), 1)
    assert len(np.unique(persona)) == 3  # as many as kinds of people


def test_who_took_nearly_everything_is_left_out() -> None:
    sample = sample_users(town(), SMALL, rng=derive(0, "s"))
    tight = SimulationSettings(known_share=0.6, candidates=48, slots=12, visits=3, known_users=100)
    known = make_scene(sample, tight, category="category", rng=derive(0, "s")).known
    assert ((~known.taken).sum(axis=1) >= 36).all()
    assert known.n_new < len(known.users) < known.n_new + 100


def test_too_little_is_refused_with_a_reason() -> None:
    few = town().before(86400.0 * 3)
    with pytest.raises(InputError, match="too few to simulate from"):
        sample_users(few, SMALL, rng=derive(0, "s"))
    sample = sample_users(town(), SMALL, rng=derive(0, "s"))
    with pytest.raises(InputError, match="Widen --days"):
        wide = SimulationSettings(candidates=400, slots=20, visits=4)
        make_scene(sample, wide, category="category", rng=derive(0, "s"))
    with pytest.raises(InputError, match="candidates or more"):
        settings_of({"visits": 50, "days": None})
