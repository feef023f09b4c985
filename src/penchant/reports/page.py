"""The one page all reports share: sections of blocks in, one self-contained HTML file out.

How to use it::

    from penchant.reports.charts import Axis, bars
    from penchant.reports.page import Facts, Prose, Section, Table, render_page

    html = render_page(
        "Audience of 30,000",
        lead="Grown from 1,204 seeds by `auto`, held-out AUC 0.78.",
        sections=[
            Section(
                title="Who they are",
                lead="One sentence that says what this part shows.",
                blocks=[
                    Facts(rows=[("Seeds", "1,204"), ("Asked", "30,000")]),
                    bars(title="...", see="...", x=Axis(label="Weight"), y=Axis(label="Feature"), rows=[...]),
                    Table(columns=["Feature", "Weight"], rows=[["cto078", 0.31]]),
                ],
            )
        ],
        footer="Penchant 0.1.0, snapshot 3f2a.",
    )
    write_page(folder / "report.html", html)

A page makes no request to anywhere: style, scripts and data are inlined, and its Content-Security-Policy
allows exactly those scripts and styles by their SHA-256 and nothing else. All text is escaped. Charts follow
the reader's light or dark theme and the width of the window; under each stands its data as a table.
"""

import base64
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from penchant.kernel.folders import write_atomically
from penchant.reports.charts import Chart

Cell: TypeAlias = str | float | int | None
"""A value in a table: thousands separated, floats to three digits; columns of numbers set to the right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prose:
    """One paragraph of plain text."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """A few numbers worth seeing first: (name, value) pairs, shown large."""

    rows: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table; rows have one cell a column."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing to know: how bad it is, what it is, and what to do about it."""

    level: Literal["problem", "warning", "note"]
    what: str
    todo: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """Findings, worst first as given."""

    rows: Sequence[Finding]


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedItem:
    """One slot of a feed as a person sees it: a name, a line of detail, where it came from and why."""

    name: str
    detail: str
    source: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedView:
    """A feed laid out as cards, first slot first; each source has its own colour."""

    items: Sequence[FeedItem]


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """Links to other files beside this page: (text, relative address)."""

    rows: Sequence[tuple[str, str]]


Block: TypeAlias = Chart | Prose | Facts | Table | Findings | FeedView | Links


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A titled part of a page; ``columns`` sets blocks side by side where the window is wide enough."""

    title: str
    blocks: Sequence[Block]
    lead: str = ""
    columns: int = 1


def render_page(
    title: str, *, sections: Sequence[Section], lead: str = "", footer: str = "", lang: str = "en"
) -> str:
    """Return the page as HTML text; see the module's docstring for an example."""
    charts = [block for section in sections for block in section.blocks if isinstance(block, Chart)]
    scripts = _scripts() if charts else ()
    style = _asset("templates/page.css")
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            title=title,
            lead=lead,
            footer=footer,
            lang=lang,
            sections=sections,
            kinds={kind: kind.__name__ for kind in Block.__args__},
            style=Markup(style),
            scripts=[Markup(script) for script in scripts],
            policy=_policy(style, scripts),
        )
    )


def write_page(target: Path, html: str) -> None:
    """Write a page whole or not at all."""
    write_atomically(target, html.encode())


def show(value: Cell) -> str:
    """Return a table cell as text: 1234567 -> ``1,234,567``, 0.03174 -> ``0.0317``, None -> ``-``."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else value


def _scripts() -> tuple[str, ...]:
    return tuple(
        _asset(name) for name in ("vendor/d3.min.js", "vendor/plot.umd.min.js", "templates/charts.js")
    )


@cache
def _asset(name: str) -> str:
    return resources.files("penchant.reports").joinpath(name).read_text("utf-8")


def _policy(style: str, scripts: Sequence[str]) -> str:
    def digest(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    allowed = " ".join(digest(script) for script in scripts) or "'none'"
    return (
        f"default-src 'none'; script-src {allowed}; style-src {digest(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _spec(chart: Chart) -> Markup:
    """Return a chart's JSON for a data block: ``<`` is escaped so that no text can end the element."""
    return Markup(msgspec.json.encode(chart.spec()).decode().replace("<", "\\u003c"))


def _numeric_in(column: int, rows: Sequence[Sequence[Cell]]) -> bool:
    cells = [row[column] for row in rows if row[column] is not None]
    return bool(cells) and all(isinstance(cell, int | float) or _is_number(cell) for cell in cells)


def _is_number(text: str | None) -> bool:
    """Return whether it is a number, or an interval of two."""
    try:
        return text is not None and all(math.isfinite(float(part)) for part in text.split(" - "))
    except ValueError:
        return False


def _table_of(chart: Chart) -> Table:
    records = chart.records()
    columns = list(records[0]) if records else []
    return Table(columns=columns, rows=[[record.get(c) for c in columns] for record in records[:500]])


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("penchant.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Jinja types a filter by the shapes of its own: ours go in as Any.
    filters: dict[str, Any] = {"show": show, "spec": _spec, "table_of": _table_of}
    tests: dict[str, Any] = {"numeric_in": _numeric_in}
    environment.filters.update(filters)
    environment.tests.update(tests)
    return environment
