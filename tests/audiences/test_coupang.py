"""The published method: divergences against a slow oracle, golden weights, distances, the critical error."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from penchant.audiences.coupang import Coupang, TopFeatures, distances, divergences, score, select
from penchant.audiences.divergence import histogram, jensen_shannon, value_range, weights
from penchant.features.matrix import FeatureName, Features
from penchant.kernel.errors import InputError
from penchant.kernel.ids import Vocab

COUNTS = arrays(np.int64, (6,), elements=st.integers(0, 50))


def slow_js(p: list[float], q: list[float]) -> float:
    """Jensen-Shannon by its definition: the mean KL divergence to the middle, in bits."""
    p, q = [x / sum(p) for x in p], [x / sum(q) for x in q]
    total = 0.0
    for a, b in zip(p, q, strict=True):
        middle = (a + b) / 2
        total += (a * math.log2(a / middle) if a else 0) + (b * math.log2(b / middle) if b else 0)
    return total / 2


def slow_histogram(values: np.ndarray, low: float, high: float, bins: int) -> list[int]:
    counts = [0] * (bins + 1)
    for value in values:
        if math.isnan(value):
            counts[bins] += 1
        elif high == low:
            counts[0] += 1
        else:
            counts[min(int((value - low) / (high - low) * bins), bins - 1)] += 1
    return counts


@given(COUNTS, COUNTS)
def test_divergence_is_the_definition_and_stays_in_range(p: np.ndarray, q: np.ndarray) -> None:
    found = float(jensen_shannon(p, q))
    assert 0 <= found <= 1
    assert found == float(jensen_shannon(q, p))
    if p.sum() and q.sum():
        assert found == pytest.approx(slow_js(p.tolist(), q.tolist()), abs=1e-12)


def test_divergence_at_its_ends() -> None:
    assert jensen_shannon(np.array([5, 0]), np.array([0, 9])) == 1
    assert jensen_shannon(np.array([5, 5]), np.array([9, 9])) == 0
    assert jensen_shannon(np.array([0, 0]), np.array([0, 9])) == 1
    assert jensen_shannon(np.array([0, 0]), np.array([0, 0])) == 0


@pytest.mark.parametrize("seed", range(5))
def test_histogram_equals_the_slow_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 64, 500).astype(np.float32) / 64  # exact in binary: no rounding to argue about
    values[rng.random(500) < 0.3] = np.nan
    low, high = value_range(values)
    assert (low, high) == (np.nanmin(values), np.nanmax(values))
    assert histogram(values, low, high, 8).tolist() == slow_histogram(values, low, high, 8)
    assert histogram(np.full(4, np.nan, np.float32), 0, 0, 3).tolist() == [0, 0, 0, 4]
    assert histogram(np.ones(4, np.float32), 1, 1, 3).tolist() == [4, 0, 0, 0]


def some_features(seed: int = 0, n: int = 400, d: int = 12) -> Features:
    rng = np.random.default_rng(seed)
    values = rng.gamma(2.0, 1.0, (d, n)).astype(np.float32)
    values[rng.random((d, n)) < 0.4] = np.nan
    values[:3, :40] = np.abs(rng.normal(6, 0.5, (3, 40)))  # users 0..39 differ in three features
    book = tuple(FeatureName(name=f"cto{j:03d}", symbol="cto", code=j) for j in range(d))
    return Features(users=Vocab.of([f"u{i:04d}" for i in range(n)]), book=book, values=values)


def test_divergences_equal_the_slow_oracle() -> None:
    features = some_features()
    seeds, everyone = np.arange(0, 40, 2, dtype=np.int32), np.arange(400, dtype=np.int32)
    found = divergences(features, seeds, everyone, bins=30)
    for j in range(len(features)):
        column = features.values[j].astype(np.float64)
        low, high = np.nanmin(column), np.nanmax(column)
        slow = slow_js(
            [float(c) for c in slow_histogram(column[seeds], low, high, 30)],
            [float(c) for c in slow_histogram(column, low, high, 30)],
        )
        assert found[j] == pytest.approx(slow, abs=1e-6)
    assert set(np.argsort(-found)[:3].tolist()) == {0, 1, 2}
    assert ((found >= 0) & (found <= 1)).all()


JS = np.array([0.4213, 0.2507, 0.1991, 0.0874, 0.0500])


@pytest.mark.parametrize(
    ("focus", "expected"),
    [
        (1.0, [0.4177491, 0.2485871, 0.1974219, 0.0866634, 0.0495786]),
        (4.0, [0.8493893, 0.1065021, 0.0423668, 0.0015732, 0.0001685]),
    ],
)
def test_golden_weights(focus: float, expected: list[float]) -> None:
    by_hand = [js**focus / sum(float(j) ** focus for j in JS) for js in JS.tolist()]
    assert weights(JS, focus) == pytest.approx(by_hand, abs=1e-6)
    assert weights(JS, focus) == pytest.approx(expected, abs=1e-6)


def test_selection_keeps_the_threshold_the_number_and_the_order() -> None:
    divergence = np.array([0.01, 0.2, 0.05, 0.2, 0.0499])
    top = select(divergence, Coupang(max_features=3))
    assert top.columns.tolist() == [1, 3, 2]
    assert top.weight.sum() == pytest.approx(1)
    assert select(divergence, Coupang(max_features=1)).columns.tolist() == [1]


def test_nothing_diverges_is_critical_and_says_what_to_do() -> None:
    with pytest.raises(InputError, match=r"critical: no feature diverges.*0\.0400.*Lower --threshold"):
        select(np.array([0.01, 0.04]), Coupang())
    with pytest.raises(InputError, match="critical"):
        select(np.array([0.0]), Coupang(threshold=0.0))


def slow_distance(features: Features, seeds: list[int], top: TopFeatures, user: int) -> float:
    total = 0.0
    for column, weight in zip(top.columns, top.weight, strict=True):
        values = [0.0 if math.isnan(v) else float(v) for v in features.values[int(column)]]
        mean = sum(values) / len(values)
        spread = math.sqrt(sum((v - mean) ** 2 for v in values) / len(values))
        persona = sum(values[s] for s in seeds) / len(seeds)
        total += weight**2 * ((values[user] - persona) / spread) ** 2
    return math.sqrt(total)


def test_distance_carries_the_squared_weight() -> None:
    features, seeds = some_features(3), list(range(30))
    everyone = np.arange(400, dtype=np.int32)
    result, top = score(features, np.array(seeds, np.int32), everyone, Coupang(max_features=4))
    for user in (0, 17, 399):
        assert -result[user] == pytest.approx(slow_distance(features, seeds, top, user), rel=1e-9)
    assert (np.argsort(-result)[:40] < 40).mean() > 0.8  # those planted like the seeds come first


def test_other_distances() -> None:
    features = some_features(4)
    seeds, everyone = np.arange(30, dtype=np.int32), np.arange(400, dtype=np.int32)
    top = select(divergences(features, seeds, everyone), Coupang(max_features=3))
    cosine = distances(features, seeds, everyone, top, "cosine")
    assert ((cosine >= -1e-9) & (cosine <= 2 + 1e-9)).all()
    whitened = distances(features, seeds, everyone, top, "mahalanobis")
    # Mahalanobis does not depend on the weights: they cancel in the covariance.
    even = TopFeatures(columns=top.columns, divergence=top.divergence, weight=np.full(len(top.weight), 1 / 3))
    assert whitened == pytest.approx(distances(features, seeds, everyone, even, "mahalanobis"), rel=1e-5)


@pytest.mark.parametrize(
    ("field", "value"), [("threshold", 1.5), ("max_features", 0), ("focus", 0.0), ("bins", 1)]
)
def test_wrong_settings_are_named(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=field):
        Coupang(**{field: value})  # pyright: ignore[reportArgumentType]
