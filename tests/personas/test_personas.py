"""Personas on users whose groups, levels and tastes are known by construction."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penchant.data.snapshot import Snapshot, build_snapshot
from penchant.features.user_features import UserColumn, encode_users, guess_columns
from penchant.kernel.errors import InputError
from penchant.kernel.progress import Silent
from penchant.kernel.seeds import derive
from penchant.models.user_clusters import (
    Clusters,
    assign,
    find_elbow,
    k_means,
    keep_ids,
    soft_assign,
    svd_basis,
)
from penchant.personas.analysis import PersonaSettings, find_personas
from penchant.personas.behaviour import behaviour_matrix, behaviour_of
from penchant.personas.checks import check_clusters

N = 120


def three_groups(*, taste: bool = True) -> Snapshot:
    """Users 0, 3, 6 .. are young in the city, 1, 4, .. old in the country, the rest middle, mixed.

    With ``taste`` each group clicks its own category nine times and another once; else all click alike.
    """
    group = np.arange(N) % 3
    users = pa.table(
        {
            "user_id": [f"u{i:03d}" for i in range(N)],
            "place": [("city", "country", None)[g] for g in group],
            "age": [float((20, 70, 45)[g] + i % 5) for i, g in enumerate(group)],
            "likes": [[("music", "garden", "food")[g]] for g in group],
            "name": [f"name {i}" for i in range(N)],
        }
    )
    items = pa.table({"item_id": ["a", "b", "c"], "category": ["A", "B", "C"]})
    rows = []
    for i in range(N):
        own = group[i] if taste else i // 3 % 3
        rows += [(f"u{i:03d}", "abc"[own], 1e6 + j) for j in range(9)]
        rows.append((f"u{i:03d}", "abc"[(own + 1) % 3], 1e6 + 10))
    events = pa.table(
        {"user_id": [r[0] for r in rows], "item_id": [r[1] for r in rows], "timestamp": [r[2] for r in rows]}
    )
    return build_snapshot(events, users=users, items=items)


def test_columns_are_guessed_from_their_types() -> None:
    guessed = {c.column: c.how for c in guess_columns(three_groups().user_table)}
    assert guessed == {"place": "levels", "age": "buckets", "likes": "labels"}  # names identify, not describe


def test_encoding_folds_rare_levels_and_gives_missing_its_own() -> None:
    table = pa.table(
        {"user_id": list("abcdefgh"), "c": ["x"] * 5 + ["y", "z", None], "n": [1.0] * 7 + [None]}
    )
    columns = (UserColumn(column="c", how="levels", rare=0.2), UserColumn(column="n", how="number"))
    m = encode_users(table, columns)
    assert m.names == ("c=x", "c=(rare)", "c=(missing)", "n")
    assert m.values[:, :3].sum(axis=0).tolist() == [5, 2, 1]
    assert m.values[:, 3].tolist() == [0.0] * 8
    assert m.known.tolist() == [True] * 7 + [False]
    with pytest.raises(InputError, match="Did you mean 'c'"):
        encode_users(table, (UserColumn(column="cc", how="levels"),))
    with pytest.raises(InputError, match="Use 'levels'"):
        encode_users(table, (UserColumn(column="c", how="buckets"),))


def test_labels_are_standardised_within_the_bucket() -> None:
    table = pa.table(
        {
            "user_id": list("abcdef"),
            "price": ["low"] * 3 + ["high"] * 3,
            "likes": [["f"], [], [], ["f"], ["f"], []],
        }
    )
    m = encode_users(table, (UserColumn(column="likes", how="labels", within="price"),))
    low, high = m.values[:3, 0], m.values[3:, 0]
    assert abs(low.mean()) < 1e-6
    assert abs(high.mean()) < 1e-6
    assert low[0] > high[0]  # a like is rarer, so says more, among owners of cheap phones


@given(st.integers(0, 1000), st.integers(1, 5))
def test_svd_basis_agrees_with_numpy(seed: int, rank: int) -> None:
    x = np.random.default_rng(seed).normal(size=(30, 6)).astype(np.float32)
    basis = svd_basis(x, rank)
    _, s, vt = np.linalg.svd(x.astype(np.float64), full_matrices=False)
    assert abs(basis.energy - (s[:rank] ** 2).sum() / (s**2).sum()) < 1e-5
    assert np.allclose(np.abs(basis.vectors.T @ vt[:rank].T), np.eye(rank), atol=1e-2)


def test_elbow_finds_the_number_of_groups() -> None:
    rng = np.random.default_rng(1)
    centres = np.array([[0, 0], [10, 0], [0, 10], [10, 10]])
    points = np.concatenate([c + rng.normal(size=(50, 2)) * 0.3 for c in centres]).astype(np.float32)
    elbow = find_elbow(points, rng=derive(1, "elbow"))
    assert elbow.chosen == 4
    assert elbow.silhouette[elbow.ks.index(4)] == max(elbow.silhouette)
    assert list(elbow.wcss) == sorted(elbow.wcss, reverse=True)
    fit = k_means(points, 4, rng=derive(2, "fit"))
    assert sorted(np.bincount(fit.labels)) == [50] * 4
    assert np.array_equal(assign(points, fit.centres), fit.labels)
    soft = soft_assign(points, fit.centres, temperature=0.3)
    assert np.allclose(soft.sum(axis=1), 1)
    assert np.array_equal(soft.argmax(axis=1), fit.labels)


@given(st.integers(2, 6), st.integers(1, 7), st.integers(0, 100))
def test_ids_survive_a_retrain(k: int, old_k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(k), rng.integers(0, k, 60)]).astype(np.int32)
    centres = rng.normal(size=(k, 2)).astype(np.float32)
    new = Clusters(labels=labels, centres=centres, inertia=1.0)
    renamed = rng.permutation(k)[labels].astype(np.int32)
    assert np.array_equal(keep_ids(new, renamed).labels, renamed)
    any_old = rng.integers(-1, old_k, len(labels)).astype(np.int32)
    kept = keep_ids(new, any_old)
    assert sorted(np.unique(kept.labels)) == list(range(k))
    pairs = set(zip(labels.tolist(), kept.labels.tolist(), strict=True))
    assert len(pairs) == k  # a renumbering, nothing else
    assert all(np.array_equal(kept.centres[b], centres[a]) for a, b in pairs)


def test_behaviour_counts_categories_and_weighs_events() -> None:
    snapshot = three_groups()
    b = behaviour_of(snapshot, column="category", days=1)
    assert b.scores.sum() == 10 * N
    row = b.scores[snapshot.users.row("u000")]
    assert dict(zip(b.categories, row.tolist(), strict=True)) == {"A": 9.0, "B": 1.0, "C": 0.0}
    matrix = behaviour_matrix(b, (np.arange(N) % 3).astype(np.int32), 3)
    assert matrix.mean[0].tolist() == matrix.median[0].tolist() == row.tolist()
    halved = behaviour_of(snapshot, column="category", days=1, weights={"click": 0.5})
    assert np.allclose(halved.scores, b.scores / 2)
    top = behaviour_of(snapshot, column="category", days=1, most=1)
    assert top.categories[1:] == ("(other)",)
    assert top.scores.sum() == 10 * N
    with pytest.raises(InputError, match="no 'buy' events"):
        behaviour_of(snapshot, column="category", weights={"buy": 2.0})


def test_checks_hold_when_clusters_behave_differently_and_only_then() -> None:
    alike = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x = np.abs(rng.normal(size=(300, 5))).astype(np.float32)
        labels = rng.integers(0, 3, 300).astype(np.int32)
        alike += check_clusters(x, labels, 3, rng=rng, permutations=99, bootstraps=100).holds
        x[labels == 1, 0] += 1.5
        different = check_clusters(x, labels, 3, rng=rng, permutations=99, bootstraps=100)
        assert different.holds
        assert different.held_out_gain.low <= different.held_out_gain.value <= different.held_out_gain.high
        assert different.variance_ratio.value > 0.1
    assert alike <= 1


def test_personas_are_found_named_and_justified() -> None:
    snapshot = three_groups()
    found = find_personas(snapshot, PersonaSettings(k=3), rng=derive(1, "p"), progress=Silent())
    assert sorted(p.users for p in found.personas) == [40, 40, 40]
    by_place = {next(v.level for v in p.levels if v.attribute == "place"): p for p in found.personas}
    city = by_place["city"]
    assert next(v.level for v in city.levels if v.attribute == "age") == "Very Low"
    assert next(v.level for v in city.levels if v.attribute == "likes") == "music"
    assert city.categories[0] == "A"
    assert city.lifts[0] == pytest.approx(2.7)
    assert "more A" in city.name
    assert found.check is not None
    assert found.check.holds
    assert set(city.medoids) <= {f"u{i:03d}" for i in range(0, N, 3)}
    again = find_personas(snapshot, PersonaSettings(k=3), rng=derive(1, "p"), progress=Silent())
    assert again.labels.tobytes() == found.labels.tobytes()
    renumbered = {id_: (int(found.labels[i]) + 1) % 3 for i, id_ in enumerate(snapshot.users.ids(range(N)))}
    kept = find_personas(
        snapshot, PersonaSettings(k=3), rng=derive(5, "p"), progress=Silent(), previous=renumbered
    )
    assert np.array_equal(kept.labels, (found.labels + 1) % 3)


def test_personas_say_so_when_behaviour_does_not_differ() -> None:
    found = find_personas(
        three_groups(taste=False), PersonaSettings(k=3), rng=derive(1, "p"), progress=Silent()
    )
    assert found.check is not None
    assert not found.check.holds
    assert "no more of somebody new than popularity" in found.check.sentences()[-1]


def test_personas_without_attributes_or_categories() -> None:
    snapshot = three_groups()
    bare = build_snapshot(
        pa.table({"user_id": ["a"], "item_id": ["b"], "timestamp": [1.0]}), users=pa.table({"user_id": ["a"]})
    )
    with pytest.raises(InputError, match="Import users with attributes"):
        find_personas(bare, PersonaSettings(), rng=derive(1, "p"), progress=Silent())
    with pytest.raises(InputError, match=r"no column 'kinds'\. .*category"):  # asked for, so it has to exist
        find_personas(snapshot, PersonaSettings(category="kinds"), rng=derive(1, "p"), progress=Silent())
    without = replace(snapshot, item_table=snapshot.item_table.select(["item_id"]))
    found = find_personas(without, PersonaSettings(), rng=derive(1, "p"), progress=Silent())
    assert found.matrix is None
    assert "--category" in found.notes[0]
    assert found.elbow is not None


def hidden_kinds(*, told: bool) -> Snapshot:
    """300 users of three kinds, each kind with a category of its own; every fifth did nothing.

    With ``told`` one attribute tells the kind; else none does. Six others agree with one another on something
    that has nothing to do with behaviour.
    """
    rng = np.random.default_rng(3)
    kind = rng.integers(0, 3, 300)
    shown = kind if told else rng.integers(0, 3, 300)
    other = rng.integers(0, 3, 300)
    users = pa.table(
        {
            "user_id": [f"u{i:03d}" for i in range(300)],
            "hint": [f"h{s}" for s in shown.tolist()],
            **{f"other{j}": [f"n{v}" for v in other.tolist()] for j in range(6)},
        }
    )
    items = pa.table(
        {"item_id": [f"i{i:02d}" for i in range(30)], "category": ["ABC"[i % 3] for i in range(30)]}
    )
    rows = [
        (
            f"u{u:03d}",
            f"i{3 * int(rng.integers(0, 10)) + (kind[u] if rng.random() < 0.85 else rng.integers(3)):02d}",
        )
        for u in range(300)
        if u % 5
        for _ in range(12)
    ]
    events = pa.table(
        {
            "user_id": [r[0] for r in rows],
            "item_id": [r[1] for r in rows],
            "timestamp": [1e6 + i for i in range(len(rows))],
        }
    )
    return build_snapshot(events, users=users, items=items)


def test_behaviour_space_finds_kinds_and_places_who_has_no_history() -> None:
    snapshot = hidden_kinds(told=True)
    settings = PersonaSettings(k=3, space="behaviour", factors=6)
    found = find_personas(snapshot, settings, rng=derive(1, "b"), progress=Silent())
    hint = np.array(snapshot.user_table["hint"].to_pylist())
    active = np.diff(snapshot.by_user[0]) > 0
    for users in (active, ~active):
        agree = sum(
            np.bincount(found.labels[users & (hint == name)], minlength=3).max() for name in np.unique(hint)
        )
        assert agree / users.sum() > 0.9
    assert (found.labels >= 0).all()
    assert found.check is not None
    assert found.rival is not None
    assert found.check.holds
    assert found.kept > 0.2
    # Clusters of attributes are those of the six that agree, and say nothing.
    assert not found.rival.holds
    assert found.check.held_out_gain.low > found.rival.held_out_gain.high
    assert "behaviour is the better space here" in " ".join(found.sentences())


def test_behaviour_space_is_not_believed_when_attributes_tell_nothing() -> None:
    """The clusters explain behaviour by construction; what is judged is what they say of somebody new."""
    settings = PersonaSettings(k=3, space="behaviour", factors=6)
    found = find_personas(hidden_kinds(told=False), settings, rng=derive(1, "b"), progress=Silent())
    assert found.check is not None
    assert not found.check.holds
    assert found.kept < 0.05
    assert "no more of somebody new than popularity" in found.sentences()[-1]
    with pytest.raises(InputError, match="--space attributes"):
        bare = hidden_kinds(told=True)
        nobody = bare.with_interactions(bare.interactions.select(slice(0, 0)))
        find_personas(nobody, settings, rng=derive(1, "b"), progress=Silent())


def test_labels_within_a_number_are_relative_to_its_ranges() -> None:
    table = pa.table(
        {
            "user_id": [f"u{i}" for i in range(40)],
            "price": [float(i) for i in range(40)],
            "likes": [["f"] if i % 4 == 0 or i >= 20 else [] for i in range(40)],
        }
    )
    m = encode_users(table, (UserColumn(column="likes", how="labels", within="price", buckets=2),))
    low, high = m.values[:20, 0], m.values[20:, 0]
    assert low[0] == pytest.approx((1 - 0.25) / np.sqrt(0.25 * 0.75))
    assert np.allclose(high, 0)  # everybody with a dear phone likes it: it tells nothing


def test_events_may_count_by_their_value() -> None:
    events = pa.table(
        {
            "user_id": ["a", "a", "b", "b"],
            "item_id": ["x", "y", "x", "y"],
            "timestamp": [1.0, 2.0, 3.0, 4.0],
            "event_type": ["dwell", "like", "dwell", "dwell"],
            "event_value": [30.0, 5.0, None, -2.0],
        }
    )
    items = pa.table({"item_id": ["x", "y"], "category": ["A", "B"]})
    snapshot = build_snapshot(events, items=items)
    b = behaviour_of(snapshot, column="category", weights={"dwell": 0.1}, by_value=["dwell"])
    by = dict(zip(b.categories, b.scores.T.tolist(), strict=True))
    assert by["A"] == pytest.approx([3.0, 0.0])
    assert by["B"] == pytest.approx([1.0, 0.0])
    with pytest.raises(InputError, match="no 'dwel' events"):
        behaviour_of(snapshot, column="category", by_value=["dwel"])
