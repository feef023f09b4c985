"""The filter language against a slow evaluator, row by row and event by event."""

import contextlib
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penchant.data.interactions import Interactions
from penchant.feed.filter_parse import (
    Both,
    Clause,
    Condition,
    Constant,
    Distance,
    Either,
    Field,
    Not,
    Now,
    Operand,
    Parameter,
    Test,
    parse_filter,
    parse_values,
)
from penchant.feed.filter_run import Facts, compile_filter
from penchant.feed.item_columns import Columns, Labels, labels_of
from penchant.kernel.errors import InputError, PenchantError

Test.__test__ = False  # type: ignore[attr-defined]  # a condition of the language, not a test class
DAY = 86400.0
NOW = 100 * DAY
ITEMS: list[dict[str, Any]] = [
    {
        "item_id": "a",
        "category": "news",
        "genres": "x|y",
        "price": 5.0,
        "adult": True,
        "lat": 48.1,
        "lon": 11.6,
    },
    {
        "item_id": "b",
        "category": "sport",
        "genres": "y",
        "price": None,
        "adult": False,
        "lat": 52.5,
        "lon": 13.4,
    },
    {
        "item_id": "c",
        "category": None,
        "genres": None,
        "price": 50.0,
        "adult": None,
        "lat": None,
        "lon": None,
    },
    {
        "item_id": "d",
        "category": "news",
        "genres": "z",
        "price": -1.0,
        "adult": False,
        "lat": 48.2,
        "lon": 11.5,
    },
]
COLUMNS = Columns.of(pa.Table.from_pylist(ITEMS))
ROWS = np.arange(4, dtype=np.int32)
HISTORY = Interactions.of(
    user=[0, 0, 0],
    item=[0, 1, 0],
    timestamp=[NOW - 40 * DAY, NOW - DAY, NOW - 2 * DAY],
    event_type=[0, 0, 1],
    value=[1.0, 2.0, np.nan],
    event_types=("buy", "view"),
)
USER: dict[str, Any] = {"AGE": 30, "LIKES": ["news", "x"], "COUNTRY": "de"}
FACTS = Facts(history=HISTORY, user=USER, parameters={"c": ["sport", "news"], "p": [10.0]}, now=NOW)


def kept(text: str, facts: Facts = FACTS) -> str:
    mask = compile_filter(text, COLUMNS).mask(COLUMNS, facts, ROWS)
    return "".join(item["item_id"] for item, keep in zip(ITEMS, mask, strict=True) if keep)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('INCLUDE ItemID WHERE Items.CATEGORY IN ("news")', "ad"),
        ('exclude itemid where items.category in ("news")', "bc"),
        ('INCLUDE ItemID WHERE Items.CATEGORY NOT IN ("news")', "bc"),
        ('INCLUDE ItemID WHERE Items.CATEGORY != "news"', "b"),
        ('INCLUDE ItemID WHERE Items.GENRES IN ("y", "z")', "abd"),
        ("INCLUDE ItemID WHERE Items.PRICE < 10", "ad"),
        ("INCLUDE ItemID WHERE Items.PRICE <= $p AND Items.PRICE > 0", "a"),
        ("INCLUDE ItemID WHERE NOT Items.PRICE < 10", "bc"),
        ("INCLUDE ItemID WHERE Items.ADULT = true", "a"),
        ("INCLUDE ItemID WHERE Items.ADULT = false OR Items.PRICE = 50", "bcd"),
        ("INCLUDE ItemID WHERE Items.CATEGORY IN ($c)", "abd"),
        ('INCLUDE ItemID WHERE Items.ITEM_ID IN ("c")', "c"),
        ("INCLUDE ItemID WHERE Items.CATEGORY IN (CurrentUser.LIKES)", "ad"),
        ('EXCLUDE ItemID WHERE Interactions.EVENT_TYPE IN ("*")', "cd"),
        ('EXCLUDE ItemID WHERE Interactions.EVENT_TYPE IN ("view")', "bcd"),
        ('INCLUDE ItemID WHERE Interactions.EVENT_TYPE NOT IN ("buy")', "a"),
        (
            'EXCLUDE ItemID WHERE Interactions.EVENT_TYPE IN ("buy") AND Interactions.TIMESTAMP > now-30d',
            "acd",
        ),
        ('INCLUDE ItemID WHERE NOT Interactions.EVENT_TYPE IN ("buy")', "cd"),
        ("INCLUDE ItemID WHERE Interactions.EVENT_VALUE >= 2", "b"),
        ('INCLUDE ItemID WHERE Items.PRICE < 10 | EXCLUDE ItemID WHERE Items.GENRES = "z"', "a"),
        ('INCLUDE ItemID WHERE Items.PRICE = 50 | INCLUDE ItemID WHERE Items.GENRES = "z"', "cd"),
        ('EXCLUDE ItemID WHERE Items.CATEGORY = "news" IF CurrentUser.AGE > 40', "abcd"),
        (
            'EXCLUDE ItemID WHERE Items.CATEGORY = "news" IF CurrentUser.AGE>9 AND CurrentUser.COUNTRY="de"',
            "bc",
        ),
        ('EXCLUDE ItemID WHERE Items.CATEGORY = "news" IF CurrentUser.UNHEARD_OF = "x"', "abcd"),
        ("EXCLUDE ItemID WHERE Items.CATEGORY IN ($not_given)", "abcd"),
        ("INCLUDE ItemID WHERE DISTANCE(Items.LAT, Items.LON, 48.137, 11.575) < 20", "ad"),
        ('INCLUDE ItemID WHERE (Items.PRICE < 0 OR Items.PRICE > 10) AND NOT Items.CATEGORY = "news"', "c"),
    ],
)
def test_known_answers(text: str, expected: str) -> None:
    assert kept(text) == expected


def test_distance_agrees_with_a_published_one() -> None:
    # Munich to Berlin city centres are 504 km apart on the great circle.
    text = "INCLUDE ItemID WHERE DISTANCE(Items.LAT, Items.LON, 48.137, 11.575) {}"
    assert "b" in kept(text.format("< 506"))
    assert "b" not in kept(text.format("< 500"))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "column 1"),
        ('INCLUDE ItemID WHERE Items.CATEGRY IN ("a")', "Did you mean 'CATEGORY'"),
        ('INCLUDE ItemID WHERE Itmes.CATEGORY IN ("a")', "Did you mean 'Items'"),
        ("INCLUDE ItemID WHERE Items.CATEGORY < 3", "cannot order"),
        ('INCLUDE ItemID WHERE Items.PRICE < "abc"', "PRICE holds numbers"),
        ("INCLUDE ItemID WHERE Items.PRICE <", "column 35"),
        ("INCLUDE ItemID WHERE Items.PRICE ? 3", "column 34"),
        ("INCLUDE ItemID WHERE Items.PRICE < 3 IF Items.PRICE < 3", "CurrentUser only"),
        ("INCLUDE ItemID WHERE Interactions.EVENT_TYPE < 3", "cannot order"),
        ("INCLUDE ItemID WHERE Items.PRICE < Items.PRICE", "CurrentUser"),
        ("INCLUDE ItemID WHERE Items.PRICE < $zzz", "needs a value for $zzz"),
        ("INCLUDE ItemID WHERE Items.PRICE < 3 | EXCLUDE UserID WHERE Users.AGE < 3", "ItemID and UserID"),
        ("INCLUDE ItemID WHERE " + "(" * 500 + "Items.PRICE < 3" + ")" * 500, "deep"),
        ("X" * 3000, "2500 characters"),
    ],
)
def test_errors_say_where_and_what_to_do(text: str, complaint: str) -> None:
    with pytest.raises(InputError) as caught:
        kept(text)
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    ("text", "values"),
    [('"a","b"', ["a", "b"]), ("5", [5.0]), ("plain", ["plain"]), (' "a" , "b\\"c" ', ["a", 'b"c'])],
)
def test_parameter_values_as_clients_send_them(text: str, values: list[Any]) -> None:
    assert parse_values(text) == values


# ---- the slow evaluator: one row, one event at a time, straight from the definition ----


def slow_values(operands: tuple[Operand, ...], facts: Facts) -> list[Any]:
    out: list[Any] = []
    for o in operands:
        match o:
            case Constant():
                out.append(o.value)
            case Now():
                out.append(facts.now + o.offset)
            case Parameter():
                out += list(facts.parameters[o.name])
            case Field():
                value = facts.user.get(o.name.upper())
                out += value if isinstance(value, list) else [] if value is None else [value]
    return out


def slow_test(own: Any, operator: str, values: list[Any]) -> bool:
    if own is None or (isinstance(own, float) and math.isnan(own)):
        return operator == "not in"
    if isinstance(own, int | float) and not isinstance(own, bool):
        hit = any(float(v) == own for v in values)
        order = {
            "<": lambda v: own < v,
            "<=": lambda v: own <= v,
            ">": lambda v: own > v,
            ">=": lambda v: own >= v,
        }
        if operator in order:
            return any(order[operator](float(v)) for v in values)
    else:
        have = labels_of(own)
        hit = any((v if isinstance(v, str) else labels_of(v)[0]) in have for v in values)
    return hit != (operator in ("!=", "not in"))


def is_event(c: Condition) -> bool:
    match c:
        case Test():
            return c.term.table == "interactions"
        case Not():
            return False
        case _:
            return all(is_event(p) for p in c.parts)


def slow_event(c: Condition, i: int, facts: Facts) -> bool:
    if isinstance(c, Both | Either):
        results = [slow_event(p, i, facts) for p in c.parts]
        return all(results) if isinstance(c, Both) else any(results)
    assert isinstance(c, Test) and isinstance(c.term, Field)
    h = facts.history
    name = c.term.name.upper()
    values = slow_values(c.operands, facts)
    if name == "EVENT_TYPE":
        hit = "*" in values or h.event_types[h.event_type[i]] in values
        return hit != (c.operator in ("!=", "not in"))
    own = float(h.timestamp[i] if name == "TIMESTAMP" else h.value[i])
    return slow_test(own, c.operator, values)


def slow(c: Condition, row: int, facts: Facts, item: Mapping[str, Any]) -> bool:
    if is_event(c):
        return any(slow_event(c, i, facts) for i in range(len(facts.history)) if facts.history.item[i] == row)
    match c:
        case Not():
            return not slow(c.of, row, facts, item)
        case Both() | Either():
            about = [p for p in c.parts if is_event(p)]
            parts = [p for p in c.parts if not is_event(p)]
            if about:
                parts.append(type(c)(parts=tuple(about)))
            results = [slow(p, row, facts, item) for p in parts]
            return all(results) if isinstance(c, Both) else any(results)
        case Test():
            assert not isinstance(c.term, Distance)
            return slow_test(item[c.term.name.lower()], c.operator, slow_values(c.operands, facts))


def slow_kept(clauses: tuple[Clause, ...], facts: Facts) -> list[bool]:
    out = []
    for row, item in enumerate(ITEMS):
        includes = [slow(c.where, row, facts, item) for c in clauses if c.include]
        excludes = [slow(c.where, row, facts, item) for c in clauses if not c.include]
        out.append((any(includes) or not includes) and not any(excludes))
    return out


labels = st.sampled_from(['"news"', '"sport"', '"x"', '"z"', '"none"', "$c", "CurrentUser.LIKES"])
numbers = st.sampled_from(["-1", "5", "10", "50", "$p", "CurrentUser.AGE"])
text_field = st.sampled_from(["Items.CATEGORY", "Items.GENRES", "items.item_id"])
membership = st.sampled_from(["IN", "NOT IN"])
tests = st.one_of(
    st.builds(
        lambda f, m, v: f"{f} {m} ({', '.join(v)})",
        text_field,
        membership,
        st.lists(labels, min_size=1, max_size=3),
    ),
    st.builds(lambda f, o, v: f"{f} {o} {v}", text_field, st.sampled_from(["=", "!="]), labels),
    st.builds(
        lambda o, v: f"Items.PRICE {o} {v}", st.sampled_from(["<", "<=", ">", ">=", "=", "!="]), numbers
    ),
    st.builds(
        lambda m, v: f"Interactions.EVENT_TYPE {m} ({v})",
        membership,
        st.sampled_from(['"buy"', '"view"', '"*"']),
    ),
    st.builds(
        lambda o, d: f"Interactions.TIMESTAMP {o} now-{d}d", st.sampled_from(["<", ">"]), st.integers(0, 50)
    ),
    st.builds(
        lambda o, v: f"Interactions.EVENT_VALUE {o} {v}", st.sampled_from(["<", ">="]), st.integers(0, 3)
    ),
    st.just("Items.ADULT = true"),
)
conditions = st.recursive(
    tests,
    lambda inner: st.one_of(
        st.builds(lambda a, b: f"{a} AND {b}", inner, inner),
        st.builds(lambda a, b: f"({a} OR {b})", inner, inner),
        st.builds(lambda a: f"NOT ({a})", inner),
    ),
    max_leaves=5,
)
clauses = st.builds(lambda v, c: f"{v} ItemID WHERE {c}", st.sampled_from(["INCLUDE", "EXCLUDE"]), conditions)


@settings(max_examples=400)
@given(st.lists(clauses, min_size=1, max_size=3).map(" | ".join))
def test_agrees_with_the_slow_evaluator(text: str) -> None:
    mask = compile_filter(text, COLUMNS).mask(COLUMNS, FACTS, ROWS)
    assert mask.tolist() == slow_kept(parse_filter(text), FACTS)


words = "INCLUDE EXCLUDE ItemID UserID WHERE Items.PRICE Items.CATEGORY < = IN NOT ( ) , AND OR IF | . \\"
values = '"a" " 3 1e999 - $c now-3d now CurrentUser.AGE'
tokens = st.sampled_from([*words.split(), *values.split()])


@settings(max_examples=1500)
@given(st.one_of(st.text(max_size=40), st.lists(tokens, max_size=14).map(" ".join)))
def test_fuzzed_expressions_raise_input_errors_or_work(text: str) -> None:
    try:
        compile_filter(text, COLUMNS).mask(COLUMNS, FACTS, ROWS)
    except PenchantError as error:
        assert isinstance(error, InputError)
    with contextlib.suppress(InputError):
        parse_values(text)


properties = st.dictionaries(
    st.sampled_from(["category", "genres", "price", "new"]),
    st.one_of(
        st.none(), st.sampled_from(["news", "x|z", "q"]), st.lists(st.sampled_from(["x", "w"]), max_size=2)
    ),
    max_size=3,
)


@given(st.dictionaries(st.integers(0, 6), properties, max_size=4))
def test_updated_columns_equal_columns_made_anew(changes: dict[int, dict[str, Any]]) -> None:
    changes = {row: {k: v for k, v in p.items() if k != "price"} for row, p in changes.items()}
    updated = COLUMNS.updated(changes, 7)
    assert updated.n_rows == 7
    for name in updated.names:
        column = updated.find(name)
        if not isinstance(column, Labels):
            continue
        for row in range(7):
            old = ITEMS[row].get(name) if row < 4 else None
            expected = set(labels_of(changes[row].get(name) if row in changes else old))
            have = {label for label in column.names if column.any_of([label], np.array([row], np.int32))[0]}
            assert have == expected, (name, row)
