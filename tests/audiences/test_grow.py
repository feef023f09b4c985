"""Scoring from codes: models agree with the libraries that fitted them, large and small paths agree."""

from typing import Any

import lightgbm as lgb
import numpy as np
import pytest

from penchant.audiences import ensemble
from penchant.audiences.ensemble import Ensemble
from penchant.audiences.grow import grow
from penchant.audiences.learners import Additive, forest_of, gather
from penchant.audiences.pool import mid_ranks, pool_of
from penchant.features.codes import CodeStore, code_features
from penchant.features.matrix import FeatureName, Features
from penchant.features.taste import axes_of
from penchant.kernel.errors import InputError
from penchant.kernel.ids import Vocab
from penchant.kernel.progress import Silent
from penchant.kernel.seeds import derive

N, CATEGORIES = 3000, 12


@pytest.fixture(scope="module")
def store() -> CodeStore:
    """3,000 users; the first 400 order more in categories 3 and 4."""
    rng = derive(0, "grow")
    liking = rng.gamma(0.5, 1.0, (CATEGORIES, N))
    liking[3:5, :400] += 2
    orders = rng.poisson(liking).astype(np.float32)
    orders[orders == 0] = np.nan
    spend = (orders * rng.gamma(2.0, 2.0, orders.shape)).astype(np.float32)
    book = [
        FeatureName(name=f"{symbol}{c + 1:03d}", symbol=symbol, code=c + 1, category=f"c{c}")
        for symbol in ("cto", "aas")
        for c in range(CATEGORIES)
    ]
    whole = np.nansum(orders, axis=0, keepdims=True)
    values = np.vstack([orders, spend, whole]).astype(np.float32)
    book.append(FeatureName(name="cto000", symbol="cto", code=0, category="ALL"))
    users = Vocab.of([f"u{i:04d}" for i in range(N)])
    return code_features(Features(users=users, book=tuple(book), values=values))


def tastes(store: CodeStore, *hide: str) -> np.ndarray:
    axes = axes_of(store, store.counts, hide=hide)
    return axes.of(store.codes[axes.columns])


def test_a_forest_says_what_lightgbm_says(store: CodeStore) -> None:
    columns = np.array([3, 20, 5, 24], np.int32)
    ranks = mid_ranks(store)[columns]
    values = np.take_along_axis(ranks, store.codes[columns].astype(int), axis=1).T
    labels = (np.arange(N) < 400).astype(float)
    parameters = {"objective": "binary", "num_leaves": 6, "verbose": -1, "num_threads": 1}
    model: Any = lgb.train(parameters, lgb.Dataset(values, labels), 25)
    forest = forest_of(model.dump_model()["tree_info"], columns, ranks)
    ours = forest.score(np.ascontiguousarray(store.codes[columns]), np.zeros((N, 0), np.float32))
    np.testing.assert_allclose(ours, model.predict(values, raw_score=True), rtol=1e-12)


def test_a_tree_of_one_leaf_is_a_constant() -> None:
    tree = {"tree_structure": {"leaf_value": 0.25}}
    forest = forest_of([tree, tree], np.array([0], np.int32), np.zeros((1, 4), np.float32))
    scores = forest.score(np.zeros((1, 3), np.uint8), np.zeros((3, 0), np.float32))
    assert scores.tolist() == [0.5] * 3


def test_an_additive_model_sums_its_tables() -> None:
    rng = derive(1, "additive")
    codes = rng.integers(0, 8, (5, 2500)).astype(np.uint8)
    table, slope = rng.normal(size=(5, 8)), rng.normal(size=3)
    space = rng.normal(size=(2500, 3)).astype(np.float32)
    model = Additive(columns=np.arange(5, dtype=np.int32), table=table, slope=slope, offset=0.5)
    expected = 0.5 + space @ slope + sum(table[j, codes[j]] for j in range(5))
    np.testing.assert_allclose(model.score(codes, space), expected, rtol=1e-9)
    places, users = np.array([4, 0]), np.array([2, 2499, 7])
    assert np.array_equal(gather(codes, places, users), codes[np.ix_(places, users)])


def test_blocks_do_not_change_a_score(store: CodeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = pool_of(store, tastes(store), np.arange(0, 400, 4, dtype=np.int32))
    whole, _ = ensemble.score(pool, Ensemble(tree_bags=1), rng=derive(0, "a"))
    monkeypatch.setattr("penchant.features.codes._BLOCK", 700)
    parts, _ = ensemble.score(pool, Ensemble(tree_bags=1), rng=derive(0, "a"))
    np.testing.assert_allclose(whole, parts, atol=2 / N)  # a product's last digit may swap two neighbours


def test_a_large_population_is_learned_from_a_part_and_scored_as_a_whole(
    store: CodeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds = np.arange(0, 400, 4, dtype=np.int32)
    monkeypatch.setattr("penchant.audiences.methods.LEARN_FROM", 900)
    found = grow(store, seeds, 150, rng=derive(0, "b"), progress=Silent())
    assert len(found.rows) == 150
    assert not np.isin(found.rows, seeds).any()
    assert (found.rows < 400).mean() > 0.6  # 300 of the 2,900 who may be chosen
    assert found.auc.low > 0.75
    again = grow(store, seeds, 150, rng=derive(0, "b"), progress=Silent())
    assert np.array_equal(found.rows, again.rows)
    assert np.array_equal(found.scores, again.scores)


def test_a_list_without_signal_or_room_is_refused(store: CodeStore) -> None:
    random = np.sort(derive(3, "random").choice(N, 60, replace=False)).astype(np.int32)
    with pytest.raises(InputError, match="no signal"):
        grow(store, random, 100, rng=derive(0, "c"), progress=Silent())
    nobody = np.zeros(N, bool)
    nobody[:5] = True
    with pytest.raises(InputError, match="only 4 are left"):
        grow(store, np.array([0], np.int32), 9, eligible=nobody, rng=derive(0, "d"), progress=Silent())


def test_hidden_categories_are_in_no_taste(store: CodeStore) -> None:
    whole, without = tastes(store), tastes(store, "c3", "c4")
    assert whole.shape == (N, CATEGORIES - 1)
    assert without.shape == (N, CATEGORIES - 3)
    np.testing.assert_allclose(whole.std(0), 1, rtol=1e-3)


def test_learners_by_the_length_of_the_list(store: CodeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = Ensemble(tree_bags=1, short_folds=2, linear_repeats=1, taste_repeats=1)
    alone = Ensemble(tree_bags=1, trees=False, tastes=False)
    few = pool_of(store, tastes(store), np.arange(0, 400, 16, dtype=np.int32))
    assert set(ensemble.score(few, alone, rng=derive(0, "e"))[1]) == {"trees"}  # 25 seeds: never linear alone
    mean, each = ensemble.score(few, quick, rng=derive(0, "e"))
    assert set(each) == {"trees", "linear", "taste"}
    by_hand = (each["trees"] / 2 + each["linear"] + each["taste"]) / 2.5
    np.testing.assert_allclose(mean, by_hand, rtol=1e-12)
    monkeypatch.setattr(ensemble, "SHORT", 10)
    mean, each = ensemble.score(few, Ensemble(tree_bags=1, folds=2), rng=derive(0, "e"))
    np.testing.assert_allclose(mean, sum(each.values()) / 3, rtol=1e-12)


def test_repeats_make_a_short_lists_ranking_depend_less_on_chance(store: CodeStore) -> None:
    pool = pool_of(store, tastes(store), np.arange(0, 400, 16, dtype=np.int32))

    def agreement(repeats: int) -> float:
        config = Ensemble(trees=False, linear=False, taste_repeats=repeats)
        one, other = (ensemble.score(pool, config, rng=derive(0, name))[0] for name in ("f", "g"))
        return float(np.corrcoef(one, other)[0, 1])

    assert 1 - agreement(8) < (1 - agreement(1)) / 3
