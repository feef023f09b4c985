"""Features and their codes for one snapshot, computed once, kept on disk for every seed list to come."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from penchant.data.snapshot import Snapshot
from penchant.features.codes import CodeStore, code_features
from penchant.features.codes_write import build_store
from penchant.features.matrix import Features
from penchant.features.purchase import PurchaseFeatures
from penchant.features.purchase_matrix import compute, pieces, purchase_table
from penchant.kernel.errors import NotFound
from penchant.kernel.folders import publish
from penchant.kernel.progress import Progress

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """All users' features, as values for people to read and as codes for methods to learn from."""

    features: Features
    codes: CodeStore


def prepare(
    snapshot: Snapshot, config: PurchaseFeatures, *, cache: Path | None = None, progress: Progress
) -> Prepared:
    """Compute the features of a snapshot; or open them when ``cache`` holds those of the same content."""
    if cache is None:
        features = compute(purchase_table(snapshot, config), progress=progress)
        return Prepared(features=features, codes=code_features(features))
    source = _digest(snapshot, config)
    folder = cache / f"features-{source[:16]}"
    table = purchase_table(snapshot, config)
    values_file = folder / "values" / "values.npy"
    if not values_file.exists():
        with publish(folder / "values") as draft:
            shape = (len(table.book), snapshot.n_users)
            values = np.lib.format.open_memmap(draft / "values.npy", mode="w+", dtype=np.float32, shape=shape)
            for first, piece in pieces(table, progress=progress):
                values[:, first : first + piece.shape[1]] = piece
            values.flush()
    stored = np.load(values_file, mmap_mode="r")
    features = Features(users=snapshot.users, book=table.book, values=stored)
    try:
        codes = CodeStore.open(folder / "codes", source=source)
    except NotFound:
        codes = build_store(
            folder / "codes", table.book, snapshot.n_users, iter(stored), source=source, progress=progress
        )
    return Prepared(features=features, codes=codes)


def _digest(snapshot: Snapshot, config: PurchaseFeatures) -> str:
    state = hashlib.blake2b(digest_size=16)
    state.update(f"{FORMAT} {snapshot.digest}".encode())
    state.update(msgspec.json.encode(config))
    return state.hexdigest()
