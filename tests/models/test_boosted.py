"""Trees that choose among candidates: LightGBM's own answers, slopes by differences, and what is learnt."""

import lightgbm as lgb
import numpy as np
import pytest

from penchant.kernel.arrays import F64
from penchant.kernel.progress import Silent
from penchant.models import boosted
from penchant.models.boosted import Choices, Trees, add_trees, fit_trees, no_trees, trees_of


def choices(n: int, *, seed: int = 1, told: bool = True) -> Choices:
    """Return choices of the one candidate whose two signs agree, which no sum over features tells."""
    rng = np.random.default_rng(seed)
    size = rng.integers(2, 7, n).astype(np.int32)
    features = rng.normal(size=(int(size.sum()), 3)).astype(np.float32)
    chosen = (rng.random(n) * size).astype(np.int32)
    starts = np.cumsum(size) - size
    if told:
        agree = np.zeros(len(features), bool)
        agree[starts + chosen] = True
        features[:, 1] = np.abs(features[:, 1]) * np.sign(features[:, 0]) * np.where(agree, 1, -1)
    return Choices(features=features, offset=rng.normal(size=len(features)) / 4, size=size, chosen=chosen)


def added(trees: Trees, x: np.ndarray) -> F64:
    out = np.zeros(len(x))
    add_trees(trees, x, out)
    return out


@pytest.mark.parametrize("leaves", [2, 31])
def test_scores_are_those_of_lightgbm(leaves: int) -> None:
    rng = np.random.default_rng(leaves)
    x = np.round(rng.normal(size=(3000, 5)), 1).astype(np.float32)  # many a value stands on a threshold
    x[:, 4] = 0.0
    y = np.sin(3 * x[:, 0]) * x[:, 1] + (x[:, 2] > 0.5)
    model = lgb.train({"num_leaves": leaves, "verbose": -1, "num_threads": 1}, lgb.Dataset(x, y), 40)
    trees = trees_of([tree["tree_structure"] for tree in model.dump_model()["tree_info"]])
    np.testing.assert_allclose(added(trees, x), np.asarray(model.predict(x)), rtol=0, atol=1e-6)
    fresh = rng.normal(size=(1000, 5)).astype(np.float32)
    np.testing.assert_allclose(added(trees, fresh), np.asarray(model.predict(fresh)), rtol=0, atol=1e-6)


def test_a_tree_of_one_leaf_adds_it() -> None:
    trees = trees_of([{"leaf_value": 0.5}, {"leaf_value": 0.25}])
    assert added(trees, np.zeros((3, 2), np.float32)).tolist() == [0.75] * 3
    assert added(no_trees(), np.zeros((3, 2), np.float32)).tolist() == [0.0] * 3


def test_the_slopes_are_those_of_the_loss() -> None:
    loss = boosted.Loss(choices(30))
    scores = np.random.default_rng(3).normal(size=len(loss.label))
    slope, bend = loss.slopes(scores, None)
    for i in range(0, len(scores), 7):
        step = np.zeros(len(scores))
        step[i] = 1e-4
        up, here, down = (loss.bits(scores + s * step) * np.log(2) * 30 for s in (1, 0, -1))
        assert slope[i] == pytest.approx((up - down) / 2e-4, abs=1e-6)
        assert bend[i] == pytest.approx((up - 2 * here + down) / 1e-8, abs=1e-4)


def test_what_no_sum_tells_is_learnt() -> None:
    learnt = choices(3000)
    trees, metrics = fit_trees(learnt, 100, seed=1, progress=Silent())
    assert metrics["bits_trees"] < 0.3 < 1.5 < metrics["bits"]
    fresh = choices(500, seed=2)
    scores = fresh.offset + added(trees, fresh.features)
    hits = [
        int(np.argmax(scores[first : first + size])) == chosen
        for first, size, chosen in zip(fresh.starts, fresh.size, fresh.chosen, strict=True)
    ]
    assert np.mean(hits) > 0.95


def test_the_newest_tenth_says_when_to_stop() -> None:
    data = choices(3000)
    turned = data.features.copy()
    newest = int(data.size[:2700].sum())
    turned[newest:, 1] *= -1  # what was true before no longer is
    trees, metrics = fit_trees(data._replace(features=turned), 100, seed=1, progress=Silent())
    assert len(trees.root) == 0
    assert metrics.keys() == {"bits"}


def test_a_few_choices_teach_nothing() -> None:
    assert fit_trees(choices(99), 50, seed=1, progress=Silent())[1] == {}


def test_the_same_seed_gives_the_same_trees() -> None:
    first, second = (fit_trees(choices(2000), 40, seed=5, progress=Silent())[0] for _ in range(2))
    assert [a.tobytes() for a in first] == [b.tobytes() for b in second]
    assert len(first.root) > 5
