"""The items of a catalogue by category: the arms of a category bandit, and what is known of each item.

Popularity of an item has the posterior Beta(h m_i + S_i, h (1 - m_i) + F_i): S and F from what the feed
showed (`Evidence`), and m_i = (1 + users) / (h + all users) over a window of history, which speaks for
h = 100 showings. Without history that is Beta(1, 99).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, final

import numpy as np

from penchant.bandits.evidence import OTHER, Evidence
from penchant.bandits.hierarchy import PESSIMISM, ROOT_PULLS, lifts
from penchant.data.interactions import Interactions
from penchant.data.snapshot import Snapshot
from penchant.feed.category_choice import newer_is_better
from penchant.feed.explore import CREATED, born
from penchant.feed.item_columns import Columns, Labels, labels_of
from penchant.feed.live import Live
from penchant.kernel.arrays import F64, Bools, Rows, readonly
from penchant.kernel.clock import DAY

Order = Literal["popularity", "recency"]
_REFRESH_SECONDS = 1.0
_DEEPEST = 5_000  # items that are ordered for the source
_LEAST_SHARE, _MOST_RATE = 1e-4, 0.5
_HISTORY_PULLS = 50.0  # actions for which the usual shares of the categories speak


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Items as of one moment: all that a request reads, replaced as a whole.

    ``arm``, ``a`` and ``b`` (n_rows,) are of catalogue rows; ``order`` are rows, the best of every arm first,
    then every second best; ``recency`` (n_arms,) says which arms go by it.
    """

    arm: Rows
    a: F64
    b: F64
    order: Rows
    recency: Bools
    names: tuple[str, ...]


@final
class CategoryArms:
    """The arms over one live catalogue; evidence is shared with the views before and after."""

    def __init__(
        self,
        live: Live,
        evidence: Evidence,
        *,
        column: str,
        days: float = 30.0,
        prefer: Mapping[str, Order] | None = None,
        groups: Rows | None = None,
    ) -> None:
        """Read history; ``groups`` (n_users,) are the personas of the snapshot's users, -1 for none."""
        self._live = live
        self.evidence = evidence
        self._column = column
        self._prefer = prefer or {}
        snapshot = live.snapshot
        events = _recent(snapshot, days)
        self._arm: list[int] = _arms_of(snapshot, column, evidence, events).tolist()
        users, everybody = _users_by_item(events, snapshot.n_items)
        self._mean = (1.0 + users) / (ROOT_PULLS + everybody)
        self._unseen = 1.0 / (ROOT_PULLS + everybody)
        found = born(snapshot)
        self._born = np.where(np.isfinite(found), found, -np.inf)
        arm = np.asarray(self._arm, np.int32)
        self._newer = newer_is_better(events, arm, self._born, n_arms=evidence.n_arms, window=days * DAY)
        self.counts = np.bincount(arm[events.item], minlength=evidence.n_arms).astype(np.float64)
        self.by_group = _by_group(events, arm, groups, evidence.n_arms)
        self._rows: list[int] = []  # catalogue rows of the evidence's items
        self._made: tuple[float, int, int] = (-np.inf, -1, -1)
        self._standing: Standing | None = None

    def arm_of(self, row: int) -> int:
        """Return the arm of a catalogue row."""
        while len(self._arm) < len(self._live.catalogue):
            value = self._live.catalogue.property(len(self._arm), self._column)
            self._arm.append(self.evidence.arm(next(iter(labels_of(value)), OTHER)))
        return self._arm[row]

    def usual(self) -> F64:
        """Return the share of each arm in the history, (n_arms,), none of them 0."""
        counts = np.zeros(self.evidence.n_arms)
        counts[: len(self.counts)] = self.counts
        share = (counts + 1.0) / (counts.sum() + len(counts))
        return np.maximum(share, _LEAST_SHARE)

    def mean(self) -> F64:
        """Return the rate that each arm starts from, (n_arms,): 1/100 on average, more where more is done."""
        share = self.usual()
        return np.minimum(PESSIMISM * len(share) * share, _MOST_RATE)

    def lift_of_group(self, group: int) -> F64 | None:
        """Return how much likelier each arm is in a persona's history, (n_arms,)."""
        if not 0 <= group < len(self.by_group):
            return None
        return self._lift(self.by_group[group], self.usual())

    def lift_of(self, history: Interactions, group: int) -> F64 | None:
        """Return how much likelier each arm is in a user's history than in that of the persona."""
        if len(history) == 0:
            return None
        arms = [self.arm_of(row) for row in history.item.tolist()]
        usual = self.usual()
        theirs = self.lift_of_group(group)
        expected = usual if theirs is None else usual * theirs / (usual * theirs).sum()
        return self._lift(np.bincount(arms, minlength=len(usual)).astype(np.float64), expected)

    def standing(self, now: float) -> Standing:
        """Return the items as they stand; made anew at most once a second, when something changed."""
        made, version, size = self._made
        known = self._standing
        current = (self.evidence.version, len(self._live.catalogue))
        if known is not None and (now - made < _REFRESH_SECONDS or (version, size) == current):
            return known
        self._made = (now, *current)
        self._standing = self._stand(now)
        return self._standing

    def _lift(self, counts: F64, usual: F64) -> F64:
        grown = np.zeros(len(usual))
        grown[: len(counts)] = counts
        return lifts(grown, usual, pulls=_HISTORY_PULLS)

    def _stand(self, now: float) -> Standing:
        catalogue, evidence = self._live.catalogue, self.evidence
        n = len(catalogue)
        if n > len(self._arm):
            self.arm_of(n - 1)
        arm = np.asarray(self._arm[:n], np.int32)
        base = len(self._mean)
        mean, when = np.full(n, self._unseen), np.full(n, np.inf)
        mean[:base], when[:base] = self._mean, self._born
        for row in range(base, n):
            made = catalogue.property(row, CREATED)
            # Without a time of its own an item is as new as its place among those put.
            when[row] = made if isinstance(made, int | float) else self._live.snapshot.cutoff + row
        a, b = ROOT_PULLS * mean, ROOT_PULLS * (1 - mean)
        success, failure = evidence.of_items(now)
        while len(self._rows) < len(success):
            self._rows.append(catalogue.row(evidence.items[len(self._rows)]))
        rows = np.asarray(self._rows[: len(success)], np.int64)
        known = (rows >= 0) & (rows < n)
        a[rows[known]] += success[known]
        b[rows[known]] += failure[known]
        recency = self._by_recency()
        value = np.where(recency[arm], when, a / (a + b))
        return Standing(
            arm=readonly(arm),
            a=readonly(a),
            b=readonly(b),
            order=readonly(_in_turns(arm, value, self.usual())),
            recency=readonly(recency),
            names=tuple(evidence.arms),
        )

    def _by_recency(self) -> Bools:
        out = np.zeros(self.evidence.n_arms, np.bool_)
        out[: len(self._newer)] = self._newer
        for name, order in self._prefer.items():
            if name in self.evidence.arms:
                out[self.evidence.arms.index(name)] = order == "recency"
        return out


def _in_turns(arm: Rows, value: F64, share: F64) -> Rows:
    """Return rows: the item of the highest value of each arm, arms of larger share first, then the second."""
    n = len(arm)
    order = np.lexsort((np.arange(n), -value, arm))
    sorted_arm = arm[order]
    first = np.searchsorted(sorted_arm, np.arange(len(share)))
    place = np.arange(n) - first[sorted_arm]
    turn = np.lexsort((-share[sorted_arm], place))[:_DEEPEST]
    return order[turn].astype(np.int32)


def _recent(snapshot: Snapshot, days: float) -> Interactions:
    events = snapshot.interactions
    return events.select(slice(int(np.searchsorted(events.timestamp, snapshot.cutoff - days * DAY)), None))


def _arms_of(snapshot: Snapshot, column: str, evidence: Evidence, events: Interactions) -> Rows:
    """Return the arm of each item; arms are named in falling order of what is done in them."""
    if column not in snapshot.item_table.column_names:
        return np.full(snapshot.n_items, evidence.arm(OTHER), np.int32)
    found = Columns.of(snapshot.item_table.select([column])).columns[column]
    if not isinstance(found, Labels):
        labels = [next(iter(labels_of(value)), OTHER) for value in snapshot.item_table[column].to_pylist()]
        return np.array([evidence.arm(label) for label in labels], np.int32)
    names, first = list(found.names), found.first_of(np.arange(snapshot.n_items, dtype=np.int32))
    done = np.bincount(first[events.item] + 1, minlength=len(names) + 1)[1:]
    arms = np.empty(len(names) + 1, np.int32)
    for code in np.argsort(-done, kind="stable").tolist():
        arms[code] = evidence.arm(names[code])
    arms[-1] = evidence.arm(OTHER) if (first < 0).any() else -1
    return arms[first]


def _users_by_item(events: Interactions, n_items: int) -> tuple[F64, int]:
    """Return how many users took each item, and how many there are."""
    pairs = np.unique(events.user.astype(np.int64) * max(n_items, 1) + events.item)
    users = np.bincount(pairs % max(n_items, 1), minlength=n_items).astype(np.float64)
    return users, len(np.unique(events.user))


def _by_group(events: Interactions, arm: Rows, groups: Rows | None, n_arms: int) -> F64:
    if groups is None or len(groups) == 0:
        return np.zeros((0, n_arms))
    group = groups[events.user]
    inside = group >= 0
    flat = group[inside].astype(np.int64) * n_arms + arm[events.item[inside]]
    n_groups = int(groups.max()) + 1
    return np.bincount(flat, minlength=n_groups * n_arms).reshape(n_groups, n_arms).astype(np.float64)
