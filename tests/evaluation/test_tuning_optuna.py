"""The optuna search: seeded, counted, bounded; and the spaces name fields that exist."""

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from penchant.evaluation.spaces import SPACES
from penchant.evaluation.tuning import Choice, Range, search
from penchant.evaluation.tuning_optuna import search_optuna
from penchant.kernel.errors import InputError
from penchant.kernel.seeds import derive
from penchant.workspace.catalogue import RECIPES

SPACE = {"x": Range(0.01, 100.0), "kind": Choice(("a", "b"))}


def hill(fields: Mapping[str, Any]) -> float:
    return -abs(fields["x"] - 3.0) - (fields["kind"] == "a")


def test_it_climbs_and_repeats_itself() -> None:
    first = {"x": 50.0, "kind": "a"}
    found = search_optuna(hill, SPACE, trials=30, seed=1, first=[first])
    assert len(found) == 30
    assert found[0].value > -1.5
    assert first in [trial.fields for trial in found]
    assert [trial.value for trial in found] == sorted((t.value for t in found), reverse=True)
    assert all(0.01 <= trial.fields["x"] <= 100 for trial in found)
    assert search_optuna(hill, SPACE, trials=30, seed=1, first=[first]) == found
    assert search_optuna(hill, SPACE, trials=30, seed=2, first=[first]) != found


def test_settings_outside_of_the_range_are_tried_too() -> None:
    found = search_optuna(hill, SPACE, trials=3, seed=1, first=[{"x": 1000.0, "kind": "c"}])
    assert {"x": 1000.0, "kind": "c"} in [trial.fields for trial in found]


def test_the_own_search_goes_on_from_settings_outside_of_the_range() -> None:
    """The defaults may lie outside: 0 where the range is of logarithms, a choice that is none of them."""
    space = {"x": Range(1.0, 100.0), "y": Range(0.0, 1.0, log=False), "kind": Choice((1, 2, 4))}
    first = {"x": 0.0, "y": 3.0, "kind": 3}
    found = search(lambda fields: -float(fields["x"]), space, trials=20, rng=derive(1), first=[first])
    assert found[0].fields == first
    for trial in found[1:]:
        assert trial.fields["x"] == 0 or 1 <= trial.fields["x"] <= 100
        assert 0 <= trial.fields["y"] <= 1 or trial.fields["y"] == 3
        assert trial.fields["kind"] in (1, 2, 3, 4)
    assert len({trial.fields["kind"] for trial in found}) > 2


def test_nothing_to_search_is_refused() -> None:
    with pytest.raises(InputError, match="cannot search 0 fields"):
        search_optuna(hill, {}, trials=3, seed=1)
    with pytest.raises(InputError, match="in 0 trials"):
        search_optuna(hill, SPACE, trials=0, seed=1)


@pytest.mark.parametrize("name", SPACES)
def test_every_value_of_a_space_is_one_the_recipe_takes(name: str) -> None:
    for field, part in SPACES[name].items():
        for value in part.values if isinstance(part, Choice) else (part.low, part.high):
            changed = msgspec.structs.replace(RECIPES[name](), **{field: value})  # pyright: ignore[reportArgumentType]  every recipe is a struct
            assert getattr(changed, field) == value
