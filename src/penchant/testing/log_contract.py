"""What every event log must do: `LogContract`, to be subclassed by the tests of each implementation."""

from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest

from penchant.data.eventlog import COLUMNS, EventLog
from penchant.data.events import (
    MAX_VALUE,
    Acted,
    ActionPut,
    AnyEvent,
    Followed,
    ItemPut,
    Offered,
    Responded,
    Served,
    ServedSlot,
    UserPut,
)
from penchant.data.log_rows import kind_of, to_events
from penchant.kernel.arrow import ArrowBatch
from penchant.kernel.errors import InputError

ONE_OF_EACH: list[AnyEvent] = [
    ItemPut(event_id="e1", timestamp=1.5, item_id="i1", properties={"n": 1, "x": 0.5, "s": "ä", "l": ["a"]}),
    UserPut(event_id="e2", timestamp=2.0, user_id="u1", properties={"ok": True, "none": None}),
    Followed(event_id="e3", timestamp=3.0, user_id="u1", followed_id="u2", active=False),
    Served(
        event_id="e4",
        timestamp=4.0,
        user_id="u1",
        feed="home",
        model_version="v1",
        slots=[ServedSlot(item_id="i1", position=0, source="popular", score=0.25, propensity=None)],
    ),
    Acted(
        event_id="e5",
        timestamp=5.0,
        user_id="u1",
        item_id="i1",
        event_value=2.0,
        impression=["i1", "i2"],
        recommendation_id="e4",
        properties={"page": "a\x1f|b"},
    ),
    Acted(event_id="e6", timestamp=6.0, user_id="u3", item_id="i9", event_type="buy", impression=[]),
    ActionPut(event_id="e7", timestamp=7.0, action_id="a1", properties={"value": 2.5}),
    Offered(
        event_id="e8",
        timestamp=8.0,
        user_id="u1",
        feed="next",
        model_version="v1",
        slots=[ServedSlot(item_id="a1", position=0, source="next", score=0.5, propensity=0.85)],
    ),
    Responded(event_id="e9", timestamp=9.0, user_id="u1", action_id="a1", event_type="NOT_TAKEN"),
]


def acted(event_id: str, item: str = "i", timestamp: float = 1.0) -> Acted:
    """Return an action that differs by its id."""
    return Acted(event_id=event_id, timestamp=timestamp, user_id="u", item_id=item)


def actions(rows: list[tuple[str, str, float]], ids: list[str | None] | None = None) -> ArrowBatch:
    """Return (user, item, time) as a batch for bulk import, without ids unless given."""
    users, items, times = ([row[i] for row in rows] for i in range(3))
    return pa.record_batch(
        {
            "event_id": pa.array(ids or [None] * len(rows), pa.string()),
            "user_id": pa.array(users, pa.string()),
            "item_id": pa.array(items, pa.string()),
            "timestamp": pa.array(times, pa.float64()),
        }
    )


def everything(log: EventLog) -> list[tuple[int, AnyEvent]]:
    """Return all events by `tail`, after checking that numbers have no gap and that `scan` agrees."""
    followed: list[tuple[int, AnyEvent]] = []
    while page := log.tail(len(followed), limit=7):
        followed += page
    assert [number for number, _ in followed] == list(range(1, log.head() + 1))
    scanned: list[tuple[int, AnyEvent]] = []
    for kind in COLUMNS:
        of_kind: list[tuple[int, AnyEvent]] = []
        for batch in log.scan(kind):
            assert batch.schema.equals(COLUMNS[kind].append(pa.field("number", pa.int64())))
            of_kind += zip(batch["number"].to_pylist(), to_events(kind, batch), strict=True)
        assert [n for n, _ in of_kind] == sorted(n for n, _ in of_kind)
        scanned += of_kind
    assert sorted(scanned, key=lambda pair: pair[0]) == followed
    assert len({event.event_id for _, event in followed}) == len(followed)
    return followed


class LogContract:
    """Subclass and give a fixture ``log`` with an empty log."""

    @pytest.fixture
    def log(self) -> Iterator[EventLog]:
        """Yield the empty log under test."""
        raise NotImplementedError

    def test_empty(self, log: EventLog) -> None:
        assert log.head() == 0
        assert log.tail(0) == []
        assert list(log.scan("acted")) == []
        assert log.seal() == 0
        assert log.append([]).stored == 0
        assert log.append_bulk("acted", []).stored == 0

    def test_events_come_back_as_they_went_in(self, log: EventLog) -> None:
        appended = log.append(ONE_OF_EACH)
        n = len(ONE_OF_EACH)
        assert (appended.stored, appended.known, appended.head) == (n, 0, n)
        expected = list(enumerate(ONE_OF_EACH, 1))
        assert everything(log) == expected
        assert log.seal() == n
        assert everything(log) == expected
        assert log.tail(2, limit=2) == expected[2:4]
        assert log.tail(99) == []

    def test_an_id_is_stored_once(self, log: EventLog) -> None:
        first, other = acted("a", "first"), acted("a", "other")
        assert log.append([first, acted("b"), other]).stored == 2
        assert log.append([other, acted("b")]).known == 2
        log.seal()
        appended = log.append([other, acted("c"), acted("c")])
        assert (appended.stored, appended.known, appended.head) == (1, 2, 3)
        bulk = log.append_bulk("acted", [actions([("u", "x", 1.0)] * 4, ["a", "c", "d", "d"])])
        assert (bulk.stored, bulk.known, bulk.head) == (1, 3, 4)
        assert log.append([acted("d")]).known == 1
        assert [event.event_id for _, event in everything(log)] == ["a", "b", "c", "d"]
        assert everything(log)[0] == (1, first)

    def test_importing_again_stores_nothing(self, log: EventLog) -> None:
        rows = [("u", "a", 1.0), ("v", "a", 1.0), ("u", "a", 1.0), ("u", "a", 2.0)]
        assert log.append_bulk("acted", [actions(rows)]).stored == 4  # equal rows are separate events
        assert log.append_bulk("acted", [actions(rows[:1]), actions(rows[1:])]).stored == 0
        longer = [*rows, ("u", "a", 1.0), ("w", "b", 3.0)]
        appended = log.append_bulk("acted", [actions(longer)])
        assert (appended.stored, appended.known, appended.head) == (2, 4, 6)
        log.seal()
        assert log.append_bulk("acted", [actions(longer)]).stored == 0
        assert len(everything(log)) == 6

    def test_rows_that_differ_anywhere_are_different(self, log: EventLog) -> None:
        rows = [("u1", "1", 1.0), ("u", "11", 1.0), ("u|1:1", "1", 1.0), ("u", "1", 1.0), ("u", "1", 1.5)]
        batch = actions(rows)
        for column in (
            pa.array([[]] * 5, pa.list_(pa.string())),
            pa.array([["a"]] * 5),
            pa.array([["b"]] * 5),
        ):
            shown = batch.append_column("impression", column)
            assert log.append_bulk("acted", [shown]).stored == 5
        assert log.append_bulk("acted", [batch]).stored == 5
        follows = pa.record_batch({"user_id": ["u"], "followed_id": ["1"], "timestamp": [1.0]})
        assert log.append_bulk("followed", [follows]).stored == 1
        unfollows = follows.append_column("active", pa.array([False]))
        assert log.append_bulk("followed", [unfollows]).stored == 1
        assert len(everything(log)) == 22

    def test_scan_up_to_a_number_and_some_columns(self, log: EventLog) -> None:
        log.append([acted("a"), ONE_OF_EACH[0]])
        log.append_bulk("acted", [actions([("u", str(i), float(i)) for i in range(5)])])
        log.append([acted("b")])
        for _ in range(2):
            for upto, numbers in ((0, []), (2, [1]), (4, [1, 3, 4]), (None, [1, 3, 4, 5, 6, 7, 8])):
                tables = [
                    pa.Table.from_batches([b]) for b in log.scan("acted", upto=upto, columns=["item_id"])
                ]
                assert all(t.column_names == ["item_id", "number"] for t in tables)
                assert [n for t in tables for n in t["number"].to_pylist()] == numbers
            log.seal()

    def test_seal_keeps_the_newest(self, log: EventLog) -> None:
        log.append([acted(str(i)) for i in range(10)])
        assert log.seal(keep=4) == 6
        assert log.seal(keep=4) == 0
        assert log.seal(keep=99) == 0
        assert log.seal() == 4
        assert len(everything(log)) == 10

    @pytest.mark.parametrize(
        "bad",
        [
            Acted(event_id="x", timestamp=float("nan"), user_id="u", item_id="i"),
            Acted(event_id="", timestamp=1.0, user_id="u", item_id="i"),
            Acted(event_id="x", timestamp=1.0, user_id="\ud800", item_id="i"),
            Acted(event_id="x", timestamp=1.0, user_id="u", item_id="i", event_value=-1e39),
            ItemPut(event_id="x", timestamp=1.0, item_id="i", properties={"n": cast("Any", {"a": 1})}),
        ],
    )
    def test_one_bad_event_refuses_the_batch(self, log: EventLog, bad: AnyEvent) -> None:
        with pytest.raises(InputError):
            log.append([acted("good"), bad])
        assert log.head() == 0

    @pytest.mark.parametrize(
        ("kind", "columns"),
        [
            ("clicked", {"timestamp": [1.0]}),
            ("acted", {"timestamp": [1.0], "user_id": ["u"]}),
            ("acted", {"timestamp": [1.0], "user_id": ["u"], "item_id": pa.array([None], pa.string())}),
            ("acted", {"timestamp": [float("inf")], "user_id": ["u"], "item_id": ["i"]}),
            ("acted", {"timestamp": ["soon"], "user_id": ["u"], "item_id": ["i"]}),
            ("acted", {"timestamp": [1.0], "user_id": ["u"], "item_id": ["i"], "colour": ["red"]}),
            ("item_put", {"timestamp": [1.0], "item_id": ["i"], "properties": ["{"]}),
            ("item_put", {"timestamp": [1.0], "item_id": ["i"], "properties": ['{"a": {}}']}),
        ],
    )
    def test_one_bad_row_refuses_the_import(self, log: EventLog, kind: str, columns: dict[str, Any]) -> None:
        def batches() -> Iterator[ArrowBatch]:
            if kind in COLUMNS:
                good = {"item_id": ["i"], "timestamp": [1.0], "user_id": ["u"]}
                yield pa.record_batch({n: v for n, v in good.items() if n in COLUMNS[kind].names})
            yield pa.record_batch(columns)

        with pytest.raises(InputError):
            log.append_bulk(kind, batches())
        assert log.head() == 0
        assert everything(log) == []

    def test_a_failing_reader_leaves_nothing(self, log: EventLog) -> None:
        def batches() -> Iterator[ArrowBatch]:
            yield actions([("u", "i", 1.0)])
            raise FileNotFoundError("gone")

        with pytest.raises(FileNotFoundError):
            log.append_bulk("acted", batches())
        assert everything(log) == []
        assert log.append_bulk("acted", [actions([("u", "i", 1.0)])]).stored == 1

    def test_values_that_are_not_finite_are_none(self, log: EventLog) -> None:
        given = Acted(event_id="a", timestamp=1.0, user_id="u", item_id="i", event_value=float("inf"))
        log.append([given])
        rows = actions([("u", "i", 1.0)]).append_column("event_value", pa.array([float("nan")]))
        log.append_bulk("acted", [rows])
        values = [event.event_value for _, event in everything(log) if isinstance(event, Acted)]
        assert values == [None, None]

    @pytest.mark.parametrize("sign", [1, -1])
    def test_a_value_that_single_precision_cannot_hold_is_refused(self, log: EventLog, sign: int) -> None:
        def rows(value: float) -> ArrowBatch:
            return actions([("u", "i", 1.0)]).append_column("event_value", pa.array([value]))

        with pytest.raises(InputError, match=r"beyond single precision.*Send a number"):
            log.append_bulk("acted", [rows(sign * 1e39)])
        log.append_bulk("acted", [rows(sign * MAX_VALUE)])
        (event,) = (event for _, event in everything(log))
        assert isinstance(event, Acted)
        assert event.event_value == sign * float(np.finfo(np.float32).max)
        assert {kind_of(event) for _, event in log.tail(0)} == {"acted"}
