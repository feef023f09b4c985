"""The blend: weights that must be found, and the contract."""

import numpy as np
import pytest

from penchant.kernel.progress import Silent
from penchant.kernel.seeds import derive
from penchant.models.base import Query
from penchant.models.blend import Blend, BlendModel, select_greedily
from penchant.models.parts import standard
from penchant.testing.contracts import PersonalContract
from penchant.testing.data import random_snapshot

SMALL = {
    "ease": {"recipe": "ease", "regularization": 2.0},
    "knn": {"recipe": "item_knn", "min_co_counts": 1},
    "popular": {"recipe": "popularity", "window": "all"},
}


class TestBlend(PersonalContract):
    recipe = Blend(parts=SMALL)
    model_type = BlendModel

    def test_a_checkerboard_gives_everybody_the_missing_item(self) -> None:
        self.recipe = Blend(parts={"ease": SMALL["ease"], "knn": SMALL["knn"]})  # pyright: ignore[reportIncompatibleVariableOverride]  popularity knows no taste
        super().test_a_checkerboard_gives_everybody_the_missing_item()


def test_the_useful_part_gets_the_weight() -> None:
    """Part 0 ranks what is wanted first, part 1 at random, part 2 last."""
    rng = np.random.default_rng(0)
    relevant = [np.arange(30) < 3 for _ in range(50)]
    scores = [
        np.stack([good + rng.normal(0, 0.1, 30), rng.normal(0, 1, 30), -1.0 * good]).astype(np.float32)
        for good in relevant
    ]
    weights, reached = select_greedily(scores, relevant, np.full(50, 3), depth=5)
    assert weights.tolist() == [1.0, 0.0, 0.0]
    assert reached == pytest.approx(1.0)


def test_two_parts_that_know_half_each_are_both_used() -> None:
    rng = np.random.default_rng(1)
    relevant = [np.arange(40) < 4 for _ in range(60)]
    scores = []
    for _ in relevant:
        z = rng.normal(0, 1, (3, 40))
        z[0, :2] += 6
        z[1, 2:4] += 6
        scores.append(z.astype(np.float32))
    weights, reached = select_greedily(scores, relevant, np.full(60, 4), depth=4)
    assert weights[0] > 0.2
    assert weights[1] > 0.2
    assert reached > 0.9


def test_what_a_part_cannot_score_counts_as_its_least() -> None:
    scores = np.array([[1, 2, np.nan, 3], [np.nan] * 4, [5, 5, 5, 5]], np.float32)
    z = standard(scores)
    np.testing.assert_allclose(z[0], [-1.2247449, 0, -1.2247449, 1.2247449], rtol=1e-6)
    assert (z[1:] == 0).all()


def test_the_score_is_the_weighed_sum_of_parts() -> None:
    snapshot = random_snapshot(1)
    model = Blend(parts=SMALL).train(snapshot, rng=derive(1), progress=Silent())
    everything = np.arange(snapshot.n_items, dtype=np.int32)
    parts = np.stack([part.score(Query(user=3), everything) for part in model.parts.values()])
    expected = model.weights @ standard(parts)
    np.testing.assert_allclose(model.score(Query(user=3), everything), expected, rtol=1e-5, atol=1e-5)
    assert model.weights.sum() == pytest.approx(1)
    assert model.card.metrics["validation_ndcg_at_10"] > 0


def test_mixing_by_logarithm_multiplies() -> None:
    """Each part keeps its own order, and the order of both is that of the product."""
    rng = np.random.default_rng(3)
    taste, popular = rng.lognormal(0, 1, (2, 400)).astype(np.float32)
    one = standard(np.stack([taste**2, taste]), log=True)
    assert (np.abs(one.mean(axis=1)) < 1e-5).all()
    np.testing.assert_allclose(one.std(axis=1), 1, rtol=1e-5)
    assert (np.argsort(one, axis=1)[:, -50:] == np.argsort(taste)[-50:]).all()
    # Of z from the least on, ln(1 + z) is what is added: its sum orders as the product of the 1 + z.
    z = standard(np.stack([taste, popular]))
    shifted = np.log1p(z - z.min(axis=1, keepdims=True))
    spread = shifted.std(axis=1)
    mixed = spread @ standard(np.stack([taste, popular]), log=True)
    assert (np.argsort(mixed)[-20:] == np.argsort(np.exp(shifted).prod(axis=0))[-20:]).all()


def test_a_model_mixes_as_its_recipe_says_also_when_opened() -> None:
    snapshot = random_snapshot(1)
    linear, log = (
        Blend(parts=SMALL, mixing=mixing).train(snapshot, rng=derive(1), progress=Silent())  # pyright: ignore[reportArgumentType]
        for mixing in ("linear", "log")
    )
    everything = np.arange(snapshot.n_items, dtype=np.int32)
    opened = BlendModel.open(log.card, log.arrays())
    np.testing.assert_array_equal(
        opened.score(Query(user=3), everything), log.score(Query(user=3), everything)
    )
    parts = np.stack([part.score(Query(user=3), everything) for part in log.parts.values()])
    np.testing.assert_allclose(
        log.score(Query(user=3), everything), log.weights @ standard(parts, log=True), rtol=1e-5, atol=1e-5
    )
    assert not np.allclose(
        linear.score(Query(user=3), everything), log.score(Query(user=3), everything), equal_nan=True
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"parts": {}}, "parts is empty"),
        ({"parts": {"a": {"recipe": "magic"}}}, "parts.a: recipe is 'magic'"),
        ({"parts": {"a": {"recipe": "ease", "regularization": -1.0}}}, "parts.a: .*regularization"),
        ({"parts": {"a": {"recipe": "ease", "lambda": 1.0}}}, "parts.a: .*lambda"),
        ({"share": 0.7}, "share"),
        ({"depth": 0}, "depth"),
        ({"protocol": "last"}, "protocol"),
    ],
)
def test_a_wrong_value_is_refused_by_its_name(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Blend(**fields)  # pyright: ignore[reportArgumentType]  wrong on purpose
