"""Popularity counts different users within its window."""

import numpy as np
import pytest

from penchant.data.interactions import Interactions
from penchant.kernel.clock import DAY
from penchant.kernel.progress import Silent
from penchant.kernel.seeds import derive
from penchant.models.base import Query
from penchant.models.popularity import Popularity, PopularityModel
from penchant.testing.contracts import OnlineContract, RetrieverContract
from penchant.testing.data import popularity_ladder, snapshot_of


class TestPopularity(RetrieverContract, OnlineContract):
    recipe = Popularity()
    model_type = PopularityModel


class TestPopularityOfAllTime(RetrieverContract, OnlineContract):
    recipe = Popularity(window="all", event_types=("click",))
    model_type = PopularityModel


def train(recipe: Popularity, snapshot: object) -> PopularityModel:
    return recipe.train(snapshot, rng=derive(0), progress=Silent())


def test_the_ladder() -> None:
    model = train(Popularity(), popularity_ladder(10))
    got = model.top(Query(), 10)
    assert got.items.tolist() == list(range(10))
    assert got.scores.tolist() == [10.0 - i for i in range(10)]


def test_a_user_counts_once_and_only_within_the_window() -> None:
    now = 100 * DAY
    triples = [(0, 0, now), (0, 0, now - 1), (0, 0, now - 2), (1, 1, now - DAY), (2, 1, now - 2 * DAY)]
    triples += [(u, 2, now - 50 * DAY) for u in range(9)]
    snapshot = snapshot_of(triples, n_items=4)
    assert train(Popularity(window="30d"), snapshot).counts.tolist() == [1, 2, 0, 0]
    assert train(Popularity(window="36h"), snapshot).counts.tolist() == [1, 1, 0, 0]
    model = train(Popularity(window="all"), snapshot)
    assert model.counts.tolist() == [1, 2, 9, 0]
    assert model.top(Query(), 9).items.tolist() == [2, 1, 0, 3]


def test_only_the_event_types_named_count() -> None:
    snapshot = popularity_ladder(4)
    assert train(Popularity(event_types=("buy",)), snapshot).counts.sum() == 0
    model = train(Popularity(event_types=("click",)), snapshot)
    more = Interactions.of(
        user=[-1, -1], item=[3, 3], timestamp=[2e6, 2e6], event_type=[0, 1], event_types=("buy", "click")
    )
    assert model.fold(more).counts.tolist() == [4, 3, 2, 2]


def test_folding_counts_a_known_user_once() -> None:
    model = train(Popularity(), popularity_ladder(4))  # user 0 has all items, user 3 only item 0
    events = Interactions.of(user=[0, 3, 3, -1, -1], item=[3, 3, 3, 3, 3], timestamp=[2e6] * 5)
    folded = model.fold(events)
    assert folded.counts.tolist() == [4, 3, 2, 4]  # user 3 once, the unknown twice
    again = folded.fold(Interactions.of(user=[3], item=[3], timestamp=[2e6]))
    assert again.counts.tolist() == [4, 3, 2, 4]
    assert folded.top(Query(), 4).items.tolist() == [0, 3, 1, 2]


def test_deep_requests_reach_past_the_head_of_the_ranking() -> None:
    n = 3000
    snapshot = snapshot_of([(0, 0, 1.0)], n_items=1)
    model = train(Popularity(), snapshot)
    counts = np.random.default_rng(0).integers(0, 50, n).astype(np.float32)
    ranking = type(model.ranking)(counts)
    expected = np.lexsort((np.arange(n), -counts))
    for k in (1, 10, 2000, n, 10 * n):
        assert ranking.top(k).items.tolist() == expected[:k].tolist()
    banned = expected[:1500].astype(np.int32)
    assert ranking.top(5, exclude=banned).items.tolist() == expected[1500:1505].tolist()


@pytest.mark.parametrize("window", ["", "month", "-3d", "0d", "3 d"])
def test_a_wrong_window_is_refused_by_name(window: str) -> None:
    with pytest.raises(ValueError, match="window"):
        Popularity(window=window)
