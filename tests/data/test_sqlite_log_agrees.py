"""Whatever is done to it in whatever order, the durable log agrees with the list in memory."""

import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from penchant.data.eventlog import COLUMNS, EventLog
from penchant.data.events import Acted, AnyEvent, Followed, ItemPut, Served, ServedSlot
from penchant.data.log_rows import to_events
from penchant.data.sqlite_log import SqliteLog
from penchant.testing.memory_log import MemoryLog

ids = st.integers(0, 30).map(lambda i: f"e{i}")
texts = st.sampled_from(["a", "b", "", "ä|1:", "~", "\x00"])
times = st.sampled_from([0.0, -0.0, 1.5, -1e9, 1.7e9])
values = st.one_of(texts, st.integers(-9, 9), st.sampled_from([0.5, True, None]), st.lists(texts, max_size=2))
properties = st.dictionaries(texts, values, max_size=2)
slots = st.builds(ServedSlot, item_id=texts, position=st.integers(0, 9), source=texts)
events = st.one_of(
    st.builds(
        ItemPut,
        event_id=ids,
        timestamp=times,
        item_id=texts,
        properties=st.dictionaries(texts, values, max_size=2),
    ),
    st.builds(
        Followed, event_id=ids, timestamp=times, user_id=texts, followed_id=texts, active=st.booleans()
    ),
    st.builds(
        Acted,
        event_id=ids,
        timestamp=times,
        user_id=texts,
        item_id=texts,
        event_value=st.sampled_from([None, 1.0, -0.0]),
        impression=st.none() | st.lists(texts, max_size=2),
    ),
    st.builds(
        Served,
        event_id=ids,
        timestamp=times,
        user_id=texts,
        feed=texts,
        model_version=texts,
        slots=st.lists(
            st.builds(ServedSlot, item_id=texts, position=st.integers(0, 9), source=texts), max_size=2
        ),
    ),
)
rows = st.lists(
    st.fixed_dictionaries(
        {
            "event_id": st.none() | ids,
            "timestamp": times,
            "user_id": texts,
            "item_id": st.sampled_from("ab"),
            "event_value": st.sampled_from([None, 1.0, float("nan")]),
            "impression": st.sampled_from([None, [], ["a"], ["a", ""]]),
            "properties": st.sampled_from([None, '{"p": 1}']),
        }
    ),
    max_size=6,
)


class TwoLogs(RuleBasedStateMachine):
    """The log under test beside its oracle."""

    @initialize()
    def start(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.log: EventLog = SqliteLog.open(Path(self.folder.name))
        self.other: EventLog = SqliteLog.open(Path(self.folder.name))
        self.oracle = MemoryLog()

    @rule(batch=st.lists(events, max_size=5))
    def append(self, batch: list[AnyEvent]) -> None:
        assert self.log.append(batch) == self.oracle.append(batch)

    @rule(given=rows, cut=st.integers(0, 6))
    def append_bulk(self, given: list[dict[str, Any]], cut: int) -> None:
        schema = pa.schema([f for f in COLUMNS["acted"] if not given or f.name in given[0]])
        batches = [pa.RecordBatch.from_pylist(part, schema) for part in (given[:cut], given[cut:])]
        assert self.log.append_bulk("acted", batches) == self.oracle.append_bulk("acted", batches)

    @rule(keep=st.integers(0, 9))
    def seal(self, keep: int) -> None:
        self.log.seal(keep=keep)

    @rule()
    def swap(self) -> None:
        self.log, self.other = self.other, self.log

    @rule()
    def reopen(self) -> None:
        self.log.close()
        self.log = SqliteLog.open(Path(self.folder.name))

    @rule(after=st.integers(0, 40), limit=st.integers(0, 9))
    def tail(self, after: int, limit: int) -> None:
        assert self.log.tail(after, limit) == self.oracle.tail(after, limit)

    @rule(kind=st.sampled_from(sorted(COLUMNS)), upto=st.none() | st.integers(0, 40))
    def scan(self, kind: str, upto: int | None) -> None:
        def read(log: EventLog) -> list[tuple[int, AnyEvent]]:
            batches = list(log.scan(kind, upto=upto))
            return [p for b in batches for p in zip(b["number"].to_pylist(), to_events(kind, b), strict=True)]

        assert read(self.log) == read(self.oracle)

    @invariant()
    def heads_agree(self) -> None:
        assert self.log.head() == self.other.head() == self.oracle.head()

    def teardown(self) -> None:
        assert self.other.tail(0, 1000) == self.oracle.tail(0, 1000)
        self.log.close()
        self.other.close()
        self.folder.cleanup()


TwoLogs.TestCase.settings = settings(max_examples=20, stateful_step_count=15, deadline=None)
TestTwoLogs = TwoLogs.TestCase
