"""``python -m bench [NAME ...] [--quick]``: run benchmarks one after the other and store what they found."""

import argparse
import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from bench.paired import ROOT, UNSET

HERE = Path(__file__).parent
RESULTS = HERE / "results"


def known() -> list[str]:
    """Return the names of all benchmarks: bench_NAME.py beside this file."""
    return sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))


def run(name: str, *, quick: bool, out: Path) -> bool:
    """Run one benchmark in a process of its own, so that none inherits another's threads, caches or peak."""
    print(f"== {name}{' (quick)' if quick else ''}", flush=True)
    target = out / f"{name}.json"
    env = {k: v for k, v in os.environ.items() if k not in UNSET}
    command = [sys.executable, "-m", "bench", "--child", name, "--out", str(target.absolute())]
    begun = time.perf_counter()
    ended = subprocess.run(command + ["--quick"] * quick, cwd=ROOT, env=env, check=False)
    verdict = f"stored in {target}" if ended.returncode == 0 else f"FAILED (exit {ended.returncode})"
    print(f"== {name}: {verdict}, {time.perf_counter() - begun:.0f} s", flush=True)
    return ended.returncode == 0


def child(name: str, *, quick: bool, out: Path) -> None:
    """Run one benchmark here and write its result."""
    result = importlib.import_module(f"bench.bench_{name}").main(quick=quick)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"name": name, "quick": quick, **result}, indent=2) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of: {', '.join(known())} (default: all)")
    parser.add_argument("--quick", action="store_true", help="small data: seconds, to see that it runs")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--child", metavar="NAME", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        child(asked.child, quick=asked.quick, out=asked.out)
        return 0
    unknown = sorted(set(asked.names) - set(known()))
    if unknown:
        parser.error(f"no benchmark named {', '.join(unknown)}. Known: {', '.join(known())}")
    passed = [run(name, quick=asked.quick, out=asked.out) for name in asked.names or known()]
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
