"""Boosted trees that choose one of several candidates: fitted with LightGBM, kept and scored as plain arrays.

Of each choice the candidate i with the features x_i and the offset o_i is taken with the probability

    q(i) = exp(o_i + T(x_i)) / Σ_c exp(o_c + T(x_c))        T(x) = Σ_t leaf of tree t that x falls into

Each tree takes a step down the slope of -ln q of what was chosen, whose first two derivatives by T(x_i) are
q(i) - 1_i and q(i) (1 - q(i)) (Friedman: Greedy function approximation, 2001; Ke et al.: LightGBM, 2017).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from penchant.kernel.arrays import F32, F64, AnyArray, Rows, readonly
from penchant.kernel.compiled import kernel
from penchant.kernel.progress import Progress

_FEW = 100  # fewer choices teach nothing that lasts
_PATIENCE = 20  # trees without gain on the newest tenth
_PARAMETERS = {
    "learning_rate": 0.1,
    "num_leaves": 15,
    "min_data_in_leaf": 50,
    "min_sum_hessian_in_leaf": 1.0,
    "lambda_l2": 5.0,
    "feature_fraction": 0.5,
    "max_bin": 127,
    "num_threads": 1,
    "deterministic": True,
    "force_col_wise": True,
    "verbose": -1,
}


class Trees(NamedTuple):
    """Decision trees, one after another. A leaf is a node that is its own child."""

    root: Rows  # (t,)
    depth: Rows  # (t,) steps to the furthest leaf
    feature: Rows  # (nodes,)
    threshold: F64  # (nodes,) up to it, the first child is next
    child: Rows  # (nodes, 2)
    value: F64  # (nodes,) what a leaf adds


class Choices(NamedTuple):
    """n times one of several candidates was chosen, oldest first; all candidates stand in one column."""

    features: F32  # (m, G)
    offset: F64  # (m,)
    size: Rows  # (n,) candidates of each choice, Σ = m
    chosen: Rows  # (n,) which of them, from 0

    def part(self, first: int, end: int) -> "Choices":
        """Return the choices from ``first`` up to ``end``."""
        begin, stop = int(self.size[:first].sum()), int(self.size[:end].sum())
        return Choices(
            self.features[begin:stop], self.offset[begin:stop], self.size[first:end], self.chosen[first:end]
        )

    @property
    def starts(self) -> AnyArray:
        """Return where each choice's candidates begin (n,)."""
        return np.cumsum(self.size) - self.size


@kernel()
def add_trees(trees: Trees, x: F32, out: F64) -> None:
    """Add T of each row of ``x`` (c, G) to ``out`` (c,).

    All rows go down a tree in step: nothing is there for the processor to guess wrong.
    """
    at = np.empty(len(x), np.int32)
    for t in range(len(trees.root)):
        at[:] = trees.root[t]
        for _ in range(trees.depth[t]):
            for c in range(len(x)):
                node = at[c]
                at[c] = trees.child[node, int(x[c, trees.feature[node]] > trees.threshold[node])]
        for c in range(len(x)):
            out[c] += trees.value[at[c]]


def no_trees() -> Trees:
    """Return trees that say nothing."""
    return trees_of(())


def fit_trees(
    choices: Choices, most: int, *, seed: int, progress: Progress
) -> tuple[Trees, dict[str, float]]:
    """Return up to ``most`` trees, and on the newest tenth of the choices -log2 q without and with them.

    The newest tenth says when to stop. A few choices give no trees and no measure.
    """
    n = len(choices.size)
    if n < _FEW or most == 0:
        return no_trees(), {}
    import lightgbm as lgb  # heavy, and needs the system's libgomp

    old, new = Loss(choices.part(0, n - n // 10)), Loss(choices.part(n - n // 10, n))
    parameters = {**_PARAMETERS, "objective": old.slopes, "seed": seed}
    data = lgb.Dataset(old.choices.features, old.label, init_score=old.choices.offset, params=parameters)
    held = lgb.Dataset(new.choices.features, new.label, init_score=new.choices.offset, reference=data)
    progress.start("trees", most)
    measured: list[float] = []

    def measure(scores: F64, _: object) -> tuple[str, float, bool]:
        measured.append(new.bits(scores))
        progress.advance(note=f"{measured[-1]:.3f} bits a choice")
        return "bits", measured[-1], False

    before = new.bits(new.choices.offset)
    model: Any = lgb.train(
        parameters, data, most, valid_sets=[held], feval=measure,
        callbacks=[lgb.early_stopping(_PATIENCE, verbose=False)],
    )  # fmt: skip
    if min(measured) >= before:
        return no_trees(), {"bits": before}
    info = model.dump_model(num_iteration=model.best_iteration)["tree_info"]
    return trees_of([tree["tree_structure"] for tree in info]), {"bits": before, "bits_trees": min(measured)}


class Loss:
    """-ln q of some choices."""

    def __init__(self, choices: Choices) -> None:
        self.choices = choices
        self._of = np.repeat(np.arange(len(choices.size)), choices.size)
        self._right = choices.starts + choices.chosen
        self.label = np.zeros(len(choices.offset))
        self.label[self._right] = 1.0

    def _shares(self, scores: F64) -> F64:
        raised = np.exp(scores - np.maximum.reduceat(scores, self.choices.starts)[self._of])
        return raised / np.add.reduceat(raised, self.choices.starts)[self._of]

    def slopes(self, scores: F64, _: object) -> tuple[F64, F64]:
        """Return both derivatives (m,)."""
        share = self._shares(scores)
        return share - self.label, share * (1.0 - share)

    def bits(self, scores: F64) -> float:
        """Return the mean of -log2 q."""
        return float(-np.log2(np.maximum(self._shares(scores)[self._right], 1e-12)).mean())


def trees_of(structures: Sequence[dict[str, Any]]) -> Trees:
    """Return the trees of LightGBM's ``dump_model``."""
    nodes: list[tuple[int, float, float]] = []  # feature, threshold, value
    child: list[tuple[int, int]] = []

    def add(node: dict[str, Any]) -> tuple[int, int]:
        """Return the place of a node and the steps below it."""
        place = len(nodes)
        child.append((place, place))
        if "split_feature" not in node:
            nodes.append((0, np.inf, float(node["leaf_value"])))
            return place, 0
        nodes.append((int(node["split_feature"]), float(node["threshold"]), 0.0))
        (left, left_depth), (right, right_depth) = add(node["left_child"]), add(node["right_child"])
        child[place] = left, right
        return place, 1 + max(left_depth, right_depth)

    roots = [add(structure) for structure in structures]
    feature, threshold, value = zip(*nodes, strict=True) if nodes else ((), (), ())
    return Trees(
        root=readonly(np.array([place for place, _ in roots], np.int32)),
        depth=readonly(np.array([depth for _, depth in roots], np.int32)),
        feature=readonly(np.array(feature, np.int32)),
        threshold=readonly(np.array(threshold, np.float64)),
        child=readonly(np.array(child, np.int32).reshape(len(nodes), 2)),
        value=readonly(np.array(value, np.float64)),
    )
