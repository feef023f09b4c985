"""The filter language: Amazon Personalize's expressions, plus time, NOT, parentheses and distance.

::

    EXCLUDE ItemID WHERE Interactions.EVENT_TYPE IN ("purchase") AND Interactions.TIMESTAMP > now-30d
    INCLUDE ItemID WHERE Items.CATEGORY IN ($categories) AND NOT Items.PRICE > 100 IF CurrentUser.AGE >= 18
    INCLUDE ItemID WHERE DISTANCE(Items.LATITUDE, Items.LONGITUDE, $lat, $lon) < 10 | EXCLUDE ItemID WHERE ...
    INCLUDE ActionID WHERE Actions.VALUE > 3 | EXCLUDE ActionID WHERE Action_Interactions.EVENT_TYPE = "TAKEN"

Keywords, tables and fields are read without regard to case. AND binds tighter than OR. A distance is in
kilometres. ``now-30d`` takes s, m, h, d or w.
"""

import re
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast

from lark import Lark, Token, Transformer, v_args
from lark.exceptions import UnexpectedCharacters, UnexpectedEOF, UnexpectedInput, UnexpectedToken, VisitError

from penchant.kernel.errors import InputError
from penchant.kernel.names import did_you_mean

MAX_CHARACTERS = 2_500
MAX_DEPTH = 40

GRAMMAR = r"""
start: rule ("|" rule)*
rule: VERB TARGET "WHERE"i condition ("IF"i condition)?
?condition: conjunction ("OR"i conjunction)*
?conjunction: unary ("AND"i unary)*
?unary: "NOT"i unary -> negation
      | "(" condition ")" -> group
      | test
test: term OPERATOR operand -> compare
    | term OPERATOR "(" operand ")" -> compare
    | term "IN"i "(" operand ("," operand)* ")" -> inside
    | term "NOT"i "IN"i "(" operand ("," operand)* ")" -> outside
?term: field | "DISTANCE"i "(" field "," field "," operand "," operand ")" -> distance
field: NAME "." NAME
?operand: STRING -> string
        | SIGNED_NUMBER -> number
        | PARAMETER -> parameter
        | BOOLEAN -> boolean
        | NOW -> moment
        | field
VERB.3: /(INCLUDE|EXCLUDE)\b/i
TARGET.3: /(ItemID|UserID|ActionID)\b/i
BOOLEAN.3: /(true|false)\b/i
NOW.3: /now(\s*[-+]\s*\d+(\.\d+)?\s*[smhdw])?\b/i
OPERATOR: "<=" | ">=" | "!=" | "<" | ">" | "="
PARAMETER: /\$[A-Za-z_]\w*/
NAME: /[A-Za-z_]\w*/
STRING: /"(\\.|[^"\\])*"/
%import common.SIGNED_NUMBER
%ignore /\s+/
"""

_TABLES = ("Items", "Interactions", "Users", "CurrentUser", "Actions", "Action_Interactions")
_OTHER_NAMES = {"action": "actions"}  # Amazon's own examples say both
_UNIT = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """``Table.NAME`` at a 1-based column of the expression; the table is in lower case."""

    table: str
    name: str
    column: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Distance:
    """Great-circle kilometres from (latitude, longitude) fields to a point."""

    latitude: Field
    longitude: Field
    to: "tuple[Operand, Operand]"

    @property
    def table(self) -> str:
        """Return the table of its fields."""
        return self.latitude.table

    @property
    def column(self) -> int:
        """Return where it stands."""
        return self.latitude.column


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """A value written in the expression."""

    value: str | float | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """``$name``: one or more values given with the request."""

    name: str
    column: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Now:
    """The time of the request plus an offset in seconds."""

    offset: float


Operand: TypeAlias = Constant | Parameter | Now | Field
Target: TypeAlias = Literal["item", "user", "action"]
"""What an expression is about."""
Operator: TypeAlias = Literal["<", "<=", ">", ">=", "=", "!=", "in", "not in"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Test:
    """``term operator operands``; "in" and "not in" have any number of operands, the others one."""

    term: Field | Distance
    operator: Operator
    operands: tuple[Operand, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Not:
    """Negation."""

    of: "Condition"


@dataclass(frozen=True, slots=True, kw_only=True)
class Both:
    """All of several conditions."""

    parts: "tuple[Condition, ...]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Either:
    """At least one of several conditions."""

    parts: "tuple[Condition, ...]"


Condition: TypeAlias = Test | Not | Both | Either


@dataclass(frozen=True, slots=True, kw_only=True)
class Clause:
    """One INCLUDE or EXCLUDE; it applies only to users for whom ``when`` holds."""

    include: bool
    target: Target
    where: Condition
    when: Condition | None


@v_args(inline=True)
class _Build(Transformer[Token, Any]):
    """Turns lark's tree into the types above."""

    def start(self, *clauses: Clause) -> tuple[Clause, ...]:
        return clauses

    def rule(self, verb: Token, target: Token, where: Condition, when: Condition | None = None) -> Clause:
        return Clause(
            include=verb.lower() == "include",
            target=cast("Target", target.lower().removesuffix("id")),
            where=where,
            when=when,
        )

    def condition(self, *parts: Condition) -> Condition:
        return Either(parts=parts)

    def conjunction(self, *parts: Condition) -> Condition:
        return Both(parts=parts)

    def negation(self, part: Condition) -> Condition:
        return Not(of=part)

    def group(self, part: Condition) -> Condition:
        return part

    def compare(self, term: Field | Distance, operator: Token, operand: Operand) -> Condition:
        return Test(term=term, operator=cast("Operator", str(operator)), operands=(operand,))

    def inside(self, term: Field | Distance, *operands: Operand) -> Condition:
        return Test(term=term, operator="in", operands=operands)

    def outside(self, term: Field | Distance, *operands: Operand) -> Condition:
        return Test(term=term, operator="not in", operands=operands)

    def distance(self, latitude: Field, longitude: Field, a: Operand, b: Operand) -> Distance:
        return Distance(latitude=latitude, longitude=longitude, to=(a, b))

    def field(self, table: Token, name: Token) -> Field:
        of = _OTHER_NAMES.get(table.lower(), table.lower())
        if of not in [known.lower() for known in _TABLES]:
            raise InputError(
                f"at column {table.column}: there is no table '{table}'.", fix=did_you_mean(table, _TABLES)
            )
        return Field(table=of, name=str(name), column=table.column or 1)

    def string(self, token: Token) -> Constant:
        return Constant(value=_unquoted(token))

    def number(self, token: Token) -> Constant:
        return Constant(value=float(token))

    def boolean(self, token: Token) -> Constant:
        return Constant(value=token.lower() == "true")

    def parameter(self, token: Token) -> Parameter:
        return Parameter(name=token[1:], column=token.column or 1)

    def moment(self, token: Token) -> Now:
        text = "".join(token.lower().split())[3:]
        return Now(offset=float(text[:-1]) * _UNIT[text[-1]] if text else 0.0)


_PARSER = Lark(GRAMMAR, parser="lalr", maybe_placeholders=False)


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL)


def parse_filter(text: str) -> tuple[Clause, ...]:
    """Parse an expression.

    Raises:
        InputError: it is empty, too long, too deeply nested, not of the language, or names a table that there
            is not; says at which column.
    """
    if len(text) > MAX_CHARACTERS:
        raise InputError(f"a filter has at most {MAX_CHARACTERS} characters, this one {len(text)}.")
    if _depth(text) > MAX_DEPTH:
        raise InputError(f"a filter nests at most {MAX_DEPTH} parentheses or NOTs deep.")
    try:
        return cast("tuple[Clause, ...]", _Build().transform(_PARSER.parse(text)))
    except UnexpectedInput as error:
        raise InputError(_complaint(error, text)) from None
    except VisitError as error:
        if isinstance(error.orig_exc, InputError):
            raise error.orig_exc from None
        raise InputError(f"the filter has a value out of range: {error.orig_exc}.") from None


def _depth(text: str) -> int:
    """Return an upper bound of the nesting: open parentheses at once plus all NOTs."""
    deepest = depth = 0
    for character in text:
        depth += (character == "(") - (character == ")")
        deepest = max(deepest, depth)
    return deepest + text.upper().count("NOT") - text.upper().count("NOT IN")


_FRIENDLY = {
    "VERB": "INCLUDE or EXCLUDE",
    "TARGET": "ItemID, UserID or ActionID",
    "NAME": "a name",
    "STRING": 'a "text"',
    "SIGNED_NUMBER": "a number",
    "PARAMETER": "a $parameter",
    "OPERATOR": "a comparison",
    "BOOLEAN": "true or false",
    "NOW": "now",
    "LPAR": "(",
    "RPAR": ")",
    "VBAR": "|",
    "DOT": ".",
    "COMMA": ",",
    "$END": "the end",
}


def _complaint(error: UnexpectedInput, text: str) -> str:
    if isinstance(error, UnexpectedCharacters):
        found, column, expected = repr(text[error.pos_in_stream or 0]), error.column, set(error.allowed or ())
    elif isinstance(error, UnexpectedToken) and error.token.type != "$END":
        found, column, expected = repr(str(error.token)), error.column, set(error.accepts or error.expected)
    else:
        expected = set(error.expected) if isinstance(error, UnexpectedEOF | UnexpectedToken) else set()
        found, column = "the end", len(text) + 1
    wanted = ", ".join(sorted(_FRIENDLY.get(name, name) for name in expected))
    return f"the filter is not understood at column {column}: found {found}, expected one of: {wanted}."


def parse_values(text: str) -> list[str | float]:
    """Parse the value of a parameter as Amazon's clients send it: ``"a","b"`` or ``5`` or plain text."""
    stripped = text.strip()
    if not stripped.startswith('"'):
        try:
            return [float(stripped)]
        except ValueError:
            return [stripped]
    values: list[str | float] = []
    rest = stripped
    while rest:
        end = 1
        while end < len(rest) and rest[end] != '"':
            end += 2 if rest[end] == "\\" else 1
        if end >= len(rest):
            raise InputError(f"a filter value has an open quote: {text!r}.", fix='Write "a","b".')
        values.append(_unquoted(rest[: end + 1]))
        rest = rest[end + 1 :].strip()
        if rest and not rest.startswith(","):
            raise InputError(f"filter values are joined by commas: {text!r}.", fix='Write "a","b".')
        rest = rest[1:].strip()
    return values
