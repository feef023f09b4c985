"""PinnerSage: the contracts, Ward against scipy, medoids and importance, the interests of a day, sampling."""

from typing import ClassVar

import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage

from penchant.data.interactions import Interactions
from penchant.kernel.clock import DAY
from penchant.kernel.progress import Silent
from penchant.kernel.seeds import derive
from penchant.models.base import Query
from penchant.models.index import ExactIndex
from penchant.models.pinnersage import Interests, PinnerSage, PinnerSageModel
from penchant.models.pinnersage_kernels import medoids, ward
from penchant.models.prod2vec import unit
from penchant.testing.contracts import RetrieverContract, SimilarContract
from penchant.testing.data import random_snapshot


class TestContract(RetrieverContract, SimilarContract):
    recipe: ClassVar = PinnerSage(embedding_config={"factors": 8, "epochs": 6}, limit=0.8)
    model_type: ClassVar = PinnerSageModel


def same_partition(a: np.ndarray, b: np.ndarray) -> bool:
    pairs = set(zip(a.tolist(), b.tolist(), strict=True))
    return len(pairs) == len(set(a.tolist())) == len(set(b.tolist()))


@pytest.mark.parametrize("n", [1, 2, 3, 17, 120])
@pytest.mark.parametrize("limit", [0.3, 1.0, 2.5])
def test_ward_agrees_with_scipy(n: int, limit: float) -> None:
    rng = np.random.default_rng(n)
    points = np.asarray(unit(rng.normal(size=(n, 6)).astype(np.float32)))
    got = ward(points, limit)
    expected = np.ones(1) if n == 1 else fcluster(linkage(points, "ward"), limit, "distance")
    assert same_partition(got, expected)
    assert got[0] == 0
    assert (np.diff(np.maximum.accumulate(got)) <= 1).all()  # numbered by their first point


def test_ward_ends_on_equal_points() -> None:
    points = np.repeat(np.eye(3, dtype=np.float32), 5, axis=0)
    assert ward(points, 0.1).tolist() == [0] * 5 + [1] * 5 + [2] * 5
    assert (ward(np.ones((40, 2), np.float32), 0.0) == 0).all()


def test_the_medoid_has_the_least_squared_distances() -> None:
    rng = np.random.default_rng(2)
    points = rng.normal(size=(30, 4)).astype(np.float32)
    cluster = rng.integers(0, 4, 30).astype(np.int32)
    cluster[:4] = np.arange(4)
    weight = rng.uniform(size=30)
    item, importance = np.zeros(30, np.int32), np.zeros(30)
    assert medoids(points, cluster, weight, item, importance) == 4
    for c in range(4):
        mine = np.flatnonzero(cluster == c)
        squares = ((points[mine, None] - points[None, mine]) ** 2).sum(axis=(1, 2))
        assert item[c] == mine[squares.argmin()]
        assert importance[c] == pytest.approx(weight[mine].sum())


def three_topics() -> ExactIndex:
    """30 items: ten near each axis of a space of three."""
    rng = np.random.default_rng(1)
    centres = np.repeat(np.eye(3), 10, axis=0)
    return ExactIndex.build(unit((centres + rng.normal(size=(30, 3)) * 0.05).astype(np.float32)))


def model_of(index: ExactIndex, interests: Interests, recipe: PinnerSage) -> PinnerSageModel:
    trained = recipe.train(random_snapshot(1, n_items=30), rng=derive(1), progress=Silent())
    return PinnerSageModel(
        card=trained.card, items=trained.items, users=trained.users, index=index, interests=interests
    )


RECIPE = PinnerSage(embedding_config={"factors": 4, "epochs": 1})
NOW = 1e9


def interests(actions: list[tuple[int, int, float]], recipe: PinnerSage = RECIPE, n: int = 2) -> Interests:
    user, item, days_ago = zip(*actions, strict=True)
    events = Interactions.of(user=user, item=item, timestamp=NOW - DAY * np.array(days_ago))
    return recipe.interests_of(events, three_topics(), n, NOW, Silent())


def topics_of(found: tuple[np.ndarray, np.ndarray]) -> list[int]:
    return [int(three_topics().rows[place]) // 10 for place in found[0]]


def test_each_interest_is_a_medoid_the_most_important_first() -> None:
    found = interests([(1, 3, 50), (1, 4, 40), (1, 12, 1), (1, 13, 1), (1, 14, 2), (1, 25, 80)])
    assert topics_of(found.of(1)) == [1, 0, 2]
    expected = [2 * np.exp(-0.01) + np.exp(-0.02), np.exp(-0.5) + np.exp(-0.4), np.exp(-0.8)]
    np.testing.assert_allclose(found.of(1)[1], expected)
    assert len(found.of(0)[0]) == len(found.of(-1)[0]) == 0


def test_only_the_window_and_the_newest_actions_count() -> None:
    assert topics_of(interests([(0, 3, 100), (0, 12, 89)]).of(0)) == [1]
    few = PinnerSage(embedding_config={"factors": 4, "epochs": 1}, most_actions=2)
    assert sorted(topics_of(interests([(0, 3, 9), (0, 12, 8), (0, 22, 7)], few).of(0))) == [1, 2]


def test_new_actions_join_the_nearest_medoid_or_open_a_new_one() -> None:
    recipe = PinnerSage(embedding_config={"factors": 4, "epochs": 1}, limit=0.8, decay=0.0)
    model = model_of(three_topics(), interests([(0, 3, 9), (0, 4, 9)]), recipe)
    now = model.card.cutoff + 100
    history = Interactions.of(user=[0] * 4, item=[5, 14, 15, 16], timestamp=now - np.arange(4)[::-1] - 1)
    places, importance = model.medoids(Query(user=0, history=history, now=now))
    assert topics_of((places, importance)) == [1, 0]
    before = interests([(0, 3, 9), (0, 4, 9)]).of(0)[1][0]
    np.testing.assert_allclose(importance, [3.0, before + 1])
    old = Interactions.of(user=[0], item=[25], timestamp=[model.card.cutoff - 5])
    assert topics_of(model.medoids(Query(user=0, history=old, now=now))) == [0]


def test_a_stranger_is_clustered_from_the_history() -> None:
    model = model_of(three_topics(), interests([(0, 3, 9)]), RECIPE)
    history = Interactions.of(user=[0] * 3, item=[3, 4, 22], timestamp=NOW + np.arange(3))
    assert topics_of(model.medoids(Query(history=history, now=NOW + 9))) == [0, 2]


def test_places_are_shared_by_the_interests() -> None:
    model = model_of(three_topics(), interests([(0, 3, 9), (0, 14, 9), (0, 25, 9)]), RECIPE)
    best = model.top(Query(user=0, now=NOW), 9).items
    assert np.bincount(best // 10, minlength=3).tolist() == [3, 3, 3]


def test_medoids_are_sampled_by_importance_and_stay_for_a_day() -> None:
    recipe = PinnerSage(embedding_config={"factors": 4, "epochs": 1}, interests=1)
    model = model_of(three_topics(), interests([(0, 3, 9), (0, 4, 9), (0, 5, 9), (0, 14, 9)], recipe), recipe)
    days = [
        int(three_topics().rows[model.sampled(Query(user=0, now=DAY * d))[0]]) // 10 for d in range(1, 800)
    ]
    assert 0.7 < np.mean(np.array(days) == 0) < 0.8
    again = model.sampled(Query(user=0, now=DAY * 5 + 1))
    assert again.tolist() == model.sampled(Query(user=0, now=DAY * 5 + DAY - 1)).tolist()


@pytest.mark.parametrize(("field", "value"), [("limit", 0), ("window", "?"), ("embedding_config", {"no": 1})])
def test_wrong_values_are_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        PinnerSage(**{field: value})
