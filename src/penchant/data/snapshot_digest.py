"""The digest of a snapshot: of its content in canonical order, however the buffers are cut."""

import hashlib

import numpy as np
import pyarrow as pa

from penchant.data.follows import Follows
from penchant.data.interactions import Interactions
from penchant.kernel.arrays import F32
from penchant.kernel.arrow import ArrowColumn, ArrowTable
from penchant.kernel.ids import Vocab


def content_digest(
    users: Vocab,
    items: Vocab,
    user_table: ArrowTable,
    item_table: ArrowTable,
    events: Interactions,
    follows: Follows,
    text: F32 | None,
    cutoff: float,
    actions: str | None = None,
) -> str:
    """Hash content in canonical order, and the digest of the ``actions``: 32 hex characters."""
    state = hashlib.blake2b(digest_size=16)
    arrays = (
        users.offsets,
        users.data,
        items.offsets,
        items.data,
        events.user,
        events.item,
        events.timestamp,
        events.event_type,
        events.value,
        follows.follower,
        follows.followed,
        follows.timestamp,
        np.array([cutoff]),
    )
    for array in arrays:
        state.update(np.int64(len(array)).tobytes())
        state.update(np.ascontiguousarray(array).data)
    if text is not None:
        state.update(np.int64(text.shape[1]).tobytes())
        state.update(np.ascontiguousarray(text).data)
    state.update("\x1f".join(events.event_types).encode())
    for table in (user_table, item_table):
        for name in table.column_names[1:]:
            state.update(name.encode())
            for chunk in (table[name].combine_chunks(),):
                state.update(repr(chunk.type).encode())
                state.update(_column_bytes(chunk))
    if actions is not None:
        state.update(f"actions {actions}".encode())
    return state.hexdigest()


def _column_bytes(column: ArrowColumn) -> bytes:
    """Return a column's content independent of how its buffers are cut: an IPC message of a fresh copy."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_dictionary(array.type):  # a message carries the codes alone
        array = array.dictionary_decode()
    fresh = pa.concat_arrays([array, pa.nulls(0, array.type)])
    batch = pa.record_batch([fresh], names=["c"])
    return batch.serialize().to_pybytes()
