"""Durable writes without stalling the event loop: one thread, and whoever waits shares the next commit."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import final

from penchant.data.eventlog import Appended
from penchant.data.events import AnyEvent
from penchant.kernel.errors import InputError, NotReady, PenchantError


@dataclass(frozen=True, slots=True)
class _Batch:
    events: Sequence[AnyEvent]
    stored: asyncio.Future[int]


@final
class GroupWriter:
    """Stores batches of events in groups: all that arrive during one commit make the next one.

    A commit waits for the disk, so n clients that write at once cost two commits and not n. A batch is still
    all or nothing: when a group is refused, each of its batches is stored on its own, so that only the
    batches that are wrong fail.
    """

    def __init__(self, store: Callable[[Sequence[AnyEvent]], Appended], *, capacity: int) -> None:
        self._store = store
        self._capacity = capacity
        self._waiting: list[_Batch] = []
        self._events = 0  # in _waiting and in the group being stored
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="penchant-write")
        self._running: asyncio.Task[None] | None = None
        self.problem: str | None = None  # why the last write failed, when the caller was not to blame

    @property
    def waiting(self) -> int:
        """Return how many events are not on disk yet."""
        return self._events

    async def write(self, events: Sequence[AnyEvent]) -> int:
        """Return the log's head when all events are on disk.

        Raises:
            NotReady: too many events wait already.
            PenchantError: what the log says; nothing of this batch was stored.
        """
        if self._events and self._events + len(events) > self._capacity:
            raise NotReady(f"{self._events} events wait for the disk.", fix="Send them again in a second.")
        batch = _Batch(events, asyncio.get_running_loop().create_future())
        self._waiting.append(batch)
        self._events += len(events)
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        # Shielded: a caller that goes away does not take its events out of the group.
        return await asyncio.shield(batch.stored)

    async def close(self) -> None:
        """Store what waits and end the thread."""
        if self._running is not None:
            await self._running
        self._thread.shutdown()

    async def _run(self) -> None:
        try:
            while self._waiting:
                group, self._waiting = self._waiting, []
                await self._store_group(group)
        finally:
            self._running = None

    async def _store_group(self, group: list[_Batch]) -> None:
        try:
            head = await self._append([event for batch in group for event in batch.events])
        except Exception as error:  # noqa: BLE001 - it goes to the callers who wait, whatever it is
            if len(group) == 1:
                self._note(error)
                self._settle(group[0], error)
            else:
                for batch in group:
                    await self._store_group([batch])
        else:
            self.problem = None
            for batch in group:
                self._settle(batch, head)

    async def _append(self, events: Sequence[AnyEvent]) -> int:
        appended = await asyncio.get_running_loop().run_in_executor(self._thread, self._store, events)
        return appended.head

    def _note(self, error: Exception) -> None:
        if not isinstance(error, InputError):
            self.problem = str(error) if isinstance(error, PenchantError) else type(error).__name__

    def _settle(self, batch: _Batch, outcome: int | Exception) -> None:
        self._events -= len(batch.events)
        if batch.stored.cancelled():
            return
        if isinstance(outcome, Exception):
            batch.stored.set_exception(outcome)
        else:
            batch.stored.set_result(outcome)
