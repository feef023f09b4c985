"""How many epochs: the rule against its definition, the held-out part, and recipes that overfit."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penchant.data.snapshot import Snapshot
from penchant.kernel.progress import Silent
from penchant.kernel.seeds import derive
from penchant.models.early_stopping import Validation, best_epochs
from penchant.models.ials import Ials
from penchant.models.mf_sgd import Bpr, MfSgd
from penchant.testing.data import random_snapshot, snapshot_of


def noise() -> Snapshot:
    """Return interactions that no user prefers to others."""
    rng = np.random.default_rng(5)
    pairs = zip(rng.integers(0, 300, 9_000).tolist(), rng.integers(0, 80, 9_000).tolist(), strict=True)
    return snapshot_of([(user, item, 1e6 + 60.0 * i) for i, (user, item) in enumerate(pairs)])


@given(st.lists(st.integers(0, 5), min_size=1, max_size=20), st.integers(1, 5))
def test_it_stops_after_patience_and_keeps_the_first_best(values: list[int], patience: int) -> None:
    asked: list[int] = []

    def train() -> Iterator[float]:
        for value in values:
            asked.append(value)
            yield float(value)

    epochs, best = best_epochs(train(), patience)
    assert best == max(asked)
    assert epochs == asked.index(max(asked)) + 1
    stopped = len(asked) < len(values)
    assert len(asked) - epochs <= patience
    assert not stopped or len(asked) - epochs == patience


def test_the_held_out_part_is_later_and_new_to_its_users() -> None:
    snapshot = random_snapshot(1, n_users=200, n_items=60, n=6_000)
    part = Validation.of(snapshot)
    assert part is not None
    assert part.train.interactions.timestamp.max() < np.quantile(snapshot.interactions.timestamp, 0.91)
    for i in range(len(part.users)):
        assert not np.isin(part.truth.row(i), part.exclude.row(i)).any()
        had = part.train.interactions.item[part.train.interactions.user == part.users[i]]
        np.testing.assert_array_equal(part.exclude.row(i), np.unique(had))


def test_the_quality_is_known_when_vectors_name_the_items() -> None:
    """Users' vectors that are the sum of their held-out items' unit vectors find all of them first."""
    snapshot = random_snapshot(1, n_users=200, n_items=60, n=3_000)
    part = Validation.of(snapshot)
    assert part is not None
    items = np.eye(snapshot.n_items, dtype=np.float32)
    users = np.zeros((snapshot.n_users, snapshot.n_items), np.float32)
    for i, user in enumerate(part.users):
        users[user, part.truth.row(i)] = 1
    assert part.ndcg(users, items) == pytest.approx(1)
    assert part.ndcg(-users, items) < 0.3


def test_too_few_users_to_ask_leave_the_epochs_as_they_are() -> None:
    snapshot = random_snapshot(1, n_users=20, n_items=30, n=400)
    assert Validation.of(snapshot) is None
    model = Bpr(factors=4, epochs=7).train(snapshot, rng=derive(0), progress=Silent())
    assert model.card.metrics["epochs"] == 7


@pytest.mark.parametrize("recipe", [Bpr, MfSgd, Ials])
def test_where_nothing_can_be_learnt_it_ends_early(recipe: type[Bpr] | type[MfSgd] | type[Ials]) -> None:
    snapshot = noise()
    fields = {"factors": 16, "epochs": 40}
    model = recipe(**fields, patience=3).train(snapshot, rng=derive(0), progress=Silent())
    again = recipe(**fields, patience=3).train(snapshot, rng=derive(0), progress=Silent())
    assert model.card.metrics["epochs"] < 40
    assert 0 < model.card.metrics["validation_ndcg_at_10"] < 1
    for name, array in model.arrays().items():
        np.testing.assert_array_equal(array, again.arrays()[name], err_msg=name)
    whole = recipe(**fields, patience=0).train(snapshot, rng=derive(0), progress=Silent())
    assert whole.card.metrics["epochs"] == 40


def test_a_warm_start_is_searched_from_nothing() -> None:
    """A model that knows the newest part would be best at once: it must not count."""
    snapshot = noise()
    recipe = Bpr(factors=16, epochs=30)
    first = recipe.train(snapshot, rng=derive(0), progress=Silent())
    second = recipe.train(snapshot, rng=derive(0), progress=Silent(), previous=first)
    assert second.card.metrics["epochs"] == first.card.metrics["epochs"]
