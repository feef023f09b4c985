"""Group commits: fewer writes than writers, and only the wrong batches fail."""

import asyncio
import threading
from collections.abc import Sequence

import pytest

from penchant.data.eventlog import Appended
from penchant.data.events import Acted, AnyEvent
from penchant.http.writer import GroupWriter
from penchant.kernel.errors import Conflict, InputError, NotReady


def event(name: str) -> Acted:
    return Acted(event_id=name, timestamp=1.0, user_id="u", item_id="i")


class Log:
    """Stores atomically, on demand slowly; refuses a batch that holds an event named ``bad``."""

    def __init__(self) -> None:
        self.commits: list[list[str]] = []
        self.go = threading.Event()
        self.go.set()
        self.error: Exception | None = None

    def append(self, events: Sequence[AnyEvent]) -> Appended:
        self.go.wait(5)
        if self.error is not None:
            raise self.error
        names = [e.event_id for e in events]
        if "bad" in names:
            raise InputError("bad event.")
        self.commits.append(names)
        return Appended(stored=len(names), known=0, head=sum(map(len, self.commits)))


def test_those_who_wait_share_the_next_commit() -> None:
    async def scenario() -> tuple[list[list[str]], list[int]]:
        log = Log()
        writer = GroupWriter(log.append, capacity=100)
        log.go.clear()
        first = asyncio.create_task(writer.write([event("a")]))
        await asyncio.sleep(0.02)  # its commit is under way
        rest = [asyncio.create_task(writer.write([event(f"b{i}")])) for i in range(20)]
        await asyncio.sleep(0.02)
        assert writer.waiting == 21
        log.go.set()
        heads = await asyncio.gather(first, *rest)
        assert writer.waiting == 0
        await writer.close()
        return log.commits, heads

    commits, heads = asyncio.run(scenario())
    assert commits == [["a"], [f"b{i}" for i in range(20)]]
    assert heads == [1] + [21] * 20


def test_only_the_wrong_batch_of_a_group_fails() -> None:
    async def scenario() -> None:
        log = Log()
        writer = GroupWriter(log.append, capacity=100)
        log.go.clear()
        tasks = [asyncio.create_task(writer.write([event(name)])) for name in ("a", "b", "bad", "c")]
        await asyncio.sleep(0.02)
        log.go.set()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [int, int, InputError, int]
        assert sorted(name for commit in log.commits for name in commit) == ["a", "b", "c"]
        assert writer.problem is None, "a caller's mistake is no problem of the log"
        await writer.close()

    asyncio.run(scenario())


def test_a_failing_log_is_told_until_it_works_again() -> None:
    async def scenario() -> None:
        log = Log()
        writer = GroupWriter(log.append, capacity=100)
        log.error = Conflict("the disk is full.")
        with pytest.raises(Conflict):
            await writer.write([event("a")])
        assert writer.problem == "the disk is full."
        log.error = None
        assert await writer.write([event("a")]) == 1
        assert writer.problem is None
        await writer.close()

    asyncio.run(scenario())


def test_more_than_can_wait_is_refused_at_once() -> None:
    async def scenario() -> None:
        log = Log()
        writer = GroupWriter(log.append, capacity=10)
        log.go.clear()
        held = asyncio.create_task(writer.write([event(f"a{i}") for i in range(8)]))
        await asyncio.sleep(0.02)
        with pytest.raises(NotReady):
            await writer.write([event(f"b{i}") for i in range(3)])
        log.go.set()
        await held
        # Alone, a batch above the capacity is taken: it could never be sent otherwise.
        assert await writer.write([event(f"c{i}") for i in range(30)]) == 38
        await writer.close()

    asyncio.run(scenario())


def test_a_caller_that_goes_away_takes_nothing_back() -> None:
    async def scenario() -> None:
        log = Log()
        writer = GroupWriter(log.append, capacity=10)
        log.go.clear()
        gone = asyncio.create_task(writer.write([event("a")]))
        await asyncio.sleep(0.02)
        stays = asyncio.create_task(writer.write([event("b")]))
        leaves = asyncio.create_task(writer.write([event("c")]))
        await asyncio.sleep(0.02)
        gone.cancel()
        leaves.cancel()
        log.go.set()
        assert await stays == 3
        await writer.close()
        assert log.commits == [["a"], ["b", "c"]]

    asyncio.run(scenario())
