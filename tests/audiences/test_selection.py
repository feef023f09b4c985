"""Feature selection: silent on random seed lists, and finds what was planted."""

import numpy as np
import pytest

from penchant.audiences.selection import Selection, prune, scan
from penchant.features.codes import CodeStore, code_features
from penchant.features.matrix import FeatureName, Features
from penchant.kernel.ids import Vocab
from penchant.kernel.seeds import derive

N, D = 900, 60


def population(seed: int = 0) -> Features:
    """Customers of a few tastes: correlated, sparse, skewed features as purchases have them."""
    rng = derive(seed, "population")
    taste = rng.gamma(0.5, 1.0, (N, 6))
    rate = taste @ rng.gamma(0.3, 1.0, (6, D))
    values = rng.poisson(rate).T.astype(np.float32)
    values[values == 0] = np.nan
    book = tuple(FeatureName(name=f"cto{j:03d}", symbol="cto", code=j) for j in range(D))
    return Features(users=Vocab.of([f"u{i:05d}" for i in range(N)]), book=book, values=values)


@pytest.fixture(scope="module")
def store() -> CodeStore:
    return code_features(population())


@pytest.mark.slow
def test_random_seeds_are_refused_and_select_nothing(store: CodeStore) -> None:
    refused: list[bool] = []
    share: list[float] = []
    for draw in range(200):
        rng = derive(1, "null", draw)
        size = (30, 50, 100, 300)[draw % 4]
        seeds = rng.choice(N, size, replace=False).astype(np.int32)
        signal = scan(store, seeds, Selection(), sample=store, rng=rng)
        refused.append(signal.refused)
        share.append(len(signal.chosen) / D)
    assert np.mean(refused) >= 0.95
    assert np.mean(share) <= 0.05


def test_planted_features_are_found_in_order_of_strength(store: CodeStore) -> None:
    rng = derive(2, "planted")
    codes = store.codes.astype(int)
    often = np.argsort(-(store.codes > 0).sum(1))
    column = int(often[5])
    buyers = np.flatnonzero(codes[column] > 1)
    seeds = rng.choice(buyers, 60, replace=False).astype(np.int32)
    signal = scan(store, np.sort(seeds), Selection(), sample=store, rng=rng)
    assert not signal.refused
    assert signal.chosen[0] == column
    assert (np.diff(signal.strength[signal.chosen]) <= 0).all()
    hidden = np.ones(D, bool)
    hidden[column] = False
    found = scan(store, np.sort(seeds), Selection(), sample=store, rng=rng, allowed=hidden)
    assert column not in found.chosen


def test_sparse_features_lack_support(store: CodeStore) -> None:
    rng = derive(3, "support")
    values = np.full((2, N), np.nan, np.float32)
    values[0, :3] = 1  # three users ever
    values[1, ::2] = 1
    book = store.book[:2]
    sparse = code_features(
        Features(users=Vocab.of([f"u{i:05d}" for i in range(N)]), book=book, values=values)
    )
    signal = scan(sparse, np.arange(0, 60, dtype=np.int32), Selection(), sample=sparse, rng=rng)
    assert signal.supported.tolist() == [False, True]
    assert signal.p_value[0] == 1


def test_of_two_alike_the_stronger_stays() -> None:
    values = np.random.default_rng(0).normal(size=(3, N)).astype(np.float32)
    values[1] = values[0] * 2
    codes = code_features(
        Features(users=Vocab.of([f"u{i:05d}" for i in range(N)]), book=population().book[:3], values=values)
    ).codes
    assert prune(codes, np.array([1, 2, 0], np.int32), 0.95).tolist() == [1, 2]


def test_the_same_seed_gives_the_same_signal(store: CodeStore) -> None:
    seeds = np.arange(40, dtype=np.int32)
    first = scan(store, seeds, Selection(), sample=store, rng=derive(4, "a"))
    second = scan(store, seeds, Selection(), sample=store, rng=derive(4, "a"))
    assert np.array_equal(first.p_value, second.p_value)
    assert first.p_overall == second.p_overall
