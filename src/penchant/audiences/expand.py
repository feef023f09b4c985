"""Grow a seed list: check it, measure its signal, score everybody, take the best, and say how good it is."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import Generator

from penchant.audiences import audit, coupang, quality
from penchant.audiences.config import Audience, AudienceCard, AudienceConfig, Rerun, TopFeature, best_rows
from penchant.audiences.explain import single_feature_auc, top_features
from penchant.audiences.methods import Material, scorer
from penchant.audiences.modes import modes
from penchant.audiences.pool import repeated
from penchant.audiences.seeds import Finding, IdList, Matched, check, match
from penchant.audiences.selection import Signal, scan
from penchant.data.snapshot import Snapshot
from penchant.features.matrix import hidden_columns
from penchant.features.prepared import Prepared, prepare
from penchant.features.taste import MOST_COLUMNS, taste
from penchant.kernel.arrays import F32, F64, Bools, Rows, readonly
from penchant.kernel.errors import InputError, PenchantError
from penchant.kernel.progress import Progress, Silent
from penchant.models.base import Model

LEAK_AT = 0.97
OVERLAP_AT = 0.90


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """One run's parts, handed from step to step."""

    snapshot: Snapshot
    config: AudienceConfig
    matched: Matched
    eligible: Bools  # (n,) who may be in the audience
    material: Material
    signal: Signal
    rng: Generator
    progress: Progress


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
    """Return the ``config.size`` users most like the seeds, with everything a person needs to judge them.

    ``exclude`` are lists of users to leave out, by name (suppressed, converted, no consent); ``where`` (n,)
    says who else may be chosen, such as those whom a filter expression keeps. ``cache`` keeps
    features between runs. ``model`` gives the space of users for ``embedding`` (its array ``user_factors``).
    ``previous`` is the folder of an earlier run to measure drift against. ``seed`` is what ``rng`` was made
    from, for the card.

    Raises:
        InputError: the list cannot be used (unknown, empty, too short, larger than the population), or it
            carries no signal: it looks like people drawn at random.
    """
    quiet = Silent() if progress is None else progress
    matched = match(seeds, snapshot)
    eligible, counts = _eligible(snapshot, matched, config, exclude or {}, where)
    findings = check(seeds, matched, snapshot, size=config.size, candidates=int(eligible.sum()))
    job = _job(snapshot, config, matched, eligible, rng, quiet, cache, model)
    findings += _signal_findings(job)
    if matched.weight is not None and config.method in ("coupang", "embedding"):
        ignored = f"The seeds' values are not used: {config.method} counts all seeds alike."
        findings.append(Finding(level="warning", what=ignored, todo="Use --method auto."))
    score = scorer(config, job.material, progress=quiet)(matched.rows, matched.weight, rng)
    rows = best_rows(score, eligible, config.size)
    ids = snapshot.users.ids(rows)
    top = _top(job, rows)
    measured = _quality(job, score)
    if measured.auc.low <= 0.5:
        findings.append(
            Finding(
                level="warning",
                what=f"Held-out AUC {measured.auc.value:.3f}, at worst {measured.auc.low:.3f}: chance 0.5.",
                todo="Treat this audience as a random one, or give a more specific list.",
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
        snapshot=snapshot.digest,
        cutoff=snapshot.cutoff,
        seed=seed,
        users=snapshot.n_users,
        seeds=len(matched.rows),
        excluded=counts,
        size=len(rows),
        p_overall=job.signal.p_overall,
        quality=measured,
        findings=sorted(findings, key=lambda f: ("problem", "warning", "note").index(f.level)),
        top=top,
        bias=audit.bias(
            snapshot.user_table,
            config.protected,
            seeds=matched.rows,
            audience=rows,
            score=score,
            eligible=np.flatnonzero(eligible).astype(np.int32),
        ),
        reruns=_reruns(job, rows),
        drift=None if previous is None else audit.drift(job.material.prepared.features, ids, previous),
    )
    values = job.material.prepared.features.values
    return Audience(
        rows=readonly(rows),
        ids=ids,
        scores=readonly(score[rows]),
        unknown=matched.unknown,
        card=card,
        features=np.stack([values[t.idx][rows] for t in top], axis=1) if top else np.zeros((len(rows), 0)),
    )


def _eligible(
    snapshot: Snapshot,
    matched: Matched,
    config: AudienceConfig,
    exclude: Mapping[str, IdList],
    where: Bools | None,
) -> tuple[Bools, dict[str, int]]:
    """Return who may be in the audience, and how many each list took out."""
    eligible = np.ones(snapshot.n_users, bool)
    counts: dict[str, int] = {}
    if not config.include_seeds:
        eligible[matched.rows] = False
        counts["seeds"] = len(matched.rows)
    for name, given in exclude.items():
        rows = snapshot.users.rows(given.ids)
        rows = np.unique(rows[rows >= 0])
        counts[name] = int(eligible[rows].sum())
        eligible[rows] = False
    if where is not None:
        counts["filter"] = int((eligible & ~where).sum())
        eligible &= where
    return eligible, counts


def _job(
    snapshot: Snapshot,
    config: AudienceConfig,
    matched: Matched,
    eligible: Bools,
    rng: Generator,
    progress: Progress,
    cache: Path | None,
    model: Model | None,
) -> _Job:
    prepared = prepare(snapshot, config.features, cache=cache, progress=progress)
    allowed = np.ones(len(prepared.features), bool)
    allowed[hidden_columns(prepared.features.book, config.hide)] = False
    space = _space(snapshot, config, model, prepared)
    distinct = allowed & ~repeated(prepared.features.book)
    signal = scan(
        prepared.codes,
        matched.rows,
        config.selection,
        rng=rng,
        sample=prepared.codes,
        allowed=distinct,
        progress=progress,
    )
    if signal.refused and config.method != "coupang":
        raise InputError(
            f"the list carries no signal: {len(matched.rows):,} people drawn at random look as different from"
            f" everybody (p = {signal.p_overall:.2f}).",
            fix="Give a more specific or a longer list. Nothing was written.",
        )
    return _Job(
        snapshot=snapshot,
        config=config,
        matched=matched,
        eligible=eligible,
        material=Material(prepared=prepared, allowed=allowed, taste=space),
        signal=signal,
        rng=rng,
        progress=progress,
    )


def _space(snapshot: Snapshot, config: AudienceConfig, model: Model | None, prepared: Prepared) -> F32:
    """Return the users' place in the model's space, zero for those it does not know; else in taste."""
    if model is not None and config.method == "embedding":
        factors = model.arrays().get("user_factors")
        if factors is None:
            raise InputError(f"a {model.kind} model has no space of users.", fix="Use an `ials` model.")
        known = model.users.rows(snapshot.users.to_arrow())
        space = np.zeros((snapshot.n_users, factors.shape[1]), np.float32)
        space[known >= 0] = factors[known[known >= 0]]
        return space
    category = config.features.category
    fine = config.fine
    if fine is None and snapshot.n_items > MOST_COLUMNS:
        fine = category or None
    categories = {feature.category for feature in prepared.features.book}
    return taste(
        snapshot,
        column=fine,
        category=category,
        hide=[entry for entry in config.hide if entry in categories],
        rows=np.arange(snapshot.n_users, dtype=np.int32),
    )


def _signal_findings(job: _Job) -> list[Finding]:
    """Say when one feature alone reproduces the list: a leak, or the filter that it was made with."""
    alone = np.where(
        job.material.allowed, single_feature_auc(job.material.prepared.codes, job.matched.rows), 0.0
    )
    best = int(alone.argmax())
    name = job.material.prepared.features.book[best]
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


def _top(job: _Job, rows: Rows) -> list[TopFeature]:
    """Describe the features that tell the seeds from everybody; the published method's own where it ran."""
    config, features = job.config, job.material.prepared.features
    everyone = np.arange(job.snapshot.n_users, dtype=np.int32)
    columns = job.signal.chosen[: config.max_features]
    if config.method == "coupang":
        divergence = coupang.divergences(features, job.matched.rows, everyone, progress=job.progress)
        allowed = np.where(job.material.allowed, divergence, 0.0)
        columns = coupang.select(allowed, config.coupang).columns
    return top_features(
        features, columns, seeds=job.matched.rows, audience=rows, population=everyone, focus=config.focus
    )


def _quality(job: _Job, score: F64) -> quality.Quality:
    """Measure the ranking by the seeds' own held-out scores against all others'."""
    marks = np.zeros(job.snapshot.n_users, bool)
    marks[job.matched.rows] = True
    measured = marks | job.eligible
    ranked = _standard(score)[measured]
    positive = marks[measured]
    spend = _spend(job)[measured]
    size = job.config.size
    overlap = None
    if job.config.stability and len(job.matched.rows) >= 50:
        quiet = scorer(job.config, job.material, progress=job.progress)
        try:
            overlap = quality.split_half(
                lambda half: quiet(half, None, job.rng),
                job.matched.rows,
                job.eligible,
                size,
                rng=job.rng,
            )
        except PenchantError:
            overlap = None  # half a list may diverge nowhere; the whole one did
    return quality.Quality(
        auc=quality.auc(ranked, positive),
        auc_within_spend=quality.auc_within(ranked, positive, quality.quintiles(spend)),
        overlap=overlap,
        overlap_by_chance=size / max(int(job.eligible.sum()), 1),
        reach=quality.reach(ranked, positive),
        modes=modes(job.material.taste[job.matched.rows], rng=job.rng),
    )


def _standard(score: F64) -> F64:
    """Return scores in [0, 1] for reading; the order is the same."""
    low, high = float(score.min()), float(score.max())
    return (score - low) / (high - low) if high > low else np.zeros_like(score)


def _spend(job: _Job) -> F64:
    """Return spend a year, or the number of orders where nothing has a price; 0 for never."""
    features = job.material.prepared.features
    for name in ("aas000", "cto000"):
        if name in features.names:
            column = np.nan_to_num(np.asarray(features.column(name), np.float64))
            if column.any():
                return column
    return np.zeros(job.snapshot.n_users)


def _reruns(job: _Job, rows: Rows) -> list[Rerun]:
    """Grow the audience again without each protected attribute that is among the features."""
    used = [name for name in job.config.protected if name in job.config.features.profile]
    found: list[Rerun] = []
    for attribute in used:
        symbols = np.array([f.symbol != attribute for f in job.material.prepared.features.book], bool)
        material = Material(
            prepared=job.material.prepared, allowed=job.material.allowed & symbols, taste=job.material.taste
        )
        again = scorer(job.config, material, progress=job.progress)(
            job.matched.rows, job.matched.weight, job.rng
        )
        kept = best_rows(again, job.eligible, job.config.size)
        marks = np.zeros(job.snapshot.n_users, bool)
        marks[job.matched.rows] = True
        measured = marks | job.eligible
        found.append(
            Rerun(
                attribute=attribute,
                overlap=len(np.intersect1d(rows, kept)) / max(len(rows), 1),
                auc=quality.auc(again[measured], marks[measured]).value,
            )
        )
    return found
