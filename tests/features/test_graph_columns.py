"""Graph columns in the users' table: what recipes are told, and that it lasts from training to training."""

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from penchant.data.snapshot import Snapshot, build_snapshot
from penchant.features.graph_columns import GraphSettings, communities_of, with_graph
from penchant.features.user_features import encode_users, guess_columns
from penchant.kernel.errors import InputError
from penchant.testing.data import user_id

GROUPS, SIZE = 3, 12


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def world(extra: int = 0, **columns: object) -> Snapshot:
    """Return groups of 12 who all follow each other, ``extra`` users who follow user 0, and one alone."""
    n = GROUPS * SIZE
    edges = [(a, b) for a in range(n) for b in range(n) if a != b and a // SIZE == b // SIZE]
    edges += [(n + i, 0) for i in range(extra)]
    one, two = zip(*edges, strict=True)
    follows = pa.table(
        {
            "user_id": [user_id(a) for a in one],
            "followed_id": [user_id(b) for b in two],
            "timestamp": [float(i) for i in range(len(edges))],
        }
    )
    ids = [user_id(a) for a in range(n + extra)] + ["z_alone"]
    users = pa.table({"user_id": ids, **columns})
    acted = pa.table({"user_id": [user_id(0)], "item_id": ["i"], "timestamp": [1e6]})
    return build_snapshot(acted, users=users, follows=follows)


def test_without_settings_nothing_is_told() -> None:
    snapshot = world()
    assert with_graph(snapshot, GraphSettings(), rng=rng()) is snapshot


def test_the_community_is_a_category_that_recipes_read() -> None:
    told = with_graph(world(), GraphSettings(columns=["community"]), rng=rng())
    names = told.user_table["community"].to_pylist()
    assert names[-1] is None
    groups = [set(names[g * SIZE : (g + 1) * SIZE]) for g in range(GROUPS)]
    assert sorted(groups, key=str) == [{"c0"}, {"c1"}, {"c2"}]
    columns = guess_columns(told.user_table)
    assert [(c.column, c.how) for c in columns] == [("community", "levels")]
    matrix = encode_users(told.user_table, columns)
    assert set(matrix.names) == {"community=c0", "community=c1", "community=c2", "community=(missing)"}
    assert matrix.known.tolist() == [True] * (GROUPS * SIZE) + [False]


def test_a_category_of_many_values_is_still_a_category() -> None:
    text = pa.array([f"g{i}" for i in range(300)])
    table = pa.table(
        {"user_id": [str(i) for i in range(300)], "plain": text, "named": text.dictionary_encode()}
    )
    assert [c.column for c in guess_columns(table)] == ["named"]


def test_numbers_of_the_graph_are_columns_too(tmp_path: Path) -> None:
    settings = GraphSettings(columns=["followers", "pagerank", "community"])
    told = with_graph(world(extra=2), settings, rng=rng())
    assert told.user_table.column_names == ["user_id", "followers", "pagerank", "community"]
    assert told.user_table["followers"].to_pylist()[:2] == [SIZE + 1, SIZE - 1]
    told.save(tmp_path / "s")
    opened = Snapshot.open(tmp_path / "s")
    assert opened.user_table.equals(told.user_table)
    assert opened.digest == told.digest != world(extra=2).digest


def test_numbers_last_and_stay_as_they_are_while_no_follow_changed(tmp_path: Path) -> None:
    settings = GraphSettings(columns=["community"], smallest=2)
    first = with_graph(world(), settings, rng=rng())
    renamed = pa.array(
        [
            {"c0": "c7", "c1": "c5", "c2": "c0", None: None}[n]
            for n in first.user_table["community"].to_pylist()
        ]
    )
    field = first.user_table.schema.field("community")
    table = first.user_table.set_column(1, field, renamed.dictionary_encode())
    first.with_user_table(table).save(tmp_path / "s")
    before = Snapshot.open(tmp_path / "s")
    again = with_graph(world(), settings, rng=rng(99), previous=before)
    assert again.user_table["community"].to_pylist() == renamed.to_pylist()
    assert again.digest == before.digest
    more = with_graph(world(extra=3), settings, rng=rng(5), previous=before)
    labels = more.user_table["community"].to_pylist()
    n = GROUPS * SIZE
    assert labels[:n] == renamed.to_pylist()[:n]
    assert labels[n : n + 3] == [labels[0]] * 3
    numbers = communities_of(before, world(extra=3))
    assert numbers is not None
    assert numbers[n:].tolist() == [-1] * 4


def test_other_settings_find_anew() -> None:
    before = with_graph(world(), GraphSettings(columns=["community"]), rng=rng())
    after = with_graph(world(), GraphSettings(columns=["community"], smallest=13), rng=rng(), previous=before)
    assert after.user_table["community"].null_count == GROUPS * SIZE + 1


def test_a_column_of_that_name_is_not_written_over() -> None:
    snapshot = world(community=["mine"] * (GROUPS * SIZE + 1))
    assert communities_of(snapshot, snapshot) is None
    with pytest.raises(InputError, match="users have a column 'community' of their own"):
        with_graph(snapshot, GraphSettings(columns=["community"]), rng=rng())


def test_digests_tell_categories_apart_that_have_the_same_codes() -> None:
    snapshot = world()
    digests = {
        snapshot.with_user_table(
            snapshot.user_table.append_column("c", pa.array([name] * snapshot.n_users).dictionary_encode())
        ).digest
        for name in ("one", "two")
    }
    assert len(digests) == 2


def test_no_follows_no_columns() -> None:
    snapshot = world()
    none = dataclasses.replace(
        snapshot,
        follows=dataclasses.replace(
            snapshot.follows,
            follower=np.zeros(0, np.int32),
            followed=np.zeros(0, np.int32),
            timestamp=np.zeros(0),
        ),
    )
    assert with_graph(none, GraphSettings(columns=["community"]), rng=rng()) is none


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"columns": ["community", "community"]}, "twice"),
        ({"resolution": 0.0}, "resolution"),
        ({"smallest": 0}, "smallest"),
        ({"k": 1}, "k must"),
    ],
)
def test_wrong_settings_are_named(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        GraphSettings(**wrong)  # pyright: ignore[reportArgumentType]
