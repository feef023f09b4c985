"""penchant communities: files, numbers that last, refusals."""

import csv
import json
from pathlib import Path

import pytest

from penchant.cli.main import run

USERS = 60


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    assert run(["init", str(folder)]) == 0
    edges = [(a, b) for a in range(USERS) for b in range(USERS) if a != b and a % 3 == b % 3 and (a + b) % 4]
    lines = [
        "user_id,followed_id,timestamp",
        *(f"u{a:02d},u{b:02d},{1000 + i}" for i, (a, b) in enumerate(edges)),
    ]
    (tmp_path / "follows.csv").write_text("\n".join(lines) + "\n")
    acts = [(u, (u * 7 + n) % 30, 2000 + 50 * n + u) for u in range(USERS) for n in range(6)]
    lines = ["user_id,item_id,timestamp", *(f"u{u:02d},i{i:02d},{t}" for u, i, t in acts)]
    (tmp_path / "acts.csv").write_text("\n".join(lines) + "\n")
    files = ["--follows", str(tmp_path / "follows.csv"), "--interactions", str(tmp_path / "acts.csv")]
    assert run(["-C", str(folder), "import", *files]) == 0
    return folder


def communities(path: Path) -> dict[str, str]:
    with path.open(newline="") as file:
        return {row["user_id"]: row["community"] for row in csv.DictReader(file)}


def test_files_and_numbers_that_last(shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert run(["-C", str(shop), "communities", "--out", str(out), "--json"]) == 0
    printed = capsys.readouterr().out
    said = json.loads(printed[printed.index("{") :])
    assert said == json.loads((out / "communities.json").read_text())
    assert said["communities"] == {"c0": 20, "c1": 20, "c2": 20}
    first = communities(out / "users.csv")
    assert len({first["u00"], first["u01"], first["u02"]}) == 3
    renamed = {"c0": "c8", "c1": "c0", "c2": "c5"}
    lines = ["user_id,community", *(f"{user},{renamed[name]}" for user, name in first.items())]
    (out / "users.csv").write_text("\n".join(lines) + "\n")
    assert run(["-C", str(shop), "communities", "--out", str(out)]) == 0
    assert communities(out / "users.csv") == {user: renamed[name] for user, name in first.items()}
    html = (out / "report.html").read_text()
    assert "Are they real?" in html


def test_a_file_of_something_else_is_not_written_over(
    shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "users.csv").write_text("name,age\nx,3\n")
    assert run(["-C", str(shop), "communities", "--out", str(out)]) == 2
    assert "not a file that an earlier run wrote" in capsys.readouterr().err


def test_a_resolution_of_nothing_is_refused(
    shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    assert run(["-C", str(shop), "communities", "--out", out, "--resolution", "0"]) == 2
    assert "resolution must be above 0" in capsys.readouterr().err


def test_no_follows_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "shop"
    assert run(["init", str(folder)]) == 0
    (tmp_path / "acts.csv").write_text("user_id,item_id,timestamp\nu,i,1000\n")
    assert run(["-C", str(folder), "import", "--interactions", str(tmp_path / "acts.csv")]) == 0
    assert run(["-C", str(folder), "communities", "--out", str(tmp_path / "out")]) == 2
    assert "import --follows" in capsys.readouterr().err


def test_training_tells_recipes_the_community(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = shop / "penchant.toml"
    text = settings.read_text().replace('# columns = ["community"]', 'columns = ["community"]')
    settings.write_text(text + '\n[recipes.alike]\nrecipe = "lookalike"\nfactors = 8\nepochs = 2\n')
    assert run(["-C", str(shop), "train", "alike"]) == 0
    first = sorted(p.name for p in (shop / "snapshots").iterdir())
    assert run(["-C", str(shop), "train", "alike"]) == 0
    assert sorted(p.name for p in (shop / "snapshots").iterdir()) == first  # nothing changed, so nothing is
    assert run(["-C", str(shop), "evaluate"]) == 0
    capsys.readouterr()
