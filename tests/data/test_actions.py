"""Actions: their events in the log, their files, the snapshot of them, and people who leave."""

from pathlib import Path
from typing import Any

import pytest

from penchant.data.actions import OFFERED, SHOWN, of_actions, outcome_of
from penchant.data.deletion import Gone, Remaining
from penchant.data.events import (
    Acted,
    ActionPut,
    AnyEvent,
    ItemPut,
    Offered,
    Outcome,
    Responded,
    Served,
    ServedSlot,
    UserPut,
    anonymous,
)
from penchant.data.log_snapshot import snapshot_of
from penchant.data.snapshot import Snapshot
from penchant.data.sqlite_log import SqliteLog
from penchant.kernel.errors import InputError
from penchant.testing.memory_log import MemoryLog
from penchant.workspace.service import Workspace


def responded(event_id: str, user: str, action: str, kind: Outcome, time: float, **more: Any) -> Responded:
    return Responded(
        event_id=event_id, user_id=user, action_id=action, event_type=kind, timestamp=time, **more
    )


def offered(event_id: str, user: str, actions: list[str], time: float) -> Offered:
    slots = [ServedSlot(item_id=a, position=i, source="next") for i, a in enumerate(actions)]
    return Offered(event_id=event_id, user_id=user, timestamp=time, feed="n", model_version="v", slots=slots)


EVENTS: list[AnyEvent] = [
    ActionPut(event_id="p1", timestamp=0.0, action_id="join", properties={"value": 3.0}),
    ActionPut(event_id="p2", timestamp=0.0, action_id="share", properties={"author": "ann"}),
    UserPut(event_id="u", timestamp=0.0, user_id="ann", properties={"age": 30}),
    offered("o1", "ann", ["join", "share"], 10.0),
    responded("r1", "ann", "join", "TAKEN", 11.0, recommendation_id="o1"),
    responded("r2", anonymous("s"), "share", "NOT_TAKEN", 12.0, session_id="s"),
    responded("r3", "bob", "join", "TAKEN", 13.0, session_id="s"),
]


def told(snapshot: Snapshot) -> list[tuple[str, str, str, float]]:
    """Return (user, action, event type, time) of a snapshot's responses."""
    assert snapshot.actions is not None
    events = snapshot.actions.interactions
    users, actions = snapshot.users.ids(events.user), snapshot.actions.items.ids(events.item)
    kinds = [events.event_types[code] for code in events.event_type]
    return list(zip(users, actions, kinds, events.timestamp.tolist(), strict=True))


def test_a_snapshot_has_its_actions_over_the_same_users() -> None:
    log = MemoryLog()
    log.append(EVENTS)
    snapshot = snapshot_of(log)
    assert snapshot.actions is not None
    assert snapshot.actions.users == snapshot.users
    assert snapshot.users.ids(range(2)) == ["ann", "bob"]  # the session turned out to be bob's
    assert told(snapshot) == [
        ("ann", "join", OFFERED, 10.0),
        ("ann", "share", OFFERED, 10.0),
        ("ann", "join", "TAKEN", 11.0),
        ("bob", "share", "NOT_TAKEN", 12.0),
        ("bob", "join", "TAKEN", 13.0),
    ]
    assert snapshot.actions.impressions.tolist() == [1, 1]
    assert snapshot.actions.item_table["value"].to_pylist() == [3.0, None]
    assert snapshot.n_items == 0


def test_offers_count_only_where_the_app_does_not_say_what_was_seen() -> None:
    log = MemoryLog()
    log.append([*EVENTS, responded("r4", "bob", "join", "VIEWED", 9.0)])
    assert not [row for row in told(snapshot_of(log)) if row[2] == OFFERED]
    log = MemoryLog()
    log.append([*EVENTS, responded("r4", "bob", "join", "TAKEN", 9.0, impression=["join", "share"])])
    assert [row for row in told(snapshot_of(log)) if row[2] in (OFFERED, SHOWN)] == [
        ("bob", "share", SHOWN, 9.0)
    ]


def test_a_snapshot_of_actions_is_saved_cut_and_digested(tmp_path: Path) -> None:
    log = MemoryLog()
    log.append(EVENTS)
    snapshot = snapshot_of(log)
    snapshot.save(tmp_path / "s")
    opened = Snapshot.open(tmp_path / "s")
    assert opened.actions is not None
    assert (opened.digest, told(opened)) == (snapshot.digest, told(snapshot))
    assert [row[2] for row in told(snapshot.before(11.5))] == [OFFERED, OFFERED, "TAKEN"]
    log.append([responded("r9", "bob", "share", "TAKEN", 14.0)])
    assert snapshot_of(log).digest != snapshot.digest
    assert snapshot_of(log, cutoff=13.0).actions is not None


def test_without_actions_nothing_changes() -> None:
    log = MemoryLog()
    log.append([Acted(event_id="a", timestamp=1.0, user_id="u", item_id="i")])
    assert snapshot_of(log).actions is None
    with pytest.raises(InputError, match="no interactions"):
        snapshot_of(MemoryLog())


def test_a_person_leaves_offers_and_responses_too(tmp_path: Path) -> None:
    log = SqliteLog.open(tmp_path)
    log.append(EVENTS)
    log.seal(keep=2)
    for who, left in (("bob", {"p1", "p2", "u", "o1", "r1"}), ("ann", {"p1", "p2"})):
        gone = Gone.people(log, [who], author="author")
        expected = snapshot_of(Remaining(log=log, gone=gone)).digest
        log.rewrite(gone, note=lambda _: b"")
        log.settle()
        assert {event.event_id for _, event in log.tail(0)} == left
        assert snapshot_of(log).digest == expected
    (share,) = [event for _, event in log.tail(0) if event.event_id == "p2"]
    assert isinstance(share, ActionPut)
    assert share.properties == {}  # its author left
    log.close()


def test_files_of_actions_are_imported(tmp_path: Path) -> None:
    workspace = Workspace.init(tmp_path / "w")
    (tmp_path / "actions.csv").write_text(
        "ACTION_ID,VALUE,CREATION_TIMESTAMP,ACTION_EXPIRATION_TIMESTAMP,REPEAT_FREQUENCY,KIND\n"
        "join,7,1600000000,1999999999,30,club\nshare,,,,,social\n"
    )
    (tmp_path / "responses.csv").write_text(
        "USER_ID,ACTION_ID,TIMESTAMP,EVENT_TYPE\n"
        "ann,join,1700000000,Not Taken\nann,join,1700000001,taken\nbob,share,1700000002,clicked\n"
    )
    summary = workspace.import_files(
        actions=[tmp_path / "actions.csv"], action_interactions=[tmp_path / "responses.csv"]
    )
    assert [table.stored for table in summary.tables] == [2, 2]
    assert summary.tables[1].rejected == {"bad_outcome": 1}
    snapshot = workspace.snapshot()
    assert [row[2] for row in told(snapshot)] == ["NOT_TAKEN", "TAKEN"]
    assert snapshot.actions is not None
    first = snapshot.actions.item_table.slice(0, 1).to_pylist()[0]
    assert first == {
        "item_id": "join",
        "value": 7.0,
        "creation_timestamp": 1_600_000_000.0,
        "action_expiration_timestamp": 1_999_999_999.0,
        "repeat_frequency": 30.0,
        "kind": "club",
    }
    workspace.close()


def test_events_of_actions_are_those_of_items_in_their_snapshot() -> None:
    (put,), offer, (taken,) = (of_actions(event) for event in (EVENTS[0], EVENTS[3], EVENTS[4]))
    assert isinstance(put, ItemPut)
    assert isinstance(offer[0], Served)
    assert isinstance(taken, Acted)
    assert put.item_id == "join"
    assert [slot.item_id for slot in offer[0].slots] == ["join", "share"]
    assert [(e.item_id, e.event_type) for e in offer[1:] if isinstance(e, Acted)] == [
        ("join", OFFERED),
        ("share", OFFERED),
    ]
    assert (taken.item_id, taken.event_type, taken.impression) == ("join", "TAKEN", None)
    (seen,) = of_actions(responded("v", "ann", "join", "VIEWED", 1.0))
    assert isinstance(seen, Acted)
    assert seen.impression == ["join"]
    beside = of_actions(responded("v", "ann", "join", "TAKEN", 1.0, impression=["share", "join"]))
    assert [(e.item_id, e.event_type) for e in beside if isinstance(e, Acted)] == [
        ("join", "TAKEN"),
        ("share", SHOWN),
    ]
    assert of_actions(EVENTS[2]) == []


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("Taken", "TAKEN"),
        ("Not Taken", "NOT_TAKEN"),
        ("viewed", "VIEWED"),
        ("NOT_TAKEN", "NOT_TAKEN"),
        ("no", None),
    ],
)
def test_responses_are_read_as_amazon_writes_them(text: str, outcome: str | None) -> None:
    assert outcome_of(text) == outcome
