"""Items nobody took: their factors come from what is known of them, chosen on items held out."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from penchant.data.snapshot import Snapshot, build_snapshot
from penchant.features.item_features import item_features
from penchant.features.text import TextSettings, with_text
from penchant.feed.bridge import Bridge
from penchant.feed.explore import Pool
from penchant.feed.live import Live
from penchant.kernel.arrays import F32, Csr, Rows
from penchant.kernel.errors import InputError
from penchant.kernel.progress import Silent
from penchant.kernel.seeds import derive
from penchant.models.base import Query
from penchant.models.cold_items import ColdItems, fill_cold
from penchant.models.ials import Ials, IalsModel
from penchant.testing.data import item_id, user_id
from penchant.testing.feed_contracts import request_for

KINDS, PER_KIND, USERS = 4, 30, 120
WORDS = [
    ["oak", "table", "chair", "desk", "shelf"],
    ["rose", "tulip", "seed", "pot", "soil"],
    ["lamp", "bulb", "torch", "candle", "light"],
    ["cup", "plate", "bowl", "spoon", "fork"],
]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def shop(*, informative: bool = True, cold: int = 12) -> Snapshot:
    """Return items of four kinds, each liked by a quarter of the users; the last ``cold`` nobody took.

    A title is three words of the kind, or of any kind when not ``informative``; so is the label list.
    """
    drawn = rng(5)
    n = KINDS * PER_KIND
    kinds = np.arange(n) % KINDS
    said = kinds if informative else drawn.permutation(kinds)
    titles = [" ".join(drawn.choice(WORDS[k], 3, replace=False)) for k in said]
    rows = [
        (user_id(u), item_id(int(i)), 1e6 + 100.0 * u + j)
        for u in range(USERS)
        for j, i in enumerate(drawn.choice(n - cold, 25))
        if kinds[i] == u % KINDS or drawn.random() < 0.15
    ]
    users, items, times = zip(*rows, strict=True)
    table = pa.table(
        {
            "item_id": [item_id(i) for i in range(n)],
            "title": titles,
            "kind": [f"k{k}" for k in said],
            "category": ["all"] * n,
        }
    )
    return build_snapshot(
        pa.table({"user_id": users, "item_id": items, "timestamp": times}),
        users=pa.table({"user_id": [user_id(u) for u in range(USERS)]}),
        items=table,
    )


def told(snapshot: Snapshot) -> Snapshot:
    return with_text(snapshot, TextSettings(columns=["title"]), cache=Path("unused"))


def trained(snapshot: Snapshot, **cold: object) -> IalsModel:
    recipe = Ials(factors=8, epochs=8, cold_items=ColdItems(**cold))  # pyright: ignore[reportArgumentType]
    return recipe.train(snapshot, rng=derive(1), progress=Silent())


def own_kind(model: IalsModel, n_cold: int = 12) -> float:
    """Return how many of a user's best quarter of the cold items are of the user's kind, on average."""
    n = len(model.items)
    cold = np.arange(n - n_cold, n, dtype=np.int32)
    found = [
        np.mean(cold[np.argsort(-model.score(Query(user=u), cold))[: n_cold // KINDS]] % KINDS == u % KINDS)
        for u in range(USERS)
    ]
    return float(np.mean(found))


def test_the_text_of_new_items_says_who_likes_them() -> None:
    model = trained(told(shop()), columns=("title",), groups=())
    assert own_kind(model) > 0.8  # a quarter by chance
    assert model.card.notes == [
        "12 items had no interactions; 12 of them have a factor by ridge from title and the text."
    ]
    metrics = model.card.metrics
    assert metrics["cold_ndcg_at_20_ridge"] > metrics["cold_ndcg_at_20_mean"] + 0.2


def test_so_do_properties() -> None:
    assert own_kind(trained(shop(), way="ridge", columns=("kind",))) > 0.9


def test_without_what_tells_them_apart_new_items_are_all_the_same() -> None:
    model = trained(shop(), way="mean")
    factors = model.index.by_row()[-12:]
    np.testing.assert_allclose(factors, np.repeat(factors[:1], 12, axis=0), rtol=1e-5)
    assert model.card.notes == ["12 items had no interactions; 12 of them have the mean of their category."]


def test_properties_that_say_nothing_are_not_believed() -> None:
    metrics = trained(told(shop(informative=False)), columns=("kind",)).card.metrics
    assert metrics["cold_ndcg_at_20_ridge"] < metrics["cold_ndcg_at_20_mean"] + 0.15


def test_a_cold_twin_lands_near_its_twin() -> None:
    """A new item with the text of a warm one is most like it and its kind."""
    snapshot = shop()
    titles = snapshot.item_table["title"].to_pylist()
    twin = len(titles) - 1
    original = 3  # of the same kind: both numbers leave the same rest
    titles[twin] = titles[original]
    table = snapshot.item_table.set_column(1, "title", pa.array(titles))
    twins = build_snapshot(
        pa.table(
            {
                "user_id": snapshot.users.ids(snapshot.interactions.user.tolist()),
                "item_id": snapshot.items.ids(snapshot.interactions.item.tolist()),
                "timestamp": snapshot.interactions.timestamp,
            }
        ),
        items=table,
    )
    model = trained(told(twins), columns=("title",), groups=())
    like = model.index.similar(twin, 20)  # by where its vector points; the model also weighs what is known
    assert (like.items % KINDS == original % KINDS).mean() > 0.9
    y = model.index.by_row()
    cosine = y @ y[twin] / np.maximum(np.sqrt((y * y).sum(axis=1)) * np.sqrt(y[twin] @ y[twin]), 1e-12)
    other = np.flatnonzero(np.arange(len(y)) % KINDS != original % KINDS)
    assert cosine[original] > cosine[other].max()


def test_none_leaves_new_items_out() -> None:
    model = trained(told(shop()), way="none")
    assert not model.index.by_row()[-12:].any()
    assert model.card.notes == []


def test_warm_items_and_users_are_what_they_are_without() -> None:
    snapshot = told(shop())
    one, other = trained(snapshot), trained(snapshot, way="none")
    assert one.user_factors.tobytes() == other.user_factors.tobytes()
    assert one.index.by_row()[:-12].tobytes() == other.index.by_row()[:-12].tobytes()


def test_the_same_seed_gives_the_same_bytes() -> None:
    snapshot = told(shop())
    assert trained(snapshot).index.by_row().tobytes() == trained(snapshot).index.by_row().tobytes()


def test_a_column_that_is_not_there_is_named() -> None:
    with pytest.raises(InputError, match=r"items have no column 'knid'.*kind"):
        trained(shop(), columns=("knid",))


def test_penalties_must_be_above_nothing() -> None:
    with pytest.raises(ValueError, match="penalties"):
        ColdItems(penalties=(0.0,))


def test_the_ridge_is_its_formula() -> None:
    """With one penalty and no text: the map by the textbook, over indicators of the kinds."""
    snapshot = shop()
    drawn = rng(2)
    factors = drawn.normal(size=(snapshot.n_items, 5)).astype(np.float32)
    people = drawn.normal(size=(USERS, 5)).astype(np.float32)
    seen = snapshot.pairs()
    config = ColdItems(way="ridge", columns=("kind",), groups=(), penalties=(4.0,))
    got = fill_cold(config, snapshot, factors, people, seen, rng=rng())
    taken = np.bincount(seen.indices, minlength=snapshot.n_items)
    warm = np.flatnonzero(taken > 0)
    kinds = np.array([int(k[1]) for k in snapshot.item_table["kind"].to_pylist()])
    z = (kinds[:, None] == np.arange(KINDS)).astype(np.float64)
    weight = taken[warm] ** got.metrics["cold_trust"]
    weight = weight / weight.mean()
    mean, centre = (np.average(a[warm], axis=0, weights=weight) for a in (factors, z))
    zc = z[warm] - centre
    w = np.linalg.solve(
        zc.T @ (zc * weight[:, None]) + 4 * np.eye(KINDS), zc.T @ ((factors[warm] - mean) * weight[:, None])
    )
    cold = np.flatnonzero(taken == 0)
    np.testing.assert_allclose(got.factors[cold], mean + (z[cold] - centre) @ w, rtol=1e-4, atol=1e-5)
    assert got.rows.tolist() == cold.tolist()
    np.testing.assert_array_equal(got.factors[warm], factors[warm])


def features_of(columns: dict[str, object], names: tuple[str, ...] = ()) -> tuple[Snapshot, F32]:
    n = len(next(iter(columns.values())))  # pyright: ignore[reportArgumentType]
    items = pa.table({"item_id": [item_id(i) for i in range(n)], **columns})
    acted = pa.table(
        {"user_id": ["u"] * n, "item_id": [item_id(i) for i in range(n)], "timestamp": [1.0] * n}
    )
    snapshot = build_snapshot(acted, items=items)
    found = item_features(snapshot, names, np.arange(n, dtype=np.int32))
    return snapshot, found.levels.toarray().astype(np.float32)


def test_what_is_a_property_and_what_is_not() -> None:
    n = 30
    columns: dict[str, object] = {
        "brand": ["a", "b", None] * 10,
        "title": [f"title {i}" for i in range(n)],
        "labels": [["x", "y"], ["y"], []] * 10,
        "genres": ["p|q", "q", None] * 10,
        "price": [float(i) for i in range(n)],
        "new": [True, False] * 15,
    }
    snapshot, matrix = features_of(columns)
    names = item_features(snapshot, (), np.arange(n, dtype=np.int32)).columns
    assert names == ("brand", "labels", "genres", "price", "new")
    assert matrix.shape == (n, 2 + 2 + 2 + 8 + 2)
    assert matrix[:, 2:4].tolist() == [[1, 1], [0, 1], [0, 0]] * 10
    assert matrix[:, 6:14].sum(axis=1).tolist() == [1] * n
    assert features_of({"rare": ["a", "a", "b"]})[1].shape[1] == 0


def test_moments_and_products_are_those_of_the_dense_matrix() -> None:
    snapshot = told(shop())
    warm = np.arange(80, dtype=np.int32)
    features = item_features(snapshot, ("kind",), warm)
    z = np.concatenate([features.levels.toarray(), features.text], axis=1).astype(np.float64)
    weight, y = rng().random(80), rng(1).normal(size=(80, 3))
    mean, gram, moment = features.moments(warm, weight, y)
    np.testing.assert_allclose(mean, np.average(z[warm], axis=0, weights=weight))
    np.testing.assert_allclose(gram, z[warm].T @ (z[warm] * weight[:, None]), atol=1e-12)
    np.testing.assert_allclose(moment, z[warm].T @ (y * weight[:, None]), atol=1e-12)
    w = rng(2).normal(size=(z.shape[1], 3))
    rows: Rows = np.array([5, 90, 0], np.int32)
    np.testing.assert_allclose(features.times(w, rows), z[rows] @ w)


def test_nothing_taken_nothing_filled() -> None:
    snapshot = shop()
    nobody = Csr.group(
        np.zeros(0, np.int32),
        np.zeros(0, np.int32),
        np.zeros(0, np.float32),
        n_rows=USERS,
        n_columns=snapshot.n_items,
    )
    factors = np.zeros((snapshot.n_items, 2), np.float32)
    got = fill_cold(ColdItems(), snapshot, factors, np.ones((USERS, 2), np.float32), nobody, rng=rng())
    assert len(got.rows) == 0


def test_exploration_shows_new_items_to_those_who_should_like_them() -> None:
    snapshot = told(shop())
    live = Live(snapshot)
    bridge = Bridge.of("for_you", trained(snapshot, way="ridge"), snapshot)
    pool = Pool(live, bridge, age_cut_off=0.0)  # only what nobody took is new
    found: list[float] = []
    for u in range(USERS):
        first = pool.fetch(request_for(live, user_id(u), k=3), 3).items
        assert (first >= snapshot.n_items - 12).all()
        found.append(float((first % KINDS == u % KINDS).mean()))
    assert np.mean(found) > 0.8  # a quarter without factors
