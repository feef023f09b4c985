"""The next click within sessions, replayed: a recommender answers from what had happened, then learns it.

Events run by in the order of time. Of the sessions asked about, every click but the first is a request, made
just before that click: the answer may use all clicks before it, everybody's, and nothing after. Items are
born with their first click. Candidates are the items clicked in the recipe's last ``window`` that are not in
the session; what is no candidate is not given, and its rank is 0.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec
import numpy as np
from numpy.random import Generator

from penchant.data.interactions import Interactions
from penchant.evaluation.intervals import Difference, Interval, differences, interval, resampled_means
from penchant.kernel.arrays import F64, AnyArray, Bools, Rows, readonly
from penchant.kernel.errors import Defect, InputError
from penchant.kernel.progress import Progress
from penchant.kernel.seeds import derive
from penchant.models.measure import measured


class Replayable(Protocol):
    """What can answer and learn in turn."""

    def ranks(self, events: Interactions, asked: Bools, n_items: int) -> Rows:
        """Return (n,) the rank, from 1, that each event ``asked`` about had before it; 0 = not given."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionReplay:
    """Events, oldest first, and which of them are asked about."""

    events: Interactions
    asked: Bools  # (n,)
    n_items: int
    sessions: int  # asked about
    description: str
    fingerprint: str


def session_replay(
    events: Interactions,
    *,
    start: float,
    end: float,
    n_items: int,
    rng: Generator,
    sessions: AnyArray | None = None,
    sample: int | None = None,
    warm: float,
) -> SessionReplay:
    """Ask about ``sample`` sessions (all when None) of two clicks or more that begin in [start, end).

    ``sessions`` (n,) names each event's; without it a user has one. Recommenders see users, and learn from
    ``warm`` seconds before ``start`` on.

    Raises:
        InputError: no session begins then.
    """
    within = events.user if sessions is None else sessions
    order = np.lexsort((events.item, within, events.timestamp))
    ordered, within = events.select(order), within[order]
    # Positions ascend by time, so a session's least position is its first click.
    names, first, size = np.unique(within, return_index=True, return_counts=True)
    begins = ordered.timestamp[first]
    able = np.flatnonzero((begins >= start) & (begins < end) & (size > 1))
    if len(able) == 0:
        raise InputError("no session of two clicks or more begins in the time asked about.")
    chosen = able if sample is None else rng.choice(able, min(sample, len(able)), replace=False)
    asked = np.isin(within, names[chosen])
    asked[first] = False
    last = float(ordered.timestamp[asked].max())
    low, high = np.searchsorted(ordered.timestamp, [start - warm, np.nextafter(last, np.inf)])
    part, asked = ordered.select(slice(int(low), int(high))), asked[low:high]
    state = hashlib.blake2b(digest_size=6)
    for array in (part.user, part.item, part.timestamp, asked):
        state.update(np.ascontiguousarray(array).data)
    return SessionReplay(
        events=part,
        asked=readonly(asked),
        n_items=n_items,
        sessions=len(chosen),
        description=(
            f"next click within {len(chosen):,} of {len(able):,} sessions, {int(asked.sum()):,} requests, "
            f"learning from {warm / 86400:g} days before"
        ),
        fingerprint=state.hexdigest(),
    )


class SessionEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One recommender: means over requests, intervals from resampling users, cost of the whole replay."""

    name: str
    mrr: Interval
    hit_rate: Interval
    cpu_seconds: float
    events_a_second: float  # of CPU


class SessionTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Best MRR first."""

    description: str
    fingerprint: str
    k: int
    entries: list[SessionEntry]
    differences: list[Difference]

    def text(self) -> str:
        """Return the table in plain lines."""
        lines = [f"{self.description}, fingerprint {self.fingerprint}"]
        lines += [
            f"{e.name:40} MRR@{self.k} {e.mrr.mean:.4f} [{e.mrr.low:.4f}, {e.mrr.high:.4f}] "
            f"HR@{self.k} {e.hit_rate.mean:.4f}  {e.cpu_seconds:.0f} CPU s"
            for e in self.entries
        ]
        return "\n".join(lines)


def compare_sessions(
    recipes: Mapping[str, Replayable],
    split: SessionReplay,
    *,
    k: int = 10,
    seed: int = 42,
    progress: Progress,
) -> SessionTable:
    """Replay for every recipe and compare; a user is one unit of resampling.

    Raises:
        Defect: an answer is not a rank.
    """
    owner = split.events.user[split.asked]
    _, unit = np.unique(owner, return_inverse=True)
    values: dict[str, F64] = {}
    costs: dict[str, float] = {}
    for name, recipe in recipes.items():
        progress.start(f"replay {name}")
        with measured() as cost:
            ranks = recipe.ranks(split.events, split.asked, split.n_items)
        _check(name, ranks, split)
        values[name], costs[name] = np.asarray(_gains(ranks[split.asked], k)), cost.cpu_seconds
    return _table(split, values, costs, unit, k, seed)


def _check(name: str, ranks: Rows, split: SessionReplay) -> None:
    if len(ranks) != len(split.events) or (ranks < 0).any() or (ranks > split.n_items).any():
        raise Defect(f"the answer of '{name}' is not a rank for each event.")


def _gains(ranks: Rows, k: int) -> F64:
    """Return (n, 2): reciprocal rank and hit within the first k."""
    hit = (ranks > 0) & (ranks <= k)
    return np.stack([np.where(hit, 1.0 / np.maximum(ranks, 1), 0.0), hit.astype(np.float64)], axis=1)


def _table(
    split: SessionReplay,
    values: Mapping[str, F64],
    costs: Mapping[str, float],
    unit: AnyArray,
    k: int,
    seed: int,
) -> SessionTable:
    """Give intervals by resampling users: each counts with the sum over its requests."""
    names = sorted(values, key=lambda name: (-float(values[name][:, 0].mean()), name))
    n_units = int(unit.max()) + 1
    columns = [values[name][:, c] for name in names for c in (0, 1)]
    # A mean over requests is a ratio of means over users; linearised it is a plain mean again.
    size = np.bincount(unit, minlength=n_units)
    per_unit: Sequence[F64] = [
        column.mean()
        + (np.bincount(unit, weights=column, minlength=n_units) - column.mean() * size) / size.mean()
        for column in columns
    ]
    matrix = np.stack(per_unit, axis=1)
    means = resampled_means(matrix, rng=derive(seed, "bootstrap"))
    entries = [
        SessionEntry(
            name=name,
            mrr=interval(matrix[:, 2 * i], means[:, 2 * i]),
            hit_rate=interval(matrix[:, 2 * i + 1], means[:, 2 * i + 1]),
            cpu_seconds=costs[name],
            events_a_second=len(split.events) / max(costs[name], 1e-9),
        )
        for i, name in enumerate(names)
    ]
    return SessionTable(
        description=split.description,
        fingerprint=split.fingerprint,
        k=k,
        entries=entries,
        differences=differences(f"mrr_at_{k}", names, matrix[:, ::2], means[:, ::2]),
    )
