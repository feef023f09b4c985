"""The online projection follows from the log alone and stays within its bounds."""

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from penchant.data.events import AnyEvent, Followed, Served, UserPut
from penchant.data.interactions import Interactions
from penchant.data.snapshot import build_snapshot
from penchant.feed.live import Live
from penchant.testing.data import item_id, random_snapshot, snapshot_of, user_id
from penchant.testing.feed_contracts import acted, put, sample_live

SNAPSHOT = random_snapshot(1)
USERS = [user_id(0), user_id(1), "new", "newer"]
ITEMS = [item_id(0), item_id(3), "put", "named"]
actions = st.lists(
    st.tuples(st.sampled_from(USERS), st.sampled_from(ITEMS), st.sampled_from(["click", "buy"])), max_size=20
)


def state(live: Live) -> list[object]:
    """Return all that a feed can see of the users."""
    seen: list[object] = [
        live.head,
        live.event_types,
        [live.catalogue.id(r) for r in range(len(live.catalogue))],
    ]
    for user in USERS:
        history, fresh = live.history(user, live.user(user))
        seen += [history.item.tolist(), history.timestamp.tolist(), history.event_type.tolist(), fresh]
    return seen


@given(actions, st.integers(0, 20), st.integers(0, 20))
def test_folding_in_pieces_or_again_gives_the_same(
    given_: list[tuple[str, str, str]], cut: int, again: int
) -> None:
    events: list[tuple[int, AnyEvent]] = [
        acted(n, user, item, event_type=kind) for n, (user, item, kind) in enumerate(given_, start=1)
    ]
    whole, pieces = Live(SNAPSHOT), Live(SNAPSHOT)
    folded = whole.fold(events)
    parts = [pieces.fold(events[:cut]), pieces.fold(events[max(0, cut - again) :])]
    assert state(whole) == state(pieces)
    joined = Interactions.joined(*parts)
    assert joined.item.tolist() == folded.item.tolist()
    assert joined.user.tolist() == folded.user.tolist()
    rows = dict(zip((user for user, _, _ in given_), folded.user.tolist(), strict=True))
    assert folded.user.tolist() == [rows[user] for user, _, _ in given_]
    assert len(set(rows.values())) == len(rows)
    for user, row in rows.items():  # whom the snapshot does not know has a row past its end
        assert row == whole.user(user) or (whole.user(user) < 0 and row >= SNAPSHOT.n_users)


@given(actions)
def test_a_history_is_the_snapshot_s_then_what_came(given_: list[tuple[str, str, str]]) -> None:
    """Against a slow oracle: a list a user."""
    live = Live(SNAPSHOT)
    live.fold([acted(n, u, i, event_type=kind) for n, (u, i, kind) in enumerate(given_, start=1)])
    for user in USERS:
        row = SNAPSHOT.users.row(user)
        expected = [(item_id(int(r)), "click") for r in SNAPSHOT.history(row).item]
        expected += [(item, kind) for who, item, kind in given_ if who == user]
        history, fresh = live.history(user, live.user(user))
        ids = [live.catalogue.id(r) for r in history.item.tolist()]
        types = [history.event_types[t] for t in history.event_type.tolist()]
        assert list(zip(ids, types, strict=True)) == expected
        assert fresh == any(who == user for who, _, _ in given_)
        assert (history.user == row).all()


def test_memory_is_bounded_by_users_and_by_events_a_user() -> None:
    live = Live(random_snapshot(1), max_users=3, max_events=5)
    live.fold([acted(n, "busy", item_id(n % 40)) for n in range(1, 11)])
    assert live.history("busy", -1)[0].item.tolist() == [6, 7, 8, 9, 10]
    live.fold([acted(10 + n, f"user{n}", item_id(n)) for n in range(1, 3)])
    live.history("busy", -1)  # asking does not keep anybody alive: the log alone decides
    live.fold([acted(13, "user1", item_id(1)), acted(14, "one too many", item_id(1))])
    assert live.live_users == 3
    assert live.dropped_users == 1
    assert not live.history("busy", -1)[1]
    assert live.history("user1", -1)[1]


def test_events_that_come_late_stand_where_they_belong() -> None:
    live = Live(snapshot_of([(0, 1, 100.0), (0, 2, 300.0)], n_items=5))
    live.fold([acted(1, user_id(0), item_id(3), at=399.0), acted(2, user_id(0), item_id(4), at=198.0)])
    history, _ = live.history(user_id(0), 0)
    assert history.item.tolist() == [1, 4, 2, 3]
    assert history.timestamp.tolist() == [100.0, 200.0, 300.0, 400.0]


def test_items_appear_change_and_keep_their_rows() -> None:
    items = pa.table({"item_id": ["a", "b"], "title": ["A", None], "price": [1.5, 2.5]})
    table = pa.table({"user_id": ["u"], "item_id": ["a"], "timestamp": [1.0]})
    live = Live(build_snapshot(table, items=items))
    catalogue = live.catalogue
    assert catalogue.properties(0) == {"title": "A", "price": 1.5}
    assert catalogue.properties(1) == {"price": 2.5}
    assert catalogue.property(0, "no such") is None
    live.fold([put(1, "c", title="C"), acted(2, "u", "d"), put(3, "a", title="A2")])
    assert len(catalogue) == 4
    assert [catalogue.row(i) for i in ("a", "b", "c", "d", "e")] == [0, 1, 2, 3, -1]
    assert [catalogue.id(r) for r in range(4)] == ["a", "b", "c", "d"]
    assert catalogue.properties(0) == {"title": "A2"}  # the latest put wins as a whole
    assert catalogue.properties(2) == {"title": "C"}
    assert catalogue.properties(3) == {}
    assert catalogue.property(3, "title") is None
    live.fold([put(4, "d", title="D")])
    assert len(catalogue) == 4
    assert catalogue.property(3, "title") == "D"


def test_follows_are_those_of_the_snapshot_as_changed_since() -> None:
    follows = pa.table(
        {"user_id": ["u", "u", "v"], "followed_id": ["v", "w", "u"], "timestamp": [1.0, 1.0, 1.0]}
    )
    table = pa.table({"user_id": ["u"], "item_id": ["a"], "timestamp": [1.0]})
    live = Live(build_snapshot(table, follows=follows))
    assert live.follows("u", live.user("u")) == {"v", "w"}
    assert live.follows("nobody", -1) == set()
    follow = [("u", "w", False), ("u", "x", True), ("n", "u", True), ("n", "v", True), ("n", "v", False)]
    live.fold(
        [
            (n, Followed(event_id=str(n), timestamp=2.0, user_id=who, followed_id=whom, active=active))
            for n, (who, whom, active) in enumerate(follow, start=1)
        ]
    )
    assert live.follows("u", live.user("u")) == {"v", "x"}
    assert live.follows("n", live.user("n")) == {"u"}


def test_authors_of_old_and_new_items() -> None:
    items = pa.table(
        {"item_id": ["a", "b", "c"], "author": ["x", "x", "y"], "creation_timestamp": [2.0, 1.0, None]}
    )
    table = pa.table({"user_id": ["u"], "item_id": ["a"], "timestamp": [1.0]})
    for asked_before in (False, True):
        live = Live(build_snapshot(table, items=items))
        if asked_before:
            assert [live.catalogue.id(r) for r in live.by_author("x")] == ["a", "b"]
        live.fold([put(1, "d", author="x", creation_timestamp=3.0)])
        assert [live.catalogue.id(r) for r in live.by_author("x")] == ["d", "a", "b"]
        assert [live.catalogue.id(r) for r in live.by_author("y")] == ["c"]
        assert live.by_author("z") == []


def test_what_was_last_served_is_kept_for_who_is_active() -> None:
    live = sample_live()
    one = Served(event_id="r1", timestamp=5.0, user_id="stranger", feed="home", model_version="v", slots=[])
    other = Served(
        event_id="r2", timestamp=6.0, user_id="never acts", feed="home", model_version="v", slots=[]
    )
    live.fold([(8, one), (9, other), (10, UserPut(event_id="u", timestamp=7.0, user_id="x"))])
    assert live.last_served("stranger") == one
    assert live.last_served("never acts") is None  # a crowd that only looks costs no memory
    assert live.head == 10


def test_what_the_snapshot_has_is_not_taken_twice() -> None:
    table = pa.table({"user_id": ["u"], "item_id": ["a"], "timestamp": [1.0]})
    live = Live(build_snapshot(table, head=5))
    assert len(live.fold([acted(4, "u", "a"), acted(5, "u", "a"), acted(6, "u", "a")])) == 1
    assert len(live.history("u", 0)[0]) == 2
    assert np.isnan(live.history("u", 0)[0].value).all()
