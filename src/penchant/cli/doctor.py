"""The command doctor: what is installed, what is missing, and the command that adds it."""

import importlib
import os
import platform
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import typer

from penchant.cli.session import Folder, Json, Session, session
from penchant.kernel.errors import PenchantError

_LOW_DISK_GB = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing looked at. ``state`` is "ok", "missing" (needed) or "optional" (absent, not needed)."""

    what: str
    state: str
    detail: str
    fix: str = ""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor")(doctor)


def doctor(context: typer.Context, folder: Folder = None, json: Json = False) -> None:
    """Say what is missing and the command that adds it.

    Exit code 1 when something that is needed is missing.
    """
    here = session(context, folder, json=json)
    found = [_python(), *_requirements(), _lightgbm(), _cache(), _disk(here.folder), _workspace(here.folder)]
    here.answer(found, lambda: _show(here, found))
    if any(finding.state == "missing" for finding in found):
        raise typer.Exit(1)


def _python() -> Finding:
    ok = sys.version_info >= (3, 11)
    detail = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}, "
    return Finding(
        what="Python",
        state="ok" if ok else "missing",
        detail=f"{detail}{os.cpu_count()} cores",
        fix="" if ok else "Install Python 3.11 or newer.",
    )


def _requirements() -> list[Finding]:
    """Look at every package that Penchant's own metadata names, extras included."""
    from importlib import metadata

    found: list[Finding] = []
    for line in metadata.requires("penchant") or []:
        name = re.split(r"[\s<>=!~;\[(]", line, maxsplit=1)[0]
        extra = re.search(r"extra == ['\"]([\w-]+)['\"]", line)
        if (
            name == "penchant"
            or (extra and extra[1] in ("dev", "peers"))  # for working on Penchant, not with it
            or (";" in line and "sys_platform" in line and sys.platform == "win32")
        ):
            continue
        found.append(_package(name, extra[1] if extra else None))
    return found


def _package(name: str, extra: str | None) -> Finding:
    from importlib import metadata

    what = f"{name} (extra {extra})" if extra else name
    try:
        return Finding(what=what, state="ok", detail=metadata.version(name))
    except metadata.PackageNotFoundError:
        wanted = f"penchant[{extra}]" if extra else "penchant"
        return Finding(
            what=what,
            state="optional" if extra else "missing",
            detail="not installed",
            fix=f"{Path(sys.executable)} -m pip install '{wanted}'",
        )


def _lightgbm() -> Finding:
    """LightGBM's wheel needs the system's OpenMP library, which small Linux images leave out."""
    what = "LightGBM's OpenMP library"
    try:
        importlib.import_module("lightgbm.basic")
    except (ImportError, OSError) as error:
        hint = "apt-get install libgomp1" if sys.platform == "linux" else "brew install libomp"
        return Finding(what=what, state="missing", detail=str(error), fix=hint)
    return Finding(what=what, state="ok", detail="found")


def _cache() -> Finding:
    """Compiled kernels are cached beside the code, or where NUMBA_CACHE_DIR says."""
    import penchant

    folder = Path(os.environ.get("NUMBA_CACHE_DIR", Path(penchant.__file__).parent))
    writable = os.access(folder, os.W_OK)
    return Finding(
        what="cache of compiled kernels",
        state="ok" if writable else "optional",
        detail=f"{folder}" if writable else f"{folder} is read-only: kernels compile at every start",
        fix="" if writable else "Set NUMBA_CACHE_DIR to a folder you may write to.",
    )


def _disk(folder: Path) -> Finding:
    place = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(place).free / 1e9
    low = free < _LOW_DISK_GB
    return Finding(
        what="disk",
        state="missing" if low else "ok",
        detail=f"{free:.1f} GB free at {place}",
        fix="Free some space: the log, snapshots and models live there." if low else "",
    )


def _workspace(folder: Path) -> Finding:
    from penchant.workspace.registry import Registry
    from penchant.workspace.settings import FILE, Settings

    what = f"workspace {folder}"
    if not (folder / FILE).exists():
        return Finding(what=what, state="optional", detail=f"no {FILE}", fix=f"penchant init {folder}")
    steps: list[Callable[[], object]] = [lambda: Settings.read(folder), Registry(folder).current]
    try:
        for step in steps:
            step()
    except PenchantError as error:
        return Finding(what=what, state="optional", detail=error.what, fix=error.fix or "")
    return Finding(what=what, state="ok", detail="settings are valid, models are trained")


def _show(here: Session, found: list[Finding]) -> None:
    here.table(
        ["state", "what", "found"], [[finding.state, finding.what, finding.detail] for finding in found]
    )
    mend = [finding for finding in found if finding.fix]
    if mend:
        here.say()
        here.say("To mend or add:")
    for finding in mend:
        here.say(f"  {finding.what}: {finding.fix}", exact=True)  # to be copied
