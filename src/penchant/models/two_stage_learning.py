"""How the second stage learns: what users took next, several times over, among what they might have taken.

Each window cuts the log at a moment: the parts are trained on what came before it, say their candidates, and
the candidates that the user took for the first time in the span after it are the right ones. Windows follow
one another back from the end, as many seasons as there are: what helps in one alone is not learnt.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from penchant.data.snapshot import Snapshot
from penchant.data.splits import Split, time_split
from penchant.kernel.arrays import F32, Bools, Rows
from penchant.kernel.errors import InputError
from penchant.kernel.progress import Progress
from penchant.models.base import Recipe, Retriever
from penchant.models.boosted import Trees, no_trees, trees_of
from penchant.models.parts import query_of, raw, standard, train_part
from penchant.models.two_stage_features import Facts, facts_of, features

_FEW = 100  # requests: fewer teach nothing that lasts
_HELD = 10  # every tenth request of the newest window says when to stop
_PATIENCE = 30  # trees without gain on them
_PARAMETERS = {
    "objective": "binary",
    "min_data_in_leaf": 100,
    "feature_fraction": 0.5,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "lambda_l2": 5.0,
    "num_threads": 1,
    "deterministic": True,
    "force_col_wise": True,
    "verbose": -1,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """Candidates of several requests, one after another."""

    x: F32  # (m, G)
    taken: Bools  # (m,)
    size: Rows  # (requests,) candidates of each, Σ = m


def candidates(z: F32, own: Rows, depth: int) -> Rows:
    """Return the rows that any part has among its best ``depth``, those the user took (``own``) aside."""
    free = z.copy()
    free[:, own] = -np.inf
    depth = min(depth, free.shape[1] - len(own))
    if depth < 1:
        return np.zeros(0, np.int32)
    best = np.argpartition(-free, depth - 1, axis=1)[:, :depth]
    return np.unique(best).astype(np.int32)


def examples(
    split: Split,
    models: Mapping[str, Retriever],
    facts: Facts,
    *,
    depth: int,
    requests: int,
    progress: Progress,
) -> Examples:
    """Return the candidates of at most ``requests`` requests of a split, and which of them were taken."""
    step = -(-len(split) // requests)
    x: list[F32] = []
    taken: list[Bools] = []
    progress.start("examples", len(range(0, len(split), step)))
    for i in range(0, len(split), step):
        query = query_of(split, i)
        z = standard(raw(list(models.values()), query))
        history = split.train.history(query.user)
        pool = candidates(z, split.exclude.row(i), depth)
        x.append(features(facts, z, history, pool))
        taken.append(np.isin(pool, split.truth.row(i)))
        progress.advance()
    size = np.array([len(one) for one in taken], np.int32)
    return Examples(x=np.concatenate(x), taken=np.concatenate(taken), size=size)


def windows(
    snapshot: Snapshot,
    recipes: Mapping[str, Recipe],
    seeds: Mapping[str, int],
    *,
    columns: tuple[str, ...],
    span: float,
    most: int,
    depth: int,
    requests: int,
    progress: Progress,
) -> list[Examples]:
    """Return the examples of up to ``most`` windows, the newest first; fewer where the log is too short."""
    found: list[Examples] = []
    for back in range(1, most + 1):
        cut = snapshot.cutoff - back * span
        try:
            split = time_split(snapshot.before(cut + span) if back > 1 else snapshot, at=cut)
        except InputError:
            break
        models = {n: train_part(r, split.train, seeds[n], progress) for n, r in recipes.items()}
        facts = facts_of(split.train, columns, span)
        found.append(examples(split, models, facts, depth=depth, requests=requests, progress=progress))
    return found


def learn(
    found: list[Examples], *, trees: int, leaves: int, rate: float, seed: int, progress: Progress
) -> tuple[Trees, dict[str, float]]:
    """Return the trees whose sum is the log-odds that a candidate is taken, and what they reach.

    The log loss on every tenth request of the newest window says how many. Too few requests give no trees.
    """
    if trees == 0 or sum(len(one.size) for one in found) < _FEW or not any(e.taken.any() for e in found):
        return no_trees(), {}
    import lightgbm as lgb  # heavy, and needs the system's libgomp

    newest = found[0]
    late = np.repeat(np.arange(len(newest.size)) % _HELD == 0, newest.size)
    x = np.concatenate([newest.x[~late], *(one.x for one in found[1:])])
    taken = np.concatenate([newest.taken[~late], *(one.taken for one in found[1:])])
    parameters = {**_PARAMETERS, "num_leaves": leaves, "learning_rate": rate, "seed": seed}
    data = lgb.Dataset(x, taken.astype(np.int8), params=parameters)
    held = lgb.Dataset(newest.x[late], newest.taken[late].astype(np.int8), reference=data)
    progress.start("trees", trees)

    def tell(step: Any) -> None:
        progress.advance(note=f"log loss {step.evaluation_result_list[0][2]:.4f}")

    model: Any = lgb.train(
        parameters,
        data,
        trees,
        valid_sets=[held],
        valid_names=["held"],
        callbacks=[tell, lgb.early_stopping(_PATIENCE, verbose=False)],
    )
    told = model.dump_model(num_iteration=model.best_iteration)["tree_info"]
    reached = float(model.best_score["held"]["binary_logloss"])
    return trees_of([tree["tree_structure"] for tree in told]), {"trees": len(told), "log_loss": reached}
