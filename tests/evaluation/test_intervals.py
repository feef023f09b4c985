"""Intervals: what they promise, on simulated data where the truth is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penchant.evaluation.intervals import (
    differences,
    holm,
    interval,
    p_value,
    resampled_means,
    resamples_for,
)
from penchant.kernel.errors import InputError
from penchant.kernel.seeds import derive


def test_resampled_means_are_means_of_draws_with_replacement() -> None:
    values = np.array([[0.0, 10.0], [1.0, 11.0], [3.0, 13.0]])
    means = resampled_means(values, rng=derive(1, "b"), resamples=4000)
    assert means.shape == (4000, 2)
    sums = {round(float(s), 6) for s in means[:, 0] * 3}
    assert sums == {0, 1, 2, 3, 4, 5, 6, 7, 9}  # every sum of three of {0, 1, 3}, and no other
    assert np.allclose(means[:, 1] - means[:, 0], 10)  # columns share their draws
    assert means[:, 0].mean() == pytest.approx(4 / 3, abs=0.05)
    assert means[:, 0].std() == pytest.approx(values[:, 0].std() / np.sqrt(3), rel=0.05)


def test_equal_seeds_give_equal_intervals_also_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).random((50, 3))
    whole = resampled_means(values, rng=derive(1, "b"), resamples=100)
    assert np.array_equal(whole, resampled_means(values, rng=derive(1, "b"), resamples=100))
    monkeypatch.setattr("penchant.evaluation.intervals._CELLS", 130)  # two resamples at a time
    assert np.allclose(whole, resampled_means(values, rng=derive(1, "b"), resamples=100), rtol=1e-14)
    with pytest.raises(InputError, match="no users"):
        resampled_means(values[:0], rng=derive(1, "b"))


def test_paired_intervals_cover_the_truth_as_often_as_they_say() -> None:
    """In 400 studies of 150 users with a true difference of .05, 95% intervals hold it 95 times in 100."""
    rng = derive(11, "coverage")
    covered = wider = 0
    for _ in range(400):
        user = rng.beta(1, 3, 150)  # what both share: hard and easy users
        pair = np.stack([user + 0.05 + rng.normal(0, 0.1, 150), user + rng.normal(0, 0.1, 150)], axis=1)
        means = resampled_means(pair, rng=rng, resamples=500)
        bound = interval(pair[:, 0] - pair[:, 1], means[:, 0] - means[:, 1])
        covered += bound.low <= 0.05 <= bound.high
        alone = [interval(pair[:, i], means[:, i]) for i in (0, 1)]
        wider += sum(a.high - a.low for a in alone) > bound.high - bound.low
    assert 0.92 <= covered / 400 <= 0.975
    assert wider == 400  # pairing takes out what the users share


def test_p_rejects_as_often_as_it_says_when_nothing_differs() -> None:
    rng = derive(12, "null")
    p = []
    for _ in range(400):
        values = rng.normal(0, 1, (80, 1))
        p.append(p_value(values[:, 0], resampled_means(values, rng=rng, resamples=300)[:, 0]))
    assert 0.025 <= np.mean(np.array(p) < 0.05) <= 0.085
    assert 0.42 <= np.mean(np.array(p) < 0.5) <= 0.58


def test_p_of_a_clear_difference_is_the_smallest_and_of_none_is_one() -> None:
    values = np.random.default_rng(0).normal(1, 0.1, (60, 1))
    means = resampled_means(values, rng=derive(1, "b"), resamples=999)
    assert p_value(values[:, 0], means[:, 0]) == 1 / 1000
    zero = np.zeros((60, 1))
    assert p_value(zero[:, 0], resampled_means(zero, rng=derive(1, "b"), resamples=99)[:, 0]) == 1.0


def test_holm_by_hand() -> None:
    # Sorted .01, .02, .03, .04 times 4, 3, 2, 1: .04, .06, .06, .04 -> never falling.
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=10))
def test_holm_keeps_order_and_never_makes_surer(p: list[float]) -> None:
    corrected = holm(p)
    assert all(c >= raw - 1e-12 and c <= 1 for c, raw in zip(corrected, p, strict=True))
    ranked = [c for _, c in sorted(zip(p, corrected, strict=True))]
    assert ranked == sorted(ranked)
    if p:
        assert min(corrected) == pytest.approx(min(1.0, len(p) * min(p)))


def test_differences_are_of_all_pairs_first_minus_second() -> None:
    rng = np.random.default_rng(3)
    base = rng.random(100)
    values = np.stack([base + 0.2, base + 0.1 * rng.random(100), base], axis=1)
    found = differences("ndcg_at_10", ["a", "b", "c"], values, resampled_means(values, rng=derive(1, "d")))
    assert [(d.first, d.second) for d in found] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert found[1].mean == pytest.approx(0.2)
    assert found[1].low == pytest.approx(found[1].high)  # a constant difference is certain
    assert all(d.low <= d.mean <= d.high for d in found)
    assert [d.p_holm for d in found] == pytest.approx(holm([d.p for d in found]))


def test_a_sure_difference_is_told_from_chance_however_many_pairs_there_are() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(1, 0.1, (60, 1)), rng.normal(0, 0.1, (60, 15))], axis=1)
    names = [f"r{i:02d}" for i in range(16)]
    means = resampled_means(values, rng=derive(1, "b"), resamples=resamples_for(len(names)))
    found = differences("ndcg_at_10", names, values, means)
    assert max(d.p_holm for d in found if d.first == "r00") < 0.01
