"""Write docs/reference/ from the code: the command line, the settings, the HTTP service.

`make docs` writes the pages; a test fails when they are older than the code.
"""

import re
import tempfile
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Union, get_args, get_origin

import msgspec
import typer

from penchant.cli.main import build
from penchant.http.app import create_app
from penchant.workspace.catalogue import RECIPES
from penchant.workspace.service import Workspace
from penchant.workspace.template import TEMPLATE

REFERENCE = Path(__file__).parent / "reference"
_MADE = "<!-- Made from the code by `make docs`. Do not edit. -->"


def pages() -> dict[str, str]:
    """Return the text of each page by its file name."""
    return {"cli.md": cli_page(), "config.md": config_page(), "http.md": http_page()}


def cli_page() -> str:
    """Return the page about the command line."""
    group: Any = typer.main.get_command(build())
    lines = [
        "# Command line",
        _MADE,
        "Answers go to stdout, progress and remarks to stderr. Exit codes: 0 done, 1 failed, 2 bad input, "
        "130 stopped by Ctrl-C.",
        "## penchant",
        group.help,
        *_options(group),
    ]
    for name, command in group.commands.items():
        usage = " ".join(["penchant", name, *command.collect_usage_pieces(_context(command))])
        lines += [f"## penchant {name}", f"`{usage}`", command.help, *_options(command)]
    return _joined(lines)


def _options(command: Any) -> list[str]:
    context = _context(command)
    rows = [record for p in command.get_params(context) if (record := p.get_help_record(context))]
    return [_table(["option", "meaning"], [[f"`{_plain(name)}`", text] for name, text in rows])]


def _context(command: Any) -> Any:
    return typer.Context(command)


def _plain(name: str) -> str:
    return " ".join(name.split())


def config_page() -> str:
    """Return the page about penchant.toml."""
    lines = [
        "# Settings: penchant.toml",
        _MADE,
        "`penchant init DIR` writes this file. It is the documentation of every key; unknown keys are "
        "refused with their path and the nearest name.",
        f"```toml\n{TEMPLATE.strip()}\n```",
        "## Recipes",
        'A table `[recipes.NAME]` with `recipe = "..."` and any of the keys below.',
    ]
    for name, recipe in sorted(RECIPES.items()):
        rows = [[f"`{f.name}`", _type(f.type), f"`{_default(f)}`"] for f in msgspec.structs.fields(recipe)]
        doc = " ".join((recipe.__doc__ or "").replace("``", "`").split())
        lines += [f"### {name}", doc, _table(["key", "type", "default"], rows)]
    return _joined(lines)


def _type(annotation: Any) -> str:
    if hasattr(annotation, "__metadata__"):
        return _type(get_args(annotation)[0])
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        return " or ".join(_type(part) for part in get_args(annotation) if part is not type(None))
    if origin is not None and str(origin).endswith("Literal"):
        return " or ".join(f"`{value!r}`" for value in get_args(annotation))
    if origin in (tuple, list):
        return f"list of {_type(get_args(annotation)[0])}"
    if origin is dict:
        key, value = get_args(annotation)
        return f"table of {_type(key)} to {_type(value)}"
    return {"str": "text", "int": "whole number", "float": "number", "bool": "true or false"}.get(
        name := getattr(annotation, "__name__", str(annotation)), f"`{name}`"
    )


def _default(field: msgspec.structs.FieldInfo) -> str:
    value = field.default
    if value is msgspec.NODEFAULT:
        value = field.default_factory() if field.default_factory is not msgspec.NODEFAULT else "needed"
    return "none" if value is None else msgspec.json.encode(value).decode()


def http_page() -> str:
    """Return the page about the HTTP service, from its OpenAPI document."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace.init(Path(folder))
        try:
            document = create_app(workspace).openapi_schema.to_schema()
        finally:
            workspace.close()
    lines = ["# HTTP service", _MADE, document["info"]["description"]]
    lines.append("The machine-readable description is served at `/openapi.json`.")
    for path, operations in sorted(document["paths"].items()):
        for method, operation in operations.items():
            lines += _operation(method, path, operation)
    lines.append("## Types")
    for name, schema in sorted(document["components"].get("schemas", {}).items()):
        lines += _schema(name, schema)
    return _joined(lines)


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f"## {method.upper()} {path}"
    yield operation.get("description") or operation.get("summary") or ""
    rows = [
        [f"`{p['name']}`", p["in"], _json_type(p["schema"]), _meaning(p)]
        for p in operation.get("parameters", [])
    ]
    if rows:
        yield _table(["parameter", "in", "type", "meaning"], rows)
    for media in operation.get("requestBody", {}).get("content", {}).values():
        yield f"Body: {_json_type(media['schema'])}."
    by_kind: dict[str, list[str]] = {}
    for status, answer in sorted(operation["responses"].items()):
        kinds = [
            _json_type(media["schema"]) for media in answer.get("content", {}).values() if "schema" in media
        ]
        by_kind.setdefault(", ".join(kinds), []).append(status)
    for kind, statuses in by_kind.items():
        yield f"Answers {', '.join(statuses)}{': ' + kind if kind else ''}."


def _meaning(parameter: Mapping[str, Any]) -> str:
    default = parameter["schema"].get("default")
    said = "" if default in (None, False) else f" [default: {default}]"
    return f"{parameter.get('description') or ''}{said}"


def _schema(name: str, schema: Mapping[str, Any]) -> Iterator[str]:
    yield f"### {name}"
    if schema.get("description"):
        yield " ".join(schema["description"].replace("``", "`").split())
    needed = set(schema.get("required", []))
    rows = [
        [f"`{key}`", _json_type(value), "yes" if key in needed else "", value.get("description") or ""]
        for key, value in schema.get("properties", {}).items()
    ]
    if rows:
        yield _table(["field", "type", "needed", "meaning"], rows)
    elif "oneOf" in schema or "anyOf" in schema:
        yield _json_type(schema)


def _json_type(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[-1]
        return f"[{name}](#{name.lower()})"
    for key in ("oneOf", "anyOf", "allOf"):
        if key in schema:
            return " or ".join(dict.fromkeys(_json_type(part) for part in schema[key]))
    if "const" in schema or "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    kind = schema.get("type", "any")
    if kind == "array":
        return f"list of {_json_type(schema.get('items', {}))}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), Mapping):
        return f"object of {_json_type(schema['additionalProperties'])}"
    return " or ".join(kind) if isinstance(kind, list) else str(kind)


def _table(heads: list[str], rows: list[list[str]]) -> str:
    def line(cells: list[str]) -> str:
        return "| " + " | ".join(_cell(cell) for cell in cells) + " |"

    return "\n".join([line(heads), line(["---"] * len(heads)), *map(line, rows)])


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|").strip()


def _joined(parts: list[str]) -> str:
    return "\n\n".join(part.strip() for part in parts if part and part.strip()) + "\n"


def main() -> None:
    """Write all pages."""
    REFERENCE.mkdir(exist_ok=True)
    for name, text in pages().items():
        (REFERENCE / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
