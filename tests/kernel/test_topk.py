"""The best k, against sorting everything."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penchant.kernel.arrays import Csr
from penchant.kernel.topk import best_rows, dots
from penchant.models.index import ExactIndex


def oracle(scores: np.ndarray, k: int, banned: np.ndarray) -> list[int]:
    """Sort everything: by score, then by row."""
    rows = np.setdiff1d(np.flatnonzero(~np.isnan(scores)), banned)
    return rows[np.lexsort((rows, -scores[rows]))][: max(k, 0)].tolist()


@given(
    st.lists(st.sampled_from([0.0, -0.0, 1.0, 1.5, -3.0, float("nan"), float("-inf")]), max_size=40),
    st.integers(-1, 50),
)
def test_best_rows_of_a_score_vector(values: list[float], k: int) -> None:
    scores = np.array(values, np.float32)
    assert best_rows(scores, k).tolist() == oracle(scores, k, np.zeros(0, np.int64))


def exclusions(rng: np.random.Generator, n: int, m: int, each: int) -> Csr:
    owner = np.repeat(np.arange(n, dtype=np.int32), each)
    column = rng.integers(0, m, n * each).astype(np.int32)
    return Csr.group(owner, column, np.ones(n * each, np.float32), n_rows=n, n_columns=m)


@pytest.mark.parametrize(
    ("n", "m", "d", "k", "each"),
    [
        (1, 1, 1, 1, 0),
        (5, 40, 3, 7, 2),
        (300, 5000, 16, 10, 30),
        (3, 70, 9, 100, 5),
        (40, 4500, 4, 600, 4000),
    ],
)
def test_one_query_and_many_agree_with_sorting(n: int, m: int, d: int, k: int, each: int) -> None:
    rng = np.random.default_rng(n + m)
    factors = (rng.normal(size=(m, d)) * rng.lognormal(size=(m, 1))).astype(np.float32)
    queries = rng.normal(size=(n, d)).astype(np.float32)
    index = ExactIndex.build(factors)
    exclude = exclusions(rng, n, m, each)
    batch = index.top_many(queries, k, exclude=exclude)
    free = index.top_many(queries, k)
    for i in range(0, n, max(1, n // 20)):
        scores = index.score(queries[i], np.arange(m, dtype=np.int32))
        np.testing.assert_allclose(scores, factors @ queries[i], rtol=1e-4, atol=1e-4)
        expected = oracle(scores, k, exclude.row(i))
        assert batch.items[i, : len(expected)].tolist() == expected
        assert (batch.items[i, len(expected) :] == -1).all()
        assert batch.scores[i, : len(expected)].tobytes() == scores[expected].tobytes()
        one = index.top(queries[i], k, exclude=exclude.row(i))
        assert one.items.tolist() == expected
        assert one.scores.tobytes() == scores[expected].tobytes()
        assert free.items[i, : min(k, m)].tolist() == oracle(scores, k, np.zeros(0, np.int64))


@pytest.mark.parametrize("k", [1, 5, 50])
def test_thousands_of_equal_items_come_in_row_order(k: int) -> None:
    """Near-ties outgrow the room of a block: the answer must not change."""
    rng = np.random.default_rng(0)
    kinds = rng.normal(size=(3, 8)).astype(np.float32)
    kind = rng.integers(0, 3, 6000)
    index = ExactIndex.build(kinds[kind])
    queries = rng.normal(size=(20, 8)).astype(np.float32)
    batch = index.top_many(queries, k)
    for i, query in enumerate(queries):
        best = int(np.argmax(kinds @ query))
        expected = np.flatnonzero(kind == best)[:k].tolist()
        assert batch.items[i].tolist() == expected
        assert index.top(query, k).items.tolist() == expected


@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(0, 30))
def test_small_integers_make_exact_ties(seed: int, d: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    factors = rng.integers(-2, 3, (25, d)).astype(np.float32)
    query = rng.integers(-2, 3, d).astype(np.float32)
    scores = factors @ query
    scores[~factors.any(axis=1)] = np.nan
    index = ExactIndex.build(factors)
    banned = np.flatnonzero(rng.random(25) < 0.2).astype(np.int32)
    expected = oracle(scores, k, banned)
    assert index.top(query, k, exclude=banned).items.tolist() == expected
    owner = np.zeros(len(banned), np.int32)
    exclude = Csr.group(owner, banned, np.ones(len(banned), np.float32), n_rows=1, n_columns=25)
    batch = index.top_many(query[None], k, exclude=exclude)
    assert batch.items[0, : len(expected)].tolist() == expected


def test_items_without_a_factor_are_never_given() -> None:
    factors = np.array([[0, 0], [1, 0], [0, 0], [-1, 0]], np.float32)
    index = ExactIndex.build(factors)
    query = np.array([1, 0], np.float32)
    assert index.top(query, 9).items.tolist() == [1, 3]
    assert np.isnan(index.score(query, np.array([0, 2], np.int32))).all()
    assert index.factor(0).tolist() == [0, 0]
    assert index.by_row().tolist() == factors.tolist()
    assert len(index.similar(0, 3).items) == 0
    assert index.similar(1, 3).items.tolist() == [3]


def test_nothing_to_index() -> None:
    index = ExactIndex.build(np.zeros((3, 2), np.float32))
    assert len(index.top(np.ones(2, np.float32), 5).items) == 0
    assert index.top_many(np.ones((2, 2), np.float32), 2).items.tolist() == [[-1, -1]] * 2


def test_dots_are_inner_products() -> None:
    rng = np.random.default_rng(0)
    factors, query = rng.normal(size=(50, 7)).astype(np.float32), rng.normal(size=7).astype(np.float32)
    at = np.array([3, 1, 1, 49], np.int32)
    np.testing.assert_allclose(dots(query, factors, at), factors[at] @ query, rtol=1e-5)
