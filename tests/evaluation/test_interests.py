"""Interests judged day by day: what is counted, and the paper's main order where interests are disjoint."""

import numpy as np
import pytest

from penchant.data.interactions import Interactions
from penchant.evaluation.interests import day_by_day, representations
from penchant.kernel.clock import DAY
from penchant.kernel.seeds import derive
from penchant.models.prod2vec import unit


def topic_world(seed: int, users: int = 20) -> tuple[Interactions, np.ndarray]:
    """300 small topics close together; a user has three at a time that have nothing to do with each other."""
    rng = np.random.default_rng(seed)
    centres = unit(rng.normal(size=(300, 8)).astype(np.float32))
    shaken = np.repeat(centres, 10, axis=0) + rng.normal(size=(3000, 8)) * 0.4 / np.sqrt(8)
    rows: list[tuple[int, int, float]] = []
    for user in range(users):
        topics = rng.choice(300, 4, replace=False)
        for day in range(95):
            # What interested at first is over after five weeks.
            alive = topics[:1] if day < 35 else topics[1:]
            for _ in range(rng.poisson(2)):
                topic = int(alive[int(rng.choice(3, p=[0.4, 0.35, 0.25])) % len(alive)])
                rows.append((user, topic * 10 + int(rng.integers(10)), DAY * (day + rng.random())))
    user, item, time = zip(*rows, strict=True)
    return Interactions.of(user=user, item=item, timestamp=time), np.asarray(unit(shaken.astype(np.float32)))


def test_many_interests_beat_one_vector_where_interests_are_disjoint() -> None:
    events, vectors = topic_world(1)
    found = day_by_day(
        events, vectors, representations(1.5), start=90 * DAY, days=5, rng=derive(1), candidates=60
    )
    relevance = {name: one["relevance"] for name, one in found.items()}
    assert relevance["last action"] < relevance["decayed mean"] < relevance["ward"]
    assert relevance["mean"] < relevance["decayed mean"]
    assert relevance["ward, decay 0"] < relevance["ward"]
    many = [name for name in found if name.startswith(("ward", "k-means", "complete"))]
    assert min(found[name]["recall"] for name in many) > found["decayed mean"]["recall"] + 0.1


def test_relevance_and_recall_are_parts_of_the_days_actions() -> None:
    # Four items: 0 and 1 alike, 2 and 3 alone. The user took 0; the day brings 0, 1 and 2.
    vectors = unit(np.array([[1, 0, 0], [1, 0.1, 0], [0, 1, 0], [0, 0, 1]], np.float32))
    events = Interactions.of(user=[0] * 4, item=[0, 0, 1, 2], timestamp=DAY * np.array([1.0, 5.1, 5.2, 5.3]))
    found = day_by_day(
        events, vectors, representations(1.0), start=5 * DAY, days=1, rng=derive(1), candidates=1
    )
    for one in found.values():
        assert one == {"relevance": pytest.approx(2 / 3), "recall": pytest.approx(1 / 3)}


def test_what_came_before_the_window_and_after_the_day_is_left_out() -> None:
    vectors = unit(np.eye(3, dtype=np.float32))
    events = Interactions.of(user=[0] * 3, item=[0, 1, 2], timestamp=DAY * np.array([1.0, 99.5, 101.5]))
    found = day_by_day(
        events, vectors, representations(1.0), start=100 * DAY, days=2, rng=derive(1), candidates=1
    )
    assert found["last action"] == {"relevance": 0.0, "recall": 0.0}
    nothing = day_by_day(events, vectors, representations(1.0), start=300 * DAY, days=1, rng=derive(1))
    assert nothing["ward"] == {"relevance": 0.0, "recall": 0.0}
