"""The background writer of what was served: one thread, groups of events, nothing dropped, nothing hidden."""

import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import final

from penchant.data.events import AnyEvent, Served, ServedSlot
from penchant.feed.types import Feed
from penchant.kernel.errors import NotReady, PenchantError

_GROUP = 500
_RETRY_SECONDS = 0.5
_LINGER_SECONDS = 0.05  # what is served meanwhile shares the commit; nobody waits for it


@final
class ServedWriter:
    """Appends `Served` events in groups.

    A full queue makes the caller wait, at most ``patience`` seconds. When the log refuses a group, the group
    is kept and tried again, and ``error`` says why until it is stored.
    """

    def __init__(
        self,
        append: Callable[[Sequence[AnyEvent]], object],
        *,
        capacity: int,
        idle: Callable[[], None],
        idle_seconds: float,
        patience: float = 5.0,
    ) -> None:
        self._append = append
        self._idle = idle
        self._idle_seconds = idle_seconds
        self._patience = patience
        self._queue: queue.Queue[tuple[Feed, float]] = queue.Queue(capacity)
        self._closing = threading.Event()
        self.error: PenchantError | None = None
        self.written = 0
        self._thread = threading.Thread(target=self._run, name="penchant-served", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Return how many events are not on disk yet."""
        return self._queue.unfinished_tasks

    def put(self, feed: Feed, now: float) -> None:
        """Hand over what was served at ``now``.

        Raises:
            NotReady: the queue stayed full; the log takes no events.
        """
        try:
            self._queue.put((feed, now), timeout=self._patience)
        except queue.Full:
            raise NotReady(
                f"what is served cannot be logged: {self.error or 'the log is too slow'}",
                fix="Look at the disk; serving goes on when the log takes events again.",
            ) from None

    def flush(self, timeout: float = 30.0) -> None:
        """Return when all that was put is on disk.

        Raises:
            NotReady: it is not after ``timeout`` seconds, with the log's own error.
        """
        until = time.monotonic() + timeout
        while self.waiting:
            if self.error is not None or time.monotonic() > until:
                raise NotReady(f"{self.waiting} served feeds are not logged: {self.error or 'too slow'}")
            time.sleep(0.001)

    def close(self) -> None:
        """Write what waits and end the thread; raises as `flush` does."""
        try:
            self.flush()
        finally:
            self._closing.set()
            self._thread.join(timeout=5.0)

    def _run(self) -> None:
        while not self._closing.is_set():
            group = self._take()
            if group:
                self._store(group)
            self._idle()

    def _take(self) -> list[tuple[Feed, float]]:
        """Return what waits and what joins it shortly, up to a group; nothing after an idle while."""
        group: list[tuple[Feed, float]] = []
        try:
            group.append(self._queue.get(timeout=self._idle_seconds))
            if self._queue.qsize() < _GROUP:
                self._closing.wait(_LINGER_SECONDS)
            while len(group) < _GROUP:
                group.append(self._queue.get_nowait())
        except queue.Empty:
            pass
        return group

    def _store(self, group: list[tuple[Feed, float]]) -> None:
        events = [served(feed, now) for feed, now in group]
        while True:
            try:
                self._append(events)
            except PenchantError as error:
                self.error = error
                if self._closing.wait(_RETRY_SECONDS):
                    return
            else:
                break
        self.error = None
        self.written += len(group)
        for _ in group:
            self._queue.task_done()


def served(feed: Feed, now: float) -> Served:
    """Return the event that says what a feed showed; its id is the request's."""
    return Served(
        event_id=feed.request_id,
        timestamp=now,
        user_id=feed.user_id,
        feed=feed.feed,
        model_version=feed.model_version,
        slots=[
            ServedSlot(
                item_id=slot.item_id,
                position=position,
                source=slot.source,
                score=slot.score,
                propensity=slot.propensity,
            )
            for position, slot in enumerate(feed.slots)
        ],
    )
