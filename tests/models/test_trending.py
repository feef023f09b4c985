"""Trending: growth between windows, with little evidence held back."""

import msgspec
import numpy as np
import pytest

from penchant.data.interactions import Interactions
from penchant.data.snapshot import Snapshot
from penchant.kernel.clock import DAY, HOUR, MINUTE
from penchant.kernel.progress import Silent
from penchant.kernel.seeds import derive
from penchant.models.base import Query
from penchant.models.trending import Trending, TrendingModel, prior_shape
from penchant.testing.contracts import OnlineContract, RetrieverContract
from penchant.testing.data import snapshot_of

NOW = 1_000 * DAY


class TestTrending(RetrieverContract, OnlineContract):
    recipe = Trending()
    model_type = TrendingModel


class TestTrendingByTheHour(RetrieverContract, OnlineContract):
    recipe = Trending(discovery_frequency="1h", event_types=("click",))
    model_type = TrendingModel


def train(recipe: Trending, snapshot: Snapshot) -> TrendingModel:
    return recipe.train(snapshot, rng=derive(0), progress=Silent())


def windows(counts: list[tuple[int, int]], window: float = HOUR) -> Snapshot:
    """Return items with (before, current) events, ending at NOW."""
    triples = [(0, 0, NOW)]
    for item, (before, current) in enumerate(counts):
        triples += [(1, item, NOW - 2 * window + (e + 1) * window / (before + 2)) for e in range(before)]
        triples += [(1, item, NOW - window + (e + 1) * window / (current + 2)) for e in range(current)]
    return snapshot_of(triples, n_items=len(counts))


def test_two_clicks_after_none_do_not_beat_two_thousand_after_one_thousand() -> None:
    steady = [(100, 100)] * 20
    model = train(Trending(discovery_frequency="1h"), windows([*steady, (0, 2), (1000, 2000), (50, 500)]))
    got = model.top(Query(now=NOW), 3)
    assert got.items[:2].tolist() == [22, 21]
    scores = model.score(Query(now=NOW), np.array([20, 21, 22, 0], np.int32))
    assert scores[0] < scores[1] < scores[2]
    assert scores[3] < scores[1]


@pytest.mark.parametrize("others", [[], [(0, 3)] * 50, [(3, 0)] * 50, [(0, 40), (40, 0)] * 30])
def test_the_guard_holds_whatever_the_other_items_do(others: list[tuple[int, int]]) -> None:
    model = train(Trending(discovery_frequency="1h"), windows([(0, 2), (1000, 2000), *others]))
    few, many = model.score(Query(now=NOW), np.array([0, 1], np.int32))
    assert few < many


def test_the_prior_is_as_strong_as_the_items_are_alike() -> None:
    rng = np.random.default_rng(0)
    n = rng.integers(5, 200, 5000)
    for shape in (5.0, 20.0, 100.0):
        current = rng.binomial(n, rng.beta(shape, shape, 5000)).astype(np.float64)
        assert prior_shape(n - current, current) == pytest.approx(shape, rel=0.15)
    alike = rng.binomial(n, 0.5).astype(np.float64)
    assert prior_shape(n - alike, alike) > 500
    assert prior_shape(np.zeros(3), np.array([9.0, 9.0, 9.0])) == 4


def test_counts_are_those_of_a_plain_loop() -> None:
    rng = np.random.default_rng(3)
    items, times = rng.integers(0, 9, 400).tolist(), rng.uniform(NOW - 3 * DAY, NOW, 400).tolist()
    triples = [(0, i, t) for i, t in zip(items, times, strict=True)]
    model = train(Trending(), snapshot_of([*triples, (0, 0, NOW)], n_items=9))
    triples.append((0, 0, NOW))
    before = np.array(
        [sum(i == j and NOW - 2 * DAY < t <= NOW - DAY for _, i, t in triples) for j in range(9)]
    )
    current = np.array([sum(i == j and NOW - DAY < t <= NOW for _, i, t in triples) for j in range(9)])
    shape = prior_shape(before.astype(float), current.astype(float))
    expected = (current + shape) / (before + shape)
    np.testing.assert_allclose(model.score(Query(now=NOW), np.arange(9, dtype=np.int32)), expected, rtol=1e-6)


def clicks(item: int, n: int, start: float, end: float) -> Interactions:
    return Interactions.of(user=[-1] * n, item=[item] * n, timestamp=np.linspace(start, end, n))


def test_the_window_moves_with_time() -> None:
    model = train(Trending(discovery_frequency="30m"), windows([(20, 20)] * 5, 30 * MINUTE))
    later = NOW + 40 * MINUTE
    model = model.fold(clicks(3, 60, NOW + 15 * MINUTE, later - 1))
    assert model.top(Query(now=later), 1).items.tolist() == [3]
    assert model.top(Query(now=later), 9).items.tolist() == [3]  # nobody takes the others now
    model = model.fold(clicks(2, 61, later, later + 25 * MINUTE))
    assert model.top(Query(now=later + 29 * MINUTE), 2).items.tolist() == [2, 3]
    assert (model.timestamp > model.until[0] - 60 * MINUTE).all()


def test_windows_end_at_the_last_event_when_the_data_stopped_long_ago() -> None:
    model = train(Trending(), windows([(10, 10), (10, 40)], DAY))
    assert model.top(Query(now=NOW + 1000 * DAY), 1).items.tolist() == [1]
    assert model.top(Query(), 1).items.tolist() == [1]


def test_an_item_nobody_takes_now_is_not_trending() -> None:
    model = train(Trending(), windows([(10, 10), (10, 0), (0, 0)], DAY))
    assert model.top(Query(now=NOW), 9).items.tolist() == [0]
    assert np.isnan(model.score(Query(now=NOW), np.array([1, 2], np.int32))).all()


def test_a_wrong_frequency_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="discovery_frequency"):
        msgspec.toml.decode('discovery_frequency = "2h"', type=Trending)
