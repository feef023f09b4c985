"""Two commands measured alternately, A B A B, each round in child processes of its own.

A machine drifts: clocks, caches and neighbours change within minutes. So both sides run in the same minute,
turn by turn, and what is reported is the median over rounds of each number and of each round's own ratio.
"""

import importlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
# Both can halve the speed of BLAS where a machine's image sets them; neither side should be measured so.
UNSET = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one child process took.

    ``cpu`` is user + system seconds of the child and of the children it waited for, ``peak_mb`` the largest
    resident memory of one of them, ``inner`` the JSON object on its last line: what it measured itself.
    """

    wall: float
    cpu: float
    peak_mb: float
    inner: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def numbers(self) -> dict[str, float]:
        """Return every number of the run under one flat name."""
        own = {"wall": self.wall, "cpu": self.cpu, "peak_mb": self.peak_mb}
        told = {k: v for k, v in self.inner.items() if isinstance(v, int | float)}
        told = {k: v for k, v in self.inner.items() if isinstance(v, int | float)}
        return own | {k: float(v) for k, v in told.items() if not isinstance(v, bool)}


def call(function: str, **arguments: object) -> list[str]:
    """Return the command that calls ``module:function`` with keyword arguments in a fresh interpreter.

    The function returns a dict; it is printed as the last line and so becomes `Run.inner`.
    """
    return [sys.executable, "-m", "bench.paired", function, json.dumps(arguments)]


def run_once(command: Sequence[str], *, env: Mapping[str, str] | None = None) -> Run:
    """Run a command to its end and measure it.

    Raises:
        RuntimeError: it failed; its error output is in the message.
    """
    merged = {k: v for k, v in os.environ.items() if k not in UNSET} | dict(env or {})
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        begun = time.perf_counter()
        child = subprocess.Popen(command, stdout=out, stderr=err, cwd=ROOT, env=merged)
        try:
            _, status, usage = os.wait4(child.pid, 0)
        except BaseException:
            child.kill()
            child.wait()
            raise
        wall = time.perf_counter() - begun
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        text = out.read().decode(errors="replace")
        if child.returncode != 0:
            tail = err.read().decode(errors="replace")[-4000:]
            raise RuntimeError(f"{' '.join(command)} ended with {child.returncode}\n{tail}")
    return Run(
        wall=wall, cpu=usage.ru_utime + usage.ru_stime, peak_mb=usage.ru_maxrss / 1024, inner=_last_json(text)
    )


def _last_json(text: str) -> dict[str, Any]:
    lines = text.strip().splitlines()
    if not lines or not lines[-1].startswith("{"):
        return {}
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def compare(
    ours: Sequence[str],
    peer: Sequence[str],
    *,
    rounds: int = 5,
    names: tuple[str, str] = ("penchant", "peer"),
    env: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Run both commands in turn; return medians, ratios (peer / ours: above 1 = we take less) and rounds.

    The result is JSON-able: ``{names[0]: medians, names[1]: medians, "ratio": {number: {"median", "min",
    "max"}}, "rounds": [...]}`` with a ratio for each number that both report and that is not 0.
    """
    pairs: list[tuple[dict[str, float], dict[str, float]]] = []
    for i in range(rounds):
        # The order alternates so that neither side is always the one that finds the machine warm.
        if i % 2 == 0:
            a, b = run_once(ours, env=env).numbers(), run_once(peer, env=env).numbers()
        else:
            b, a = run_once(peer, env=env).numbers(), run_once(ours, env=env).numbers()
        pairs.append((a, b))
        print(f"  round {i + 1}/{rounds}: {names[0]} {brief(a)} | {names[1]} {brief(b)}", flush=True)
    return summarize(pairs, names=names)


def summarize(
    pairs: Sequence[tuple[Mapping[str, float], Mapping[str, float]]],
    *,
    names: tuple[str, str] = ("penchant", "peer"),
) -> dict[str, Any]:
    """Return what `compare` returns, from the numbers of each round."""
    both = [k for k in pairs[0][0] if all(a.get(k) and b.get(k) for a, b in pairs)]
    ratios = {k: [b[k] / a[k] for a, b in pairs] for k in both}
    return {
        names[0]: _medians([a for a, _ in pairs]),
        names[1]: _medians([b for _, b in pairs]),
        "ratio": {
            k: {"median": statistics.median(r), "min": min(r), "max": max(r)} for k, r in ratios.items()
        },
        "rounds": [{names[0]: dict(a), names[1]: dict(b)} for a, b in pairs],
    }


def _medians(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {k: statistics.median(r[k] for r in runs) for k in runs[0] if all(k in r for r in runs)}


def brief(numbers: Mapping[str, float]) -> str:
    """Return the numbers on one line."""
    return ", ".join(f"{k} {v:.4g}" for k, v in numbers.items())


def versions(*packages: str) -> dict[str, str]:
    """Return the machine and the versions a result depends on."""
    found = {"python": platform.python_version(), "machine": platform.machine(), "cores": str(os.cpu_count())}
    for name in ("penchant", "numpy", "numba", *packages):
        found[name] = metadata.version(name)
    return found


def _child(function: str, arguments: str) -> None:
    module, _, name = function.partition(":")
    result = getattr(importlib.import_module(module), name)(**json.loads(arguments))
    print(json.dumps(result or {}))


if __name__ == "__main__":
    _child(*sys.argv[1:])
