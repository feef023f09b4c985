"""Follows that mean something are found to, and follows that mean nothing are not."""

import functools

import numpy as np
import pyarrow as pa
import pytest

from penchant.data.snapshot import Snapshot, build_snapshot
from penchant.evaluation.follow_study import FollowStudy, study_follows
from penchant.evaluation.followed import SHARE, Authors, behaviour_lift, compare_arms
from penchant.features.graph_columns import GraphSettings
from penchant.kernel.arrays import Csr
from penchant.kernel.errors import InputError
from penchant.kernel.progress import Silent
from penchant.models.lookalike import Lookalike
from penchant.reports.communities import community_report, findings

GROUPS, FANS, AUTHORS, ITEMS = 4, 60, 10, 5
RECIPE = Lookalike(factors=8, epochs=4, half_lives=("",), penalties=(30.0,))


def world(*, faithful: float, seed: int = 0) -> Snapshot:
    """Return fans who follow authors and fans of their own group, and take, with the probability
    ``faithful``, an item by somebody they follow, else any item."""
    rng = np.random.default_rng(seed)
    made_by = [f"a{g}{i:02d}" for g in range(GROUPS) for i in range(AUTHORS) for _ in range(ITEMS)]
    follows: list[tuple[str, str]] = []
    events: list[tuple[str, str, float]] = []
    for g in range(GROUPS):
        for f in range(FANS):
            fan = f"f{g}{f:02d}"
            mine = [f"a{g}{i:02d}" for i in rng.choice(AUTHORS, 4, replace=False)]
            follows += [(fan, other) for other in mine]
            follows += [(fan, f"f{g}{i:02d}") for i in rng.choice(FANS, 5, replace=False) if i != f]
            liked = np.flatnonzero(np.isin(made_by, mine))
            for time in rng.uniform(1e6, 2e6, 14):
                item = rng.choice(liked) if rng.random() < faithful else rng.integers(len(made_by))
                events.append((fan, f"i{item:03d}", float(time)))
    users, items, times = zip(*events, strict=True)
    one, other = zip(*follows, strict=True)
    return build_snapshot(
        pa.table({"user_id": users, "item_id": items, "timestamp": times}),
        items=pa.table({"item_id": [f"i{i:03d}" for i in range(len(made_by))], "author": made_by}),
        follows=pa.table({"user_id": one, "followed_id": other, "timestamp": [0.0] * len(one)}),
    )


@functools.cache
def study(faithful: float) -> FollowStudy:
    return study_follows(
        world(faithful=faithful),
        GraphSettings(),
        recipe=RECIPE,
        author="author",
        k=10,
        seed=1,
        progress=Silent(),
    )


def test_follows_that_mean_something_are_found_to() -> None:
    found = study(0.7)
    assert len(found.communities.sizes()) == GROUPS
    assert found.kept_changed >= 0.95
    leiden, *_, k_means = found.methods
    assert leiden.lift.low > 2
    assert k_means.lift.mean < leiden.lift.mean / 2
    # Of 0.7 + 0.3 x 0.1 followed, popularity explains 0.1.
    assert found.behaviour is not None
    assert found.behaviour.low < 7.3 < found.behaviour.high
    known, new = found.comparisons
    assert (known.who, new.who) == ("users with a history", "new users")
    for comparison in (known, new):
        places = comparison.difference("followed", SHARE)
        assert places is not None
        assert places.low > 0
    for metric in (SHARE, "recall", "ndcg"):
        community = new.difference("community", metric)
        assert community is not None
        assert community.low > 0, metric


def test_follows_that_mean_nothing_are_not_said_to() -> None:
    found = study(0.0)
    assert found.behaviour is not None
    assert found.behaviour.low < 1 < found.behaviour.high
    _, new = found.comparisons
    community = new.difference("community", "ndcg")
    assert community is not None
    assert community.low <= 0
    assert any("not certain" in finding.what for finding in findings(found))


def test_shares_by_hand() -> None:
    snapshot = world(faithful=0.5)
    authors = Authors.of(snapshot, "author")
    assert authors is not None
    fan = snapshot.users.row("f000")
    followed = set(snapshot.users.ids(authors.graph.following.row(fan)))
    column = snapshot.item_table["author"].to_pylist()
    lists = np.array([[0, 199, 55, -1]], np.int32)
    expected = sum(column[i] in followed for i in (0, 199, 55)) / 4
    assert authors.share(lists, np.array([fan], np.int32)).tolist() == [expected]
    newest = np.random.default_rng(0).permutation(200).astype(np.int32)
    (own,) = authors.items_for(np.array([fan], np.int32), newest, 7)
    assert own.tolist() == [i for i in newest.tolist() if column[i] in followed][:7]


def test_the_lift_of_behaviour_is_its_formula() -> None:
    snapshot = world(faithful=0.3)
    authors = Authors.of(snapshot, "author")
    assert authors is not None
    events = snapshot.interactions
    column = snapshot.item_table["author"].to_pylist()
    by = [column[i] for i in events.item]
    share = {a: by.count(a) / len(by) for a in set(by)}
    taken = expected = 0.0
    for user in range(snapshot.n_users):
        followed = set(snapshot.users.ids(authors.graph.following.row(user)))
        own = [a for a, u in zip(by, events.user, strict=True) if u == user]
        taken += sum(a in followed for a in own)
        expected += len(own) * sum(share.get(a, 0.0) for a in followed)
    got = behaviour_lift(authors, events, rng=np.random.default_rng(0))
    assert got is not None
    assert got.mean == pytest.approx(taken / expected)
    assert got.low < got.mean < got.high


def test_equal_lists_differ_by_nothing() -> None:
    rng = np.random.default_rng(0)
    lists = np.argsort(rng.random((30, 20)), axis=1)[:, :5].astype(np.int32)
    owner = np.arange(30, dtype=np.int32)
    truth = Csr.summed(
        owner, rng.integers(0, 20, 30, np.int32), np.ones(30, np.float32), n_rows=30, n_columns=20
    )
    found = compare_arms("new users", {"a": lists, "b": lists}, truth, owner, None, rng=rng)
    assert [(d.first, d.mean, d.low, d.high) for d in found.differences] == [("b", 0.0, 0.0, 0.0)] * 2
    assert found.difference("b", SHARE) is None
    assert found.arms[0].from_followed is None


def test_without_authors_or_interactions_it_says_what_is_left_out() -> None:
    snapshot = world(faithful=0.5)
    found = study_follows(
        snapshot, GraphSettings(), recipe=RECIPE, author="maker", k=5, seed=1, progress=Silent()
    )
    assert any("'maker'" in note for note in found.notes)
    assert found.behaviour is None
    quiet = snapshot.with_interactions(snapshot.interactions.select(slice(0, 0)))
    found = study_follows(
        quiet, GraphSettings(), recipe=RECIPE, author="author", k=5, seed=1, progress=Silent()
    )
    assert found.comparisons == ()
    assert "Size of the communities" in community_report(found, title="t")


def test_nobody_follows_anybody() -> None:
    snapshot = build_snapshot(pa.table({"user_id": ["a"], "item_id": ["i"], "timestamp": [1.0]}))
    with pytest.raises(InputError, match="nobody follows anybody"):
        study_follows(
            snapshot, GraphSettings(), recipe=RECIPE, author="author", k=5, seed=1, progress=Silent()
        )


def test_the_report_says_each_finding_with_its_interval() -> None:
    found = study(0.7)
    html = community_report(found, title="Communities & <friends>")
    assert "Communities &amp; &lt;friends&gt;" in html
    for finding in findings(found):
        assert "[" in finding.what
    for words in ("Are they real?", "Do people take what", "Does it help new users?", "k-means"):
        assert words in html
