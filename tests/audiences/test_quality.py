"""Quality measures against slow definitions, and intervals that hold what they promise."""

from itertools import pairwise

import numpy as np
import pytest

from penchant.audiences.audit import stability_index
from penchant.audiences.explain import single_feature_auc
from penchant.audiences.quality import auc, auc_within, difference, quintiles, reach, wilson
from penchant.features.codes import code_features
from penchant.features.matrix import FeatureName, Features
from penchant.kernel.ids import Vocab


def slow_auc(score: np.ndarray, positive: np.ndarray) -> float:
    pairs = [(a > b) + (a == b) / 2 for a in score[positive] for b in score[~positive]]
    return float(np.mean(pairs))


@pytest.mark.parametrize("seed", range(4))
def test_auc_is_its_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    score, positive = rng.integers(0, 9, 60).astype(float), rng.random(60) < 0.3
    assert auc(score, positive).value == pytest.approx(slow_auc(score, positive))
    assert auc(score, np.zeros(60, bool)).value == 0.5


def test_the_interval_of_an_auc_covers() -> None:
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(400):
        found = auc(np.concatenate([rng.normal(1, 1, 60), rng.normal(0, 1, 400)]), np.arange(460) < 60)
        inside += found.low <= 0.7602 <= found.high  # P(N(1,1) > N(0,1)) = Phi(1 / sqrt 2)
    assert 0.92 <= inside / 400 <= 0.98


def test_within_spend_nothing_is_left_of_a_score_that_is_spend() -> None:
    rng = np.random.default_rng(1)
    spend = rng.gamma(1.0, 100.0, 5000)
    positive = rng.random(5000) < spend / spend.max()
    assert auc(spend, positive).value > 0.7
    assert auc_within(spend, positive, quintiles(spend)).value < auc(spend, positive).value - 0.1
    noise = rng.random(5000)
    assert auc_within(noise, positive, quintiles(spend)).value == pytest.approx(0.5, abs=0.05)
    assert np.bincount(quintiles(spend)).tolist() == [1000] * 5


def test_reach_counts_the_held_out_seeds() -> None:
    score = np.concatenate([np.linspace(0.9, 1.0, 50), np.linspace(0, 0.5, 50), np.linspace(0, 0.8, 1000)])
    positive = np.arange(1100) < 100
    points = reach(score, positive)
    tenth = next(p for p in points if p.share == 0.10)
    assert tenth.people == 100
    assert tenth.recall.value == pytest.approx(0.5)
    assert tenth.lift.value == pytest.approx(5.0)
    assert tenth.recall.low < 0.5 < tenth.recall.high
    assert all(a.recall.value <= b.recall.value for a, b in pairwise(points))
    assert all(a.similarity >= b.similarity for a, b in pairwise(points))


def test_intervals_of_shares() -> None:
    assert (wilson(0, 10).low, wilson(10, 10).high) == (0, pytest.approx(1))
    assert (round(wilson(81, 263).low, 3), round(wilson(81, 263).high, 3)) == (0.255, 0.366)  # Newcombe 1998
    gap, p_value = difference(56, 70, 48, 80)  # Newcombe 1998, example a
    assert gap.value == pytest.approx(0.2)
    assert (round(gap.low, 4), round(gap.high, 4)) == (0.0524, 0.3339)
    assert p_value < 0.01


def test_stability_index() -> None:
    rng = np.random.default_rng(2)
    values = rng.random(20_000).astype(np.float32)
    edges = np.linspace(0, 1, 11).tolist()
    even = [0.1] * 10 + [0.0]
    assert stability_index(values, edges, even) < 0.01
    assert stability_index(np.sqrt(values), edges, even) > 0.25
    lost = np.where(np.arange(20_000) % 2, values, np.nan)
    assert stability_index(lost, edges, even) > 0.25


def test_one_feature_alone() -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(size=(3, 2000)).astype(np.float32)
    seeds = np.flatnonzero(np.abs(values[1]) < 0.1).astype(np.int32)  # a filter on a middle range
    book = tuple(FeatureName(name=f"f{j}", symbol=f"f{j}") for j in range(3))
    store = code_features(
        Features(users=Vocab.of([f"u{i:04d}" for i in range(2000)]), book=book, values=values)
    )
    found = single_feature_auc(store, seeds)
    assert found.argmax() == 1
    assert found[1] > 0.97
    assert max(found[0], found[2]) < 0.75
