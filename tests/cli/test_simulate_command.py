"""The command simulate runs on a workspace, says that it is simulated, and refuses what makes no sense."""

import json
from pathlib import Path

import numpy as np
import pytest

from penchant.cli.main import run
from penchant.data.events import Acted, AnyEvent, ItemPut, UserPut
from penchant.simulation.result import BASELINES, FEEDS
from penchant.workspace.service import Workspace

DAY = 86_400.0
START = 1_700_000_000.0
USERS, ITEMS = 150, 200
SETTINGS = """
[personas]
category = "kind"
"""


def town() -> list[AnyEvent]:
    """Three sorts of people take mostly items of their own kind; the first of each kind appeal most."""
    rng = np.random.default_rng(1)
    appeal = 1.0 / (1.0 + np.arange(ITEMS) / 20)
    events: list[AnyEvent] = [
        ItemPut(event_id=f"i{i}", timestamp=START, item_id=f"i{i:03}", properties={"kind": "ABC"[i % 3]})
        for i in range(ITEMS)
    ]
    for u in range(USERS):
        me = f"u{u:03}"
        events.append(
            UserPut(event_id=f"p{u}", timestamp=START, user_id=me, properties={"sort": f"s{u % 3}"})
        )
        own = appeal * np.where(np.arange(ITEMS) % 3 == u % 3, 6.0, 1.0)
        for n, item in enumerate(rng.choice(ITEMS, 24, replace=False, p=own / own.sum()).tolist()):
            at = START + n // 2 * DAY + 100.0 * u + 90.0 * (n % 2)
            events.append(Acted(event_id=f"a{u}-{n}", timestamp=at, user_id=me, item_id=f"i{item:03}"))
    return events


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("town") / "ws"
    folder.mkdir()
    (folder / "penchant.toml").write_text(SETTINGS)
    workspace = Workspace.open(folder)
    workspace.log.append(town())
    workspace.close()
    return folder


def test_a_run_compares_all_feeds_and_calls_itself_simulated(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["simulate", "--out", str(tmp_path), "--seeds", "2", "--new-users", "40", "--least-events", "8"]
    assert run(["-C", str(folder), *asked, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer == json.loads((tmp_path / "simulation.json").read_bytes())
    assert sorted(answer["categories"]) == ["A", "B", "C"]
    assert answer["settings"]["seeds"] == 2
    assert {level["feed"] for level in answer["levels"]} == set(FEEDS)
    assert {lift["over"] for lift in answer["lifts"]} >= set(BASELINES)
    page = (tmp_path / "report.html").read_text()
    assert "Simulated, not measured" in page
    assert "2</dd>" in page.replace("\n", "").replace(" ", "")
    assert run(["-C", str(folder), *asked]) == 0
    words = capsys.readouterr().out
    assert words.startswith("Simulated, not measured")
    assert (
        json.loads((tmp_path / "simulation.json").read_bytes()) == answer
    )  # the same seed, the same numbers


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (["--seeds", "1"], "seeds and most_categories must be at least 2"),
        (["--days", "0"], "days is 0"),
        (["--new-users", "0"], "new_users is 0"),
        (["--least-events", "1000"], "too few to simulate from"),
        (["--category", "kin"], "items have no column 'kin'. Did you mean 'kind'?"),
    ],
)
def test_what_makes_no_sense_is_refused_and_nothing_is_written(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: list[str], told: str
) -> None:
    out = tmp_path / "out"
    assert run(["-C", str(folder), "simulate", "--out", str(out), *wrong]) == 2
    assert told in capsys.readouterr().err
    assert not out.exists()
