"""Whatever the bytes: no error but our own, and every row of the file is stored or in quarantine."""

import json
import tempfile
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penchant.data.importing import import_files
from penchant.data.importing_summary import TableSummary
from penchant.data.quarantine import Fault
from penchant.kernel.errors import PenchantError
from penchant.kernel.progress import Silent
from penchant.testing.memory_log import MemoryLog

NOW = 1_700_000_000.0
HEADER = b"user_id,item_id,timestamp,event_value,impression,extra\n"
IDS = [
    b"u1",
    b"",
    b" ",
    b'"q""x"',
    b'"open',
    b"\xff\xfe",
    "é".encode(),
    b"x" * 257,
    b"\x00",
    b'"a\nb"',
    b"nan",
]
TIMES = [b"1600000000", b"1e9", b"2020-01-01", b"never", b"", b"inf", b"nan", b"9" * 40, b"-5", b"1_000"]
EXTRAS = [b"1", b"01", b"a|b", b"|", b'"', b"\x01\\", b"-0.0", b"1e-05", b"", b"2020-01-01T00:00:00Z"]


def imported(content: bytes, ending: str) -> tuple[TableSummary, MemoryLog, list[Fault]] | None:
    """Import the bytes as interactions; None when the file as a whole is refused."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"x{ending}"
        path.write_bytes(content)
        log = MemoryLog()
        try:
            summary = import_files(
                log,
                interactions=[path],
                quarantine=Path(folder) / "q",
                now=NOW,
                progress=Silent(),
            )
        except PenchantError:
            assert log.head() == 0
            return None
        (table,) = summary.tables
        faults: list[Fault] = []
        if table.quarantine:
            faults = msgspec.json.Decoder(Fault).decode_lines(Path(table.quarantine).read_bytes())
        return table, log, faults


def conserved(table: TableSummary, log: MemoryLog, faults: Sequence[Fault]) -> None:
    assert table.read == table.stored + table.known + sum(table.rejected.values())
    assert log.head() == table.stored
    assert len(faults) == sum(table.rejected.values())
    assert len({fault.row for fault in faults}) == len(faults)


@given(st.binary(max_size=200), st.sampled_from([".csv", ".jsonl", ".csv.gz", ".parquet", ".ndjson"]))
def test_any_bytes_are_refused_politely_or_read(content: bytes, ending: str) -> None:
    result = imported(content, ending)
    if result:
        conserved(*result)


@given(st.binary(max_size=200))
def test_any_bytes_below_a_header(content: bytes) -> None:
    result = imported(HEADER + content, ".csv")
    assert result is not None
    conserved(*result)
    if b'"' not in content:
        lines = content.replace(b"\r", b"\n").split(b"\n")
        assert result[0].read == sum(1 for line in lines if line)


ROW = st.tuples(*(st.sampled_from(c) for c in (IDS, IDS, TIMES, TIMES, EXTRAS, EXTRAS))).map(b",".join)


@given(st.lists(ROW, max_size=12))
def test_rows_of_nasty_fields(rows: list[bytes]) -> None:
    result = imported(HEADER + b"\n".join(rows), ".csv")
    assert result is not None
    conserved(*result)
    if not any(b'"' in row for row in rows):
        assert result[0].read == len(rows)


BAD_TEXT = pa.Array.from_buffers(pa.string(), 2, pa.array([b"\xff", b"ok"]).buffers())
COLUMNS = {
    "text": pa.array(["a", None]),
    "text view": pa.array(["a", None], pa.string_view()),
    "large text": pa.array(["a", ""], pa.large_string()),
    "codes": pa.array(["a", None]).dictionary_encode(),
    "bytes": pa.array([b"\xff", b"a"]),
    "fixed bytes": pa.array([b"ab", None], pa.binary(2)),
    "bad text": BAD_TEXT,
    "lists": pa.array([["a", None], []], pa.large_list(pa.string())),
    "lists of bytes": pa.array([[b"\xff"], None]),
    "lists of bad text": pa.ListArray.from_arrays([0, 1, 2], BAD_TEXT),
    "lists of numbers": pa.array([[1, 2], None], pa.list_(pa.int8(), 2)),
    "map": pa.array([[("a", 1)], None], pa.map_(pa.string(), pa.int32())),
    "struct": pa.array([{"a": b"\xff"}, None]),
    "small float": pa.array([1.5, float("nan")], pa.float16()),
    "large float": pa.array([1e300, -1e300]),
    "large whole": pa.array([2**64 - 1, 0], pa.uint64()),
    "decimal": pa.array([Decimal("1.50"), None]),
    "true": pa.array([True, None]),
    "nothing": pa.nulls(2),
    "time of day": pa.array([1, None], pa.time64("ns")),
    "duration": pa.array([1, None], pa.duration("ns")),
    "far dates": pa.array([2**31 - 1, -(2**31)], pa.date32()),
    "far times": pa.array([2**60, -(2**60)], pa.timestamp("ms", "UTC")),
    "exact times": pa.array([2**62, -(2**62)], pa.timestamp("ns")),
}


@pytest.mark.parametrize("column", COLUMNS)
def test_any_parquet_type_in_any_place(tmp_path: Path, column: str) -> None:
    for name in ("user_id", "timestamp", "event_value", "impression", "session_id", "extra"):
        base = {"user_id": ["a", "b"], "item_id": ["x", "y"], "timestamp": [1.6e9, 1.6e9]}
        pq.write_table(pa.table(base | {name: COLUMNS[column]}), tmp_path / "x.parquet")
        result = imported((tmp_path / "x.parquet").read_bytes(), ".parquet")
        if result:
            conserved(*result)
            assert result[0].read == 2


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["u", "1e9"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)
KEYS = st.sampled_from(
    [
        "user_id",
        "item_id",
        "timestamp",
        "event_value",
        "impression",
        "userId",
        "x",
        "X",
        "event_id",
        "event_type",
    ]
)


@given(st.lists(st.dictionaries(KEYS, VALUES, max_size=8), max_size=6))
def test_any_json_objects(rows: list[dict[str, object]]) -> None:
    first = {"user_id": "u", "item_id": "i", "timestamp": 1.6e9}
    text = "\n".join(json.dumps(row) for row in [first, *rows])
    result = imported(text.encode(), ".jsonl")
    if result:
        conserved(*result)
        assert result[0].read == len(rows) + 1


@given(st.lists(st.binary(max_size=30), max_size=6))
def test_any_lines_below_a_json_object(lines: list[bytes]) -> None:
    first = b'{"user_id": "u", "item_id": "i", "timestamp": 1}\n'
    content = b"\n".join(lines)
    result = imported(first + content, ".jsonl")
    assert result is not None
    conserved(*result)
    blank = sum(1 for line in content.split(b"\n") if not line.strip())
    assert result[0].read == 1 + len(content.split(b"\n")) - blank
