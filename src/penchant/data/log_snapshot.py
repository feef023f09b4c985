"""From the event log to a snapshot: what was known at a moment, whatever way the log has stored it."""

from collections.abc import Iterable, Iterator, Sequence

import msgspec
import numpy as np
import pyarrow as pa

from penchant.data.actions import OFFERED, SHOWN, VIEWED
from penchant.data.columns import typed_columns
from penchant.data.eventlog import COLUMNS, ReadableLog
from penchant.data.events import ANONYMOUS
from penchant.data.impressions import Impressions
from penchant.data.snapshot import ActionTables, Snapshot, build_snapshot
from penchant.kernel.arrays import I64
from penchant.kernel.arrow import ArrowBatch, ArrowColumn, ArrowTable, pc
from penchant.kernel.progress import Progress, Silent

_SILENT = Silent()
_ROWS = 1 << 20  # gathered before ids are encoded: enough that each id is kept once for many rows


def snapshot_of(
    log: ReadableLog,
    *,
    cutoff: float | None = None,
    upto: int | None = None,
    progress: Progress = _SILENT,
) -> Snapshot:
    """Make the snapshot of a log as of ``cutoff`` (seconds UTC), reading events numbered at most ``upto``.

    What users did and follows count up to and at the cut-off. The latest put of a user, an item or an action
    wins as a whole, by time, then by number. Puts count whatever their time: a catalogue imported today
    describes the items of last year. What was done in a session before an event gave it a user is that
    user's. A follow began with the first `Followed` since the last one that ended it. The digest depends on
    what the events say, not on how they are stored.

    Raises:
        InputError: the log has no interaction, no item and no action, or properties that are not JSON.
    """
    head = log.head() if upto is None else min(upto, log.head())
    source = Source(log, head, progress)
    impressions = Impressions(cutoff)
    follows = source.table("followed", ["timestamp", "user_id", "followed_id", "active"], cutoff=cutoff)
    return build_snapshot(
        # Without a name here, so that the table goes as soon as it was used.
        _by_name(source, _acted(source, impressions, cutoff), cutoff=cutoff),
        items=described(source, "item_put", "item_id"),
        users=described(source, "user_put", "user_id"),
        follows=current(follows) if follows.num_rows else None,
        impressions=impressions.counts(source.batches("served", ["timestamp", "event_id", "slots"])),
        actions=_actions(source, cutoff),
        cutoff=cutoff,
        head=head,
    )


class Source:
    """A log up to a number, telling progress as it is read."""

    def __init__(self, log: ReadableLog, head: int, progress: Progress) -> None:
        self._log, self._head, self._progress = log, head, progress
        progress.start("reading the event log", head)

    def batches(self, kind: str, columns: Sequence[str]) -> Iterator[ArrowBatch]:
        """Yield the columns asked for and ``number``."""
        for batch in self._log.scan(kind, upto=self._head, columns=columns):
            self._progress.advance(batch.num_rows)
            yield batch

    def table(self, kind: str, columns: Sequence[str], *, cutoff: float | None) -> ArrowTable:
        """Return all rows up to the cut-off, with ``number``, their ids as dictionaries."""
        return _gathered(self.batches(kind, columns), kind, columns, cutoff)


def _acted(source: Source, impressions: Impressions, cutoff: float | None) -> ArrowTable:
    """Return the interactions; their impressions are counted as they pass, so that they are read once."""
    columns = ["timestamp", "user_id", "item_id", "event_type", "event_value"]
    batches = source.batches("acted", list(dict.fromkeys((*columns, *impressions.COLUMNS))))
    return _gathered(impressions.of_actions(batches), "acted", columns, cutoff)


def _gathered(
    batches: Iterable[ArrowBatch], kind: str, columns: Sequence[str], cutoff: float | None
) -> ArrowTable:
    parts: list[ArrowTable] = []
    waiting: list[ArrowBatch] = []
    for batch in batches:
        kept = batch.select([*columns, "number"])
        waiting.append(kept if cutoff is None else kept.filter(pc.less_equal(kept["timestamp"], cutoff)))
        if sum(b.num_rows for b in waiting) >= _ROWS:
            parts.append(_encoded(waiting))
            waiting = []
    if waiting:
        parts.append(_encoded(waiting))
    return pa.concat_tables(parts) if parts else COLUMNS[kind].empty_table().select(list(columns))


def _encoded(batches: list[ArrowBatch]) -> ArrowTable:
    table = pa.Table.from_batches(batches).combine_chunks()
    columns = {
        name: table[name].dictionary_encode() if pa.types.is_string(table[name].type) else table[name]
        for name in table.column_names
    }
    if "event_value" in columns:  # what a snapshot keeps, so that the wider column goes at once
        columns["event_value"] = columns["event_value"].cast(pa.float32())
        del columns["number"]
    return pa.table(columns)


def _by_name(source: Source, interactions: ArrowTable, *, cutoff: float | None) -> ArrowTable:
    """Return the interactions with users known by a session only as who these sessions turned out to be.

    The log is read a second time only when there are such users.
    """
    column = interactions["user_id"]
    strangers = [pc.filter(d, pc.starts_with(d, ANONYMOUS)) for d in _dictionaries(column)]
    if not any(len(found) for found in strangers):
        return interactions
    sessions = pc.utf8_slice_codeunits(
        pc.unique(pa.chunked_array(strangers, pa.string())), start=len(ANONYMOUS), stop=None
    )
    names: dict[str, str] = {}
    for kind in ("acted", "responded"):
        for batch in source.batches(kind, ["timestamp", "user_id", "session_id"]):
            known = pc.and_(
                pc.is_in(batch["session_id"], value_set=sessions),
                pc.invert(pc.starts_with(batch["user_id"], ANONYMOUS)),
            )
            if cutoff is not None:
                known = pc.and_(known, pc.less_equal(batch["timestamp"], cutoff))
            found = batch.filter(known)
            names.update(zip(found["session_id"].to_pylist(), found["user_id"].to_pylist(), strict=True))
    renamed = [
        pa.DictionaryArray.from_arrays(
            chunk.indices,
            pa.array([names.get(_session(id_), id_) for id_ in chunk.dictionary.to_pylist()], pa.string()),
        )
        for chunk in column.chunks
    ]
    at = interactions.column_names.index("user_id")
    return interactions.set_column(at, "user_id", pa.chunked_array(renamed))


def _session(user_id: str) -> str:
    return user_id.removeprefix(ANONYMOUS) if user_id.startswith(ANONYMOUS) else ""


def _dictionaries(column: ArrowColumn) -> list[ArrowColumn]:
    return [chunk.dictionary for chunk in column.chunks] if pa.types.is_dictionary(column.type) else []


class _SlotId(msgspec.Struct, frozen=True):
    """All that is read of a served slot."""

    item_id: str


def _actions(source: Source, cutoff: float | None) -> ActionTables | None:
    """Return what is known of actions, None when nothing is.

    What impressions list beside the action responded to is SHOWN. Where the app says neither by them nor by
    VIEWED what its users saw, everything that was offered counts as seen.
    """
    puts = described(source, "action_put", "action_id")
    columns = ["timestamp", "user_id", "action_id", "event_type"]
    responses = source.table("responded", columns, cutoff=cutoff)
    if puts is None and responses.num_rows == 0:
        return None
    kind, seen = SHOWN, _shown_beside(source, cutoff)
    if not seen and VIEWED not in pc.unique(responses["event_type"]).to_pylist():
        kind, seen = OFFERED, _offers(source, cutoff)
    every = responses.select(columns)
    if seen:
        every = pa.concat_tables([*([every] if every.num_rows else []), _seen(seen, kind)])
    was_seen = pc.is_in(every["event_type"].cast(pa.string()), pa.array([VIEWED, SHOWN, OFFERED]))
    counts = every.filter(was_seen)["action_id"].value_counts().to_pylist()
    return ActionTables(
        puts=puts,
        responses=_by_name(source, every, cutoff=cutoff),
        shown={count["values"]: count["counts"] for count in counts},
    )


def _shown_beside(source: Source, cutoff: float | None) -> list[tuple[float, str, str]]:
    """Return (time, user, action) of all that impressions list beside what was responded to."""
    found: list[tuple[float, str, str]] = []
    for batch in source.batches("responded", ["timestamp", "user_id", "action_id", "impression"]):
        said = batch.filter(batch["impression"].is_valid()).to_pylist()
        found += [
            (row["timestamp"], row["user_id"], action)
            for row in said
            if cutoff is None or row["timestamp"] <= cutoff
            for action in row["impression"]
            if action != row["action_id"]
        ]
    return found


def _offers(source: Source, cutoff: float | None) -> list[tuple[float, str, str]]:
    """Return (time, user, action) of all that was offered."""
    slots = msgspec.json.Decoder(list[_SlotId])
    found: list[tuple[float, str, str]] = []
    for batch in source.batches("offered", ["timestamp", "user_id", "slots"]):
        found += [
            (row["timestamp"], row["user_id"], slot.item_id)
            for row in batch.to_pylist()
            if cutoff is None or row["timestamp"] <= cutoff
            for slot in slots.decode(row["slots"])
        ]
    return found


def _seen(seen: Sequence[tuple[float, str, str]], kind: str) -> ArrowTable:
    times, users, actions = zip(*seen, strict=True)
    return pa.table(
        {
            "timestamp": pa.array(times, pa.float64()),
            "user_id": pa.array(users, pa.string()).dictionary_encode(),
            "action_id": pa.array(actions, pa.string()).dictionary_encode(),
            "event_type": pa.array([kind] * len(seen), pa.string()).dictionary_encode(),
        }
    )


def described(source: Source, kind: str, key: str) -> ArrowTable | None:
    """Return the latest put of each id with its properties as columns, None when there is none."""
    puts: list[ArrowTable] = []
    limit = _ROWS
    for batch in source.batches(kind, ["timestamp", key, "properties"]):
        puts.append(pa.Table.from_batches([batch]))
        if sum(table.num_rows for table in puts) >= limit:  # a catalogue put every night is kept once
            puts = [_latest(pa.concat_tables(puts), key)]
            limit = 2 * puts[0].num_rows + _ROWS
    if not puts:
        return None
    latest = _latest(pa.concat_tables(puts), key)
    columns = typed_columns(latest["properties"], where=f"properties of {kind}")
    return pa.table({**columns, key: latest[key]})


def _latest(puts: ArrowTable, key: str) -> ArrowTable:
    """Return the last row of each id by time, then by number."""
    code = _codes(puts[key])
    order = np.lexsort((puts["number"].to_numpy(), puts["timestamp"].to_numpy(), code))
    ends = np.append(code[order][1:] != code[order][:-1], True)
    return puts.take(np.sort(order[ends]))


def _codes(ids: ArrowColumn) -> I64:
    """Return a number for each id, equal for equal ids."""
    encoded = ids if pa.types.is_dictionary(ids.type) else ids.dictionary_encode()
    chunks = encoded.unify_dictionaries().chunks
    return np.concatenate([chunk.indices.to_numpy() for chunk in chunks]).astype(np.int64)


def current(follows: ArrowTable) -> ArrowTable:
    """Return the follows that are active after all rows, each with the time it began."""
    pair = _codes(follows["user_id"]) * (len(follows) + 1) + _codes(follows["followed_id"])
    time, active = follows["timestamp"].to_numpy(), follows["active"].to_numpy()
    order = np.lexsort((follows["number"].to_numpy(), time, pair))
    pair, active = pair[order], active[order]
    changes = np.append(pair[1:] != pair[:-1], True)
    # A stretch begins with a new pair or after an end of the follow, and carries on to where the next begins.
    begins = np.append(True, changes[:-1] | ~active[:-1])
    began = np.maximum.accumulate(np.where(begins, np.arange(len(pair)), 0))
    current = np.flatnonzero(changes & active)
    rows = follows.take(order[current]).select(["user_id", "followed_id"])
    return rows.append_column("timestamp", pa.array(time[order[began[current]]]))
