"""RP3beta against the walk written out in dense algebra."""

import numpy as np
import pytest

from penchant.kernel.progress import Silent
from penchant.kernel.seeds import derive
from penchant.models.base import Query
from penchant.models.neighbours import NeighbourModel
from penchant.models.rp3beta import Rp3Beta
from penchant.testing.contracts import PersonalContract, SimilarContract
from penchant.testing.data import random_snapshot


class TestRp3Beta(PersonalContract, SimilarContract):
    recipe = Rp3Beta()
    model_type = NeighbourModel


@pytest.mark.parametrize("walk", [1.0, 0.7])
@pytest.mark.parametrize("discount", [0.0, 0.6])
def test_weights_are_those_of_the_walk(walk: float, discount: float) -> None:
    recipe = Rp3Beta(walk=walk, popularity_discount=discount, neighbours=8, half_life="30d")
    snapshot = random_snapshot(5, n_users=60, n_items=45, n=900)
    model = recipe.train(snapshot, rng=derive(0), progress=Silent())
    matrix = recipe.matrix(snapshot.interactions, 60, 45, now=snapshot.cutoff)
    x = np.zeros((60, 45))
    for u in range(60):
        x[u, matrix.row(u)] = matrix.values(u)
    to_user = (x / x.sum(axis=0)).T ** walk
    to_item = (x / x.sum(axis=1, keepdims=True)) ** walk
    expected = to_user @ to_item / x.sum(axis=0) ** discount
    np.fill_diagonal(expected, 0)
    kept = np.zeros_like(expected)
    for i in range(45):
        rows = model.neighbours.row(i)
        wanted = np.sort(expected[i])[::-1][: len(rows)]
        np.testing.assert_allclose(model.neighbours.values(i), wanted, rtol=1e-5)
        kept[i, rows] = expected[i, rows]
    assert model.neighbours.nnz == min(8, 44) * 45
    got = model.score(Query(user=3), np.arange(45, dtype=np.int32))
    np.testing.assert_allclose(np.nan_to_num(got), x[3] @ kept, rtol=1e-5)


@pytest.mark.parametrize(
    ("field", "value"), [("neighbours", 0), ("walk", 0.0), ("popularity_discount", -1.0)]
)
def test_a_wrong_value_is_refused_by_its_name(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=field):
        Rp3Beta(**{field: value})  # pyright: ignore[reportArgumentType]  wrong on purpose
