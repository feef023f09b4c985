"""Runs the queued audiences of a workspace one after the other, each in a process of its own."""

import asyncio
import contextlib
import logging
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import final

from litestar import Litestar
from msgspec.structs import replace

from penchant.http.audience_store import AudienceStore, Job
from penchant.http.audience_work import held
from penchant.http.errors import Problem
from penchant.kernel.clock import Clock
from penchant.kernel.errors import NotFound

_LOGGER = logging.getLogger("penchant.http.audiences")
_LOOK_SECONDS = 0.5
_LOCK = "runner.lock"
_MOST_TRIES = 3


@final
class AudienceJobs:
    """One worker's part: of all workers of a workspace, the one that holds the lock runs the jobs."""

    def __init__(self, store: AudienceStore, clock: Clock) -> None:
        self.store = store
        self._clock = clock

    @asynccontextmanager
    async def lifespan(self, app: Litestar) -> AsyncGenerator[None]:
        """Run jobs as long as the app does; what is running then is taken up again after the next start."""
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _run(self) -> None:
        while True:
            try:
                with held(self.store.folder / _LOCK, wait=False) as mine:
                    while mine:
                        await self._next()
            except OSError as error:
                _LOGGER.error("audiences cannot be grown: %s", error)
            await asyncio.sleep(_LOOK_SECONDS)

    async def _next(self) -> None:
        jobs = await asyncio.to_thread(self.store.jobs)
        for job in jobs:
            if job.status == "running":  # its process, or the server above it, was killed
                await asyncio.to_thread(self._again, job)
        queued = next((job for job in jobs if job.status == "queued"), None)
        if queued is None:
            await asyncio.sleep(_LOOK_SECONDS)
            return
        await self._grow(queued)

    def _again(self, job: Job) -> None:
        if job.tries < _MOST_TRIES:
            self.store.put(replace(job, status="queued", progress=None))
            return
        problem = Problem(
            code="defect",
            message=f"{job.tries} processes ended in the middle of this audience.",
            fix="The reason may be in the server's log; too little memory is a usual one.",
        )
        self.store.put(replace(job, status="failed", problem=problem, ended_at=self._clock.now()))

    async def _grow(self, job: Job) -> None:
        workspace = str(self.store.folder.parent)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "penchant.http.audience_work", workspace, job.audience_id
        )
        try:
            code = await process.wait()
        except asyncio.CancelledError:
            process.terminate()
            await process.wait()
            raise
        if code != 0:
            _LOGGER.error("the process of audience %s ended with %d", job.audience_id, code)
            await asyncio.to_thread(self.ended_early, job.audience_id)

    def ended_early(self, audience_id: str) -> None:
        """Count a try of a job whose process ended before it could, so that nobody starts it for ever."""
        with contextlib.suppress(NotFound):  # deleted meanwhile
            job = self.store.job(audience_id)
            if job.status == "queued":
                self._again(replace(job, tries=job.tries + 1))
