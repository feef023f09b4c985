"""Columns that follow puts step by step equal columns made anew, and versions stay as they were."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from penchant.data.events import Value
from penchant.data.snapshot import build_snapshot
from penchant.feed.item_columns import Columns, Labels, Numbers, labels_of
from penchant.feed.live import Live, as_rows
from penchant.feed.live_columns import LiveColumns
from penchant.testing.feed_contracts import put, request_for
from penchant.workspace.filters import FilterAsked, FilterBook

TABLE = pa.table(
    {
        "price": pa.array([1.0, None, 3.5, 4.0]),
        "Tags": pa.array(["a|b", "", None, "b"]),
        "genres": pa.array([["x"], [], None, ["x", "y"]]),
        "kind": pa.array(["news", "film", None, "news"]),
        "adult": pa.array([True, None, False, True]),
    }
)
NOW = 1e6
values: dict[str, st.SearchStrategy[Value]] = {
    "price": st.one_of(st.none(), st.sampled_from([1, 2.5, 7, "8", "dear"])),
    "tags": st.one_of(st.none(), st.sampled_from(["a", "c|a", "", "a|b"])),
    "genres": st.one_of(st.none(), st.lists(st.sampled_from(["x", "z"]), max_size=2)),
    "kind": st.one_of(st.none(), st.sampled_from(["news", "game", "news|game"])),
    "adult": st.one_of(st.none(), st.booleans()),
    "late": st.one_of(st.none(), st.integers(0, 3), st.just("soon"), st.just(2.5)),
    "Later": st.one_of(st.none(), st.integers(0, 3)),
}
puts = st.fixed_dictionaries({}, optional=values)
histories = st.lists(st.dictionaries(st.integers(0, 8), puts, max_size=4), max_size=6)


def told(columns: Columns, name: str, row: int) -> Any:
    """Return what a column says of a row: a number, None, or a set of labels."""
    column = columns.find(name)
    if isinstance(column, Numbers):
        return None if np.isnan(column.values[row]) else float(column.values[row])
    if column is None:
        return frozenset()
    names = list(column.names)
    one = as_rows([row])
    labels = {names[code] for code in column.of_row(row).tolist()}
    assert labels == {name for name in names if column.any_of([name], one)[0]}
    assert [names[code] for code in column.spread(one)[1].tolist()] == [
        names[code] for code in column.of_row(row).tolist()
    ]
    assert bool(column.said(one)[0]) == bool(labels)
    first = int(column.first_of(one)[0])
    assert (names[first] in labels) if labels else first == -1
    return frozenset(labels)


def expected(name: str, history: list[dict[int, dict[str, Value]]], row: int) -> Any:
    """The slow oracle: the latest put as a whole; a column a put began is of numbers while all are."""
    latest: dict[int, Mapping[str, Value]] = {}
    for step in history:
        latest |= step
    base = next((column for column in TABLE.column_names if column.lower() == name.lower()), None)
    value: Value = None
    if row in latest:
        value = latest[row].get(name)
    elif base is not None and row < TABLE.num_rows:
        value = TABLE[base][row].as_py()
    ever = [p[name] for step in history for p in step.values() if p.get(name) is not None]
    numeric = (
        base == "price" if base is not None else bool(ever) and all(isinstance(v, int | float) for v in ever)
    )
    if not numeric:
        return frozenset(labels_of(value))
    try:
        return None if value is None else float(value)  # type: ignore[arg-type]  # lists do not come here
    except ValueError:
        return None


@settings(max_examples=200)
@given(histories)
def test_step_by_step_equals_made_anew_and_versions_stay(history: list[dict[int, dict[str, Value]]]) -> None:
    columns = Columns.of(TABLE)
    versions = [(columns, 0)]
    n_rows = TABLE.num_rows
    for i, step in enumerate(history, 1):
        n_rows = max([n_rows, *(row + 1 for row in step)])
        columns = columns.updated(step, n_rows)
        versions.append((columns, i))
    for version, upto in versions:
        for name in values:
            for row in range(version.n_rows):
                assert told(version, name, row) == expected(name, history[:upto], row), (name, row, upto)


def test_what_does_not_change_is_not_copied() -> None:
    columns = Columns.of(TABLE)
    same = {"price": 4.0, "tags": "b", "genres": ["x", "y"], "kind": "news", "adult": True}
    again = columns.updated({3: {**same, "price": 5.0}}, 4)
    assert [name for name in columns.names if columns.find(name) is not again.find(name)] == ["price"]
    grown = again.updated({4: same}, 5).updated({5: same}, 6).find("price")
    assert isinstance(grown, Numbers)
    more = again.updated({4: same}, 5).updated({5: same}, 6)
    one, two = more.find("price"), more.updated({}, 7).find("price")
    assert isinstance(one, Numbers) and isinstance(two, Numbers)
    assert np.shares_memory(one.values, two.values)


FILTERS = {
    "kind": 'INCLUDE ItemID WHERE Items.KIND IN ("news", "game")',
    "both": 'EXCLUDE ItemID WHERE Items.TAGS = "a" AND Items.PRICE < 4',
}


def live_of_table() -> Live:
    items = TABLE.append_column("item_id", pa.array([f"i{i}" for i in range(TABLE.num_rows)]))
    return Live(
        build_snapshot(pa.table({"user_id": ["u"], "item_id": ["i0"], "timestamp": [1.0]}), items=items)
    )


def seen(live: Live, columns: LiveColumns, book: FilterBook, now: float) -> dict[str, Any]:
    """Return all that feeds ask for."""
    rows = as_rows(range(len(live.catalogue)))
    request = replace(request_for(live, "u"), now=now)
    answers: dict[str, Any] = {"adult": columns.flagged("adult", rows, now).tolist()}
    answers["free"] = columns.flagged("price", rows, now).tolist()
    for name in ("price", "tags"):
        labels = columns.labels(name, now)
        assert isinstance(labels, Labels)
        names = list(labels.names)
        answers[name] = [sorted(names[code] for code in labels.of_row(row).tolist()) for row in rows.tolist()]
    for name, text in FILTERS.items():
        rule = book.rule(FilterAsked(name=name, expression=text, parameters={}), request, {})
        assert rule.everyone is not None
        answers[name] = rule.everyone[: len(rows)].tolist()
    return answers


steps = st.lists(
    st.tuples(
        st.dictionaries(st.integers(0, 8), st.fixed_dictionaries({}, optional=values), max_size=3),
        st.sampled_from([0.3, 1.5]),
        st.booleans(),
    ),
    max_size=6,
)


@settings(max_examples=60)
@given(steps)
def test_masks_flags_and_labels_follow(made: list[tuple[dict[int, dict[str, Value]], float, bool]]) -> None:
    live = live_of_table()
    columns = LiveColumns(live)
    book = FilterBook(columns)
    now, number = NOW, 0
    seen(live, columns, book, now)
    for step, seconds, look in made:
        events = [
            put(number + i, f"i{row}", **properties) for i, (row, properties) in enumerate(step.items(), 1)
        ]
        number += len(events)
        live.fold(events)
        now += seconds
        if look:
            seen(live, columns, book, now)
    now += 2.0
    anew = LiveColumns(live)
    assert seen(live, columns, book, now) == seen(live, anew, FilterBook(anew), now)


def test_a_new_item_counts_at_once_and_a_changed_one_within_a_second() -> None:
    live = live_of_table()
    columns = LiveColumns(live)
    assert told(columns.current(NOW), "kind", 0) == {"news"}
    live.fold([put(1, "i0", kind="game")])
    assert told(columns.current(NOW + 0.5), "kind", 0) == {"game"}, "the first put is due at once"
    live.fold([put(2, "i1", kind="game"), put(3, "new", kind="film")])
    half = columns.current(NOW + 1.0)
    assert [told(half, "kind", row) for row in (1, 4)] == [{"film"}, {"film"}]
    whole = columns.current(NOW + 1.6)
    assert [told(whole, "kind", row) for row in (1, 4)] == [{"game"}, {"film"}]
    assert told(half, "kind", 1) == {"film"}, "who asked before keeps what was there"
