"""Long work of the control plane: imports and trainings run as processes of their own, states in the store.

A process of its own keeps the memory and the processor time of a training out of the worker that answers
requests, and what it prints last when it fails is the failure reason that a client reads.
"""

import asyncio
import contextlib
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, final

import msgspec

from penchant.http.personalize.errors import AwsError, invalid
from penchant.http.personalize.kinds import ACTIVE, FAILED, IN_PROGRESS
from penchant.http.personalize.store import Store
from penchant.kernel.clock import Clock

_REASON_MOST = 1000
_ENDINGS = (".csv", ".csv.gz", ".parquet", ".jsonl")


@final
class Jobs:
    """Runs work in the background of one worker; `close` waits for none and stops what runs."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()  # one job at a time: two trainings would share two cores

    def start(self, path: str, work: Callable[[], Coroutine[Any, Any, dict[str, Any]]]) -> None:
        """Run ``work`` for the resource ``path``; what it returns is added to the resource's fields."""
        task = asyncio.create_task(self._run(path, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Stop all jobs; they are marked failed so that nobody waits for them."""
        for task in list(self._tasks):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _run(self, path: str, work: Callable[[], Coroutine[Any, Any, dict[str, Any]]]) -> None:
        async with self._turn:
            self._store.change(path, now=self._clock.now(), status=IN_PROGRESS)
            try:
                fields = await work()
            except AwsError as error:
                self._fail(path, error.message)
            except asyncio.CancelledError:
                self._fail(path, "The server was stopped. Create it again.")
                raise
            except OSError as error:
                self._fail(path, str(error))
            else:
                self._store.change(path, now=self._clock.now(), status=ACTIVE, fields=fields)

    def _fail(self, path: str, reason: str) -> None:
        self._store.change(path, now=self._clock.now(), status=FAILED, failure=reason[-_REASON_MOST:])


async def command(folder: Path, *arguments: str) -> Any:
    """Run one of this package's commands in a workspace and return its JSON answer.

    Raises:
        AwsError: it failed; the message is what it said last.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "penchant.cli.main",
        "-C",
        str(folder),
        *arguments,
        "--json",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await process.communicate()
    except asyncio.CancelledError:
        process.terminate()
        await process.wait()
        raise
    if process.returncode != 0:
        lines = err.decode(errors="replace").strip().splitlines() or [f"exit code {process.returncode}"]
        raise invalid(lines[-1])
    return msgspec.json.decode(out)


def located(location: str, buckets: dict[str, str]) -> list[Path]:
    """Return the files of a data location: ``s3://bucket/key`` with the bucket mounted as a folder.

    Raises:
        AwsError: the bucket is not mounted, the key leaves its folder, or there is no file of a known kind.
    """
    rest = location.removeprefix("s3://")
    bucket, _, key = rest.partition("/")
    if rest == location or not bucket:
        raise invalid(f"dataLocation '{location[:200]}' is not of the form s3://bucket/key.")
    folder = buckets.get(bucket)
    if folder is None:
        raise invalid(
            f"The bucket '{bucket}' is not mounted. Set [personalize.buckets] {bucket} = \"/folder\" in "
            "penchant.toml."
        )
    root = Path(folder).resolve()
    target = (root / key).resolve()
    if not target.is_relative_to(root):
        raise invalid(f"dataLocation '{location[:200]}' leaves its bucket.")
    if target.is_file():
        return [target]
    files = _files(target) if target.is_dir() else []
    if not files:
        raise invalid(f"There is no file at '{location[:200]}'. Accepted endings: {', '.join(_ENDINGS)}.")
    return files


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and path.name.endswith(_ENDINGS))


def import_arguments(dataset_type: str, files: Sequence[Path]) -> list[str]:
    """Return the arguments of the import command for a dataset's files."""
    option = {"INTERACTIONS": "--interactions", "ITEMS": "--items", "USERS": "--users"}[dataset_type]
    return ["import", *(part for file in files for part in (option, str(file)))]
