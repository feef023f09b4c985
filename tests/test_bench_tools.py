"""The benchmark runner finds what it should and the paired measurement measures what it says."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from bench.__main__ import known
from bench.paired import ROOT, call, compare, run_once, summarize


def test_a_child_is_measured_from_outside_and_reports_from_inside() -> None:
    # From a process of its own, as the runner is: what the kernel says of a child's peak memory begins with
    # the memory of the process that started it.
    code = "import time\nwhile time.process_time() < .3: pass\nprint('x')\nprint('{\"a\": 2}')"
    runner = (
        "import json, sys\n"
        "from bench.paired import run_once\n"
        f"run = run_once([sys.executable, '-c', {code!r}])\n"
        "print(json.dumps([run.inner, run.cpu, run.wall, run.peak_mb]))"
    )
    said = subprocess.run(
        [sys.executable, "-c", runner], cwd=ROOT, capture_output=True, text=True, check=True
    )
    inner, cpu, wall, peak_mb = json.loads(said.stdout)
    assert inner == {"a": 2}
    assert 0.3 <= cpu < 3
    assert wall >= 0.3
    assert 1 < peak_mb < 500


def test_a_failing_child_is_an_error_with_its_words() -> None:
    with pytest.raises(RuntimeError, match="no such thing"):
        run_once([sys.executable, "-c", "raise SystemExit('no such thing')"])


def test_pairs_give_ratios_of_peer_over_ours() -> None:
    def code(n: int) -> list[str]:
        return [sys.executable, "-c", f"print('{{\"s\": {n}}}')"]

    result = compare(code(2), code(6), rounds=3)
    assert result["ratio"]["s"] == {"median": 3, "min": 3, "max": 3}
    assert result["penchant"]["s"] == 2
    assert [r["peer"]["s"] for r in result["rounds"]] == [6, 6, 6]


def test_the_ratio_is_the_median_of_the_rounds_own() -> None:
    rounds = [({"s": 1.0}, {"s": 2.0}), ({"s": 10.0}, {"s": 40.0}), ({"s": 1.0}, {"s": 3.0})]
    assert summarize(rounds)["ratio"]["s"] == {"median": 3, "min": 2, "max": 4}


def test_call_runs_a_function_in_a_fresh_interpreter() -> None:
    assert run_once(call("bench.paired:versions")).inner["python"]


def test_every_benchmark_keeps_the_contract() -> None:
    for name in known():
        text = (ROOT / "bench" / f"bench_{name}.py").read_text()
        assert "def main(*, quick: bool)" in text, name


def test_an_unknown_benchmark_is_refused(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "bench", "nosuch", "--out", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert "no benchmark named nosuch" in ended.stderr
    assert list(tmp_path.iterdir()) == []
