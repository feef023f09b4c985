"""Columns of tables as a snapshot keeps them: ids as rows, event types as codes, one order for all."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from penchant.data.interactions import Interactions
from penchant.kernel.arrays import F32, I16, I64, Rows, readonly
from penchant.kernel.arrow import ArrowColumn, ArrowTable
from penchant.kernel.errors import Defect, InputError
from penchant.kernel.ids import Vocab


def shown_counts(impressions: Mapping[str, int], items: Vocab) -> I64:
    """Return (n_items,) how often each item was shown; unknown ones are left out."""
    shown = np.zeros(len(items), np.int64)
    rows = items.rows(list(impressions))
    known = rows >= 0
    shown[rows[known]] = np.fromiter(impressions.values(), np.int64, len(impressions))[known]
    return shown


def vocab_of(columns: list[ArrowColumn]) -> tuple[Vocab, list[Rows]]:
    """Return the vocabulary of all columns and the rows of each; text or dictionaries of text, cut anyhow.

    A missing id is a Defect.
    """
    encoded = [_encoded(column) for column in columns]
    used = [values.take(pa.array(np.flatnonzero(np.bincount(codes)))) for values, codes in encoded]
    vocab = Vocab.of(pa.chunked_array(used, pa.large_string()))
    return vocab, [readonly(vocab.rows(values)[codes]) for values, codes in encoded]


def _encoded(column: ArrowColumn) -> tuple[ArrowColumn, Rows]:
    """Return distinct texts, of which some may be unused, and which of them stands in each row."""
    if column.null_count:
        raise Defect("a missing id came to a snapshot.")
    whole = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    if whole.num_chunks == 0:
        return pa.array([], pa.large_string()), np.zeros(0, np.int32)
    chunks = whole.unify_dictionaries().chunks
    codes = np.concatenate([np.asarray(chunk.indices, np.int32) for chunk in chunks])
    return chunks[0].dictionary.cast(pa.large_string()), codes


def event_types_of(table: ArrowTable) -> tuple[tuple[str, ...], I16]:
    """Return the names in ascending order and each row's code; without the column all are clicks."""
    if "event_type" not in table.column_names or table.num_rows == 0:
        return ("click",), np.zeros(table.num_rows, np.int16)
    names, (codes,) = vocab_of([table["event_type"]])
    if len(names) > np.iinfo(np.int16).max:
        raise InputError(
            f"{len(names)} different event types.", fix="Is the event_type column really one of types?"
        )
    return tuple(names.ids(range(len(names)))), codes.astype(np.int16)


def values_of(table: ArrowTable) -> F32:
    """Return the event values, NaN where there is none; a zero has no sign."""
    if "event_value" not in table.column_names:
        return np.full(table.num_rows, np.nan, np.float32)
    return np.asarray(table["event_value"].cast(pa.float32()).to_numpy(), np.float32) + np.float32(0)


def aligned(table: ArrowTable, key: str, vocab: Vocab) -> Any:
    """Return the table with one row a vocabulary row, nulls where it has none."""
    ids = vocab.to_arrow().cast(pa.string())
    if table is None:
        return pa.table({key: ids})
    position = np.full(len(vocab), -1, np.int64)
    position[vocab.rows(table[key])] = np.arange(table.num_rows)
    take = pa.array(position, mask=position < 0)
    columns = {key: ids}
    columns.update({name: table[name].take(take) for name in table.column_names if name != key})
    return pa.table(columns)


def canonical_order(i: Interactions) -> I64 | None:
    """Return the order by (timestamp, user, item, event type, value), None when they stand in it.

    Few events share their time in most data, so times are sorted alone and only their ties by all columns.
    """
    order = np.argsort(i.timestamp, kind="stable")
    time = i.timestamp[order]
    equal = time[1:] == time[:-1]
    del time
    tied = np.flatnonzero(np.append(equal, False) | np.append(False, equal))
    among = order[tied]
    keys = (i.value, i.event_type, i.item, i.user, i.timestamp)
    order[tied] = among[np.lexsort([key[among] for key in keys])]
    return None if (order[1:] > order[:-1]).all() else order
