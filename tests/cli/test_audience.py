"""The audience command on a small shop: its files, its answers, and what it says to wrong input."""

import csv
import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow.csv import ConvertOptions, read_csv
from pyarrow.parquet import write_table

from penchant.cli.main import run

PEOPLE = 300
GARDENERS = [f"u{u:03d}" for u in range(PEOPLE) if u % 4 == 0]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a workspace where every fourth user mostly buys plants."""
    folder = tmp_path_factory.mktemp("audience") / "shop"
    data = folder.parent / "data"
    data.mkdir()
    rng = random.Random(0)
    categories = ["plants", "bread", "milk", "soap"]
    rows: list[str] = []
    for user in range(PEOPLE):
        weights = [6, 1, 1, 1] if user % 4 == 0 else [0.4, 3, 3, 3]
        for _ in range(rng.randint(8, 25)):
            category = rng.choices(range(4), weights)[0]
            when = 1_600_000_000 + rng.randint(0, 200 * 86400)
            price = rng.randint(1, 90) / 10
            rows.append(f"u{user:03d},i{category}{rng.randint(0, 9)},{when},purchase,{price}")
    header = "user_id,item_id,timestamp,event_type,event_value\n"
    (data / "interactions.csv").write_text(header + "\n".join(rows) + "\n")
    items = [f"i{c}{i},{categories[c]}" for c in range(4) for i in range(10)]
    (data / "items.csv").write_text("item_id,category\n" + "\n".join(items) + "\n")
    users = [
        f"u{u:03d},Person{u}@Mail.Example,+1650555{u:04d},{'Ulm' if u % 3 == 0 else 'Bonn'}"
        for u in range(PEOPLE)
    ]
    (data / "users.csv").write_text("user_id,email,phone,town\n" + "\n".join(users) + "\n")
    (data / "seeds.csv").write_text("member_srl\n" + "\n".join([*GARDENERS[:40], "ghost"]) + "\n")
    (data / "stop.csv").write_text("\n".join(GARDENERS[40:45]) + "\n")
    assert run(["init", str(folder)]) == 0
    tables = [f"--{t}={data / t}.csv" for t in ("users", "items", "interactions")]
    assert run(["-C", str(folder), "import", *tables]) == 0
    return folder


def answer(shop: Path, capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    capsys.readouterr()
    assert run(["-C", str(shop), "audience", *arguments, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_whole_run(shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = shop.parent / "data", tmp_path / "out"
    arguments = [str(data / "seeds.csv"), "--size", "25", "--exclude", str(data / "stop.csv")]
    arguments += ["--holdout", "0.2", "--export", "meta", "--export", "csv", "--out", str(out)]
    said = answer(shop, capsys, *arguments)
    people = table(out / "audience.csv")
    assert [row["rank"] for row in people] == [str(i) for i in range(1, 26)]
    ids = {row["user_id"] for row in people}
    assert not ids & set(GARDENERS[:45])
    assert len(ids & set(GARDENERS)) >= 20
    assert table(out / "top_features.csv")[0]["category"] == "plants"
    assert table(out / "unknown_ids.csv") == [{"user_id": "ghost"}]
    held = {row["user_id"] for row in table(out / "holdout.csv")}
    assert len(held) == 5
    exported = {row["user_id"] for row in table(out / "export_csv.csv")}
    assert exported == ids - held
    assert len(table(out / "export_meta.csv")) == 20
    assert "mail.example" not in (out / "export_meta.csv").read_text().lower()
    assert len(table(out / "features.csv")) == 25
    assert "<script>" in (out / "report.html").read_text()
    assert said["card"]["excluded"] == {"seeds": 40, "stop": 5}
    assert set(said["files"]) == {path.name for path in out.iterdir()}
    again = tmp_path / "again"
    answer(shop, capsys, *arguments[:-1], str(again))
    for path in out.iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes(), path.name


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--size", "1000"], "1,000 people asked for"),
        (["--size", "0"], "--size"),
        (["--size", "9", "--method", "atuo"], "Did you mean 'auto'"),
        (["--size", "9", "--export", "myspace"], "there is no"),
        (["--size", "9", "--holdout", "1"], "not a share"),
        (["--size", "9", "--threshold", "7"], "threshold"),
        (["--size", "9", "--category", "categry"], "Did you mean 'category'"),
        (["--size", "9", "--method", "coupang", "--threshold", "0.99"], "critical: no feature diverges"),
        (["--size", "9", "--exclude", "nowhere.csv"], "there is no such file"),
        (["--size", "9", "--model", "for_you"], "model is for the method embedding"),
        (["--size", "9", "--where", 'INCLUDE ItemID WHERE Items.category = "milk"'], "filtered by UserID"),
        (["--size", "9", "--where", "INCLUDE UserID WHERE Users.phone = $p"], "no value for $p"),
        (["--size", "9", "--where", 'INCLUDE UserID WHERE Users.fone = "x"'], "Did you mean"),
    ],
)
def test_wrong_input_is_said_plainly(
    shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    capsys.readouterr()
    seeds = str(shop.parent / "data" / "seeds.csv")
    assert run(["-C", str(shop), "audience", seeds, "--out", str(tmp_path / "out"), *more]) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert "Traceback" not in captured.err
    assert not (tmp_path / "out").exists()


def test_a_filter_decides_who_may_be_chosen(
    shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = 'INCLUDE UserID WHERE Users.town = "Ulm"'
    seeds, out = str(shop.parent / "data" / "seeds.csv"), tmp_path / "out"
    said = answer(shop, capsys, seeds, "--size", "20", "--where", where, "--out", str(out))
    assert all(int(row["user_id"][1:]) % 3 == 0 for row in table(out / "audience.csv"))
    assert said["card"]["excluded"] == {"seeds": 40, "filter": 174}


def test_embedding_measures_in_a_trained_models_space(
    shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["-C", str(shop), "train", "for_you"]) == 0
    seeds, out = str(shop.parent / "data" / "seeds.csv"), tmp_path / "out"
    asked = [seeds, "--size", "20", "--method", "embedding", "--out", str(out)]
    answer(shop, capsys, *asked, "--model", "for_you")
    assert len({row["user_id"] for row in table(out / "audience.csv")} & set(GARDENERS)) >= 15
    assert run(["-C", str(shop), "audience", *asked, "--model", "fro_you"]) == 2
    assert "Did you mean 'for_you'" in capsys.readouterr().err


def test_a_store_out_of_core_gives_the_same_list(
    shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, tables = shop.parent / "data", tmp_path / "tables"
    tables.mkdir()
    for name in ("users", "items", "interactions"):
        text = ConvertOptions(column_types={"phone": pa.string()})
        whole = read_csv(data / f"{name}.csv", convert_options=text)
        write_table(whole, tables / f"{name}.parquet")
    where = 'INCLUDE UserID WHERE Users.town = "Ulm"'
    asked = [str(data / "seeds.csv"), "--size", "20", "--method", "linear", "--where", where]
    asked += ["--export", "meta"]
    store = ["--store", str(tmp_path / "store")]
    answer(shop, capsys, *asked, "--out", str(tmp_path / "memory"))
    answer(shop, capsys, *asked, *store, "--out", str(tmp_path / "store out"))
    answer(
        tmp_path, capsys, *asked, *store, "--from-tables", str(tables), "--out", str(tmp_path / "tables out")
    )
    monkeypatch.setattr("penchant.workspace.people.IN_MEMORY", 100)
    answer(shop, capsys, *asked, "--out", str(tmp_path / "many out"))
    assert len(list((shop / "cache" / "people").iterdir())) == 1
    for out in ("store out", "tables out", "many out"):
        names = {path.name for path in (tmp_path / out).iterdir()}
        assert names == {path.name for path in (tmp_path / "memory").iterdir()}
        for name in names - {"card.json", "report.html"}:
            assert (tmp_path / out / name).read_bytes() == (tmp_path / "memory" / name).read_bytes(), name


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--from-tables", "."], "--store DIR"),
        (["--from-tables", ".", "--store", "x"], "neither interactions.parquet"),
        (["--method", "coupang", "--store", "x"], "compares everybody's values"),
        (["--method", "embedding", "--model", "for_you", "--store", "x"], "no model's space"),
    ],
)
def test_what_a_store_is_not_for_is_said(
    shop: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    more: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    seeds = str(shop.parent / "data" / "seeds.csv")
    assert run(["-C", str(shop), "audience", seeds, "--size", "9", "--out", "out", *more]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
