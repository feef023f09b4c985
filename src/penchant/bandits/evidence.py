"""Successes and failures that fade: of arms at named nodes (everybody, a persona, a user), and of items.

A count of weight 1 at time t is worth g = 2^(-(now - t) / half-life of its arm) now. All counts are kept in
the units of one moment t0, as 2^((t - t0) / half-life), so forgetting costs nothing until somebody reads,
events may come in any order, and taking a count back is adding it with a minus.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, final

import msgspec
import numpy as np

from penchant.kernel.arrays import F64, I64
from penchant.kernel.errors import Defect, InputError

OTHER = "(other)"
_REBASE = 300.0  # half-lives after which t0 moves on; 2^1023 is the end of a double


class EvidenceState(msgspec.Struct, frozen=True, kw_only=True):
    """All counts as bytes, to save."""

    arms: list[str]
    items: list[str]
    names: list[str]
    passing: list[str]
    start: float | None
    newest: float
    version: int
    nodes: bytes  # (names + passing, 2, arms) float64
    counts: bytes  # (items, 2) float64
    of_item: bytes  # (items,) int64


@final
class Evidence:
    """Counts by (node, arm) and by item. Arms, nodes and items are known by name and added when first named.

    ``half_life`` gives an arm's half-life in seconds by its name. At most ``most_arms`` arms are told apart,
    the rest is "(other)". Of the nodes said to be ``passing``, such as users, the ``most_passing`` that were
    counted last are kept.
    """

    def __init__(
        self, half_life: Callable[[str], float], *, most_arms: int = 50, most_passing: int = 100_000
    ) -> None:
        self._half_life = half_life
        self._most_arms = most_arms
        self._most_passing = most_passing
        self._start: float | None = None
        self._newest = -np.inf
        self.version = 0
        self.arms: list[str] = []
        self.items: list[str] = []
        self._arm: dict[str, int] = {}
        self._item: dict[str, int] = {}
        self._rate: F64 = np.zeros(0)
        self._rows: dict[str, int] = {}
        self._passing: OrderedDict[str, int] = OrderedDict()
        self._free: list[int] = []
        self._nodes: F64 = np.zeros((8, 2, 0))
        self._counts: F64 = np.zeros((64, 2))
        self._of_item: I64 = np.zeros(64, np.int64)

    @property
    def n_arms(self) -> int:
        """Return how many arms were named so far."""
        return len(self.arms)

    def arm(self, name: str) -> int:
        """Return the number of an arm."""
        found = self._arm.get(name)
        if found is None:
            if name != OTHER and len(self.arms) >= self._most_arms - 1:
                return self.arm(OTHER)
            half_life = self._half_life(name)
            if not half_life > 0:
                raise InputError(f"the half-life of '{name}' must be above 0 seconds, got {half_life}.")
            found = self._arm[name] = len(self.arms)
            self.arms.append(name)
            self._rate = np.append(self._rate, 1.0 / half_life)
            self._nodes = np.concatenate([self._nodes, np.zeros((len(self._nodes), 2, 1))], axis=2)
        return found

    def item(self, name: str, arm: int) -> int:
        """Return the number of an item, which fades as ``arm`` does."""
        found = self._item.get(name)
        if found is None:
            found = self._item[name] = len(self.items)
            if found == len(self._counts):
                self._counts = np.concatenate([self._counts, np.zeros_like(self._counts)])
                self._of_item = np.concatenate([self._of_item, np.zeros_like(self._of_item)])
            self.items.append(name)
            self._of_item[found] = arm
        return found

    def add(
        self,
        path: Sequence[str],
        *,
        passing: str | None,
        arms: Sequence[int],
        items: Sequence[int],
        success: float,
        failure: float,
        time: float,
    ) -> None:
        """Count so much success and failure for each of the arms, at every node, and for each of the items.

        ``arms`` and ``items`` are parallel and may name one several times; ``passing`` is one more node.
        """
        if not arms:
            return
        self._moved_to(time)
        assert self._start is not None
        which = np.asarray(arms)
        weight = np.exp2((time - self._start) * self._rate[which])
        rows = [self._row(name) for name in path]
        if passing is not None:
            rows.append(self._passing_row(passing))
        for side, amount in enumerate((success, failure)):
            if amount:
                for row in rows:
                    np.add.at(self._nodes[row, side], which, amount * weight)
                np.add.at(self._counts[:, side], np.asarray(items), amount * weight)
        self.version += 1

    def of_node(self, name: str, now: float) -> tuple[F64, F64]:
        """Return what the successes and failures (n_arms,) of a node are worth now; zeros without any.

        ``now`` before the newest count is taken for its time: clocks differ.
        """
        row = self._rows.get(name)
        if row is None:
            row = self._passing.get(name)
        if row is None or self._start is None:
            return np.zeros(self.n_arms), np.zeros(self.n_arms)
        found = np.maximum(self._nodes[row], 0.0) * np.exp2(
            (self._start - max(now, self._newest)) * self._rate
        )
        return found[0], found[1]

    def of_items(self, now: float) -> tuple[F64, F64]:
        """Return what the successes and failures of all items (n_items,) are worth now."""
        n = len(self.items)
        if self._start is None:
            return np.zeros(n), np.zeros(n)
        fade = np.exp2((self._start - max(now, self._newest)) * self._rate[self._of_item[:n]])
        found = np.maximum(self._counts[:n], 0.0) * fade[:, None]
        return found[:, 0], found[:, 1]

    def state(self) -> EvidenceState:
        """Return everything, to save."""
        rows = [*self._rows.values(), *self._passing.values()]
        n = len(self.items)
        return EvidenceState(
            arms=self.arms,
            items=self.items,
            names=list(self._rows),
            passing=list(self._passing),
            start=self._start,
            newest=self._newest,
            version=self.version,
            nodes=self._nodes[rows].tobytes(),
            counts=self._counts[:n].tobytes(),
            of_item=self._of_item[:n].tobytes(),
        )

    def restore(self, saved: EvidenceState) -> None:
        """Take over what `state` gave; nothing may have been counted before."""
        if self.version or self.arms:
            raise Defect("evidence can only be restored into an empty one.")
        for name in saved.arms:
            self.arm(name)
        arms = np.frombuffer(saved.of_item, np.int64)
        for name, arm in zip(saved.items, arms.tolist(), strict=True):
            self.item(name, arm)
        self._counts[: len(self.items)] = np.frombuffer(saved.counts).reshape(-1, 2)
        n = len(saved.names) + len(saved.passing)
        nodes = np.frombuffer(saved.nodes).reshape(n, 2, self.n_arms)
        for name, counts in zip([*saved.names, *saved.passing], nodes, strict=True):
            row = self._row(name) if len(self._rows) < len(saved.names) else self._passing_row(name)
            self._nodes[row] = counts
        self._start, self._newest, self.version = saved.start, saved.newest, saved.version

    def _row(self, name: str) -> int:
        row = self._rows.get(name)
        if row is None:
            row = self._rows[name] = self._new_row()
        return row

    def _passing_row(self, name: str) -> int:
        row = self._passing.get(name)
        if row is not None:
            self._passing.move_to_end(name)
            return row
        if len(self._passing) >= self._most_passing:
            _, gone = self._passing.popitem(last=False)
            self._nodes[gone] = 0.0
            self._free.append(gone)
        row = self._passing[name] = self._new_row()
        return row

    def _new_row(self) -> int:
        if self._free:
            return self._free.pop()
        row = len(self._rows) + len(self._passing)
        if row == len(self._nodes):
            self._nodes = np.concatenate([self._nodes, np.zeros_like(self._nodes)])
        return row

    def _moved_to(self, time: float) -> None:
        self._newest = max(self._newest, time)
        if self._start is None:
            self._start = time
        elif (time - self._start) * self._rate.max(initial=0.0) > _REBASE:
            fade: Any = np.exp2((self._start - time) * self._rate)
            self._nodes *= fade
            self._counts *= fade[self._of_item][:, None]
            self._start = time
