"""The command personas describes the personas that are served, by the same ids, or says that it does not."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from penchant.cli.main import run
from penchant.data.events import Acted, AnyEvent, Followed, ItemPut, UserPut, Value
from penchant.workspace.service import Workspace

DAY = 86_400.0
START = 1_700_000_000.0
COLOURS = ("red", "blue")
SETTINGS = """
[recipes.alike]
recipe = "lookalike"
clusters = 2
rank = 2
factors = 4
epochs = 3
half_lives = [""]
[recipes.popular]
recipe = "popularity"
[graph]
columns = ["community"]
"""


def people(n: int = 60) -> list[AnyEvent]:
    """Users of two colours; each takes ten items of the colour and follows the others of it."""
    events: list[AnyEvent] = [
        ItemPut(event_id=f"i{c}{i}", timestamp=START, item_id=f"{c}-{i}", properties={"category": c})
        for c in COLOURS
        for i in range(10)
    ]
    for u in range(n):
        c, me = COLOURS[u % 2], f"u{u:02}"
        told: dict[str, Value] = {"colour": c, "size": f"{u // 2 % 5}"}
        events.append(UserPut(event_id=f"p{u}", timestamp=START, user_id=me, properties=told))
        others = [f"u{other:02}" for other in range(u % 2, n, 2) if other != u]
        events += [
            Followed(event_id=f"f{me}{other}", timestamp=START, user_id=me, followed_id=other, active=True)
            for other in others
        ]
        events += [
            Acted(
                event_id=f"a{u}-{d}",
                timestamp=START + d * DAY + u,
                user_id=me,
                item_id=f"{c}-{(u // 2 + d) % 10}",
            )
            for d in range(10)
        ]
    return events


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    folder = tmp_path / "ws"
    folder.mkdir()
    (folder / "penchant.toml").write_text(SETTINGS)
    workspace = Workspace.open(folder)
    workspace.log.append(people())
    workspace.close()
    return folder


def train(folder: Path) -> None:
    assert run(["-C", str(folder), "train"]) == 0


def described(folder: Path, out: Path, *more: str) -> tuple[dict[str, Any], dict[str, int]]:
    """Return what the command says and the persona of each user."""
    assert run(["-C", str(folder), "personas", "--out", str(out), *more]) == 0
    with (out / "users.csv").open(newline="") as file:
        users = {row["user_id"]: int(row["persona"]) for row in csv.DictReader(file)}
    return json.loads((out / "personas.json").read_bytes()), users


def test_what_is_described_is_what_is_served(shop: Path, tmp_path: Path) -> None:
    train(shop)
    card, users = described(shop, tmp_path / "out")
    assert card["served"] == "alike"
    assert card["holds"]
    assert "community" in card["used"]  # what [graph] adds is used like any other attribute
    trained, weighed = card["notes"]
    assert trained == "The personas that 'alike' serves, trained on data up to 2023-11-23 22:14 UTC."
    assert weighed == (
        "To people without a history 'alike' serves 75% what people alike take and 25% popularity, chosen on "
        "its replay."
    )
    workspace = Workspace.open(shop)
    serving = workspace.serving()
    _, shares, _ = serving.personas()
    assert {p["id"]: p["users"] for p in card["personas"]} == {one.id: one.users for one in shares}
    for persona in card["personas"]:
        mine = {u for u, p in users.items() if p == persona["id"]}
        colour = COLOURS[int(min(mine)[1:]) % 2]
        assert {int(u[1:]) % 2 for u in mine} == {COLOURS.index(colour)}
        assert persona["categories"] == [colour]
        assert set(persona["medoids"]) <= mine
        levels = {level["attribute"]: level["level"] for level in persona["levels"]}
        assert levels["colour"] == colour
        assert levels["community"].startswith("c")
        feed = serving.persona_feed(persona["id"], 5).items
        assert {item.split("-")[0] for item, _ in feed} == {colour}
    serving.close()
    workspace.close()


def test_ids_are_those_that_are_served_also_after_a_training(shop: Path, tmp_path: Path) -> None:
    train(shop)
    _, before = described(shop, tmp_path / "one")
    workspace = Workspace.open(shop)
    smaller = COLOURS[next(int(u[1:]) % 2 for u, p in before.items() if p == 1)]
    workspace.log.append(  # clusters are numbered by size: make the smaller one the larger
        [
            UserPut(event_id=f"q{n}", timestamp=START, user_id=f"w{n}", properties={"colour": smaller})
            for n in range(25)
        ]
    )
    workspace.close()
    train(shop)
    _, after = described(shop, tmp_path / "two")  # another folder: nothing is read from an earlier report
    assert {u: after[u] for u in before} == before
    assert len(after) == len(before) + 25


def test_groups_that_nobody_is_served_by_are_called_so(
    shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card, _ = described(shop, tmp_path / "out", "--k", "auto")  # nothing is trained
    assert card["served"] is None
    assert "nobody is served by them" in card["notes"][0]
    assert card["elbow"] is not None
    assert "community" in card["used"]
    train(shop)
    for anew in (("--k", "2"), ("--space", "attributes")):
        assert described(shop, tmp_path / "anew", *anew)[0]["served"] is None
    assert described(shop, tmp_path / "again", "--model", "alike")[0]["served"] == "alike"
    capsys.readouterr()
    wrong = ["-C", str(shop), "personas", "--out", str(tmp_path / "wrong")]
    assert run([*wrong, "--model", "alike", "--k", "3"]) == 2
    assert run([*wrong, "--model", "popular"]) != 0
    told = capsys.readouterr().err
    assert "give one" in told
    assert "no trained recipe 'popular' has personas" in told
    assert not (tmp_path / "wrong").exists()


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["--days", "-1"], "days must be above 0, got -1."),
        (["--days", "nan"], "days must be above 0, got nan."),
        (["--category", "nope"], "items have no column 'nope'."),
        (["--k", "1"], "--k is a whole number from 2 up, or auto; got '1'."),
        (["--space", "place"], "--space is attributes or behaviour; got 'place'."),
        (["--model", "alik"], "no trained recipe 'alik' has personas."),
    ],
)
def test_what_makes_no_sense_is_refused_and_nothing_is_written(
    shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], asked: list[str], said: str
) -> None:
    assert run(["-C", str(shop), "personas", "--out", str(tmp_path / "out"), *asked]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_place_where_no_folder_can_be_is_refused_before_the_work(
    shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert run(["-C", str(shop), "personas", "--out", str(tmp_path / "file" / "below")]) == 2
    told = capsys.readouterr().err
    assert f"{tmp_path / 'file'}: this is a file, not a folder." in told
    assert "personas:" not in told  # nothing was begun
