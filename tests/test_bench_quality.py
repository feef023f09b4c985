"""What the quality benchmarks stand on: splits of published levels, trials that are kept, a page."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from bench.bench_levels import against_all
from bench.level_sets import eight_one_one, new_users, rolling, three_quarters
from bench.quality_page import page
from bench.quality_trials import FOLDER, Kept

from penchant.data.heldout import keys
from penchant.data.splits import time_split
from penchant.evaluation.leaderboard import compare
from penchant.evaluation.tuning import Range, search
from penchant.kernel.seeds import derive
from penchant.testing.data import random_snapshot

SOURCE = random_snapshot(3, n_users=60, n_items=50, n=2_000)


def test_eight_one_one_deals_each_pair_once() -> None:
    for test, validation in eight_one_one(SOURCE, 2).parts:
        eight = set(keys(test.train.pairs()).tolist())
        ninth = set(keys(validation.truth, validation.subjects).tolist())
        tenth = set(keys(test.truth, test.subjects).tolist())
        assert test.train.digest == validation.train.digest
        assert not eight & ninth
        assert not (eight | ninth) & tenth
        # What validation asks for is not asked for again, nor may it be answered.
        assert set(keys(test.exclude, test.subjects).tolist()) & ninth
        assert len(eight) == pytest.approx(0.8 * SOURCE.pairs().nnz, rel=0.05)


def test_what_nobody_has_in_train_counts_as_missed() -> None:
    """A perfect answer: when nothing more was hidden, when as much again was, when some hid only that."""
    level = eight_one_one(SOURCE, 1)
    test = level.parts[0][0]
    perfect = {
        "ndcg_at_10": np.ones(len(test)),
        "recall_at_10": np.ones(len(test)),
    }
    asked = np.diff(test.truth.indptr)
    hidden = np.zeros(SOURCE.n_users, np.int32)
    hidden[test.subjects] = asked
    same = against_all([perfect], [test], replace(level, hidden=[hidden]))
    assert same == {"ndcg_at_10": pytest.approx(1), "recall_at_10": pytest.approx(1)}
    hidden[test.subjects] = 2 * asked
    assert against_all([perfect], [test], replace(level, hidden=[hidden]))["recall_at_10"] == pytest.approx(
        0.5
    )
    absent = np.setdiff1d(np.arange(SOURCE.n_users), test.subjects)
    hidden[test.subjects], hidden[absent] = asked, 1
    expected = len(test) / (len(test) + len(absent))
    found = against_all([perfect], [test], replace(level, hidden=[hidden]))
    assert found == {"ndcg_at_10": pytest.approx(expected), "recall_at_10": pytest.approx(expected)}


def test_folds_follow_one_another() -> None:
    tests = [test for test, _ in rolling(SOURCE, 3).parts]
    ends = [split.train.interactions.timestamp.max() for split in tests]
    assert ends == sorted(ends)
    for split, after in pairwise(tests):
        asked = set(keys(split.truth, split.subjects).tolist())
        assert asked <= set(keys(after.train.pairs()).tolist())


def test_validation_lies_inside_the_training_part() -> None:
    for level in (three_quarters(SOURCE, 1), rolling(SOURCE, 1)):
        test, validation = level.parts[0]
        asked = set(keys(validation.truth, validation.subjects).tolist())
        assert asked <= set(keys(test.train.pairs()).tolist())
    test, validation = new_users(SOURCE, 1).parts[0]
    assert not set(test.subjects.tolist()) & set(validation.subjects.tolist())


def test_a_search_that_was_broken_off_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    split = time_split(SOURCE)
    asked: list[float] = []

    def hill(fields: Mapping[str, Any]) -> float:
        asked.append(fields["x"])
        if len(asked) == 4:
            raise KeyboardInterrupt
        return -abs(fields["x"] - 3)

    def found() -> list[Any]:
        reached = Kept.of("set", split).remembered("side", hill)
        return search(reached, {"x": Range(0.1, 10.0)}, trials=8, rng=derive(1))

    with pytest.raises(KeyboardInterrupt):
        found()
    again = found()
    assert len(asked) == 9  # three, the one that broke, and the five that were left with it
    assert again == search(
        lambda fields: -abs(fields["x"] - 3), {"x": Range(0.1, 10.0)}, trials=8, rng=derive(1)
    )


def test_the_page_names_everybody_and_what_validation_chose(tmp_path: Path) -> None:
    board = compare({}, time_split(SOURCE))
    best = board.best().name
    result = {
        "leaderboard": msgspec.to_builtins(board),
        "best": {"name": best},
        "validation": {best: 0.125},
        "trials": 8,
        "tuned": {best: {"window": "7d", "rate": np.pi}},
        "versions": {"python": "3.11"},
    }
    page({"a": result}, {"a": "A set"}, tmp_path / "page.md")
    text = (tmp_path / "page.md").read_text()
    assert "## A set" in text
    assert f"| **{best}** |" in text
    assert "| 0.1250 |" in text
    assert all(check in text for check in board.audit)
    assert "(window '7d', rate 3.142)" in text
    assert f"{board.entries[0].metrics['ndcg_at_10']:.4f}" in text
