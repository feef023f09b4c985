"""Grow a seed list: check it, measure its signal, score everybody, take the best, and say how good it is."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.random import Generator

from penchant.audiences import audit
from penchant.audiences.assess import Job, quality_of, reruns_of, some, top_of
from penchant.audiences.config import (
    Audience,
    AudienceCard,
    AudienceConfig,
    Drift,
    best_rows,
    read_card,
)
from penchant.audiences.explain import single_feature_auc
from penchant.audiences.methods import Material, drawn_from, scorer
from penchant.audiences.people import People, SnapshotPeople
from penchant.audiences.pool import repeated
from penchant.audiences.seeds import Finding, IdList, Matched, check, match
from penchant.audiences.selection import scan
from penchant.data.snapshot import Snapshot
from penchant.features.matrix import hidden_columns
from penchant.kernel.arrays import Bools, readonly
from penchant.kernel.errors import InputError
from penchant.kernel.progress import Progress, Silent
from penchant.models.base import Model

LEAK_AT = 0.97
OVERLAP_AT = 0.90
SPEND_AT = 0.75


def expand(
    snapshot: Snapshot,
    seeds: IdList,
    config: AudienceConfig,
    *,
    rng: Generator,
    progress: Progress | None = None,
    exclude: Mapping[str, IdList] | None = None,
    where: Bools | None = None,
    previous: Path | None = None,
    cache: Path | None = None,
    model: Model | None = None,
    seed: int = 0,
) -> Audience:
    """Grow a list on a snapshot; see `expand_people`.

    ``cache`` keeps features between runs. ``model`` gives the space of users for ``embedding`` (its array
    ``user_factors``).
    """
    return expand_people(
        SnapshotPeople(snapshot=snapshot, cache=cache, model=model),
        seeds,
        config,
        rng=rng,
        progress=progress,
        exclude=exclude,
        where=where,
        previous=previous,
        seed=seed,
    )


def expand_people(
    people: People,
    seeds: IdList,
    config: AudienceConfig,
    *,
    rng: Generator,
    progress: Progress | None = None,
    exclude: Mapping[str, IdList] | None = None,
    where: Bools | None = None,
    previous: Path | None = None,
    seed: int = 0,
) -> Audience:
    """Return the ``config.size`` users most like the seeds, with everything a person needs to judge them.

    ``exclude`` are lists of users to leave out, by name (suppressed, converted, no consent); ``where`` (n,)
    says who else may be chosen, such as those whom a filter expression keeps. ``previous`` is the folder of
    an earlier run to measure drift against. ``seed`` is what ``rng`` was made from, for the card.

    Raises:
        InputError: the list cannot be used (unknown, empty, too short, larger than the population), or it
            carries no signal: it looks like people drawn at random.
    """
    quiet = Silent() if progress is None else progress
    audit.require(people.user_table, config.protected)
    earlier = None if previous is None else (previous, read_card(previous / "card.json"))
    matched = match(seeds, people)
    eligible, counts = _eligible(people, matched, config, exclude or {}, where)
    findings = people.findings + check(
        seeds, matched, people, size=config.size, candidates=int(eligible.sum())
    )
    job = _job(people, config, matched, eligible, rng, quiet)
    findings += _signal_findings(job)
    if matched.weight is not None and config.method in ("coupang", "embedding"):
        ignored = f"The seeds' values are not used: {config.method} counts all seeds alike."
        findings.append(Finding(level="warning", what=ignored, todo="Use --method auto."))
    score = scorer(config, job.material, progress=quiet)(matched.rows, matched.weight, rng)
    rows = best_rows(score, eligible, config.size)
    ids = people.users.ids(rows)
    top, values = top_of(job, rows)
    measured = quality_of(job, score)
    if measured.auc.low <= 0.5:
        findings.append(
            Finding(
                level="warning",
                what=f"Held-out AUC {measured.auc.value:.3f}, at worst {measured.auc.low:.3f}: chance 0.5.",
                todo="Treat this audience as a random one, or give a more specific list.",
            )
        )
    elif measured.auc_of_spend is not None and (
        measured.auc_of_spend.value - 0.5 >= SPEND_AT * (measured.auc.value - 0.5)
    ):
        findings.append(
            Finding(
                level="note",
                what=f"Spend alone ranks the seeds nearly as well (AUC {measured.auc_of_spend.value:.3f},"
                f" all features {measured.auc.value:.3f}): most of this list is that they buy much.",
                todo="Read the AUC at equal spend. If you want the best customers, sort by spend.",
            )
        )
    if measured.modes is not None and len(kinds := measured.modes.shares) > 1:
        shares = ", ".join(f"{share:.0%}" for share in kinds)
        findings.append(
            Finding(
                level="note",
                what=f"The seeds are {len(kinds)} kinds of people by taste ({shares}).",
                todo="If they are meant for different messages, grow an audience from each.",
            )
        )
    card = AudienceCard(
        config=config,
        snapshot=people.digest,
        cutoff=people.cutoff,
        seed=seed,
        users=job.n,
        seeds=len(matched.rows),
        excluded=counts,
        size=len(rows),
        p_overall=job.signal.p_overall,
        quality=measured,
        findings=sorted(findings, key=lambda f: ("problem", "warning", "note").index(f.level)),
        top=top,
        bias=audit.bias(
            people.user_table,
            config.protected,
            seeds=matched.rows,
            audience=rows,
            score=score,
            eligible=np.flatnonzero(eligible).astype(np.int32),
        ),
        reruns=reruns_of(job, rows),
        drift=None if earlier is None else _drift(job, ids, *earlier),
    )
    return Audience(
        rows=readonly(rows),
        ids=ids,
        scores=readonly(score[rows]),
        unknown=matched.unknown,
        card=card,
        features=values,
    )


def _drift(job: Job, ids: list[str], previous: Path, card: AudienceCard) -> Drift:
    everyone = some(np.arange(job.n, dtype=np.int32))
    return audit.drift(
        job.known.codes.book, lambda columns: job.known.values(columns, everyone), ids, previous, card
    )


def _eligible(
    people: People,
    matched: Matched,
    config: AudienceConfig,
    exclude: Mapping[str, IdList],
    where: Bools | None,
) -> tuple[Bools, dict[str, int]]:
    """Return who may be in the audience, and how many each list took out."""
    eligible = np.ones(len(people.users), bool)
    counts: dict[str, int] = {}
    if not config.include_seeds:
        eligible[matched.rows] = False
        counts["seeds"] = len(matched.rows)
    for name, given in exclude.items():
        rows = people.users.rows(given.ids)
        rows = np.unique(rows[rows >= 0])
        counts[name] = int(eligible[rows].sum())
        eligible[rows] = False
    if where is not None:
        counts["filter"] = int((eligible & ~where).sum())
        eligible &= where
    return eligible, counts


def _job(
    people: People,
    config: AudienceConfig,
    matched: Matched,
    eligible: Bools,
    rng: Generator,
    progress: Progress,
) -> Job:
    known = people.known(config, progress=progress)
    codes = known.codes
    allowed = np.ones(len(codes.book), bool)
    allowed[hidden_columns(codes.book, config.hide)] = False
    drawn, sample = drawn_from(codes, matched.rows, config.ensemble, rng)
    material = Material(
        codes=codes,
        allowed=allowed,
        taste=known.taste(config, sample),
        drawn=drawn,
        sample=sample,
        features=known.features,
        items=known.items(config),
    )
    signal = scan(
        codes,
        matched.rows,
        config.selection,
        rng=rng,
        sample=sample,
        allowed=allowed & ~repeated(codes.book),
        progress=progress,
    )
    if signal.refused and config.method != "coupang":
        raise InputError(
            f"the list carries no signal: {len(matched.rows):,} people drawn at random look as different from"
            f" everybody (p = {signal.p_overall:.2f}).",
            fix="Give a more specific or a longer list. Nothing was written.",
        )
    return Job(
        people=people,
        known=known,
        config=config,
        matched=matched,
        eligible=eligible,
        material=material,
        signal=signal,
        rng=rng,
        progress=progress,
    )


def _signal_findings(job: Job) -> list[Finding]:
    """Say when one feature alone reproduces the list: a leak, or the filter that it was made with."""
    material = job.material
    places = material.places(job.matched.rows)
    alone = np.where(material.allowed, single_feature_auc(material.sample, places), 0.0)
    best = int(alone.argmax())
    name = job.known.codes.book[best]
    called = f"{name.name} ({name.category})" if name.category else name.name
    hint = f"--hide '{name.category}'" if name.category not in ("", "ALL") else f"--hide {name.name}"
    if alone[best] >= LEAK_AT:
        return [
            Finding(
                level="problem",
                what=f"{called} alone reproduces the list (AUC {alone[best]:.3f}): the audience will find the"
                " filter again, and the measured quality means nothing.",
                todo=f"Run again with {hint}.",
            )
        ]
    if alone[best] >= OVERLAP_AT:
        return [
            Finding(
                level="warning",
                what=f"{called} comes close to the list by itself (AUC {alone[best]:.3f}).",
                todo=f"If the list was made by filtering on it, run again with {hint}.",
            )
        ]
    if job.signal.refused:
        return [
            Finding(
                level="problem",
                what=f"The list looks like people drawn at random (p = {job.signal.p_overall:.2f});"
                " the published method does not notice.",
                todo="Use --method auto, which refuses such lists, or give a more specific one.",
            )
        ]
    return []
