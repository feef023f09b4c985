"""What the learners of an ensemble have learned, in a form that is evaluated on codes.

A code has at most 256 values, so a linear model is a table a column and a tree's question a yes or no a
code: everybody is scored from the one-byte codes, block by block, without a table of their values.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from penchant.kernel.arrays import F32, F64, I64, U8, AnyArray, Bools, Rows, readonly
from penchant.kernel.compiled import kernel, prange

_USERS = 1024


class Model(Protocol):
    """One fitted model."""

    @property
    def columns(self) -> Rows:
        """Return the columns of the code store that it reads (k,)."""
        ...

    def score(self, codes: U8, space: F32) -> F64:
        """Return the scores (m,) of m users from the codes (k, m) of its columns and their taste (m, r)."""
        ...


@kernel(parallel=True)
def _gather(codes: U8, places: I64, users: I64, out: U8) -> None:
    for k in prange(len(places)):
        row = codes[places[k]]
        for i in range(len(users)):
            out[k, i] = row[users[i]]


def gather(codes: U8, places: AnyArray, users: AnyArray) -> U8:
    """Return ``codes[places][:, users]``."""
    out = np.empty((len(places), len(users)), np.uint8)
    _gather(codes, places.astype(np.int64), users.astype(np.int64), out)
    return out


@kernel(parallel=True)
def _additive(codes: U8, tables: F64, out: F64) -> None:
    blocks = (codes.shape[1] + _USERS - 1) // _USERS
    for block in prange(blocks):
        first = block * _USERS
        end = min(first + _USERS, codes.shape[1])
        for j in range(codes.shape[0]):
            for i in range(first, end):
                out[i] += tables[j, codes[j, i]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Additive:
    """s(u) = offset + sum_j table[j, code of j] + slope . taste(u)."""

    columns: Rows  # (k,)
    table: F64  # (k, bins)
    slope: F64  # (r,), or (0,) when taste does not count
    offset: float

    def score(self, codes: U8, space: F32) -> F64:
        """Return the scores (m,)."""
        out = np.full(codes.shape[1], self.offset)
        if len(self.slope):
            out += space.astype(np.float64) @ self.slope
        _additive(codes, self.table, out)
        return out


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaning:
    """s(u) = offset + sum_i lean[i, code] / sqrt(sum_i square[i, code]) + sum_j table[j, code].

    Linear in the direction of a user's weights in k columns, whatever their sum, and additive in a others.
    """

    columns: Rows  # (k + a,)
    lean: F64  # (k, bins)
    square: F64  # (k, bins) the squared weights
    table: F64  # (a, bins)
    offset: float

    def score(self, codes: U8, space: F32) -> F64:
        """Return the scores (m,)."""
        k = len(self.lean)
        along, length = np.zeros(codes.shape[1]), np.zeros(codes.shape[1])
        _additive(codes[:k], self.lean, along)
        _additive(codes[:k], self.square, length)
        out = self.offset + along / np.sqrt(np.maximum(length, 1e-24))
        _additive(codes[k:], self.table, out)
        return out


@kernel(parallel=True)
def _descend(codes: U8, root: I64, column: I64, left: Bools, child: I64, leaf: F64, out: F64) -> None:
    blocks = (codes.shape[1] + _USERS - 1) // _USERS
    for block in prange(blocks):
        first = block * _USERS
        end = min(first + _USERS, codes.shape[1])
        for tree in range(len(root)):
            for i in range(first, end):
                node = root[tree]
                while node >= 0:
                    node = child[node, 0 if left[node, codes[column[node], i]] else 1]
                out[i] += leaf[-node - 1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Forest:
    """The sum of decision trees. A node below 0 is the leaf -node - 1."""

    columns: Rows  # (k,)
    root: I64  # (t,)
    column: I64  # (nodes,) places in ``columns``
    left: Bools  # (nodes, bins) which codes go to the first child
    child: I64  # (nodes, 2)
    leaf: F64  # (leaves,)

    def score(self, codes: U8, space: F32) -> F64:
        """Return the scores (m,)."""
        out = np.zeros(codes.shape[1])
        _descend(codes, self.root, self.column, self.left, self.child, self.leaf, out)
        return out


def forest_of(trees: Sequence[dict[str, Any]], columns: Rows, ranks: F32) -> Forest:
    """Return LightGBM's ``dump_model()["tree_info"]`` over codes; ``ranks`` (k, bins) are their values."""
    root: list[int] = []
    column: list[int] = []
    left: list[Bools] = []
    child: list[list[int]] = []
    leaf: list[float] = []

    def add(node: dict[str, Any]) -> int:
        if "split_feature" not in node:
            leaf.append(float(node["leaf_value"]))
            return -len(leaf)
        place, j = len(column), int(node["split_feature"])
        column.append(j)
        left.append(ranks[j].astype(np.float64) <= node["threshold"])
        child.append([0, 0])
        child[place] = [add(node["left_child"]), add(node["right_child"])]
        return place

    root = [add(tree["tree_structure"]) for tree in trees]
    return Forest(
        columns=columns,
        root=readonly(np.array(root, np.int64)),
        column=readonly(np.array(column, np.int64)),
        left=readonly(np.array(left, bool).reshape(len(column), ranks.shape[1])),
        child=readonly(np.array(child, np.int64).reshape(len(column), 2)),
        leaf=readonly(np.array(leaf, np.float64)),
    )
