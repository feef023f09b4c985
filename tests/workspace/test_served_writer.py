"""The background writer: nobody waits, nothing is lost, what the log refuses is tried again in order."""

import threading
import time
from collections.abc import Callable, Sequence

import pytest

from penchant.data.events import AnyEvent, Offered, Served
from penchant.feed.types import Feed, Slot
from penchant.kernel.errors import NotReady, PenchantError
from penchant.workspace.writer import ServedWriter


def feed(name: str) -> Feed:
    slot = Slot(item=0, item_id="i", source="popular", score=0.5, propensity=None)
    return Feed(request_id=name, feed="home", user_id="u", model_version="v", slots=(slot,), trace=())


class Log:
    """Takes groups; hangs, or refuses, on demand."""

    def __init__(self) -> None:
        self.groups: list[list[AnyEvent]] = []
        self.go = threading.Event()
        self.go.set()
        self.error: PenchantError | None = None
        self.tries = 0

    def append(self, events: Sequence[AnyEvent]) -> None:
        self.tries += 1
        assert self.go.wait(30)
        if self.error is not None:
            raise self.error
        self.groups.append(list(events))

    @property
    def names(self) -> list[str]:
        return [event.event_id for group in self.groups for event in group]


def writer_of(log: Log, capacity: int = 10_000, idle: Callable[[], None] = lambda: None) -> ServedWriter:
    return ServedWriter(log.append, capacity=capacity, idle=idle, idle_seconds=0.01)


def test_everything_is_written_once_in_order_from_many_threads() -> None:
    log = Log()
    writer = writer_of(log)

    def put(thread: int) -> None:
        for i in range(400):
            writer.put(feed(f"{thread}-{i:03d}"), 1.0, Offered if thread == 0 else Served)

    threads = [threading.Thread(target=put, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.flush()
    assert writer.waiting == 0
    assert len(log.names) == len(set(log.names)) == 1600
    for n in range(4):
        mine = [name for name in log.names if name.startswith(f"{n}-")]
        assert mine == sorted(mine)
    kinds = {event.event_id[0]: type(event) for group in log.groups for event in group}
    assert kinds == {"0": Offered, "1": Served, "2": Served, "3": Served}
    assert max(map(len, log.groups)) <= 500
    writer.close()


def test_a_full_queue_refuses_at_once_and_what_was_taken_is_written() -> None:
    log = Log()
    log.go.clear()
    writer = writer_of(log, capacity=3)
    for n in range(3):
        writer.put(feed(str(n)), 1.0)
    begun = time.perf_counter()
    for _ in range(2):
        with pytest.raises(NotReady, match="too slow"):
            writer.put(feed("refused"), 1.0)
    assert time.perf_counter() - begun < 1.0
    assert (writer.refused, writer.waiting) == (2, 3)
    with pytest.raises(NotReady, match="3 served feeds are not logged"):
        writer.flush(timeout=0.05)
    log.go.set()
    writer.flush()
    writer.put(feed("3"), 1.0)
    writer.close()
    assert log.names == ["0", "1", "2", "3"]


def test_what_the_log_refuses_is_kept_in_order_and_the_reason_told() -> None:
    log = Log()
    log.error = PenchantError("the disk is full.")
    writer = writer_of(log)
    writer.put(feed("0"), 1.0)
    while writer.error is None:
        time.sleep(0.005)
    writer.put(feed("1"), 1.0)
    with pytest.raises(NotReady, match="2 served feeds are not logged: the disk is full"):
        writer.flush()
    log.error = None
    while writer.error is not None:
        time.sleep(0.005)
    writer.close()
    assert log.names == ["0", "1"]
    assert log.tries >= 3


def test_it_looks_for_other_s_events_while_nothing_is_served() -> None:
    looked = threading.Event()
    writer = writer_of(Log(), idle=looked.set)
    assert looked.wait(10)
    writer.close()
