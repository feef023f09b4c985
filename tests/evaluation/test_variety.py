"""Serendipity and calibration on answers worked out by hand."""

import math
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from penchant.data.heldout import subset
from penchant.data.snapshot import build_snapshot
from penchant.data.splits import Split, time_split
from penchant.evaluation.variety import categories_of, miscalibration, serendipity

# Items a (5 users), b (4), c (1), d (1). Before the cut user u0 took a and c; after it b and d.
BEFORE = [("u0", "a"), ("u0", "c"), *((f"u{i}", "a") for i in range(1, 5))]
BEFORE += [(f"u{i}", "b") for i in range(1, 5)] + [("u1", "d")]
AFTER = [("u0", "b"), ("u0", "d")]


def split(categories: list[str | None] | None = None) -> Split:
    rows = [(u, i, 1.0) for u, i in BEFORE] + [(u, i, 2.0) for u, i in AFTER]
    names = ("user_id", "item_id", "timestamp")
    table = pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))
    items = None if categories is None else pa.table({"item_id": list("abcd"), "category": categories})
    return time_split(build_snapshot(table, items=items), at=2.0)


def test_only_hits_that_popularity_would_not_give_are_serendipity() -> None:
    one = split()
    counts = np.array([5, 4, 1, 1])
    both = np.array([[1, 3]], np.int32)
    # a and c are excluded, so the most popular two that u0 may get are b and d: nothing is surprising.
    assert serendipity(both, one, counts, 2).tolist() == [0.0]
    # Of one item the popular one is b; d instead is a surprise, b is none.
    assert serendipity(both[:, ::-1].copy(), one, counts, 1).tolist() == [1.0]
    assert serendipity(both, one, counts, 1).tolist() == [0.0]
    # Were nothing excluded, a and b would be the obvious two.
    free = replace(one, exclude=subset(one.exclude, np.zeros(one.exclude.nnz, bool)))
    assert serendipity(both, free, counts, 2).tolist() == [0.5]


def test_miscalibration_is_the_divergence_of_the_mixes() -> None:
    one = split(["x", "x", "y", "y"])  # u0 knows a (x) and c (y): half and half
    codes = categories_of(one)
    assert codes is not None
    assert codes.tolist() == [0, 0, 1, 1]
    balanced, lopsided = np.array([[1, 3]], np.int32), np.array([[1, -1]], np.int32)
    assert miscalibration(balanced, one, codes, 2)[0] == pytest.approx(0)
    expected = 0.5 * math.log2(0.5 / (0.99 * 1 + 0.01 * 0.5)) + 0.5 * math.log2(0.5 / (0.01 * 0.5))
    assert miscalibration(lopsided, one, codes, 2)[0] == pytest.approx(expected)


def test_without_categories_there_is_no_calibration() -> None:
    assert categories_of(split()) is None
    one = split([None, "x", None, "y"])  # of what u0 knows, a and c, nothing has a category
    codes = categories_of(one)
    assert codes is not None
    assert np.isnan(miscalibration(np.array([[1, 3]], np.int32), one, codes, 2)).all()
