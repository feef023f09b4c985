"""The snapshot: the immutable dataset as of a cut-off that recipes train on and feeds are served from."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from penchant.data.follows import Follows
from penchant.data.interactions import Interactions
from penchant.data.snapshot_digest import content_digest
from penchant.kernel.arrays import F32, I16, I64, AnyArray, Csr, Rows, open_arrays, readonly, save_arrays
from penchant.kernel.arrow import ArrowColumn, ArrowTable
from penchant.kernel.errors import Defect, InputError, NotFound
from penchant.kernel.folders import publish
from penchant.kernel.ids import Vocab

__all__ = ["Follows", "Snapshot", "build_snapshot"]

FORMAT = 1


class SnapshotMeta(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What ``snapshot.json`` says."""

    format: int
    digest: str
    cutoff: float  # seconds UTC: every interaction is at or before it
    head: int  # number of the last log event it has seen; 0 when it was not made from a log
    event_types: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Users, items and interactions up to ``cutoff``.

    ``interactions`` ascend by (timestamp, user, item, event type). ``user_table`` and ``item_table`` are
    pyarrow tables with one row for each row of the vocabulary, in its order, first column ``user_id`` /
    ``item_id``; users and items that only interactions name have nulls elsewhere. ``by_user`` is
    (indptr, positions): the interactions of user ``u``, oldest first, stand at
    ``positions[indptr[u]:indptr[u + 1]]``. The digest is of all but ``head`` and ``impressions``, from which
    nothing is trained.
    """

    digest: str
    cutoff: float
    head: int
    users: Vocab
    items: Vocab
    user_table: ArrowTable
    item_table: ArrowTable
    interactions: Interactions
    by_user: tuple[
        np.ndarray[Any, np.dtype[np.int64]], np.ndarray[Any, np.dtype[np.int64]]
    ]  # indptr, positions
    follows: Follows
    impressions: I64  # (n_items,) how often each item was shown, as far as the log says
    text: F32 | None = None  # (n_items, d) what the items' text says, zeros without text; None when not asked

    @property
    def n_users(self) -> int:
        """Number of users."""
        return len(self.users)

    @property
    def n_items(self) -> int:
        """Number of items."""
        return len(self.items)

    def history(self, user: int) -> Interactions:
        """Return one user's interactions, oldest first; none for row -1."""
        if user < 0:
            return Interactions.none(self.interactions.event_types)
        indptr, positions = self.by_user
        return self.interactions.select(positions[indptr[user] : indptr[user + 1]])

    def pairs(self) -> Csr:
        """Return the (n_users, n_items) matrix of interaction counts."""
        ones = np.ones(len(self.interactions), np.float32)
        return self.interactions.pairs(ones, n_users=self.n_users, n_items=self.n_items)

    def before(self, cutoff: float) -> "Snapshot":
        """Return the same users and items with what happened before ``cutoff`` (exclusive)."""
        end = int(np.searchsorted(self.interactions.timestamp, cutoff, side="left"))
        return self.with_interactions(self.interactions.select(slice(0, end)), cutoff=cutoff)

    def with_interactions(self, interactions: Interactions, *, cutoff: float | None = None) -> "Snapshot":
        """Return the same users and items with other interactions (sorted here), for splits."""
        until = self.cutoff if cutoff is None else cutoff
        keep = (
            self.follows.timestamp < until
            if cutoff is not None
            else np.ones(len(self.follows.timestamp), bool)
        )
        follows = Follows(
            follower=readonly(self.follows.follower[keep]),
            followed=readonly(self.follows.followed[keep]),
            timestamp=readonly(self.follows.timestamp[keep]),
        )
        return _assemble(
            users=self.users,
            items=self.items,
            user_table=self.user_table,
            item_table=self.item_table,
            interactions=interactions,
            follows=follows,
            cutoff=until,
            head=self.head,
            impressions=self.impressions,
            text=self.text,
        )

    def with_user_table(self, table: ArrowTable) -> "Snapshot":
        """Return the snapshot with another users' table: the same rows, its columns changed."""
        return replace(self, user_table=table)._redigested()

    def with_text(self, text: F32) -> "Snapshot":
        """Return the snapshot with the vectors (n_items, d) of its items' text."""
        return replace(self, text=readonly(text))._redigested()

    def _redigested(self) -> "Snapshot":
        digest = content_digest(
            self.users,
            self.items,
            self.user_table,
            self.item_table,
            self.interactions,
            self.follows,
            self.text,
            self.cutoff,
        )
        return replace(self, digest=digest)

    def save(self, folder: Path) -> None:
        """Write the snapshot as a folder, whole or not at all."""
        events, follows = self.interactions, self.follows
        meta = SnapshotMeta(
            format=FORMAT,
            digest=self.digest,
            cutoff=self.cutoff,
            head=self.head,
            event_types=list(events.event_types),
        )
        with publish(folder) as draft:
            save_arrays(
                draft,
                {
                    **self.users.arrays("users"),
                    **self.items.arrays("items"),
                    "user": events.user,
                    "item": events.item,
                    "timestamp": events.timestamp,
                    "event_type": events.event_type,
                    "value": events.value,
                    "by_user_indptr": self.by_user[0],
                    "by_user_positions": self.by_user[1],
                    "follower": follows.follower,
                    "followed": follows.followed,
                    "follow_timestamp": follows.timestamp,
                    "impressions": self.impressions,
                    **({} if self.text is None else {"text": self.text}),
                },
            )
            pq.write_table(self.user_table, draft / "users.parquet", compression="zstd")
            pq.write_table(self.item_table, draft / "items.parquet", compression="zstd")
            (draft / "snapshot.json").write_bytes(msgspec.json.encode(meta))

    @classmethod
    def open(cls, folder: Path) -> "Snapshot":
        """Open a saved snapshot, its arrays memory-mapped.

        Raises:
            NotFound: there is no snapshot in ``folder``.
            InputError: it was written by another format version, or is damaged.
        """
        card = folder / "snapshot.json"
        if not card.exists():
            raise NotFound("no snapshot here.", where=str(folder), fix="Run `penchant train` to make one.")
        try:
            meta = msgspec.json.decode(card.read_bytes(), type=SnapshotMeta)
        except msgspec.DecodeError as error:
            raise InputError(f"damaged snapshot card ({error}).", where=str(card)) from error
        if meta.format != FORMAT:
            raise InputError(
                f"snapshot format {meta.format}, this version reads {FORMAT}.",
                where=str(card),
                fix="Run `penchant train` to make a new one.",
            )
        try:
            return cls._of_arrays(folder, meta, open_arrays(folder))
        except KeyError as error:
            raise InputError(
                f"damaged snapshot: the array {error} is missing.",
                where=str(folder),
                fix="Remove the folder and run `penchant train`.",
            ) from error

    @classmethod
    def _of_arrays(cls, folder: Path, meta: SnapshotMeta, a: Mapping[str, AnyArray]) -> "Snapshot":
        return cls(
            digest=meta.digest,
            cutoff=meta.cutoff,
            head=meta.head,
            users=Vocab.from_arrays(a, "users"),
            items=Vocab.from_arrays(a, "items"),
            user_table=pq.read_table(folder / "users.parquet", memory_map=True),
            item_table=pq.read_table(folder / "items.parquet", memory_map=True),
            interactions=Interactions(
                user=a["user"],
                item=a["item"],
                timestamp=a["timestamp"],
                event_type=a["event_type"],
                value=a["value"],
                event_types=tuple(meta.event_types),
            ),
            by_user=(a["by_user_indptr"], a["by_user_positions"]),
            follows=Follows(follower=a["follower"], followed=a["followed"], timestamp=a["follow_timestamp"]),
            impressions=a["impressions"],
            text=a.get("text"),
        )


def build_snapshot(
    interactions: ArrowTable,
    *,
    items: ArrowTable | None = None,
    users: ArrowTable | None = None,
    follows: ArrowTable | None = None,
    impressions: Mapping[str, int] | None = None,
    cutoff: float | None = None,
    head: int = 0,
) -> Snapshot:
    """Make a snapshot from pyarrow tables.

    ``interactions`` needs user_id, item_id, timestamp (seconds) and may carry event_type and event_value;
    ``items`` needs item_id, ``users`` user_id (unique; other columns are kept as they are); ``follows``
    user_id, followed_id, timestamp. ``impressions`` says how often items were shown; unknown items in it are
    left out. The cut-off is the newest interaction unless given. The digest depends
    on content alone, not on the order of rows.

    Raises:
        InputError: there is neither an interaction nor an item.
    """
    n = interactions.num_rows
    if n == 0 and (items is None or items.num_rows == 0):
        raise InputError("there are no interactions and no items.", fix="Import some with `penchant import`.")
    item_columns = [interactions["item_id"], *([items["item_id"]] if items is not None else [])]
    user_columns = [interactions["user_id"], *([users["user_id"]] if users is not None else [])]
    if follows is not None:
        user_columns += [follows["user_id"], follows["followed_id"]]
    user_vocab, user_rows = _vocab(user_columns)
    item_vocab, item_rows = _vocab(item_columns)
    names, codes = _event_types(interactions)
    events = Interactions(
        user=user_rows[0],
        item=item_rows[0],
        timestamp=readonly(interactions["timestamp"].cast(pa.float64()).to_numpy()),
        event_type=readonly(codes),
        value=readonly(_values(interactions)),
        event_types=names,
    )
    if follows is None:
        edges = Follows(follower=np.zeros(0, np.int32), followed=np.zeros(0, np.int32), timestamp=np.zeros(0))
    else:
        follower, followed = user_rows[-2:]
        order = np.lexsort((followed, follower))
        edges = Follows(
            follower=readonly(follower[order]),
            followed=readonly(followed[order]),
            timestamp=readonly(follows["timestamp"].cast(pa.float64()).to_numpy()[order]),
        )
    del interactions, user_columns, item_columns  # sorting can use their memory
    newest = float(events.timestamp.max()) if n else 0.0
    return _assemble(
        users=user_vocab,
        items=item_vocab,
        user_table=_aligned(users, "user_id", user_vocab),
        item_table=_aligned(items, "item_id", item_vocab),
        interactions=events,
        follows=edges,
        cutoff=newest if cutoff is None else cutoff,
        head=head,
        impressions=_shown(impressions or {}, item_vocab),
    )


def _shown(impressions: Mapping[str, int], items: Vocab) -> I64:
    shown = np.zeros(len(items), np.int64)
    rows = items.rows(list(impressions))
    known = rows >= 0
    shown[rows[known]] = np.fromiter(impressions.values(), np.int64, len(impressions))[known]
    return shown


def _vocab(columns: list[ArrowColumn]) -> tuple[Vocab, list[Rows]]:
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


def _event_types(table: ArrowTable) -> tuple[tuple[str, ...], I16]:
    """Return the names in ascending order and each row's code; without the column all are clicks."""
    if "event_type" not in table.column_names or table.num_rows == 0:
        return ("click",), np.zeros(table.num_rows, np.int16)
    names, (codes,) = _vocab([table["event_type"]])
    if len(names) > np.iinfo(np.int16).max:
        raise InputError(
            f"{len(names)} different event types.", fix="Is the event_type column really one of types?"
        )
    return tuple(names.ids(range(len(names)))), codes.astype(np.int16)


def _values(table: ArrowTable) -> F32:
    """Return the event values, NaN where there is none; a zero has no sign."""
    if "event_value" not in table.column_names:
        return np.full(table.num_rows, np.nan, np.float32)
    return np.asarray(table["event_value"].cast(pa.float32()).to_numpy(), np.float32) + np.float32(0)


def _aligned(table: ArrowTable, key: str, vocab: Vocab) -> Any:
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


def _assemble(
    *,
    users: Vocab,
    items: Vocab,
    user_table: ArrowTable,
    item_table: ArrowTable,
    interactions: Interactions,
    follows: Follows,
    cutoff: float,
    head: int,
    impressions: I64,
    text: F32 | None = None,
) -> Snapshot:
    i = interactions
    order = _canonical_order(i)
    events = i if order is None else i.select(order)
    del order
    positions = np.argsort(events.user, kind="stable").astype(np.int64, copy=False)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(events.user, minlength=len(users)))]).astype(np.int64)
    return Snapshot(
        digest=content_digest(users, items, user_table, item_table, events, follows, text, cutoff),
        cutoff=cutoff,
        head=head,
        users=users,
        items=items,
        user_table=user_table,
        item_table=item_table,
        interactions=events,
        by_user=(readonly(indptr), readonly(positions)),
        follows=follows,
        impressions=readonly(impressions),
        text=text,
    )


def _canonical_order(i: Interactions) -> I64 | None:
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
