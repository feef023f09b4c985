"""Kinds of people in a seed list: known by construction."""

import numpy as np
import pytest

from penchant.audiences.modes import modes
from penchant.kernel.seeds import derive


def seeds(kinds: int, n: int = 300, dims: int = 20) -> np.ndarray:
    rng = derive(kinds, "modes")
    centres = 6 * np.eye(dims)[:kinds]
    sizes = np.arange(kinds, 0, -1)
    of = rng.choice(kinds, n, p=sizes / sizes.sum())
    return (centres[of] + rng.normal(size=(n, dims))).astype(np.float32)


@pytest.mark.parametrize("kinds", [1, 2, 3, 4])
def test_planted_kinds_are_counted(kinds: int) -> None:
    found = modes(seeds(kinds), rng=derive(0, "a"))
    assert len(found.shares) == kinds
    assert sum(found.shares) == pytest.approx(1, abs=1e-3)
    assert found.shares == sorted(found.shares, reverse=True)
    assert found.strength > 0.8


def test_a_cloud_without_gaps_is_one_kind() -> None:
    long = derive(5, "long").gamma(0.8, 1.0, (400, 12)).astype(np.float32)
    assert modes(long, rng=derive(1, "a")).shares == [1.0]


def test_few_seeds_and_no_space_are_one_kind() -> None:
    assert modes(seeds(3, n=25), rng=derive(2, "a")).shares == [1.0]
    assert modes(np.zeros((60, 0), np.float32), rng=derive(2, "a")).shares == [1.0]


def test_the_same_seed_counts_the_same() -> None:
    assert modes(seeds(3), rng=derive(3, "a")) == modes(seeds(3), rng=derive(3, "a"))
