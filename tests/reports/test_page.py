"""The shared report page: self-contained, escaped, strict policy, drawn by a real browser if there is one."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penchant.reports.charts import Axis, Chart, Estimate, bars, histograms, intervals, lines
from penchant.reports.page import (
    Facts,
    FeedItem,
    FeedView,
    Finding,
    Findings,
    Links,
    Prose,
    Section,
    Table,
    render_page,
    show,
    write_page,
)

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)


class Reader(HTMLParser):
    """Collects elements with their attributes and the text inside each."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.inside: list[tuple[str, dict[str, str | None], str]] = []
        self.texts: list[str] = []
        self._open: tuple[str, dict[str, str | None]] | None = None
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._open = (tag, dict(attrs))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if self._open and self._open[0] in ("script", "style"):
            self.inside.append((*self._open, data))

    def handle_endtag(self, tag: str) -> None:
        self._open = None


def every_chart() -> list[Chart]:
    x, y = Axis(label="Value", unit="s"), Axis(label="Name")
    rows = [
        Estimate(name="a", value=2.0, low=1.0, high=3.0, group="g"),
        Estimate(name="b", value=1.0, low=0.5, high=1.5, group="h"),
    ]
    return [
        intervals(title="Intervals", see="a is above b.", x=x, y=y, rows=rows),
        bars(title="Bars", see="a is twice b.", x=x, y=y, rows=[("a", 2.0), ("b", 1.0)]),
        lines(
            title="Lines", see="It rises.", x=x, y=x, series={"s": [(0, 1), (1, 2)], "t": [(0, 2), (1, 1)]}
        ),
        histograms(title="Shares", see="All low.", x=x, edges=[0, 1, 2], shares={"s": [0.9, 0.1]}),
    ]


def every_block(text: str = "plain") -> str:
    return render_page(
        text,
        lead=text,
        footer=text,
        sections=[
            Section(title=text, lead=text, blocks=[Facts(rows=[(text, text)]), Prose(text=text)]),
            Section(
                title="Charts",
                columns=2,
                blocks=[
                    bars(title=text, see=text, x=Axis(label=text), y=Axis(label="n"), rows=[(text, 1.0)])
                ],
            ),
            Section(
                title="Rest",
                blocks=[
                    Table(columns=[text, "n"], rows=[[text, 1], [None, 2.5]], caption=text),
                    Findings(rows=[Finding(level="warning", what=text, todo=text)]),
                    FeedView(items=[FeedItem(name=text, detail=text, source=text, why=text)]),
                    Links(rows=[(text, "audience/report.html")]),
                ],
            ),
        ],
    )


def test_the_policy_admits_exactly_what_is_in_the_page() -> None:
    page = Reader(every_block())
    policy = next(str(a["content"]) for t, a in page.elements if t == "meta" and a.get("http-equiv"))
    rules = {rule.split()[0]: rule.split()[1:] for rule in policy.split("; ")}
    assert rules["default-src"] == ["'none'"]

    def digests(tag: str) -> list[str]:
        code = [text for t, a, text in page.inside if t == tag and a.get("type") != "application/json"]
        hashes = (hashlib.sha256(text.encode()).digest() for text in code)
        return [f"'sha256-{base64.b64encode(h).decode()}'" for h in hashes]

    assert digests("script") == rules["script-src"]
    assert len(rules["script-src"]) == 3
    assert digests("style") == rules["style-src"]


def test_a_page_asks_nobody_for_anything() -> None:
    page = Reader(every_block())
    for tag, attributes in page.elements:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base", "form")
        assert not any(name.startswith("on") or name in ("src", "style") for name in attributes)
    style = next(text for tag, _, text in page.inside if tag == "style")
    assert "url(" not in style
    assert "@import" not in style


def test_a_page_without_charts_has_no_scripts() -> None:
    page = render_page("Bare", sections=[Section(title="One", blocks=[Prose(text="words")])])
    assert "<script" not in page
    policy = next(a["content"] for _, a in Reader(page).elements if a.get("http-equiv"))
    assert "script-src 'none'" in str(policy)


@given(TEXT)
def test_any_text_stays_text(text: str) -> None:
    page = Reader(every_block(f"<b>{text}</script>"))
    assert not any(tag == "b" for tag, _ in page.elements)
    said = " ".join(" ".join(page.texts).split())
    assert said.count(" ".join(f"<b>{text}</script>".split())) >= 14
    spec = next(json.loads(t) for _, a, t in page.inside if a.get("type") == "application/json")
    assert spec["title"] == f"<b>{text}</script>"
    assert spec["marks"][0]["data"][0]["name"] == f"<b>{text}</script>"


def test_cells_read_well() -> None:
    cells = [1234567, 0.03174, 12345.6, None, "as it is", 0]
    assert [show(cell) for cell in cells] == ["1,234,567", "0.0317", "12,346", "-", "as it is", "0"]


@pytest.mark.parametrize("chart", every_chart(), ids=lambda chart: chart.title)
def test_every_chart_names_its_axes_and_says_what_to_see(chart: Chart) -> None:
    spec = chart.spec()
    assert chart.see
    assert spec["x"]["label"] == "Value (s)"
    assert spec["y"]["label"]
    for mark in spec["marks"]:
        used = [v for k, v in mark["options"].items() if k in ("x", "y", "x1", "x2", "y1", "y2", "z")]
        assert used, mark
        assert all(key in record for record in mark["data"] for key in used)


def test_intervals_keep_their_order_and_groups() -> None:
    chart = every_chart()[0]
    assert chart.spec()["y"]["domain"] == ["a", "b"]
    assert chart.spec()["colors"] == ["g", "h"]
    assert [(r["low"], r["high"]) for r in chart.records()] == [(1.0, 3.0), (0.5, 1.5)]
    assert {mark.options["dy"] for mark in chart.marks} == {0.0}


def test_intervals_of_one_name_stand_apart_and_zero_is_marked_between_them() -> None:
    axis = Axis(label="Value", unit="s")
    rows = [Estimate(name="a", value=v, low=v - 1, high=v + 1, group=g) for g, v in (("g", 0.5), ("h", 2.0))]
    chart = intervals(title="T", see="S.", x=axis, y=axis, rows=rows)
    assert [(m.kind, m.options["dy"]) for m in chart.marks[:-1]] == [
        ("link", -4.5), ("dot", -4.5), ("link", 4.5), ("dot", 4.5),
    ]  # fmt: skip
    assert (chart.marks[-1].kind, chart.marks[-1].data) == ("ruleX", [{"zero": 0}])
    assert [record["group"] for record in chart.records()] == ["g", "h"]
    above = intervals(title="T", see="S.", x=axis, y=axis, rows=rows[1:])
    assert {mark.kind for mark in above.marks} == {"link", "dot"}


def test_histogram_outline_follows_the_bins() -> None:
    line = next(mark for mark in every_chart()[3].marks if mark.kind == "line")
    assert [(r["x"], r["share"]) for r in line.data] == [(0, 0.9), (1, 0.9), (1, 0.1), (2, 0.1)]


def test_vendored_scripts_keep_their_licences() -> None:
    import penchant.reports

    vendor = Path(penchant.reports.__file__).parent / "vendor"
    for script in vendor.glob("*.js"):
        notice = vendor / f"LICENSE-{script.name.split('.')[0]}.txt"
        assert script.name in notice.read_text()
        assert "Permission" in notice.read_text()


BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_a_browser_draws_every_chart_under_the_policy(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    write_page(page, render_page("Charts", sections=[Section(title="All", blocks=every_chart())]))
    done = subprocess.run(
        [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", "--virtual-time-budget=3000",
         "--dump-dom", page.as_uri()],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert "CONSOLE" not in done.stderr, done.stderr
    drawn = re.findall(r'<div class="plot".*?</div>', done.stdout, re.DOTALL)
    assert len(drawn) == 4
    for box in drawn:
        assert "<svg" in box
        assert "Value (s)" in box
        assert "<style" not in box
