"""The seed list as people hand it over: read, matched, and checked before anything is computed from it."""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import msgspec
import numpy as np
import pyarrow as pa

from penchant.kernel.arrays import F64, Rows, readonly
from penchant.kernel.arrow import ArrowTable, pc
from penchant.kernel.errors import InputError
from penchant.kernel.ids import Vocab

REFUSE_BELOW = 25
WARN_BELOW = 100
ID_HEADERS = ("user_id", "member_srl", "customer_id", "household_id", "id")
VALUE_HEADERS = ("value", "weight", "ltv")


class Finding(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thing to know about the list or the audience, and what to do about it."""

    level: Literal["problem", "warning", "note"]
    what: str
    todo: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdList:
    """Ids of a file in its order, duplicates kept; ``values`` where the file has such a column."""

    ids: tuple[str, ...]
    values: F64 | None = None
    source: str = "seeds"


@dataclass(frozen=True, slots=True, kw_only=True)
class Matched:
    """A list matched to the users there are: rows ascending, each once, their weights, what did not match."""

    rows: Rows  # (s,)
    weight: F64 | None  # (s,)
    unknown: tuple[str, ...]
    duplicates: int


def read_ids(path: Path) -> IdList:
    """Read a CSV file of ids: with a header naming the column, or a single column without one.

    Columns under a header may also be parted by semicolons or tabs, as spreadsheets write them.

    Raises:
        InputError: the file is missing, empty, not text, or has several columns and none is known as an id.
    """
    if not path.is_file():
        raise InputError("there is no such file.", where=str(path), fix="Check the path.")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            parted = _delimiter(file.readline())
            file.seek(0)
            rows = [row for row in csv.reader(file, delimiter=parted) if any(map(str.strip, row))]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"not a CSV file in UTF-8 ({error}).", where=str(path)) from error
    if not rows:
        raise InputError("the list is empty.", where=str(path), fix="Put one user id a line.")
    header = [cell.strip().lower() for cell in rows[0]]
    column = next((header.index(name) for name in ID_HEADERS if name in header), None)
    if column is None:
        if len(header) > 1:
            raise InputError(
                f"no column is called {' or '.join(ID_HEADERS[:3])}; found {', '.join(header)}.",
                where=f"{path}, row 1",
                fix="Rename the column of ids to user_id.",
            )
        column, body, start = 0, rows, 1
    else:
        body, start = rows[1:], 2
    short = next((i for i, row in enumerate(body) if len(row) <= column or not row[column].strip()), None)
    if short is not None:
        raise InputError("a row without an id.", where=f"{path}, row {start + short}", fix="Remove it.")
    if not body:
        raise InputError("the list is empty.", where=str(path), fix="Put one user id a line.")
    ids = tuple(row[column].strip() for row in body)
    amount = next((header.index(name) for name in VALUE_HEADERS if name in header), None)
    values = None if amount is None or start == 1 else _values(path, body, amount, start)
    return IdList(ids=ids, values=values, source=str(path))


def _delimiter(header: str) -> str:
    """Return what parts the columns: a semicolon or tab where that makes a known header, else the comma."""
    for sign in ";\t":
        if sign in header and not {cell.strip(' "\r\n').lower() for cell in header.split(sign)}.isdisjoint(
            ID_HEADERS
        ):
            return sign
    return ","


def _values(path: Path, body: list[list[str]], column: int, start: int) -> F64:
    found = np.empty(len(body))
    for i, row in enumerate(body):
        try:
            found[i] = float(row[column])
        except (ValueError, IndexError):
            found[i] = np.nan
        if not found[i] > 0 or np.isinf(found[i]):
            raise InputError(
                "a seed's value must be a number above 0.",
                where=f"{path}, row {start + i}",
                fix="Correct it, or drop the column.",
            )
    return readonly(found)


class Listed(Protocol):
    """Who the ids of a list may be; see `penchant.audiences.people.People`."""

    @property
    def users(self) -> Vocab: ...  # noqa: D102
    @property
    def user_table(self) -> ArrowTable: ...  # noqa: D102
    def times(self) -> tuple[F64, F64]: ...  # noqa: D102
    def any_item(self, ids: Sequence[str]) -> bool: ...  # noqa: D102


def match(given: IdList, people: Listed) -> Matched:
    """Match ids to users; a repeated id counts once, with its largest value.

    Raises:
        InputError: no id is a user; the message says so when they are items instead.
    """
    rows = people.users.rows(given.ids)
    unknown = tuple(dict.fromkeys(i for i, row in zip(given.ids, rows, strict=True) if row < 0))
    known = rows[rows >= 0]
    if not len(known):
        raise InputError(
            f"none of the {len(given.ids):,} ids is a known user{_elsewhere(given.ids, people)}.",
            where=given.source,
            fix="Check that the file holds user ids as they were imported.",
        )
    distinct, place = np.unique(known, return_inverse=True)
    weight = None
    if given.values is not None:
        weight = np.zeros(len(distinct))
        np.maximum.at(weight, place, given.values[rows >= 0])
    return Matched(
        rows=readonly(distinct.astype(np.int32)),
        weight=None if weight is None else readonly(weight),
        unknown=unknown,
        duplicates=len(known) - len(distinct),
    )


def _elsewhere(ids: Sequence[str], people: Listed) -> str:
    """Say where unknown ids were found instead."""
    if people.any_item(ids):
        return "; some are item ids"
    for name in people.user_table.column_names[1:]:
        column = people.user_table[name]
        if (
            str(column.type) in ("string", "large_string")
            and (Vocab.of(column.drop_null()).rows(ids) >= 0).any()
        ):
            return f"; some are values of the users' column '{name}'"
    return ""


def check(given: IdList, matched: Matched, people: Listed, *, size: int, candidates: int) -> list[Finding]:
    """Return what is wrong or odd about a list, worst first.

    Raises:
        InputError: too few seeds to learn from, a size below 1, or more asked for than there are.
    """
    n = len(matched.rows)
    if size < 1:
        raise InputError(f"an audience of {size} people.", fix="Give --size a number of at least 1.")
    if n < REFUSE_BELOW:
        raise InputError(
            f"{n} of the {len(given.ids):,} ids are known users; an audience needs at least {REFUSE_BELOW}.",
            where=given.source,
            fix="Give a longer list: 5,000 to 50,000 works best.",
        )
    if size > candidates:
        raise InputError(
            f"{size:,} people asked for, but only {candidates:,} are left beside seeds and excluded people.",
            fix=f"Ask for --size {candidates} or fewer.",
        )
    findings: list[Finding] = []
    everybody = len(people.users)
    if n > 0.5 * everybody:
        findings.append(
            Finding(
                level="problem",
                what=f"The seeds are {n / everybody:.0%} of everybody: there is hardly anyone else.",
                todo="Give a narrower list.",
            )
        )
    findings += _slice_of(given, matched, people)
    if matched.unknown:
        share = len(matched.unknown) / (len(matched.unknown) + n)
        findings.append(
            Finding(
                level="problem" if share > 0.5 else "warning" if share > 0.05 else "note",
                what=f"{len(matched.unknown):,} ids ({share:.1%}) are unknown; written to unknown_ids.csv.",
                todo="Check that the list is of these users and not older than the data.",
            )
        )
    if matched.duplicates:
        findings.append(
            Finding(
                level="note", what=f"{matched.duplicates:,} ids were given more than once and count once."
            )
        )
    if n < WARN_BELOW:
        findings.append(
            Finding(
                level="warning",
                what=f"{n} seeds are few: the ranking may change much with another list of the same kind.",
                todo="5,000 to 50,000 seeds work best.",
            )
        )
    return findings


def _slice_of(given: IdList, matched: Matched, people: Listed) -> Iterable[Finding]:
    """Warn when the seeds sit at one end of the ids or of time, as ``LIMIT`` without a sort gives them.

    Each order's places are compared with an even spread (Kolmogorov and Smirnov); the list must also fill
    less than half of that order to be called a slice.
    """
    from scipy.stats import kstest  # heavy: only here

    n = len(people.users)
    first, last = people.times()
    orders = {"ids": np.arange(n, dtype=np.float64), "first activity": first, "last activity": last}
    if all(i.isdecimal() for i in given.ids[:1000]):
        everybody = people.users.to_arrow()
        if pc.all(pc.match_substring_regex(everybody, "^[0-9]{1,18}$")).as_py():
            orders["ids, as numbers,"] = pc.cast(everybody, pa.int64()).to_numpy()
    for name, key in orders.items():
        place = np.argsort(np.argsort(key, kind="stable"), kind="stable") / max(n, 1)
        mine = np.sort(place[matched.rows])
        low, high = mine[int(0.01 * len(mine))], mine[int(0.99 * len(mine)) - 1]
        if high - low < 0.5 and kstest(mine, "uniform").pvalue < 1e-6:
            yield Finding(
                level="warning",
                what=f"Nearly all seeds lie in the same {high - low:.0%} of the {name}: the list looks like a"
                " sorted or truncated slice, such as a query with LIMIT gives.",
                todo="Take a random sample of the people you mean instead.",
            )
            return
