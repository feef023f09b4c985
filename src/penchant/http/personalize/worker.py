"""Does one task of `penchant.http.personalize.tasks` as a process of its own.

The task comes on standard input, the answer goes to standard output, both as JSON. What fails is one sentence
on standard error and exit code 1.
"""

import csv
import io
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from penchant.data.attribution import Attributed, Metric, attribute
from penchant.data.log_snapshot import snapshot_of
from penchant.evaluation.leaderboard import evaluate
from penchant.evaluation.segments import segment_quality
from penchant.http.personalize.inference import infer
from penchant.http.personalize.segments import segment
from penchant.http.personalize.tasks import AnyTask, Attribute, Infer, Measure, Segment
from penchant.kernel.errors import InputError, PenchantError
from penchant.kernel.folders import write_atomically
from penchant.kernel.progress import Silent
from penchant.models.ials import Ials
from penchant.models.next_best_action import NextBestAction
from penchant.workspace.service import Workspace

_COLUMNS = ("METRIC_NAME", "EVENT_TYPE", "VALUE", "MATH_FUNCTION", "EVENT_ATTRIBUTION_SOURCE", "TIMESTAMP")


def do(task: AnyTask) -> Any:
    """Do a task and return its answer."""
    workspace = Workspace.open(Path(task.folder))
    try:
        match task:
            case Measure():
                return measure(workspace, task)
            case Infer():
                return infer(workspace, task)
            case Segment():
                return segment(workspace, task)
            case Attribute():
                return report(workspace, task)
    finally:
        workspace.close()


def measure(workspace: Workspace, task: Measure) -> dict[str, float]:
    """Return the metrics of one recipe under Amazon's names, tested on the newest tenth of the data."""
    recipe = workspace.settings.recipes[task.recipe]
    if isinstance(recipe, NextBestAction):  # measured on the newest fifth of the trials while training
        version = workspace.registry.current().models[task.recipe]
        return workspace.registry.open(task.recipe, version).card.metrics
    seed = workspace.settings.workspace.seed
    data = snapshot_of(workspace.log)
    if task.segments:
        if not isinstance(recipe, Ials):
            raise InputError("segments need the recipe ials.")
        return segment_quality(data, recipe, seed=seed).amazon()
    board = evaluate(
        {task.recipe: recipe}, data, "time", seed=seed, progress=Silent(), prepare=workspace.told
    )
    return next(entry.amazon for entry in board.entries if entry.name == task.recipe)


def report(workspace: Workspace, task: Attribute) -> int:
    """Write the files of a metric attribution; return how many rows there are by recommendation."""
    metrics = [Metric.of(one.metric_name, one.event_type, one.expression) for one in task.metrics]
    found = attribute(workspace.log, metrics, names=task.names)
    folder = Path(task.output)
    every = folder / f"{task.name}-by-recommendation.csv"
    _write(every, (*_COLUMNS, "RECOMMENDATION_ID"), map(_cells, found))
    totals: dict[tuple[object, ...], float] = {}
    for one in found:
        name, kind, value, *rest, _ = _cells(one)
        key = (name, kind, *rest)
        totals[key] = totals.get(key, 0.0) + float(value)
    rows = [(name, kind, value, *rest) for (name, kind, *rest), value in totals.items()]
    _write(folder / f"{task.name}.csv", _COLUMNS, rows)
    return len(found)


def _cells(one: Attributed) -> tuple[str | float | int, ...]:
    metric = one.metric
    source = one.source or "SOURCE_NAME_UNDEFINED"
    day = int(one.day)
    return metric.name, metric.event_type, one.value, metric.function, source, day, one.recommendation or ""


def _write(path: Path, columns: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows(rows)
    write_atomically(path, text.getvalue().encode())


def main() -> int:
    """Run one task and return the exit code."""
    try:
        answer = do(msgspec.json.decode(sys.stdin.buffer.read(), type=AnyTask))
    except PenchantError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.buffer.write(msgspec.json.encode(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
