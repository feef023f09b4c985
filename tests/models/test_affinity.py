"""Segments on a board where it is known who wants what."""

import numpy as np
import pytest

from penchant.data.interactions import Interactions
from penchant.kernel.progress import Silent
from penchant.kernel.seeds import derive
from penchant.models.affinity import Affinity, repeat_odds
from penchant.models.ials import Ials, IalsModel
from penchant.testing.data import checkerboard

N = 24


@pytest.fixture(scope="module")
def affinity() -> Affinity:
    snapshot = checkerboard(N)
    model = Ials(factors=8, epochs=8).train(snapshot, rng=derive(1, "x"), progress=Silent())
    assert isinstance(model, IalsModel)
    return Affinity.of(model, snapshot.interactions)


def rows(*items: int) -> np.ndarray:
    return np.array(items, np.int32)


def test_the_users_of_an_item_are_those_of_its_colour(affinity: Affinity) -> None:
    found = affinity.segment(rows(4), N // 2)
    assert set(found.items.tolist()) == set(range(0, N, 2))
    assert (np.diff(found.scores) <= 0).all()


def test_a_set_of_items_is_the_mean_of_its_items(affinity: Affinity) -> None:
    whole = affinity.segment(rows(1, 3, 5), N)
    by_user = np.zeros(N)
    for item in (1, 3, 5):
        one = affinity.segment(rows(item), N)
        by_user[one.items] += one.scores / 3
    np.testing.assert_allclose(whole.scores, by_user[whole.items], atol=1e-5)
    assert set(whole.items[: N // 2].tolist()) == set(range(1, N, 2))


def test_who_is_left_out_is_left_out_and_unknown_items_find_nobody(affinity: Affinity) -> None:
    without = rows(0, 2, 4)
    found = affinity.segment(rows(6), N, without=without)
    assert not np.isin(found.items, without).any()
    assert len(found.items) == N - 3
    assert len(affinity.segment(rows(), 5).items) == 0


def test_repeats_count_where_there_are_repeats() -> None:
    def history(pairs: list[tuple[int, int]]) -> Interactions:
        return Interactions.of(
            user=[u for u, _ in pairs], item=[i for _, i in pairs], timestamp=range(len(pairs))
        )

    new = [(u, i) for u in range(10) for i in range(10)]
    assert repeat_odds(history(new)) == 0.0
    assert repeat_odds(history([*new[:90], *new[:5], *new[95:]])) == pytest.approx(1.0)  # half of ten
    assert repeat_odds(history(new * 2)) == 3.0
    assert repeat_odds(history([])) == 0.0
