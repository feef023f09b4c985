"""How good an audience is, from the seed list alone: seeds scored by models that never saw them."""

from collections.abc import Callable
from typing import Final

import msgspec
import numpy as np
from numpy.random import Generator
from scipy.special import ndtr

from penchant.audiences.modes import Modes
from penchant.kernel.arrays import F64, Bools, Rows

REACH: Final = (0.01, 0.02, 0.05, 0.10, 0.20, 0.30, 0.50)
_LEVEL: Final = 1.959963984540054  # 95%


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """A value with its 95% interval."""

    value: float
    low: float
    high: float


class Reach(msgspec.Struct, frozen=True, kw_only=True):
    """One point of the reach curve: the top ``share`` of the others, and the held-out seeds there."""

    share: float
    people: int
    similarity: float  # mean score of the people taken in at this size, in [0, 1]
    recall: Interval  # of the held-out seeds
    lift: Interval  # recall / share


class Quality(msgspec.Struct, frozen=True, kw_only=True):
    """What the seeds say about the ranking. 0.5 is chance for an AUC."""

    auc: Interval
    auc_within_spend: Interval  # among people of the same spend quintile
    overlap: float | None  # share of the audience that two halves of the list agree on
    overlap_by_chance: float
    reach: list[Reach]
    modes: Modes | None = None
    auc_of_spend: Interval | None = None  # of spend alone; None where nobody spends


def auc(score: F64, positive: Bools) -> Interval:
    """Return P(a seed is scored above another) with the interval of Hanley and McNeil (1982); ties half."""
    n1, n0 = int(positive.sum()), int((~positive).sum())
    if n1 == 0 or n0 == 0:
        return Interval(value=0.5, low=0.0, high=1.0)
    from scipy.stats import rankdata  # heavy: only here

    ranks = rankdata(score)
    value = (ranks[positive].sum() - n1 * (n1 + 1) / 2) / (n1 * n0)
    q1, q2 = value / (2 - value), 2 * value**2 / (1 + value)
    variance = value * (1 - value) + (n1 - 1) * (q1 - value**2) + (n0 - 1) * (q2 - value**2)
    return _around(float(value), float(np.sqrt(max(variance, 0.0) / (n1 * n0))))


def auc_within(score: F64, positive: Bools, stratum: Rows) -> Interval:
    """Return the AUC within strata (n,), averaged by their seeds: spend then explains nothing."""
    parts: list[tuple[int, Interval]] = []
    for value in np.unique(stratum):
        inside = stratum == value
        hits = int(positive[inside].sum())
        if 0 < hits < int(inside.sum()):
            parts.append((hits, auc(score[inside], positive[inside])))
    if not parts:
        return Interval(value=0.5, low=0.0, high=1.0)
    share = np.array([hits for hits, _ in parts]) / sum(hits for hits, _ in parts)
    value = float(sum(w * part.value for w, (_, part) in zip(share, parts, strict=True)))
    errors = np.array([(part.high - part.low) / (2 * _LEVEL) for _, part in parts])
    return _around(value, float(np.sqrt(((share * errors) ** 2).sum())))


def quintiles(spend: F64) -> Rows:
    """Return the fifth (0..4) that each of n people belongs to by spend; equal spend is split by position."""
    order = np.empty(len(spend), np.int64)
    order[np.argsort(spend, kind="stable")] = np.arange(len(spend))
    return np.minimum(order * 5 // max(len(spend), 1), 4).astype(np.int32)


def reach(score: F64, positive: Bools) -> list[Reach]:
    """Return held-out recall and lift at growing sizes, with Wilson's (1927) interval of the recall.

    A share is of the people who are not seeds; a seed counts as reached when its held-out score is above that
    of the last person taken in.
    """
    others = np.sort(score[~positive])[::-1]
    seeds = score[positive]
    points: list[Reach] = []
    for share in REACH:
        people = round(share * len(others))
        if people < 1 or not len(seeds):
            continue
        bound = others[people - 1]
        hits = float((seeds > bound).sum() + (seeds == bound).sum() / 2)
        recall = wilson(hits, len(seeds))
        lift = Interval(value=recall.value / share, low=recall.low / share, high=recall.high / share)
        mean = float(others[:people].mean())
        points.append(Reach(share=share, people=people, similarity=mean, recall=recall, lift=lift))
    return points


def wilson(hits: float, n: int) -> Interval:
    """Return a share with Wilson's 95% interval."""
    share = hits / n
    middle = (share + _LEVEL**2 / (2 * n)) / (1 + _LEVEL**2 / n)
    half = _LEVEL / (1 + _LEVEL**2 / n) * np.sqrt(share * (1 - share) / n + _LEVEL**2 / (4 * n * n))
    return Interval(value=share, low=float(max(middle - half, 0)), high=float(min(middle + half, 1)))


def split_half(
    score_of: Callable[[Rows], F64], seeds: Rows, candidates: Bools, size: int, *, rng: Generator
) -> float:
    """Return the share of people that audiences grown from two random halves of the seeds have in common."""
    order = rng.permutation(len(seeds))
    halves = (np.sort(seeds[order[: len(order) // 2]]), np.sort(seeds[order[len(order) // 2 :]]))
    taken: list[set[int]] = []
    for half in halves:
        ranked = np.where(candidates, score_of(half), -np.inf)
        taken.append(set(np.argsort(-ranked, kind="stable")[:size].tolist()))
    return len(taken[0] & taken[1]) / max(size, 1)


def difference(hits: int, n: int, control_hits: int, control_n: int) -> tuple[Interval, float]:
    """Return the difference of two shares with its interval (Newcombe 1998), and the two-sided p-value."""
    treated, control = wilson(hits, n), wilson(control_hits, control_n)
    gap = treated.value - control.value
    low = gap - np.hypot(treated.value - treated.low, control.high - control.value)
    high = gap + np.hypot(treated.high - treated.value, control.value - control.low)
    pooled = (hits + control_hits) / (n + control_n)
    error = np.sqrt(pooled * (1 - pooled) * (1 / n + 1 / control_n))
    p_value = float(2 * ndtr(-abs(gap) / error)) if error > 0 else 1.0
    return Interval(value=gap, low=float(low), high=float(high)), p_value


def _around(value: float, error: float) -> Interval:
    return Interval(value=value, low=max(value - _LEVEL * error, 0.0), high=min(value + _LEVEL * error, 1.0))
