"""Do follows matter: to what people take, and to what they are recommended?

    lift = Σ_u o_u / Σ_u e_u      e_u = n_u Σ_{a followed by u} p_a

o_u of u's n_u interactions are with items by authors u follows, p_a is the share of all interactions that
author a has: 1 is what popularity alone explains. Intervals are bootstraps over users.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.random import Generator

from penchant.data.heldout import member
from penchant.data.interactions import Interactions
from penchant.data.snapshot import Snapshot
from penchant.evaluation.intervals import Difference, Interval, differences, interval, resampled_means
from penchant.evaluation.metrics import accuracy
from penchant.features.graph import FollowGraph
from penchant.kernel.arrays import F64, Bools, Csr, Rows, readonly

SHARE, RECALL, NDCG = "from_followed", "recall", "ndcg"


class Arm(msgspec.Struct, frozen=True, kw_only=True):
    """One way to recommend, as means over users with intervals."""

    name: str
    from_followed: Interval | None  # share of places with items by followed authors; None without authors
    recall: Interval
    ndcg: Interval


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Ways to recommend on the same users; each of ``differences`` is one way against the first."""

    who: str
    users: int
    k: int
    arms: list[Arm]
    differences: list[Difference]

    def difference(self, name: str, metric: str) -> Difference | None:
        """Return how much better the named way is than the first, None where it was not measured."""
        found = (d for d in self.differences if d.first == name and d.metric == metric)
        return next(found, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Authors:
    """Who made what, and who follows them. ``author`` (n_items,) is a row of users, -1 for none known."""

    author: Rows
    graph: FollowGraph

    @classmethod
    def of(cls, snapshot: Snapshot, column: str) -> "Authors | None":
        """Return the authors that the items' ``column`` names; None when nobody follows any of them."""
        if column not in snapshot.item_table.column_names:
            return None
        author = snapshot.users.rows(snapshot.item_table[column].combine_chunks().cast("large_string"))
        graph = FollowGraph.of(snapshot.follows, snapshot.n_users)
        made = np.zeros(snapshot.n_users, np.bool_)
        made[author[author >= 0]] = True
        if not made[graph.following.indices].any():
            return None
        return cls(author=readonly(author), graph=graph)

    def followed_by(self, users: Rows, items: Rows) -> Bools:
        """Return whether each of ``items`` is by somebody whom the user beside it in ``users`` follows."""
        n = self.graph.n_users
        edges = np.repeat(np.arange(n, dtype=np.int64), np.diff(self.graph.following.indptr)) * n
        edges += self.graph.following.indices
        by = np.where(items >= 0, self.author[items], -1)
        return member(users.astype(np.int64) * n + by, edges) & (by >= 0)

    def share(self, lists: Rows, users: Rows) -> F64:
        """Return the share of each list's places with items by followed authors: lists (n, k) -> (n,)."""
        rows = np.repeat(users, lists.shape[1])
        return self.followed_by(rows, lists.ravel()).reshape(lists.shape).mean(axis=1)

    def items_for(self, users: Rows, newest: Rows, k: int) -> list[Rows]:
        """Return for each user up to ``k`` of ``newest`` (items, newest first) by those the user follows."""
        place = np.full(len(self.author), -1, np.int64)
        place[newest] = np.arange(len(newest))
        made = np.flatnonzero((self.author >= 0) & (place >= 0))
        made = made[np.argsort(place[made], kind="stable")].astype(np.int32)
        ones = np.ones(len(made), np.float32)
        by = Csr.group(self.author[made], made, ones, n_rows=self.graph.n_users, n_columns=len(self.author))
        out: list[Rows] = []
        for user in users.tolist():
            own = by.take(self.graph.following.row(user)).indices
            out.append(own[np.argsort(place[own], kind="stable")][:k])
        return out


def behaviour_lift(authors: Authors, events: Interactions, *, rng: Generator) -> Interval | None:
    """Return the lift of the module's formula over ``events``; None where nobody's follows could show."""
    n = authors.graph.n_users
    by = authors.author[events.item]
    popularity = np.bincount(by[by >= 0], minlength=n) / max(len(events), 1)
    acts = np.bincount(events.user, minlength=n)
    own = authors.followed_by(events.user, events.item)
    taken = np.bincount(events.user, weights=own, minlength=n)
    following = authors.graph.following
    owner = np.repeat(np.arange(n), np.diff(following.indptr))
    expected = acts * np.bincount(owner, weights=popularity[following.indices], minlength=n)
    among = expected > 0
    if not among.any():
        return None
    both: F64 = np.stack([taken[among], expected[among]], axis=1).astype(np.float64)
    means = resampled_means(both, rng=rng)
    ratio = means[:, 0] / np.maximum(means[:, 1], 1e-300)
    low, high = np.quantile(ratio, [0.025, 0.975])
    return Interval(mean=float(taken[among].sum() / expected[among].sum()), low=float(low), high=float(high))


def compare_arms(
    who: str,
    lists: Mapping[str, Rows],
    truth: Csr,
    users: Rows,
    authors: Authors | None,
    *,
    rng: Generator,
) -> Comparison:
    """Compare lists (n, k) by name, the first the one others are held against, on the same n users."""
    names = list(lists)
    k = lists[names[0]].shape[1]
    values: dict[str, list[F64]] = {RECALL: [], NDCG: []} | ({SHARE: []} if authors else {})
    for each in lists.values():
        measured = accuracy(each, truth, [k])
        for metric in (RECALL, NDCG):
            values[metric].append(measured[f"{metric}_at_{k}"])
        if authors is not None:
            values[SHARE].append(authors.share(each, users))
    seed = int(rng.integers(1 << 31))  # every metric is resampled with the same users
    found = {metric: _against_first(metric, names, columns, seed) for metric, columns in values.items()}
    arms = [
        Arm(
            name=name,
            from_followed=found[SHARE][0][i] if authors else None,
            recall=found[RECALL][0][i],
            ndcg=found[NDCG][0][i],
        )
        for i, name in enumerate(names)
    ]
    return Comparison(
        who=who, users=len(users), k=k, arms=arms, differences=[d for f in found.values() for d in f[1]]
    )


def _against_first(
    metric: str, names: Sequence[str], columns: Sequence[F64], seed: int
) -> tuple[list[Interval], list[Difference]]:
    values = np.stack(columns, axis=1)
    means = resampled_means(values, rng=np.random.default_rng(seed))
    own = [interval(values[:, i], means[:, i]) for i in range(len(names))]
    paired = [
        differences(metric, [names[i], names[0]], values[:, [i, 0]], means[:, [i, 0]])[0]
        for i in range(1, len(names))
    ]
    return own, paired
