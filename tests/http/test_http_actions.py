"""Actions over HTTP and on the command line, from files to the log."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from litestar.testing import TestClient

from penchant.cli.main import run
from penchant.http.app import create_app
from penchant.workspace.service import Workspace
from penchant.workspace.settings import FILE

SETTINGS = """
[filters]
clubs = 'INCLUDE ActionID WHERE Actions.KIND IN ($kinds)'
[recipes.next]
recipe = "next_best_action"
[actions.next]
recipe = "next"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three actions: everybody takes the first, half the second, nobody the third."""
    made = tmp_path_factory.mktemp("actions")
    (made / FILE).write_text(SETTINGS)
    (made / "actions.csv").write_text("ACTION_ID,KIND,TITLE\nall,club,Join\nhalf,club,\nnone,ad,Look\n")
    rows: list[str] = []
    for u in range(200):
        for action, takes in (("all", True), ("half", bool(u % 2)), ("none", False)):
            rows.append(f"u{u},{action},{1_700_000_000 + u},{'TAKEN' if takes else 'NOT_TAKEN'}\n")
    (made / "answers.csv").write_text("USER_ID,ACTION_ID,TIMESTAMP,EVENT_TYPE\n" + "".join(rows))
    there = ["-C", str(made)]
    files = ["--actions", str(made / "actions.csv"), "--action-interactions", str(made / "answers.csv")]
    assert run([*there, "import", *files, "--json"]) == 0
    assert run([*there, "train", "--json"]) == 0
    return made


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient[Any]]:
    workspace = Workspace.open(folder)
    with TestClient(create_app(workspace)) as client:
        yield client
    workspace.close()


def test_the_command_prints_actions_with_probabilities(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["-C", str(folder), "actions", "stranger", "-k", "3", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["actions"]
    assert [one["action_id"] for one in told] == ["all", "half", "none"]
    probabilities = [one["probability"] for one in told]
    assert probabilities == pytest.approx([1.0, 0.5, 0.0], abs=0.06)
    assert told[0]["properties"] == {"kind": "club", "title": "Join"}
    assert run(["-C", str(folder), "actions", "stranger"]) == 0
    assert "Join" in capsys.readouterr().out
    assert run(["-C", str(folder), "actions", "stranger", "--name", "nxt"]) == 2


def test_actions_filters_events_and_reasons_over_http(client: TestClient[Any]) -> None:
    answer = client.get("/v1/actions/next/somebody?k=3&explain=true").json()
    assert [one["action_id"] for one in answer["actions"]] == ["all", "half", "none"]
    assert answer["actions"][0]["propensity"] == 1.0
    assert "within 14 days with probability" in answer["actions"][0]["why"]
    clubs = client.get("/v1/actions/next/somebody?filter=clubs&filter_values=kinds=club").json()
    assert [one["action_id"] for one in clubs["actions"]] == ["all", "half"]
    event = {
        "kind": "responded",
        "event_id": "e1",
        "timestamp": 1_700_000_500.0,
        "user_id": "somebody",
        "action_id": "half",
        "event_type": "NOT_TAKEN",
        "recommendation_id": answer["request_id"],
    }
    assert client.post("/v1/events", json={"events": [event]}).status_code == 200
    after = {
        one["action_id"]: one["probability"]
        for one in client.get("/v1/actions/next/somebody").json()["actions"]
    }
    before = {one["action_id"]: one["probability"] for one in answer["actions"]}
    assert after["half"] < before["half"]


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/v1/actions/nxt/u?k=1", 404, "no table [actions.nxt]"),
        ("/v1/actions/next/u?k=101", 400, "1 to 100"),
        ("/v1/actions/next/u?filter=clubs", 400, "$kinds"),
        ("/v1/actions/next/u?promotion=clubs:10", 400, "unknown query parameter"),
    ],
)
def test_what_is_wrong_is_said(client: TestClient[Any], path: str, status: int, words: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, words in answer.text) == (status, True), answer.text
    wrong = {"kind": "responded", "event_id": "x", "timestamp": 1.0, "user_id": "u", "action_id": "a"}
    assert client.post("/v1/events", json={"events": [{**wrong, "event_type": "MAYBE"}]}).status_code == 400
