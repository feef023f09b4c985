"""What stands behind the routes of one worker: the live view, the writer and the numbers."""

import asyncio
import contextlib
import gc
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import final

from litestar import Litestar

from penchant.data.eventlog import Appended
from penchant.data.events import AnyEvent
from penchant.http.metrics import Metrics
from penchant.http.writer import GroupWriter
from penchant.kernel.errors import NotReady, PenchantError
from penchant.workspace.service import Workspace
from penchant.workspace.serving import Serving

_LOGGER = logging.getLogger("penchant.http")
_RETRY_SECONDS = 1.0


@final
class Backend:
    """One worker's view of the workspace.

    It starts before anything is trained: events are taken from the beginning, feeds are answered as soon as
    the first models are there.
    """

    def __init__(self, workspace: Workspace, metrics: Metrics) -> None:
        self.workspace = workspace
        self.metrics = metrics
        self.writer = GroupWriter(self._store, capacity=workspace.settings.serving.queue)
        self._serving: Serving | None = None
        self._why_not = "the models are being loaded."

    @property
    def serving(self) -> Serving:
        """Return the live view.

        Raises:
            NotReady: nothing is trained or loaded yet.
        """
        if self._serving is None:
            raise NotReady(self._why_not)
        return self._serving

    @asynccontextmanager
    async def lifespan(self, app: Litestar) -> AsyncGenerator[None]:
        """Run as long as the app does."""
        async with self.running():
            yield

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Load before the first request and write everything down after the last."""
        opening = None if await self._open() else asyncio.create_task(self._keep_opening())
        try:
            yield
        finally:
            if opening is not None:
                opening.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await opening
            await self.writer.close()
            await asyncio.to_thread(self._close)
            gc.unfreeze()

    def problem(self) -> str | None:
        """Return why the log takes no events, None when it does."""
        if self.writer.problem is not None:
            return self.writer.problem
        return None if self._serving is None else self._serving.health().problem

    def waiting(self) -> int:
        """Return how many events and served feeds are not on disk yet."""
        served = 0 if self._serving is None else self._serving.health().waiting
        return self.writer.waiting + served

    def refused(self) -> int:
        """Return how many feeds were refused because too many waited for the log."""
        return 0 if self._serving is None else self._serving.health().refused

    def _store(self, events: Sequence[AnyEvent]) -> Appended:
        if self._serving is None:
            return self.workspace.log.append(events)
        return self._serving.record(events)

    async def _open(self) -> bool:
        try:
            serving = await asyncio.to_thread(self.workspace.serving)
        except NotReady as error:
            self._why_not = str(error)
            return False
        await asyncio.to_thread(serving.warm)
        # What is loaded by now stays. Left to the collector, each of its full rounds would walk all of it
        # and hold every request for as long as that takes.
        gc.collect()
        gc.freeze()
        self._serving = serving
        return True

    async def _keep_opening(self) -> None:
        while True:
            await asyncio.sleep(_RETRY_SECONDS)
            try:
                if await self._open():
                    return
            except PenchantError as error:
                self._why_not = str(error)
                _LOGGER.error("the models cannot be opened: %s", error)

    def _close(self) -> None:
        if self._serving is not None:
            try:
                self._serving.close()
            except PenchantError as error:
                _LOGGER.error("what was served last is not in the log: %s", error)
