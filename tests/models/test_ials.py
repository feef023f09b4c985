"""Implicit ALS: against a dense oracle, on data whose answer is known, and what it does with the unknown."""

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest

from penchant.data.interactions import Interactions
from penchant.data.snapshot import Snapshot, build_snapshot
from penchant.kernel.arrays import Csr
from penchant.kernel.parallel import THREADS_VARIABLE
from penchant.kernel.progress import Silent
from penchant.kernel.seeds import derive
from penchant.models.base import Model, Queries, Query
from penchant.models.ials import Ials, IalsModel
from penchant.models.ials_solve import Side, gram, sweep
from penchant.models.index import ExactIndex
from penchant.testing.contracts import OnlineContract, PersonalContract, SimilarContract, assert_same_arrays
from penchant.testing.data import checkerboard, random_snapshot, snapshot_of

SMALL = Ials(factors=8, epochs=8, event_weights={"buy": 3.0}, half_life="30d")


class TestIals(PersonalContract, SimilarContract, OnlineContract):
    recipe = SMALL
    model_type = IalsModel


class TestIalsExact(PersonalContract, SimilarContract, OnlineContract):
    recipe = Ials(factors=8, epochs=6, solver="exact", alpha=1.0, tolerance=1e-3)
    model_type = IalsModel


def train(recipe: Ials, snapshot: Snapshot, previous: Model | None = None, seed: int = 0) -> IalsModel:
    return recipe.train(snapshot, rng=derive(seed), progress=Silent(), previous=previous)


def problem(
    seed: int, *, n: int = 30, other: int = 25, f: int = 13, nnz: int = 200
) -> tuple[Csr, np.ndarray]:
    rng = np.random.default_rng(seed)
    seen = Csr.summed(
        rng.integers(0, n - 1, nnz).astype(np.int32),  # the last row saw nothing
        rng.integers(0, other, nnz).astype(np.int32),
        rng.uniform(0.5, 3, nnz).astype(np.float32),
        n_rows=n,
        n_columns=other,
    )
    return seen, rng.normal(0, 0.5, (other, f)).astype(np.float32)


def dense_oracle(seen: Csr, y: np.ndarray, ridge: np.ndarray, w0: float) -> tuple[np.ndarray, float]:
    """Solve each row by numpy in double precision and add up the loss term by term."""
    y = y.astype(np.float64)
    x, loss = np.zeros((seen.n_rows, y.shape[1])), 0.0
    for u in range(seen.n_rows):
        rows, c = seen.row(u), seen.values(u).astype(np.float64)
        if len(rows) == 0:
            continue
        a = (y[rows].T * c) @ y[rows] + w0 * y.T @ y + ridge[u] * np.eye(y.shape[1])
        x[u] = np.linalg.solve(a, y[rows].T @ c)
        loss += (c * (y[rows] @ x[u] - 1) ** 2).sum() + w0 * ((y @ x[u]) ** 2).sum() + ridge[u] * x[u] @ x[u]
    return x, loss


@pytest.mark.parametrize("f", [1, 3, 8, 13, 32, 64])
@pytest.mark.parametrize("w0", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("per_row", [3, 40, 300])
def test_exact_solver_agrees_with_dense_algebra(f: int, w0: float, per_row: int) -> None:
    """Rows with fewer entries than factors, with more, and with more than one block of them."""
    seen, y = problem(f, f=f, other=5 * per_row, nnz=30 * per_row)
    side = Side.of(seen, regularization=0.1, unobserved_weight=w0, frequency_exponent=1.0)
    expected, loss = dense_oracle(seen, y, side.ridge, w0)
    x, found = sweep(
        side, y, np.ones_like(expected, np.float32), unobserved_weight=w0, solver="exact", steps=0
    )
    np.testing.assert_allclose(x, expected, rtol=1e-5, atol=1e-5)
    assert found == pytest.approx(loss, rel=1e-4)


@pytest.mark.parametrize("f", [3, 8, 13])
def test_conjugate_gradient_converges_to_the_exact_solution(f: int) -> None:
    seen, y = problem(f + 100, f=f)
    side = Side.of(seen, regularization=0.1, unobserved_weight=0.3, frequency_exponent=1.0)
    expected, loss = dense_oracle(seen, y, side.ridge, 0.3)
    x = np.random.default_rng(0).normal(size=expected.shape).astype(np.float32)
    losses = []
    for _ in range(3 * f):
        x, after = sweep(side, y, x, unobserved_weight=0.3, solver="cg", steps=2)
        losses.append(after)
    np.testing.assert_allclose(x, expected, rtol=1e-4, atol=1e-4)
    assert losses[-1] == pytest.approx(loss, rel=1e-4)
    assert all(later <= earlier * (1 + 1e-5) for earlier, later in pairwise(losses))


def test_ridge_scales_with_frequency() -> None:
    seen, _ = problem(5)
    counts = np.diff(seen.indptr)
    flat = Side.of(seen, regularization=2.0, unobserved_weight=0.5, frequency_exponent=0.0)
    scaled = Side.of(seen, regularization=2.0, unobserved_weight=0.5, frequency_exponent=1.0)
    assert (flat.ridge == 2.0).all()
    np.testing.assert_allclose(scaled.ridge, 2.0 * (counts + 0.5 * 25))


def test_gram_is_the_product() -> None:
    y = np.random.default_rng(0).normal(size=(9001, 7)).astype(np.float32)
    np.testing.assert_allclose(gram(y), y.T @ y, rtol=1e-4, atol=1e-2)


def test_the_number_of_threads_changes_no_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = random_snapshot(4, n_users=1200, n_items=700, n=6000)
    results = []
    for threads in ("1", "2", "3"):
        monkeypatch.setenv(THREADS_VARIABLE, threads)
        results.append(train(Ials(factors=5, epochs=2), snapshot).arrays())
    assert_same_arrays(results[0], results[1])
    assert_same_arrays(results[0], results[2])


def test_more_epochs_lower_the_loss_and_tolerance_stops() -> None:
    snapshot = random_snapshot(4)
    losses = [train(Ials(factors=6, epochs=e), snapshot).card.metrics["loss"] for e in (1, 3, 10)]
    assert losses == sorted(losses, reverse=True)
    stopped = train(Ials(factors=6, epochs=100, tolerance=0.02), snapshot).card.metrics
    assert stopped["epochs"] < 50


def test_a_warm_start_is_further_than_a_cold_one() -> None:
    snapshot = random_snapshot(4)
    trained = train(Ials(factors=6, epochs=20), snapshot)
    one = Ials(factors=6, epochs=1)
    warm = train(one, snapshot, trained, seed=1).card.metrics["loss"]
    cold = train(one, snapshot, seed=1).card.metrics["loss"]
    assert warm == pytest.approx(trained.card.metrics["loss"], rel=0.01)
    assert warm < cold * 0.9


def test_folding_in_a_trained_user_gives_the_trained_vector() -> None:
    snapshot = random_snapshot(2)
    model = train(Ials(factors=6, epochs=5, solver="exact"), snapshot)
    for user in range(0, 50, 7):
        history = snapshot.history(user)
        if len(history):
            folded = model.vector(Query(history=history, now=snapshot.cutoff))
            np.testing.assert_allclose(folded, model.user_factors[user], rtol=1e-4, atol=1e-5)


def test_one_click_of_somebody_new_moves_the_answer() -> None:
    model = train(Ials(factors=8, epochs=10, regularization=0.1), checkerboard(20))
    for item in (4, 7):
        click = Interactions.of(user=[0], item=[item], timestamp=[2e6])
        got = model.top(Query(history=click, now=2e6), 9, exclude=np.array([item], np.int32))
        assert (got.items % 2 == item % 2).all()


def test_nobody_knows_the_user_so_nothing_is_given() -> None:
    model = train(SMALL, random_snapshot(1))
    assert len(model.top(Query(), 5).items) == 0
    assert np.isnan(model.score(Query(), np.arange(3, dtype=np.int32))).all()
    batch = model.top_many(Queries(users=np.array([-1, 0], np.int32)), 3)
    assert batch.items[0].tolist() == [-1, -1, -1]
    assert (batch.items[1] >= 0).all()


def categories() -> Snapshot:
    base = checkerboard(20)
    events = base.interactions
    table = pa.table(
        {
            "user_id": base.users.ids(events.user.tolist()),
            "item_id": base.items.ids(events.item.tolist()),
            "timestamp": events.timestamp,
        }
    )
    ids = [*base.items.ids(range(20)), "new_even", "new_odd", "new_other", "new_null"]
    kinds = [*["even", "odd"] * 10, "even", "odd", "other", None]
    return build_snapshot(table, items=pa.table({"item_id": ids, "category": kinds}))


def test_items_without_interactions_have_the_mean_of_their_category() -> None:
    snapshot = categories()
    model = train(Ials(factors=8, epochs=10), snapshot)
    factors = model.index.by_row()
    even = snapshot.items.row("new_even")
    np.testing.assert_allclose(factors[even], factors[0:20:2].mean(axis=0), rtol=1e-4, atol=1e-6)
    nothing = [snapshot.items.row("new_other"), snapshot.items.row("new_null")]
    assert not factors[nothing].any()
    assert np.isnan(model.score(Query(user=0), np.array(nothing, np.int32))).all()
    assert model.card.notes == ["4 items had no interactions; 2 of them have the mean of their category."]
    given = model.top(Query(user=0), 100).items
    assert set(given.tolist()) == set(range(24)) - set(nothing)
    assert model.top(Query(user=0), 11).items.tolist().count(even) == 1


def test_a_cold_item_learns_from_who_takes_it() -> None:
    snapshot = categories()
    model = train(Ials(factors=8, epochs=10), snapshot)
    other = snapshot.items.row("new_other")
    events = Interactions.of(user=[0, 2, 4, -1], item=[other] * 4, timestamp=[2e6] * 4)
    folded = model.fold(events)
    assert np.isnan(model.score(Query(user=6), np.array([other], np.int32))).all()
    even, odd = (folded.score(Query(user=u), np.array([other], np.int32))[0] for u in (6, 7))
    assert even > odd + 0.1
    assert (folded.similar(other, 5).items % 2 == 0).all()


def test_items_that_nobody_knew_join_the_vocabulary() -> None:
    model = train(Ials(factors=8, epochs=10), checkerboard(20))
    larger = model.with_items(["a_first", "zz_last"])
    first = larger.items.row("a_first")
    assert (first, len(larger.items)) == (0, 22)
    before, after = model.top(Query(user=3), 5), larger.top(Query(user=3), 5)
    assert larger.items.ids(after.items.tolist()) == model.items.ids(before.items.tolist())
    folded = larger.fold(Interactions.of(user=[1, 3, 5], item=[first] * 3, timestamp=[2e6] * 3))
    odd, even = (folded.score(Query(user=u), np.array([first], np.int32))[0] for u in (7, 8))
    assert odd > even + 0.1


def test_event_weights_decide_what_counts() -> None:
    table = pa.table(
        {
            "user_id": ["a", "a", "b"],
            "item_id": ["x", "y", "x"],
            "timestamp": [1.0, 2.0, 3.0],
            "event_type": ["view", "buy", "buy"],
        }
    )
    recipe = Ials(factors=2, event_weights={"view": 0.0, "buy": 4.0}, alpha=0.5)
    snapshot = build_snapshot(table)
    seen = recipe.confidence(snapshot.interactions, (2, 2), now=3.0)
    assert (seen.indptr.tolist(), seen.indices.tolist(), seen.data.tolist()) == (
        [0, 1, 2],
        [1, 0],
        [2.0, 2.0],
    )


def test_old_events_fade() -> None:
    recipe = Ials(half_life="1d", alpha=1.0)
    snapshot = snapshot_of([(0, 0, 0.0), (0, 1, 86400.0), (0, 2, 172800.0)])
    seen = recipe.confidence(snapshot.interactions, (1, 3), now=172800.0)
    np.testing.assert_allclose(seen.data, [0.25, 0.5, 1.0])


@pytest.mark.parametrize(
    ("field", "value"),
    [("factors", 0), ("regularization", 0.0), ("alpha", -1.0), ("half_life", "soon"), ("epochs", -1)],
)
def test_a_wrong_value_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        Ials(**{field: value})
    with pytest.raises(ValueError, match=r"event_weights\.buy"):
        Ials(event_weights={"buy": -1.0})


def test_similar_items_weigh_how_much_is_known() -> None:
    """One user's odd item points where that user does; what forty others took together says more."""
    bread, butter, oddity = 0, 1, 11
    rows = [(u, item, float(u)) for u in range(40) for item in (bread, butter)]
    rows += [(40 + u, 2 + i, float(u)) for u in range(40) for i in range(u % 3, 9, 3)]
    rows += [(7, oddity, 99.0)]
    model = train(Ials(factors=8, epochs=10), snapshot_of(rows))
    told, plain = (
        dict(zip(found.items.tolist(), found.scores.tolist(), strict=True))
        for found in (model.similar(bread, 20), model.index.similar(bread, 20))
    )
    assert max(told, key=told.__getitem__) == butter
    assert told[oddity] / plain[oddity] < 0.6 < told[butter] / plain[butter]


def test_shrunk_cosines_are_the_formula() -> None:
    factors = np.random.default_rng(1).normal(size=(30, 4)).astype(np.float32)
    factors *= np.geomspace(1e-3, 3, 30, dtype=np.float32)[:, None]
    size = np.linalg.norm(factors.astype(np.float64), axis=1)
    cosine = factors.astype(np.float64) @ factors[29] / size / size[29]
    wanted = cosine * size / np.sqrt(size**2 + (size**2).mean())
    got = ExactIndex.build(factors).similar(29, 29, shrunk=True)
    np.testing.assert_allclose(got.scores, np.sort(wanted[:29])[::-1], rtol=1e-4, atol=1e-6)
    plain = ExactIndex.build(factors).similar(29, 29)
    np.testing.assert_allclose(plain.scores, np.sort(cosine[:29])[::-1], rtol=1e-4, atol=1e-6)
