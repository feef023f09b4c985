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
from penchant.data.snapshot_columns import (
    aligned,
    canonical_order,
    event_types_of,
    shown_counts,
    values_of,
    vocab_of,
)
from penchant.data.snapshot_digest import content_digest
from penchant.kernel.arrays import F32, I64, AnyArray, Csr, open_arrays, readonly, save_arrays
from penchant.kernel.arrow import ArrowTable
from penchant.kernel.errors import InputError, NotFound
from penchant.kernel.folders import publish
from penchant.kernel.ids import Vocab

__all__ = ["ActionTables", "Follows", "Snapshot", "build_snapshot"]

FORMAT = 1
ACTIONS = "actions"  # the folder of the snapshot of actions, inside


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
    actions: "Snapshot | None" = None  # of the same users: actions as its items, responses as interactions

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
            actions=self.actions if cutoff is None or self.actions is None else self.actions.before(cutoff),
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
            None if self.actions is None else self.actions.digest,
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
            if self.actions is not None:
                self.actions.save(draft / ACTIONS)
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
            actions=cls.open(folder / ACTIONS) if (folder / ACTIONS).exists() else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionTables:
    """What is known of actions: ``puts`` (action_id and properties), ``responses`` (user_id, action_id,
    timestamp, event_type), and how often each action was shown.
    """

    puts: ArrowTable | None
    responses: ArrowTable
    shown: Mapping[str, int]


def build_snapshot(
    interactions: ArrowTable,
    *,
    items: ArrowTable | None = None,
    users: ArrowTable | None = None,
    follows: ArrowTable | None = None,
    impressions: Mapping[str, int] | None = None,
    actions: ActionTables | None = None,
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
        InputError: there is neither an interaction nor an item nor an action.
    """
    if interactions.num_rows == 0 and (items is None or items.num_rows == 0) and actions is None:
        raise InputError("there are no interactions and no items.", fix="Import some with `penchant import`.")
    return _built(interactions, items, users, follows, impressions, actions, cutoff, head)


def no_actions(snapshot: Snapshot) -> Snapshot:
    """Return the snapshot of actions of the same users when there are none."""
    responses = pa.table({name: pa.array([], pa.string()) for name in ("user_id", "action_id", "event_type")})
    responses = responses.append_column("timestamp", pa.array([], pa.float64()))
    nothing = ActionTables(puts=None, responses=responses, shown={})
    return _of_actions(nothing, snapshot.users, cutoff=None, head=snapshot.head)


def _built(
    interactions: ArrowTable,
    items: ArrowTable | None,
    users: ArrowTable | None,
    follows: ArrowTable | None,
    impressions: Mapping[str, int] | None,
    actions: ActionTables | None,
    cutoff: float | None,
    head: int,
) -> Snapshot:
    n = interactions.num_rows
    item_columns = [interactions["item_id"], *([items["item_id"]] if items is not None else [])]
    user_columns = [interactions["user_id"], *([users["user_id"]] if users is not None else [])]
    if follows is not None:
        user_columns += [follows["user_id"], follows["followed_id"]]
    if actions is not None:
        user_columns.insert(0, actions.responses["user_id"])
    user_vocab, user_rows = vocab_of(user_columns)
    item_vocab, item_rows = vocab_of(item_columns)
    names, codes = event_types_of(interactions)
    events = Interactions(
        user=user_rows[0 if actions is None else 1],
        item=item_rows[0],
        timestamp=readonly(interactions["timestamp"].cast(pa.float64()).to_numpy()),
        event_type=readonly(codes),
        value=readonly(values_of(interactions)),
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
        user_table=aligned(users, "user_id", user_vocab),
        item_table=aligned(items, "item_id", item_vocab),
        interactions=events,
        follows=edges,
        cutoff=newest if cutoff is None else cutoff,
        head=head,
        impressions=shown_counts(impressions or {}, item_vocab),
        actions=None if actions is None else _of_actions(actions, user_vocab, cutoff=cutoff, head=head),
    )


def _of_actions(actions: ActionTables, users: Vocab, *, cutoff: float | None, head: int) -> Snapshot:
    """Return actions as a snapshot of the same users."""
    puts = None if actions.puts is None else _as_items(actions.puts)
    everybody = aligned(None, "user_id", users)
    return _built(_as_items(actions.responses), puts, everybody, None, actions.shown, None, cutoff, head)


def _as_items(table: ArrowTable) -> ArrowTable:
    return table.rename_columns(["item_id" if name == "action_id" else name for name in table.column_names])


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
    actions: Snapshot | None = None,
) -> Snapshot:
    i = interactions
    order = canonical_order(i)
    events = i if order is None else i.select(order)
    del order
    positions = np.argsort(events.user, kind="stable").astype(np.int64, copy=False)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(events.user, minlength=len(users)))]).astype(np.int64)
    return Snapshot(
        digest=content_digest(
            users,
            items,
            user_table,
            item_table,
            events,
            follows,
            text,
            cutoff,
            None if actions is None else actions.digest,
        ),
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
        actions=actions,
    )
