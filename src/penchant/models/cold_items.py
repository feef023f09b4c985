"""Factors for items that nobody took yet, from what is known of them: for every model with factors.

    ŷ_i = ȳ + (z_i - z̄) W      W = (Zᵀ D Z + λ I)⁻¹ Zᵀ D (Y - ȳ)      D = diag(n_i^t), Z and Y centred

over the warm items: Y their factors, n_i how many users took them, z what is known of them, one column a
level of a property and the vector of the text. λ, t and whether this beats the mean of the item's category
are chosen on warm items held out: each is ranked by its predicted factor for users who took it (NDCG at 20).
The map follows Gantner et al. 2010, "Learning attribute-to-feature mappings for cold-start recommendations".
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np
from numpy.random import Generator

from penchant.data.snapshot import Snapshot
from penchant.features.item_features import ItemFeatures, groups_of, item_features
from penchant.kernel.arrays import F32, F64, I64, Bools, Csr, Rows, readonly
from penchant.kernel.parallel import one_blas_thread

HELD_OUT = 0.2
DEPTH = 20
_FEW = 50  # warm items that a map from properties to factors needs
_LEAST = 3  # users who took an item that is held out
_MOST_ITEMS, _MOST_USERS = 2_000, 1_000
_TRUST = (0.0, 0.5)

Way = Literal["auto", "ridge", "mean", "none"]


class ColdItems(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How items without interactions get their factors.

    ``way`` is ``ridge`` (from ``columns`` of the items and their text), ``mean`` (of the warm items of the
    same group), ``none`` (they are not recommended) or ``auto``: what was better on items held out. Without
    ``columns`` all are used whose type allows it. ``groups`` are the columns a mean is taken over: the first
    that has a warm item. ``penalties`` are tried for the ridge.
    """

    way: Way = "auto"
    columns: tuple[str, ...] = ()
    groups: tuple[str, ...] = ("category", "author")
    penalties: tuple[float, ...] = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)

    def __post_init__(self) -> None:
        if not self.penalties or min(self.penalties) <= 0:
            raise ValueError("penalties needs at least one value, all above 0.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """``factors`` (n_items, f) with those of the cold ``rows`` filled in, and how that was decided."""

    factors: F32
    rows: Rows
    metrics: dict[str, float]
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Items:
    """All that is known: ``factors`` (n_items, f), who took what, properties and groups of items."""

    factors: F32
    user_factors: F32  # (n_users, f)
    seen: Csr  # (n_users, n_items)
    taken: I64  # (n_items,) by how many users
    features: ItemFeatures | None
    groups: Sequence[Rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ridge:
    """A fitted map: ``mean`` (f,) + (z - ``centre``) ``weights`` (d, f)."""

    mean: F64
    centre: F64
    weights: F64

    def predict(self, features: ItemFeatures, rows: Rows) -> F32:
        shifted = features.times(self.weights, rows) - self.centre @ self.weights
        return (self.mean + shifted).astype(np.float32)


def fill_cold(
    config: ColdItems,
    snapshot: Snapshot,
    factors: F32,
    user_factors: F32,
    seen: Csr,
    *,
    rng: Generator,
) -> Filled:
    """Return ``factors`` (n_items, f) with those of items without an entry in ``seen`` (n_users, n_items).

    ``user_factors`` (n_users, f) is the other side, whose products with factors are preferences; a bias of
    items is one more column, against ones. An item of which nothing is known keeps the factor it had.

    Raises:
        InputError: ``config`` names a column that items do not have.
    """
    taken = np.bincount(seen.indices, minlength=snapshot.n_items)
    cold = np.flatnonzero(taken == 0).astype(np.int32)
    warm = np.flatnonzero(taken > 0).astype(np.int32)
    if config.way == "none" or len(cold) == 0 or len(warm) == 0:
        return Filled(factors=factors, rows=readonly(cold[:0]), metrics={}, note="")
    groups = groups_of(snapshot, config.groups)
    items = _Items(
        factors=factors,
        user_factors=user_factors,
        seen=seen,
        taken=taken,
        features=None if config.way == "mean" else item_features(snapshot, config.columns, warm),
        groups=tuple(groups.values()),
    )
    out = factors.copy()
    with one_blas_thread():
        fitted, metrics = _fitted(config, items, warm, rng)
        filled, out_means = _by_group(items, warm, cold)
        out[filled] = out_means
        how = f"the mean of their {' or '.join(groups) or 'group'}"
        if fitted is not None and items.features is not None:
            known = cold[items.features.known[cold]]
            out[known] = fitted.predict(items.features, known)
            filled = np.union1d(filled, known)
            how = f"a factor by ridge from {items.features.words()}"
    note = f"{len(cold):,} items had no interactions; {len(filled):,} of them have {how}."
    return Filled(factors=readonly(out), rows=readonly(filled.astype(np.int32)), metrics=metrics, note=note)


def _fitted(
    config: ColdItems, items: _Items, warm: Rows, rng: Generator
) -> tuple[_Ridge | None, dict[str, float]]:
    """Return the map with the penalty and trust that rank held-out items best, None where a mean does."""
    features = items.features
    if features is None or features.width == 0 or len(warm) < _FEW:
        return None, {}
    held = _held_out(items, warm, features, rng)
    if len(held) < 2:
        return None, {}
    rest = np.setdiff1d(warm, held).astype(np.int32)
    asked = _Asked.of(items, held, rng)
    mean = np.zeros((len(held), items.factors.shape[1]), np.float32)
    rows, means = _by_group(items, rest, held)
    mean[np.searchsorted(held, rows)] = means
    tried = {
        (penalty, trust): asked.ndcg(fitted.predict(features, held))
        for trust in _TRUST
        for penalty, fitted in _fits(features, items, rest, config.penalties, trust)
    }
    best = max(tried, key=lambda option: tried[option])
    metrics = {
        "cold_ndcg_at_20_mean": asked.ndcg(mean),
        "cold_ndcg_at_20_ridge": tried[best],
        "cold_penalty": best[0],
        "cold_trust": best[1],
        "cold_items_held_out": float(len(held)),
    }
    if config.way == "auto" and tried[best] <= metrics["cold_ndcg_at_20_mean"]:
        return None, metrics
    penalty, trust = best
    (_, fitted), *_ = _fits(features, items, warm, [penalty], trust)
    return fitted, metrics


def _held_out(items: _Items, warm: Rows, features: ItemFeatures, rng: Generator) -> Rows:
    eligible = warm[(items.taken[warm] >= _LEAST) & features.known[warm]]
    size = min(int(HELD_OUT * len(eligible)), _MOST_ITEMS)
    return np.sort(rng.choice(eligible, size, replace=False)).astype(np.int32)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """Users and which of the held-out items each took."""

    users: F32  # (n, f)
    took: Bools  # (n, held)

    @classmethod
    def of(cls, items: _Items, held: Rows, rng: Generator) -> "_Asked":
        by_user = items.seen
        place = np.full(by_user.n_columns, -1, np.int64)
        place[held] = np.arange(len(held))
        owner = np.repeat(np.arange(by_user.n_rows), np.diff(by_user.indptr))
        entry = place[by_user.indices] >= 0
        users = np.unique(owner[entry])
        if len(users) > _MOST_USERS:
            users = np.sort(rng.choice(users, _MOST_USERS, replace=False))
        row = np.full(by_user.n_rows, -1, np.int64)
        row[users] = np.arange(len(users))
        entry &= row[owner] >= 0
        took = np.zeros((len(users), len(held)), np.bool_)
        took[row[owner[entry]], place[by_user.indices[entry]]] = True
        return cls(users=items.user_factors[users], took=took)

    def ndcg(self, factors: F32) -> float:
        """Return the mean NDCG at 20 of the held-out items in the order of their products."""
        k = min(DEPTH, self.took.shape[1])
        scores = self.users @ factors.T
        order = np.argpartition(-scores, k - 1, axis=1)[:, :k]
        order = np.take_along_axis(order, np.argsort(-np.take_along_axis(scores, order, 1), axis=1), 1)
        discount = 1.0 / np.log2(np.arange(2, k + 2))
        gain = (np.take_along_axis(self.took, order, axis=1) * discount).sum(axis=1)
        return float((gain / np.cumsum(discount)[np.minimum(self.took.sum(axis=1), k) - 1]).mean())


def _fits(
    features: ItemFeatures, items: _Items, warm: Rows, penalties: Sequence[float], trust: float
) -> Iterator[tuple[float, _Ridge]]:
    """Yield each penalty with the map fitted with it on the warm items."""
    weight = items.taken[warm].astype(np.float64) ** trust
    weight /= weight.mean()
    y = items.factors[warm].astype(np.float64)
    mean = weight @ y / weight.sum()
    centre, gram, moment = features.moments(warm, weight, y - mean)
    gram -= weight.sum() * np.outer(centre, centre)
    for penalty in penalties:
        solved = np.linalg.solve(gram + penalty * np.eye(len(gram)), moment)
        yield penalty, _Ridge(mean=mean, centre=centre, weights=solved)


def _by_group(items: _Items, warm: Rows, wanted: Rows) -> tuple[Rows, F32]:
    """Return those of ``wanted`` with a warm item in their group, and the mean factors of those items."""
    factors, left = items.factors, wanted
    rows, means = [wanted[:0]], [factors[:0]]
    for codes in items.groups:
        n = int(codes.max(initial=-1)) + 1
        known = warm[codes[warm] >= 0]
        total = np.zeros((n + 1, factors.shape[1]))
        np.add.at(total, codes[known], factors[known])
        count = np.bincount(codes[known], minlength=n + 1)  # the last place is that of -1
        have = count[codes[left]] > 0
        rows.append(left[have])
        means.append((total[codes[left[have]]] / count[codes[left[have]], None]).astype(np.float32))
        left = left[~have]
    return np.concatenate(rows), np.concatenate(means)
