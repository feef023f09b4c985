"""The tables a dataset has, their columns, and how a file's header is read as one of them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from penchant.kernel.errors import InputError
from penchant.kernel.names import did_you_mean

TableName: TypeAlias = Literal["users", "items", "interactions", "follows", "actions", "action_interactions"]

Role: TypeAlias = Literal["id", "time", "number", "flag", "id list", "outcome"]
"""How the values of a column are read: text of at most 256 characters, a point in time, a finite number,
true or false, several ids joined by ``|``, one of `OUTCOMES`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column that has a meaning of its own."""

    name: str
    role: Role
    required: bool = False
    is_property: bool = False  # stored among the properties, but read and checked by its role


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One table: its columns and the kind of event that each row becomes."""

    name: TableName
    kind: str
    columns: tuple[Column, ...]
    has_properties: bool = True

    def column(self, name: str) -> Column | None:
        """Return the column called ``name``, None for one without a meaning of its own."""
        return next((column for column in self.columns if column.name == name), None)

    def accepted(self) -> str:
        """Return which columns the table reads, as a sentence."""
        required = ", ".join(c.name for c in self.columns if c.required)
        optional = ", ".join(c.name for c in self.columns if not c.required)
        kept = "other columns are kept as properties" if self.has_properties else "no other columns"
        return f"A table of {self.name} needs {required}; it may have {optional}; {kept}."


_EVENT_ID = Column(name="event_id", role="id")
_WHEN = Column(name="timestamp", role="time")

TABLES: dict[TableName, Table] = {
    "users": Table(
        name="users",
        kind="user_put",
        columns=(Column(name="user_id", role="id", required=True), _WHEN, _EVENT_ID),
    ),
    "items": Table(
        name="items",
        kind="item_put",
        columns=(
            Column(name="item_id", role="id", required=True),
            _WHEN,
            _EVENT_ID,
            Column(name="creation_timestamp", role="time", is_property=True),
        ),
    ),
    "interactions": Table(
        name="interactions",
        kind="acted",
        columns=(
            Column(name="user_id", role="id", required=True),
            Column(name="item_id", role="id", required=True),
            Column(name="timestamp", role="time", required=True),
            Column(name="event_type", role="id"),
            Column(name="event_value", role="number"),
            Column(name="impression", role="id list"),
            Column(name="recommendation_id", role="id"),
            Column(name="session_id", role="id"),
            _EVENT_ID,
        ),
    ),
    "follows": Table(
        name="follows",
        kind="followed",
        columns=(
            Column(name="user_id", role="id", required=True),
            Column(name="followed_id", role="id", required=True),
            _WHEN,
            Column(name="active", role="flag"),
            _EVENT_ID,
        ),
        has_properties=False,
    ),
    "actions": Table(
        name="actions",
        kind="action_put",
        columns=(
            Column(name="action_id", role="id", required=True),
            _WHEN,
            _EVENT_ID,
            Column(name="value", role="number", is_property=True),
            Column(name="creation_timestamp", role="time", is_property=True),
            Column(name="action_expiration_timestamp", role="time", is_property=True),
            Column(name="repeat_frequency", role="number", is_property=True),
        ),
    ),
    "action_interactions": Table(
        name="action_interactions",
        kind="responded",
        columns=(
            Column(name="user_id", role="id", required=True),
            Column(name="action_id", role="id", required=True),
            Column(name="timestamp", role="time", required=True),
            Column(name="event_type", role="outcome", required=True),
            Column(name="impression", role="id list"),
            Column(name="recommendation_id", role="id"),
            Column(name="session_id", role="id"),
            _EVENT_ID,
        ),
    ),
}
"""The tables. Where ``timestamp`` is optional, a row without one holds from the beginning: time 0."""

_OTHER_NAMES = {
    "user_id": ("uid", "user", "customer_id", "customer", "visitor_id", "member_id", "household_id"),
    "item_id": ("product_id", "product", "item", "sku", "article_id", "movie_id", "stock_code", "asin"),
    "timestamp": ("ts", "time", "date", "datetime", "event_time", "created_at", "unix_timestamp"),
    "followed_id": ("followee_id", "friend_id", "target_id", "following_id"),
}
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_SEPARATORS = re.compile(r"[\s\-./]+")


def canonical_name(header: str) -> str:
    """Return a header in snake_case: ``USER_ID``, ``userId`` and ``User ID`` are all ``user_id``."""
    return _SEPARATORS.sub("_", _HUMP.sub("_", header.strip())).lower()


def resolve_header(table: Table, header: Sequence[str], where: str) -> list[str]:
    """Return the canonical name of every column of a file, in its order; an unnamed column stays ``""``.

    Raises:
        InputError: a required column is missing, two have one name, the table takes no such column, or the
            file is one of interactions given as users, of whom each row would replace the one before.
    """
    names = [canonical_name(name) for name in header]
    named = [name for name in names if name]
    for name in dict.fromkeys(named):
        if named.count(name) > 1:
            raise InputError(f"two columns are called {name}.", where=where, fix="Rename or remove one.")
    for column in table.columns:
        if column.required and column.name not in named:
            raise InputError(_missing(column.name, header), where=where, fix=table.accepted())
    if table.name == "users" and {"item_id", "timestamp"} <= set(named):
        raise InputError(
            "it has an item_id and a timestamp beside user_id: this looks like interactions, not users.",
            where=where,
            fix="Import it as --interactions, or rename these columns.",
        )
    if not table.has_properties:
        for name in named:
            if table.column(name) is None:
                near = did_you_mean(name, [column.name for column in table.columns])
                raise InputError(f"unknown column {name}. {near}", where=where, fix=table.accepted())
    return names


def _missing(name: str, header: Sequence[str]) -> str:
    found = [title.strip() for title in header if title.strip()]
    shown = ", ".join(found[:20]) + (", ..." if len(found) > 20 else "")
    others = [title for title in found if canonical_name(title) in _OTHER_NAMES.get(name, ())]
    near = f"Did you mean '{others[0]}'?" if others else did_you_mean(name, [t.lower() for t in found])
    hint = f" {near}" if near.startswith("Did you mean") else ""
    return f"there is no column {name}.{hint} The file has: {shown or 'no column names'}."
