"""Item neighbours: against a dense oracle, and on data whose answer is known."""

import numpy as np
import pytest

from penchant.data.interactions import Interactions
from penchant.kernel.arrays import Csr
from penchant.kernel.progress import Silent
from penchant.kernel.seeds import derive
from penchant.models.base import Query
from penchant.models.item_knn import ItemKnn
from penchant.models.item_knn_kernels import nearest
from penchant.models.neighbours import NeighbourModel
from penchant.testing.contracts import PersonalContract, SimilarContract, assert_same_arrays
from penchant.testing.data import random_snapshot, snapshot_of


class TestItemKnn(PersonalContract, SimilarContract):
    recipe = ItemKnn()
    model_type = NeighbourModel


class TestItemKnnBm25(PersonalContract, SimilarContract):
    # A checkerboard's even and odd users all have the same idf; one common user is enough for its neighbours.
    recipe = ItemKnn(similarity="bm25", popularity_discount=0.3, min_co_counts=1, half_life="30d", alpha=1.0)
    model_type = NeighbourModel


def dense(matrix: Csr) -> np.ndarray:
    out = np.zeros((matrix.n_rows, matrix.n_columns))
    for i in range(matrix.n_rows):
        out[i, matrix.row(i)] = matrix.values(i)
    return out


def oracle(recipe: ItemKnn, x: np.ndarray) -> np.ndarray:
    """Return all similarities by dense algebra in double precision, -1 where two items are no neighbours."""
    n_u = (x > 0).sum(axis=1)
    idf = np.maximum(np.log(x.shape[1] / (1 + n_u)), 0)[:, None]
    length = x.sum(axis=0)
    norm = 1 - recipe.b + recipe.b * length / length.mean()
    w = {
        "cosine": x,
        "tfidf": np.sqrt(x) * idf,
        "bm25": x * (recipe.k1 + 1) / (recipe.k1 * norm + x) * idf,
    }[recipe.similarity]
    squares, d = (w**2).sum(axis=0), recipe.popularity_discount
    scale = squares[:, None] ** (1 - d) * squares[None, :] ** d + recipe.shrinkage
    s = np.divide(w.T @ w, scale, out=np.zeros_like(scale), where=scale > 0)
    co = (x > 0).T.astype(float) @ (x > 0)
    s[(co < recipe.min_co_counts) | (s <= 0)] = -1
    np.fill_diagonal(s, -1)
    return s


@pytest.mark.parametrize("similarity", ["cosine", "tfidf", "bm25"])
@pytest.mark.parametrize("alpha", [0.0, 0.5])
@pytest.mark.parametrize(("least", "discount", "shrinkage"), [(1, 0.5, 0.0), (3, 0.5, 2.0), (2, 0.8, 0.0)])
def test_neighbours_are_those_of_dense_algebra(
    similarity: str, alpha: float, least: int, discount: float, shrinkage: float
) -> None:
    recipe = ItemKnn(
        similarity=similarity,  # pyright: ignore[reportArgumentType]  a parametrized literal
        alpha=alpha,
        min_co_counts=least,
        popularity_discount=discount,
        shrinkage=shrinkage,
        neighbours=9,
    )
    snapshot = random_snapshot(3, n_users=60, n_items=45, n=900)
    model = recipe.train(snapshot, rng=derive(0), progress=Silent())
    x = dense(recipe.matrix(snapshot.interactions, 60, 45, now=snapshot.cutoff))
    expected = oracle(recipe, x)
    for i in range(45):
        rows, values = model.neighbours.row(i), model.neighbours.values(i)
        wanted = np.sort(expected[i][expected[i] > 0])[::-1][:9]
        np.testing.assert_allclose(values, wanted, rtol=1e-5)
        np.testing.assert_allclose(values, expected[i, rows], rtol=1e-5)
    for user in range(0, 60, 5):
        w = dense(model.neighbours)
        got = model.score(Query(user=user), np.arange(45, dtype=np.int32))
        np.testing.assert_allclose(np.nan_to_num(got), x[user] @ w, rtol=1e-5, atol=1e-6)
        assert (np.isnan(got) == ((x[user] > 0) @ (w > 0) == 0)).all()


def test_equal_neighbours_stand_in_row_order() -> None:
    triples = [(u, i, 1.0 + u) for u in range(4) for i in range(6)]
    model = ItemKnn(neighbours=3).train(snapshot_of(triples), rng=derive(0), progress=Silent())
    assert model.neighbours.row(0).tolist() == [1, 2, 3]
    assert model.neighbours.row(4).tolist() == [0, 1, 2]


def test_the_number_of_threads_changes_no_byte() -> None:
    rng = np.random.default_rng(0)
    weights = Csr.summed(
        rng.integers(0, 300, 9000).astype(np.int32),
        (200 * rng.random(9000) ** 2).astype(np.int32),
        np.ones(9000, np.float32),
        n_rows=300,
        n_columns=200,
    )
    source, target = rng.uniform(1, 2, (2, 200)).astype(np.float32)
    results = [
        nearest(weights, source=source, target=target, k=7, shrinkage=1.0, least=2, threads=threads)
        for threads in (1, 2, 5)
    ]
    for other in results[1:]:
        assert_same_arrays(
            {"p": results[0].indptr, "i": results[0].indices, "d": results[0].data},
            {"p": other.indptr, "i": other.indices, "d": other.data},
        )


def test_a_discount_prefers_the_rare_neighbour() -> None:
    """Item 0 meets popular item 1 six times and rare item 2 four times; item 1 has 20 users, item 2 four."""
    triples = [(u, 0, 1.0) for u in range(8)]
    triples += [(u, 1, 2.0) for u in range(6)] + [(u, 1, 2.0) for u in range(10, 24)]
    triples += [(u, 2, 3.0) for u in range(4)]
    snapshot = snapshot_of(triples)

    def first(discount: float) -> int:
        model = ItemKnn(popularity_discount=discount).train(snapshot, rng=derive(0), progress=Silent())
        return int(model.similar(0, 1).items[0])

    assert (first(0.0), first(0.5)) == (1, 2)


def test_too_few_common_users_make_no_neighbours() -> None:
    triples = [(u, i, 1.0) for u in range(2) for i in range(2)] + [
        (u, i, 1.0) for u in range(3) for i in (2, 3)
    ]
    model = ItemKnn(min_co_counts=3).train(snapshot_of(triples), rng=derive(0), progress=Silent())
    assert model.similar(2, 9).items.tolist() == [3]
    assert len(model.similar(0, 9).items) == 0
    assert model.card.notes == ["2 items have no neighbours."]


def test_a_history_answers_for_somebody_unknown() -> None:
    snapshot = random_snapshot(1)
    model = ItemKnn(min_co_counts=1).train(snapshot, rng=derive(0), progress=Silent())
    told = Interactions.of(user=[0], item=[7], timestamp=[snapshot.cutoff])
    got = model.top(Query(history=told, now=snapshot.cutoff), 4)
    kin = model.similar(7, 4)
    assert got.items.tolist() == kin.items.tolist()
    np.testing.assert_allclose(got.scores, kin.scores)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("neighbours", 0),
        ("min_co_counts", 0),
        ("shrinkage", -1.0),
        ("k1", 0.0),
        ("b", 1.5),
        ("popularity_discount", 1.1),
        ("alpha", -0.1),
        ("half_life", "never"),
        ("event_weights", {"view": -1.0}),
    ],
)
def test_a_wrong_value_is_refused_by_its_name(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        ItemKnn(**{field: value})  # pyright: ignore[reportArgumentType]  wrong on purpose
