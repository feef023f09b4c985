"""TOML in and out: values checked against a type with errors that name the place, and a small writer."""

import json
import re
from collections.abc import Mapping
from typing import Any, cast

import msgspec
from msgspec import inspect

from penchant.kernel.errors import InputError
from penchant.kernel.names import did_you_mean

_AT = re.compile(r"(?P<what>.*?)(?: - at `(?:key in )?\$(?P<at>.*)`)?", re.DOTALL)
_STEP = re.compile(r"\.([A-Za-z0-9_-]+)|\[(\d+|\.\.\.)\]")
_UNKNOWN = re.compile(r"unknown field `([^`]*)`")
_BARE = re.compile(r"[A-Za-z0-9_-]+")


def checked(raw: object, type_: Any, *, where: str, path: str, also: tuple[str, ...] = ()) -> Any:
    """Return ``raw`` as the msgspec type ``type_``; ``also`` are keys its table has beside the type's.

    Raises:
        InputError: an unknown key (its path and the nearest name) or a value that is not accepted (its path,
            the value, what is accepted).
    """
    try:
        return msgspec.convert(raw, type_)
    except msgspec.ValidationError as error:
        found = _AT.fullmatch(str(error))
        what, at = (found["what"], found["at"] or "") if found else (str(error), "")
    given, info, place = _follow(raw, inspect.type_info(type_), at)
    full = f"{path}{place}"
    unknown = _UNKNOWN.search(what)
    if unknown:
        names = (*_keys(info), *(() if place else also))
        raise InputError(
            f"unknown key '{full}.{unknown[1]}'.", where=where, fix=did_you_mean(unknown[1], names)
        )
    whole = isinstance(given, dict | list) and not at.endswith("[...]")
    shown = "" if whole else f" {given!r} is not accepted:"
    raise InputError(f"{full}:{shown} {what[:1].lower()}{what[1:]}.", where=where)


def _follow(raw: object, info: inspect.Type, at: str) -> tuple[object, inspect.Type, str]:
    """Follow msgspec's path (``.port``, ``[0]``, ``[...]``) to the value, its type and its place."""
    place = ""
    for name, index in _STEP.findall(at):
        info = _variant(info, raw)
        if name:
            raw = cast("dict[str, object]", raw).get(name) if isinstance(raw, dict) else raw
            fields = info.fields if isinstance(info, inspect.StructType) else ()
            info = next((f.type for f in fields if f.encode_name == name), inspect.AnyType())
            place += f".{name}"
        elif index.isdigit() and isinstance(raw, list):
            raw = cast("list[object]", raw)[int(index)]
            info = info.item_type if isinstance(info, inspect.ListType) else inspect.AnyType()
            place += f"[{index}]"
        else:
            info = info.value_type if isinstance(info, inspect.DictType) else inspect.AnyType()
    return raw, _variant(info, raw), place


def _variant(info: inspect.Type, raw: object) -> inspect.Type:
    """Return the struct of a tagged union that ``raw`` chose by its tag."""
    if isinstance(info, inspect.UnionType) and isinstance(raw, dict):
        table = cast("dict[str, object]", raw)
        for one in info.types:
            if isinstance(one, inspect.StructType) and one.tag_field and table.get(one.tag_field) == one.tag:
                return one
    return info


def _keys(info: inspect.Type) -> tuple[str, ...]:
    return tuple(f.encode_name for f in info.fields) if isinstance(info, inspect.StructType) else ()


def to_toml(tables: Mapping[str, Any]) -> str:
    """Return nested tables of plain values as TOML; None is left out, as a missing key means it."""
    lines: list[str] = []
    _write(lines, (), tables)
    return "\n".join(lines).strip() + "\n"


def _write(lines: list[str], path: tuple[str, ...], table: Mapping[str, Any]) -> None:
    plain = {k: v for k, v in table.items() if v is not None and not isinstance(v, dict)}
    if path and (plain or not table):
        lines += ["", f"[{'.'.join(map(_key, path))}]"]
    lines += [f"{_key(k)} = {_value(v)}" for k, v in plain.items()]
    for key, value in table.items():
        if isinstance(value, dict):
            _write(lines, (*path, key), cast("dict[str, Any]", value))


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _text(key)


def _text(text: str) -> str:
    # JSON's escapes are TOML's, but for DEL, which TOML wants escaped.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return _text(value)
        case list() | tuple():
            return f"[{', '.join(map(_value, cast('list[Any]', value)))}]"
        case dict():
            pairs = cast("dict[str, Any]", value).items()
            return f"{{{', '.join(f'{_key(k)} = {_value(v)}' for k, v in pairs if v is not None)}}}"
        case _:
            return repr(value)
