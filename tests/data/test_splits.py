"""Splits: plain-Python oracles of each protocol, and an audit that catches what it should."""

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from penchant.data.heldout import audit, member, subset
from penchant.data.interactions import Interactions
from penchant.data.snapshot import Snapshot, build_snapshot
from penchant.data.splits import Split, last_split, random_split, time_split, user_split
from penchant.kernel.arrays import Csr, Rows
from penchant.kernel.errors import Defect, InputError
from penchant.testing.data import random_snapshot, snapshot_of

Triple = tuple[int, int, float]
triples = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 7), st.integers(0, 12).map(float)), min_size=2, max_size=60
)


def built(rows: list[Triple]) -> Snapshot:
    return snapshot_of(rows, n_users=6, n_items=8)


def pairs_of(matrix: Csr, users: Rows) -> set[tuple[int, int]]:
    return {(int(users[i]), int(c)) for i in range(matrix.n_rows) for c in matrix.row(i)}


def events_of(snapshot: Snapshot) -> list[Triple]:
    i = snapshot.interactions
    return sorted(zip(i.user.tolist(), i.item.tolist(), i.timestamp.tolist(), strict=True))


def histories_of(split: Split) -> list[Triple]:
    h = split.histories
    return sorted(zip(split.subjects[h.user].tolist(), h.item.tolist(), h.timestamp.tolist(), strict=True))


@given(triples, st.integers(1, 12).map(float), st.booleans())
def test_time_agrees_with_the_oracle(rows: list[Triple], cut: float, new_only: bool) -> None:
    before, after = [r for r in rows if r[2] < cut], [r for r in rows if r[2] >= cut]
    seen, known, warm = {(u, i) for u, i, _ in before}, {i for _, i, _ in before}, {u for u, _, _ in before}
    truth = {(u, i) for u, i, _ in after if u in warm and i in known}
    truth -= seen if new_only else set()
    assume(truth)
    split = time_split(built(rows), at=cut, new_only=new_only)
    asked = {u for u, _ in truth}
    assert split.subjects.tolist() == sorted(asked)
    assert np.array_equal(split.users, split.subjects)
    assert pairs_of(split.truth, split.subjects) == truth
    assert pairs_of(split.exclude, split.subjects) == (
        {p for p in seen if p[0] in asked} if new_only else set()
    )
    assert events_of(split.train) == sorted(before)
    assert histories_of(split) == sorted(r for r in before if r[0] in asked)
    assert split.now == cut


@given(triples)
def test_last_agrees_with_the_oracle(rows: list[Triple]) -> None:
    train: list[Triple] = []
    target: dict[int, int] = {}
    by_user: dict[int, list[Triple]] = defaultdict(list)
    for row in sorted(rows, key=lambda r: (r[2], r[1])):
        by_user[row[0]].append(row)
    for user, own in by_user.items():
        firsts = [n for n, r in enumerate(own) if r[1] not in {x[1] for x in own[:n]}]
        if len(firsts) == 1:
            train += own
        else:
            target[user] = own[firsts[-1]][1]
            train += own[: firsts[-1]]
    known = {i for _, i, _ in train}
    truth = {(u, i) for u, i in target.items() if i in known}
    assume(truth)
    split = last_split(built(rows))
    assert pairs_of(split.truth, split.subjects) == truth
    assert events_of(split.train) == sorted(train)
    assert pairs_of(split.exclude, split.subjects) == {
        (u, i) for u, i, _ in train if (u, i) and u in dict(truth)
    }


@given(st.integers(0, 50), st.sampled_from(["test", "validation"]), st.integers(2, 8))
def test_user_hides_whole_users(seed: int, part: str, min_items: int) -> None:
    source = random_snapshot(seed % 3)
    split = user_split(
        source, seed=seed, part="test" if part == "test" else "validation", min_items=min_items
    )
    assert (split.users == -1).all()
    events = source.interactions
    own = {(int(u), int(i)) for u, i in zip(events.user, events.item, strict=True)}
    truth, shown = pairs_of(split.truth, split.subjects), pairs_of(split.exclude, split.subjects)
    asked = set(split.subjects.tolist())
    assert truth | shown <= own
    assert not truth & shown
    left = {p for p in own if p[0] in asked} - truth - shown
    trained = set(split.train.interactions.item.tolist())
    assert all(item not in trained for _, item in left)  # only items unknown in train may fall away
    assert not asked & set(split.train.interactions.user.tolist())
    assert {(u, i) for u, i, _ in histories_of(split)} == shown
    for user in asked:
        n = sum(1 for p in own if p[0] == user)
        assert n >= min_items
        assert sum(1 for p in shown if p[0] == user) == max(1, int(n * 0.8))


def test_user_parts_do_not_meet_and_train_alike() -> None:
    source = random_snapshot(5)
    test, validation = user_split(source), user_split(source, part="validation")
    assert not set(test.subjects.tolist()) & set(validation.subjects.tolist())
    assert test.train.digest == validation.train.digest
    gone = {u for u in range(source.n_users) if len(source.history(u))} - set(
        test.train.interactions.user.tolist()
    )
    assert len(gone) == 2 * int(0.1 * sum(len(set(source.history(u).item)) >= 5 for u in range(50)))


@given(st.integers(0, 50), st.sampled_from(["user", "item"]), st.sampled_from([0.1, 0.25, 0.5]))
def test_random_hides_part_of_each(seed: int, by: str, share: float) -> None:
    source = random_snapshot(seed)
    split = random_split(source, seed=seed, share=share, by=by)  # pyright: ignore[reportArgumentType]
    own = np.arange(source.n_users, dtype=np.int32)
    every, shown = pairs_of(source.pairs(), own), pairs_of(split.train.pairs(), own)
    side = ("user", "item").index(by)
    held: dict[int, int] = defaultdict(int)
    for pair in every - shown:
        held[pair[side]] += 1
    for owner in {pair[side] for pair in every}:
        n = sum(pair[side] == owner for pair in every)
        assert held[owner] == (0 if n == 1 else min(max(int(n * share), 1), n - 1))
    known = {item for _, item in shown}
    warm = {user for user, _ in shown}
    assert pairs_of(split.truth, split.subjects) == {
        (u, i) for u, i in every - shown if i in known and u in warm
    }
    assert pairs_of(split.exclude, split.subjects) == {p for p in shown if p[0] in split.subjects}
    assert random_split(source, seed=seed, share=share, by=by).fingerprint == split.fingerprint  # pyright: ignore[reportArgumentType]


def test_a_validation_part_ends_before_the_test_part() -> None:
    source = random_snapshot(4)
    test = time_split(source, share=0.2)
    validation = time_split(test.train, share=0.2)
    assert validation.train.interactions.timestamp.max() < validation.now
    assert validation.now <= test.train.interactions.timestamp.max() < test.now
    hidden = pairs_of(test.truth, test.subjects)
    assert not hidden & pairs_of(validation.truth, validation.subjects)
    assert len(test.train.interactions) == int(0.8 * 600)


@pytest.mark.parametrize("make", [time_split, last_split, user_split])
def test_equal_arguments_give_equal_splits(make: object) -> None:
    assert callable(make)
    one, two = make(random_snapshot(2)), make(random_snapshot(2))
    for name in ("subjects", "users"):
        assert np.array_equal(getattr(one, name), getattr(two, name))
    for name in ("truth", "exclude"):
        assert np.array_equal(getattr(one, name).indices, getattr(two, name).indices)
    assert one.train.digest == two.train.digest
    assert one.fingerprint == two.fingerprint
    assert make(random_snapshot(3)).fingerprint != one.fingerprint


def test_fingerprints_tell_parameters_apart() -> None:
    source = random_snapshot(2)
    prints = [
        time_split(source).fingerprint,
        time_split(source, share=0.2).fingerprint,
        time_split(source, new_only=False).fingerprint,
        last_split(source).fingerprint,
        user_split(source).fingerprint,
        user_split(source, seed=43).fingerprint,
        user_split(source, part="validation").fingerprint,
    ]
    assert len(set(prints)) == len(prints)
    # A cut by share and the same cut by its moment are one split.
    assert time_split(source, at=time_split(source).now).fingerprint == prints[0]


def test_ties_in_time_are_ordered_by_item() -> None:
    rows = [(0, 3, 1.0), (0, 1, 1.0), (0, 2, 1.0), *((1, i, 0.5) for i in range(4)), (1, 4, 2.0), (2, 4, 0.0)]
    for given_order in (rows, rows[::-1]):
        split = last_split(built(given_order))
        assert pairs_of(split.truth, split.subjects) == {(0, 3), (1, 4)}


def test_truth_can_be_limited_to_event_types() -> None:
    table = pa.table(
        {
            "user_id": ["a", "a", "a", "b", "b"],
            "item_id": ["x", "y", "z", "y", "z"],
            "timestamp": [1.0, 9.0, 9.5, 2.0, 3.0],
            "event_type": ["view", "view", "buy", "view", "view"],
        }
    )
    source = build_snapshot(table)
    split = time_split(source, at=5.0, event_types=["buy"])
    assert source.items.ids(split.truth.row(0)) == ["z"]
    assert split.fingerprint != time_split(source, at=5.0).fingerprint
    with pytest.raises(InputError, match="no event type 'sell'"):
        time_split(source, at=5.0, event_types=["sell"])


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0, float("nan")])
def test_a_bad_share_is_refused(share: float) -> None:
    with pytest.raises(InputError, match="between 0 and 1"):
        time_split(random_snapshot(1), share=share)


def test_what_leaves_nothing_to_find_is_refused() -> None:
    lonely = snapshot_of([(0, 0, 1.0), (1, 1, 2.0)])
    with pytest.raises(InputError, match="anything to find"):
        last_split(lonely)
    with pytest.raises(InputError, match="anything to find"):
        time_split(lonely, at=1.5)
    with pytest.raises(InputError, match="before it"):
        time_split(lonely, at=0.5)
    with pytest.raises(InputError, match="anything to find"):
        user_split(lonely)
    with pytest.raises(InputError, match="share is"):
        user_split(random_snapshot(1), share=0.7)


def test_the_audit_says_what_it_did_not_check() -> None:
    assert any(line.startswith("NOT so by design") for line in last_split(random_snapshot(1)).audit)
    plain = time_split(random_snapshot(1)).audit
    assert not any("NOT" in line for line in plain)
    table = pa.table({"user_id": ["a", "a", "b"], "item_id": ["x", "y", "y"], "timestamp": [1.0, 3.0, 2.0]})
    items = pa.table({"item_id": ["x", "y"], "price": [1.0, 2.0]})
    assert any("properties" in line for line in time_split(build_snapshot(table, items=items), at=2.5).audit)


def one_more(matrix: Csr, item: int) -> Csr:
    """Put ``item`` in place of the first row's first entry."""
    indices = matrix.indices.copy()
    indices[0] = item
    return replace(matrix, indices=indices)


def test_the_audit_catches_leaks() -> None:
    source = random_snapshot(6)
    split = time_split(source)
    cut = split.now

    def refused(what: str, changed: Split, *, cut: float | None = cut) -> None:
        with pytest.raises(Defect, match=what):
            audit(changed, source, cut=cut, repeats=False)

    assert audit(split, source, cut=cut, repeats=False) == split.audit
    refused("truth is in the training part", replace(split, train=source), cut=None)
    late = source.interactions.select(source.interactions.timestamp >= cut)
    truth = pairs_of(split.truth, split.subjects)
    repeat = [(int(u), int(i)) not in truth for u, i in zip(late.user, late.item, strict=True)].index(True)
    with_late = Interactions.joined(split.train.interactions, late.select(slice(repeat, repeat + 1)))
    refused("reaches the cut", replace(split, train=source.with_interactions(with_late)))
    refused("is excluded", replace(split, exclude=split.truth))
    never = next(i for i in range(40) if i not in set(source.history(int(split.subjects[0])).item.tolist()))
    refused("that happened", replace(split, truth=one_more(split.truth, never)))
    refused(
        "request's history",
        replace(split, histories=source.interactions.mapped(users=_positions(split))),
        cut=None,
    )
    refused("something to find", replace(split, truth=subset(split.truth, np.zeros(split.truth.nnz, bool))))
    hidden = user_split(source)
    asked = int(hidden.subjects[0])
    told = set(hidden.exclude.row(0).tolist())
    own = source.history(asked)
    partly = source.with_interactions(
        Interactions.joined(hidden.train.interactions, own.select(np.isin(own.item, list(told))))
    )
    with pytest.raises(Defect, match="no user asked about"):
        audit(replace(hidden, train=partly), source, cut=None, repeats=False)


def _positions(split: Split) -> Rows:
    position = np.full(split.train.n_users, -1, np.int32)
    position[split.subjects] = np.arange(len(split))
    return position


@given(st.lists(st.integers(-3, 9)), st.sets(st.integers(-3, 9)))
def test_member_is_membership(values: list[int], those: set[int]) -> None:
    found = member(np.array(values, np.int64), np.array(sorted(those), np.int64))
    assert found.tolist() == [v in those for v in values]
