"""A store made from Parquet tables: what a snapshot of the same tables gives, and kept up to date."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from penchant.data.snapshot import Snapshot, build_snapshot
from penchant.features import coding
from penchant.features.codes import code_counts, code_features, encode
from penchant.features.engine import Engine
from penchant.features.people_store import PeopleStore
from penchant.features.people_store import people_store as made
from penchant.features.purchase import PurchaseFeatures
from penchant.features.purchase_matrix import PurchaseTable, compute, purchase_table
from penchant.features.raw_tables import RawTables
from penchant.kernel.arrays import Rows
from penchant.kernel.arrow import pc
from penchant.kernel.clock import DAY
from penchant.kernel.errors import InputError
from penchant.kernel.progress import Silent
from penchant.kernel.seeds import derive

END = 1_700_000_000.0
CONFIG = PurchaseFeatures(profile=("age", "sex"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """Tables of an import."""

    events: pa.Table
    items: pa.Table
    users: pa.Table

    def write(self, folder: Path) -> RawTables:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "interactions").mkdir(exist_ok=True)
        half = len(self.events) // 2
        pq.write_table(self.events.slice(0, half), folder / "interactions" / "a.parquet")
        pq.write_table(self.events.slice(half), folder / "interactions" / "b.parquet")
        pq.write_table(self.items, folder / "items.parquet")
        pq.write_table(self.users, folder / "users.parquet")
        return RawTables.found(folder)

    def snapshot(self) -> Snapshot:
        return build_snapshot(self.events, items=self.items, users=self.users)


@pytest.fixture(scope="module")
def shop() -> Shop:
    """300 customers, some with no activity, some unknown to the users' table; views and odd items too."""
    rng, count = derive(0, "people"), 6000
    kind = rng.choice(["Purchase", "view", "search", "ping"], count, p=[0.5, 0.3, 0.1, 0.1])
    at = END - DAY * rng.uniform(0, 500, count).round(3)
    at[0] = END
    return Shop(
        events=pa.table(
            {
                "user_id": [f"u{u}" for u in rng.integers(0, 290, count)],
                "item_id": [f"i{i}" for i in rng.integers(0, 45, count)],
                "event_type": kind,
                "timestamp": at,
                "event_value": pa.array(rng.gamma(2.0, 3.0, count).round(2), mask=rng.random(count) < 0.1),
            }
        ),
        items=pa.table(
            {
                "item_id": [f"i{i}" for i in range(40)],
                "category": pa.array([f"c{i % 7}" if i % 9 else None for i in range(40)]),
            }
        ),
        users=pa.table(
            {
                "user_id": [f"u{u}" for u in range(20, 300)],
                "age": pa.array([u % 60 if u % 5 else None for u in range(20, 300)], pa.int32()),
                "sex": pa.array([("f", "m", None)[u % 3] for u in range(20, 300)]),
            }
        ),
    )


def people_store(raw: RawTables, config: PurchaseFeatures, folder: Path) -> PeopleStore:
    return made(raw, config, folder, source=raw.state(), progress=Silent())


def equal(store: PeopleStore, snapshot: Snapshot, config: PurchaseFeatures = CONFIG) -> bool:
    expected = code_features(compute(purchase_table(snapshot, config)))
    return store.codes.book == expected.book and all(
        np.array_equal(getattr(store.codes, name), getattr(expected, name))
        for name in ("codes", "edges", "counts")
    )


def test_the_store_is_what_a_snapshot_of_the_tables_gives(shop: Shop, tmp_path: Path) -> None:
    store = people_store(shop.write(tmp_path / "raw"), CONFIG, tmp_path / "store")
    snapshot = shop.snapshot()
    table = purchase_table(snapshot, CONFIG)
    features = compute(table)
    assert equal(store, snapshot)
    assert store.table.users == snapshot.users
    assert store.user_table["age"].to_pylist() == snapshot.user_table["age"].to_pylist()
    assert store.user_table.column_names == ["user_id", "age", "sex"]
    assert store.meta.newest == snapshot.cutoff
    np.testing.assert_array_equal(store.spend, np.nan_to_num(features.column("aas000")))
    own = snapshot.interactions.user == 7
    assert store.first[7] == snapshot.interactions.timestamp[own].min()
    assert store.last[7] == snapshot.interactions.timestamp[own].max()
    quiet = snapshot.users.row("u295")
    assert (store.first[quiet], store.last[quiet], store.spend[quiet]) == (np.inf, -np.inf, 0)
    columns = np.array([len(features) - 1, 0, 9, 4], np.int32)
    rows = np.array([0, 3, quiet, 299], np.int32)
    np.testing.assert_array_equal(store.values(columns, rows), features.values[columns][:, rows])


def test_times_and_headers_come_as_an_import_has_them(shop: Shop, tmp_path: Path) -> None:
    events = shop.events
    whole = events.set_column(3, "TIMESTAMP", pa.array(np.floor(events["timestamp"].to_numpy() * 1000)))
    milliseconds = whole.rename_columns(["USER_ID", "ITEM_ID", "EVENT_TYPE", "TIMESTAMP", "EVENT_VALUE"])
    stamps = whole["TIMESTAMP"].cast(pa.int64()).cast(pa.timestamp("ms"))
    typed = events.set_column(3, "timestamp", stamps)
    expected = events.set_column(3, "timestamp", pa.array(stamps.cast(pa.int64()).to_numpy() / 1000))
    snapshot = build_snapshot(expected, items=shop.items, users=shop.users)
    for name, table in (("number", milliseconds), ("typed", typed)):
        raw = Shop(events=table, items=shop.items, users=shop.users).write(tmp_path / name)
        store = people_store(raw, CONFIG, tmp_path / f"{name} store")
        assert equal(store, snapshot)


def test_nothing_is_made_twice_and_only_who_changed_is_made_again(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw, place = shop.write(tmp_path / "raw"), tmp_path / "store"
    first = people_store(raw, CONFIG, place)
    monkeypatch.setattr("penchant.features.people_store.gather", None)
    again = people_store(raw, CONFIG, place)
    assert again.meta == first.meta
    monkeypatch.undo()

    computed: list[int] = []
    chosen = coding.chosen_part

    def counted(table: PurchaseTable, rows: Rows, engine: Engine) -> PurchaseTable:
        computed.append(len(rows))
        return chosen(table, rows, engine)

    monkeypatch.setattr(coding, "chosen_part", counted)
    more = pa.table(
        {
            "user_id": ["u5", "u5", "a new one"],
            "item_id": ["i1", "i2", "i3"],
            "event_type": ["Purchase", "view", "Purchase"],
            "timestamp": [END - 5.0, END - 4.0, END - 3.0],
            "event_value": [1.0, None, 2.0],
        }
    )
    users = shop.users.filter(pc.not_equal(shop.users["user_id"], "u299"))
    age = users["age"].to_pylist()
    users = users.set_column(1, "age", pa.array([17, *age[1:]], pa.int32()))
    later = Shop(events=pa.concat_tables([shop.events, more]), items=shop.items, users=users)
    store = people_store(later.write(tmp_path / "raw"), CONFIG, place)
    assert computed == [3]  # u5, the new one, and u20, whose age is another
    assert store.meta.digest != first.meta.digest
    assert len(list(place.iterdir())) == 1
    expected = compute(purchase_table(later.snapshot(), CONFIG))
    rows = np.arange(len(expected.users), dtype=np.int32)
    np.testing.assert_array_equal(store.values(rows[: len(expected)], rows), expected.values)
    np.testing.assert_array_equal(store.codes.codes, encode(expected.values, first.codes.edges))
    np.testing.assert_array_equal(store.codes.counts, code_counts(store.codes.codes, store.codes.bins))
    fresh = people_store(later.write(tmp_path / "other"), CONFIG, tmp_path / "fresh")
    assert fresh.meta.digest == store.meta.digest


def test_a_later_reference_makes_everybody_anew(shop: Shop, tmp_path: Path) -> None:
    raw = shop.write(tmp_path / "raw")
    people_store(raw, CONFIG, tmp_path / "store")
    late = shop.events.slice(0, 1).set_column(3, "timestamp", pa.array([END + 8 * DAY]))
    later = Shop(events=pa.concat_tables([shop.events, late]), items=shop.items, users=shop.users)
    store = people_store(later.write(tmp_path / "raw"), CONFIG, tmp_path / "store")
    assert store.meta.built_at == END + 8 * DAY
    assert equal(store, later.snapshot())


def test_rows_without_an_id_or_a_time_are_counted_and_left_out(shop: Shop, tmp_path: Path) -> None:
    odd = pa.table(
        {
            "user_id": [None, "u1", "u1"],
            "item_id": ["i1", None, "i1"],
            "event_type": ["view"] * 3,
            "timestamp": [END - 1, END - 1, None],
            "event_value": pa.nulls(3, pa.float64()),
        }
    )
    worse = Shop(events=pa.concat_tables([shop.events, odd]), items=shop.items, users=shop.users)
    store = people_store(worse.write(tmp_path / "raw"), CONFIG, tmp_path / "store")
    assert store.meta.left_out == 3
    assert equal(store, shop.snapshot())


@pytest.mark.parametrize("what", ["twice", "no interactions", "no category", "text time", "no user_id"])
def test_what_is_wrong_with_tables_is_said(shop: Shop, tmp_path: Path, what: str) -> None:
    events, items, users, config = shop.events, shop.items, shop.users, CONFIG
    message = {
        "twice": "user 'u20' stands 2 times",
        "no interactions": "there are no interactions",
        "no category": "items have no column 'kind'",
        "text time": "timestamp holds VARCHAR",
        "no user_id": "there is no column user_id",
    }[what]
    if what == "twice":
        users = pa.concat_tables([users, users.slice(0, 1)])
    elif what == "no interactions":
        events = events.slice(0, 0)
    elif what == "no category":
        config = PurchaseFeatures(category="kind")
    elif what == "text time":
        events = events.set_column(3, "timestamp", events["timestamp"].cast(pa.string()))
    else:
        events = events.drop_columns(["user_id"])
    raw = Shop(events=events, items=items, users=users).write(tmp_path / "raw")
    with pytest.raises(InputError, match=message):
        people_store(raw, config, tmp_path / "store")
    assert not list((tmp_path / "store").glob("*"))


def test_a_folder_without_tables_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"neither interactions\.parquet nor a folder"):
        RawTables.found(tmp_path)
