"""Next best actions in a world whose probabilities are known: how near they are foretold, at what cost."""

import time
from dataclasses import dataclass

import lightgbm
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse, special
from sklearn.linear_model import LogisticRegression

from bench.paired import versions
from penchant.data.snapshot import ActionTables, Snapshot, build_snapshot
from penchant.kernel.clock import DAY
from penchant.kernel.progress import Silent
from penchant.kernel.seeds import derive
from penchant.models.action_belief import predictions
from penchant.models.action_trials import trials_of
from penchant.models.next_best_action import NextBestAction, NextBestActionModel

_NOW = 1_700_000_000.0
_PLANS = ("free", "plus", "gold")


@dataclass(frozen=True, kw_only=True)
class World:
    """Users with an age and a plan; what they are asked, and do, and how likely they do anything (u, a)."""

    age: NDArray[np.float64]
    plan: NDArray[np.int64]
    chance: NDArray[np.float64]
    user: NDArray[np.int64]
    action: NDArray[np.int64]
    time: NDArray[np.float64]
    taken: NDArray[np.bool_]

    @classmethod
    def made(cls, *, users: int, actions: int, trials: int, seed: int = 0) -> "World":
        """Draw one: actions differ, users differ beside their columns, and few actions are asked often."""
        rng = np.random.default_rng(seed)
        age, plan = rng.normal(size=users), rng.integers(0, 3, users)
        f = rng.normal(-1.5, 1.0, actions) + rng.normal(0, 0.6, (3, actions))[plan]
        f = f + np.outer(age, rng.normal(0, 0.5, actions)) + rng.normal(0, 0.9, (users, 1))
        f = f + rng.normal(0, 0.5, (users, actions))
        often = (np.arange(actions) + 1.0) ** -1.0
        what = rng.choice(actions, trials, p=often / often.sum())
        who = rng.choice(users, trials)
        chance = special.expit(f)
        when = np.sort(rng.uniform(_NOW - 90 * DAY, _NOW, trials))
        taken = rng.random(trials) < chance[who, what]
        return cls(age=age, plan=plan, chance=chance, user=who, action=what, time=when, taken=taken)

    def snapshot(self, n: int) -> Snapshot:
        """Return what the first ``n`` answers say."""
        responses = pa.table(
            {
                "user_id": [f"u{u:06}" for u in self.user[:n].tolist()],
                "action_id": [f"a{a:04}" for a in self.action[:n].tolist()],
                "timestamp": self.time[:n],
                "event_type": ["TAKEN" if one else "NOT_TAKEN" for one in self.taken[:n].tolist()],
            }
        )
        users = pa.table(
            {
                "user_id": [f"u{u:06}" for u in range(len(self.age))],
                "age": self.age,
                "plan": [_PLANS[p] for p in self.plan.tolist()],
            }
        )
        nothing = pa.table({name: pa.array([], pa.string()) for name in ("user_id", "item_id")})
        nothing = nothing.append_column("timestamp", pa.array([], pa.float64()))
        puts = pa.table({"action_id": [f"a{a:04}" for a in range(self.chance.shape[1])]})
        return build_snapshot(
            nothing, users=users, actions=ActionTables(puts=puts, responses=responses, shown={})
        )


def ours(world: World, n: int) -> tuple[NDArray[np.float64], float, NextBestActionModel]:
    """Return the probability of each answer after the ``n``-th as of its moment, CPU seconds, the model."""
    past, whole = world.snapshot(n), world.snapshot(len(world.user)).actions
    begun = time.process_time()
    model = NextBestAction().train(past, rng=derive(0), progress=Silent())
    seconds = time.process_time() - begun
    assert whole is not None
    trials = trials_of(whole.interactions, period=model.period, now=_NOW)
    x = np.array(
        [model.features({"age": a, "plan": _PLANS[p]}) for a, p in zip(world.age, world.plan, strict=True)]
    )
    own = (model.common + model.own)[trials.action]
    logit = np.einsum("ij,ij->i", x[trials.user], own)
    _, ready, liking, _, _ = model.chances.tolist()
    p = predictions(
        trials,
        np.ones(len(trials)),
        logit,
        model.doubt[trials.action],
        ready=ready,
        liking=liking,
        n_actions=len(model.items),
    )
    order = np.lexsort((trials.user, trials.start))
    return p[order][n:], seconds, model


def by_regression(world: World, n: int) -> tuple[NDArray[np.float64], float]:
    """scikit-learn: logistic regression over the columns, the action, and each column for each action."""
    rows, users, actions = np.arange(len(world.user)), world.user, world.action
    n_actions = world.chance.shape[1]
    about = np.column_stack(
        [np.ones(len(users)), world.age[users], world.plan[users] == 1, world.plan[users] == 2]
    )
    d = about.shape[1]
    crossed = sparse.csr_matrix(
        (about.ravel(), (np.repeat(rows, d), (actions[:, None] * d + np.arange(d)).ravel())),
        shape=(len(users), n_actions * d),
    )
    x = sparse.hstack([sparse.csr_matrix(about[:, 1:]), crossed]).tocsr()
    begun = time.process_time()
    model = LogisticRegression(C=1.0, max_iter=500).fit(x[:n], world.taken[:n])
    seconds = time.process_time() - begun
    return model.predict_proba(x[n:])[:, 1], seconds


def by_trees(world: World, n: int) -> tuple[NDArray[np.float64], float]:
    """LightGBM: the columns, the action, and how often the user took and was asked, in all and for it."""
    n_actions = world.chance.shape[1]
    history = np.zeros((len(world.user), 4))
    every: dict[int, list[int]] = {}
    for i, (user, action, taken) in enumerate(zip(world.user, world.action, world.taken, strict=True)):
        for at, key in ((0, int(user)), (2, -1 - int(user) * n_actions - int(action))):
            seen = every.setdefault(key, [0, 0])
            history[i, at : at + 2] = seen
            seen[0] += int(taken)
            seen[1] += 1
    x = np.column_stack([world.action, world.age[world.user], world.plan[world.user], history])
    fit, check = int(0.85 * n), n
    begun = time.process_time()
    data = lightgbm.Dataset(x[:fit], world.taken[:fit], categorical_feature=[0, 2])
    valid = lightgbm.Dataset(x[fit:check], world.taken[fit:check], reference=data)
    model = lightgbm.train(
        {"objective": "binary", "learning_rate": 0.05, "num_leaves": 15, "num_threads": 1, "verbosity": -1},
        data,
        1000,
        valid_sets=[valid],
        callbacks=[lightgbm.early_stopping(30, verbose=False)],
    )
    seconds = time.process_time() - begun
    return np.asarray(model.predict(x[n:])), seconds


def measured(p: NDArray[np.float64], world: World, n: int) -> dict[str, float]:
    """Return log loss, AUC, the calibration error in ten parts, and the mean distance to the truth."""
    taken, truth = world.taken[n:], world.chance[world.user[n:], world.action[n:]]
    sure = np.clip(p, 1e-9, 1 - 1e-9)
    rank = np.argsort(np.argsort(p)) + 1.0
    k = taken.sum()
    parts = np.array_split(np.argsort(p), 10)
    return {
        "log_loss": float(-np.where(taken, np.log(sure), np.log(1 - sure)).mean()),
        "auc": float((rank[taken].sum() - k * (k + 1) / 2) / (k * (len(taken) - k))),
        "calibration_error": float(np.mean([abs(p[part].mean() - taken[part].mean()) for part in parts])),
        "distance": float(np.abs(p - truth).mean()),
    }


def request_seconds(model: NextBestActionModel, snapshot: Snapshot) -> float:
    """Return the median time of one user's probabilities of every action, trials included."""
    assert snapshot.actions is not None
    times: list[float] = []
    for user in range(300):
        history = snapshot.actions.history(user)
        begun = time.perf_counter()
        model.probabilities(history, model.logits(model.middle), model.doubt, model.rates, now=_NOW)
        times.append(time.perf_counter() - begun)
    return float(np.median(times))


def main(*, quick: bool) -> dict[str, object]:
    """Foretell the newest fifth of the answers by four ways, each answer as of its own moment."""
    size = {"users": 2_000, "actions": 12, "trials": 20_000}
    size = size if quick else {"users": 8_000, "actions": 40, "trials": 100_000}
    world = World.made(**size)
    n = int(0.8 * size["trials"])
    found: dict[str, dict[str, float]] = {}
    p, seconds, model = ours(world, n)
    found["next_best_action"] = {**measured(p, world, n), "cpu_seconds": seconds}
    rates = np.bincount(world.action[:n], world.taken[:n]) / np.bincount(world.action[:n])
    found["rates of the actions"] = measured(rates[world.action[n:]], world, n)
    for name, way in (("logistic regression", by_regression), ("gradient trees", by_trees)):
        p, seconds = way(world, n)
        found[name] = {**measured(p, world, n), "cpu_seconds": seconds}
    found["the truth"] = measured(world.chance[world.user[n:], world.action[n:]], world, n)
    for name, one in found.items():
        print(f"{name:22}", {key: round(value, 4) for key, value in one.items()})
    wide = World.made(users=500, actions=1000, trials=5_000)
    snapshot = wide.snapshot(5_000)
    asked = request_seconds(NextBestAction().train(snapshot, rng=derive(0), progress=Silent()), snapshot)
    print(f"one request over 1,000 actions: {asked * 1e6:.0f} µs")
    best = found["next_best_action"]["log_loss"]
    others = min(found[name]["log_loss"] for name in ("logistic regression", "gradient trees"))
    return {
        "bar": "nearer to the truth than logistic regression and than trees that know the user's counts",
        "met": best < others,
        "data": f"simulated, {size}; how often an action is asked falls as 1/rank; users differ otherwise",
        "protocol": "learnt on the first four fifths by time, each later answer foretold as of its moment",
        "found": found,
        "ratio": others / best,
        "request_seconds_1000_actions": asked,
        "chances": model.chances.tolist(),
        "versions": versions("numpy", "scikit-learn", "lightgbm", "numba"),
    }
