"""A filter expression as a rule of a feed, and promotions: slots kept for items that a filter chooses."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import msgspec
import numpy as np
from numpy.random import Generator

from penchant.feed.filter_run import Facts, Filter
from penchant.feed.item_columns import Columns
from penchant.feed.layout import Limited
from penchant.feed.places import PINNED
from penchant.feed.plan import Plan
from penchant.feed.run import Fetched, run
from penchant.feed.types import Candidates, Feed, Request, Slot, Step, Verdict
from penchant.kernel.arrays import Bools, Rows, readonly
from penchant.kernel.errors import InputError


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Filtered:
    """Keeps what passes a filter. ``everyone`` is its mask over the catalogue, when all users share one."""

    name: str
    filter: Filter
    columns: Columns
    facts: Facts
    everyone: Bools | None = None

    def judge(self, request: Request, candidates: Candidates) -> Verdict:
        """Keep what passes; an item that arrived during the request waits for the next one."""
        known = candidates.items < self.columns.n_rows
        rows = candidates.items[known]
        keep = np.zeros(len(known), np.bool_)
        keep[known] = (
            self.filter.mask(self.columns, self.facts, rows) if self.everyone is None else self.everyone[rows]
        )
        return Verdict(keep=readonly(keep), reason=f"filter {self.name}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    """``percent`` of the slots (1 to 100, at least one), or ``count``, go to items that ``rule`` keeps."""

    name: str
    percent: int | None = None
    count: int | None = None
    rule: Filtered

    def __post_init__(self) -> None:
        if (self.percent is None) is (self.count is None):
            raise InputError(f"the promotion '{self.name}' needs a percentage or a number of slots.")
        if self.percent is not None and not 1 <= self.percent <= 100:
            raise InputError(f"percentPromotedItems of '{self.name}' must be 1 to 100, got {self.percent}.")
        if self.count is not None and self.count < 1:
            raise InputError(f"the promotion '{self.name}' must ask for a slot at least, got {self.count}.")

    def slots(self, k: int) -> int:
        """Return how many of ``k`` slots it asks for."""
        return min(self.count, k) if self.count is not None else max(1, k * (self.percent or 0) // 100)


def run_promoted(
    plan: Plan,
    request: Request,
    rng: Generator,
    *,
    rules: Sequence[Filtered] = (),
    promotions: Sequence[Promotion] = (),
    explain: bool = False,
) -> Feed:
    """Run a plan with filters of the request, and with promoted items at random positions.

    The request's filters apply to the items that are not promoted, a promotion's to its own only (as Amazon
    Personalize does). Promoted items keep their order among themselves. Where fewer exist than asked, as many
    as exist are placed, and the trace says how many were missing; a feed too small for one place each gives
    them to the first. Limits and pinned places hold among the promoted items and among the others, not where
    both meet; the trace says what that broke. The propensity of every slot of a feed with promotions is
    unknown: None.
    """
    filtered = replace(plan, rules=(*plan.rules, *rules)) if rules else plan
    if not promotions:
        return run(filtered, request, rng, explain=explain)
    percent = sum(promotion.percent or 0 for promotion in promotions)
    if percent > 100:
        raise InputError(f"the promotions ask for {percent}% of the places.", fix="Lower the percentages.")
    unpinned = tuple(source for source in plan.sources if source.name != PINNED)
    pins = [source.fetch(request, 0).items for source in plan.sources if source.name == PINNED]
    fetched = Fetched(request)
    placed: list[Slot] = []
    trace: list[Step] = []
    for promotion in promotions:
        asked = min(promotion.slots(request.k), request.k - len(placed))
        if asked == 0:
            continue
        own = replace(plan, sources=unpinned, rules=(*plan.rules, promotion.rule))
        without = _without(request, [*pins, _rows(placed)], asked)
        part = run(own, without, rng, explain=explain, fetched=fetched)
        placed += [msgspec.structs.replace(slot, source=f"promotion:{promotion.name}") for slot in part.slots]
        trace += [*part.trace, _told(promotion, asked, len(part.slots))]
    others: tuple[Slot, ...] = ()
    if len(placed) < request.k:
        k = request.k - len(placed)
        rest = run(filtered, _without(request, [_rows(placed)], k), rng, explain=explain, fetched=fetched)
        others = rest.slots
        trace += rest.trace
    total = len(placed) + len(others)
    positions = set(rng.choice(total, len(placed), replace=False).tolist()) if total else set()
    promoted, usual = iter(placed), iter(others)
    merged = [next(promoted) if place in positions else next(usual) for place in range(total)]
    if isinstance(plan.mixer, Limited):
        trace.append(
            Step(
                stage="promotions",
                rows_in=total,
                rows_out=total,
                ms=0.0,
                broken=plan.mixer.broken(request, merged),
            )
        )
    return Feed(
        request_id=request.request_id,
        feed=plan.name,
        user_id=request.user_id,
        model_version=plan.model_version,
        slots=tuple(msgspec.structs.replace(slot, propensity=None) for slot in merged),
        trace=tuple(trace),
    )


def _told(promotion: Promotion, asked: int, placed: int) -> Step:
    missing = {"no more items": asked - placed} if placed < asked else {}
    return Step(stage=f"promotion {promotion.name}", rows_in=asked, rows_out=placed, ms=0.0, dropped=missing)


def _rows(slots: Sequence[Slot]) -> Rows:
    return np.array([slot.item for slot in slots], np.int32)


def _without(request: Request, taken: Sequence[Rows], k: int) -> Request:
    return replace(request, k=k, exclude=readonly(np.concatenate([request.exclude, *taken])))
