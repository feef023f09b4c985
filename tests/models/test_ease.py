"""EASE in its three forms against the textbook's dense inverse."""

import numpy as np
import pytest

from penchant.data.interactions import Interactions
from penchant.kernel.parallel import THREADS_VARIABLE
from penchant.kernel.progress import Silent
from penchant.kernel.seeds import derive
from penchant.models.base import Queries, Query
from penchant.models.ease import Ease, EaseModel
from penchant.models.inverse import invert
from penchant.models.neighbours import NeighbourModel
from penchant.testing.contracts import PersonalContract, SimilarContract, assert_same_arrays
from penchant.testing.data import random_snapshot


class TestEaseItems(PersonalContract, SimilarContract):
    recipe = Ease(regularization=2.0, form="items")
    model_type = EaseModel


class TestEaseUsers(PersonalContract, SimilarContract):
    recipe = Ease(regularization=2.0, form="users", half_life="30d", dropout=0.2)
    model_type = EaseModel


class TestEaseSparse(PersonalContract, SimilarContract):
    recipe = Ease(regularization=2.0, form="sparse")
    model_type = NeighbourModel


def oracle(recipe: Ease, x: np.ndarray) -> np.ndarray:
    """Return B by inverting in double precision."""
    g = x.T @ x
    p = np.linalg.inv(g + np.diag(recipe.regularization + recipe.dropout / (1 - recipe.dropout) * np.diag(g)))
    b = -p / np.diag(p)
    np.fill_diagonal(b, 0)
    return b


def oracle_sparse(recipe: Ease, x: np.ndarray) -> np.ndarray:
    """Return B with each item regressed on those it was ever taken with."""
    g, b = x.T @ x, np.zeros((x.shape[1], x.shape[1]))
    ridge = recipe.regularization + recipe.dropout / (1 - recipe.dropout) * np.diag(g)
    for j in range(len(b)):
        some = np.flatnonzero((g[j] > 0) & (np.arange(len(b)) != j))
        b[some, j] = np.linalg.solve(g[np.ix_(some, some)] + np.diag(ridge[some]), g[some, j])
    return b


@pytest.mark.parametrize("form", ["items", "users", "sparse"])
@pytest.mark.parametrize(("dropout", "alpha"), [(0.0, 0.0), (0.4, 1.0)])
def test_predictions_are_those_of_the_dense_inverse(form: str, dropout: float, alpha: float) -> None:
    recipe = Ease(regularization=3.0, dropout=dropout, alpha=alpha, form=form, neighbours=40)  # pyright: ignore[reportArgumentType]  a parametrized literal
    snapshot = random_snapshot(4, n_users=60, n_items=40, n=900)
    model = recipe.train(snapshot, rng=derive(0), progress=Silent())
    matrix = recipe.matrix(snapshot.interactions, 60, 40, now=snapshot.cutoff)
    x = np.zeros((60, 40))
    for u in range(60):
        x[u, matrix.row(u)] = matrix.values(u)
    b = oracle_sparse(recipe, x) if form == "sparse" else oracle(recipe, x)
    expected = x @ b
    everything = np.arange(40, dtype=np.int32)
    for u in range(60):
        np.testing.assert_allclose(
            np.nan_to_num(model.score(Query(user=u), everything)), expected[u], rtol=1e-5, atol=1e-5
        )
    told = Interactions.of(user=[0, 0], item=[3, 9], timestamp=[1.0, 2.0])
    fresh = np.zeros(40)
    fresh[[3, 9]] = 1
    got = model.score(Query(history=told, now=2.0), everything)
    np.testing.assert_allclose(np.nan_to_num(got), fresh @ b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("n", [1, 7, 64, 65, 200])
@pytest.mark.parametrize("block", [1, 16, 64])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_inverse_in_place_is_numpys(n: int, block: int, dtype: type) -> None:
    rng = np.random.default_rng(n)
    half = rng.normal(size=(n, n + 3))
    a = half @ half.T + n * np.eye(n)
    found = np.tril(a).astype(dtype)
    found += np.triu(np.full((n, n), 9.0), 1).astype(dtype)  # what stands above the diagonal is not read
    invert(found, block=block)
    tolerance = 1e-5 if dtype == np.float32 else 1e-11
    np.testing.assert_allclose(found, np.linalg.inv(a), rtol=0, atol=tolerance / n)


def test_the_number_of_threads_changes_no_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = random_snapshot(4, n_users=300, n_items=200, n=5000)
    for form in ("items", "users", "sparse"):
        found = []
        for threads in ("1", "3"):
            monkeypatch.setenv(THREADS_VARIABLE, threads)
            recipe = Ease(form=form, regularization=5.0)  # pyright: ignore[reportArgumentType]  a literal of the loop
            found.append(recipe.train(snapshot, rng=derive(0), progress=Silent()).arrays())
        assert_same_arrays(*found)


def test_the_form_follows_the_sizes() -> None:
    few_users = random_snapshot(1, n_users=15, n_items=40, n=700)
    many_users = random_snapshot(1, n_users=60, n_items=40, n=700)

    def form(snapshot: object) -> list[str]:
        return Ease().train(snapshot, rng=derive(0), progress=Silent()).card.notes  # pyright: ignore[reportArgumentType]  a snapshot

    assert form(few_users) == ["Solved in the form 'users'."]
    assert form(many_users) == ["Solved in the form 'items'."]


def test_items_nobody_took_are_never_given() -> None:
    snapshot = random_snapshot(1, n_items=60, n=150)
    cold = np.flatnonzero(np.bincount(snapshot.interactions.item, minlength=60) == 0)
    assert len(cold)
    for form in ("items", "users", "sparse"):
        model = Ease(form=form).train(snapshot, rng=derive(0), progress=Silent())  # pyright: ignore[reportArgumentType]  a literal of the loop
        users = np.arange(snapshot.n_users, dtype=np.int32)
        given = model.top_many(Queries(users=users, now=snapshot.cutoff), 60).items
        assert not np.isin(given, cold).any()
        assert len(model.similar(int(cold[0]), 5).items) == 0


@pytest.mark.parametrize(("field", "value"), [("regularization", 0.0), ("dropout", 1.0), ("neighbours", 0)])
def test_a_wrong_value_is_refused_by_its_name(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=field):
        Ease(**{field: value})  # pyright: ignore[reportArgumentType]  wrong on purpose
