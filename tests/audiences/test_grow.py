"""Scoring from codes: models agree with the libraries that fitted them, large and small paths agree."""

from typing import Any

import lightgbm as lgb
import numpy as np
import pytest
import scipy.sparse as sp

from penchant.audiences import ensemble
from penchant.audiences.ensemble import Ensemble
from penchant.audiences.grow import grow
from penchant.audiences.learners import Additive, Leaning, forest_of, gather
from penchant.audiences.nearness import nearness
from penchant.audiences.pool import Population, mid_ranks, pool_of
from penchant.audiences.quality import auc
from penchant.features.codes import CodeStore, code_features
from penchant.features.matrix import FeatureName, Features
from penchant.features.taste import affinity_of, axes_of
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


def test_a_leaning_model_sees_directions_only() -> None:
    rng = derive(2, "leaning")
    codes = rng.integers(0, 8, (5, 1500)).astype(np.uint8)
    codes[:3, 0] = 0  # has none of the three
    weight, slope, table = rng.random((3, 8)), rng.normal(size=3), rng.normal(size=(2, 8))
    weight[:, 0] = 0
    model = Leaning(
        columns=np.arange(5, dtype=np.int32),
        lean=weight * slope[:, None],
        square=weight**2,
        table=table,
        offset=0.5,
    )
    rows = np.array([weight[i, codes[i]] for i in range(3)])
    unit = rows / np.maximum(np.linalg.norm(rows, axis=0), 1e-12)
    expected = 0.5 + slope @ unit + table[0, codes[3]] + table[1, codes[4]]
    np.testing.assert_allclose(model.score(codes, np.zeros((1500, 0), np.float32)), expected, rtol=1e-9)


def test_affinity_is_each_category_regressed_on_the_others(store: CodeStore) -> None:
    """What EASE computes at once, one ridge regression a category (Steck 2019)."""
    usable = np.array([f.category != "c7" for f in store.book], bool)
    affinity = affinity_of(store, usable)
    assert {store.book[j].category for j in affinity.columns} == {f"c{c}" for c in range(CATEGORIES)} - {"c7"}
    codes = store.codes[affinity.columns]
    rows = np.take_along_axis(affinity.weight, codes, axis=1).T.astype(np.float64)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    penalty = 2 * (rows**2).sum(0).mean() * np.eye(rows.shape[1] - 1)
    expected = affinity.of(codes)
    for j in range(rows.shape[1]):
        others = np.delete(rows, j, axis=1)
        slope = np.linalg.solve(others.T @ others + penalty, others.T @ rows[:, j])
        np.testing.assert_allclose(expected[:, j], others @ slope, atol=1e-5)


def test_affinity_is_learned_from_codes_as_the_model_reads_them(
    store: CodeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ensemble, "LEAST_CATEGORIES", CATEGORIES)
    pool = pool_of(store, tastes(store), np.arange(0, 400, 4, dtype=np.int32))
    only = Ensemble(trees=False, linear=False, tastes=False)
    _, each = ensemble.score(pool, only, rng=derive(0, "g"))
    assert set(each) == {"affinity"}
    hidden = np.setdiff1d(np.arange(400), pool.seeds)
    assert np.median(each["affinity"][hidden]) > 0.8
    whole = np.array([f.code == 0 for f in store.book], bool)  # no category may be read
    account = pool_of(store, tastes(store), pool.seeds, allowed=whole)
    assert set(ensemble.score(account, only, rng=derive(0, "g"))[1]) == {"trees"}


def test_nearness_leaves_out_the_one_it_scores() -> None:
    rng = derive(4, "near")
    items = (rng.random((60, 30)) < 0.2) * rng.random((60, 30))
    items[5] = 0  # took nothing
    items /= np.maximum(np.linalg.norm(items, axis=1, keepdims=True), 1e-12)
    is_seed = np.arange(60) < 15
    learned, weight = np.arange(0, 15, 2, dtype=np.int32), rng.random(8) + 0.5
    found = nearness(sp.csr_array(items), is_seed, learned, weight)
    for user in range(60):
        mine, others = learned != user, ~is_seed & (np.arange(60) != user)
        seeds = np.average(items[learned[mine]], axis=0, weights=weight[mine])
        assert found[user] == pytest.approx(items[user] @ (seeds - items[others].mean(0)), abs=1e-6)
    assert found[5] == 0


def test_items_count_where_they_are_at_hand(store: CodeStore) -> None:
    seeds = np.arange(0, 400, 4, dtype=np.int32)
    taken = sp.csr_array(np.eye(2, dtype=np.float32)[(np.arange(N) >= 400).astype(int)])
    pool = pool_of(store, tastes(store), seeds)
    everybody = Population(codes=store, seeds=seeds, taste=pool.taste, items=taken)
    config = Ensemble(trees=False, linear=False, taste_repeats=1)
    each = ensemble.score(pool, config, rng=derive(0, "h"), population=everybody)[1]
    assert each["items"][:400].min() > each["items"][400:].max()


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
    quick = Ensemble(tree_bags=1, short_folds=2, linear_repeats=1, taste_repeats=1, affinity_repeats=1)
    alone = Ensemble(tree_bags=1, trees=False, tastes=False, affinity=False)
    few = pool_of(store, tastes(store), np.arange(0, 400, 16, dtype=np.int32))
    assert set(ensemble.score(few, alone, rng=derive(0, "e"))[1]) == {"trees"}  # 25 seeds: never linear alone
    each = ensemble.score(few, quick, rng=derive(0, "e"))[1]
    assert set(each) == {"trees", "linear", "taste"}  # 12 categories are too few for affinity
    monkeypatch.setattr(ensemble, "LEAST_CATEGORIES", CATEGORIES)
    each = ensemble.score(few, quick, rng=derive(0, "e"))[1]
    assert set(each) == {"trees", "linear", "taste", "affinity"}
    counted: list[int] = []
    fit = ensemble.cross_fit

    def counting(*given: Any, **settings: Any) -> Any:
        counted.append(settings["folds"] * settings["repeats"])
        return fit(*given, **settings)

    monkeypatch.setattr(ensemble, "cross_fit", counting)
    for limit in (1000, 10):
        monkeypatch.setattr(ensemble, "SHORT", limit)
        ensemble.score(few, quick, rng=derive(0, "e"))
    assert counted == [2, 2, 2, 2, 2, 5, 5, 5]


def test_a_learner_counts_by_the_square_of_its_edge_over_chance(store: CodeStore) -> None:
    pool = pool_of(store, tastes(store), np.arange(0, 400, 4, dtype=np.int32))
    config = Ensemble(tree_bags=1, linear=False, taste_repeats=1)
    mean, each = ensemble.score(pool, config, rng=derive(0, "i"))
    edges = {name: auc(ranks, pool.is_seed).value - 0.5 for name, ranks in each.items()}
    assert set(edges) == {"trees", "taste"}
    assert min(edges.values()) > 0.1
    total = sum(edge**2 for edge in edges.values())
    by_hand = sum(edges[name] ** 2 * each[name] for name in each) / total
    np.testing.assert_allclose(mean, by_hand, rtol=1e-9)


def test_a_learner_without_an_edge_hardly_counts(store: CodeStore) -> None:
    seeds = np.arange(0, 400, 4, dtype=np.int32)
    noise = derive(5, "noise").normal(size=(N, 3)).astype(np.float32)
    pool = pool_of(store, noise, seeds, allowed=np.array([f.code > 0 for f in store.book], bool))
    mean, each = ensemble.score(pool, Ensemble(tree_bags=1, taste_repeats=1), rng=derive(0, "j"))
    rest = np.setdiff1d(np.arange(N), seeds)
    hidden = rest < 400
    assert auc(each["taste"][rest], hidden).value < 0.6
    best = max(auc(each[name][rest], hidden).value for name in ("trees", "linear"))
    assert auc(mean[rest], hidden).value > best - 0.01


def test_repeats_make_a_short_lists_ranking_depend_less_on_chance(store: CodeStore) -> None:
    pool = pool_of(store, tastes(store), np.arange(0, 400, 16, dtype=np.int32))

    def agreement(repeats: int) -> float:
        config = Ensemble(trees=False, linear=False, affinity=False, taste_repeats=repeats)
        one, other = (ensemble.score(pool, config, rng=derive(0, name))[0] for name in ("f", "g"))
        return float(np.corrcoef(one, other)[0, 1])

    assert 1 - agreement(8) < (1 - agreement(1)) / 3
