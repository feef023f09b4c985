"""Says where a value does not fit a msgspec type, what was wrong, and which names would have been right."""

import re
from dataclasses import dataclass
from typing import Any, cast

import msgspec
from msgspec import inspect

from penchant.kernel.names import did_you_mean

_AT = re.compile(r"(?P<what>.*?)(?: - at `(?:key in )?\$(?P<at>.*)`)?", re.DOTALL)
_STEP = re.compile(r"\.([A-Za-z0-9_-]+)|\[(\d+|\.\.\.)\]")
_UNKNOWN = re.compile(r"unknown field `([^`]*)`")
_MISSING = re.compile(r"missing required field `([^`]*)`")
_VALUE = re.compile(r"Invalid (?:enum )?value '(.*)'", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Misfit:
    """What a value has wrong.

    ``place`` is the path below the value, such as ``.blocks[0].take``; ``[...]`` is some key of a table of
    free names. ``unknown`` and ``missing`` name a key of what stands there. ``what`` has neither capital nor
    full stop; ``fix`` may be empty.
    """

    place: str
    given: object
    what: str
    fix: str = ""
    unknown: str | None = None
    missing: str | None = None


def misfit(error: msgspec.ValidationError, raw: object, type_: Any, *, also: tuple[str, ...] = ()) -> Misfit:
    """Return what ``error``, from ``msgspec.convert(raw, type_)``, says.

    ``also`` are more keys at the top. Where ``raw`` is not known (None) names are suggested all the same.
    """
    found = _AT.fullmatch(str(error))
    what, place = (found["what"], found["at"] or "") if found else (str(error), "")
    given, info = _follow(raw, inspect.type_info(type_), place)
    what = f"{what[:1].lower()}{what[1:]}".rstrip(".")
    fix = ""
    unknown, missing, value = _UNKNOWN.search(what), _MISSING.search(what), _VALUE.fullmatch(f"I{what[1:]}")
    if unknown:
        what = f"unknown field '{unknown[1]}'"
        fix = did_you_mean(unknown[1], (*_keys(info), *(() if place else also)))
    elif missing:
        what = f"the field '{missing[1]}' is missing"
        fix = _needed(info, missing[1])
    elif value:
        names = _values(info)
        what, fix = "there is no such choice", did_you_mean(value[1], names) if names else ""
    return Misfit(
        place=place,
        given=given,
        what=what,
        fix=fix,
        unknown=unknown[1] if unknown else None,
        missing=missing[1] if missing else None,
    )


def _follow(raw: object, info: inspect.Type, at: str) -> tuple[object, inspect.Type]:
    """Follow msgspec's path (``.port``, ``[0]``, ``[...]``) to the value and its type."""
    for name, index in _STEP.findall(at):
        info = _variant(info, raw)
        if name:
            raw = cast("dict[str, object]", raw).get(name) if isinstance(raw, dict) else raw
            info = _field(info, name)
        elif index.isdigit():
            raw = cast("list[object]", raw)[int(index)] if isinstance(raw, list) else raw
            info = info.item_type if isinstance(info, inspect.ListType) else inspect.AnyType()
        else:
            info = info.value_type if isinstance(info, inspect.DictType) else inspect.AnyType()
    return raw, _variant(info, raw)


def _field(info: inspect.Type, name: str) -> inspect.Type:
    """Return the type of a field; of the tag of a union the tags that there are."""
    if isinstance(info, inspect.UnionType):
        tags = [str(one.tag) for one in _structs(info) if one.tag_field == name]
        return inspect.LiteralType(values=tuple(tags)) if tags else inspect.AnyType()
    fields = info.fields if isinstance(info, inspect.StructType) else ()
    return next((f.type for f in fields if f.encode_name == name), inspect.AnyType())


def _variant(info: inspect.Type, raw: object) -> inspect.Type:
    """Return the struct of a tagged union that ``raw`` chose by its tag."""
    if isinstance(info, inspect.UnionType) and isinstance(raw, dict):
        table = cast("dict[str, object]", raw)
        for one in _structs(info):
            if one.tag_field and table.get(one.tag_field) == one.tag:
                return one
    return info


def _structs(info: inspect.UnionType) -> list[inspect.StructType]:
    return [one for one in info.types if isinstance(one, inspect.StructType)]


def _keys(info: inspect.Type) -> tuple[str, ...]:
    return tuple(f.encode_name for f in info.fields) if isinstance(info, inspect.StructType) else ()


def _values(info: inspect.Type) -> list[str]:
    return [str(value) for value in info.values] if isinstance(info, inspect.LiteralType) else []


def _needed(info: inspect.Type, name: str) -> str:
    """Say which keys an object must have; of one that its tag chooses, the tags."""
    if isinstance(info, inspect.UnionType):
        return f"It is one of {', '.join(_values(_field(info, name)))}."
    fields = info.fields if isinstance(info, inspect.StructType) else ()
    return f"Needed: {', '.join(f.encode_name for f in fields if f.required)}."
