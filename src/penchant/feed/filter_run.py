"""Filters compiled against a catalogue: which rows may be shown to this user now.

Clauses unite: kept = (union of INCLUDEs, or everything without one) minus the union of EXCLUDEs. A condition
on a missing value is false, so its negation is true. Conditions on Interactions that are joined by AND and OR
are decided on one and the same interaction: "bought within 30 days" is one purchase that is also recent.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from penchant.data.actions import outcome_of
from penchant.data.events import Value
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
    Target,
    Test,
    parse_filter,
)
from penchant.feed.item_columns import Columns, Labels, Numbers, labels_of
from penchant.kernel.arrays import F64, AnyArray, Bools, Rows
from penchant.kernel.errors import InputError
from penchant.kernel.names import did_you_mean

_OWN = {"item": "items", "user": "users", "action": "actions"}
_DONE = {"item": "interactions", "action": "action_interactions"}  # what the user did with them
_INTERACTION_FIELDS = ("EVENT_TYPE", "EVENT_VALUE", "TIMESTAMP")
_EARTH_KM = 6371.0088
_COMPARE: Mapping[str, Callable[[AnyArray, float], Bools]] = {
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
    "=": np.equal,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a filter may look at for one request.

    ``history`` is what the current user did, item rows of the same catalogue; ``user`` its properties;
    ``parameters`` the values of each $name.
    """

    history: Interactions
    user: Mapping[str, Value]
    parameters: Mapping[str, Sequence[str | float]]
    now: float
    # What a condition needs whichever rows are asked about: the items it names, or the labels it wants.
    # By the condition's id, with the condition, so that no other can have this id.
    memo: dict[int, tuple[Condition, AnyArray]] = field(
        default_factory=dict[int, tuple[Condition, AnyArray]], compare=False, repr=False
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """A checked expression, ready for any request."""

    text: str
    clauses: tuple[Clause, ...]
    needs: tuple[frozenset[str], ...]  # the parameters of each clause
    target: Target
    parameters: frozenset[str]
    by_request: bool  # False: the same mask for every user at any time, so that it can be kept

    def mask(self, columns: Columns, facts: Facts, rows: Rows) -> Bools:
        """Return which of ``rows`` pass.

        Raises:
            InputError: an INCLUDE needs a $parameter that was not given, or a value of another type.
        """
        included: Bools | None = None
        excluded = np.zeros(len(rows), np.bool_)
        for clause, needs in zip(self.clauses, self.needs, strict=True):
            missing = needs.difference(facts.parameters)
            if missing and not clause.include:
                continue
            if missing:
                raise InputError(
                    f"the filter needs a value for ${sorted(missing)[0]}.", fix="Give it in filterValues."
                )
            if clause.when is not None and not _holds(clause.when, facts):
                continue
            found = _Evaluation(columns=columns, facts=facts, rows=rows).rows_where(clause.where)
            if not clause.include:
                excluded |= found
            else:
                included = found if included is None else included | found
        return ~excluded if included is None else included & ~excluded


def compile_filter(text: str, columns: Columns) -> Filter:
    """Parse ``text`` and check its tables, fields and types against the columns of its target.

    Raises:
        InputError: says at which column of the expression and names the nearest field.
    """
    clauses = parse_filter(text)
    targets = {clause.target for clause in clauses}
    if len(targets) > 1:
        said = " and ".join(f"{name.capitalize()}ID" for name in sorted(targets))
        raise InputError(f"a filter is about one thing; this names {said}.", fix="Make two filters.")
    target = clauses[0].target
    fields: list[Field] = []
    for clause in clauses:
        for test in _tests(clause.where):
            fields += _check_test(test, columns, target)
        for test in _tests(clause.when) if clause.when is not None else []:
            for part in _fields(test):
                if part.table != "currentuser":
                    raise InputError(
                        f"IF looks at CurrentUser only; at column {part.column} it names "
                        f"{part.table}.{part.name}."
                    )
                fields.append(part)
    needs = tuple(frozenset(_parameters(clause)) for clause in clauses)
    parameters = frozenset[str]().union(*needs)
    personal = any(part.table in (*_DONE.values(), "currentuser") for part in fields)
    timed = any(isinstance(o, Now) for c in clauses for t in _tests(c.where) for o in t.operands)
    return Filter(
        text=text,
        clauses=clauses,
        needs=needs,
        target=target,
        parameters=parameters,
        by_request=bool(parameters) or personal or timed,
    )


def _tests(condition: Condition) -> list[Test]:
    if isinstance(condition, Test):
        return [condition]
    parts = (condition.of,) if isinstance(condition, Not) else condition.parts
    return [test for part in parts for test in _tests(part)]


def _fields(test: Test) -> list[Field]:
    term = [test.term] if isinstance(test.term, Field) else [test.term.latitude, test.term.longitude]
    return term + [operand for operand in test.operands if isinstance(operand, Field)]


def _parameters(clause: Clause) -> set[str]:
    conditions = [clause.where, *([clause.when] if clause.when is not None else [])]
    tests = [test for condition in conditions for test in _tests(condition)]
    operands = [o for t in tests for o in (*t.operands, *(t.term.to if isinstance(t.term, Distance) else ()))]
    return {operand.name for operand in operands if isinstance(operand, Parameter)}


def _check_test(test: Test, columns: Columns, target: str) -> list[Field]:
    fields = _fields(test)
    for part in fields if isinstance(test.term, Distance) else fields[:1]:
        _check_field(part, columns, target)
    for part in fields[1:]:
        if not isinstance(test.term, Distance) and part.table != "currentuser":
            raise InputError(
                f"at column {part.column}: a field is compared with a value, a $parameter or a field of "
                f"CurrentUser, not with {part.table}.{part.name}."
            )
    if isinstance(test.term, Field) and test.term.table == _OWN[target]:
        column = columns.find(test.term.name)
        if isinstance(column, Labels) and test.operator in ("<", "<=", ">", ">="):
            raise InputError(
                f"at column {test.term.column}: {test.term.name} holds text, which {test.operator} cannot "
                "order.",
                fix="Use = or IN.",
            )
        if isinstance(column, Numbers):
            for operand in test.operands:
                if isinstance(operand, Constant):
                    _as_number(operand.value, test.term.name, test.term.column)
    return fields


def _check_field(part: Field, columns: Columns, target: str) -> None:
    own = _OWN[target]
    if part.table == own:
        known = columns.names
    elif part.table == _DONE.get(target):
        known = list(_INTERACTION_FIELDS)
    else:
        tables = [name.title() for name in (own, _DONE.get(target)) if name]
        raise InputError(
            f"at column {part.column}: there is no table '{part.table}' here.",
            fix=did_you_mean(part.table.title(), tables),
        )
    if part.name.lower() not in {name.lower() for name in known}:
        shown = [name.upper() for name in known]
        raise InputError(
            f"at column {part.column}: {part.table.title()} has no field '{part.name}'.",
            fix=did_you_mean(part.name.upper(), shown),
        )


def _as_number(value: str | float | bool, name: str, column: int) -> float:
    if isinstance(value, bool):
        raise InputError(f"at column {column}: {name} holds numbers, not true or false.")
    try:
        return float(value)
    except ValueError:
        raise InputError(f"at column {column}: {name} holds numbers, not {value!r}.") from None


def _values(operands: Sequence[Operand], facts: Facts) -> list[str | float | bool]:
    """Return what the operands stand for in this request; a missing user property stands for nothing."""
    out: list[str | float | bool] = []
    for operand in operands:
        if isinstance(operand, Constant):
            out.append(operand.value)
        elif isinstance(operand, Now):
            out.append(facts.now + operand.offset)
        elif isinstance(operand, Parameter):
            out.extend(facts.parameters[operand.name])
        else:
            value = _user_value(facts, operand.name)
            if isinstance(value, int | float) and not isinstance(value, bool):
                out.append(value)
            else:
                out.extend(labels_of(value))
    return out


def _user_value(facts: Facts, name: str) -> Value:
    if name in facts.user:
        return facts.user[name]
    return next((v for key, v in facts.user.items() if key.lower() == name.lower()), None)


def _label(value: str | float | bool) -> str:
    return labels_of(value)[0] if not isinstance(value, str) else value


def _holds(condition: Condition, facts: Facts) -> bool:
    """Decide a condition on CurrentUser."""
    if isinstance(condition, Not):
        return not _holds(condition.of, facts)
    if isinstance(condition, Both):
        return all(_holds(part, facts) for part in condition.parts)
    if isinstance(condition, Either):
        return any(_holds(part, facts) for part in condition.parts)
    if isinstance(condition.term, Distance):
        raise InputError("IF cannot measure a distance.", fix="Use it after WHERE.")
    own = _user_value(facts, condition.term.name)
    if own is None:
        return condition.operator == "not in"
    wanted = _values(condition.operands, facts)
    if condition.operator in ("in", "=", "!=", "not in"):
        if isinstance(own, int | float) and not isinstance(own, bool):
            equal = any(_as_number(v, condition.term.name, condition.term.column) == own for v in wanted)
        else:
            equal = bool(set(labels_of(own)) & {_label(v) for v in wanted})
        return equal != (condition.operator in ("!=", "not in"))
    left = _as_number(
        own if isinstance(own, int | float) else str(own), condition.term.name, condition.term.column
    )
    return bool(_any_number(condition, wanted, np.array([left]))[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Evaluation:
    """One clause over some rows for one request."""

    columns: Columns
    facts: Facts
    rows: Rows

    def rows_where(self, condition: Condition) -> Bools:
        if _about_interactions(condition):
            known = self.facts.memo.get(id(condition))
            if known is None:
                known = condition, self.facts.history.item[self._events_where(condition)]
                self.facts.memo[id(condition)] = known
            return np.isin(self.rows, known[1])
        if isinstance(condition, Not):
            return ~self.rows_where(condition.of)
        if isinstance(condition, Test):
            return self._test(condition)
        parts = self._regrouped(condition)
        result = self.rows_where(parts[0])
        for part in parts[1:]:
            found = self.rows_where(part)
            result = result & found if isinstance(condition, Both) else result | found
        return result

    def _regrouped(self, condition: Both | Either) -> list[Condition]:
        """Put the interaction conditions of one AND (or OR) together, to be decided on one interaction."""
        about = [part for part in condition.parts if _about_interactions(part)]
        rest = [part for part in condition.parts if not _about_interactions(part)]
        return [type(condition)(parts=tuple(about)), *rest] if about else rest

    def _test(self, test: Test) -> Bools:
        if isinstance(test.term, Distance):
            return _any_number(test, _values(test.operands, self.facts), self._kilometres(test.term))
        column = self.columns.find(test.term.name)
        if isinstance(column, Numbers):
            return _any_number(test, _values(test.operands, self.facts), column.values[self.rows])
        if column is None:
            return np.full(len(self.rows), test.operator == "not in")
        known = self.facts.memo.get(id(test))
        if known is None:
            known = test, column.marks(map(_label, _values(test.operands, self.facts)))
            self.facts.memo[id(test)] = known
        found = column.carry(known[1], self.rows)
        if test.operator == "!=":
            return ~found & column.said(self.rows)
        return ~found if test.operator == "not in" else found

    def _events_where(self, condition: Condition) -> Bools:
        history = self.facts.history
        if isinstance(condition, Both | Either):
            masks = [self._events_where(part) for part in condition.parts]
            join = np.logical_and if isinstance(condition, Both) else np.logical_or
            return functools.reduce(join, masks)
        if not isinstance(condition, Test) or isinstance(condition.term, Distance):
            raise InputError("interactions have no places.", fix="Measure the distance to Items.")
        values = _values(condition.operands, self.facts)
        name = condition.term.name.upper()
        if name != "EVENT_TYPE":
            numbers = history.timestamp if name == "TIMESTAMP" else history.value.astype(np.float64)
            return _any_number(condition, values, numbers)
        if condition.operator in _COMPARE and condition.operator != "=":
            raise InputError(
                f"at column {condition.term.column}: EVENT_TYPE holds text, which {condition.operator} "
                "cannot order.",
                fix="Use = or IN.",
            )
        wanted = {_label(value) for value in values}
        if condition.term.table == _DONE["action"]:  # Amazon writes them in two ways
            wanted |= {outcome_of(name) or name for name in wanted}
        hit = np.array([("*" in wanted or kind in wanted) for kind in history.event_types] or [False])
        found = hit[history.event_type]
        return ~found if condition.operator in ("!=", "not in") else found

    def _kilometres(self, term: Distance) -> F64:
        """Haversine: d = 2 R asin sqrt(sin²(Δφ/2) + cos φ₁ cos φ₂ sin²(Δλ/2))."""
        place = _values(term.to, self.facts)
        if len(place) != 2:
            raise InputError(f"at column {term.column}: a distance is to one latitude and one longitude.")
        degrees = [_as_number(value, "a coordinate", term.column) for value in place]
        if not np.isfinite(degrees).all():
            raise InputError(f"at column {term.column}: a coordinate is a finite number of degrees.")
        lat2, lon2 = np.radians(degrees)
        lat1, lon1 = (np.radians(self._numbers(part)) for part in (term.latitude, term.longitude))
        h = np.sin((lat1 - lat2) / 2) ** 2 + np.cos(lat1) * np.cos(lat2) * np.sin((lon1 - lon2) / 2) ** 2
        return 2 * _EARTH_KM * np.arcsin(np.sqrt(np.clip(h, 0.0, 1.0)))

    def _numbers(self, part: Field) -> F64:
        column = self.columns.find(part.name)
        if not isinstance(column, Numbers):
            raise InputError(f"at column {part.column}: {part.name} does not hold numbers.")
        return column.values[self.rows]


def _about_interactions(condition: Condition) -> bool:
    """Return whether a condition is decided on one interaction: tests of them joined by AND and OR."""
    if isinstance(condition, Test):
        return condition.term.table in _DONE.values()
    if isinstance(condition, Not):
        return False  # "no such interaction" is about the item
    return all(_about_interactions(part) for part in condition.parts)


def _any_number(test: Test, values: Sequence[str | float | bool], numbers: F64) -> Bools:
    name = test.term.name if isinstance(test.term, Field) else "a distance"
    wanted = [_as_number(value, name, test.term.column) for value in values]
    if test.operator == "in":
        return np.isin(numbers, wanted)
    if test.operator == "not in":
        return ~np.isin(numbers, wanted)
    if test.operator == "!=":
        return ~np.isin(numbers, wanted) & ~np.isnan(numbers)
    result = np.zeros(len(numbers), np.bool_)
    for value in wanted:
        result |= _COMPARE[test.operator](numbers, value)
    return result
