"""What users were shown before the snapshot, read back from the log; whom it forgot is forgotten here."""

import msgspec

from penchant.data.eventlog import EventLog
from penchant.data.snapshot import Snapshot
from penchant.feed.live import as_rows
from penchant.feed.showings import Showings


class _SlotId(msgspec.Struct, frozen=True):
    """All that is read of a served slot."""

    item_id: str


def recalled(log: EventLog, snapshot: Snapshot, *, since: float, max_users: int) -> Showings:
    """Read back what was shown after ``since`` (seconds UTC) and up to the snapshot.

    Feeds first, then the lists that apps say they showed, which replace the feeds they name.
    """
    showings = Showings(max_users=max_users)
    slots = msgspec.json.Decoder(list[_SlotId])

    def add(user_id: str, name: str, time: float, item_ids: list[str]) -> None:
        rows = snapshot.items.rows(item_ids)
        showings.add(user_id, name, time, as_rows(rows[rows >= 0].tolist()))

    columns = ["timestamp", "event_id", "user_id", "slots"]
    after = _number_before(log, "served", since, snapshot.head)
    for batch in log.scan("served", after=after, upto=snapshot.head, columns=columns):
        for served in batch.to_pylist():
            add(
                served["user_id"],
                served["event_id"],
                served["timestamp"],
                [slot.item_id for slot in slots.decode(served["slots"])],
            )
    columns = ["timestamp", "event_id", "user_id", "impression", "recommendation_id"]
    after = _number_before(log, "acted", since, snapshot.head)
    for batch in log.scan("acted", after=after, upto=snapshot.head, columns=columns):
        for acted in batch.filter(batch["impression"].is_valid()).to_pylist():
            name = acted["recommendation_id"] or acted["event_id"]
            add(acted["user_id"], name, acted["timestamp"], acted["impression"])
    return showings


def _number_before(log: EventLog, kind: str, since: float, upto: int) -> int:
    """Return the number of an event before the first one later than ``since``."""
    for batch in log.scan(kind, upto=upto, columns=["timestamp"]):
        late = (batch["timestamp"].to_numpy() > since).nonzero()[0]
        if len(late):
            return int(batch["number"][int(late[0])].as_py()) - 1
    return upto
