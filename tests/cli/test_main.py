"""The command line's frame: help at once, errors as one plain sentence, exit codes, Ctrl-C."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer

from penchant.cli import main
from penchant.cli.session import folded
from penchant.kernel.errors import Conflict, Defect, InputError, NotFound, NotReady

HEAVY = ("numpy", "pyarrow", "duckdb", "numba", "scipy", "sklearn", "litestar", "rich.progress", "pandas")


def test_help_loads_nothing_heavy_and_comes_at_once() -> None:
    code = (
        "import sys\nfrom penchant.cli.main import run\nassert run(['--help']) == 0\n"
        f"loaded = [name for name in {HEAVY!r} if name in sys.modules]\nassert not loaded, loaded\n"
    )
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert time.perf_counter() - began < 3  # 0.3 s on a quiet machine; tests share theirs
    for command in ("demo", "init", "import", "check", "train", "evaluate", "recommend", "similar", "rank"):
        assert f"\n  {command} " in done.stdout
    assert "..." not in done.stdout.split("Commands:")[1], "a description does not fit its line"


class Group:
    """A module of commands whose one command raises."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def register(self, app: typer.Typer) -> None:
        @app.command("fail")
        def fail() -> None:
            raise self.error

        @app.command("other")
        def other() -> None: ...


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (
            InputError("k = 0 is not accepted.", fix="Ask for more."),
            2,
            "k = 0 is not accepted. Ask for more.",
        ),
        (NotFound("no such file.", where="a.csv"), 2, "a.csv: no such file."),
        (Conflict("it exists already."), 1, "it exists already."),
        (NotReady("nothing is trained yet."), 1, "nothing is trained yet."),
        (Defect("an invariant broke."), 1, "an invariant broke."),
        (OSError(28, "No space left on device", "log.sqlite"), 1, "log.sqlite: No space left on device."),
        (
            KeyboardInterrupt(),
            130,
            "Stopped. What was finished is kept; the same command goes on from there.",
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_an_expected_error_is_one_sentence(
    error: BaseException,
    code: int,
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(main, "COMMANDS", (Group(error),))
    assert main.run(["fail"]) == code
    captured = capsys.readouterr()
    assert captured.err == f"{sentence}\n"
    assert captured.out == ""


def test_an_unexpected_error_leaves_its_traceback_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(main, "COMMANDS", (Group(ZeroDivisionError("by zero")),))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert main.run(["fail"]) == 1
    said = capsys.readouterr().err
    (log,) = tmp_path.iterdir()
    assert said == (
        f"An unexpected error, a defect of Penchant: ZeroDivisionError: by zero (details: {log})\n"
    )
    assert "raise self.error" in log.read_text()
    assert main.run(["--debug", "fail"]) == 1
    assert "Traceback" in capsys.readouterr().err
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["trian"], "No such command 'trian'. Did you mean 'train', 'rank'? See `penchant --help`."),
        (["recommend"], "Missing argument 'USER'. See `penchant recommend --help`."),
        (["train", "--fast"], "No such option: --fast. See `penchant train --help`."),
        (["recommend", "1", "--k", "many"], "unable to parse string as an integer"),
    ],
)
def test_a_wrong_call_says_what_and_where_to_look(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(arguments) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_long_lines_end_between_words_and_keep_their_indent() -> None:
    assert folded("short", 10) == "short"
    assert folded("    one two three-four five", 15) == "    one two\n    three-four\n    five"
    assert folded("x" * 30, 10) == "\n".join(["x" * 10] * 3)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["--version"]) == 0
    assert capsys.readouterr().out == "penchant 0.1.0\n"


def test_a_reader_that_has_enough_is_no_error() -> None:
    command = f"{sys.executable} -m penchant.cli.main doctor --json | head -c 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stderr == ""


def test_ctrl_c_during_imports_ends_the_process_without_a_word() -> None:
    code = (
        "import os, signal\n"
        "from penchant.cli.session import plainly_stopped\n"
        "with plainly_stopped():\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, b"", b"")
