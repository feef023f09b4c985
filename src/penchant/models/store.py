"""Models on disk: a folder of .npy arrays and a card, published whole or not at all. Never pickle."""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from penchant.kernel.arrays import open_arrays, save_arrays
from penchant.kernel.errors import InputError, NotFound
from penchant.kernel.folders import publish
from penchant.kernel.names import did_you_mean
from penchant.models.base import FORMAT, Card, Model

CARD_FILE = "card.json"


class StoredCard(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What ``card.json`` says: which class opens the arrays, and the model card."""

    kind: str
    card: Card


def save_model(model: Model, folder: Path) -> None:
    """Write ``model`` as ``folder``: it appears with everything on disk, or not at all."""
    stored = StoredCard(kind=model.kind, card=model.card)
    with publish(folder) as draft:
        save_arrays(draft, model.arrays())
        (draft / CARD_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(stored), indent=1))


def read_card(folder: Path) -> StoredCard:
    """Read a saved model's card without opening its arrays.

    Raises:
        NotFound: there is no model in ``folder``.
        InputError: the card is damaged, or another format version wrote it.
    """
    path = folder / CARD_FILE
    if not path.exists():
        raise NotFound("no model here.", where=str(folder), fix="Run `penchant train` to make one.")
    try:
        stored = msgspec.json.decode(path.read_bytes(), type=StoredCard)
    except msgspec.DecodeError as error:
        raise InputError(f"damaged model card ({error}).", where=str(path), fix="Train again.") from error
    if stored.card.format != FORMAT:
        raise InputError(
            f"model format {stored.card.format}, this version reads {FORMAT}.",
            where=str(path),
            fix="Run `penchant train` to make a new one.",
        )
    return stored


def open_model(folder: Path, kinds: Mapping[str, type[Model]]) -> Model:
    """Open a saved model, its arrays memory-mapped read-only, so that all workers share one copy.

    ``kinds`` says which class opens which ``Model.kind``.

    Raises:
        NotFound: there is no model in ``folder``.
        InputError: the card or an array is damaged, missing, of another format or of an unknown kind.
    """
    stored = read_card(folder)
    if stored.kind not in kinds:
        raise InputError(
            f"unknown kind of model '{stored.kind}'.",
            where=str(folder / CARD_FILE),
            fix=did_you_mean(stored.kind, kinds),
        )
    arrays = open_arrays(folder)
    try:
        return kinds[stored.kind].open(stored.card, arrays)
    except KeyError as error:
        raise InputError(
            f"the array {error} is missing.", where=str(folder), fix="Train again or restore the folder."
        ) from error
