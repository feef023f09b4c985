"""What training costs, for the model card: wall seconds, CPU seconds of all threads, peak memory."""

import resource
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from penchant.data.snapshot import Snapshot
from penchant.kernel.progress import Progress
from penchant.kernel.seeds import derive
from penchant.models.base import Model, Recipe


@dataclass(slots=True)
class Cost:
    """What a piece of work took; filled in when `measured` ends."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_mb: float = 0.0


@contextmanager
def measured() -> Generator[Cost]:
    """Measure the work inside.

    Where the kernel lets a process reset its memory high-water mark (Linux), ``peak_mb`` is the peak resident
    memory during the work; elsewhere that of the process so far.
    """
    cost = Cost()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        yield cost
    finally:
        cost.seconds = time.perf_counter() - wall
        cost.cpu_seconds = time.process_time() - cpu
        cost.peak_mb = _peak_mb()


def train_measured(
    recipe: Recipe, snapshot: Snapshot, *, seed: int, progress: Progress, previous: Model | None = None
) -> Model:
    """Train ``recipe`` with the generator of ``seed`` and its name; seed and cost are on the model's card."""
    rng = derive(seed, "train", recipe.name)
    with measured() as cost:
        model = recipe.train(snapshot, rng=rng, progress=progress, previous=previous)
    card = msgspec.structs.replace(
        model.card,
        seed=seed,
        seconds=cost.seconds,
        cpu_seconds=cost.cpu_seconds,
        peak_mb=cost.peak_mb,
    )
    return type(model).open(card, model.arrays())


def _peak_mb() -> float:
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
