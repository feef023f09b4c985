"""A seed list answered from a code store alone: for populations whose tables never fit into memory.

`penchant.features.coding.code_table` builds the store from raw tables; this reads it in a few passes and
holds some hundred bytes a user at most.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from penchant.audiences import quality
from penchant.audiences.config import best_rows
from penchant.audiences.ensemble import Ensemble
from penchant.audiences.methods import Material, drawn_from, learned
from penchant.audiences.pool import repeated
from penchant.audiences.selection import Selection, Signal, scan
from penchant.features.codes import Codes
from penchant.features.matrix import hidden_columns
from penchant.features.taste import axes_of
from penchant.kernel.arrays import F64, Bools, Rows, readonly
from penchant.kernel.errors import InputError
from penchant.kernel.progress import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Grown:
    """The users most like the seeds, best first, and what the seeds say about the ranking."""

    rows: Rows  # (size,)
    scores: F64  # (size,)
    signal: Signal
    auc: quality.Interval  # of the seeds, scored by models that did not see them
    reach: list[quality.Reach]


def grow(
    store: Codes,
    seeds: Rows,
    size: int,
    *,
    rng: Generator,
    eligible: "Bools | None" = None,
    hide: Iterable[str] = (),
    selection: Selection | None = None,
    learners: Ensemble | None = None,
    progress: Progress,
) -> Grown:
    """Return the ``size`` users of the store most like ``seeds`` (rows, ascending), seeds left out.

    ``eligible`` (n,) says who may be chosen; ``hide`` names features the list was made by.

    Raises:
        InputError: the list carries no signal, or fewer are eligible than asked for.
    """
    hide = list(hide)
    allowed = np.ones(len(store.book), bool)
    allowed[hidden_columns(store.book, hide)] = False
    candidates = np.ones(store.n_users, bool) if eligible is None else eligible.copy()
    candidates[seeds] = False
    if size > (left := int(candidates.sum())):
        raise InputError(f"{size:,} people asked for, but only {left:,} are left.", fix="Ask for fewer.")
    config = Ensemble() if learners is None else learners
    drawn, sample = drawn_from(store, seeds, config, rng)
    signal = scan(
        store,
        seeds,
        Selection() if selection is None else selection,
        rng=rng,
        sample=sample,
        allowed=allowed & ~repeated(store.book),
        progress=progress,
    )
    if signal.refused:
        raise InputError(
            f"the list carries no signal: {len(seeds):,} people drawn at random look as different from"
            f" everybody (p = {signal.p_overall:.2f}).",
            fix="Give a more specific or a longer list.",
        )
    material = Material(
        codes=store,
        allowed=allowed,
        taste=axes_of(sample, store.counts, hide=hide),
        drawn=drawn,
        sample=sample,
    )
    score = learned(material, config, seeds, None, rng=rng, progress=progress)
    rows = best_rows(score, candidates, size)
    is_seed = np.zeros(store.n_users, bool)
    is_seed[seeds] = True
    measured = candidates | is_seed
    ranked, positive = score[measured], is_seed[measured]
    return Grown(
        rows=readonly(rows),
        scores=readonly(score[rows]),
        signal=signal,
        auc=quality.auc(ranked, positive),
        reach=quality.reach(ranked, positive),
    )
