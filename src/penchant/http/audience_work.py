"""The process that grows one audience: ``python -m penchant.http.audience_work WORKSPACE ID``.

A process of its own keeps the work out of those that answer requests; it may be killed at any time, and
whoever takes the job up again starts from what was asked.
"""

import fcntl
import logging
import shutil
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import final

import numpy as np
from msgspec.structs import replace

from penchant.audiences.seeds import IdList
from penchant.http.audience_store import AudienceStore, Job, Step
from penchant.http.errors import problem_of
from penchant.kernel.arrays import readonly
from penchant.reports.audience_run import run_audience
from penchant.workspace.people import people_of
from penchant.workspace.service import Workspace

_LOGGER = logging.getLogger("penchant.http.audiences")
_EVERY_SECONDS = 0.5
_LOCK = "work.lock"


@contextmanager
def held(path: Path, *, wait: bool) -> Generator[bool]:
    """Hold a lock file while the block runs; gives whether it is held. A process that dies lets go of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            mine = False
        else:
            mine = True
        yield mine


@final
class Told:
    """Progress that is written into the job's state, at most twice a second."""

    def __init__(self, store: AudienceStore, job: Job) -> None:
        self._store, self._job = store, job
        self._step = Step(what="begin")
        self._said = -np.inf

    def start(self, what: str, total: int | None = None) -> None:
        """Begin a named piece of work."""
        self._step = Step(what=what, total=total)
        self._say()

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Count steps."""
        self._step = replace(self._step, done=self._step.done + steps)
        self._say()

    def _say(self) -> None:
        now = time.monotonic()
        if now - self._said >= _EVERY_SECONDS:
            self._said = now
            self._store.put(replace(self._job, progress=self._step))


def work(workspace: Workspace, store: AudienceStore, audience_id: str) -> Job:
    """Grow the audience of a queued job and return how it ended; of any other job, return it as it is."""
    job = store.job(audience_id)
    if job.status != "queued":
        return job
    now = workspace.clock.now()
    job = replace(job, status="running", started_at=now, tries=job.tries + 1)
    store.put(job)
    out = store.out(audience_id)
    shutil.rmtree(out, ignore_errors=True)
    try:
        asked = store.request(audience_id)
        values = None if asked.values is None else readonly(np.array(asked.values))
        seeds = IdList(ids=tuple(asked.seeds), values=values, source="$.seeds")
        lists = {name: IdList(ids=tuple(ids), source=name) for name, ids in asked.exclude.items()}
        told, order = Told(store, job), asked.order
        people = people_of(workspace, order.config.features, model=order.model, progress=told)
        _, files = run_audience(
            people,
            order,
            seeds,
            out,
            exclude=lists,
            previous=None if asked.previous is None else store.out(asked.previous),
            progress=told,
        )
        job = replace(job, status="done", files=files)
    except Exception as error:
        status, problem = problem_of(error)
        if status == 500:
            _LOGGER.exception("audience %s failed", audience_id)
        job = replace(job, status="failed", problem=problem)
    job = replace(job, ended_at=workspace.clock.now())
    store.put(job)
    return job


def main(folder: str, audience_id: str) -> None:
    """Do one job, after whatever process may still be at another one of this workspace."""
    store = AudienceStore(Path(folder))
    with held(store.folder / _LOCK, wait=True):
        workspace = Workspace.open(Path(folder))
        try:
            work(workspace, store, audience_id)
        finally:
            workspace.close()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    main(*sys.argv[1:3])
