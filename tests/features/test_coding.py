"""Raw tables to codes out of core: whatever the way and the order of work, the store is the one in memory."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from penchant.data.snapshot import Snapshot, build_snapshot
from penchant.features import codes, coding
from penchant.features.codes import code_features, encode
from penchant.features.codes_write import refresh_store
from penchant.features.coding import code_table, refresh_table
from penchant.features.purchase import PurchaseFeatures
from penchant.features.purchase_matrix import PurchaseTable, compute, purchase_table
from penchant.kernel.clock import DAY
from penchant.kernel.seeds import derive

END = 1_700_000_000.0
N = 400


@pytest.fixture(scope="module")
def shop() -> Snapshot:
    rng = derive(0, "shop")
    count = 9000
    kind = rng.choice(["purchase", "view", "search"], count, p=[0.5, 0.4, 0.1])
    table = pa.table(
        {
            "user_id": [f"u{u:03d}" for u in rng.integers(0, N - 20, count)],
            "item_id": [f"i{i:02d}" for i in rng.integers(0, 60, count)],
            "event_type": kind,
            "timestamp": END - DAY * rng.uniform(0, 300, count).round(2),
            "event_value": pa.array(rng.gamma(2.0, 3.0, count).round(2), mask=kind != "purchase"),
        }
    )
    items = pa.table(
        {
            "item_id": [f"i{i:02d}" for i in range(60)],
            "category": pa.array([f"c{i % 7}" if i % 9 else None for i in range(60)]),
        }
    )
    users = pa.table(
        {
            "user_id": [f"u{u:03d}" for u in range(N)],
            "age": pa.array([u % 60 if u % 5 else None for u in range(N)], pa.int32()),
        }
    )
    return build_snapshot(table, items=items, users=users, cutoff=END)


@pytest.fixture(scope="module")
def table(shop: Snapshot) -> PurchaseTable:
    return purchase_table(shop, PurchaseFeatures(profile=("age",)))


def in_files(table: PurchaseTable, folder: Path) -> PurchaseTable:
    """Return the table with its activity in three Parquet files by ranges of users."""
    folder.mkdir()
    activity = table.activity
    assert isinstance(activity, pa.Table)
    for first in range(0, N, 150):
        user = activity["user_row"]
        mine = activity.filter(pc.and_(pc.greater_equal(user, first), pc.less(user, first + 150)))
        pq.write_table(mine.sort_by("user_row"), folder / f"{first}.parquet")
    return replace(table, activity=folder)


def same(one: codes.CodeStore, other: codes.CodeStore) -> bool:
    return all(np.array_equal(getattr(one, a), getattr(other, a)) for a in ("codes", "edges", "counts"))


def test_the_store_of_a_table_is_the_store_of_its_values(
    table: PurchaseTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = code_features(compute(table))
    monkeypatch.setattr(coding, "BLOCK", 64)
    assert same(code_table(table, tmp_path / "memory", source="x"), expected)
    files = in_files(table, tmp_path / "files")
    assert same(code_table(files, tmp_path / "parquet", source="x"), expected)
    # A file above the limit is unmapped as it is read; what comes back is the same.
    monkeypatch.setattr(codes, "_LARGE", 0)
    monkeypatch.setattr(codes, "_AT_ONCE", 1000)
    opened = codes.CodeStore.open(tmp_path / "parquet", source="x")
    rows = np.array([7, 3, 200, 399], np.int32)
    assert np.array_equal(opened.histogram(rows), expected.histogram(rows))
    assert np.array_equal(opened.among(rows).codes, expected.codes[:, rows])
    assert np.array_equal(opened.block(np.array([5, 2]), 10, 90), expected.codes[[5, 2], 10:90])


def test_edges_of_a_large_table_come_from_ranges_all_over(
    table: PurchaseTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coding, "SAMPLE", 200)
    monkeypatch.setattr(coding, "_RANGES", 10)
    store = code_table(table, tmp_path / "store", source="x")
    assert np.array_equal(store.codes, encode(compute(table).values, store.edges))
    assert store.counts.sum(1).tolist() == [N] * len(store.book)


def test_a_refresh_computes_only_the_changed_and_equals_a_new_store(
    table: PurchaseTable, shop: Snapshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coding, "BLOCK", 64)
    monkeypatch.setattr("penchant.features.codes_write.BLOCK", 90)
    old = code_table(table, tmp_path / "old", source="old")
    events = shop.interactions
    gone = np.flatnonzero(events.user % 50 == 7)[:40]
    later = shop.with_interactions(events.select(np.setdiff1d(np.arange(len(events)), gone)))
    new = purchase_table(later, table.config)
    changed = np.union1d(events.user[gone], [0, N - 1]).astype(np.int32)
    fresh = refresh_table(
        old,
        replace(new, end_at=table.end_at),
        tmp_path / "new",
        source="new",
        old_rows=np.arange(N, dtype=np.int32),
        changed=changed,
    )
    expected = encode(compute(replace(new, end_at=table.end_at)).values, old.edges)
    assert np.array_equal(fresh.codes, expected)
    assert not np.array_equal(fresh.codes, old.codes)
    again = np.stack([np.bincount(column, minlength=old.bins) for column in expected])
    assert np.array_equal(fresh.counts, again)


def test_users_may_come_and_go_between_two_stores(table: PurchaseTable, tmp_path: Path) -> None:
    old = code_table(table, tmp_path / "old", source="old")
    old_rows = np.concatenate([np.arange(0, 300), [-1], np.arange(310, N)]).astype(np.int32)
    changed = np.array([5, 300], np.int32)
    values = np.full((len(old.book), 2), 3.5, np.float32)
    fresh = refresh_store(
        old, tmp_path / "new", source="new", old_rows=old_rows, changed=changed, values=[values]
    )
    coded = encode(values, old.edges)
    assert np.array_equal(fresh.codes[:, [5, 300]], coded)
    stayed = np.setdiff1d(np.arange(len(old_rows)), changed)
    assert np.array_equal(fresh.codes[:, stayed], old.codes[:, old_rows[stayed]])
