"""The background writer of what was served: one thread, groups of events, nothing dropped, nothing hidden."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeAlias, final

from penchant.data.events import AnyEvent, Offered, Served, ServedSlot
from penchant.feed.types import Feed
from penchant.kernel.errors import NotReady, PenchantError

_GROUP = 500
_RETRY_SECONDS = 0.5
_LINGER_SECONDS = 0.05  # what is served meanwhile shares the commit; nobody waits for it

_Waiting: TypeAlias = tuple[Feed, float, type[Served | Offered]]


@final
class ServedWriter:
    """Appends `Served` and `Offered` events in groups, in the order in which they were put.

    Nobody waits for it: when ``capacity`` feeds wait for the log, another one is refused, and counted in
    ``refused``. When the log refuses a group, the group is kept and tried again, and ``error`` says why until
    it is stored.
    """

    def __init__(
        self,
        append: Callable[[Sequence[AnyEvent]], object],
        *,
        capacity: int,
        idle: Callable[[], None],
        idle_seconds: float,
    ) -> None:
        self._append = append
        self._idle = idle
        self._idle_seconds = idle_seconds
        self._capacity = capacity
        self._feeds: deque[_Waiting] = deque()  # a feed leaves it when it is on disk
        self._news = threading.Event()
        self._closing = threading.Event()
        self.error: PenchantError | None = None
        self.refused = 0
        self._thread = threading.Thread(target=self._run, name="penchant-served", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Return how many feeds are not on disk yet."""
        return len(self._feeds)

    def put(self, feed: Feed, now: float, kind: type[Served | Offered] = Served) -> None:
        """Hand over what was served at ``now``, or offered; this takes no time, also when the log does.

        Raises:
            NotReady: too many wait already; the log takes no events.
        """
        if len(self._feeds) >= self._capacity:
            self.refused += 1
            raise NotReady(
                f"what is served cannot be logged: {self.error or 'the log is too slow'}",
                fix="Look at the disk; serving goes on when the log takes events again.",
            )
        self._feeds.append((feed, now, kind))
        if not self._news.is_set():
            self._news.set()

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
            self._news.set()
            self._thread.join(timeout=5.0)

    def _run(self) -> None:
        while not self._closing.is_set():
            if self._news.wait(self._idle_seconds) and len(self._feeds) < _GROUP:
                self._closing.wait(_LINGER_SECONDS)
            self._news.clear()  # before looking, so that whoever puts later tells again
            group = [self._feeds[i] for i in range(min(len(self._feeds), _GROUP))]
            if group:
                self._store(group)
            if self._feeds:
                self._news.set()
            self._idle()

    def _store(self, group: list[_Waiting]) -> None:
        events = [served(*one) for one in group]
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
        for _ in group:
            self._feeds.popleft()


def served(feed: Feed, now: float, kind: type[Served | Offered] = Served) -> Served | Offered:
    """Return the event that says what a feed showed; its id is the request's."""
    return kind(
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
