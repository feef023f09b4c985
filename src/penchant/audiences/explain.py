"""Why these people: each top feature's distributions, and its signed log-odds with support and direction."""

from collections.abc import Sequence

import numpy as np

from penchant.audiences.config import TopFeature
from penchant.audiences.divergence import BINS, histogram, jensen_shannon, value_range, weights
from penchant.features.codes import CodeStore
from penchant.features.matrix import FeatureName
from penchant.kernel.arrays import F32, F64, I64, Bools, Rows

_NEVER_COUNTS = 0.2


def top_features(
    names: Sequence[FeatureName],
    columns: "Sequence[int] | Rows",
    values: F32,
    *,
    seeds: Rows,
    audience: Rows,
    population: Rows,
    focus: float,
) -> list[TopFeature]:
    """Describe k features in the order given; weights are those of the published method over them.

    ``columns`` (k,) are their places in the book, ``values`` (k, m) theirs for some people. ``seeds``,
    ``audience`` and ``population`` are places among these; the last may be a sample of everybody.
    """
    drawn = [_shares(column, seeds, audience, population) for column in values]
    rest = population[~np.isin(population, seeds)]
    divergence = np.array([js for *_, js in drawn])
    weight = weights(np.maximum(divergence, 1e-12), focus) if len(drawn) else divergence
    found: list[TopFeature] = []
    for place, (name, j) in enumerate(zip(names, columns, strict=True)):
        column = values[place]
        edges, seed_share, audience_share, population_share, js = drawn[place]
        contrast, odds, low, high, support = _log_odds(column, seeds, population, rest)
        more = odds >= 0
        means = [_mean(column[rows]) for rows in (seeds, audience, population)]
        found.append(
            TopFeature(
                feature=name.name,
                idx=int(j),
                symbol=name.symbol,
                code=name.code,
                category=name.category,
                js_div=js,
                weight=float(weight[place]),
                contrast=contrast,
                log_odds=odds,
                low=low,
                high=high,
                support=support,
                direction="more" if more else "less",
                steady=(low > 0 or high < 0) and _agrees(column, seeds, population, more=more),
                seed_mean=means[0],
                audience_mean=means[1],
                population_mean=means[2],
                edges=edges,
                seed_share=seed_share,
                audience_share=audience_share,
                population_share=population_share,
            )
        )
    return found


def _shares(
    column: F32, seeds: Rows, audience: Rows, population: Rows
) -> tuple[list[float], list[float], list[float], list[float], float]:
    """Return edges and shares over the middle 98% of the population, and JS over the full range."""
    every = column[population]
    known = every[~np.isnan(every)]
    low, high = value_range(np.concatenate([every, column[seeds]]))
    js = float(jensen_shannon(histogram(column[seeds], low, high), histogram(every, low, high)))
    if len(known):
        low, high = (float(x) for x in np.quantile(known, [0.01, 0.99]))
    shares = [_normal(histogram(column[rows], low, high)) for rows in (seeds, audience, population)]
    edges = np.linspace(low, high if high > low else low + 1, BINS + 1).tolist()
    return edges, shares[0], shares[1], shares[2], js


def _normal(counts: I64) -> list[float]:
    return (counts / max(counts.sum(), 1)).tolist()


def _mean(values: F32) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean(dtype=np.float64)) if len(known) else None


def _answers(column: F32, population: Rows) -> tuple[str, Bools]:
    """Return the question a feature is asked, and who answers yes (n,)."""
    every = column[population]
    known = every[~np.isnan(every)]
    never = 1 - len(known) / max(len(every), 1)
    if never >= _NEVER_COUNTS or not len(known):
        return "ever", ~np.isnan(column)
    middle = float(np.median(known))
    with np.errstate(invalid="ignore"):
        if middle < known.max():
            return f"above {middle:.4g}", column > middle
        return f"at least {middle:.4g}", column >= middle


def _log_odds(column: F32, seeds: Rows, population: Rows, rest: Rows) -> tuple[str, float, float, float, int]:
    """Return the question, log odds ratio of the seeds against the rest, its 95% interval, and the support.

    log((a + .5)(d + .5) / ((b + .5)(c + .5))) with the error sqrt(sum 1 / (cell + .5)) (Haldane, Anscombe).
    """
    contrast, yes = _answers(column, population)
    a, b = int(yes[seeds].sum()), int((~yes[seeds]).sum())
    c, d = int(yes[rest].sum()), int((~yes[rest]).sum())
    cells = np.array([a, b, c, d], np.float64) + 0.5
    odds = float(np.log(cells[0] * cells[3] / (cells[1] * cells[2])))
    error = 1.959963984540054 * float(np.sqrt((1 / cells).sum()))
    return contrast, odds, odds - error, odds + error, a


def _agrees(column: F32, seeds: Rows, population: Rows, *, more: bool) -> bool:
    """Check the direction by another road: the seeds' mean place among all, never lowest."""
    filled = np.nan_to_num(column[population], nan=-np.inf)
    order = np.sort(filled)
    mine = np.nan_to_num(column[seeds], nan=-np.inf)
    place = (np.searchsorted(order, mine, "left") + np.searchsorted(order, mine, "right")) / 2
    return bool((place.mean() >= len(order) / 2) == more)


def single_feature_auc(codes: CodeStore, seeds: Rows) -> F64:
    """Return how well each feature alone tells the seeds from the rest (d,): the AUC of its codes.

    Codes are taken in the order of their likelihood ratio, so a filter on any range is found.
    """
    mine = codes.histogram(seeds).astype(np.float64)
    rest = codes.counts - mine
    p, q = mine / max(len(seeds), 1), rest / np.maximum(rest.sum(1, keepdims=True), 1)
    order = np.argsort(-(p + 1e-9) / (q + 1e-9), axis=1, kind="stable")
    p, q = np.take_along_axis(p, order, 1), np.take_along_axis(q, order, 1)
    after = q.sum(1, keepdims=True) - np.cumsum(q, axis=1)
    return (p * (after + q / 2)).sum(1)
