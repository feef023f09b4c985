"""Sources, rules, rankers and mixers: their contracts, and what each does of its own."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penchant.feed.bridge import Bridge
from penchant.feed.live import Live, as_rows
from penchant.feed.mixers import Blocks, Single
from penchant.feed.rankers import ModelRanker
from penchant.feed.rules import Exclude, Known, Seen
from penchant.feed.sources import (
    Everything,
    FollowedSource,
    ModelSource,
    NewestSource,
    SimilarSource,
    Timed,
    in_turns,
)
from penchant.feed.types import Candidates, Mixer, Ranker, Request, Rule, Source
from penchant.kernel.errors import Defect, StageFailed
from penchant.kernel.progress import Silent
from penchant.kernel.seeds import derive
from penchant.models.popularity import Popularity
from penchant.testing.data import item_id, popularity_ladder, random_snapshot, snapshot_of, user_id
from penchant.testing.feed_contracts import (
    CANDIDATES,
    MixerContract,
    NeighbourModel,
    RankerContract,
    RuleContract,
    SourceContract,
    acted,
    put,
    ranked_of,
    request_for,
    sample_live,
)


def neighbours(live: Live) -> Bridge:
    return Bridge.of("for_you", NeighbourModel(live.snapshot), live.snapshot)


class TestModelSource(SourceContract):
    def make(self, live: Live) -> Source:
        return ModelSource(name="for_you", bridge=neighbours(live))


class TestModelSourceOfOtherRows(SourceContract):
    """A model of an older snapshot, with other users and other items."""

    def make(self, live: Live) -> Source:
        model = NeighbourModel(random_snapshot(2, n_users=45, n_items=44))
        return ModelSource(name="for_you", bridge=Bridge.of("for_you", model, live.snapshot))


class TestPopularSource(SourceContract):
    def make(self, live: Live) -> Source:
        model = Popularity().train(live.snapshot, rng=derive(1), progress=Silent())
        return ModelSource(name="popular", bridge=Bridge.of("popular", model, live.snapshot, personal=False))


class TestSimilarSource(SourceContract):
    def make(self, live: Live) -> Source:
        return SimilarSource(name="similar:for_you", bridge=neighbours(live))


class TestFollowedSource(SourceContract):
    def make(self, live: Live) -> Source:
        return FollowedSource(name="followed", live=live)


class TestNewestSource(SourceContract):
    def make(self, live: Live) -> Source:
        return NewestSource(name="newest")


class TestEverything(SourceContract):
    def make(self, live: Live) -> Source:
        return Everything.of("fallback", live.snapshot.n_items, as_rows([7, 3]))


class TestTimed(SourceContract):
    def make(self, live: Live) -> Source:
        return Timed(inner=NewestSource(name="newest"), seconds=30.0, pool=ThreadPoolExecutor(1))


class TestSeen(RuleContract):
    def make(self) -> Rule:
        return Seen()


class TestSeenBuysOfLate(RuleContract):
    def make(self) -> Rule:
        return Seen(event_types=("buy",), again_after=2_000_000.0)


class TestExclude(RuleContract):
    def make(self) -> Rule:
        return Exclude()


class TestKnown(RuleContract):
    def make(self) -> Rule:
        return Known(property="title")


class TestModelRanker(RankerContract):
    def make(self, live: Live) -> Ranker:
        return ModelRanker(name="for_you", bridge=neighbours(live))


class TestSingle(MixerContract):
    def make(self) -> Mixer:
        return Single()


class TestBlocks(MixerContract):
    def make(self) -> Mixer:
        return Blocks(
            blocks=(("for_you", 3), ("trending", 1), ("popular", 1)), backfill=("popular", "for_you")
        )

    @given(CANDIDATES, st.integers(1, 40))
    def test_the_order_within_a_source_is_kept(self, sources: dict[str, list[int]], k: int) -> None:
        for name in sources:
            rows = [slot.item for slot in self.mixed(sources, k) if slot.source == name]
            assert rows == sorted(rows, key=sources[name].index)

    @given(st.lists(st.permutations(range(40)), min_size=3, max_size=3), st.integers(1, 30))
    def test_quotas_are_exact_while_nobody_is_dry(self, orders: list[list[int]], k: int) -> None:
        sources = dict(zip(("for_you", "trending", "popular"), orders, strict=True))
        turns = ["for_you", "for_you", "for_you", "trending", "popular"]
        assert [slot.source for slot in self.mixed(sources, k)] == [turns[i % 5] for i in range(k)]

    @given(CANDIDATES, st.integers(1, 40))
    def test_each_slot_is_the_best_left_of_whose_turn_it_is(
        self, sources: dict[str, list[int]], k: int
    ) -> None:
        """A slow oracle: at each place take the first unused item of the first source that has one."""
        turns = ["for_you", "for_you", "for_you", "trending", "popular"]
        used: list[int] = []
        for i in range(k):
            order = [turns[i % 5], "popular", "for_you", *sources]
            left = [row for name in order for row in sources.get(name, []) if row not in used]
            used += left[:1]
        assert [slot.item for slot in self.mixed(sources, k)] == used


def test_blocks_backfill_in_the_stated_order() -> None:
    mixer = Blocks(blocks=(("a", 1), ("b", 1)), backfill=("c", "b"))
    sources = {"a": [1], "b": [2, 3, 4], "c": [9, 1], "d": [8, 7]}
    live = Live(random_snapshot(1))
    slots = mixer.mix(request_for(live, "nobody", k=9), ranked_of(sources), rng=derive(1))
    assert [(s.source, s.item) for s in slots] == [
        ("a", 1),
        ("b", 2),
        ("c", 9),  # a is dry, c fills in
        ("b", 3),
        ("b", 4),  # c has only what is placed already
        ("d", 8),  # b's own turn, but b is dry
        ("d", 7),
    ]
    assert {s.propensity for s in slots} == {1.0}


def test_blocks_need_places() -> None:
    with pytest.raises(Defect):
        Blocks(blocks=())
    with pytest.raises(Defect):
        Blocks(blocks=(("a", 0),))


def everything(request: Request) -> Candidates:
    n = len(request.catalogue)
    return Everything.of("all", n).fetch(request, n)


def test_seen_forgets_after_a_while_and_counts_only_what_it_is_told() -> None:
    live = Live(snapshot_of([(0, 1, 100.0)], n_users=1, n_items=6))
    live.fold(
        [
            acted(1, user_id(0), item_id(2), at=3_999_000.0, event_type="buy"),
            acted(2, user_id(0), item_id(3), at=3_999_000.0),
        ]
    )
    request = request_for(live, user_id(0))

    def gone(rule: Seen) -> list[int]:
        return np.flatnonzero(~rule.judge(request, everything(request)).keep).tolist()

    assert gone(Seen()) == [1, 2, 3]
    assert gone(Seen(again_after=10_000.0)) == [2, 3]
    assert gone(Seen(event_types=("buy",))) == [2]
    assert gone(Seen(event_types=("click",), again_after=10_000.0)) == [3]
    assert gone(Seen(event_types=("no such type",))) == []
    assert gone(Seen(again_after=1.0)) == []


def test_exclude_leaves_out_the_anchor_and_bears_unknown_ids() -> None:
    live = Live(random_snapshot(1))
    request = request_for(live, "nobody", item=3, exclude=[-1, 5])
    keep = Exclude().judge(request, everything(request)).keep
    assert np.flatnonzero(~keep).tolist() == [3, 5]


def test_known_asks_for_the_property() -> None:
    live = sample_live()
    request = request_for(live, "nobody")
    keep = Known(property="title").judge(request, everything(request)).keep
    assert np.flatnonzero(keep).tolist() == [live.catalogue.row("new1")]


def test_a_model_of_other_rows_answers_as_on_its_own() -> None:
    """A bridge between vocabularies changes row numbers and nothing else."""
    live = Live(random_snapshot(1))  # u000..u049, i000..i039
    own = random_snapshot(2, n_users=45, n_items=36)
    model = NeighbourModel(own)
    bridge = Bridge.of("m", model, live.snapshot)
    request = request_for(live, user_id(4), k=5)
    history = request.history.select(request.history.item < 36)
    direct = own.items.ids(model.top(bridge.query(request), 5).items)  # pyright: ignore[reportArgumentType]
    assert [live.catalogue.id(row) for row in bridge.top(request, 5).items.tolist()] == direct
    query = bridge.query(request)
    assert query is not None
    assert query.history is not None  # the model is not of this snapshot, so it is told all
    assert own.items.ids(query.history.item) == live.snapshot.items.ids(history.item)
    scores = bridge.score(request, as_rows([0, 35, 36, 39]))
    assert np.isnan(scores).tolist() == [False, False, True, True]


def test_a_model_gives_nothing_to_somebody_unknown_and_something_after_one_event() -> None:
    live = Live(random_snapshot(1))
    source = ModelSource(name="m", bridge=neighbours(live))
    assert len(source.fetch(request_for(live, "stranger"), 5)) == 0
    live.fold([acted(1, "stranger", item_id(4))])
    found = source.fetch(request_for(live, "stranger"), 5)
    alike = NeighbourModel(live.snapshot).alike[4]
    assert found.scores.tolist() == sorted(alike.tolist(), reverse=True)[:5]


def test_a_trained_user_without_news_is_asked_for_by_row_alone() -> None:
    live = Live(random_snapshot(1))
    bridge = neighbours(live)
    query = bridge.query(request_for(live, user_id(3)))
    assert query is not None
    assert (query.user, query.history) == (3, None)
    live.fold([acted(1, user_id(3), item_id(4)), acted(2, user_id(3), "put later")])
    query = bridge.query(request_for(live, user_id(3)))
    assert query is not None
    assert query.history is not None
    assert query.history.item[-1] == 4  # the item the model does not know is left out


def test_an_online_model_learns_through_the_bridge() -> None:
    live = Live(popularity_ladder(10))
    model = Popularity(window="all").train(live.snapshot, rng=derive(1), progress=Silent())
    bridge = Bridge.of("popular", model, live.snapshot, personal=False)
    request = request_for(live, "nobody")
    assert bridge.top(request, 1).items.tolist() == [0]
    events = live.fold([acted(i, f"new{i}", item_id(5)) for i in range(1, 8)])
    assert bridge.fold(events).top(request, 2).items.tolist() == [5, 0]
    assert bridge.top(request, 1).items.tolist() == [0]


def test_a_model_older_than_the_snapshot_is_told_what_it_missed() -> None:
    old = popularity_ladder(10)
    later = snapshot_of(
        [(u, i, 1_000_000.0 + 60 * u + i) for i in range(10) for u in range(10 - i)]
        + [(u, 9, 2_000_000.0 + u) for u in range(12, 30)],
        n_users=30,
        n_items=10,
    )
    model = Popularity(window="all").train(old, rng=derive(1), progress=Silent())
    bridge = Bridge.of("popular", model, later, personal=False)
    assert bridge.everyone().tolist()[:3] == [9, 0, 1]


def test_turns_are_taken() -> None:
    assert in_turns([[1, 2, 3], [4], [1, 5]], 9) == [1, 4, 2, 5, 3]
    assert in_turns([[1, 2, 3], [4]], 3, without=[4]) == [1, 2, 3]
    assert in_turns([], 3) == []


def test_followed_authors_take_turns_newest_first() -> None:
    live = sample_live()
    live.fold([put(8, "new3", author="u001")])
    found = FollowedSource(name="followed", live=live).fetch(request_for(live, user_id(0)), 9)
    assert [live.catalogue.id(row) for row in found.items.tolist()] == ["new3", "new2", "new1"]
    assert len(FollowedSource(name="followed", live=live).fetch(request_for(live, "nobody"), 9)) == 0


def test_a_source_that_hangs_fails_in_time() -> None:
    release = threading.Event()

    class Hangs:
        name = "remote"

        def fetch(self, request: Request, k: int) -> Candidates:
            release.wait(30)
            raise AssertionError

    pool = ThreadPoolExecutor(1)
    source = Timed(inner=Hangs(), seconds=0.02, pool=pool)
    request = request_for(Live(random_snapshot(1)), "nobody")
    for _ in range(3):  # one hangs in the thread, the others wait for it and fail as fast
        with pytest.raises(StageFailed, match=r"source remote: no answer within 0\.02 s"):
            source.fetch(request, 5)
    release.set()
    pool.shutdown()
