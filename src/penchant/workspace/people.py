"""Whom an audience is grown from: the workspace's users in memory, or out of core when there are too many."""

import tempfile
from pathlib import Path

from penchant.audiences.people import People, SnapshotPeople, StoredPeople
from penchant.data.log_tables import write_tables
from penchant.features.people_store import find_people, people_store
from penchant.features.purchase import PurchaseFeatures
from penchant.features.raw_tables import RawTables
from penchant.kernel.errors import InputError
from penchant.kernel.names import did_you_mean
from penchant.kernel.progress import Progress
from penchant.models.base import Model
from penchant.workspace.forgetting import CACHE, RECEIPTS
from penchant.workspace.service import Workspace

IN_MEMORY = 30_000_000
"""With more events than this in the log an audience is grown out of core."""


def people_of(
    workspace: Workspace,
    features: PurchaseFeatures,
    *,
    model: str = "",
    store: Path | None = None,
    progress: Progress,
) -> People:
    """Return the users of a workspace, as a snapshot or, beyond `IN_MEMORY` or when asked, as a store.

    ``model`` names a trained recipe whose space of users ``embedding`` measures in, for a snapshot only.
    ``store`` is the folder of the store; without one it is in the workspace's cache.

    Raises:
        InputError: no such model is trained, a store is asked for a model's space, or as `people_store`.
    """
    head = workspace.log.head()
    if store is None and head <= IN_MEMORY:
        return SnapshotPeople(
            snapshot=workspace.snapshot(progress=progress),
            cache=workspace.folder / CACHE,
            model=_model(workspace, model) if model else None,
        )
    if model:
        raise InputError("a store has no model's space of users.", fix="Leave out --model, or --store.")
    place = workspace.folder / CACHE / "people" if store is None else store
    # Who was forgotten left the log without a new number: a receipt says that it happened.
    forgotten = len(list((workspace.folder / RECEIPTS).glob("*")))
    source = f"{workspace.folder.resolve()} {head} {forgotten}"
    found = find_people(features, place, source=source)
    if found is None:
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place, prefix=".log-") as scratch:
            write_tables(workspace.log, Path(scratch), progress=progress)
            raw = RawTables.found(Path(scratch))
            found = people_store(raw, features, place, source=source, progress=progress)
    return StoredPeople(store=found)


def people_of_tables(
    folder: Path, store: Path, features: PurchaseFeatures, *, progress: Progress
) -> StoredPeople:
    """Return the users of Parquet tables, by the store in ``store``, which is made or refreshed first.

    Raises:
        InputError: as `people_store`.
    """
    raw = RawTables.found(folder)
    return StoredPeople(store=people_store(raw, features, store, source=raw.state(), progress=progress))


def _model(workspace: Workspace, name: str) -> Model:
    models = workspace.registry.current().models
    if name not in models:
        raise InputError(f"model: no '{name}' is trained.", fix=did_you_mean(name, tuple(models)))
    return workspace.registry.open(name, models[name])
