"""Items as words: the contracts, the kernel against plain equations, alignment of spaces that are known."""

from typing import ClassVar

import numpy as np
import pytest

from penchant.data.interactions import Interactions
from penchant.kernel.arrays import Csr
from penchant.kernel.errors import InputError
from penchant.kernel.progress import Silent
from penchant.kernel.seeds import derive
from penchant.models.base import Query
from penchant.models.prod2vec import Prod2Vec, Prod2VecModel, means, next_item_ndcg, unit
from penchant.models.prod2vec_alignment import Content, Pairs, SpaceMap, align, content_pairs, mutual_nearest
from penchant.models.prod2vec_kernels import epoch
from penchant.models.prod2vec_words import WordDecoder
from penchant.models.sessions import newest_sessions, sessions_of
from penchant.testing.contracts import RetrieverContract, SimilarContract
from penchant.testing.data import snapshot_of

SMALL = Prod2Vec(dimensions=8, epochs=20, min_count=1, patience=0, session_gap="2d")


class TestContract(RetrieverContract, SimilarContract):
    recipe: ClassVar = SMALL
    model_type: ClassVar = Prod2VecModel


def topics(
    seed: int, n_sessions: int = 400, n_topics: int = 4, size: int = 10
) -> list[tuple[int, int, float]]:
    """Return sessions that each stay within one topic of ``size`` items, a user each."""
    rng = np.random.default_rng(seed)
    rows: list[tuple[int, int, float]] = []
    for s in range(n_sessions):
        topic = int(rng.integers(n_topics))
        picked = rng.permutation(size)[:5] + topic * size
        rows += [(s, int(i), 1e6 + 100 * s + p) for p, i in enumerate(picked)]
    return rows


def train(triples: list[tuple[int, int, float]], recipe: Prod2Vec, seed: int = 3) -> Prod2VecModel:
    return recipe.train(snapshot_of(triples), rng=derive(seed), progress=Silent())


def test_sessions_are_cut_at_gaps_and_ordered_by_their_end() -> None:
    events = Interactions.of(
        user=[0, 0, 1, 0, 1, 1], item=[5, 5, 1, 6, 2, 3], timestamp=[0.0, 5.0, 7.0, 12.0, 100.0, 104.0]
    )
    found, ends = sessions_of(events, 10.0, 8)
    assert [found.row(i).tolist() for i in range(found.n_rows)] == [[1], [5, 6], [2, 3]]
    assert ends.tolist() == [7.0, 12.0, 104.0]
    last = newest_sessions(events, 10.0)
    assert list(zip(last.user.tolist(), last.item.tolist(), strict=True)) == [
        (0, 5), (0, 5), (0, 6), (1, 2), (1, 3)
    ]  # fmt: skip


def oracle_epoch(items, indptr, order, keep, cumulative, v, u, window, negatives, rates, state):
    """The same equations with the same random numbers, in plain Python."""
    mask = 2**64 - 1

    def draw() -> int:
        x = state[0]
        x ^= (x << 13) & mask
        x ^= x >> 7
        x ^= (x << 17) & mask
        state[0] = x
        return x

    for place, s in enumerate(order):
        rate = rates[0] + (rates[1] - rates[0]) * place / len(order)
        kept = [i for i in items[indptr[s] : indptr[s + 1]] if (draw() >> 11) * 2.0**-53 < keep[i]]
        for at in range(len(kept)):
            reach = 1 + draw() % window
            context = [kept[c] for c in range(max(at - reach, 0), min(at + reach + 1, len(kept))) if c != at]
            if not context:
                continue
            h = sum(v[c] for c in context) / len(context)
            pull = np.zeros_like(h)
            targets = [(kept[at], 1.0)]
            for _ in range(negatives):
                drawn = int(np.searchsorted(cumulative, (draw() >> 11) * 2.0**-53, side="right"))
                if drawn != kept[at]:
                    targets.append((min(drawn, len(cumulative) - 1), 0.0))
            for o, wanted in targets:
                step = (wanted - 1 / (1 + np.exp(-(u[o] @ h)))) * rate
                pull += step * u[o]
                u[o] += step * h
            for c in context:
                v[c] += pull / len(context)


def test_the_kernel_agrees_with_the_equations() -> None:
    rng = np.random.default_rng(4)
    n, d = 12, 5
    indptr = np.array([0, 4, 9, 10, 16, 24])
    items = rng.integers(0, n, 24).astype(np.int32)
    keep, order = rng.uniform(0.5, 1.0, n), rng.permutation(5)
    cumulative = np.cumsum(np.full(n, 1 / n))
    v, u = rng.normal(size=(2, n, d)).astype(np.float32)
    ov, ou = v.astype(np.float64), u.astype(np.float64)
    epoch(items, indptr, order, keep, cumulative, v, u, 3, 4, 0.1, 0.05, np.array([77], np.uint64))
    oracle_epoch(items, indptr, order, keep, cumulative, ov, ou, 3, 4, (0.1, 0.05), [77])
    np.testing.assert_allclose(v, ov, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(u, ou, rtol=1e-4, atol=1e-5)


def test_the_nearest_items_are_of_the_session_topic() -> None:
    model = train(topics(1), SMALL)
    history = Interactions.of(user=[0, 0], item=[10, 12], timestamp=[0.0, 5.0])
    best = model.top(Query(history=history), 8, exclude=np.array([10, 12], np.int32)).items
    assert sorted(best.tolist()) == [11, 13, 14, 15, 16, 17, 18, 19]


def test_only_the_last_session_counts() -> None:
    model = train(topics(1), SMALL)
    history = Interactions.of(user=[0, 0], item=[30, 10], timestamp=[0.0, 1e7])
    assert (model.top(Query(history=history), 9, exclude=np.array([10], np.int32)).items // 10 == 1).all()


def test_it_stops_early_and_says_how_good_it_was() -> None:
    recipe = Prod2Vec(dimensions=8, epochs=60, min_count=1, patience=2, session_gap="1h", rate=0.1)
    model = train(topics(2, n_sessions=800), recipe)
    assert model.card.metrics["epochs"] < 60
    assert model.card.metrics["validation_ndcg_at_10"] > 0.3


def test_rare_items_have_no_vector() -> None:
    model = train(
        [*topics(1), (999, 45, 2e6), (999, 3, 2e6 + 1)], Prod2Vec(dimensions=8, epochs=2, min_count=3)
    )
    rare = model.items.row("i045")
    assert len(model.similar(rare, 5).items) == 0
    assert np.isnan(model.score(Query(user=0), np.array([rare], np.int32))).all()


def test_ndcg_of_the_next_item() -> None:
    vectors = unit(np.random.default_rng(6).normal(size=(12, 4)).astype(np.float32))
    seen = Csr.group(
        np.array([0], np.int32), np.array([1], np.int32), np.ones(1, np.float32), n_rows=2, n_columns=12
    )
    queries = np.stack([vectors[1], np.zeros(4, np.float32)])
    order = [i for i in np.argsort(-(vectors @ vectors[1])).tolist() if i != 1]
    for place in (0, 3):
        got = next_item_ndcg(vectors, queries, seen, np.array([order[place], 0], np.int32))
        assert got.tolist() == pytest.approx([1 / np.log2(place + 2), 0.0])


def rotated(seed: int, n: int = 300, d: int = 8, noise: float = 0.02) -> tuple[np.ndarray, np.ndarray]:
    """Return a space and the same turned, shifted and shaken."""
    rng = np.random.default_rng(seed)
    a = unit(rng.normal(size=(n, d)).astype(np.float32))
    turn = np.linalg.qr(rng.normal(size=(d, d)))[0].astype(np.float32)
    shaken = a @ turn + rng.normal(size=(n, d)).astype(np.float32) * np.float32(noise)
    return a, np.asarray(unit(shaken))


def test_procrustes_finds_the_rotation_and_takes_hidden_items_along() -> None:
    a, b = rotated(1)
    known = np.arange(40, dtype=np.int32)
    found = SpaceMap.fit(Pairs.of_items(a, b, (known, known)))
    np.testing.assert_allclose(found.rotation @ found.rotation.T, np.eye(8), atol=1e-5)
    assert (found.apply(a) * b).sum(axis=1)[40:].min() > 0.95
    assert not found.apply(np.zeros((1, 8), np.float32)).any()


def test_rounds_of_nearest_pairs_mend_a_poor_start() -> None:
    a, b = rotated(2, d=16)
    rows = np.arange(40, dtype=np.int32)
    wrong = np.where(rows < 20, rows, rows + 180).astype(np.int32)  # half of the pairs is wrong
    start = Pairs.of_items(a, b, (rows, wrong))
    before = (align(a, b, start, rounds=0).apply(a) * b).sum(axis=1).mean()
    after = (align(a, b, start, rounds=5).apply(a) * b).sum(axis=1).mean()
    assert after > max(before, 0.95)


def test_mutual_nearest_is_symmetric_and_right_on_equal_spaces() -> None:
    a, _ = rotated(3)
    order = np.random.default_rng(0).permutation(len(a))
    first, second = mutual_nearest(a, a[order])
    assert len(first) > 250
    assert (order[second] == first).all()


def test_what_may_not_be_a_pair_is_none() -> None:
    a, b = rotated(4)
    barred = np.ones(len(a), np.bool_)
    barred[100:] = False
    pairs = Pairs.of_items(a, b, (np.arange(5, dtype=np.int32), np.arange(5, dtype=np.int32)))
    poisoned = b.copy()
    poisoned[100:] = b[100:][::-1]  # were they taken as pairs, the map would be another
    same = align(a, b, pairs, allowed=(barred, barred))
    assert align(a, poisoned, pairs, allowed=(barred, barred)).rotation.tolist() == same.rotation.tolist()


def test_no_pairs_is_said() -> None:
    nothing = Pairs.of_items(
        np.zeros((2, 4), np.float32), np.ones((2, 4), np.float32), (np.arange(2), np.arange(2))
    )
    with pytest.raises(InputError, match="no pair"):
        SpaceMap.fit(nothing)


def test_content_pairs_by_text_category_and_price() -> None:
    a = Content(
        text=["red paper lantern", "glass vase", "wooden spoon", ""],
        category=["light", "home", "kitchen", ""],
        price=np.array([2.0, 10.0, 1.0, np.nan]),
    )
    b = Content(
        text=["WOODEN SPOON", "glass vase", "glass vase", "red paper lantern set"],
        category=["kitchen", "home", "home", "light"],
        price=np.array([1.0, 90.0, 10.0, 2.5]),
    )
    rows, theirs, how = content_pairs(a, b)
    assert dict(zip(rows.tolist(), theirs.tolist(), strict=True)) == {0: 3, 1: 2, 2: 0}
    assert ((how >= 0.5) & (how <= 1.0 + 1e-6)).all()


def test_words_complete_with_the_session_in_mind() -> None:
    rng = np.random.default_rng(0)
    centres = unit(rng.normal(size=(2, 6)).astype(np.float32))
    vectors = unit(
        np.repeat(centres, 20, axis=0) + rng.normal(size=(40, 6)).astype(np.float32) * np.float32(0.1)
    )
    texts = ["Garden tools 12"] * 20 + ["Garland paper X"] * 20
    decoder = WordDecoder.fit(vectors, texts)
    assert decoder.words == ("garden", "garland", "paper", "tools")
    assert decoder.complete(centres[0], "gar", 1)[0][0] == "garden"
    assert decoder.complete(centres[1], "gar", 1)[0][0] == "garland"
    assert decoder.complete(np.zeros(6, np.float32), "t") == [("tools", pytest.approx(0.5))]
    assert decoder.complete(centres[0], "xyz") == []


def test_means_leave_out_what_has_no_vector() -> None:
    vectors = np.array([[1, 0], [0, 0], [0, 1]], np.float32)
    rows = Csr.group(
        np.array([0, 0, 1], np.int32),
        np.array([0, 1, 1], np.int32),
        np.ones(3, np.float32),
        n_rows=2,
        n_columns=3,
    )
    assert means(rows, vectors).tolist() == [[1, 0], [0, 0]]


@pytest.mark.parametrize("field", ["dimensions", "epochs", "rate", "session_gap"])
def test_wrong_values_are_refused_by_name(field: str) -> None:
    with pytest.raises(ValueError, match=field):
        Prod2Vec(**{field: "soon" if field == "session_gap" else 0})
