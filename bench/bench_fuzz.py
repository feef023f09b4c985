"""100,000 requests that no client should send: no failure, nothing across groups, no growing memory."""

import asyncio
import os
import tempfile
import time
from pathlib import Path

from bench.fuzz_target import OWNERS, Target, make_workspace
from bench.fuzzing import Fuzzer, run
from bench.paired import versions

SEED = 20261122


def main(*, quick: bool) -> dict[str, object]:
    """Send them and report what came back, and the resident memory in the beginning, middle and end."""
    return asyncio.run(_main(2_000 if quick else 100_000))


async def _main(n: int) -> dict[str, object]:
    for key in OWNERS:
        os.environ[f"FUZZ_SECRET_{key}"] = f"secret-{key}"
    memory: dict[str, float] = {}
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        async with Target(make_workspace(Path(folder) / "ws")) as target:
            fuzzer = Fuzzer(target.app.openapi_schema.to_schema(), seed=SEED)
            fuzzer.trackers = target.trackers()
            print(f"set up in {time.perf_counter() - begun:.0f} s", flush=True)

            def each(i: int) -> None:
                if i % (n // 10) == 0:
                    memory[f"{i * 100 // n}%"] = _resident()
                    passed = time.perf_counter() - begun
                    print(f"{i:,} requests, {_resident():.0f} MB, {passed:.0f} s", flush=True)

            found = await run(target, fuzzer, n, each=each)
            memory["100%"] = _resident()
    for fault in found.faults[:10]:
        print(fault)
    grown = memory["100%"] / memory["50%"]
    print(f"{n:,} requests: {dict(sorted(found.statuses.items()))}, {len(found.faults)} faults")
    return {
        "bar": "100,000 fuzzed requests: no 500, no answer that crosses dataset groups or keys, memory "
        "bounded (the second half grows by less than 10%)",
        "met": not found.faults and grown < 1.1 and n >= 100_000,
        "data": "two dataset groups and the server's own workspace of 30 items and 20 users each",
        "protocol": f"seed {SEED}; a quarter OpenAPI cases by schemathesis, the others signed AWS bodies "
        "from botocore's models and filter expressions by hypothesis, 40% mutated; ASGI, 32 at once",
        "requests": n,
        "statuses": {str(status): count for status, count in sorted(found.statuses.items())},
        "faults": found.faults,
        "resident_mb": memory,
        "growth_of_second_half": grown,
        "seconds": time.perf_counter() - begun,
        "versions": versions("hypothesis", "schemathesis", "botocore", "litestar"),
    }


def _resident() -> float:
    fields = Path("/proc/self/status").read_text().split("VmRSS:")[1].split()
    return int(fields[0]) / 1024
