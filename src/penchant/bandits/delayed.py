"""Rewards that come late, joined to what was shown.

A place that was looked at and got no reward is a failure, but not at once: before its window closes it
counts as F(age) of one, F being how much of all rewards had come by that age (Chapelle 2014). F is learnt
from the delays seen and applied in quarters. Which places were looked at follows the cascade: all down to the
last that was acted on, and the first few when nothing was (Craswell et al. 2008).

Time is that of what is shown, so the state follows from the events alone, however fast they are replayed.
"""

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

import msgspec
import numpy as np

from penchant.bandits.evidence import Evidence
from penchant.kernel.arrays import F64
from penchant.kernel.clock import HOUR, MINUTE

QUARTERS = 4
_SKEW = 60.0  # seconds that a client's clock may be behind
_BINS = 20  # bin i holds delays from 2^i - 1 s up: to 12 days
NEGATIVE = ("hide", "report", "dislike")


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardRules:
    """What counts as a reward, and how long it may take.

    ``needs`` maps an event type to the least event value, such as seconds of dwelling; without it every type
    is a reward. ``NEGATIVE`` types are a failure at once. ``waits`` are the windows of types that take longer
    than ``wait`` seconds. ``examined`` places are looked at when nobody acts.
    """

    needs: dict[str, float] = field(default_factory=dict[str, float])
    wait: float = 30 * MINUTE
    waits: dict[str, float] = field(default_factory=lambda: {"share": 24 * HOUR, "comment": 24 * HOUR})
    examined: int = 10

    def verdict(self, kind: str, value: float | None) -> float | None:
        """Return 1 for a reward, 0 for its opposite, None when the action says nothing."""
        if kind in NEGATIVE:
            return 0.0
        if not self.needs:
            return 1.0
        least = self.needs.get(kind)
        return 1.0 if least is not None and (least <= 0 or (value or 0.0) >= least) else None


class Shown(msgspec.Struct, kw_only=True):
    """One list that was shown; ``arms`` and ``items`` are -1 at places that belong to no arm."""

    time: float
    path: list[str]
    passing: str
    arms: list[int]
    items: list[int]
    ids: list[str]
    seen: int
    stage: int = 0
    decided: list[int] = []


class DelayedState(msgspec.Struct, frozen=True, kw_only=True):
    """What waits, to save."""

    shown: dict[str, Shown]
    due: list[tuple[float, str]]
    delays: list[float]


@final
class Delayed:
    """Counts what is shown and done into `Evidence`; keeps at most ``most`` lists whose windows are open."""

    def __init__(self, evidence: Evidence, rules: RewardRules, *, most: int = 50_000) -> None:
        self._evidence = evidence
        self._rules = rules
        self._most = most
        self._shown: dict[str, Shown] = {}
        self._latest: dict[str, str] = {}  # who -> the list shown last
        self._due: list[tuple[float, str]] = []
        # Before any delay is seen: ten as if of an exponential of a minute.
        edges = -np.expm1(-(np.exp2(np.arange(1, _BINS + 1)) - 1) / MINUTE)
        self._delays: F64 = 10.0 * np.diff(edges, prepend=0.0)

    @property
    def waiting(self) -> int:
        """Return how many lists can still be rewarded."""
        return len(self._shown)

    def show(
        self,
        request_id: str,
        *,
        path: Sequence[str],
        passing: str,
        arms: Sequence[int],
        ids: Sequence[str],
        time: float,
    ) -> None:
        """Take a list that was shown at ``time`` to ``passing``, the last node of ``path``; -1 is no arm."""
        self._advance(time)
        if request_id in self._shown:
            return
        items = [-1 if arm < 0 else self._evidence.item(id_, arm) for arm, id_ in zip(arms, ids, strict=True)]
        self._shown[request_id] = Shown(
            time=time,
            path=list(path),
            passing=passing,
            arms=list(arms),
            items=items,
            ids=list(ids),
            seen=min(self._rules.examined, len(arms)),
            decided=[],
        )
        self._latest[passing] = request_id
        heapq.heappush(self._due, (time + self._ages()[0], request_id))
        if len(self._shown) > self._most:
            self._forget(next(iter(self._shown)))

    def act(
        self,
        item_id: str,
        *,
        kind: str,
        value: float | None,
        time: float,
        request_id: str | None,
        who: str = "",
        visible: Sequence[str] | None = None,
    ) -> bool:
        """Take an action; return whether it decided a place. A second action on one place changes nothing.

        Without a ``request_id`` an action that says what was ``visible`` belongs to the last list of ``who``.
        """
        if request_id is None and visible:
            request_id = self._latest.get(who)
        shown = None if request_id is None else self._shown.get(request_id)
        if shown is None:
            return False
        if visible:
            self._looked(
                shown, max((i for i, id_ in enumerate(shown.ids) if id_ in set(visible)), default=-1)
            )
        verdict = self._rules.verdict(kind, value)
        place = shown.ids.index(item_id) if item_id in shown.ids else -1
        age = time - shown.time
        wait = self._rules.waits.get(kind, self._rules.wait)
        if verdict is None or place < 0 or place in shown.decided or not -_SKEW <= age <= wait:
            return False
        self._looked(shown, place)
        failed = shown.stage / QUARTERS
        self._count(shown, [place], success=verdict, failure=1 - verdict - failed)
        shown.decided.append(place)
        if verdict:
            self._delays[min(int(math.log2(max(age, 0.0) + 1)), _BINS - 1)] += 1
        return True

    def state(self) -> DelayedState:
        """Return what waits, to save."""
        return DelayedState(shown=self._shown, due=self._due, delays=self._delays.tolist())

    def restore(self, saved: DelayedState) -> None:
        """Take over what `state` gave."""
        self._shown, self._due = dict(saved.shown), list(saved.due)
        self._delays = np.array(saved.delays)
        self._latest = {shown.passing: id_ for id_, shown in self._shown.items()}

    def _advance(self, now: float) -> None:
        """Turn the silence of what was looked at into failures, a quarter at a time."""
        while self._due and self._due[0][0] <= now:
            _, request_id = heapq.heappop(self._due)
            shown = self._shown.get(request_id)
            if shown is None:
                continue
            self._fail(shown, 1)
            if shown.stage < QUARTERS:
                ages = (*self._ages()[1:], self._rules.wait)
                heapq.heappush(self._due, (shown.time + ages[shown.stage - 1], request_id))
        longest = max(self._rules.wait, *self._rules.waits.values(), 0.0)
        while self._shown:
            oldest = next(iter(self._shown))
            if self._shown[oldest].time + longest > now:
                break
            self._forget(oldest)
        if len(self._due) > 2 * self._most:
            self._due = [entry for entry in self._due if entry[1] in self._shown]
            heapq.heapify(self._due)

    def _fail(self, shown: Shown, quarters: int) -> None:
        silent = [place for place in range(shown.seen) if place not in shown.decided]
        shown.stage += quarters
        self._count(shown, silent, success=0.0, failure=quarters / QUARTERS)

    def _looked(self, shown: Shown, place: int) -> None:
        """Take note that a list was looked at down to ``place``."""
        more = list(range(shown.seen, place + 1))
        shown.seen = max(shown.seen, place + 1)
        self._count(shown, more, success=0.0, failure=shown.stage / QUARTERS)

    def _count(self, shown: Shown, places: Sequence[int], *, success: float, failure: float) -> None:
        own = [place for place in places if shown.arms[place] >= 0]
        self._evidence.add(
            shown.path,
            passing=shown.passing,
            arms=[shown.arms[place] for place in own],
            items=[shown.items[place] for place in own],
            success=success,
            failure=failure,
            time=shown.time,
        )

    def _forget(self, request_id: str) -> None:
        shown = self._shown.pop(request_id)
        if shown.stage < QUARTERS:
            self._fail(shown, QUARTERS - shown.stage)
        if self._latest.get(shown.passing) == request_id:
            del self._latest[shown.passing]

    def _ages(self) -> tuple[float, float, float]:
        """Return the ages by which a quarter, a half and three quarters of the rewards had come."""
        share = np.cumsum(self._delays) / self._delays.sum()
        edges = np.exp2(np.arange(_BINS + 1)) - 1.0
        found: list[float] = np.interp([0.25, 0.5, 0.75], np.append(0.0, share), edges).tolist()
        first, second, third = (min(age, self._rules.wait) for age in found)
        return first, second, third
