"""The bones that everything stands on: vocabularies, sparse rows, snapshots, published folders."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penchant.data.interactions import Interactions
from penchant.data.snapshot import Snapshot, build_snapshot
from penchant.kernel.arrays import Csr
from penchant.kernel.errors import NotFound
from penchant.kernel.folders import publish, write_atomically
from penchant.kernel.ids import Vocab
from penchant.kernel.seeds import derive
from penchant.testing.data import checkerboard, random_snapshot

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@given(st.lists(TEXT), TEXT)
def test_vocab_is_a_sorted_set(ids: list[str], other: str) -> None:
    vocab = Vocab.of(ids)
    expected = sorted(set(ids), key=str.encode)
    assert vocab.ids(range(len(vocab))) == expected
    assert vocab.rows(ids).tolist() == [expected.index(i) for i in ids]
    assert vocab.row(other) == (expected.index(other) if other in expected else -1)
    assert Vocab.from_arrays(vocab.arrays("x"), "x") == vocab
    assert vocab.to_arrow().to_pylist() == expected


def test_vocab_rows_in_bulk_agree_with_one_by_one() -> None:
    vocab = Vocab.of(str(i) for i in range(1000))
    asked = [str(i) for i in range(-300, 1300)]
    assert vocab.rows(asked).tolist() == [vocab.row(i) for i in asked]
    with_nulls = pa.chunked_array([["5", None], ["zzz"]])
    assert vocab.rows(with_nulls).tolist() == [vocab.row("5"), -1, -1]


entries = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5), st.integers(1, 9)), max_size=30)


@given(entries, st.lists(st.integers(-1, 4), max_size=6))
def test_csr_agrees_with_dense(cells: list[tuple[int, int, int]], rows: list[int]) -> None:
    owner, column, value = (np.array([c[j] for c in cells], np.int32) for j in range(3))
    summed = Csr.summed(owner, column, value.astype(np.float32), n_rows=5, n_columns=6)
    dense = np.zeros((5, 6))
    np.add.at(dense, (owner, column), value)

    def to_dense(m: Csr) -> np.ndarray:
        out = np.zeros((m.n_rows, m.n_columns))
        for i in range(m.n_rows):
            np.add.at(out[i], m.row(i), m.values(i))
        return out

    assert np.array_equal(to_dense(summed), dense)
    assert np.array_equal(to_dense(summed.transpose()), dense.T)
    grouped = Csr.group(owner, column, value.astype(np.float32), n_rows=5, n_columns=6)
    assert np.array_equal(to_dense(grouped), dense)
    taken = summed.take(np.array(rows, np.int32))
    expected = np.array([dense[r] if r >= 0 else np.zeros(6) for r in rows]).reshape(len(rows), 6)
    assert np.array_equal(to_dense(taken), expected)


def test_snapshot_survives_saving(tmp_path: Path) -> None:
    snapshot = random_snapshot(3)
    snapshot.save(tmp_path / "s")
    opened = Snapshot.open(tmp_path / "s")
    assert opened.digest == snapshot.digest
    assert opened.users == snapshot.users
    assert np.array_equal(opened.interactions.item, snapshot.interactions.item)
    assert opened.item_table.equals(snapshot.item_table)
    for user in range(-1, snapshot.n_users):
        history = opened.history(user)
        assert (history.user == user).all()
        assert (np.diff(history.timestamp) >= 0).all()
    assert sum(len(opened.history(u)) for u in range(opened.n_users)) == len(opened.interactions)
    with pytest.raises(NotFound):
        Snapshot.open(tmp_path / "nothing")


def test_snapshot_digest_is_of_content_not_of_order() -> None:
    table = pa.table(
        {
            "user_id": ["a", "b", "a"],
            "item_id": ["x", "y", "y"],
            "timestamp": [3.0, 1.0, 2.0],
            "event_type": ["buy", "view", "view"],
            "event_value": [1.0, None, 2.0],
        }
    )
    items = pa.table({"item_id": ["y", "z"], "category": ["c", None]})
    one = build_snapshot(table, items=items)
    two = build_snapshot(table.take([2, 0, 1]), items=items.take([1, 0]))
    assert one.digest == two.digest
    assert one.item_table.to_pydict() == {"item_id": ["x", "y", "z"], "category": [None, "c", None]}
    assert build_snapshot(table.slice(0, 2), items=items).digest != one.digest
    assert one.before(3.0).cutoff == 3.0
    assert len(one.before(3.0).interactions) == 2


def test_interactions_join_and_map() -> None:
    a = Interactions.of(user=[0], item=[1], timestamp=[1.0], event_types=("view",))
    b = Interactions.of(user=[1], item=[2], timestamp=[2.0], event_types=("buy",))
    both = Interactions.joined(a, b)
    assert both.event_types == ("view", "buy")
    assert both.event_type.tolist() == [0, 1]
    moved = both.mapped(items=np.array([-1, 5, -1], np.int32))
    assert moved.item.tolist() == [5]


def test_publishing_is_all_or_nothing(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b"
    with pytest.raises(KeyError), publish(target) as draft:
        (draft / "x").write_text("half")
        raise KeyError
    assert list(target.parent.iterdir()) == []
    with publish(target) as draft:
        (draft / "x").write_text("whole")
    assert (target / "x").read_text() == "whole"
    write_atomically(target / "x", b"new")
    assert [p.name for p in target.iterdir()] == ["x"]
    assert (target / "x").read_text() == "new"


def test_seeds_are_independent_of_neighbours() -> None:
    assert derive(1, "a").integers(1 << 40) == derive(1, "a").integers(1 << 40)
    assert derive(1, "a").integers(1 << 40) != derive(1, "b").integers(1 << 40)
    assert derive(1, "ab", "c").integers(1 << 40) != derive(1, "a", "bc").integers(1 << 40)


def test_checkerboard_is_what_it_says() -> None:
    counts = checkerboard(6).pairs()
    assert counts.row(0).tolist() == [2, 4]
    assert counts.row(1).tolist() == [3, 5]
