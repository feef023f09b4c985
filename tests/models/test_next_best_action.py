"""The next best action: trials, beliefs and the fit against slow oracles; probabilities that are known."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, special

from penchant.data.actions import NOT_TAKEN, OFFERED, SHOWN, TAKEN, VIEWED
from penchant.data.interactions import Interactions
from penchant.data.snapshot import ActionTables, Snapshot, build_snapshot
from penchant.kernel.arrays import F64
from penchant.kernel.clock import DAY
from penchant.kernel.errors import InputError
from penchant.kernel.progress import Silent
from penchant.kernel.seeds import derive
from penchant.models.action_belief import predictions
from penchant.models.action_logit import fit_logits
from penchant.models.action_trials import Trials, haste_of, meanings, rates_of, trials_of, weights_of
from penchant.models.base import Recipe
from penchant.models.next_best_action import NextBestAction, NextBestActionModel
from penchant.testing.contracts import RecipeContract

KINDS = (NOT_TAKEN, SHOWN, TAKEN, VIEWED, "click")
NOW = 1_700_000_000.0


class TestNextBestAction(RecipeContract):
    """What every recipe promises, here without any action."""

    recipe: ClassVar[Recipe] = NextBestAction(half_life_days=90.0)
    model_type = NextBestActionModel


class TestWithActions(TestNextBestAction):
    """The same with some."""

    def train(self, snapshot: Snapshot | None = None, *, seed: int = 7, previous: Any = None) -> Any:
        return super().train(World.made(3).snapshot() if snapshot is None else snapshot, seed=seed)


@dataclass(frozen=True, kw_only=True)
class World:
    """Users with two columns, and how likely each really takes each action."""

    age: F64
    plan: list[str]
    chance: F64  # (users, actions)
    users: Any
    actions: Any
    taken: Any
    times: F64

    @classmethod
    def made(
        cls, seed: int, *, users: int = 2000, actions: int = 12, trials: int = 24_000, ready: float = 1.0
    ) -> "World":
        """Draw a world: log-odds of plan and age that differ by action, and users who differ beside that."""
        rng = np.random.default_rng(seed)
        age, gold = rng.normal(size=users), rng.random(users) < 0.3
        f = rng.normal(-1.2, 1.0, actions) + np.outer(gold, rng.normal(0.8, 0.8, actions))
        f = f + np.outer(age, rng.normal(0.0, 0.6, actions)) + rng.normal(0, math.sqrt(ready), (users, 1))
        chance = special.expit(f)
        who, what = rng.integers(0, users, trials), rng.integers(0, actions, trials)
        return cls(
            age=age,
            plan=["gold" if one else "free" for one in gold],
            chance=chance,
            users=who,
            actions=what,
            taken=rng.random(trials) < chance[who, what],
            times=np.sort(rng.uniform(NOW - 90 * DAY, NOW, trials)),
        )

    def snapshot(self, *, without: int = 0) -> Snapshot:
        """Return what a log of it says, all but the newest ``without`` trials, as explicit answers."""
        n = len(self.users) - without
        responses = pa.table(
            {
                "user_id": [f"u{u:05}" for u in self.users[:n].tolist()],
                "action_id": [f"a{a:03}" for a in self.actions[:n].tolist()],
                "timestamp": self.times[:n],
                "event_type": [TAKEN if one else NOT_TAKEN for one in self.taken[:n].tolist()],
            }
        )
        ids = [f"u{u:05}" for u in range(len(self.age))]
        puts = pa.table({"action_id": [f"a{a:03}" for a in range(self.chance.shape[1])]})
        return build_snapshot(
            pa.table(
                {
                    "user_id": pa.array([], pa.string()),
                    "item_id": pa.array([], pa.string()),
                    "timestamp": pa.array([], pa.float64()),
                }
            ),
            users=pa.table({"user_id": ids, "age": self.age, "plan": self.plan}),
            actions=ActionTables(puts=puts, responses=responses, shown={}),
        )

    def foretold(self, model: NextBestActionModel, snapshot: Snapshot, user: int) -> F64:
        """Return what the model says of one user's every action now."""
        assert snapshot.actions is not None
        x = model.features({"age": float(self.age[user]), "plan": self.plan[user]})
        history = snapshot.actions.history(user)
        return model.probabilities(history, model.logits(x), model.doubt, model.rates, now=NOW)


def trained(snapshot: Snapshot, recipe: NextBestAction | None = None) -> NextBestActionModel:
    return (recipe or NextBestAction()).train(snapshot, rng=derive(1, "t"), progress=Silent())


def test_probabilities_are_those_of_the_world_and_the_order_costs_little() -> None:
    world = World.made(1)
    snapshot = world.snapshot()
    model = trained(snapshot)
    p = np.array([world.foretold(model, snapshot, u) for u in range(600)])
    truth = world.chance[:600]
    for part in np.array_split(np.argsort(p, axis=None), 10):
        said, real = p.ravel()[part].mean(), truth.ravel()[part].mean()
        assert said == pytest.approx(real, abs=0.03), (said, real)
    best = truth.max(axis=1).mean()
    ours = truth[np.arange(600), p.argmax(axis=1)].mean()
    everybody = truth[:, model.rates.argmax()].mean()
    at_random = truth.mean()
    assert ours > everybody + 0.3 * (best - everybody)
    assert (best - ours) < 0.15 * (best - at_random)
    metrics = model.card.metrics
    assert metrics["calibration_error"] < 0.03
    assert metrics["log_loss"] < metrics["log_loss_of_action_rates"] - 0.05
    assert 0.7 < metrics["auc"] < 1.0


def test_users_alike_beside_their_features_are_told_apart_by_nothing_else() -> None:
    flat, varied = World.made(4, ready=0.0), World.made(4, ready=1.5)
    assert trained(flat.snapshot()).chances[1] <= 0.1
    assert 0.5 <= trained(varied.snapshot()).chances[1] <= 2.0


def test_a_stranger_gets_the_mean_of_people_and_an_action_without_trials_that_of_its_kind() -> None:
    world = World.made(2)
    whole = world.snapshot()
    model = trained(whole)
    nobody = np.array([model.logits(model.features({}))])
    history = Interactions.none((TAKEN,))
    p = model.probabilities(history, nobody[0], model.doubt, model.rates, now=NOW)
    assert np.abs(p - world.chance.mean(axis=0)).max() < 0.12
    # One trial of one action moves it little: it is still near the mean of all actions.
    few = World.made(2, trials=40)
    shy = trained(few.snapshot())
    assert shy.card.notes
    assert not shy.card.metrics
    said = special.expit(shy.average)
    assert said.std() < few.chance.mean(axis=0).std()
    assert np.abs(said - few.taken.mean()).max() < 0.5


def test_what_actions_have_in_common_is_told_of_new_ones() -> None:
    rng = np.random.default_rng(5)
    n, users = 40, 1500
    club = np.arange(n) % 2 == 0
    chance = np.where(club, 0.6, 0.1)
    who, what = rng.integers(0, users, 20_000), rng.integers(0, n, 20_000)
    taken = rng.random(20_000) < chance[what]
    responses = pa.table(
        {
            "user_id": [f"u{u}" for u in who.tolist()],
            "action_id": [f"a{a:02}" for a in what.tolist()],
            "timestamp": NOW - rng.uniform(0, 1e6, 20_000),
            "event_type": [TAKEN if one else NOT_TAKEN for one in taken.tolist()],
        }
    )
    puts = pa.table(
        {"action_id": [f"a{a:02}" for a in range(n)], "sort": ["club" if c else "ad" for c in club]}
    )
    nothing = pa.table({c: pa.array([], pa.string()) for c in ("user_id", "item_id")})
    nothing = nothing.append_column("timestamp", pa.array([], pa.float64()))
    actions = ActionTables(puts=puts, responses=responses, shown={})
    model = trained(build_snapshot(nothing, actions=actions))
    for sort, real in (("club", 0.6), ("ad", 0.1)):
        said = special.expit(model.common @ model.middle + model.lean({"sort": sort}))
        assert said == pytest.approx(real, abs=0.05)


@pytest.mark.parametrize(
    ("fields", "word"),
    [({"period_days": 0.0}, "period"), ({"most_features": 0}, "most"), ({"half_life_days": -1.0}, "half")],
)
def test_what_cannot_be_is_refused(fields: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        NextBestAction(**fields)
    with pytest.raises(InputError, match="no column 'agee'"):
        trained(World.made(3, trials=10).snapshot(), NextBestAction(columns=("agee",)))


Event = tuple[int, int, float, int]


def interactions(events: list[Event], kinds: tuple[str, ...] = KINDS) -> Interactions:
    user, item, time, kind = zip(*events, strict=True) if events else ((), (), (), ())
    return Interactions.of(user=user, item=item, timestamp=time, event_type=kind, event_types=kinds)


def slow_trials(events: list[Event], period: float, now: float) -> list[tuple[int, int, float, float, float]]:
    """Return the trials as the text of the module says, one event after another."""
    found: list[tuple[int, int, float, float, float]] = []
    for pair in sorted({(user, action) for user, action, _, _ in events}):
        own = sorted((t, KINDS[k] in (TAKEN, NOT_TAKEN), -k, k) for u, a, t, k in events if (u, a) == pair)
        begun: float | None = None
        for time, _, _, kind in own:
            if KINDS[kind] == "click":
                continue
            if begun is not None and time - begun > period:
                found.append((*pair, begun, begun + period, 0.0))
                begun = None
            if KINDS[kind] in (VIEWED, SHOWN):
                begun = time if begun is None else begun
                continue
            found.append((*pair, time if begun is None else begun, time, float(KINDS[kind] == TAKEN)))
            begun = None
        if begun is not None:
            found.append((*pair, begun, begun + period if now - begun >= period else math.inf, 0.0))
    return found


event = st.tuples(
    st.integers(0, 2), st.integers(0, 2), st.integers(0, 60).map(float), st.integers(0, len(KINDS) - 1)
)


@given(st.lists(event, max_size=40), st.sampled_from([1.0, 7.0, 100.0]))
def test_trials_are_those_of_the_slow_way(events: list[Event], period: float) -> None:
    found = trials_of(interactions(events), period=period, now=60.0)
    rows = zip(found.user, found.action, found.start, found.end, found.taken, strict=True)
    assert [tuple(map(float, row)) for row in rows] == [
        tuple(map(float, row)) for row in slow_trials(events, period, 60.0)
    ]


def test_offers_are_seen_only_where_the_app_says_nothing_of_it() -> None:
    assert meanings((OFFERED, TAKEN)).tolist() == [2, 1]
    assert meanings((OFFERED, TAKEN, VIEWED)).tolist() == [3, 1, 2]
    assert meanings((OFFERED, SHOWN)).tolist() == [3, 2]


def test_what_is_still_open_counts_as_far_as_it_is_likely_to_stay_so() -> None:
    """Rates are right although the newest trials are open, and would be wrong counted as either."""
    rng = np.random.default_rng(0)
    n, period, now, p, mean = 60_000, 14 * DAY, NOW, 0.3, 3 * DAY
    start = now - rng.uniform(0, 8 * DAY, n)
    late = rng.exponential(mean, 4 * n)
    late = late[late < period][:n]
    will = rng.random(n) < p
    known = will & (start + late <= now)
    end = np.where(known, start + late, np.inf)
    user, action = np.arange(n, dtype=np.int32), np.zeros(n, np.int32)
    trials = Trials(user=user, action=action, start=start, end=end, taken=known.astype(float))
    haste = 1 / mean
    weight = weights_of(trials, np.full(n, p), haste=haste, period=period, now=now)
    assert known.sum() / weight.sum() == pytest.approx(p, abs=0.01)
    assert known.sum() / n < p - 0.05
    assert known.sum() / (~trials.open).sum() > p + 0.1
    assert haste_of(trials.select(np.flatnonzero(known)), period=period) > haste / 2
    assert rates_of(trials, 2)[1] == pytest.approx(rates_of(trials, 2)[0], abs=0.02)  # nothing known: as all


def slow_predictions(trials: Trials, weight: F64, logit: F64, doubt: F64, ready: float, liking: float) -> F64:
    """Return each prediction from the trials of the user that ended before it, all over again."""
    c = math.sqrt(1 + math.pi / 8 * (ready + liking))
    out = np.zeros(len(trials))
    end = np.where(trials.open, trials.start, trials.end)
    for i in range(len(trials)):
        before = [
            j for j in range(len(trials)) if trials.user[j] == trials.user[i] and end[j] < trials.start[i]
        ]
        mean, spread, own, liked = 0.0, ready, 0.0, liking
        others: dict[int, tuple[float, float]] = {}
        for j in sorted(before, key=lambda j: end[j]):
            a = int(trials.action[j])
            own, liked = others.get(a, (0.0, liking))
            v = spread + liked
            p = special.expit((c * logit[j] + mean + own) / math.sqrt(1 + math.pi / 8 * (v + doubt[j])))
            g, h = trials.taken[j] - weight[j] * p, weight[j] * p * (1 - p)
            mean, own = mean + spread * g / (1 + v * h), own + liked * g / (1 + v * h)
            spread, liked = spread - spread**2 * h / (1 + v * h), liked - liked**2 * h / (1 + v * h)
            others[a] = own, liked
        own, liked = others.get(int(trials.action[i]), (0.0, liking))
        v = spread + liked + doubt[i]
        out[i] = special.expit((c * logit[i] + mean + own) / math.sqrt(1 + math.pi / 8 * v))
    return out


@given(st.integers(0, 10_000))
def test_predictions_are_those_of_the_slow_way(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 25))
    start = rng.permutation(1000)[:n].astype(float)
    end = np.where(rng.random(n) < 0.3, np.inf, start + rng.permutation(n) / n + rng.integers(0, 300))
    user, action = rng.integers(0, 3, n).astype(np.int32), rng.integers(0, 4, n).astype(np.int32)
    trials = Trials(user=user, action=action, start=start, end=end, taken=(rng.random(n) < 0.4).astype(float))
    weight, logit, doubt = rng.random(n), rng.normal(size=n), rng.random(n)
    ours = predictions(trials, weight, logit, doubt, ready=1.0, liking=0.5, n_actions=4)
    assert ours == pytest.approx(slow_predictions(trials, weight, logit, doubt, 1.0, 0.5), abs=1e-12)


def test_a_belief_is_near_the_exact_posterior() -> None:
    """After 0 to 12 answers to different actions, p is near the integral over r that it stands for."""
    ready = 1.0
    c = math.sqrt(1 + math.pi / 8 * ready)
    for answers in ([], [1], [0], [1, 1, 0], [1] * 5, [0] * 8, [1, 0] * 6):
        n = len(answers)
        trials = Trials(
            user=np.zeros(n + 1, np.int32),
            action=np.arange(n + 1, dtype=np.int32),
            start=np.arange(n + 1, dtype=float),
            end=np.append(np.arange(n) + 0.5, np.inf),
            taken=np.array([*answers, 0], float),
        )
        weight = np.append(np.ones(n), 0.0)
        logit = np.full(n + 1, -0.7)
        p = predictions(trials, weight, logit, np.zeros(n + 1), ready=ready, liking=0.0, n_actions=n + 1)[-1]

        def density(r: float, answers: list[int] = answers) -> float:
            s = special.expit(c * -0.7 + r)
            return math.exp(-r * r / (2 * ready)) * math.prod(s if y else 1 - s for y in answers)

        r = np.linspace(-8, 8, 4001)
        weights = np.array([density(one) for one in r.tolist()])
        exact = (special.expit(c * -0.7 + r) * weights).sum() / weights.sum()
        assert p == pytest.approx(exact, abs=0.03), answers


def test_the_fit_is_the_maximum_of_its_posterior() -> None:
    rng = np.random.default_rng(3)
    n_users, n_actions, n = 300, 4, 3000
    x = np.column_stack([np.ones(n_users), rng.normal(size=(n_users, 2))]).astype(np.float32)
    user, action = (
        rng.integers(0, n_users, n).astype(np.int32),
        rng.integers(0, n_actions, n).astype(np.int32),
    )
    taken = (rng.random(n) < 0.3 + 0.1 * action).astype(float)
    about = np.eye(n_actions)[:, :1]
    fit = fit_logits(x, user, action, taken, np.ones(n), about=about)

    def loss(flat: F64) -> float:
        common, own = flat[:3], flat[3:].reshape(n_actions, 3)
        z = np.einsum("ij,ij->i", x[user].astype(float), common + own[action])
        own = own.copy()
        own[:, 0] -= about @ fit.kind
        penalty = common @ (common / np.array([100.0, 4, 4])) + (own[:, 0] ** 2).sum() / fit.differ
        penalty += (own[:, 1:] ** 2).sum() / fit.lean
        return float((np.logaddexp(0, z) - taken * z).sum() + penalty / 2)

    ours = np.concatenate([fit.common, fit.own.ravel()])
    least = optimize.minimize(loss, ours, method="BFGS")
    assert loss(ours) - least.fun < 0.05
    assert fit.of(np.array([1.0, 0, 0])) == pytest.approx(fit.common[0] + fit.own[:, 0])
