"""The contract suites of recipes and models: one class a protocol, inherited by the tests of each recipe.

A test class names its recipe and inherits the suites of what its model promises::

    class TestPopularity(RetrieverContract, OnlineContract):
        recipe = Popularity()
        model_type = PopularityModel
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, cast

import msgspec
import numpy as np
import pytest

from penchant.data.interactions import Interactions
from penchant.data.snapshot import Snapshot
from penchant.kernel.arrays import AnyArray, Rows
from penchant.kernel.progress import Silent
from penchant.kernel.seeds import derive
from penchant.models.base import Model, Online, Queries, Query, Recipe, Retriever, Scored, Similar
from penchant.models.store import open_model, save_model
from penchant.testing.data import checkerboard, random_snapshot


class RecipeContract:
    """What every recipe and the model it trains promise."""

    recipe: ClassVar[Recipe]
    model_type: ClassVar[type[Model]]

    def train(self, snapshot: Snapshot | None = None, *, seed: int = 7, previous: Model | None = None) -> Any:
        """Train the recipe of this suite, by default on random data."""
        rng = derive(seed, self.recipe.name)
        data = random_snapshot(1) if snapshot is None else snapshot
        return self.recipe.train(data, rng=rng, progress=Silent(), previous=previous)

    def test_the_same_seed_gives_the_same_bytes(self) -> None:
        first, second = self.train().arrays(), self.train().arrays()
        assert_same_arrays(first, second)

    def test_config_survives_toml_and_refuses_unknown_fields(self) -> None:
        kind = cast("type[Any]", type(self.recipe))
        text = as_toml(msgspec.to_builtins(self.recipe))
        assert msgspec.toml.decode(text, type=kind) == self.recipe
        assert msgspec.json.decode(msgspec.json.encode(self.recipe), type=kind) == self.recipe
        with pytest.raises(msgspec.ValidationError, match="no_such_field"):
            msgspec.toml.decode("no_such_field = 1\n" + text, type=kind)
        with pytest.raises(AttributeError):
            self.recipe.name = "other"  # pyright: ignore[reportAttributeAccessIssue] # a frozen struct refuses

    def test_card_says_how_it_came_to_be(self) -> None:
        snapshot = random_snapshot(1)
        model = self.train(snapshot)
        assert isinstance(model, self.model_type)
        card = model.card
        assert card.recipe == self.recipe.name
        assert msgspec.convert(card.config, type(self.recipe)) == self.recipe
        assert (card.snapshot, card.cutoff) == (snapshot.digest, snapshot.cutoff)
        assert (card.users, card.items) == (snapshot.n_users, snapshot.n_items)

    def test_arrays_are_read_only(self) -> None:
        for name, array in self.train().arrays().items():
            assert not array.flags.writeable, f"{name} can be written to"

    def test_saving_and_opening_changes_nothing(self, tmp_path: Path) -> None:
        model = self.train()
        save_model(model, tmp_path / "m")
        opened = open_model(tmp_path / "m", {model.kind: self.model_type})
        assert opened.card == model.card
        assert opened.items == model.items
        assert opened.users == model.users
        assert_same_arrays(model.arrays(), opened.arrays())

    def test_opened_arrays_are_memory_mapped(self, tmp_path: Path) -> None:
        save_model(self.train(), tmp_path / "m")
        opened = open_model(tmp_path / "m", {self.model_type.kind: self.model_type})
        for name, array in opened.arrays().items():
            assert is_mapped(array) or array.size == 0, f"{name} was copied into memory"

    def test_a_warm_start_trains(self) -> None:
        previous = self.train(random_snapshot(1))
        model = self.train(random_snapshot(2), previous=previous)
        assert model.card.snapshot == random_snapshot(2).digest


class RetrieverContract(RecipeContract):
    """What a model that gives items promises on top."""

    def known(self, snapshot: Snapshot, user: int) -> Query:
        """Return the query of a trained user."""
        return Query(user=user, now=snapshot.cutoff)

    def test_top_is_what_score_says(self) -> None:
        snapshot = random_snapshot(1)
        model: Retriever = self.train(snapshot)
        for user in range(0, snapshot.n_users, 7):
            exclude = np.unique(snapshot.history(user).item)
            for k in (1, 5, snapshot.n_items, 10 * snapshot.n_items):
                got = model.top(self.known(snapshot, user), k, exclude=exclude)
                assert_is_best(model, self.known(snapshot, user), got, k, exclude)
            got = model.top(self.known(snapshot, user), 6)
            assert_is_best(model, self.known(snapshot, user), got, 6, np.zeros(0, np.int32))

    def test_top_many_is_top_for_each(self) -> None:
        snapshot = random_snapshot(2)
        model: Retriever = self.train(snapshot)
        users = np.arange(-1, snapshot.n_users, dtype=np.int32)
        seen = snapshot.pairs().take(users)
        for k, exclude in ((4, seen), (4, None), (2 * snapshot.n_items, seen)):
            batch = model.top_many(Queries(users=users, now=snapshot.cutoff), k, exclude=exclude)
            assert batch.items.shape == batch.scores.shape == (len(users), k)
            for i, user in enumerate(users):
                one = model.top(
                    self.known(snapshot, int(user)), k, exclude=None if exclude is None else exclude.row(i)
                )
                n = len(one.items)
                assert batch.items[i, :n].tolist() == one.items.tolist()
                assert batch.scores[i, :n].tobytes() == one.scores.tobytes()
                assert (batch.items[i, n:] == -1).all()
                assert np.isneginf(batch.scores[i, n:]).all()

    def test_histories_of_a_batch_are_those_of_single_requests(self) -> None:
        snapshot = random_snapshot(2)
        model: Retriever = self.train(snapshot)
        events = snapshot.interactions.select(snapshot.interactions.user < 5)
        batch = model.top_many(
            Queries(users=np.full(5, -1, np.int32), histories=events, now=snapshot.cutoff), 6
        )
        for user in range(5):
            query = Query(history=snapshot.history(user), now=snapshot.cutoff)
            one = model.top(query, 6)
            assert batch.items[user, : len(one.items)].tolist() == one.items.tolist()
            assert batch.scores[user, : len(one.items)].tobytes() == one.scores.tobytes()

    def test_no_items_asked_for_none_given(self) -> None:
        model: Retriever = self.train()
        assert len(model.top(Query(user=0), 0).items) == 0
        assert model.top_many(Queries(users=np.arange(3, dtype=np.int32)), 0).items.shape == (3, 0)
        assert model.top_many(Queries(users=np.zeros(0, np.int32)), 5).items.shape == (0, 5)

    def test_everything_excluded_nothing_given(self) -> None:
        snapshot = random_snapshot(1)
        model: Retriever = self.train(snapshot)
        everything = np.arange(snapshot.n_items, dtype=np.int32)
        assert len(model.top(self.known(snapshot, 0), 5, exclude=everything).items) == 0

    def test_somebody_unknown_with_nothing_known_gets_a_valid_answer(self) -> None:
        snapshot = random_snapshot(1)
        model: Retriever = self.train(snapshot)
        for history in (None, Interactions.none(snapshot.interactions.event_types)):
            query = Query(user=-1, history=history, now=snapshot.cutoff)
            assert_is_best(model, query, model.top(query, 5), 5, np.zeros(0, np.int32))

    def test_opened_model_answers_the_same(self, tmp_path: Path) -> None:
        snapshot = random_snapshot(1)
        model: Retriever = self.train(snapshot)
        save_model(model, tmp_path / "m")
        opened = cast("Retriever", open_model(tmp_path / "m", {model.kind: self.model_type}))
        queries = Queries(users=np.arange(snapshot.n_users, dtype=np.int32), now=snapshot.cutoff)
        before, after = model.top_many(queries, 7), opened.top_many(queries, 7)
        assert before.items.tobytes() == after.items.tobytes()
        assert before.scores.tobytes() == after.scores.tobytes()


class PersonalContract(RetrieverContract):
    """What a model that learns tastes from interactions promises on top."""

    def test_a_checkerboard_gives_everybody_the_missing_item(self) -> None:
        snapshot = checkerboard(20)
        model: Retriever = self.train(snapshot)
        seen = snapshot.pairs()
        for user in range(20):
            got = model.top(self.known(snapshot, user), 1, exclude=seen.row(user))
            assert got.items.tolist() == [user], f"user {user}"
            anonymous = Query(history=snapshot.history(user), now=snapshot.cutoff)
            assert model.top(anonymous, 1, exclude=seen.row(user)).items.tolist() == [user], f"user {user}"


class SimilarContract(RecipeContract):
    """What a model that knows similar items promises on top."""

    def test_similar_never_gives_the_item_itself_or_an_excluded_one(self) -> None:
        snapshot = random_snapshot(1)
        model: Similar = self.train(snapshot)
        exclude = np.array([1, 3, 5], np.int32)
        for item in range(0, snapshot.n_items, 5):
            got = model.similar(item, snapshot.n_items, exclude=exclude)
            assert item not in got.items
            assert not set(got.items.tolist()) & {1, 3, 5}
            assert_ordered(got)
            few = model.similar(item, 3, exclude=exclude)
            assert few.items.tolist() == got.items[:3].tolist()
        assert len(model.similar(0, 0).items) == 0

    def test_similar_on_a_checkerboard_is_the_same_colour(self) -> None:
        model: Similar = self.train(checkerboard(20))
        for item in range(20):
            got = model.similar(item, 9)
            assert len(got.items) == 9
            assert (got.items % 2 == item % 2).all(), f"item {item}"


class OnlineContract(RecipeContract):
    """What a model that learns from events promises on top."""

    def later(self, snapshot: Snapshot) -> Interactions:
        """Return events after the snapshot, some of users nobody knows."""
        rng = np.random.default_rng(5)
        n = 40
        return Interactions.of(
            user=rng.integers(-1, snapshot.n_users, n),
            item=rng.integers(0, snapshot.n_items, n),
            timestamp=snapshot.cutoff + np.sort(rng.uniform(0, 3600, n)),
        )

    def test_folding_nothing_changes_nothing(self) -> None:
        snapshot = random_snapshot(1)
        model: Online = self.train(snapshot)
        folded = model.fold(Interactions.none(snapshot.interactions.event_types))
        assert_same_arrays(model.arrays(), folded.arrays())

    def test_folding_leaves_the_old_model_alone(self) -> None:
        snapshot = random_snapshot(1)
        model: Online = self.train(snapshot)
        before = {name: array.copy() for name, array in model.arrays().items()}
        folded = model.fold(self.later(snapshot))
        assert_same_arrays(before, model.arrays())
        for name, array in folded.arrays().items():
            assert not array.flags.writeable, f"{name} can be written to"

    def test_folding_at_once_or_in_pieces_is_the_same(self) -> None:
        snapshot = random_snapshot(1)
        model: Online = self.train(snapshot)
        events = self.later(snapshot)
        at_once = model.fold(events)
        pieces: Online = model
        for start in range(0, len(events), 7):
            pieces = pieces.fold(events.select(slice(start, start + 7)))
        assert_close_arrays(at_once.arrays(), pieces.arrays())

    def test_a_folded_model_can_be_saved(self, tmp_path: Path) -> None:
        snapshot = random_snapshot(1)
        folded = cast("Online", self.train(snapshot)).fold(self.later(snapshot))
        save_model(folded, tmp_path / "m")
        opened = open_model(tmp_path / "m", {folded.kind: self.model_type})
        assert_same_arrays(folded.arrays(), opened.arrays())


def as_toml(config: Mapping[str, Any], under: str = "") -> str:
    """Return the fields of a recipe as TOML; values are written as JSON, which TOML shares, or as a table."""
    plain = {
        name: value for name, value in config.items() if not isinstance(value, dict) and value is not None
    }
    tables = {name: value for name, value in config.items() if isinstance(value, dict)}
    text = "".join(f"{json.dumps(name)} = {json.dumps(value)}\n" for name, value in plain.items())
    for name, table in tables.items():
        text += f"[{under}{name}]\n" + as_toml(table, f"{under}{name}.")
    return text


def assert_same_arrays(first: Mapping[str, AnyArray], second: Mapping[str, AnyArray]) -> None:
    """Assert equal names, types, shapes and bytes."""
    assert first.keys() == second.keys()
    for name, array in first.items():
        other = second[name]
        assert (array.dtype, array.shape) == (other.dtype, other.shape), name
        assert array.tobytes() == other.tobytes(), name


def assert_close_arrays(first: Mapping[str, AnyArray], second: Mapping[str, AnyArray]) -> None:
    """Assert equal names, and values equal up to the rounding of single precision."""
    assert first.keys() == second.keys()
    for name, array in first.items():
        np.testing.assert_allclose(array, second[name], rtol=1e-4, atol=1e-5, err_msg=name)


def assert_ordered(got: Scored) -> None:
    """Assert best first, ties in row order, no row twice, no NaN."""
    assert not np.isnan(got.scores).any()
    assert len(set(got.items.tolist())) == len(got.items)
    expected = np.lexsort((got.items, -got.scores))
    assert (expected == np.arange(len(got.items))).all()


def assert_is_best(model: Retriever, query: Query, got: Scored, k: int, exclude: Rows) -> None:
    """Assert that ``got`` is the best k of the items that the model can score, to the bit."""
    assert got.items.dtype == np.int32
    assert got.scores.dtype == np.float32
    assert_ordered(got)
    scores = model.score(query, np.arange(len(model.items), dtype=np.int32))
    assert scores[got.items].tobytes() == got.scores.tobytes()
    eligible = ~np.isnan(scores)
    eligible[exclude] = False
    rows = np.flatnonzero(eligible)
    best = rows[np.lexsort((rows, -scores[rows]))][:k]
    assert got.items.tolist() == best.tolist()


def is_mapped(array: AnyArray) -> bool:
    """Return whether an array's memory is a memory-mapped file."""
    base: Any = array
    while isinstance(base, np.ndarray):
        if isinstance(base, np.memmap):
            return True
        base = base.base
    return False
