"""Snapshots of a log: what counts at a cut-off, typed properties, one digest however the log is stored."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from penchant.data import log_snapshot
from penchant.data.columns import typed_columns
from penchant.data.events import Acted, AnyEvent, Followed, ItemPut, UserPut
from penchant.data.interactions import Interactions
from penchant.data.log_rows import kind_of, to_batch
from penchant.data.log_snapshot import snapshot_of
from penchant.data.snapshot import Snapshot, build_snapshot
from penchant.data.snapshot_columns import canonical_order
from penchant.data.sqlite_log import SqliteLog
from penchant.kernel.errors import InputError
from penchant.testing.memory_log import MemoryLog


def log_of(*events: AnyEvent) -> MemoryLog:
    log = MemoryLog()
    log.append(events)
    return log


def acted(n: int, user: str, item: str, timestamp: float, **more: Any) -> Acted:
    return Acted(event_id=f"a{n}", user_id=user, item_id=item, timestamp=timestamp, **more)


def test_latest_put_wins_as_a_whole_by_time_then_number() -> None:
    log = log_of(
        ItemPut(event_id="1", timestamp=2.0, item_id="i", properties={"a": "new", "b": 1}),
        ItemPut(event_id="2", timestamp=1.0, item_id="i", properties={"a": "late news of the past"}),
        ItemPut(event_id="3", timestamp=2.0, item_id="i", properties={"a": "newest"}),
        ItemPut(event_id="4", timestamp=5.0, item_id="j", properties={"a": "future"}),
        UserPut(event_id="5", timestamp=1.0, user_id="u", properties={"age": 7, "user_id": "not me"}),
        acted(1, "v", "k", 3.0, event_value=2.0, event_type="buy"),
        acted(2, "v", "i", 9.0),
    )
    snapshot = snapshot_of(log, cutoff=3.0)
    assert snapshot.item_table.to_pydict() == {"item_id": ["i", "j", "k"], "a": ["newest", "future", None]}
    assert snapshot.user_table.to_pydict() == {"user_id": ["u", "v"], "age": [7, None]}
    assert snapshot.interactions.item.tolist() == [2]
    assert snapshot.interactions.value.tolist() == [2.0]
    assert snapshot.interactions.event_types == ("buy",)
    assert (snapshot.cutoff, snapshot.head) == (3.0, 7)
    whole = snapshot_of(log)
    assert (whole.cutoff, whole.interactions.item.tolist()) == (9.0, [2, 0])
    early = snapshot_of(log, upto=1)
    assert early.item_table.to_pydict() == {"item_id": ["i"], "a": ["new"], "b": [1]}
    assert early.head == 1


def test_follows_fold_into_edges_with_the_time_they_began() -> None:
    def follow(n: int, timestamp: float, user: str, other: str, active: bool = True) -> Followed:
        return Followed(event_id=f"f{n}", timestamp=timestamp, user_id=user, followed_id=other, active=active)

    log = log_of(
        acted(1, "a", "i", 1.0),
        follow(1, 1.0, "a", "b"),
        follow(2, 2.0, "a", "b"),
        follow(3, 3.0, "a", "c"),
        follow(4, 4.0, "a", "c", False),
        follow(5, 6.0, "a", "c"),
        follow(6, 7.0, "a", "c"),
        follow(7, 5.0, "b", "a"),
        follow(8, 8.0, "b", "a", False),
        follow(9, 8.0, "c", "d", False),
        follow(10, 8.0, "c", "d"),
    )

    def edges(snapshot: Snapshot) -> list[tuple[str, str, float]]:
        f, users = snapshot.follows, snapshot.users
        return [
            (users.id(int(a)), users.id(int(b)), float(t))
            for a, b, t in zip(f.follower, f.followed, f.timestamp, strict=True)
        ]

    assert edges(snapshot_of(log)) == [("a", "b", 1.0), ("a", "c", 6.0), ("c", "d", 8.0)]
    assert edges(snapshot_of(log, cutoff=5.0)) == [("a", "b", 1.0), ("b", "a", 5.0)]
    assert edges(snapshot_of(log, cutoff=3.5)) == [("a", "b", 1.0), ("a", "c", 3.0)]


def test_a_log_without_actions_or_items() -> None:
    with pytest.raises(InputError, match="no interactions and no items"):
        snapshot_of(log_of(UserPut(event_id="1", timestamp=1.0, user_id="u")))
    snapshot = snapshot_of(log_of(ItemPut(event_id="1", timestamp=1.0, item_id="i")))
    assert (snapshot.n_items, snapshot.n_users, len(snapshot.interactions)) == (1, 0, 0)


@pytest.mark.parametrize(
    ("values", "type_", "expected"),
    [
        ([1, None, -5], "int64", None),
        ([1, 2.5], "double", [1.0, 2.5]),
        ([1 << 70, 1], "double", [float(1 << 70), 1.0]),
        ([True, False, None], "bool", None),
        (["a", None, "ä"], "string", None),
        ([["a", "b"], [], None], "list<item: string>", None),
        (["a", ["b"]], "list<item: string>", [["a"], ["b"]]),
        ([True, 1], "string", ["true", "1"]),
        ([1, "x", [], None], "string", ["1", "x", "[]", None]),
        ([None, None], "string", None),
    ],
)
def test_types_of_properties(values: list[Any], type_: str, expected: list[Any] | None) -> None:
    texts = pa.chunked_array([[json.dumps({"p": value}) for value in values], ["{}", None]])
    column = typed_columns(texts, where="here")["p"]
    assert str(column.type) == type_
    assert column.to_pylist() == [*(expected or values), None, None]


def test_creation_times_are_floats_and_bad_json_is_told() -> None:
    column = typed_columns(pa.chunked_array([['{"creation_timestamp": 1700000000}']]), where="")
    assert column["creation_timestamp"].type == pa.float64()
    with pytest.raises(InputError, match="items: 'nonsense' is not a JSON object"):
        typed_columns(pa.chunked_array([["nonsense"]]), where="items")


def test_typing_does_not_depend_on_how_rows_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    choices = [{"a": 1}, {"a": 2.5, "b": "x"}, {"b": ["y", "z"]}, {}, {"c": True}, {"c": None}]
    texts = pa.chunked_array([[json.dumps(choices[i]) for i in rng.integers(0, 6, 200)]])
    whole = typed_columns(texts, where="")
    monkeypatch.setattr("penchant.data.columns._ROWS", 7)
    cut = typed_columns(texts, where="")
    assert {n: c.to_pylist() for n, c in whole.items()} == {n: c.to_pylist() for n, c in cut.items()}
    assert [str(c.type) for c in whole.values()] == ["double", "list<item: string>", "bool"]


small = st.integers(0, 3)
values = st.sampled_from([1, 2.5, "x", ["l"], None, True])
EVENTS: st.SearchStrategy[list[AnyEvent]] = st.lists(
    st.one_of(
        st.builds(
            lambda u, i, t, v: Acted(
                event_id="",
                user_id=f"u{u}",
                item_id=f"i{i}",
                timestamp=t,
                event_value=v,
                event_type="bc"[i % 2],
            ),
            small, small, st.integers(0, 9).map(float), st.sampled_from([None, 0.0, -0.0, 1.5]),
        ),
        st.builds(
            lambda i, t, p: ItemPut(event_id="", item_id=f"i{i}", timestamp=t, properties=p),
            small, st.integers(0, 9).map(float),
            st.dictionaries(st.sampled_from("pq"), values, max_size=2),
        ),
        st.builds(
            lambda u, f, t, a: Followed(
                event_id="", user_id=f"u{u}", followed_id=f"u{f}", timestamp=t, active=a
            ),
            small, small, st.integers(0, 9).map(float), st.booleans(),
        ),
    ),
    min_size=1,
    max_size=30,
)  # fmt: skip


@settings(max_examples=40)
@given(EVENTS, st.integers(0, 30), st.integers(0, 30), st.sampled_from([None, 4.0]))
def test_one_digest_however_the_log_is_stored(
    events: list[AnyEvent], cut: int, seal: int, cutoff: float | None
) -> None:
    events = [replace(event, event_id=str(i)) for i, event in enumerate(events)]
    if not any(isinstance(e, ItemPut) or (isinstance(e, Acted) and e.timestamp <= 4.0) for e in events):
        return
    expected = snapshot_of(log_of(*events), cutoff=cutoff)
    with tempfile.TemporaryDirectory() as folder:
        log = SqliteLog.open(Path(folder))
        log.append(events[:cut])
        log.seal(keep=seal)
        for kind, group in runs_of_a_kind(events[cut:]):
            log.append_bulk(kind, [to_batch(kind, group)])
        assert snapshot_of(log, cutoff=cutoff).digest == expected.digest
        log.seal()
        again = snapshot_of(log, cutoff=cutoff)
        log.close()
    assert again.digest == expected.digest
    assert again.item_table.equals(expected.item_table)
    oracle = [e for e in events if isinstance(e, Acted) and (cutoff is None or e.timestamp <= cutoff)]
    assert len(again.interactions) == len(oracle)
    assert again.users.ids(range(again.n_users)) == sorted(
        {e.user_id for e in oracle}
        | {
            user
            for e in events
            if isinstance(e, Followed) and again_follows(e, events, cutoff)
            for user in (e.user_id, e.followed_id)
        }
    )


def again_follows(event: Followed, events: Sequence[AnyEvent], cutoff: float | None) -> bool:
    """Say whether the pair of ``event`` is one of the current follows: the readable oracle."""
    of_pair = [
        e
        for e in events
        if isinstance(e, Followed)
        and (e.user_id, e.followed_id) == (event.user_id, event.followed_id)
        and (cutoff is None or e.timestamp <= cutoff)
    ]
    return bool(of_pair) and max(of_pair, key=lambda e: (e.timestamp, int(e.event_id))).active


def runs_of_a_kind(events: list[AnyEvent]) -> list[tuple[str, list[AnyEvent]]]:
    runs: list[tuple[str, list[AnyEvent]]] = []
    for event in events:
        if runs and runs[-1][0] == kind_of(event):
            runs[-1][1].append(event)
        else:
            runs.append((kind_of(event), [event]))
    return runs


def test_many_pieces_give_the_same_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    puts = [
        ItemPut(
            event_id=f"p{i}",
            timestamp=float(rng.integers(9)),
            item_id=f"i{rng.integers(20)}",
            properties={"n": i},
        )
        for i in range(200)
    ]
    events = [
        acted(i, f"u{rng.integers(30)}", f"i{rng.integers(40)}", float(rng.integers(50))) for i in range(500)
    ]
    expected = snapshot_of(log_of(*puts, *events))
    monkeypatch.setattr(log_snapshot, "_ROWS", 16)
    log = SqliteLog.open(tmp_path)
    for start in range(0, 200, 30):
        log.append(puts[start : start + 30])
        log.seal()
    log.append_bulk("acted", [to_batch("acted", events)])
    assert snapshot_of(log).digest == expected.digest
    log.close()


@given(
    st.lists(
        st.tuples(small, small, st.integers(0, 3), st.integers(0, 1), st.sampled_from([0.0, 1.0, np.nan]))
    )
)
def testcanonical_order_is_the_sort_by_all_columns(rows: list[tuple[int, int, int, int, float]]) -> None:
    columns = [list(column) for column in zip(*rows, strict=True)] or [[]] * 5
    i = Interactions.of(
        user=columns[0], item=columns[1], timestamp=columns[2], event_type=columns[3], value=columns[4],
        event_types=("a", "b"),
    )  # fmt: skip
    oracle = np.lexsort((i.value, i.event_type, i.item, i.user, i.timestamp))
    order = canonical_order(i)
    assert np.array_equal(np.arange(len(rows)) if order is None else order, oracle)


def test_dictionaries_with_unused_and_repeated_words_build_the_same_snapshot() -> None:
    plain = pa.table({"user_id": ["b", "a", "b"], "item_id": ["y", "x", "y"], "timestamp": [1.0, 2.0, 3.0]})
    words = pa.chunked_array(
        [
            pa.DictionaryArray.from_arrays(pa.array([1], pa.int32()), ["unused", "b"]),
            pa.DictionaryArray.from_arrays(pa.array([2, 0], pa.int32()), ["b", "nobody", "a"]),
        ]
    )
    encoded = plain.set_column(0, "user_id", words)
    assert build_snapshot(encoded).digest == build_snapshot(plain).digest
    assert build_snapshot(encoded).users.ids([0, 1]) == ["a", "b"]
