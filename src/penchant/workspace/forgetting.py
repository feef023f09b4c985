"""Forgetting people: they leave the log, and everything that was made from it is made without them.

In order, so that a kill at any moment leaves the workspace before or after:

1. Snapshot and models are made from the log as it will be; nobody serves them yet.
2. One transaction takes the people out of the log and notes what is left to do. From here on it is done.
3. The pointer moves to the new models; all other snapshots and models, the rows of these people in the
   quarantine, the audiences that name them, caches and the replaced files of the log are removed; a receipt
   is written.

What a kill left of step 3 is done when the workspace is opened next.
"""

import re
import shutil
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

import msgspec

from penchant.data.deletion import Gone, Remaining
from penchant.data.log_rewrite import Rewritten
from penchant.data.log_snapshot import snapshot_of
from penchant.data.snapshot import Snapshot
from penchant.data.sqlite_log import SqliteLog
from penchant.kernel.errors import Conflict, Defect, InputError, NotReady
from penchant.kernel.folders import write_atomically
from penchant.kernel.progress import Progress
from penchant.workspace.online_bandit import FOLDER as BANDITS
from penchant.workspace.registry import SNAPSHOTS, VERSIONS, Pointer, Registry
from penchant.workspace.settings import Settings
from penchant.workspace.training import only_trainer, prepared

RECEIPTS = "receipts"
CACHE, AUDIENCES = "cache", "audiences"  # folders of the workspace that hold ids of users
MADE_AGAIN = (CACHE, BANDITS)  # when they are asked for


class Receipt(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was done. It names nobody: it stays when the people are gone."""

    people: int  # user ids asked for
    events: dict[str, int]  # kind -> events removed; of item_put and action_put, changed
    at: float  # seconds UTC
    head: int  # the log's last number when it began
    files: list[Rewritten] = []  # of the log
    snapshot: str | None = None  # digest of what is served from then on; None: nothing
    models: dict[str, str] = {}
    removed: list[str] = []  # snapshots, models and quarantine files that were removed or rewritten


class _Note(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is left to do once the log is without them."""

    ids: list[str]
    pointer: Pointer | None
    receipt: Receipt


def forget(
    folder: Path,
    registry: Registry,
    settings: Settings,
    log: SqliteLog,
    users: Collection[str],
    *,
    told: Callable[[Snapshot], Snapshot],
    quarantine: Path,
    now: float,
    progress: Progress,
) -> Receipt:
    """Take users out of a workspace; ``told`` adds what a training adds to a snapshot.

    Raises:
        InputError: no user is named.
        Conflict: a training or an import is running.
    """
    if not users or "" in users:
        raise InputError("name the users to forget.")
    with only_trainer(folder):
        if log.unfinished() is not None:
            _finish(folder, registry, log, quarantine)
        gone = Gone.people(log, users, author=settings.data.author)
        events = gone.count(log)
        receipt = Receipt(people=len(set(users)), events=events, at=now, head=log.head())
        pointer = _without(registry, settings, Remaining(log=log, gone=gone), told, events, now, progress)

        def note(files: list[Rewritten]) -> bytes:
            done = msgspec.structs.replace(receipt, files=files)
            return msgspec.json.encode(_Note(ids=sorted(gone.ids), pointer=pointer, receipt=done))

        log.rewrite(gone, note=note)
        done = _finish(folder, registry, log, quarantine)
        if done is None:
            raise Defect("people were taken out of the log without a note.")
        return done


def _without(
    registry: Registry,
    settings: Settings,
    log: Remaining,
    told: Callable[[Snapshot], Snapshot],
    events: dict[str, int],
    now: float,
    progress: Progress,
) -> Pointer | None:
    """Return what is to be served, made without them; None when nothing is served or nothing is left."""
    try:
        served = registry.current()
    except NotReady:
        return None
    if not events:
        return served
    registry.sweep()
    try:
        data = told(snapshot_of(log))
    except InputError:  # there is nobody else
        return None
    names = [name for name in served.models if name in settings.recipes]
    return prepared(registry, settings, data, names, now=now, progress=progress)


def finish(folder: Path, registry: Registry, log: SqliteLog, quarantine: Path) -> None:
    """Do what a killed `forget` left to do; nothing when none was killed."""
    if log.unfinished() is None:
        return
    with suppress(Conflict), only_trainer(folder):  # held: somebody is at it
        _finish(folder, registry, log, quarantine)


def _finish(folder: Path, registry: Registry, log: SqliteLog, quarantine: Path) -> Receipt | None:
    left = log.unfinished()
    if not left:
        log.settle()
        return None
    note = msgspec.json.decode(left, type=_Note)
    word = _words(note.ids)
    removed = [*_clean_quarantine(quarantine, word), *_clean_derived(folder, word)]
    if note.receipt.events:
        if note.pointer is None:
            registry.pointer_file.unlink(missing_ok=True)
        else:
            registry.publish(note.pointer)
        removed += _remove_others(registry, note.pointer)
    receipt = msgspec.structs.replace(
        note.receipt,
        snapshot=None if note.pointer is None else note.pointer.snapshot,
        models={} if note.pointer is None else note.pointer.models,
        removed=sorted(str(path.relative_to(folder)) for path in removed),
    )
    encoded = msgspec.json.format(msgspec.json.encode(receipt), indent=1)
    for draft in (folder / RECEIPTS).glob(".*.tmp"):  # of a run that was killed while it wrote one
        draft.unlink()
    write_atomically(folder / RECEIPTS / f"forgotten-{receipt.at:.0f}-{receipt.head}.json", encoded)
    log.settle()
    return receipt


def _remove_others(registry: Registry, pointer: Pointer | None) -> list[Path]:
    kept = set[Path]()
    if pointer is not None:
        kept = {registry.snapshot_folder(pointer.snapshot)}
        kept |= {registry.model_folder(name, version) for name, version in pointer.models.items()}
    there = [*(registry.folder / SNAPSHOTS).glob("*"), *(registry.folder / VERSIONS).glob("*/*")]
    gone = [path for path in there if path not in kept]
    for path in gone:
        shutil.rmtree(path)
    return gone


def _words(ids: list[str]) -> re.Pattern[bytes]:
    """Return what finds one of the ids as a word of its own, as it is or as JSON writes it."""
    written = {*ids, *(msgspec.json.encode(id_).decode()[1:-1] for id_ in ids)}
    return re.compile(rf"(?<![\w-])(?:{'|'.join(map(re.escape, sorted(written)))})(?![\w-])".encode())


def _clean_derived(folder: Path, word: re.Pattern[bytes]) -> list[Path]:
    """Remove what is made again when it is asked for, and the audience jobs that name one of the ids."""
    gone = [path for path in (folder / name for name in MADE_AGAIN) if path.exists()]
    for job in sorted((folder / AUDIENCES).glob("*/")):
        files = (path for path in job.rglob("*") if path.is_file())
        if any(word.search(path.read_bytes()) for path in files):
            gone.append(job)
    for path in gone:
        shutil.rmtree(path)
    return gone


def _clean_quarantine(folder: Path, word: re.Pattern[bytes]) -> list[Path]:
    """Remove the refused rows that hold one of the ids."""
    if not folder.is_dir():
        return []
    changed: list[Path] = []
    for path in sorted(folder.glob("*.jsonl")):
        lines = path.read_bytes().splitlines(keepends=True)
        kept = [line for line in lines if word.search(line) is None]
        if len(kept) < len(lines):
            write_atomically(path, b"".join(kept))
            changed.append(path)
    return changed
