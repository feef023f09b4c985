"""The leaderboard end to end, with models whose answers are known by construction."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import msgspec
import numpy as np
import pytest
from numpy.random import Generator

from penchant.data.snapshot import Snapshot
from penchant.data.splits import Split, last_split, time_split, user_split
from penchant.evaluation.leaderboard import BASELINES, Leaderboard, compare, evaluate
from penchant.evaluation.metrics import AMAZON
from penchant.evaluation.protocols import PROTOCOLS, answers, asked, checked, split_for
from penchant.evaluation.sampled import candidates_of, sampled_metrics, sampled_ranks, sampled_scores
from penchant.evaluation.tuning import Choice, Range, grid, search, tune
from penchant.kernel.arrays import F32, AnyArray, Csr, Rows
from penchant.kernel.errors import Defect, InputError, NotFound
from penchant.kernel.ids import Vocab
from penchant.kernel.progress import Progress, Silent
from penchant.kernel.seeds import derive
from penchant.models.base import Batch, Card, Model, Queries, Query, Scored, card_for
from penchant.models.popularity import Popularity
from penchant.testing.data import popularity_ladder, random_snapshot, snapshot_of


class Together(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Score an item by how many users share it with the items of the history: the simplest honest CF.

    ``knows_users`` False makes a model that answers from histories only; ``drop`` leaves that many of the
    first items out of the model's vocabulary; ``noise`` spoils the scores.
    """

    name: ClassVar[str] = "together"

    knows_users: bool = True
    drop: int = 0
    noise: float = 0.0

    def train(
        self, snapshot: Snapshot, *, rng: Generator, progress: Progress, previous: Model | None = None
    ) -> "TogetherModel":
        taken = np.zeros((snapshot.n_users, snapshot.n_items), np.float32)
        taken[snapshot.interactions.user, snapshot.interactions.item] = 1
        taken = taken[:, self.drop :]
        shared = taken.T @ taken + self.noise * rng.random((taken.shape[1], taken.shape[1]), np.float32)
        items = Vocab.of(snapshot.items.ids(range(self.drop, snapshot.n_items)))
        users = snapshot.users if self.knows_users else Vocab.of([])
        return TogetherModel(
            card=card_for(self, snapshot), items=items, users=users, taken=taken, shared=shared
        )


@dataclass(frozen=True, kw_only=True)
class TogetherModel:
    kind: ClassVar[str] = "together"
    card: Card
    items: Vocab
    users: Vocab
    taken: F32
    shared: F32

    def top(self, query: Query, k: int, *, exclude: Rows | None = None) -> Scored:
        raise NotImplementedError

    def top_many(self, queries: Queries, k: int, *, exclude: Csr | None = None) -> Batch:
        out = np.full((len(queries), k), -1, np.int32)
        scores = np.full((len(queries), k), -np.inf, np.float32)
        for i in range(len(queries)):
            own = self._own(int(queries.users[i]), queries, i)
            s = own @ self.shared
            if exclude is not None:
                s[exclude.row(i)] = -np.inf
            order = np.argsort(-s, kind="stable")[:k]
            order = order[np.isfinite(s[order])]
            out[i, : len(order)], scores[i, : len(order)] = order, s[order]
        return Batch(items=out, scores=scores)

    def _own(self, user: int, queries: Queries, i: int) -> F32:
        if queries.histories is None:
            return self.taken[user]
        own = np.zeros(len(self.items), np.float32)
        own[queries.histories.item[queries.histories.user == i]] = 1
        return own

    def score(self, query: Query, items: Rows) -> F32:
        own = self.taken[query.user] if query.history is None else np.zeros(len(self.items), np.float32)
        if query.history is not None:
            own[query.history.item] = 1
        return (own @ self.shared)[items]

    def arrays(self) -> Mapping[str, AnyArray]:
        return {
            **self.items.arrays("items"),
            **self.users.arrays("users"),
            "taken": self.taken,
            "shared": self.shared,
        }

    @classmethod
    def open(cls, card: Card, arrays: Mapping[str, AnyArray]) -> Self:
        return cls(
            card=card,
            items=Vocab.from_arrays(arrays, "items"),
            users=Vocab.from_arrays(arrays, "users"),
            taken=arrays["taken"],
            shared=arrays["shared"],
        )


def rotated(n: int = 24) -> Snapshot:
    """Even users take all even items, odd users all odd ones, each beginning at itself: u, u + 2, ...

    So everybody's last item is another one, and it is the one item of the own colour that is left to find.
    """
    return snapshot_of(
        [(u, (u + 2 * step) % n, 1_000_000.0 + 1000 * step + u) for u in range(n) for step in range(n // 2)]
    )


@pytest.mark.parametrize("recipe", [Together(), Together(knows_users=False)])
def test_leave_last_out_on_a_checkerboard_is_perfect_for_a_perfect_model(recipe: Together) -> None:
    board = evaluate({"together": recipe}, rotated(), "last")
    assert board.requests == 24
    best = board.best()
    assert best.name == "together"
    for name in ("ndcg_at_10", "recall_at_10", "hit_rate_at_10", "mrr_at_10"):
        assert best.metrics[name] == 1.0
    assert best.metrics["precision_at_10"] == pytest.approx(0.1)
    assert best.intervals["ndcg_at_10"] == msgspec.structs.replace(
        best.intervals["ndcg_at_10"], mean=1.0, low=1.0, high=1.0
    )
    assert all(d.first == "together" and d.p_holm < 0.05 for d in board.differences if d.first == "together")


def test_popularity_on_the_ladder_finds_what_it_must() -> None:
    """Item i has n - i users. Hide each user's last item: user u took 0..n-1-u, so its target is n-1-u."""
    split = last_split(popularity_ladder(10))
    board = compare({}, split, at=[3])
    entry = next(e for e in board.entries if e.name == "popularity (all time)")
    # Users 0..8 have a target. After hiding, item i has n - i - 1 users: the same order. Item 9 is unknown
    # then, so user 0 has nothing to find. User u has seen 0..n-2-u, so its target n-1-u comes first.
    assert split.subjects.tolist() == list(range(1, 9))
    assert entry.metrics["ndcg_at_3"] == 1.0
    assert entry.metrics["recall_at_3"] == 1.0
    # The lists of users 1..8 begin at items 8, 7, ... 1 and go up to item 9: 9 of 10 items are shown.
    assert entry.metrics["coverage_at_3"] == pytest.approx(0.9)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_table_has_the_baselines_and_is_best_first(protocol: str) -> None:
    board = evaluate({"together": Together()}, random_snapshot(1), protocol, k=5)
    assert {e.name for e in board.entries} == {*BASELINES, "together"}
    values = [e.metrics["ndcg_at_5"] for e in board.entries]
    assert values == sorted(values, reverse=True)
    assert board.protocol == protocol
    assert board.audit
    for entry in board.entries:
        assert entry.kind == ("recipe" if entry.name == "together" else "baseline")
        assert entry.amazon.keys() == AMAZON.keys()
        for interval in entry.intervals.values():
            assert interval.low <= interval.mean <= interval.high
        assert ("sampled_hit_rate_at_10" in entry.metrics) is False  # 40 items: not defined
    pairs = {(d.first, d.second) for d in board.differences}
    assert len(pairs) == 3


def test_a_baseline_under_another_name_is_not_run_twice() -> None:
    board = evaluate({"popular": Popularity(window="30d")}, random_snapshot(1))
    assert {e.name: e.kind for e in board.entries} == {
        "popular": "baseline",
        "popularity (all time)": "baseline",
    }


def test_equal_seeds_give_equal_tables() -> None:
    def once(seed: int) -> dict[str, Any]:
        board = evaluate({"noisy": Together(noise=30)}, random_snapshot(1), seed=seed)
        told = msgspec.to_builtins(board)
        for entry in told["entries"]:
            del entry["train_cpu_seconds"], entry["answer_cpu_seconds"], entry["peak_mb"]
        return told

    assert once(1) == once(1)
    assert once(1) != once(2)


def test_json_and_text_say_the_same() -> None:
    board = evaluate({"together": Together()}, random_snapshot(1))
    assert msgspec.json.decode(board.json(), type=Leaderboard) == board
    table = board.rows()
    assert [row[0] for row in table[1:]] == [e.name for e in board.entries]
    assert {len(row) for row in table} == {len(table[0])}
    text = board.text(10_000)
    for entry in board.entries:
        assert f"{entry.metrics['ndcg_at_10']:.4f}" in text
    assert board.fingerprint[:12] in text
    assert board.description in text
    assert f"{len(board.audit)} checks for leaks passed." in text
    unchecked = msgspec.structs.replace(board, audit=[*board.audit, "NOT checked: the weather"]).text(10_000)
    assert f"{len(board.audit)} checks for leaks passed. NOT checked: the weather." in unchecked
    beyond = board.beyond_rows()
    assert [row[0] for row in beyond[1:]] == [e.name for e in board.entries]
    assert [head.partition("@")[0] for head in beyond[0][1:5]] == [
        "Gini",
        "popularity",
        "serendipity",
        "distance",
    ]
    assert beyond[1][1] == f"{board.entries[0].metrics['gini_at_10']:.4f}"


@pytest.mark.parametrize("width", [60, 80, 160])
def test_the_text_fits_a_terminal_and_repeats_the_names(width: int) -> None:
    board = evaluate({"together": Together()}, random_snapshot(1))
    lines = board.text(width).splitlines()
    assert max(map(len, lines)) <= width
    shown = " ".join(lines).split()
    heads = [*board.rows()[0], *board.beyond_rows()[0], *board.difference_rows()[0]]
    assert all(word in shown for head in heads for word in head.split())
    numbers = [cell for row in (*board.rows()[1:], *board.beyond_rows()[1:]) for cell in row[3:]]
    assert all(word in shown for cell in numbers for word in cell.split())


class Mute(msgspec.Struct, frozen=True, kw_only=True):
    """Its model gives no items."""

    name: ClassVar[str] = "mute"

    def train(
        self, snapshot: Snapshot, *, rng: Generator, progress: Progress, previous: Model | None = None
    ) -> "MuteModel":
        return MuteModel(card=card_for(self, snapshot), items=snapshot.items, users=snapshot.users)


@dataclass(frozen=True, kw_only=True)
class MuteModel:
    kind: ClassVar[str] = "mute"
    card: Card
    items: Vocab
    users: Vocab

    def arrays(self) -> Mapping[str, AnyArray]:
        return {**self.items.arrays("items"), **self.users.arrays("users")}

    @classmethod
    def open(cls, card: Card, arrays: Mapping[str, AnyArray]) -> Self:
        return cls(
            card=card, items=Vocab.from_arrays(arrays, "items"), users=Vocab.from_arrays(arrays, "users")
        )


def test_recipes_that_give_no_items_are_named_and_left_out() -> None:
    board = evaluate({"mute": Mute(), "together": Together()}, random_snapshot(1))
    assert board.left_out == ["mute"]
    assert "Left out, for they give no items: mute." in board.text()
    assert "mute" not in {e.name for e in board.entries}


@dataclass(frozen=True)
class Fixed:
    """A peer that gives what it was told to give."""

    name: str
    give: Callable[[Split, int], Rows]

    def top_many(self, split: Split, k: int) -> Rows:
        return self.give(split, k)


def truth_first(split: Split, k: int) -> Rows:
    out = np.full((len(split), k), -1, np.int32)
    for i in range(len(split)):
        row = split.truth.row(i)[:k]
        out[i, : len(row)] = row
    return out


def test_peers_stand_in_the_same_table() -> None:
    board = evaluate({}, random_snapshot(1), peers=[Fixed("oracle", truth_first)])
    assert (board.best().name, board.best().kind) == ("oracle", "peer")
    assert board.best().metrics["ndcg_at_10"] == 1.0
    with pytest.raises(InputError, match="share a name"):
        evaluate({"oracle": Together()}, random_snapshot(1), peers=[Fixed("oracle", truth_first)])


def test_answers_that_break_the_rules_are_refused() -> None:
    split = time_split(random_snapshot(1))
    good = truth_first(split, 10)
    assert checked("x", good, split, 10) is good
    excluded = np.full_like(good, -1)
    excluded[:, 0] = [split.exclude.row(i)[0] for i in range(len(split))]
    twice = np.where(np.arange(10) < 2, good[:, :1], -1)
    for what, lists in {
        "excluded": excluded,
        "twice": twice,
        "shape": good[:, :9],
        "no items": np.full_like(good, split.train.n_items),
    }.items():
        with pytest.raises(Defect, match=what):
            checked("x", lists, split, 10)


def test_a_model_with_other_rows_is_asked_in_its_own() -> None:
    """A model without the first 7 items gives the same lists as the full one does without them."""
    for split in (time_split(random_snapshot(1)), user_split(random_snapshot(1))):

        def lists(recipe: Together, split: Split = split) -> tuple[Rows, TogetherModel]:
            model = recipe.train(split.train, rng=derive(1), progress=Silent())
            return answers(model, split, 6), model

        small, model = lists(Together(drop=7))
        assert (small[small >= 0] >= 7).all()
        assert not np.isin(small[small >= 0], range(7)).any()
        full = Together().train(split.train, rng=derive(1), progress=Silent())
        for i in range(len(split)):
            own = np.zeros(40, np.float32)
            own[split.histories.item[split.histories.user == i]] = 1
            own[:7] = 0
            scores = own @ full.shared
            scores[:7] = -np.inf
            scores[split.exclude.row(i)] = -np.inf
            expected = np.argsort(-scores, kind="stable")[:6]
            expected = expected[np.isfinite(scores[expected])]
            assert small[i, : len(expected)].tolist() == expected.tolist()
        told = asked(model, split)
        assert (told.histories is None) == (split.protocol == "time")


def test_unknown_protocol_names_the_near_one() -> None:
    with pytest.raises(NotFound, match="Did you mean 'time'"):
        evaluate({}, random_snapshot(1), "tiem")
    with pytest.raises(InputError, match="k = "):
        evaluate({}, random_snapshot(1), k=0)


def test_validation_parts_by_name() -> None:
    source = random_snapshot(1)
    for protocol in ("time", "last"):
        test, validation = split_for(source, protocol), split_for(source, protocol, part="validation")
        assert len(validation.train.interactions) < len(test.train.interactions)
    assert split_for(source, "user", part="validation").fingerprint != split_for(source, "user").fingerprint


def many_items(n: int = 150) -> Snapshot:
    rng = np.random.default_rng(2)
    return snapshot_of(
        [(u, int(i), float(t)) for u in range(12) for t, i in enumerate(rng.permutation(n)[:30])]
    )


def test_sampled_candidates_are_the_truth_and_items_never_taken() -> None:
    split = last_split(many_items())
    drawn = candidates_of(split, derive(1, "s"))
    assert drawn is not None
    assert drawn.shape == (len(split), 101)
    for i in range(len(split)):
        assert drawn[i, 0] == split.truth.row(i)[0]
        assert len(set(drawn[i].tolist())) == 101
        assert not np.isin(drawn[i], split.exclude.row(i)).any()
    again = candidates_of(split, derive(1, "s"))
    assert again is not None
    assert np.array_equal(drawn, again)
    assert candidates_of(time_split(many_items()), derive(1, "s")) is None  # several to find
    assert candidates_of(last_split(random_snapshot(1)), derive(1, "s")) is None  # too few items


def test_sampled_metrics_by_hand() -> None:
    nan = float("nan")
    scores = np.array([[5.0, 1, 2, 3], [2.0, 2, 1, 3], [nan, 0, 0, 0], [1.0, nan, nan, 0]])
    ranks = sampled_ranks(scores)
    assert ranks.tolist() == [1, 3, 4, 1]
    found = sampled_metrics(np.array([1.0, 10.0, 11.0]))
    assert found["sampled_hit_rate_at_10"].tolist() == [1, 1, 0]
    assert found["sampled_ndcg_at_10"] == pytest.approx([1, 1 / np.log2(11), 0])


def test_sampled_scores_are_the_models_own_and_appear_under_their_own_name() -> None:
    split = last_split(many_items())
    drawn = candidates_of(split, derive(1, "s"))
    assert drawn is not None
    model = Together().train(split.train, rng=derive(1), progress=Silent())
    told = sampled_scores(model, split, drawn)
    other = sampled_scores(replace(model, users=Vocab.of([])), split, drawn)
    for i in range(len(split)):
        expected = (model.taken[split.subjects[i]] @ model.shared)[drawn[i]]
        assert np.array_equal(told[i], expected)
    assert np.array_equal(told, other)
    dropped = Together(drop=3).train(split.train, rng=derive(1), progress=Silent())
    assert np.array_equal(np.isnan(sampled_scores(dropped, split, drawn)), drawn < 3)
    board = evaluate({"together": Together()}, many_items(), "last")
    assert all("sampled_ndcg_at_10" in e.metrics for e in board.entries)
    assert "sampled" not in board.metric


def test_search_finds_the_top_of_a_hill() -> None:
    def hill(fields: Mapping[str, Any]) -> float:
        return -abs(np.log10(fields["x"] / 0.03)) - abs(fields["y"] - 4) - 0.1 * abs(fields["z"] - 0.5)

    space = {"x": Range(1e-4, 10.0), "y": Choice((1, 2, 4, 8)), "z": Range(0.0, 1.0, log=False)}
    found = search(hill, space, trials=60, rng=derive(1, "t"))
    assert len(found) == 60
    assert [t.value for t in found] == sorted((t.value for t in found), reverse=True)
    assert found[0].fields["y"] == 4
    assert 0.01 < found[0].fields["x"] < 0.09
    assert all(1e-4 <= t.fields["x"] <= 10 and 0 <= t.fields["z"] <= 1 for t in found)
    assert search(hill, space, trials=60, rng=derive(1, "t")) == found
    drawn_only = max(
        hill({name: part.draw(rng) for name, part in space.items()})
        for rng in [derive(2, "r")]
        for _ in range(30)
    )
    assert found[0].value > drawn_only  # looking near the best is what the second half is for


def test_a_search_spends_its_budget_and_tries_what_it_is_given_first() -> None:
    calls: list[Mapping[str, Any]] = []

    def note(fields: Mapping[str, Any]) -> float:
        calls.append(fields)
        return 0.0

    space = {"a": Choice((1, 2)), "b": Choice(("x", "y", "z"))}
    full = grid(space)
    assert full == [{"a": a, "b": b} for a in (1, 2) for b in "xyz"]
    search(note, space, trials=6, rng=derive(1), first=full)
    assert calls == full
    with pytest.raises(InputError, match="0 trials"):
        search(note, space, trials=0, rng=derive(1))
    with pytest.raises(ValueError, match="below high"):
        Range(2.0, 1.0)


def test_tuning_chooses_on_the_validation_part() -> None:
    validation = split_for(rotated(), "last", part="validation")
    found = tune(Together(), {"noise": Choice((0.0, 300.0))}, validation, trials=4, rng=derive(1, "tune"))
    assert found[0].fields == {"noise": 0.0}
    assert found[0].value > found[-1].value
    board = compare({"clean": Together()}, validation)
    assert found[0].value == board.best().metrics["ndcg_at_10"]
