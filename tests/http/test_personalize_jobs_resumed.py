"""Jobs of workers that are gone: who takes them up, how often, and what they are told to be."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from penchant.http.personalize.jobs import Jobs, States, Work
from penchant.http.personalize.kinds import ACTIVE, FAILED, IN_PROGRESS, PENDING
from penchant.http.personalize.living import FOLDER
from penchant.http.personalize.store import Resource, Store
from penchant.testing.clock import FakeClock

_DELETION = States(running="IN_PROGRESS", done="COMPLETED", failed="FAILED")


def resource(path: str, status: str, **fields: Any) -> Resource:
    kind = path.partition("/")[0]
    return Resource(
        path=path, kind=kind, name="x", group="g", status=status, created=0, updated=0, fields=fields
    )


def worker(store: Store, folder: Path, done: list[str], wait: "asyncio.Event | None" = None) -> Jobs:
    def maker(one: Resource) -> Work:
        async def work() -> dict[str, Any]:
            if wait is not None:
                await wait.wait()
            done.append(one.path)
            return {"_done": True}

        return work

    jobs = Jobs(store, FakeClock(5.0), folder)
    jobs.does("import", maker)
    jobs.does("deletion", maker, _DELETION)
    return jobs


def run(folder: Path, story: Callable[[Store], Any]) -> None:
    store = Store(folder)
    try:
        asyncio.run(story(store))
    finally:
        store.close()


async def settled(jobs: Jobs) -> None:
    while jobs._tasks:  # pyright: ignore[reportPrivateUsage] - there is nothing else to wait for
        await asyncio.sleep(0.001)


def test_what_was_left_is_done_and_what_has_ended_is_not(tmp_path: Path) -> None:
    async def story(store: Store) -> None:
        for path, status in (
            ("import/waits", PENDING),
            ("import/ran", IN_PROGRESS),
            ("import/done", ACTIVE),
            ("import/failed", FAILED),
            ("deletion/waits", "PENDING"),
            ("deletion/ran", "IN_PROGRESS"),
            ("deletion/done", "COMPLETED"),
        ):
            store.add(resource(path, status, _worker="nobody"))
        done: list[str] = []
        jobs = worker(store, tmp_path, done)
        jobs.begin()
        await settled(jobs)
        assert sorted(done) == ["deletion/ran", "deletion/waits", "import/ran", "import/waits"]
        assert store.get("import/ran").status == ACTIVE
        assert store.get("deletion/ran").status == "COMPLETED"
        assert store.get("import/failed").status == FAILED
        await jobs.close()
        assert [path.name for path in (tmp_path / FOLDER).iterdir()] == ["join.lock"]

    run(tmp_path, story)


def test_jobs_of_a_worker_that_is_there_are_its_own(tmp_path: Path) -> None:
    async def story(store: Store) -> None:
        store.add(resource("import/one", PENDING))
        mine: list[str] = []
        theirs: list[str] = []
        forever = asyncio.Event()
        first = worker(store, tmp_path, mine, forever)
        first.begin()
        await asyncio.sleep(0.01)
        assert store.get("import/one").status == IN_PROGRESS
        second = worker(store, tmp_path, theirs)
        second.begin()
        await settled(second)
        assert theirs == []
        await first.close()
        assert store.get("import/one").status == IN_PROGRESS
        third = worker(store, tmp_path, theirs)
        third.begin()
        await settled(third)
        assert (mine, theirs) == ([], ["import/one"])
        await second.close()
        await third.close()

    run(tmp_path, story)


def test_a_job_that_servers_keep_dying_of_ends_with_a_reason(tmp_path: Path) -> None:
    async def story(store: Store) -> None:
        store.add(resource("import/poison", IN_PROGRESS))
        done: list[str] = []
        for _ in range(3):
            jobs = worker(store, tmp_path, done, asyncio.Event())
            jobs.begin()
            await asyncio.sleep(0.01)
            assert store.get("import/poison").status == IN_PROGRESS
            await jobs.close()
        jobs = worker(store, tmp_path, done)
        jobs.begin()
        await settled(jobs)
        left = store.get("import/poison")
        assert (left.status, done) == (FAILED, [])
        assert left.failure is not None
        assert "4 servers ended in the middle" in left.failure
        await jobs.close()

    run(tmp_path, story)
