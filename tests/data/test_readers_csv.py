"""CSV: equal to Python's csv module on what it writes, and no byte lost on anything else."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penchant.data.csv_rows import BAD_QUOTES, GOOD, RAGGED, Records, split
from penchant.data.readers_csv import CsvFile
from penchant.data.schema import TABLES
from penchant.kernel.errors import InputError

FIELDS = st.text(st.sampled_from('ab ,"\n\r;é'), max_size=6)
BYTES = st.lists(
    st.sampled_from([b'"', b",", b"\n", b"\r", b"\r\n", b"a", b"bc", b'""', b'"x"', b"\xff", b" "]),
    max_size=40,
).map(b"".join)


def records(data: bytes, n_fields: int, *, final: bool = True) -> Records:
    return split(np.frombuffer(data, np.uint8), n_fields=n_fields, separator=ord(","), line=1, final=final)


@given(st.lists(st.lists(FIELDS, min_size=3, max_size=3), max_size=8), st.sampled_from(["\n", "\r\n"]))
def test_what_a_csv_writer_wrote_reads_back(rows: list[list[str]], end: str) -> None:
    out = io.StringIO(newline="")
    # Left to itself the writer does not quote a lone CR, which ends a line for us as for editors.
    style = csv.QUOTE_ALL if any("\r" in field for row in rows for field in row) else csv.QUOTE_MINIMAL
    csv.writer(out, lineterminator=end, quoting=style).writerows(rows)
    found = records(out.getvalue().encode(), 3)
    assert found.state.tolist() == [GOOD] * len(rows)
    for j in range(3):
        expected = [None if not row[j].strip(" ") else row[j] for row in rows]
        assert found.column(j).to_pylist() == expected
    found.column(0).validate(full=True)


@given(BYTES, st.integers(1, 4))
def test_every_byte_is_in_one_record_or_ends_one(data: bytes, n_fields: int) -> None:
    found = records(data, n_fields)
    assert found.used == len(data)
    covered = 0
    for start, stop in zip(found.start.tolist(), found.stop.tolist(), strict=True):
        assert start >= covered
        assert data[covered:start].strip(b"\r\n") == b""
        assert stop > start
        covered = stop
    assert data[covered:].strip(b"\r\n") == b""


@given(BYTES)
def test_lines_are_numbered_as_an_editor_does(data: bytes) -> None:
    found = records(data, 0)
    for start, line in zip(found.start.tolist(), found.line.tolist(), strict=True):
        before = data[:start].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        assert line == before.count(b"\n") + 1


@given(BYTES, st.integers(0, 40))
def test_blocks_may_be_cut_anywhere(data: bytes, cut: int) -> None:
    whole = records(data, 2)
    first = records(data[:cut], 2, final=False)
    second = split(
        np.frombuffer(data[first.used :], np.uint8),
        n_fields=2,
        separator=ord(","),
        line=first.next_line,
        final=True,
    )
    parts = [(r.raw(i), int(r.line[i]), int(r.state[i])) for r in (first, second) for i in range(len(r))]
    assert parts == [(whole.raw(i), int(whole.line[i]), int(whole.state[i])) for i in range(len(whole))]


def test_what_is_wrong_costs_one_line() -> None:
    data = b'a,b\n"open,b\nc,d\n"x"y,1\n1,2,3\n"two\nlines",ok\n'
    found = records(data, 2)
    assert found.state.tolist() == [GOOD, BAD_QUOTES, GOOD, BAD_QUOTES, RAGGED, GOOD]
    assert found.line.tolist() == [1, 2, 3, 4, 5, 6]
    assert found.raw(1) == b'"open,b'
    assert found.fields[4] == 3


def test_a_quote_left_open_does_not_swallow_the_rest_of_a_large_file() -> None:
    data = b'"open,1\n' + b"c,d\n" * 500_000
    found = records(data, 2)
    assert found.state[0] == BAD_QUOTES
    assert len(found) == 500_001
    assert records(data[:100], 2, final=False).used == 0  # it may still be closed in the next block


@pytest.mark.parametrize("block", [1, 2, 3, 7, 64, 1 << 20])
def test_the_size_of_blocks_changes_nothing(tmp_path: Path, block: int) -> None:
    text = '﻿user_id,name\r\nu1,"a ""b""\r\nc"\r\n\r\nu2,é\r\nu3\r\nu4,\n'
    path = tmp_path / "users.csv"
    path.write_bytes(text.encode())
    ids: list[str] = []
    names: list[str | None] = []
    rows: list[int] = []
    faults: list[tuple[int, str]] = []
    for chunk in CsvFile(path, TABLES["users"], block=block).chunks():
        ids += chunk.columns["user_id"].to_pylist()
        names += chunk.properties["name"].to_pylist()
        rows += chunk.row.tolist()
        faults += [(fault.row, fault.raw) for fault in chunk.faults]
    assert ids == ["u1", "u2", "u4"]
    assert names == ['"a \\"b\\"\\u000d\\u000ac"', '"é"', None]
    assert rows == [2, 5, 7]
    assert faults == [(6, "u3")]


def test_headers_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "users.csv"
    for content, words in [
        (b"", "the file is empty"),
        (b"\n\r\n", "the file is empty"),
        (b"\xff\xfeu\x00", "UTF-16"),
        (b"user_id,\xff\n", r"line 1: the header is not UTF-8 \(byte 9\)"),
        (b'user_id,"name\nu1,x\n', "quote in the header"),
        (b"user,name\n", "there is no column user_id. Did you mean 'user'"),
    ]:
        path.write_bytes(content)
        with pytest.raises(InputError, match=words):
            CsvFile(path, TABLES["users"])


@pytest.mark.parametrize("separator", [",", "\t", ";"])
def test_separators_are_recognised(tmp_path: Path, separator: str) -> None:
    path = tmp_path / "users.csv"
    path.write_text(f"user_id{separator}age\nu1{separator}7\n")
    source = CsvFile(path, TABLES["users"])
    (chunk,) = source.chunks()
    assert chunk.columns["user_id"].to_pylist() == ["u1"]
    assert chunk.properties["age"].to_pylist() == ["7"]
    assert len(source.notes()) == (separator != ",")
