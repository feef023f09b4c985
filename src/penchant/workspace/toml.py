"""TOML in and out: values checked against a type with errors that name the place, and a small writer."""

import json
import re
from collections.abc import Mapping
from typing import Any, cast

import msgspec

from penchant.kernel.errors import InputError
from penchant.kernel.misfit import misfit

_TYPE = re.compile(r"`([a-z]+)`")
_TOML = {
    "object": "a table",
    "array": "a list",
    "str": "a text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "null": "nothing",
}
"""How TOML's people call the types of msgspec."""
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
        found = misfit(error, raw, type_, also=also)
    full = path + found.place.replace("[...]", "")
    if found.unknown is not None:
        raise InputError(f"unknown key '{full}.{found.unknown}'.", where=where, fix=found.fix)
    if found.missing is not None:
        raise InputError(f"{full}: the key '{found.missing}' is missing.", where=where, fix=found.fix)
    whole = isinstance(found.given, dict | list) and not found.place.endswith("[...]")
    shown = "" if whole else f" {found.given!r} is not accepted:"
    what = _TYPE.sub(lambda name: _TOML.get(name[1], name[0]), found.what)
    raise InputError(f"{full}:{shown} {what}.", where=where, fix=found.fix)


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
