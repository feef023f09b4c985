"""Recent: against its equation written out in loops, and that the last item matters most."""

import numpy as np
import pytest

from penchant.data.interactions import Interactions
from penchant.kernel.progress import Silent
from penchant.kernel.seeds import derive
from penchant.models.base import Query
from penchant.models.recent import Recent, RecentModel, places
from penchant.testing.contracts import PersonalContract, SimilarContract
from penchant.testing.data import random_snapshot, snapshot_of


class TestRecent(PersonalContract, SimilarContract):
    recipe = Recent(regularization=2.0)
    model_type = RecentModel


class TestRecentSparse(PersonalContract, SimilarContract):
    recipe = Recent(regularization=2.0, form="sparse", markov=0.1)
    model_type = RecentModel


def test_scores_are_those_of_the_equation() -> None:
    recipe = Recent(
        regularization=3.0, form="items", window=3, step=0.5, smoothing=2.0, decay=0.8, markov=0.7
    )
    snapshot = random_snapshot(6, n_users=40, n_items=30, n=500)
    model = recipe.train(snapshot, rng=derive(0), progress=Silent())
    c = np.zeros((30, 30))
    histories = [snapshot.history(u).item.tolist() for u in range(40)]
    for taken in histories:
        for p, j in enumerate(taken):
            for gap in range(1, 4):
                if p - gap >= 0 and taken[p - gap] != j:
                    c[taken[p - gap], j] += 0.5 ** (gap - 1)
    t = c / (c.sum(axis=1, keepdims=True) + 2.0)
    b = np.stack([model.ease.score(_only(i), np.arange(30, dtype=np.int32)) for i in range(30)])
    for u, taken in enumerate(histories):
        order = list(dict.fromkeys(reversed(taken)))
        expected = np.zeros(30)
        for r, i in enumerate(order):
            expected += 0.8**r * b[i] + (0.7 * 0.5**r * t[i] if r < 3 else 0)
        got = model.score(Query(user=u), np.arange(30, dtype=np.int32))
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def _only(item: int) -> Query:
    return Query(history=Interactions.of(user=[0], item=[item], timestamp=[1.0]), now=1.0)


def test_what_was_taken_together_shares_its_place() -> None:
    events = Interactions.of(user=[0, 0, 0, 0, 1], item=[4, 2, 3, 4, 2], timestamp=[1, 2, 2, 3, 9])
    user, item, after = places(events, 5)
    assert list(zip(user.tolist(), item.tolist(), after.tolist(), strict=True)) == [
        (0, 4, 0),
        (0, 2, 1),
        (0, 3, 1),
        (1, 2, 0),
    ]
    assert [len(part) for part in places(Interactions.none(), 5)] == [0, 0, 0]


def test_the_last_item_decides_what_is_next() -> None:
    """After 0 comes 1, after 2 comes 3; all four are otherwise taken alike."""
    triples = [(u, (0, 1, 2, 3)[p], float(p)) for u in range(20) for p in range(4)]
    triples += [(u, (2, 3, 0, 1)[p], float(p)) for u in range(20, 40) for p in range(4)]
    snapshot = snapshot_of(triples)
    model = Recent(window=1, smoothing=1.0, markov=2.0).train(snapshot, rng=derive(0), progress=Silent())
    for last, following in ((0, 1), (2, 3)):
        assert model.top(_only(last), 1, exclude=np.array([last], np.int32)).items.tolist() == [following]


@pytest.mark.parametrize(
    ("field", "value"),
    [("decay", 0.0), ("decay", 1.1), ("step", 1.1), ("markov", -1.0), ("window", 0), ("smoothing", 0.0)],
)
def test_a_wrong_value_is_refused_by_its_name(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=field):
        Recent(**{field: value})  # pyright: ignore[reportArgumentType]  wrong on purpose
