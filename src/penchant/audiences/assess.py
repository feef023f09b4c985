"""What a run of an audience is worth: its reasons, its measured quality, what it owes to an attribute."""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.random import Generator

from penchant.audiences import coupang, quality
from penchant.audiences.config import AudienceConfig, Rerun, TopFeature, best_rows
from penchant.audiences.explain import top_features
from penchant.audiences.methods import Material, scorer
from penchant.audiences.modes import modes
from penchant.audiences.people import Known, People
from penchant.audiences.seeds import Matched
from penchant.audiences.selection import Signal
from penchant.kernel.arrays import F32, F64, Bools, Rows
from penchant.kernel.errors import PenchantError
from penchant.kernel.progress import Progress

SHOWN: Final = 200_000
"""Of more people than this, so many are looked at for a picture, evenly spread over the ids."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run's parts, handed from step to step."""

    people: People
    known: Known
    config: AudienceConfig
    matched: Matched
    eligible: Bools  # (n,) who may be in the audience
    material: Material
    signal: Signal
    rng: Generator
    progress: Progress

    @property
    def n(self) -> int:
        """Return the number of people."""
        return len(self.eligible)


def top_of(job: Job, rows: Rows) -> tuple[list[TopFeature], F32]:
    """Describe the features that tell the seeds from everybody; the published method's own where it ran.

    With them come their values for the ``rows`` (size, top).
    """
    config, known = job.config, job.known
    columns = job.signal.chosen[: config.max_features]
    if config.method == "coupang":
        assert known.features is not None  # a store refuses the method
        everyone = np.arange(job.n, dtype=np.int32)
        divergence = coupang.divergences(known.features, job.matched.rows, everyone, progress=job.progress)
        allowed = np.where(job.material.allowed, divergence, 0.0)
        columns = coupang.select(allowed, config.coupang).columns
    if not len(columns):
        return [], np.zeros((len(rows), 0), np.float32)
    seeds, population = some(job.matched.rows), some(np.arange(job.n, dtype=np.int32))
    read = np.unique(np.concatenate([seeds, rows, population]))
    values = known.values(columns, read)
    seeds, audience, population = (
        np.searchsorted(read, part).astype(np.int32) for part in (seeds, rows, population)
    )
    found = top_features(
        [known.codes.book[j] for j in columns],
        columns,
        values,
        seeds=seeds,
        audience=audience,
        population=population,
        focus=config.focus,
    )
    return found, values[:, audience].T


def some(rows: Rows) -> Rows:
    """Return people (m,), or `SHOWN` of them evenly spread: enough for any picture and any share."""
    return rows if len(rows) <= SHOWN else rows[np.linspace(0, len(rows) - 1, SHOWN).astype(np.int64)]


def quality_of(job: Job, score: F64) -> quality.Quality:
    """Measure the ranking by the seeds' own held-out scores against all others'."""
    marks, measured = _measured(job)
    ranked = _standard(score)[measured]
    positive = marks[measured]
    spend = job.known.spend[measured]
    size = job.config.size
    seed_taste = job.material.sample_taste[job.material.places(job.matched.rows)]
    return quality.Quality(
        auc=quality.auc(ranked, positive),
        auc_within_spend=quality.auc_within(ranked, positive, quality.quintiles(spend)),
        overlap=_overlap(job),
        overlap_by_chance=size / max(int(job.eligible.sum()), 1),
        reach=quality.reach(ranked, positive),
        modes=modes(seed_taste, rng=job.rng),
        auc_of_spend=quality.auc(spend, positive) if spend.any() else None,
    )


def _measured(job: Job) -> tuple[Bools, Bools]:
    """Return who is a seed (n,), and who is one or may be chosen."""
    marks = np.zeros(job.n, bool)
    marks[job.matched.rows] = True
    return marks, marks | job.eligible


def _overlap(job: Job) -> float | None:
    """Return how far audiences from two halves of the list agree; beyond memory, among those learned from."""
    if not job.config.stability or len(job.matched.rows) < 50:
        return None
    material, seeds, eligible, size = job.material, job.matched.rows, job.eligible, job.config.size
    if job.known.features is None:
        seeds, eligible = material.places(seeds), eligible[material.drawn]
        size = max(round(size * int(eligible.sum()) / max(int(job.eligible.sum()), 1)), 1)
        material = material.part()
    score = scorer(job.config, material, progress=job.progress)
    try:
        return quality.split_half(lambda half: score(half, None, job.rng), seeds, eligible, size, rng=job.rng)
    except PenchantError:
        return None  # half a list may diverge nowhere; the whole one did


def _standard(score: F64) -> F64:
    """Return scores in [0, 1] for reading; the order is the same."""
    low, high = float(score.min()), float(score.max())
    return (score - low) / (high - low) if high > low else np.zeros_like(score)


def reruns_of(job: Job, rows: Rows) -> list[Rerun]:
    """Grow the audience again without each protected attribute that is among the features."""
    used = [name for name in job.config.protected if name in job.config.features.profile]
    found: list[Rerun] = []
    for attribute in used:
        symbols = np.array([f.symbol != attribute for f in job.known.codes.book], bool)
        material = replace(job.material, allowed=job.material.allowed & symbols)
        again = scorer(job.config, material, progress=job.progress)(
            job.matched.rows, job.matched.weight, job.rng
        )
        kept = best_rows(again, job.eligible, job.config.size)
        marks, measured = _measured(job)
        found.append(
            Rerun(
                attribute=attribute,
                overlap=len(np.intersect1d(rows, kept)) / max(len(rows), 1),
                auc=quality.auc(again[measured], marks[measured]).value,
            )
        )
    return found
