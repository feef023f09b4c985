"""The contract suites of sources, rules, rankers and mixers, and small things to test feeds with.

A test class names how its subject is made and inherits the suite::

    class TestNewest(SourceContract):
        def make(self, live: Live) -> Source:
            return NewestSource(name="newest")
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from penchant.data.events import Acted, AnyEvent, Followed, ItemPut, Value
from penchant.data.snapshot import Snapshot
from penchant.feed.live import Live, as_rows
from penchant.feed.types import Candidates, Mixer, Ranker, Request, Rule, Slot, Source
from penchant.kernel.arrays import F32, AnyArray, Csr, Rows, readonly
from penchant.kernel.seeds import derive
from penchant.kernel.topk import best_rows
from penchant.models.base import Batch, Card, Queries, Query, Scored
from penchant.testing.data import item_id, random_snapshot, user_id


class NeighbourModel:
    """A personal model small enough to check by eye: an item's score is how often users of it and of the
    user's items are the same; similar items share users.
    """

    kind: ClassVar[str] = "neighbours"

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.items = snapshot.items
        self.users = snapshot.users
        self.card = Card(
            recipe="neighbours",
            config={},
            snapshot=snapshot.digest,
            cutoff=snapshot.cutoff,
            head=snapshot.head,
            seed=0,
            users=snapshot.n_users,
            items=snapshot.n_items,
            interactions=len(snapshot.interactions),
        )
        taken = np.zeros((snapshot.n_users, snapshot.n_items), np.float32)
        taken[snapshot.interactions.user, snapshot.interactions.item] = 1
        self.alike: F32 = taken.T @ taken

    def _scores(self, query: Query) -> F32:
        history = self.snapshot.history(query.user) if query.history is None else query.history
        return self.alike[np.unique(history.item)].sum(axis=0, dtype=np.float32)

    def top(self, query: Query, k: int, *, exclude: Rows | None = None) -> Scored:
        """Return the best k."""
        return _best(self._scores(query), k, exclude)

    def top_many(self, queries: Queries, k: int, *, exclude: Csr | None = None) -> Batch:
        """Feeds ask one at a time."""
        raise NotImplementedError

    def score(self, query: Query, items: Rows) -> F32:
        """Return the scores of items."""
        return self._scores(query)[items]

    def similar(self, item: int, k: int, *, exclude: Rows | None = None) -> Scored:
        """Return the items with most users in common."""
        return _best(self.alike[item], k, as_rows([item]) if exclude is None else np.append(exclude, item))

    def arrays(self) -> Mapping[str, AnyArray]:
        """Nothing to save."""
        return {}

    @classmethod
    def open(cls, card: Card, arrays: Mapping[str, AnyArray]) -> Any:
        """Nothing to open."""
        raise NotImplementedError


def _best(scores: F32, k: int, exclude: Rows | None) -> Scored:
    scores = scores.copy()
    if exclude is not None:
        scores[exclude] = np.nan
    rows = best_rows(scores, k)
    return Scored(items=rows, scores=readonly(scores[rows]))


def acted(
    number: int, user: str, item: str, *, at: float = 3_000_000.0, event_type: str = "click"
) -> tuple[int, AnyEvent]:
    """Return a numbered action."""
    return number, Acted(
        event_id=f"e{number}", timestamp=at + number, user_id=user, item_id=item, event_type=event_type
    )


def put(number: int, item: str, **properties: Value) -> tuple[int, AnyEvent]:
    """Return a numbered new or changed item."""
    return number, ItemPut(event_id=f"p{number}", timestamp=3e6, item_id=item, properties=properties)


def sample_live(seed: int = 1) -> Live:
    """Return a random snapshot with a tail: a known user's new event, a new user, two new items, a follow."""
    live = Live(random_snapshot(seed))
    live.fold(
        [
            (
                1,
                ItemPut(
                    event_id="p1", timestamp=3e6, item_id="new1", properties={"author": "u001", "title": "x"}
                ),
            ),
            (2, ItemPut(event_id="p2", timestamp=3e6, item_id="new2", properties={"author": "u002"})),
            acted(3, user_id(0), item_id(5)),
            acted(4, "stranger", item_id(7)),
            acted(5, "stranger", "new1", event_type="buy"),
            (6, Followed(event_id="f1", timestamp=3e6, user_id=user_id(0), followed_id="u001")),
            (7, Followed(event_id="f2", timestamp=3e6, user_id=user_id(0), followed_id="u002")),
        ]
    )
    return live


def request_for(
    live: Live, user: str, *, k: int = 10, item: int = -1, exclude: Sequence[int] = ()
) -> Request:
    """Return a request as serving makes it."""
    row = live.user(user)
    history, fresh = live.history(user, row)
    return Request(
        request_id=f"r-{user}-{k}",
        feed="home",
        user_id=user,
        user=row,
        k=k,
        now=4_000_000.0,
        history=history,
        fresh=fresh,
        catalogue=live.catalogue,
        item=item,
        exclude=as_rows(exclude),
    )


PEOPLE = (user_id(0), user_id(3), "stranger", "nobody")
"""Known with new events, known, new with events, never heard of."""


def requests(live: Live, k: int = 10) -> list[Request]:
    """Return requests of all kinds of users, with and without an anchor and exclusions."""
    plain = [request_for(live, user, k=k) for user in PEOPLE]
    return [*plain, *(request_for(live, user, k=k, item=3, exclude=[4, 5]) for user in PEOPLE)]


class SourceContract:
    """What every source promises."""

    def make(self, live: Live) -> Source:
        """Return the source under test."""
        raise NotImplementedError

    def test_candidates_are_rows_best_first_none_twice(self) -> None:
        live = sample_live()
        source = self.make(live)
        for request in requests(live):
            for k in (0, 1, 7, 1000):
                found = source.fetch(request, k)
                assert found.source == source.name
                assert len(found) <= k
                assert len(found.scores) == len(found)
                rows = found.items.tolist()
                assert len(set(rows)) == len(rows)
                assert all(0 <= row < len(live.catalogue) for row in rows)
                assert not np.isnan(found.scores).any()
                assert (np.diff(found.scores) <= 0).all()
                assert not found.items.flags.writeable
                assert not found.scores.flags.writeable

    def test_asking_for_more_adds_at_the_end(self) -> None:
        live = sample_live()
        source = self.make(live)
        for request in requests(live):
            more = source.fetch(request, 1000).items.tolist()
            assert source.fetch(request, 6).items.tolist() == more[:6]

    def test_somebody_gets_something(self) -> None:
        live = sample_live()
        source = self.make(live)
        assert any(len(source.fetch(request, 5)) for request in requests(live))


class RuleContract:
    """What every rule promises."""

    def make(self) -> Rule:
        """Return the rule under test."""
        raise NotImplementedError

    def all_of(self, live: Live) -> Candidates:
        """Return the whole catalogue, in an order that is not that of rows."""
        rows = np.random.default_rng(3).permutation(len(live.catalogue)).astype(np.int32)
        return Candidates(
            source="all", items=readonly(rows), scores=readonly(np.zeros(len(rows), np.float32))
        )

    def test_each_candidate_is_judged_on_its_own(self) -> None:
        live = sample_live()
        rule = self.make()
        everything = self.all_of(live)
        for request in requests(live):
            verdict = rule.judge(request, everything)
            assert verdict.keep.dtype == np.bool_
            assert verdict.keep.shape == everything.items.shape
            assert verdict.reason
            for i in range(0, len(everything), 5):
                one = everything.select(np.arange(len(everything)) == i)
                assert rule.judge(request, one).keep.tolist() == [verdict.keep[i]]

    def test_nothing_to_judge(self) -> None:
        live = sample_live()
        nothing = self.all_of(live).select(np.zeros(len(live.catalogue), np.bool_))
        assert all(len(self.make().judge(request, nothing).keep) == 0 for request in requests(live))

    def test_it_removes_something_and_keeps_something(self) -> None:
        live = sample_live()
        keeps = [self.make().judge(request, self.all_of(live)).keep for request in requests(live)]
        assert any(not keep.all() for keep in keeps)
        assert any(keep.any() for keep in keeps)


class RankerContract:
    """What every ranker promises."""

    def make(self, live: Live) -> Ranker:
        """Return the ranker under test."""
        raise NotImplementedError

    def test_scores_belong_to_items_not_to_places(self) -> None:
        live = sample_live()
        ranker = self.make(live)
        rows = np.arange(len(live.catalogue), dtype=np.int32)
        forth = Candidates(source="x", items=rows, scores=np.zeros(len(rows), np.float32))
        back = Candidates(source="x", items=rows[::-1].copy(), scores=np.zeros(len(rows), np.float32))
        for request in requests(live):
            scores = ranker.score(request, forth)
            assert scores.shape == rows.shape
            assert scores.dtype == np.float32
            np.testing.assert_allclose(ranker.score(request, back)[::-1], scores, rtol=1e-5)
        assert not np.isnan(ranker.score(requests(live)[0], forth)).all()


CANDIDATES = st.dictionaries(
    st.sampled_from(["for_you", "trending", "popular", "other"]),
    st.lists(st.integers(0, 39), unique=True, max_size=30),
)
"""What sources gave: any number of items each, the same ones in several."""


def ranked_of(given_: Mapping[str, Sequence[int]]) -> dict[str, Candidates]:
    """Return candidates by source from plain lists of rows."""
    return {
        name: Candidates(
            source=name, items=as_rows(rows), scores=readonly(np.arange(len(rows), 0, -1).astype(np.float32))
        )
        for name, rows in given_.items()
    }


class MixerContract:
    """What every mixer promises."""

    def make(self) -> Mixer:
        """Return the mixer under test."""
        raise NotImplementedError

    def mixed(self, sources: Mapping[str, Sequence[int]], k: int) -> tuple[Slot, ...]:
        """Return the feed of 40 items."""
        request = request_for(_FORTY, "nobody", k=k)
        return self.make().mix(request, ranked_of(sources), rng=derive(1, "mix"))

    # The properties are functions inside: hypothesis wants a test of its own for each class that inherits.

    def test_never_an_item_twice_nor_fewer_than_there_are(self) -> None:
        @given(CANDIDATES, st.integers(1, 40))
        def holds(sources: dict[str, list[int]], k: int) -> None:
            slots = self.mixed(sources, k)
            rows = [slot.item for slot in slots]
            assert len(set(rows)) == len(rows) == min(k, len(set().union(*sources.values())))
            for slot in slots:
                given_ = sources[slot.source]
                assert slot.item_id == _FORTY.catalogue.id(slot.item)
                assert slot.propensity is None or 0 < slot.propensity <= 1
                assert slot.score == len(given_) - given_.index(slot.item)

        holds()

    def test_the_same_chance_gives_the_same_feed(self) -> None:
        @given(CANDIDATES, st.integers(1, 40))
        def holds(sources: dict[str, list[int]], k: int) -> None:
            assert self.mixed(sources, k) == self.mixed(sources, k)

        holds()


_FORTY = Live(random_snapshot(1))
