"""The registry: every version of every model on disk, and one pointer that says which are served.

::

    snapshots/<digest>/            as `Snapshot.save` wrote it
    models/<name>/<version>/       as `save_model` wrote it; the version is a digest of all it was made from
    current.json                   the snapshot and the model versions that are served, replaced atomically
"""

import hashlib
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, final

import msgspec

from penchant.data.snapshot import Snapshot
from penchant.kernel.errors import InputError, NotFound, NotReady
from penchant.kernel.folders import write_atomically
from penchant.models.base import FORMAT, Model
from penchant.models.store import open_model, save_model
from penchant.workspace.catalogue import MODELS

SNAPSHOTS, VERSIONS, POINTER = "snapshots", "models", "current.json"


class Pointer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What ``current.json`` says: what is served."""

    snapshot: str  # digest
    models: dict[str, str]  # name of the recipe in penchant.toml -> version
    published: float  # seconds UTC
    format: int = FORMAT

    @property
    def version(self) -> str:
        """Return one short name for this set of models."""
        parts = [self.snapshot, *(f"{name}={version}" for name, version in sorted(self.models.items()))]
        return _digest(parts)[:12]


@final
class Registry:
    """The models and snapshots of one workspace folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def pointer_file(self) -> Path:
        """Return the file that is replaced when new models are served."""
        return self.folder / POINTER

    def current(self) -> Pointer:
        """Return what is served.

        Raises:
            NotReady: nothing was trained yet.
            InputError: the pointer is damaged or of another format.
        """
        try:
            raw = self.pointer_file.read_bytes()
        except FileNotFoundError:
            raise NotReady(
                "nothing is trained yet.", where=str(self.folder), fix="Run `penchant train`."
            ) from None
        try:
            pointer = msgspec.json.decode(raw, type=Pointer)
        except msgspec.DecodeError as error:
            raise InputError(
                f"damaged pointer ({error}).", where=str(self.pointer_file), fix="Run `penchant train`."
            ) from error
        if pointer.format != FORMAT:
            raise InputError(
                f"models of format {pointer.format}, this version reads {FORMAT}.",
                where=str(self.pointer_file),
                fix="Run `penchant train`.",
            )
        return pointer

    def stamp(self) -> tuple[int, int]:
        """Return something that changes whenever the pointer is replaced; (0, 0) before the first time."""
        try:
            stat = self.pointer_file.stat()
        except FileNotFoundError:
            return 0, 0
        return stat.st_mtime_ns, stat.st_ino

    def publish(self, pointer: Pointer) -> None:
        """Serve these from now on: a reader sees the old set or the new one."""
        write_atomically(self.pointer_file, msgspec.json.format(msgspec.json.encode(pointer), indent=2))

    def snapshot_folder(self, digest: str) -> Path:
        """Return where a snapshot stands."""
        return self.folder / SNAPSHOTS / digest

    def model_folder(self, name: str, version: str) -> Path:
        """Return where a model stands."""
        return self.folder / VERSIONS / name / version

    def keep_snapshot(self, snapshot: Snapshot) -> Snapshot:
        """Save a snapshot unless its content is there, and return it opened from disk, memory-mapped."""
        folder = self.snapshot_folder(snapshot.digest)
        if not folder.exists():
            snapshot.save(folder)
        return Snapshot.open(folder)

    def save(self, name: str, version: str, model: Model) -> None:
        """Publish a model by an atomic rename, in place of one that cannot be opened any more."""
        folder = self.model_folder(name, version)
        shutil.rmtree(folder, ignore_errors=True)
        save_model(model, folder)

    def open(self, name: str, version: str) -> Model:
        """Open a model, its arrays memory-mapped."""
        return open_model(self.model_folder(name, version), MODELS)

    def has(self, name: str, version: str) -> bool:
        """Return whether this model is there and can be opened: whole, and as this version keeps its kind."""
        try:
            self.open(name, version)
        except (NotFound, InputError):
            return False
        return True

    def prune(self, *, keep: int) -> list[Path]:
        """Remove all but the newest ``keep`` of each model and of the snapshots, never what is served."""
        pointer = self.current()
        gone: list[Path] = []
        for models in sorted((self.folder / VERSIONS).glob("*")):
            gone += _oldest(models, keep=keep, used={pointer.models.get(models.name, "")})
        gone += _oldest(self.folder / SNAPSHOTS, keep=keep, used={pointer.snapshot})
        for folder in gone:
            shutil.rmtree(folder, ignore_errors=True)
        return gone

    def sweep(self) -> None:
        """Remove what a killed process left half-written. The caller holds the training lock."""
        for parent in (self.folder / SNAPSHOTS, *(self.folder / VERSIONS).glob("*"), self.folder):
            for draft in parent.glob(".*.tmp"):
                if draft.is_dir():
                    shutil.rmtree(draft, ignore_errors=True)
                else:
                    draft.unlink(missing_ok=True)


def version_of(*, recipe: str, config: Mapping[str, Any], snapshot: str, seed: int, data: object) -> str:
    """Return the name of the model that exactly this makes: equal makings, equal name, equal bytes."""
    parts = [recipe, msgspec.json.encode(config, order="sorted").decode(), snapshot, str(seed), str(FORMAT)]
    return _digest([*parts, msgspec.json.encode(data, order="sorted").decode()])[:16]


def _digest(parts: Collection[str]) -> str:
    return hashlib.blake2b("\x1f".join(parts).encode(), digest_size=16).hexdigest()


def _oldest(parent: Path, *, keep: int, used: set[str]) -> list[Path]:
    folders = [path for path in parent.glob("*") if path.is_dir() and not path.name.startswith(".")]
    newest_first = sorted(folders, key=lambda path: (path.stat().st_mtime_ns, path.name), reverse=True)
    return [path for path in newest_first[keep:] if path.name not in used]
