"""Import: every row is stored, known or in quarantine with its reason; nothing half done, nothing twice."""

import gzip
import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from penchant.data.events import Acted, Followed, ItemPut, UserPut
from penchant.data.importing import import_files
from penchant.data.importing_summary import ImportSummary
from penchant.data.quarantine import WORDS, Fault
from penchant.kernel.errors import InputError, NotFound, PenchantError
from penchant.kernel.progress import Silent
from penchant.testing.memory_log import MemoryLog

NOW = 1_700_000_000.0
DAY = 86400.0


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


@pytest.fixture
def run(log: MemoryLog, tmp_path: Path) -> Callable[..., ImportSummary]:
    def go(**options: Any) -> ImportSummary:
        return import_files(
            log, **{"quarantine": tmp_path / "quarantine", "now": NOW, "progress": Silent()} | options
        )

    return go


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def events(log: MemoryLog) -> list[Any]:
    return [event for _, event in log.tail(0)]


def faults(summary: ImportSummary) -> list[Fault]:
    path = summary.tables[0].quarantine
    assert path is not None
    return msgspec.json.Decoder(Fault).decode_lines(Path(path).read_bytes())


def test_personalize_files_as_they_are(
    run: Callable[..., ImportSummary], log: MemoryLog, tmp_path: Path
) -> None:
    interactions = write(
        tmp_path / "interactions.csv",
        "USER_ID,ITEM_ID,TIMESTAMP,EVENT_TYPE,EVENT_VALUE,IMPRESSION,RECOMMENDATION_ID,DEVICE\n"
        'u1,i1,1600000000,watch,0.5,i1|i2,r-1,"TV, big"\n'
        "u2,i2,1600000001,,,,,\n",
    )
    items = write(tmp_path / "items.csv", "ITEM_ID,CREATION_TIMESTAMP,GENRES\ni1,1500000000,Comedy|Drama\n")
    users = write(tmp_path / "users.csv", "USER_ID,AGE\nu1,41\n")
    summary = run(interactions=[interactions], items=[items], users=[users])
    user, item, first, second = events(log)
    assert isinstance(user, UserPut)
    assert (user.user_id, user.timestamp, user.properties) == ("u1", 0.0, {"age": 41})
    assert isinstance(item, ItemPut)
    assert item.properties == {"genres": "Comedy|Drama", "creation_timestamp": 1500000000}
    assert isinstance(first, Acted)
    assert (first.timestamp, first.event_type, first.event_value) == (1.6e9, "watch", 0.5)
    assert (first.impression, first.recommendation_id) == (["i1", "i2"], "r-1")
    assert first.properties == {"device": "TV, big"}
    assert (second.event_type, second.event_value, second.impression) == ("click", None, None)
    assert second.properties == {}
    assert [t.table for t in summary.tables] == ["users", "items", "interactions"]
    assert summary.stored == 4
    assert summary.rejected == 0
    assert summary.tables[0].properties == {"age": "number"}
    assert not (tmp_path / "quarantine").exists()


BAD = {
    "missing_id": ",i,1600000000,1",
    "missing_time": "u,i,,1",
    "bad_time": "u,i,yesterday,1",
    "future_time": f"u,i,{int(NOW + DAY + 1)},1",
    "not_a_number": "u,i,1600000000,many",
    "nan_value": "u,i,1600000000,NaN",
    "too_large": "u,i,1600000000,-1e39",
    "id_too_long": f"u,{'i' * 257},1600000000,1",
    "ragged_line": "u,i,1600000000",
    "bad_quotes": '"u,i,1600000000,1',
    "bad_utf8": b"u\xff,i,1600000000,1",
}


@pytest.mark.parametrize("reason", BAD)
def test_a_bad_row_is_kept_with_its_reason(
    run: Callable[..., ImportSummary], log: MemoryLog, tmp_path: Path, reason: str
) -> None:
    bad = BAD[reason]
    raw = bad.encode() if isinstance(bad, str) else bad
    good = f"u,{'é' * 256},{int(NOW + DAY)},2.5\n".encode()
    path = write(tmp_path / "x.csv", b"user_id,item_id,timestamp,event_value\n" + good + raw + b"\n" + good)
    summary = run(interactions=[path])
    (table,) = summary.tables
    assert (table.read, table.stored, table.rejected) == (3, 2, {reason: 1})
    (fault,) = faults(summary)
    assert (fault.row, fault.reason, fault.file) == (3, reason, str(path))
    assert fault.raw == raw.decode(errors="backslashreplace")
    assert any(WORDS[fault.reason] in sentence for sentence in summary.sentences())
    with pytest.raises(InputError, match=r"1 of 3 rows are bad.*row 3"):
        run(interactions=[path], strict=True)
    assert log.head() == 2


def test_every_reason_has_words_and_bad_utf8_in_parquet_and_json_is_found(
    run: Callable[..., ImportSummary], tmp_path: Path
) -> None:
    table = pa.table({"user_id": pa.array([b"u1", b"\xff"], pa.binary()), "age": [1, 2]})
    pq.write_table(table, tmp_path / "users.parquet")
    summary = run(users=[tmp_path / "users.parquet"])
    assert summary.tables[0].rejected == {"bad_utf8": 1}
    lines = write(
        tmp_path / "users.jsonl",
        b'{"user_id": "\xff"}\n{"user_id": "a"}\n[1]\n{"user_id"\n{"user_id": true}\n{"user_id": []}\n'
        b'{"user_id": 7, "userId": 8}\n' + b"[" * 5000 + b"\n" + b'{"user_id": "\\ud800"}\n',
    )
    summary = run(users=[lines])
    assert summary.tables[0].read == 9
    assert summary.tables[0].stored == 1
    assert summary.tables[0].rejected == {"broken_json": 5, "bad_utf8": 1, "wrong_type": 2}
    assert sorted(f.row for f in faults(summary)) == [1, 3, 4, 5, 6, 7, 8, 9]


def test_again_stores_nothing_and_equal_rows_are_kept_apart(
    run: Callable[..., ImportSummary], log: MemoryLog, tmp_path: Path
) -> None:
    path = write(tmp_path / "x.csv", "user_id,item_id,timestamp\nu,i,1\nu,i,1\nu,j,1\n")
    assert run(interactions=[path]).stored == 3
    again = run(interactions=[path])
    assert (again.stored, again.tables[0].known, log.head()) == (0, 3, 3)
    assert "3 rows known already." in again.sentences()
    given = write(tmp_path / "y.csv", "event_id,user_id,item_id,timestamp\ne1,u,i,1\ne1,u,i,1\n,u,k,1\n")
    assert run(interactions=[given]).stored == 2


def test_a_row_is_the_same_event_beside_other_rows(run: Callable[..., ImportSummary], tmp_path: Path) -> None:
    """A column of numbers today may hold a text tomorrow: rows imported before must stay known."""
    one = write(tmp_path / "a.csv", "user_id,item_id,timestamp,size\nu,i,1600000000,38\n")
    two = write(tmp_path / "b.csv", "user_id,item_id,timestamp,size\nu,i,1600000001,XL\n")
    assert run(interactions=[one]).stored == 1
    both = run(interactions=[one, two])
    assert (both.stored, both.tables[0].known) == (1, 1)
    assert both.tables[0].properties == {"size": "category"}


@pytest.mark.parametrize(("scale", "unit"), [(1, ""), (1e3, "milli"), (1e6, "micro"), (1e9, "nano")])
def test_units_of_time_are_recognised_and_said(
    run: Callable[..., ImportSummary], log: MemoryLog, tmp_path: Path, scale: float, unit: str
) -> None:
    times = [int(t * scale) for t in (1_600_000_000, 1_600_000_010)]
    path = write(tmp_path / "x.csv", "user_id,item_id,timestamp\n" + "".join(f"u,i,{t}\n" for t in times))
    summary = run(interactions=[path])
    assert [event.timestamp for event in events(log)] == [1_600_000_000, 1_600_000_010]
    said = "x.csv: column timestamp was in " + unit + "seconds, stored as seconds."
    assert (said in summary.sentences()) == bool(unit)


def test_times_as_text_and_as_types(
    run: Callable[..., ImportSummary], log: MemoryLog, tmp_path: Path
) -> None:
    texts = [
        "2020-09-13T12:26:40Z",
        "2020-09-13 12:26:40",
        "2020-09-13T14:26:40+02:00",
        "2020-09-13T12:26:40.250",
        "1600000000",
        " 1600000000.5 ",
        "2020-09-13",
        "2020-13-01",
        "1e400",
        "2020-09-13T12:26:40.123456789Z",
        "20200913T122640Z",
    ]
    rows = "".join(f"u,i{n},{text}\n" for n, text in enumerate(texts))
    path = write(tmp_path / "x.csv", "user_id,item_id,timestamp\n" + rows)
    summary = run(interactions=[path])
    midnight = datetime(2020, 9, 13, tzinfo=UTC).timestamp()
    assert {e.item_id: e.timestamp for e in events(log)} == {
        "i0": 1.6e9,
        "i1": 1.6e9,
        "i2": 1.6e9,
        "i3": 1.6e9 + 0.25,
        "i4": 1.6e9,
        "i5": 1.6e9 + 0.5,
        "i6": midnight,
        "i9": pytest.approx(1.6e9 + 0.123456, abs=1e-5),
        "i10": 1.6e9,
    }
    assert summary.tables[0].rejected == {"bad_time": 2}
    moment = datetime(2020, 9, 13, 12, 26, 40, tzinfo=UTC)
    for number, column in enumerate(
        [
            pa.array([moment], pa.timestamp("ms", "UTC")),
            pa.array([moment.replace(tzinfo=None)], pa.timestamp("ns")),
            pa.array([moment.date()], pa.date32()),
            pa.array([1_600_000_000_000], pa.int64()),
            pa.array(["2020-09-13T12:26:40Z"], pa.large_string()),
        ]
    ):
        pq.write_table(
            pa.table({"user_id": [1], "item_id": [number], "timestamp": column}), tmp_path / "t.parquet"
        )
        run(interactions=[tmp_path / "t.parquet"])
        expected = midnight if pa.types.is_date(column.type) else 1.6e9
        assert events(log)[-1].timestamp == expected


def test_ids_of_any_type(run: Callable[..., ImportSummary], log: MemoryLog, tmp_path: Path) -> None:
    columns = [
        pa.array([1, None, 3], pa.int32()),
        pa.array([1.0, None, 3.5]),
        pa.array([Decimal(1), None, Decimal(3)], pa.decimal128(10, 0)),
        pa.array(["1", None, " "]).dictionary_encode(),
        pa.array([b"1", None, b""], pa.binary()),
    ]
    rejected: list[dict[str, int]] = []
    for column in columns:
        pq.write_table(pa.table({"user_id": column}), tmp_path / "u.parquet")
        summary = run(users=[tmp_path / "u.parquet"])
        rejected.append(dict(summary.tables[0].rejected))
    assert rejected == [
        {"missing_id": 1},
        {"missing_id": 1, "wrong_type": 1},
        {"missing_id": 1},
        {"missing_id": 2},
        {"missing_id": 2},
    ]
    assert {event.user_id for event in events(log)} == {"1", "3"}
    pq.write_table(pa.table({"user_id": [["a"]]}), tmp_path / "u.parquet")
    with pytest.raises(InputError, match=r"column user_id holds list.*cannot be read as id"):
        run(users=[tmp_path / "u.parquet"])


def test_properties_keep_their_values_and_get_types(
    run: Callable[..., ImportSummary], log: MemoryLog, tmp_path: Path
) -> None:
    titles = ["The quick brown fox", "Ten days of rain", 'Say "no" to \\ and \x01', "1984"]
    rows = [
        f'i{n},"{t.replace(chr(34), chr(34) * 2)}",0{n},{n}.50,red,2020-01-0{n + 1},160000000{n},\n'
        for n, t in enumerate(titles)
    ]
    path = write(
        tmp_path / "items.csv", "item_id,title,code,price,colour,released,updated_at,note\n" + "".join(rows)
    )
    summary = run(items=[path])
    assert [event.properties.get("title") for event in events(log)] == [*titles[:3], 1984]
    assert events(log)[1].properties == {
        "title": "Ten days of rain",
        "code": "01",
        "price": 1.5,
        "colour": "red",
        "released": "2020-01-02",
        "updated_at": 1600000001,
    }
    assert summary.tables[0].properties == {
        "title": "text",
        "code": "category",
        "price": "number",
        "colour": "category",
        "released": "timestamp",
        "updated_at": "timestamp",
        "note": "empty",
    }


def test_json_and_parquet_properties(
    run: Callable[..., ImportSummary], log: MemoryLog, tmp_path: Path
) -> None:
    lines = [
        {"item_id": 1, "tags": ["a", "b"], "size": "07", "deep": {"x": [1]}, "sold": True, "n": 2**70},
        {"itemId": "2", "creationTimestamp": "2020-01-01", "none": None, "mixed": [1, "a"]},
    ]
    path = write(tmp_path / "items.jsonl", "\n".join(json.dumps(line) for line in lines))
    run(items=[path])
    first, second = events(log)
    assert first.properties == {
        "tags": ["a", "b"],
        "size": "07",
        "deep": '{"x":[1]}',
        "sold": True,
        "n": str(2**70),
    }
    assert second.properties == {"creation_timestamp": 1577836800, "mixed": ["1", "a"]}
    table = pa.table(
        {
            "item_id": ["a", "b"],
            "price": [1.5, float("nan")],
            "count": pa.array([3, None], pa.int64()),
            "tags": [["x", 'y"'], None],
            "code": ["12", "x"],
            "day": pa.array([18262, None], pa.date32()),
        }
    )
    pq.write_table(table, tmp_path / "items.parquet")
    run(items=[tmp_path / "items.parquet"])
    assert [event.properties for event in events(log)[2:]] == [
        {"price": 1.5, "count": 3, "tags": ["x", 'y"'], "code": "12", "day": "2020-01-01"},
        {"code": "x"},
    ]


def test_impressions_from_lists_and_bad_ones(
    run: Callable[..., ImportSummary], log: MemoryLog, tmp_path: Path
) -> None:
    base = {"user_id": "u", "item_id": "a", "timestamp": 1.6e9}
    lines = [
        base | {"impression": "a|b"},
        base | {"impression": ["a", "c"]},
        base | {"impression": ["a", 3]},
        base | {"impression": "a||b"},
        base | {"impression": 5},
    ]
    path = write(tmp_path / "x.jsonl", "\n".join(json.dumps(line) for line in lines))
    summary = run(interactions=[path])
    assert [event.impression for event in events(log)] == [["a", "b"], ["a", "c"]]
    assert summary.tables[0].rejected == {"wrong_type": 2, "bad_impression": 1}
    table = pa.table(
        {
            "user_id": ["u"] * 4,
            "item_id": ["p"] * 4,
            "timestamp": [1.6e9 + n for n in range(4)],
            "impression": [["p", "q"], None, [], ["p", ""]],
        }
    )
    pq.write_table(table, tmp_path / "x.parquet")
    summary = run(interactions=[tmp_path / "x.parquet"])
    assert [event.impression for event in events(log)[2:]] == [["p", "q"], None, []]
    assert summary.tables[0].rejected == {"bad_impression": 1}


def test_follows(run: Callable[..., ImportSummary], log: MemoryLog, tmp_path: Path) -> None:
    path = write(
        tmp_path / "f.csv", "user_id,followed_id,active,timestamp\na,b,,\na,c,no,1600000000\na,d,perhaps,\n"
    )
    summary = run(follows=[path])
    found = [(e.followed_id, e.active, e.timestamp) for e in events(log) if isinstance(e, Followed)]
    assert found == [("b", True, 0.0), ("c", False, 1.6e9)]
    assert summary.tables[0].rejected == {"wrong_type": 1}


def test_folders_of_parquet_and_gzip(
    run: Callable[..., ImportSummary], log: MemoryLog, tmp_path: Path
) -> None:
    folder = tmp_path / "parts"
    for country in ("FR", "DE"):
        part = folder / f"country={country}"
        part.mkdir(parents=True)
        pq.write_table(pa.table({"user_id": [country.lower()]}), part / "part-0.parquet")
    (folder / "_SUCCESS").write_text("")
    hidden = folder / "_temporary"
    hidden.mkdir()
    (hidden / "part-1.parquet").write_text("not parquet")
    assert run(users=[folder]).stored == 2
    assert [(e.user_id, e.properties) for e in events(log)] == [
        ("de", {"country": "DE"}),
        ("fr", {"country": "FR"}),
    ]
    packed = write(tmp_path / "u.csv.gz", gzip.compress(b"user_id\nzz\n"))
    assert run(users=[packed]).stored == 1
    write(packed, packed.read_bytes()[:-9])
    with pytest.raises(InputError, match="cannot be read"):
        run(users=[packed])
    empty = tmp_path / "nothing"
    empty.mkdir()
    with pytest.raises(InputError, match=r"no .parquet file"):
        run(users=[empty])


def test_files_that_are_not_there_or_not_tables(
    run: Callable[..., ImportSummary], log: MemoryLog, tmp_path: Path
) -> None:
    write(tmp_path / "users.csv", "user_id\nu1\n")
    with pytest.raises(NotFound, match=r"no such file. Did you mean '.*/users.csv'"):
        run(users=[tmp_path / "user.csv"])
    with pytest.raises(NotFound, match="no folder"):
        run(users=[tmp_path / "no" / "users.csv"])
    with pytest.raises(InputError, match=r"ending.*Known: .csv"):
        run(users=[write(tmp_path / "users.xlsx", "x")])
    for name in ("a.csv", "a.jsonl"):
        with pytest.raises(InputError, match="the file is empty"):
            run(users=[write(tmp_path / name, "")])
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        run(users=[write(tmp_path / "a.parquet", "")])
    with pytest.raises(InputError, match="no file was named"):
        run()
    summary = run(users=[write(tmp_path / "h.csv", "user_id,age\n")])
    assert "h.csv: there is a header and no rows." in summary.sentences()
    with pytest.raises(InputError, match="no column user_id"):
        run(users=[write(tmp_path / "w.jsonl", '{"usr": 1}\n')])
    assert log.head() == 0


def test_nothing_is_stored_when_another_table_has_a_wrong_header(
    run: Callable[..., ImportSummary], log: MemoryLog, tmp_path: Path
) -> None:
    users = write(tmp_path / "users.csv", "user_id\nu1\n")
    wrong = write(tmp_path / "x.csv", "user,item\n")
    with pytest.raises(InputError):
        run(users=[users], interactions=[wrong])
    assert log.head() == 0


def test_strict_looks_at_all_tables_first_and_stores_when_all_is_well(
    run: Callable[..., ImportSummary], log: MemoryLog, tmp_path: Path
) -> None:
    users = write(tmp_path / "users.csv", "user_id\nu1\n")
    bad = write(tmp_path / "x.csv", "user_id,item_id,timestamp\nu,i,1\nu,,1\n")
    with pytest.raises(InputError, match="item_id is missing"):
        run(users=[users], interactions=[bad], strict=True)
    assert log.head() == 0
    summary = run(users=[users], strict=True)
    assert (summary.tables[0].read, summary.stored) == (1, 1)


def test_quarantine_files_are_never_overwritten_and_a_full_disk_is_said(
    run: Callable[..., ImportSummary], tmp_path: Path
) -> None:
    bad = write(tmp_path / "x.csv", "user_id\n \n")
    first, second = run(users=[bad]), run(users=[bad])
    assert first.tables[0].quarantine != second.tables[0].quarantine
    assert len(faults(first)) == len(faults(second)) == 1
    blocked = write(tmp_path / "blocked", "")
    with pytest.raises(PenchantError, match="cannot write the rows that were refused"):
        run(users=[bad], quarantine=blocked / "q")
