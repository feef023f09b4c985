"""Charts as data: axes with names and units, marks, and one sentence that says what to see.

A `Chart` is drawn in the browser by Observable Plot (vendored). The mark kinds are Plot's own names and the
options its own options, restricted to what JSON can say, so that Plot's documentation is the documentation of
`Mark.options`. Colours that follow the light or dark theme are ``var(--c1)`` to ``var(--c6)``, ``var(--ink)``
and ``var(--faint)``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

Record: TypeAlias = Mapping[str, str | float | int | bool | None]
"""One row of a mark's data; the values of options such as ``x`` name its keys."""

Kind: TypeAlias = Literal[
    "areaY", "barX", "barY", "cell", "dot", "line", "lineY", "link", "rectX", "rectY", "ruleX", "ruleY",
    "text", "tickX", "tickY",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One axis: what it shows and in which unit; ``options`` are Plot's scale options (type, domain, ...).

    ``unit`` is empty only where the quantity has none: a share, a name, a rank.
    """

    label: str
    unit: str = ""
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def title(self) -> str:
        """Return label and unit as one text."""
        return f"{self.label} ({self.unit})" if self.unit else self.label


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One layer: a kind of mark, its records, and which of their keys stand for x, y, fill ..."""

    kind: Kind
    data: Sequence[Record]
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """One picture. ``see`` is the sentence under the title that says what there is to see, with the numbers.

    ``colors`` are the groups a legend names, in the order of the theme's colours. ``height`` is in pixels;
    None fits it to the rows of a chart with names on its y axis.
    """

    title: str
    see: str
    x: Axis
    y: Axis
    marks: Sequence[Mark]
    colors: Sequence[str] = ()
    height: int | None = None

    def spec(self) -> dict[str, Any]:
        """Return what the page's script draws from: plain JSON values."""
        return {
            "title": self.title,
            "height": self.height,
            "colors": list(self.colors),
            "x": {"label": self.x.title, **self.x.options},
            "y": {"label": self.y.title, **self.y.options},
            "marks": [
                {"kind": mark.kind, "data": [dict(r) for r in mark.data], "options": dict(mark.options)}
                for mark in self.marks
            ],
        }

    def records(self) -> list[Record]:
        """Return the records of the first kind of mark that has any: the table under the picture."""
        kind = next((mark.kind for mark in self.marks if mark.data), None)
        return [record for mark in self.marks if mark.kind == kind for record in mark.data]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A named number with its interval."""

    name: str
    value: float
    low: float
    high: float
    group: str = ""


def intervals(*, title: str, see: str, x: Axis, y: Axis, rows: Sequence[Estimate]) -> Chart:
    """Return a chart of one dot and its interval a row, in the order given.

    Groups get their own colour, and of one name their own line, so that none hides another. 0 is marked where
    it lies among the intervals.
    """
    groups = list(dict.fromkeys(row.group for row in rows))
    names = list(dict.fromkeys(row.name for row in rows))
    color = "group" if any(groups) else "var(--c1)"
    span = {"x1": "low", "x2": "high", "y1": "name", "y2": "name", "stroke": color, "strokeWidth": 2}
    dot = {"x": "value", "y": "name", "fill": color, "r": 4.5, "tip": True}
    shared = len(names) < len(rows)  # rows of one name
    marks: list[Mark] = []
    for i, group in enumerate(groups):
        data: list[Record] = [
            {"name": row.name, "value": row.value, "low": row.low, "high": row.high}
            | ({"group": group} if any(groups) else {})
            for row in rows
            if row.group == group
        ]
        line = {"dy": (i - (len(groups) - 1) / 2) * min(9.0, 22 / len(groups)) if shared else 0.0}
        marks += [
            Mark(kind="link", data=data, options=span | line),
            Mark(kind="dot", data=data, options=dot | line),
        ]
    if any(row.low < 0 for row in rows) and any(row.high > 0 for row in rows):
        marks.append(Mark(kind="ruleX", data=[{"zero": 0}], options={"x": "zero", "stroke": "var(--faint)"}))
    return Chart(
        title=title,
        see=see,
        x=x,
        y=Axis(label=y.label, unit=y.unit, options={"domain": names, **y.options}),
        marks=marks,
        colors=[group for group in groups if group],
    )


def bars(*, title: str, see: str, x: Axis, y: Axis, rows: Sequence[tuple[str, float]]) -> Chart:
    """Return a chart of one horizontal bar a name, in the order given."""
    data: list[Record] = [{"name": name, "value": value} for name, value in rows]
    bar = {"x": "value", "y": "name", "fill": "var(--c1)", "tip": True}
    zero = {"x": "zero", "stroke": "var(--faint)"}
    return Chart(
        title=title,
        see=see,
        x=x,
        y=Axis(label=y.label, unit=y.unit, options={"domain": [name for name, _ in rows], **y.options}),
        marks=[
            Mark(kind="barX", data=data, options=bar),
            Mark(kind="ruleX", data=[{"zero": 0}], options=zero),
        ],
    )


def lines(
    *, title: str, see: str, x: Axis, y: Axis, series: Mapping[str, Sequence[tuple[float | str, float]]]
) -> Chart:
    """Return a chart of one line of (x, y) points a name; with ``type="utc"`` in the options of ``x`` its
    values are dates such as ``2024-01-31``.
    """
    data: list[Record] = [
        {"x": at, "y": value, "series": name} for name, points in series.items() for at, value in points
    ]
    options = {"x": "x", "y": "y", "z": "series", "stroke": "series", "strokeWidth": 2, "tip": True}
    return Chart(
        title=title,
        see=see,
        x=x,
        y=y,
        marks=[Mark(kind="lineY", data=data, options=options)],
        colors=list(series),
        height=300,
    )


def histograms(
    *, title: str, see: str, x: Axis, edges: Sequence[float], shares: Mapping[str, Sequence[float]]
) -> Chart:
    """Return distributions over common bins as outlines, one a name.

    ``edges`` are n + 1 bin bounds, ``shares`` n shares in [0, 1] each. Outlines stay readable where filled
    bars would hide one another.
    """
    bins: list[Record] = []
    outline: list[Record] = []
    for name, values in shares.items():
        for low, high, share in zip(edges[:-1], edges[1:], values, strict=True):
            bins.append({"from": low, "to": high, "zero": 0, "share": share, "group": name})
            outline += [{"x": at, "share": share, "group": name} for at in (low, high)]
    filled = {"x1": "from", "x2": "to", "y1": "zero", "y2": "share", "fill": "group", "fillOpacity": 0.12}
    line = {"x": "x", "y": "share", "z": "group", "stroke": "group", "strokeWidth": 2}
    return Chart(
        title=title,
        see=see,
        x=x,
        y=Axis(label="Share of the group", unit="%", options={"percent": True, "zero": True}),
        marks=[Mark(kind="rectY", data=bins, options=filled), Mark(kind="line", data=outline, options=line)],
        colors=list(shares),
        height=240,
    )
