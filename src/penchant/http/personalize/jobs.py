"""Long work of the control plane: imports and trainings run as processes of their own, states in the store.

A process of its own keeps the memory and the processor time of a training out of the worker that answers
requests, and what it prints last when it fails is the failure reason that a client reads.
"""

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, final

import msgspec

from penchant.http.personalize.errors import AwsError, invalid
from penchant.http.personalize.kinds import ACTIVE, FAILED, IN_PROGRESS, PENDING
from penchant.http.personalize.living import Living
from penchant.http.personalize.store import Resource, Store
from penchant.kernel.clock import Clock
from penchant.kernel.errors import PenchantError

_REASON_MOST = 1000
_TABLES = (".csv", ".csv.gz", ".parquet", ".jsonl")

_WAITING = (PENDING, "PENDING")
_WORKER, _TRIES = "_worker", "_tries"  # fields of a job: who does it, how often it was taken up again
_MOST_TRIES = 3

Work: TypeAlias = Callable[[], Coroutine[Any, Any, dict[str, Any]]]
Maker: TypeAlias = Callable[[Resource], Work]


@dataclass(frozen=True, slots=True, kw_only=True)
class States:
    """What the states of a job are called."""

    running: str
    done: str
    failed: str


CREATED = States(running=IN_PROGRESS, done=ACTIVE, failed=FAILED)


@final
class Jobs:
    """Runs work in the background of one worker, one job after the other.

    What a job does follows from its resource alone. So a job that its worker did not bring to an end, because
    it was stopped or killed, is taken up again by the next worker that starts.
    """

    def __init__(self, store: Store, clock: Clock, folder: Path) -> None:
        self._store = store
        self._clock = clock
        self._makers: dict[str, tuple[Maker, tuple[States, ...]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()  # one job at a time: two trainings would share two cores
        self._living = Living(folder)

    def does(self, kind: str, maker: Maker, *states: States) -> None:
        """Say what work the resources of a kind stand for, and what its states are called (`CREATED`)."""
        self._makers[kind] = maker, states or (CREATED,)

    def begin(self) -> None:
        """Take up what workers that are gone have left unfinished. Called once, before the first `start`."""
        with self._living.joining() as there:
            for kind, (_, named) in self._makers.items():
                for one in self._store.all(kind):
                    if one.fields.get(_WORKER) not in there:
                        self._again(one, named)

    def _again(self, left: Resource, named: Sequence[States]) -> None:
        states = next((s for s in named if s.running == left.status), None)
        if states is None and left.status in _WAITING:
            states = named[0]
        if states is None:
            return
        tries = int(left.fields.get(_TRIES, 0)) + 1
        if tries > _MOST_TRIES:
            reason = f"{tries} servers ended in the middle of it. Their logs may say why. Create it again."
            self._store.change(left.path, now=self._clock.now(), status=states.failed, failure=reason)
            return
        self._store.change(left.path, now=self._clock.now(), fields={_TRIES: tries})
        self.start(left, states=states)

    def start(self, resource: Resource, *, states: States | None = None) -> None:
        """Do the work of a resource; what the work returns is added to its fields."""
        named = self._makers[resource.kind][1]
        self._store.change(resource.path, now=self._clock.now(), fields={_WORKER: self._living.name})

        async def work() -> dict[str, Any]:
            return await self.work_of(resource)()

        task = asyncio.create_task(self._run(resource.path, work, states or named[0]))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def work_of(self, resource: Resource) -> Work:
        """Return what a resource asks to be done."""
        return self._makers[resource.kind][0](resource)

    async def close(self) -> None:
        """Stop all jobs; the next worker that starts does them."""
        for task in list(self._tasks):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._living.leave()

    async def _run(self, path: str, work: Work, states: States) -> None:
        def ended(status: str, **changes: Any) -> None:
            if self._store.find(path) is not None:  # deleted meanwhile, it has no state any more
                self._store.change(path, now=self._clock.now(), status=status, **changes)

        def failed(reason: str) -> None:
            ended(states.failed, failure=reason[-_REASON_MOST:])

        try:
            async with self._turn:
                ended(states.running)
                fields = await work()
        except AwsError as error:
            failed(error.message)
        except PenchantError as error:
            failed(str(error))
        except OSError as error:
            failed(str(error))
        else:
            ended(states.done, fields=fields)


async def command(folder: Path, *arguments: str) -> Any:
    """Run one of this package's commands in a workspace and return its JSON answer.

    Raises:
        AwsError: it failed; the message is what it said last.
    """
    return await process("penchant.cli.main", "-C", str(folder), *arguments, "--json")


async def task(work: msgspec.Struct) -> Any:
    """Do one of the `penchant.http.personalize.worker` tasks in a process of its own; raises as `command`."""
    return await process("penchant.http.personalize.worker", given=msgspec.json.encode(work))


async def process(module: str, *arguments: str, given: bytes = b"") -> Any:
    """Run a module as a process that answers in JSON, and ends when this one is killed.

    ``given`` is its standard input.

    Raises:
        AwsError: it failed; the message is what it said last.
    """
    theirs, ours = os.pipe()
    try:
        running = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "penchant.http.personalize.child",
            str(theirs),
            module,
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            pass_fds=(theirs,),
        )
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    try:
        out, err = await running.communicate(given)
    except asyncio.CancelledError:
        running.terminate()
        await running.wait()
        raise
    finally:
        os.close(ours)
    if running.returncode != 0:
        lines = err.decode(errors="replace").strip().splitlines() or [f"exit code {running.returncode}"]
        raise invalid(lines[-1])
    return msgspec.json.decode(out)


def located(location: str, buckets: dict[str, str], endings: tuple[str, ...] = _TABLES) -> list[Path]:
    """Return the files of a data location: ``s3://bucket/key`` with the bucket mounted as a folder.

    Raises:
        AwsError: the bucket is not mounted, the key leaves its folder, or there is no file of a known kind.
    """
    target = place(location, buckets)
    if target.is_file():
        return [target]
    files = sorted(path for path in target.iterdir() if path.is_file()) if target.is_dir() else []
    found = [path for path in files if path.name.endswith(endings)]
    if not found:
        raise invalid(f"There is no file at '{location[:200]}'. Accepted endings: {', '.join(endings)}.")
    return found


def place(location: str, buckets: dict[str, str]) -> Path:
    """Return the path that ``s3://bucket/key`` stands for, there or not.

    Raises:
        AwsError: the bucket is not mounted, or the key leaves its folder.
    """
    rest = location.removeprefix("s3://")
    bucket, _, key = rest.partition("/")
    if rest == location or not bucket or "\0" in key:
        raise invalid(f"'{location[:200]}' is not of the form s3://bucket/key.")
    folder = buckets.get(bucket)
    if folder is None:
        raise invalid(
            f"The bucket '{bucket}' is not mounted. Set [personalize.buckets] {bucket} = \"/folder\" in "
            "penchant.toml."
        )
    root = Path(folder).resolve()
    target = (root / key).resolve()
    if not target.is_relative_to(root):
        raise invalid(f"'{location[:200]}' leaves its bucket.")
    return target


def import_arguments(dataset_type: str, files: Sequence[Path]) -> list[str]:
    """Return the arguments of the import command for a dataset's files."""
    option = f"--{dataset_type.lower().replace('_', '-')}"
    return ["import", *(part for file in files for part in (option, str(file)))]
