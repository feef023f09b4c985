"""The replay of sessions: who is asked, nothing leaks from the future, serving would say the same."""

import numpy as np
import pytest

from penchant.data.interactions import Interactions
from penchant.evaluation.sessions import SessionReplay, compare_sessions, session_replay
from penchant.kernel.arrays import Bools, Rows
from penchant.kernel.errors import Defect, InputError
from penchant.kernel.progress import Silent
from penchant.kernel.seeds import derive
from penchant.models.base import Query
from penchant.models.co_visitation import CoVisitation, CoVisitationModel
from penchant.testing.data import random_snapshot

RECIPE = CoVisitation(session_gap="1d", window="1h", sessions=256)


def clicks(n: int = 600, n_items: int = 20, seed: int = 2) -> Interactions:
    rng = np.random.default_rng(seed)
    time = 1e6 + np.cumsum(rng.exponential(30, n))
    session = np.arange(n) // 6 * 3 + rng.integers(0, 3, n)
    return Interactions.of(user=session, item=rng.integers(0, n_items, n), timestamp=time)


def split_of(events: Interactions, sample: int | None = None) -> SessionReplay:
    return session_replay(
        events, start=1e6 + 5000, end=1e6 + 9000, n_items=20, rng=derive(1), sample=sample, warm=4000.0
    )


def test_every_click_but_the_first_of_a_session_that_begins_in_time_is_asked_about() -> None:
    events = clicks()
    split = split_of(events)
    expected = 0
    for session in np.unique(events.user):
        times = np.sort(events.timestamp[events.user == session])
        if 1e6 + 5000 <= times[0] < 1e6 + 9000:
            expected += len(times) - 1
    assert int(split.asked.sum()) == expected > 60
    assert split.events.timestamp.min() >= 1e6 + 1000
    assert (np.diff(split.events.timestamp) >= 0).all()
    few = split_of(events, sample=10)
    assert len(np.unique(few.events.user[few.asked])) == few.sessions == 10
    assert few.fingerprint != split.fingerprint == split_of(events).fingerprint


def test_the_future_changes_no_answer() -> None:
    split = split_of(clicks())
    ranks = RECIPE.ranks(split.events, split.asked, 20)
    half = len(split.events) // 2
    shuffled = split.events.item.copy()
    shuffled[half:] = np.random.default_rng(9).permutation(shuffled[half:])
    other = Interactions.of(user=split.events.user, item=shuffled, timestamp=split.events.timestamp)
    assert RECIPE.ranks(other, split.asked, 20)[:half].tolist() == ranks[:half].tolist()


def test_a_replay_is_what_serving_would_have_said() -> None:
    split = split_of(clicks())
    ranks = RECIPE.ranks(split.events, split.asked, 20)
    events, snapshot = split.events, random_snapshot(1)
    model = CoVisitationModel(
        card=RECIPE.train(snapshot, rng=derive(0), progress=Silent()).card,
        items=snapshot.items,
        users=snapshot.users,
        state=RECIPE.start(20, float(events.timestamp[0])),
    )
    for e in range(len(events)):
        if split.asked[e]:
            query = Query(user=int(events.user[e]), now=float(events.timestamp[e]))
            given = model.top(query, 20).items.tolist()
            item = int(events.item[e])
            assert ranks[e] == (given.index(item) + 1 if item in given else 0)
        model = model.fold(events.select(slice(e, e + 1)))


class Fixed:
    """Gives every item at one rank."""

    def __init__(self, rank: int) -> None:
        self.rank = rank

    def ranks(self, events: Interactions, asked: Bools, n_items: int) -> Rows:
        return np.where(asked, self.rank, 0).astype(np.int32)


def test_metrics_and_order() -> None:
    split = split_of(clicks())
    table = compare_sessions(
        {"tenth": Fixed(10), "second": Fixed(2), "never": Fixed(0)}, split, progress=Silent()
    )
    assert [entry.name for entry in table.entries] == ["second", "tenth", "never"]
    assert [entry.mrr.mean for entry in table.entries] == pytest.approx([0.5, 0.1, 0.0])
    assert [entry.hit_rate.mean for entry in table.entries] == pytest.approx([1.0, 1.0, 0.0])
    assert "second" in table.text()


def test_the_mean_is_over_requests_and_the_interval_over_sessions() -> None:
    class Some(Fixed):
        def ranks(self, events: Interactions, asked: Bools, n_items: int) -> Rows:
            return np.where(asked & (events.user % 2 == 0), 1, 0).astype(np.int32)

    split = split_of(clicks())
    table = compare_sessions({"some": Some(1)}, split, progress=Silent())
    share = (split.events.user[split.asked] % 2 == 0).mean()
    assert table.entries[0].mrr.mean == pytest.approx(share)
    assert table.entries[0].mrr.low < share < table.entries[0].mrr.high


def test_what_is_no_rank_is_a_defect() -> None:
    with pytest.raises(Defect, match="not a rank"):
        compare_sessions({"wild": Fixed(21)}, split_of(clicks()), progress=Silent())


def test_a_time_without_sessions_is_refused() -> None:
    with pytest.raises(InputError, match="no session"):
        session_replay(clicks(), start=0.0, end=1.0, n_items=20, rng=derive(1), warm=0.0)


def test_sessions_may_have_names_of_their_own() -> None:
    events = clicks()
    users = Interactions.of(user=events.user % 7, item=events.item, timestamp=events.timestamp)
    plain = split_of(events, sample=10)
    named = session_replay(
        users, sessions=events.user, start=1e6 + 5000, end=1e6 + 9000, n_items=20, rng=derive(1), sample=10,
        warm=4000.0,
    )  # fmt: skip
    assert named.asked.tolist() == plain.asked.tolist()
    assert named.events.timestamp.tolist() == plain.events.timestamp.tolist()
    assert (named.events.user == plain.events.user % 7).all()
    assert named.sessions == plain.sessions == 10
