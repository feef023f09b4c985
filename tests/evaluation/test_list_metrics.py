"""Metrics against vectors worked out by hand and against a slow oracle."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penchant.evaluation.metrics import (
    ACCURACY,
    Catalogue,
    accuracy,
    amazon,
    beyond,
    coverage,
    cuts,
    gini,
    hits,
    intra_list_similarity,
    novelty,
    popularity_percentile,
)
from penchant.kernel.arrays import Csr, Rows
from penchant.kernel.errors import InputError

N_ITEMS = 12


def csr(rows: list[list[int]], n_columns: int = N_ITEMS) -> Csr:
    owner = np.repeat(np.arange(len(rows), dtype=np.int32), [len(r) for r in rows])
    column = np.array([c for r in rows for c in sorted(r)], np.int32)
    return Csr.group(owner, column, np.ones(len(owner), np.float32), n_rows=len(rows), n_columns=n_columns)


def lists(rows: list[list[int]], k: int) -> Rows:
    return np.array([r + [-1] * (k - len(r)) for r in rows], np.int32).reshape(len(rows), k)


def test_accuracy_worked_out_by_hand() -> None:
    # Request 0 finds items 1 and 4 at ranks 1 and 3 of three wanted; request 1 finds its one item at rank 2.
    found = accuracy(lists([[1, 7, 4, 8], [3, 2, 5, 6]], 4), csr([[1, 4, 9], [2]]), [1, 2, 4])
    second, third, fourth = 1 / math.log2(3), 1 / math.log2(4), 1 / math.log2(5)
    assert fourth < third  # rank 4 would have counted less
    expected = {
        "ndcg_at_1": [1, 0],
        "ndcg_at_2": [1 / (1 + second), second],
        "ndcg_at_4": [(1 + third) / (1 + second + third), second],
        "recall_at_1": [1 / 3, 0],
        "recall_at_2": [1 / 3, 1],
        "recall_at_4": [2 / 3, 1],
        "precision_at_1": [1, 0],
        "precision_at_2": [0.5, 0.5],
        "precision_at_4": [0.5, 0.25],
        "hit_rate_at_1": [1, 0],
        "hit_rate_at_2": [1, 1],
        "hit_rate_at_4": [1, 1],
        "mrr_at_1": [1, 0],
        "mrr_at_2": [1, 0.5],
        "mrr_at_4": [1, 0.5],
    }
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name] == pytest.approx(values), name
    assert found["ndcg_at_4"][0] == pytest.approx(0.7039180890341347)


def test_what_a_list_shows_worked_out_by_hand() -> None:
    # Item 0 was taken by all four users, item 1 by two, item 2 by one, item 3 by none.
    catalogue = Catalogue.of(csr([[0, 1, 2], [0, 1], [0], [0]], 4))
    shown = lists([[0, 1], [0, 2]], 2)
    assert catalogue.counts.tolist() == [4, 2, 1, 0]
    assert coverage(shown, 4) == 3 / 4
    # Shown 2, 1, 1, 0 times; sorted 0, 1, 1, 2 with weights -3, -1, 1, 3: 6 / (4 * 4).
    assert gini(shown, 4) == pytest.approx(6 / 16)
    # Bits: item 0 log2(4/4) = 0, item 1 log2(4/2) = 1, item 2 log2(4/1) = 2.
    assert novelty(shown, catalogue) == pytest.approx(((0 + 1) / 2 + (0 + 2) / 2) / 2)
    # Of four items three are below item 0 and itself counts half: 3.5/4; item 1 2.5/4; item 2 1.5/4.
    assert popularity_percentile(shown, catalogue) == pytest.approx(((3.5 + 2.5) / 8 + (3.5 + 1.5) / 8) / 2)
    # cos(0, 1) = 2 / sqrt(4 * 2), cos(0, 2) = 1 / sqrt(4 * 1).
    assert intra_list_similarity(shown, catalogue) == pytest.approx((2 / math.sqrt(8) + 1 / 2) / 2)


def test_an_item_never_taken_is_as_novel_as_one_taken_once_and_like_nothing() -> None:
    catalogue = Catalogue.of(csr([[0, 1], [0], [], []], 3))
    assert catalogue.n_users == 2
    assert novelty(lists([[2]], 1), catalogue) == 1.0
    assert intra_list_similarity(lists([[0, 2]], 2), catalogue) == pytest.approx(0, abs=1e-12)
    assert intra_list_similarity(lists([[0], []], 2), catalogue) == 0.0  # no list with a pair
    assert novelty(lists([[]], 2), catalogue) == 0.0


def test_gini_ends() -> None:
    assert gini(lists([[0, 1], [2, 3]], 2), 4) == 0.0
    assert gini(lists([[0], [0]], 1), 4) == pytest.approx(3 / 4)
    assert gini(lists([[]], 1), 4) == 0.0


def slow(row: list[int], wanted: set[int], k: int) -> dict[str, float]:
    gains = [1.0 if item in wanted else 0.0 for item in row[:k]]
    first = next((n for n, g in enumerate(gains, 1) if g), None)
    ideal = sum(1 / math.log2(n + 1) for n in range(1, min(k, len(wanted)) + 1))
    return {
        "ndcg": sum(g / math.log2(n + 1) for n, g in enumerate(gains, 1)) / ideal,
        "recall": sum(gains) / len(wanted),
        "precision": sum(gains) / k,
        "hit_rate": 1.0 if first else 0.0,
        "mrr": 1 / first if first else 0.0,
    }


ranked = st.permutations(range(N_ITEMS)).flatmap(lambda p: st.integers(0, 6).map(lambda n: list(p[:n])))
wanted_items = st.sets(st.integers(0, N_ITEMS - 1), min_size=1)
requests = st.lists(st.tuples(ranked, wanted_items), min_size=1, max_size=6)


@given(requests)
def test_accuracy_agrees_with_the_oracle(given_requests: list[tuple[list[int], set[int]]]) -> None:
    shown = lists([row for row, _ in given_requests], 6)
    truth = csr([list(wanted) for _, wanted in given_requests])
    found = accuracy(shown, truth, [1, 3, 6])
    for i, (row, wanted) in enumerate(given_requests):
        for k in (1, 3, 6):
            for name, value in slow(row, wanted, k).items():
                assert found[f"{name}_at_{k}"][i] == pytest.approx(value), (name, k)
    assert len(found) == 3 * len(ACCURACY)
    assert hits(shown, truth).tolist() == [
        [item in wanted for item in row] + [False] * (6 - len(row)) for row, wanted in given_requests
    ]


@given(
    st.lists(st.sets(st.integers(0, N_ITEMS - 1)), min_size=1, max_size=8),
    st.lists(ranked, min_size=1, max_size=5),
)
def test_list_metrics_agree_with_the_oracle(taken: list[set[int]], rows: list[list[int]]) -> None:
    catalogue = Catalogue.of(csr([list(t) for t in taken]))
    found = beyond(lists(rows, 6), catalogue, [6])
    count = [sum(i in t for t in taken) for i in range(N_ITEMS)]
    users = max(1, sum(bool(t) for t in taken))
    shown = [sum(i in r for r in rows) for i in range(N_ITEMS)]
    spread = sum(abs(a - b) for a in shown for b in shown)
    assert found["coverage_at_6"] == pytest.approx(sum(s > 0 for s in shown) / N_ITEMS)
    assert found["gini_at_6"] == pytest.approx(spread / (2 * N_ITEMS * sum(shown)) if sum(shown) else 0.0)

    def mean(values: list[float]) -> float:
        return sum(values) / len(values) if values else 0.0

    bits = [math.log2(users / max(c, 1)) for c in count]
    percentile = [mean([0.5 if d == c else float(d < c) for d in count]) for c in count]
    some = [r for r in rows if r]
    assert found["novelty_at_6"] == pytest.approx(mean([mean([bits[i] for i in r]) for r in some]))
    assert found["popularity_percentile_at_6"] == pytest.approx(
        mean([mean([percentile[i] for i in r]) for r in some])
    )

    def cosine(a: int, b: int) -> float:
        both = sum(a in t and b in t for t in taken)
        return both / math.sqrt(count[a] * count[b]) if both else 0.0

    pairs = [[cosine(a, b) for a, b in itertools.combinations(r, 2)] for r in rows if len(r) > 1]
    assert found["intra_list_similarity_at_6"] == pytest.approx(mean([mean(p) for p in pairs]), abs=1e-12)


def test_amazon_finds_its_keys() -> None:
    rng = np.random.default_rng(1)
    shown = np.stack([rng.permutation(40)[:25] for _ in range(5)]).astype(np.int32)
    truth = csr([[int(i)] for i in rng.integers(0, 40, 5)], 40)
    ours = {name: float(v.mean()) for name, v in accuracy(shown, truth, [5, 10, 25]).items()}
    ours |= beyond(shown, Catalogue.of(truth), [5, 10, 25])
    assert amazon(ours) == {
        "coverage": ours["coverage_at_25"],
        "mean_reciprocal_rank_at_25": ours["mrr_at_25"],
        "normalized_discounted_cumulative_gain_at_5": ours["ndcg_at_5"],
        "normalized_discounted_cumulative_gain_at_10": ours["ndcg_at_10"],
        "normalized_discounted_cumulative_gain_at_25": ours["ndcg_at_25"],
        "precision_at_5": ours["precision_at_5"],
        "precision_at_10": ours["precision_at_10"],
        "precision_at_25": ours["precision_at_25"],
    }


def test_cuts() -> None:
    assert cuts([10, 5, 10]) == (5, 10)
    for bad in ([], [0], [5, -1]):
        with pytest.raises(InputError):
            cuts(bad)
