"""Insights into the tables of users and items: gaps, categories, one time for all, who never appears."""

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from penchant.data.insights_finding import Insight, percent
from penchant.data.snapshot import Snapshot
from penchant.kernel.arrays import Bools, Rows
from penchant.kernel.arrow import ArrowColumn, ArrowTable, pc

COMPLETE, COMPLETE_TEXT = 0.70, 0.85
MAX_CATEGORIES = 30
_WORDS_OF_TEXT, _DISTINCT_OF_TEXT, _DISTINCT_OF_ID = 3.0, 0.2, 0.5
_UNUSED_NOTE, _UNUSED_WARNING, _UNDESCRIBED = 0.25, 0.75, 0.05

Kind = Literal["category", "text", "number", "other"]


def column_insights(snapshot: Snapshot) -> Iterator[Insight]:
    """Yield what the columns of users and items show, and who of them never interacts."""
    for word, table, rows in (
        ("user", snapshot.user_table, snapshot.interactions.user),
        ("item", snapshot.item_table, snapshot.interactions.item),
    ):
        described = _described(table)
        if described.any():
            yield from _columns(word, table.filter(pa.array(described)))
            yield from _strangers(word, described, rows)
    yield from _event_values(snapshot)


def _described(table: ArrowTable) -> Bools:
    """Return which rows say anything beside their id: those that the imported table had."""
    said = np.zeros(table.num_rows, np.bool_)
    for name in table.column_names[1:]:
        said |= table[name].is_valid().to_numpy()
    return said


def _columns(word: str, table: ArrowTable) -> Iterator[Insight]:
    many: dict[str, float] = {}
    for name in table.column_names[1:]:
        column = table[name]
        kind = _kind(column)
        share = 1 - column.null_count / table.num_rows
        needed = COMPLETE_TEXT if kind == "text" else COMPLETE
        if share < needed:
            yield Insight(
                rule="incomplete_text" if kind == "text" else "incomplete_column",
                level="warning",
                what=f"The column {name} of {word}s is filled for {percent(share)} of {table.num_rows:,} "
                f"rows; below {percent(needed)} it says little.",
                numbers={"share": share, "least": needed, "rows": table.num_rows},
                what_to_do="Fill it (a value such as 'none' where there is none), or leave the column out.",
            )
        if kind == "category":
            distinct = int(pc.count_distinct(_flat(column)).as_py())
            if MAX_CATEGORIES < distinct <= _DISTINCT_OF_ID * table.num_rows:
                many[name] = distinct
        if _one_time(name, column):
            yield Insight(
                rule="one_time_in_column",
                level="warning",
                what=f"The column {name} of {word}s has one value on all {len(column) - column.null_count:,} "
                "rows.",
                numbers={"rows": len(column) - column.null_count},
                what_to_do="Export the time of each row, not that of the export; newness is learned from it.",
            )
    if many:
        listed = ", ".join(f"{name} ({int(n):,})" for name, n in many.items())
        yield Insight(
            rule="many_categories",
            level="note",
            what=f"These columns of {word}s have more than {MAX_CATEGORIES} different values: {listed}.",
            numbers=many,
            what_to_do="Fine as facts and for filters. To learn from one, merge rare values or keep the "
            "coarser column.",
        )


def _kind(column: ArrowColumn) -> Kind:
    """Return what a column is: texts of three words or more that mostly differ are text."""
    kind: Any = column.type
    if pa.types.is_list(kind):
        return "category"
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        return "number" if pa.types.is_integer(kind) or pa.types.is_floating(kind) else "other"
    present = column.drop_null()
    if len(present) == 0:
        return "other"
    words = float(pc.mean(pc.count_substring_regex(present, r"\S+")).as_py())
    distinct = pc.count_distinct(present).as_py() / len(present)
    return "text" if words >= _WORDS_OF_TEXT and distinct >= _DISTINCT_OF_TEXT else "category"


def _flat(column: ArrowColumn) -> ArrowColumn:
    return pc.list_flatten(column) if pa.types.is_list(column.type) else column


def _one_time(name: str, column: ArrowColumn) -> bool:
    present = column.drop_null()
    return name.endswith("timestamp") and len(present) > 1 and pc.count_distinct(present).as_py() == 1


def _strangers(word: str, described: Bools, rows: Rows) -> Iterator[Insight]:
    """Yield how many described ones never interact, and how many that interact are not described."""
    seen = np.bincount(rows, minlength=len(described)) > 0
    unused = int((described & ~seen).sum())
    share = unused / int(described.sum())
    if seen.any() and share >= _UNUSED_NOTE:
        yield Insight(
            rule=f"{word}s_without_interactions",
            level="warning" if share >= _UNUSED_WARNING else "note",
            what=f"{unused:,} {word}s ({percent(share)}) have no interactions.",
            numbers={word + "s": unused, "share": share},
            what_to_do=f"Check that {word}_id is written the same in both tables. If it is: "
            + (
                "they get popular items until they act."
                if word == "user"
                else "they are shown only by exploration and by their columns."
            ),
        )
    unknown = int((seen & ~described).sum())
    if seen.any() and unknown / int(seen.sum()) >= _UNDESCRIBED:
        yield Insight(
            rule=f"undescribed_{word}s",
            level="warning",
            what=f"{unknown:,} {word}s ({percent(unknown / int(seen.sum()))}) have interactions but no row "
            f"in the table of {word}s.",
            numbers={word + "s": unknown, "share": unknown / int(seen.sum())},
            what_to_do=f"Check that {word}_id is written the same in both tables; import the missing rows.",
        )


def _event_values(snapshot: Snapshot) -> Iterator[Insight]:
    """Yield event types of which some, but too few, carry a value; a type that never has one needs none."""
    events = snapshot.interactions
    valued = np.isfinite(events.value)
    for code, name in enumerate(events.event_types):
        of_type = events.event_type == code
        n = int(of_type.sum())
        share = float(valued[of_type].mean()) if n else 0.0
        if 0 < share < COMPLETE:
            yield Insight(
                rule="incomplete_event_value",
                level="warning",
                what=f"event_value is filled for {percent(share)} of {n:,} interactions of type {name!r}.",
                numbers={"share": share, "least": COMPLETE, "interactions": n},
                what_to_do="Give a value to all events of a type or to none; a missing one counts as none.",
            )
