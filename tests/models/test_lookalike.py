"""Lookalike gives people what people like them want, and hands over to their own taste."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from penchant.data.snapshot import Snapshot, build_snapshot
from penchant.evaluation.metrics import accuracy
from penchant.features.user_encoder import UserEncoder
from penchant.kernel.arrays import F32, Bools, Csr, Rows
from penchant.kernel.clock import DAY
from penchant.kernel.progress import Silent
from penchant.kernel.seeds import derive
from penchant.models.base import Queries, Query
from penchant.models.gains import gains
from penchant.models.ials import Ials
from penchant.models.lookalike import Lookalike
from penchant.models.lookalike_blend import Blend
from penchant.models.lookalike_model import LookalikeModel
from penchant.models.lookalike_pivots import pivots
from penchant.models.lookalike_prior import Attributes, Place, by_cluster, by_ridge, by_taste, targets
from penchant.models.lookalike_replay import make_replay
from penchant.models.lookalike_space import find_personas_of
from penchant.models.popularity import Popularity
from penchant.models.store import open_model, save_model
from penchant.models.user_logistic import fit_many, fit_users, probabilities
from penchant.testing.contracts import PersonalContract
from penchant.testing.data import random_snapshot

N = 120  # users of the tribes below, of whom the last two of each tribe did nothing
ITEMS = 30  # 0-9 are taken by everybody, 10-19 by the red, 20-29 by the blue


class TestLookalike(PersonalContract):
    recipe = Lookalike(factors=8, epochs=6)
    model_type = LookalikeModel


def tribes(*, informative: bool = True) -> Snapshot:
    """Red (even) and blue (odd) users take an item a day, most of the tribe's own, a quarter the other's."""
    rng = np.random.default_rng(3)
    users, items, times = [], [], []
    for user in range(N - 4):
        red = (user % 2 == 0) != (rng.random() < (0.25 if informative else 0.5))
        for day in range(10):
            own = rng.random() < 0.8
            users.append(f"u{user:03}")
            items.append(f"i{(0 if not own else 10 if red else 20) + rng.integers(10):02}")
            times.append(day * DAY + user)
    table = pa.table({"user_id": users, "item_id": items, "timestamp": times})
    everybody = [f"u{user:03}" for user in range(N)]
    colours = ["red" if user % 2 == 0 else "blue" for user in range(N)]
    people = pa.table({"user_id": everybody, "colour": colours})
    return build_snapshot(table, users=people)


def train(recipe: Lookalike, snapshot: Snapshot, seed: int = 1) -> LookalikeModel:
    return recipe.train(snapshot, rng=derive(seed), progress=Silent())


@pytest.mark.parametrize("place", ["taste", "ridge", "cluster"])
@pytest.mark.parametrize("soft", [False, True])
def test_somebody_without_a_history_gets_what_the_tribe_takes(place: Place, soft: bool) -> None:
    model = train(Lookalike(place=place, soft=soft, clusters=2, rank=2, factors=4, epochs=4), tribes())
    for user in range(N - 4, N):
        own = set(range(10, 20)) if user % 2 == 0 else set(range(20, 30))
        got = model.top(Query(user=user), 5).items.tolist()
        assert len(set(got) & own) >= 4, f"user {user} got {got}"
    assert model.card.metrics["prior_weight"] > 0


def test_somebody_nobody_knows_gets_popularity() -> None:
    snapshot = tribes()
    model = train(Lookalike(half_lives=("",), factors=4, epochs=4), snapshot)
    popular = Popularity(window="all").train(snapshot, rng=derive(0), progress=Silent())
    got = model.top(Query(), 10)
    assert got.items.tolist() == popular.top(Query(), 10).items.tolist()


def test_attributes_that_say_nothing_do_not_hurt_on_the_replay() -> None:
    for seed in range(5):
        metrics = train(Lookalike(factors=4, epochs=4), tribes(informative=False), seed).card.metrics
        assert metrics["replay_prior_ndcg_at_20"] >= metrics["replay_popularity_ndcg_at_20"]


def test_history_takes_over_from_attributes() -> None:
    """A red user who only ever took what the blue take is blue in the end."""
    snapshot = tribes()
    model = train(Lookalike(factors=8, epochs=8), snapshot)
    blue = snapshot.interactions.select(snapshot.interactions.item >= 20)
    weight = []
    for n in (0, 1, 10):
        history = blue.select(np.unique(blue.item, return_index=True)[1][:n])
        query = Query(user=N - 4, history=history, now=snapshot.cutoff)
        scores = model.score(query, np.arange(ITEMS, dtype=np.int32))
        weight.append(float(scores[20:].mean() - scores[10:20].mean()))
    assert weight[0] < weight[1] < weight[2]
    assert weight[2] > 0


def test_cluster_model_survives_disk(tmp_path: Path) -> None:
    model = train(Lookalike(place="cluster", factors=4, epochs=4), tribes())
    save_model(model, tmp_path / "m")
    opened = open_model(tmp_path / "m", {"lookalike": LookalikeModel})
    assert isinstance(opened, LookalikeModel)
    queries = Queries(users=np.arange(-1, N, dtype=np.int32))
    assert opened.top_many(queries, 9).scores.tobytes() == model.top_many(queries, 9).scores.tobytes()
    assert opened.k0 == model.k0


def test_ridge_without_a_penalty_gives_the_tribes_means() -> None:
    snapshot = tribes()
    taken = targets(snapshot, weights={}, half_life="")
    red = np.arange(N) % 2 == 0
    attributes = Attributes(
        values=np.stack([red, ~red], axis=1).astype(np.float32),
        known=np.ones(N, np.bool_),
        encoder=UserEncoder(codes=[]),
    )
    users = np.arange(N - 4, dtype=np.int32)
    expected = taken.toarray()[: N - 4][red[: N - 4]].mean(axis=0)
    ridge = by_ridge(taken, attributes, users, 1e-6)
    got = ridge.coordinates(1.0)[N - 4] @ ridge.rows()
    np.testing.assert_allclose(got, expected, atol=1e-5)
    space = find_personas_of(
        attributes.values, attributes.known, users, rank=2, clusters=2, rng=np.random.default_rng(0)
    )
    cluster = by_cluster(taken, space, users, soft=False)
    np.testing.assert_allclose(cluster.coordinates(1.0)[N - 4] @ cluster.rows(), expected, atol=1e-5)


def test_tastes_are_told_by_attributes_through_the_factors_of_everybody() -> None:
    """The oracle: a regression of the users' factors, their products with the items' factors, averaged."""
    snapshot = tribes()
    values, known, users = features_of(snapshot)
    known = known & (np.arange(N) % 3 > 0)  # of a third nothing is told, but their tastes count
    lasting = Ials(factors=3, epochs=4).train(snapshot, rng=derive(0), progress=Silent())
    fading = Ials(factors=2, epochs=4, half_life="9d").train(snapshot, rng=derive(1), progress=Silent())
    taken = targets(snapshot, weights={}, half_life="")
    placed = by_taste(taken, Attributes(values=values, known=known), users, [lasting, fading], 2.0)
    dense = users[known[users]]
    z = values[dense] - values[dense].mean(axis=0)
    expected = np.zeros((N, ITEMS))
    for tastes in (lasting, fading):
        usual = tastes.user_factors[dense].mean(axis=0)
        oracle = Ridge(alpha=2.0, fit_intercept=False).fit(z, tastes.user_factors[dense] - usual)
        told = oracle.predict(values - values[dense].mean(axis=0)) + usual
        expected += told @ tastes.index.by_row().T / 2
    got = placed.coordinates(1.0) @ placed.rows()
    np.testing.assert_allclose(got[known], expected[known], atol=1e-4)
    popular = np.asarray(taken[users].mean(axis=0)).ravel()
    np.testing.assert_allclose(got[~known], np.tile(popular, (int((~known).sum()), 1)), atol=1e-6)
    idle = replace(lasting, user_factors=np.zeros_like(lasting.user_factors))
    by_items = by_taste(taken, Attributes(values=values, known=known), users, [fading, idle], 2.0)
    np.testing.assert_array_equal(
        by_items.rows(), by_ridge(taken, Attributes(values=values, known=known), users, 2.0).rows()
    )


def test_the_replay_chooses_between_ways_of_placing() -> None:
    informed = train(Lookalike(factors=4, epochs=4, directions=2), tribes())
    alone = [
        train(Lookalike(place=p, factors=4, epochs=4, directions=2), tribes()) for p in ("taste", "ridge")
    ]
    best = [model.card.metrics["replay_prior_ndcg_at_20"] for model in alone]
    tails = [model.card.metrics["replay_prior_tail_ndcg_at_20"] for model in alone]
    found = informed.card.metrics
    reached = found["replay_prior_ndcg_at_20"] + found["replay_prior_tail_ndcg_at_20"]
    assert reached == pytest.approx(max(b + t for b, t in zip(best, tails, strict=True)))


def test_targets_fade_and_stop_at_one() -> None:
    table = pa.table(
        {
            "user_id": ["a", "a", "b"],
            "item_id": ["x", "x", "x"],
            "timestamp": [10 * DAY, 10 * DAY, 0.0],
        }
    )
    taken = targets(build_snapshot(table), weights={}, half_life="10d")
    np.testing.assert_allclose(taken.toarray(), [[1.0], [0.5]])


def test_blend_is_the_equation_of_the_module() -> None:
    rng = np.random.default_rng(0)
    y, d = rng.normal(size=(7, 3)).astype(np.float32), rng.normal(size=(2, 7)).astype(np.float32)
    taste, prior = rng.normal(size=(4, 3)).astype(np.float32), rng.normal(size=(4, 2)).astype(np.float32)
    taste[1] = 0  # nothing is known of this one's taste
    n = np.array([0, 5, 5, 20])
    blend = Blend.of(y, d)
    got = blend.vectors(taste, prior, n, 5.0)
    for u, a in enumerate([0.0, 0.0, 0.5, 0.8]):
        own, other = taste[u] @ y.T, prior[u] @ d
        other = other / np.sqrt((other**2).mean())
        own = own / np.sqrt((own**2).mean()) if own.any() else own
        expected = a * own + (1 - a) * other
        scores = blend.index.score(got[u], np.arange(7, dtype=np.int32))
        np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-5)
    assert not blend.vectors(taste, prior, n, math.inf)[:, :3].any()


def test_the_replay_hides_what_it_asks_for() -> None:
    snapshot = random_snapshot(4)
    replay = make_replay(snapshot, np.ones(snapshot.n_users, np.bool_), rng=derive(0))
    assert replay is not None
    assert not np.isin(replay.train.interactions.user, replay.new).any()
    assert replay.train.interactions.timestamp.max() < replay.later.timestamp.min()
    for sessions in (0, 1, 3):
        history, shown, truth = replay.after(sessions)
        for i, user in enumerate(replay.new):
            own = snapshot.history(int(user))
            own = own.select(own.timestamp >= replay.train.cutoff)
            times = np.unique(own.timestamp)[:sessions]
            first = np.isin(own.timestamp, times)
            assert set(shown.row(i).tolist()) == set(own.item[first].tolist())
            assert set(truth.row(i).tolist()) == set(own.item[~first].tolist()) - set(
                own.item[first].tolist()
            )
        assert len(history) == (np.isin(history.user, np.arange(len(replay.new)))).sum()


def test_nobody_to_make_new_no_replay() -> None:
    snapshot = random_snapshot(4)
    assert make_replay(snapshot, np.zeros(snapshot.n_users, np.bool_), rng=derive(0)) is None


def test_without_anything_to_replay_attributes_of_full_rank_are_no_obstacle() -> None:
    snapshot = random_snapshot(4, n_users=60)
    at_once = replace(snapshot.interactions, timestamp=np.full(len(snapshot.interactions), 1e6))
    snapshot = snapshot.with_interactions(at_once)
    level = pa.array(["a", "b", "c"] * (snapshot.n_users // 3 + 1))[: snapshot.n_users]
    told = snapshot.with_user_table(snapshot.user_table.append_column("level", level))
    model = Lookalike(factors=4, epochs=2).train(told, rng=derive(0), progress=Silent())
    assert model.card.notes == ["Nothing to replay: everybody gets popularity."]
    assert len(model.top(Query(user=0), 5).items) == 5


def test_gains_are_the_metric_of_the_leaderboard() -> None:
    rng = np.random.default_rng(5)
    lists = np.argsort(rng.random((20, 40)), axis=1)[:, :20].astype(np.int32)
    owner, column = np.nonzero(rng.random((20, 40)) < 0.2)
    truth = Csr.summed(
        owner.astype(np.int32),
        column.astype(np.int32),
        np.ones(len(owner), np.float32),
        n_rows=20,
        n_columns=40,
    )
    np.testing.assert_allclose(gains(lists, truth), accuracy(lists, truth, [20])["ndcg_at_20"])


@pytest.mark.parametrize(
    "fields", [{"clusters": 0}, {"half_lives": []}, {"penalties": [0.0]}, {"half_lives": ["soon"]}]
)
def test_what_makes_no_sense_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"clusters|half_lives"):
        Lookalike(**fields)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("place", ["taste", "ridge", "cluster"])
@pytest.mark.parametrize("soft", [False, True])
def test_who_came_since_gets_what_those_with_the_same_attributes_get(
    place: Place, soft: bool, tmp_path: Path
) -> None:
    trained = train(Lookalike(place=place, soft=soft, clusters=2, rank=2, factors=4, epochs=4), tribes())
    save_model(trained, tmp_path / "m")
    for model in (trained, open_model(tmp_path / "m", {"lookalike": LookalikeModel})):
        assert isinstance(model, LookalikeModel)
        for user, colour in ((N - 2, "red"), (N - 1, "blue")):
            known = model.top(Query(user=user), 9)
            new = model.top(Query(attributes={"colour": colour, "shoe": 41}), 9)
            assert new.items.tolist() == known.items.tolist()
            np.testing.assert_allclose(new.scores, known.scores, rtol=1e-4)
            assert model.persona_of({"colour": colour}) == model.personas[user]
        nothing = model.top(Query(attributes={"shoe": 41}), 9)
        assert nothing.items.tolist() == model.top(Query(), 9).items.tolist()
        assert model.persona_of({}) == -1


def test_a_personas_feed_is_what_its_users_want_on_average() -> None:
    snapshot = tribes()
    model = train(Lookalike(clusters=2, rank=2, factors=4, epochs=4), snapshot)
    assert model.n_personas == 2
    for persona, own in ((model.personas[0], range(10, 20)), (model.personas[1], range(20, 30))):
        found = model.persona_top(int(persona), 10)
        assert len(set(found.items.tolist()) & set(own)) >= 8
    metrics = model.card.metrics
    # Both users of a colour have the same attributes, so a persona loses nothing on new ones.
    assert metrics["persona_loss_new_ndcg_at_20"] == pytest.approx(0.0, abs=1e-6)
    assert metrics["persona_loss_known_ndcg_at_20"] > -0.02


@pytest.mark.parametrize("pivot_model", ["taste", "logistic"])
def test_a_pivot_speaks_for_its_persona(pivot_model: Literal["taste", "logistic"]) -> None:
    recipe = Lookalike(
        place="cluster", speaks="pivot", pivot_model=pivot_model, clusters=2, rank=2, factors=8, epochs=8
    )
    snapshot = tribes()
    model = train(recipe, snapshot)
    space = find_personas_of(*features_of(snapshot), rank=2, clusters=2, rng=np.random.default_rng(0))
    taken = targets(snapshot, weights={}, half_life="")
    chosen = pivots(taken, space, np.arange(N - 4, dtype=np.int32))
    for persona, pivot in enumerate(chosen.tolist()):
        assert space.labels[pivot] == persona
        assert taken[[pivot]].nnz >= np.median(np.diff(taken.indptr)[space.labels == persona])
    if model.card.metrics["prior_weight"] > 0:
        mine = set(snapshot.history(int(chosen[model.personas[0]])).item.tolist())
        got = model.top(Query(user=N - 4), 6).items.tolist()
        assert len(mine & set(got)) >= 3


def features_of(snapshot: Snapshot) -> tuple[F32, Bools, Rows]:
    red = np.arange(N) % 2 == 0
    values = np.stack([red, ~red], axis=1).astype(np.float32)
    return values, np.ones(N, np.bool_), np.arange(N - 4, dtype=np.int32)


def test_each_users_regression_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 4))
    starts, rows, labels, weights = [0], [], [], []
    for _ in range(5):
        n = int(rng.integers(20, 60))
        own = rng.choice(60, n, replace=False)
        p = 1 / (1 + np.exp(-features[own] @ rng.normal(size=4) - 0.5))
        rows.append(own)
        labels.append((rng.random(n) < p).astype(float))
        weights.append(rng.uniform(0.5, 3, n))
        starts.append(starts[-1] + n)
    found = fit_many(
        features,
        np.array(starts),
        np.concatenate(rows).astype(np.int32),
        np.concatenate(labels),
        np.concatenate(weights),
        0.7,
    )
    for u in range(5):
        oracle = LogisticRegression(C=1 / 0.7, tol=1e-10, max_iter=1000)
        oracle.fit(features[rows[u]], labels[u], sample_weight=weights[u])
        expected = np.append(oracle.coef_[0], oracle.intercept_)
        np.testing.assert_allclose(found[u], expected, atol=1e-4)
        np.testing.assert_allclose(
            probabilities(features, found[u : u + 1])[0], oracle.predict_proba(features)[:, 1], atol=1e-4
        )


def test_a_user_model_finds_the_items_of_its_kind() -> None:
    features = np.repeat(np.eye(3), 20, axis=0)
    taken = Csr.summed(
        np.repeat([0, 1], 6).astype(np.int32),
        np.concatenate([np.arange(6), np.arange(20, 26)]).astype(np.int32),
        np.ones(12, np.float32),
        n_rows=2,
        n_columns=60,
    )
    fitted = fit_users(
        features, taken, np.array([1, 0], np.int32), penalty=0.1, negatives=3, rng=np.random.default_rng(0)
    )
    p = probabilities(features, fitted).reshape(2, 3, 20).mean(axis=2)
    assert p.argmax(axis=1).tolist() == [1, 0]
