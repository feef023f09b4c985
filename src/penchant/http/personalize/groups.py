"""Dataset groups: workspaces of their own below ``groups/``, beside the server's own workspace."""

import asyncio
import fcntl
import shutil
import tomllib
from collections import defaultdict
from collections.abc import Collection, Generator, Mapping
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any, final

from penchant.http.backend import Backend
from penchant.http.metrics import Metrics
from penchant.http.personalize.errors import AwsError, invalid, not_found
from penchant.kernel.errors import NotReady
from penchant.kernel.folders import write_atomically
from penchant.workspace.registry import VERSIONS, Registry
from penchant.workspace.service import Workspace
from penchant.workspace.settings import FILE, Settings
from penchant.workspace.toml import to_toml

OWN = "default"
"""The name of the group that is the server's own workspace: its feeds answer as campaigns of their names."""

_HEADER = "# Written by the Personalize API of this server: change it through CreateSolution, not by hand.\n"
_LOCK = "settings.lock"


@final
class Groups:
    """Opens each group once a worker, and again when its settings were changed by any worker."""

    def __init__(self, own: Backend) -> None:
        self._own = own
        self._open: dict[str, tuple[int, Backend, AsyncExitStack]] = {}
        # One a group: opening a large one must not hold up the others.
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    @property
    def root(self) -> Path:
        """Return the folder that holds the groups."""
        return self._own.workspace.folder / "groups"

    def folder(self, name: str) -> Path:
        """Return a group's workspace folder.

        Raises:
            AwsError: there is no such group.
        """
        if name == OWN:
            return self._own.workspace.folder
        folder = self.root / name
        if not (folder / FILE).exists():
            raise not_found(f"There is no dataset group '{name}'.")
        return folder

    async def backend(self, name: str) -> Backend:
        """Return what answers for a group in this worker."""
        if name == OWN:
            return self._own
        folder = self.folder(name)
        stamp = (folder / FILE).stat().st_mtime_ns
        async with self._locks[name]:
            held = self._open.get(name)
            if held is not None and held[0] == stamp:
                return held[1]
            await self._close(name)
            stack = AsyncExitStack()
            workspace = await asyncio.to_thread(Workspace.open, folder)
            backend = Backend(workspace, Metrics())
            await stack.enter_async_context(backend.running())
            self._open[name] = (stamp, backend, stack)
            return backend

    async def create(self, name: str) -> None:
        """Make an empty group.

        Raises:
            AwsError: the name is taken.
        """
        folder = self.root / name
        if name == OWN or folder.exists():
            raise AwsError("ResourceAlreadyExistsException", f"There is a dataset group '{name}' already.")
        await asyncio.to_thread(_write, folder, Settings())

    async def declare(
        self,
        name: str,
        *,
        recipes: Mapping[str, Any] | None = None,
        feeds: Mapping[str, Any] | None = None,
        actions: Mapping[str, Any] | None = None,
        without: Collection[str] = (),
    ) -> None:
        """Add recipes, feeds and actions to a group's settings and remove those named by ``without``.

        All is checked before anything is written.
        """
        folder = self.folder(name)
        if name == OWN:
            raise invalid(
                "The server's own workspace is set up in its penchant.toml. Create a dataset group."
            )
        added = {"recipes": recipes or {}, "feeds": feeds or {}, "actions": actions or {}}
        await asyncio.to_thread(_change, folder, added, frozenset(without))

    async def clear(self, name: str) -> None:
        """Remove the models of recipes that the group's settings and its pointer no longer name."""
        await asyncio.to_thread(_clear, self.folder(name))

    async def delete(self, name: str) -> None:
        """Remove a group and all its data."""
        folder = self.folder(name)
        if name == OWN:
            raise invalid("The server's own workspace is not a dataset group that can be deleted.")
        async with self._locks[name]:
            await self._close(name)
            await asyncio.to_thread(shutil.rmtree, folder)

    async def close(self) -> None:
        """Close every group that this worker opened."""
        for name in list(self._open):
            async with self._locks[name]:
                await self._close(name)

    async def _close(self, name: str) -> None:
        held = self._open.pop(name, None)
        if held is not None:
            await held[2].aclose()
            held[1].workspace.close()


@contextmanager
def _only_writer(folder: Path) -> Generator[None]:
    """Hold the right to change a group's settings; the system gives it back when the process dies."""
    with (folder / _LOCK).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _change(folder: Path, given: Mapping[str, Mapping[str, Any]], without: frozenset[str]) -> None:
    with _only_writer(folder):
        tables: dict[str, Any] = tomllib.loads((folder / FILE).read_text(encoding="utf-8"))
        for section, added in given.items():
            kept = {key: table for key, table in tables.get(section, {}).items() if key not in without}
            tables[section] = {**kept, **added}
        _write(folder, Settings.of_toml(to_toml(tables)))


def _clear(folder: Path) -> None:
    with _only_writer(folder):
        used = set(Settings.read(folder).recipes)
        try:
            used |= set(Registry(folder).current().models)
        except NotReady:
            return
        for models in (folder / VERSIONS).iterdir():
            if models.name not in used:
                shutil.rmtree(models, ignore_errors=True)


def _write(folder: Path, settings: Settings) -> None:
    write_atomically(folder / FILE, (_HEADER + settings.to_toml()).encode())
