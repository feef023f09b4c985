"""A log written as tables: read again they make the snapshot that the log makes."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from penchant.data.events import Acted, AnyEvent, Followed, ItemPut, UserPut
from penchant.data.log_snapshot import snapshot_of
from penchant.data.log_tables import write_tables
from penchant.data.snapshot import build_snapshot
from penchant.kernel.progress import Silent
from penchant.testing.memory_log import MemoryLog

EVENTS: list[AnyEvent] = [
    ItemPut(event_id="i1", timestamp=1.0, item_id="i", properties={"category": "old"}),
    ItemPut(event_id="i2", timestamp=2.0, item_id="i", properties={"category": "new", "price": 2.5}),
    UserPut(event_id="u1", timestamp=1.0, user_id="u", properties={"age": 7}),
    Followed(event_id="f1", timestamp=1.0, user_id="fan", followed_id="star", active=True),
    Followed(event_id="f2", timestamp=1.0, user_id="gone", followed_id="u", active=True),
    Followed(event_id="f3", timestamp=2.0, user_id="gone", followed_id="u", active=False),
    Acted(event_id="a1", timestamp=3.0, user_id="session:s", item_id="i", event_type="view", session_id="s"),
    Acted(
        event_id="a2",
        timestamp=4.0,
        user_id="u",
        item_id="j",
        event_type="buy",
        event_value=0.1,
        session_id="s",
    ),
    Acted(event_id="a3", timestamp=5.0, user_id="session:t", item_id="i", event_type="view", session_id="t"),
]


@pytest.mark.parametrize("first", [0, 3])
def test_the_tables_make_the_same_users_and_interactions(tmp_path: Path, first: int) -> None:
    log = MemoryLog()
    log.append(EVENTS[first:])
    write_tables(log, tmp_path, progress=Silent())
    expected = snapshot_of(log)
    tables = {path.stem: pq.read_table(path) for path in tmp_path.glob("*.parquet")}
    found = build_snapshot(tables["interactions"], items=tables.get("items"), users=tables.get("users"))
    assert found.users == expected.users
    assert found.user_table.equals(expected.user_table)
    assert found.item_table.equals(expected.item_table)
    for name in ("user", "item", "timestamp", "event_type", "value"):
        np.testing.assert_array_equal(getattr(found.interactions, name), getattr(expected.interactions, name))
    assert found.users.row("session:s") == -1
    assert found.users.row("session:t") >= 0
