"""What is predicted for a pivot follows what the pivot does, and speaks for its persona alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from penchant.data.interactions import Interactions
from penchant.data.snapshot import Snapshot, build_snapshot
from penchant.kernel.clock import DAY
from penchant.kernel.progress import Silent
from penchant.kernel.seeds import derive
from penchant.models.base import Online
from penchant.models.lookalike import Lookalike
from penchant.models.lookalike_model import LookalikeModel
from penchant.models.lookalike_pivots import PivotModel, Pivots
from penchant.models.store import open_model, save_model

N, DAYS = 60, 8  # users of two colours; each takes one of the colour's eight items a day


def shop() -> Snapshot:
    rng = np.random.default_rng(1)
    rows = [
        (f"u{u:02}", f"{'red' if u % 2 else 'blue'}{rng.integers(8)}", day * DAY + u)
        for u in range(N)
        for day in range(DAYS)
    ]
    users, items, times = zip(*rows, strict=True)
    people = pa.table(
        {"user_id": [f"u{u:02}" for u in range(N)], "colour": ["red" if u % 2 else "blue" for u in range(N)]}
    )
    return build_snapshot(pa.table({"user_id": users, "item_id": items, "timestamp": times}), users=people)


def trained(pivot_model: PivotModel) -> LookalikeModel:
    recipe = Lookalike(
        place="cluster", speaks="pivot", pivot_model=pivot_model, clusters=2, rank=2, factors=4, epochs=4
    )
    return recipe.train(shop(), rng=derive(1), progress=Silent())


def spoken(model: LookalikeModel) -> Pivots:
    assert model.pivots is not None
    return model.pivots


def wanted(model: LookalikeModel) -> np.ndarray:
    """Return what is predicted for each pivot, (k, n_items)."""
    return model.blend.index.by_row()[:, -2:].T


def took(user: int, items: list[int], model: LookalikeModel) -> Interactions:
    times = model.card.cutoff + np.arange(1, len(items) + 1)
    return Interactions.of(user=[user] * len(items), item=items, timestamp=times)


@pytest.mark.parametrize("pivot_model", ["taste", "logistic"])
def test_a_pivots_events_change_its_persona_and_no_other(pivot_model: PivotModel) -> None:
    model = trained(pivot_model)
    assert isinstance(model, Online)
    first = int(spoken(model).users[0])
    history = spoken(model).history
    new = sorted(set(history.item[history.user == 1].tolist()))  # what the other colour's pivot takes
    later = model.fold(took(first, new, model))
    assert later is not model
    before, after = wanted(model), wanted(later)
    assert after[0, new].mean() > before[0, new].mean()
    np.testing.assert_array_equal(after[1], before[1])


@pytest.mark.parametrize("pivot_model", ["taste", "logistic"])
def test_event_by_event_or_at_once_and_from_disk_it_is_the_same(
    pivot_model: PivotModel, tmp_path: Path
) -> None:
    model = trained(pivot_model)
    first, second = spoken(model).users.tolist()
    save_model(model, tmp_path / "m")
    opened = open_model(tmp_path / "m", {"lookalike": LookalikeModel})
    assert isinstance(opened, LookalikeModel)
    events = Interactions.joined(took(first, [0, 3], model), took(second, [9], model))
    at_once = model.fold(events)
    one_by_one = opened
    for i in range(len(events)):
        one_by_one = one_by_one.fold(events.select(slice(i, i + 1)))
    assert wanted(one_by_one).tobytes() == wanted(at_once).tobytes()


@pytest.mark.parametrize("pivot_model", ["taste", "logistic"])
def test_what_was_predicted_at_training_is_what_a_refresh_predicts(pivot_model: PivotModel) -> None:
    """An event of weight nothing would change nothing: so predict again from the same history."""
    model = trained(pivot_model)
    both = np.arange(2, dtype=np.int32)
    np.testing.assert_array_equal(spoken(model).predict(model.taste, both), wanted(model))


def test_events_of_others_change_nothing() -> None:
    model = trained("taste")
    nobody = [u for u in range(-1, N) if u not in spoken(model).users.tolist()]
    assert model.fold(took(-1, [1, 2], model)) is model
    for user in nobody:
        assert model.fold(took(user, [1, 2], model)) is model
    by_mean = Lookalike(place="cluster", clusters=2, rank=2, factors=4, epochs=2)
    means = by_mean.train(shop(), rng=derive(1), progress=Silent())
    assert means.fold(took(0, [1], means)) is means


def test_a_persona_nobody_speaks_for_wants_nothing() -> None:
    model = trained("taste")
    silent = replace(spoken(model), users=np.array([-1, spoken(model).users[1]], np.int32))
    nothing = silent.history.select(silent.history.user == 1)
    alone = replace(silent, history=nothing)
    for kind in ("taste", "logistic"):
        found = replace(alone, model=kind).predict(model.taste, np.arange(2, dtype=np.int32))
        assert not found[0].any()
        assert found[1].any()
    assert alone.after(took(-1, [1], model))[1].tolist() == []
