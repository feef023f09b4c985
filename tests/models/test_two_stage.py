"""Two stages: trees that find what no part knows, features against a slow oracle, and the contract."""

import numpy as np
import pyarrow as pa
import pytest

from penchant.data.snapshot import Snapshot, build_snapshot
from penchant.data.splits import time_split
from penchant.evaluation.metrics import accuracy
from penchant.evaluation.protocols import answers
from penchant.kernel.arrays import F32
from penchant.kernel.clock import DAY
from penchant.kernel.errors import InputError
from penchant.kernel.progress import Silent
from penchant.kernel.seeds import derive
from penchant.models.base import Query
from penchant.models.parts import recipes_of
from penchant.models.two_stage import TwoStage, TwoStageModel
from penchant.models.two_stage_features import facts_of, features
from penchant.models.two_stage_learning import Examples, candidates, learn, windows
from penchant.testing.contracts import PersonalContract
from penchant.testing.data import item_id, random_snapshot, user_id

PARTS = {
    "ease": {"recipe": "ease", "regularization": 2.0},
    "popular": {"recipe": "popularity", "window": "all"},
}
POPULAR = {"popular": {"recipe": "popularity", "window": "all"}}


class TestTwoStage(PersonalContract):
    recipe = TwoStage(parts=PARTS, candidates=10, windows=2, trees=20, requests=200)
    model_type = TwoStageModel

    def test_a_checkerboard_gives_everybody_the_missing_item(self) -> None:
        self.recipe = TwoStage(parts={"ease": PARTS["ease"]})  # pyright: ignore[reportIncompatibleVariableOverride]  popularity knows no taste
        super().test_a_checkerboard_gives_everybody_the_missing_item()


def shop(seed: int = 0, *, users: int = 300, items: int = 120, n: int = 9_000) -> Snapshot:
    """Return users of one colour each who take items of that colour, equally often: no part knows colours."""
    rng = np.random.default_rng(seed)
    user = rng.integers(0, users, n)
    item = rng.integers(0, items // 4, n) * 4 + user % 4
    table = pa.table(
        {
            "user_id": [user_id(u) for u in user],
            "item_id": [item_id(i) for i in item],
            "timestamp": np.sort(rng.uniform(1_000_000, 1_000_000 + 100 * DAY, n)),
        }
    )
    colours = ["red", "green", "blue", "grey"]
    described = {
        "item_id": [item_id(i) for i in range(items)],
        "colour": [colours[i % 4] for i in range(items)],
    }
    return build_snapshot(
        table, items=pa.table({**described, "title": [f"number {i}" for i in range(items)]})
    )


def ndcg(recipe: TwoStage, snapshot: Snapshot) -> float:
    split = time_split(snapshot)
    model = recipe.train(split.train, rng=derive(1), progress=Silent())
    return float(accuracy(answers(model, split, 10), split.truth, [10])["ndcg_at_10"].mean())


def test_trees_find_the_colour_that_popularity_does_not_know() -> None:
    recipe = TwoStage(parts=POPULAR, candidates=120, span="10d")
    none = ndcg(TwoStage(parts=POPULAR, candidates=120, span="10d", trees=0), shop())
    assert ndcg(recipe, shop()) > 2 * none
    model = recipe.train(shop(), rng=derive(1), progress=Silent())
    assert "columns: colour." in model.card.notes[0]  # a title says something else of each item
    assert model.card.metrics["trees"] > 0


def test_what_lies_in_a_window_is_not_told_to_its_features() -> None:
    """Other purchases after the cut change what is right, and nothing else."""

    def newest(seed: int) -> Examples:
        first, second = shop().interactions, shop(seed).interactions
        cut = shop().cutoff - 10 * DAY
        joined = first.joined(
            first.select(first.timestamp < cut), second.select(second.timestamp >= cut)
        )  # the same before the cut
        snapshot = shop().with_interactions(joined)
        return windows(
            snapshot, recipes_of(POPULAR), {"popular": 1}, columns=("colour",), span=snapshot.cutoff - cut,
            most=1, depth=30, requests=10**6, progress=Silent(),
        )[0]  # fmt: skip

    one, other = newest(0), newest(5)
    assert one.taken.sum() > 20
    assert other.taken.sum() > 20
    # Who comes back for something new differs; rows of those who do in both are the same to the bit.
    rows = [{row.tobytes() for row in part.x} for part in (one, other)]
    assert len(rows[0] & rows[1]) > 0.5 * len(rows[0])


def test_windows_end_where_the_log_begins() -> None:
    found = windows(
        shop(), recipes_of(POPULAR), {"popular": 1}, columns=(), span=30 * DAY, most=9, depth=5, requests=50,
        progress=Silent(),
    )  # fmt: skip
    assert len(found) == 3
    assert all(len(one.size) <= 50 for one in found)


def test_features_equal_a_slow_oracle() -> None:
    snapshot = shop(n=2_000)
    span, now = 12 * DAY, snapshot.cutoff
    facts = facts_of(snapshot, ["colour"], span)
    rng = np.random.default_rng(0)
    z = rng.normal(size=(2, snapshot.n_items)).astype(np.float32)
    history = snapshot.history(7)
    pool = np.array([3, 0, 50, 7, 111], np.int32)
    got = features(facts, z, history, pool)
    assert got.shape == (5, 4 + facts.width)
    np.testing.assert_allclose(got, oracle(snapshot, z, 7, pool, span, now), rtol=1e-5, atol=1e-5)


def oracle(
    snapshot: Snapshot, z: F32, user: int, pool: np.ndarray, span: float, now: float
) -> list[list[float]]:
    log = snapshot.interactions
    events = list(zip(log.user.tolist(), log.item.tolist(), log.timestamp.tolist(), strict=True))
    colour = snapshot.item_table["colour"].to_pylist()
    mine = [(i, t) for u, i, t in events if u == user]
    rows: list[list[float]] = []
    for j in pool:
        times = [t for _, i, t in events if i == j]

        def within(spans: float, times: list[float] = times) -> int:
            return sum(t >= now - spans * span for t in times)

        quarter, half, one, two = within(1 / 4), within(1 / 2), within(1), within(2)
        ranks = [sum(part[i] > part[j] for i in pool) for part in z]
        like = [(i, t) for i, t in mine if colour[i] == colour[j]]
        lately = [i for i, t in like if t >= now - 3 * span]
        rows.append(
            [
                *z[:, j],
                *np.log1p(ranks),
                *np.log1p([within(1 / 12), quarter, half, one, two, len(times)]),
                np.log1p(quarter) - np.log1p(half - quarter),
                np.log1p(one) - np.log1p(two - one),
                np.log1p((now - min(times, default=now)) / span),
                *np.log1p([len(like), len(lately), len({i for i, _ in like})]),
                len(like) / len(mine),
                np.log1p(len(mine)),
                np.log1p(sum(t >= now - span for _, t in mine)),
                np.log1p(len({i for i, _ in mine})),
                np.log1p(min((now - max(t for _, t in mine)) / span, 10)),
            ]
        )
    return rows


def test_nobody_and_an_item_without_a_value_have_features() -> None:
    snapshot = random_snapshot(1)
    facts = facts_of(snapshot, [], DAY)
    got = features(
        facts, np.zeros((1, snapshot.n_items), np.float32), snapshot.history(-1), np.arange(3, dtype=np.int32)
    )
    assert np.isfinite(got).all()
    assert got.shape == (3, 2 + facts.width)


def test_candidates_are_the_best_of_each_part_and_nothing_taken() -> None:
    z = np.array([[5, 4, 3, 2, 1, 0], [0, 1, 2, 3, 4, 5]], np.float32)
    assert candidates(z, np.array([0], np.int32), 2).tolist() == [1, 2, 4, 5]
    assert candidates(z, np.arange(6, dtype=np.int32), 2).tolist() == []
    assert candidates(z, np.arange(5, dtype=np.int32), 4).tolist() == [5]


def test_candidates_come_first_and_what_was_taken_last_of_all() -> None:
    snapshot = shop()
    model = TwoStage(parts=POPULAR, candidates=20, span="10d").train(
        snapshot, rng=derive(1), progress=Silent()
    )
    own = np.unique(snapshot.history(7).item)
    given = model.top(Query(user=7), 200).items
    assert len(given) == snapshot.n_items
    assert not set(given[:20].tolist()) & set(own.tolist())


def test_too_little_to_learn_from_leaves_the_order_of_the_parts() -> None:
    snapshot = random_snapshot(1)
    model = TwoStage(parts=POPULAR, span="1d").train(snapshot, rng=derive(1), progress=Silent())
    assert len(model.trees.root) == 0
    part = model.parts["popular"]
    assert model.top(Query(user=1), 9).items.tolist() == part.top(Query(user=1), 9).items.tolist()


def test_examples_without_anything_taken_give_no_trees() -> None:
    nothing = Examples(
        x=np.zeros((400, 3), np.float32), taken=np.zeros(400, np.bool_), size=np.full(200, 2, np.int32)
    )
    assert learn([nothing], trees=5, leaves=4, rate=0.1, seed=1, progress=Silent())[1] == {}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"parts": {}}, "parts is empty"),
        ({"parts": {"a": {"recipe": "two_stage"}}}, "parts.a: recipe is 'two_stage'"),
        ({"candidates": 0}, "candidates"),
        ({"windows": 0}, "windows"),
        ({"span": "soon"}, "span"),
        ({"leaves": 1}, "leaves"),
    ],
)
def test_a_wrong_value_is_refused_by_its_name(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TwoStage(**fields)  # pyright: ignore[reportArgumentType]  wrong on purpose


def test_a_column_that_is_not_there_is_named() -> None:
    with pytest.raises(InputError, match="colours") as refused:
        TwoStage(parts=POPULAR, columns=("colours",)).train(shop(n=500), rng=derive(1), progress=Silent())
    assert "colour" in str(refused.value)
