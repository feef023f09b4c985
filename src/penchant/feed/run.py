"""Run a plan for a request: sources, rules, ranker, late rules, mixer, each leaving a step in the trace.

A stage that fails is recorded and left out: the feed answers from the other sources and the fallback. Only a
`Defect`, a broken promise of our own, is never swallowed.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from time import perf_counter
from typing import Protocol, TypeVar, cast, final, runtime_checkable

import msgspec
import numpy as np
from numpy.random import Generator

from penchant.feed.layout import Limited
from penchant.feed.mixers import Single
from penchant.feed.plan import Plan
from penchant.feed.types import Candidates, Feed, Mixer, Ranker, Request, Rule, Slot, Source, Step
from penchant.kernel.arrays import readonly
from penchant.kernel.errors import Defect, StageFailed

T = TypeVar("T")

_SPARE_MOST = 2000  # a longer history costs a second question instead
_MORE = 4  # times deeper, where a limit would be broken
_FEW = 0.75
_MOST = 16  # times more, where hardly anything passes the rules
_DEEPEST = 2000  # candidates of a source, beyond which a limit is broken rather than more fetched


@runtime_checkable
class Explains(Protocol):
    """A source that can say, from facts, why it gave an item."""

    def why(self, request: Request, item: int) -> str:
        """Return one plain sentence or phrase; empty when there is no fact to tell."""
        ...


class Fetched:
    """What the sources gave so far for one request, so that no part of it asks for the same again.

    ``k`` and ``excluded`` are the numbers of places and of excluded items of the whole request. Asked for
    more, a source gives what it gave before and then more, whatever the places and the excluded items.
    """

    __slots__ = ("excluded", "found", "k")

    def __init__(self, request: Request) -> None:
        self.k = request.k
        self.excluded = len(request.exclude)
        self.found: dict[str, tuple[int, Candidates]] = {}

    def get(self, source: str, k: int) -> Candidates | None:
        """Return the best ``k`` of a source, None when it was not asked for so many."""
        asked, found = self.found.get(source, (0, None))
        if found is None or (asked < k and len(found) >= asked):
            return None
        if len(found) <= k:
            return found
        return Candidates(source=source, items=found.items[:k], scores=found.scores[:k])


def run(
    plan: Plan, request: Request, rng: Generator, *, explain: bool = False, fetched: Fetched | None = None
) -> Feed:
    """Return the feed of one request: ``request.k`` slots, fewer only when fewer items are eligible.

    ``explain`` fills in why each item is there. Parts of one request share what was ``fetched``.
    """
    work = _Run(plan, request, rng, Fetched(request) if fetched is None else fetched)
    slots = work.slots()
    if explain:
        slots = work.explained(slots)
    return Feed(
        request_id=request.request_id,
        feed=plan.name,
        user_id=request.user_id,
        model_version=plan.model_version,
        slots=slots,
        trace=tuple(work.trace),
    )


@final
class _Run:
    """One request on its way through a plan."""

    def __init__(self, plan: Plan, request: Request, rng: Generator, fetched: Fetched) -> None:
        self.plan = plan
        self.request = request
        self.asked = request if plan.profile is None else plan.profile.of(request)  # as sources see it
        self.rng = rng
        self.fetched = fetched
        self.trace: list[Step] = []
        self._started = perf_counter()
        self._rate = 1.0  # the part of the last source's candidates that the rules kept

    def slots(self) -> tuple[Slot, ...]:
        """Return the mixed slots, filled up from the fallback."""
        ranked = self._gathered(self.plan.depth)
        mixer = self.plan.mixer
        limited = cast("Limited", mixer) if _limited(type(mixer)) else None
        if limited is None:
            slots = self._mixed(mixer, ranked)
        elif self.plan.draws:  # what was drawn must not decide whether to draw again
            slots = self._mixed(mixer, self._deep_enough(limited, ranked), limited)
        else:
            slots = self._mixed(mixer, ranked, limited)
            if self.trace[-1].broken or len(slots) < self.request.k:
                deep = self._deep_enough(limited, ranked)
                slots = slots if deep is ranked else self._mixed(mixer, deep, limited)
        self._check(slots)
        return slots

    def _mixed(
        self, mixer: Mixer, ranked: dict[str, Candidates], limited: Limited | None = None
    ) -> tuple[Slot, ...]:
        """Return what the mixer lays out, with the limits it breaks in the trace."""
        rows_in = sum(map(len, ranked.values()))
        slots = self._stage(
            f"mixer {mixer.name}", rows_in, lambda: mixer.mix(self.request, ranked, rng=self.rng)
        )
        if slots is None:
            return Single().mix(self.request, ranked, rng=self.rng)
        if limited is not None:
            self.trace[-1] = replace(self.trace[-1], broken=limited.broken(self.request, slots))
        return slots

    def explained(self, slots: Sequence[Slot]) -> tuple[Slot, ...]:
        """Return the slots with why each is there."""
        sources = {source.name: source for source in (*self.plan.sources, self.plan.fallback)}

        def told(slot: Slot) -> Slot:
            source = sources.get(slot.source)
            why = source.why(self.asked, slot.item) if isinstance(source, Explains) else ""
            return msgspec.structs.replace(slot, why=why)

        return self._stage("explain", len(slots), lambda: tuple(map(told, slots))) or tuple(slots)

    def _gathered(self, depth: int, *, whole: bool = False) -> dict[str, Candidates]:
        """Return the ranked candidates of each source, and of the fallback when these are too few."""
        ranked: dict[str, Candidates] = {}
        for source in self.plan.sources:
            found = self._eligible(source, depth)
            if len(found):
                ranked[source.name] = found
        k = self.request.k
        few = not any(len(found) >= k for found in ranked.values()) and _different(ranked) < k
        if few or whole:
            ranked[self.plan.fallback.name] = self._eligible(self.plan.fallback, depth)
        return ranked

    def _deep_enough(self, mixer: Limited, ranked: dict[str, Candidates]) -> dict[str, Candidates]:
        """Return more candidates while a limit would be broken with fewer, the fallback's among them."""
        depth = self.plan.depth
        while mixer.wants_more(self.request, ranked) and depth * self.request.k < _DEEPEST:
            depth *= _MORE
            before = _different(ranked)
            ranked = self._gathered(depth, whole=True)
            if _different(ranked) <= before:
                break
        return ranked

    def _eligible(self, source: Source, depth: int) -> Candidates:
        """Return what a source gives and the rules keep: at least k when the source has that many.

        A source is asked for as many more as the rules are likely to remove; when they removed more, it is
        asked again for what they leave would be enough, until there are enough or it has no more.
        """
        k, request = self.request.k, self.request
        wanted = max(self.fetched.k * depth, self.plan.at_least.get(source.name, 0))
        ask = wanted + min(len(request.history) + self.fetched.excluded, _SPARE_MOST)
        if self._rate < _FEW:  # a third more than enough, if no more of this source pass than of the last
            ask = min(max(ask, int(4 / 3 * wanted / self._rate)), ask * _MOST)
        kept = found = _none(source.name)
        while True:
            before, found = found, self._fetch(source, ask)
            # A rule judges each candidate on its own, so those found before were judged already.
            kept = _joined(kept, self._judged(_beyond(found, before), self.plan.rules))
            if len(found):
                self._rate = max(len(kept), 1) / len(found)
            ranked = self._ranked(kept)
            if len(ranked) >= k or len(found) < ask or ask >= len(request.catalogue):
                return ranked
            ask = min(max(2 * ask, int(4 / 3 * k / self._rate)), _MOST * ask)

    def _fetch(self, source: Source, k: int) -> Candidates:
        known = self.fetched.get(source.name, k)
        if known is not None:
            return known
        stage = f"source {source.name}"
        spent = (perf_counter() - self._started) * 1e3
        if spent > self.plan.budget_ms and source is not self.plan.fallback:
            late = StageFailed(f"{spent:.0f} ms of {self.plan.budget_ms:g} ms were spent.", where=stage)
            self.trace.append(Step(stage=stage, rows_in=0, rows_out=0, ms=0.0, failure=str(late)))
            return _none(source.name)
        found = self._stage(stage, 0, lambda: source.fetch(self.asked, k))
        found = _none(source.name) if found is None else found
        self.fetched.found[source.name] = (k, found)
        return found

    def _judged(self, candidates: Candidates, rules: Sequence[Rule]) -> Candidates:
        for rule in rules:
            if len(candidates) == 0:
                break
            candidates = self._judge(candidates, rule)
        return candidates

    def _judge(self, candidates: Candidates, rule: Rule) -> Candidates:
        """Apply one rule.

        Raises:
            StageFailed: the rule failed. A feed fails open past sources, never past a rule: what the rule
                guards against would be shown.
        """
        started = perf_counter()
        n = len(candidates)
        try:
            verdict = rule.judge(self.request, candidates)
        except Defect:
            raise
        except Exception as error:
            raise StageFailed(_failure(error), where=f"rule {rule.name}") from error
        if len(verdict.keep) != n:
            raise Defect(f"rule '{rule.name}' judged {len(verdict.keep)} of {n} candidates.")
        if not verdict.keep.all():
            candidates = candidates.select(verdict.keep)
        gone = n - len(candidates)
        self.trace.append(
            Step(
                stage=f"rule {rule.name}",
                rows_in=n,
                rows_out=len(candidates),
                ms=(perf_counter() - started) * 1e3,
                dropped={verdict.reason: gone} if gone else {},
            )
        )
        return candidates

    def _ranked(self, candidates: Candidates) -> Candidates:
        ranker = self.plan.ranker
        if ranker is None or len(candidates) == 0 or candidates.source in self.plan.unranked:
            return self._judged(candidates, self.plan.late_rules)
        n = len(candidates)
        ordered = self._stage(f"ranker {ranker.name}", n, lambda: _order(ranker, self.request, candidates))
        return self._judged(candidates if ordered is None else ordered, self.plan.late_rules)

    def _stage(self, stage: str, rows_in: int, work: Callable[[], "T"]) -> "T | None":
        """Return what ``work`` gives, with a step in the trace; None when it fails."""
        started = perf_counter()
        out, failure = None, None
        try:
            out = work()
        except Defect:
            raise
        except Exception as error:  # noqa: BLE001 - any failure of a stage leaves the stage out, on record
            failure = _failure(error)
        ms = (perf_counter() - started) * 1e3
        rows = len(out) if isinstance(out, Candidates | tuple) else 0
        self.trace.append(Step(stage=stage, rows_in=rows_in, rows_out=rows, ms=ms, failure=failure))
        return out

    def _check(self, slots: Sequence[Slot]) -> None:
        if len(slots) > self.request.k or len({slot.item for slot in slots}) != len(slots):
            raise Defect(f"mixer '{self.plan.mixer.name}' gave too many slots or an item twice.")


@cache
def _limited(mixer: type) -> bool:
    """Return whether mixers of a class have limits: to ask a protocol each time is slow."""
    return issubclass(mixer, Limited)


def _failure(error: Exception) -> str:
    return str(error) if isinstance(error, StageFailed) else f"{type(error).__name__}: {error}"


def _none(source: str) -> Candidates:
    empty = readonly(np.zeros(0, np.int32))
    return Candidates(source=source, items=empty, scores=readonly(np.zeros(0, np.float32)))


def _beyond(found: Candidates, before: Candidates) -> Candidates:
    """Return the candidates not found ``before``, by item: events may have moved their order since."""
    return found if len(before) == 0 else found.select(~np.isin(found.items, before.items))


def _joined(first: Candidates, second: Candidates) -> Candidates:
    if len(first) == 0 or len(second) == 0:
        return second if len(first) == 0 else first
    return Candidates(
        source=second.source,
        items=readonly(np.concatenate([first.items, second.items])),
        scores=readonly(np.concatenate([first.scores, second.scores])),
    )


def _different(ranked: dict[str, Candidates]) -> int:
    return len(set().union(*(found.items.tolist() for found in ranked.values()))) if ranked else 0


def _order(ranker: Ranker, request: Request, candidates: Candidates) -> Candidates:
    """Return the candidates by descending score, NaN last, equal ones as they were."""
    scores = ranker.score(request, candidates)
    order = np.argsort(np.where(np.isnan(scores), np.inf, -scores), kind="stable")
    return Candidates(
        source=candidates.source, items=readonly(candidates.items[order]), scores=readonly(scores[order])
    )
