"""Who is simulated and what is on offer: the line between what the world knows and what a policy may know.

The world is fitted on everything the sampled users did. A policy gets `Known`: what happened before one
moment, without anything that the users who are new here did, before it or after.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.random import Generator

from penchant.data.interactions import Interactions
from penchant.data.snapshot import Snapshot, build_snapshot
from penchant.features.user_features import levels_of
from penchant.kernel.arrays import F64, I64, AnyArray, Bools, Rows, readonly
from penchant.kernel.arrow import ArrowTable, pc
from penchant.kernel.clock import DAY
from penchant.kernel.errors import InputError
from penchant.kernel.names import did_you_mean
from penchant.kernel.progress import Silent
from penchant.models.ials import Ials
from penchant.models.user_clusters import k_means
from penchant.simulation.settings import SimulationSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What a policy may know: n simulated users, N items on offer in C categories.

    ``past`` ends at the moment the simulation begins; the new users have attributes in it and no interaction.
    """

    past: Snapshot
    users: Rows  # (n,) rows of `past`, the new ones first
    n_new: int
    items: Rows  # (N,) rows of `past`
    category: I64  # (N,) 0..C-1
    categories: tuple[str, ...]
    popularity: F64  # (N,) different users, ever
    recent: F64  # (N,) different users, in the last days
    days: float  # how long "recent" is
    taken: Bools  # (n, N) what the known users had already: never offered again


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """``everything`` the sampled users did, the moment ``start``, and what is ``known`` of it then."""

    everything: Snapshot
    start: float
    end: float
    known: Known


def sample_users(snapshot: Snapshot, settings: SimulationSettings, *, rng: Generator) -> Snapshot:
    """Return the snapshot of at most ``most_users`` users with enough events, and of what 5 of them took.

    Raises:
        InputError: there are too few of them.
    """
    events = snapshot.interactions
    count = np.bincount(events.user, minlength=snapshot.n_users)
    users = np.flatnonzero(count >= settings.least_events)
    if len(users) < 50:
        raise InputError(
            f"only {len(users)} users did at least {settings.least_events} things, too few to simulate from.",
            fix="Import more interactions, or lower --least-events.",
        )
    if len(users) > settings.most_users:
        users = np.sort(rng.choice(users, settings.most_users, replace=False))
    chosen = np.zeros(snapshot.n_users, np.bool_)
    chosen[users] = True
    events = events.select(chosen[events.user])
    pairs = snapshot.with_interactions(events).pairs()
    items = np.bincount(pairs.indices, minlength=snapshot.n_items) >= min(5, len(users) // 10)
    return restricted(snapshot, events.select(items[events.item]), users, np.flatnonzero(items))


def restricted(snapshot: Snapshot, events: Interactions, users: AnyArray, items: AnyArray) -> Snapshot:
    """Return a snapshot of some users and items alone, with rows of its own."""
    return build_snapshot(
        pa.table(
            {
                "user_id": snapshot.users.to_arrow().take(pa.array(events.user)),
                "item_id": snapshot.items.to_arrow().take(pa.array(events.item)),
                "timestamp": events.timestamp,
                "event_type": pa.array(np.array(events.event_types))
                .cast(pa.large_string())
                .take(pa.array(events.event_type)),
                "event_value": pa.array(events.value),
            }
        ),
        users=snapshot.user_table.take(pa.array(users)),
        items=snapshot.item_table.take(pa.array(items)),
        cutoff=snapshot.cutoff,
    )


def make_scene(
    sample: Snapshot, settings: SimulationSettings, *, category: str | None, rng: Generator
) -> Scene:
    """Choose the moment, what is on offer, who is new and who is known.

    ``category`` names the item column of categories; None makes topics of what the known users took together.

    Raises:
        InputError: nothing is on offer, nobody can be new, or items have no such column.
    """
    columns = sample.item_table.column_names[1:]
    if category is not None and category not in columns:
        raise InputError(f"items have no column '{category}'.", fix=did_you_mean(category, columns))
    events = sample.interactions
    start = float(events.timestamp[int(settings.known_share * len(events))])
    days = settings.days or (sample.cutoff - start) / DAY
    span = days * DAY
    before = events.timestamp < start
    near = before & (events.timestamp >= start - span)
    recent = _users_of(sample, events.select(near))
    items = np.sort(np.lexsort((np.arange(sample.n_items), -recent))[: settings.candidates])
    items = items[recent[items] > 0].astype(np.int32)
    if len(items) < settings.slots * settings.visits:
        raise InputError(
            f"only {len(items)} items were taken in the {days:.1f} days before the simulation begins.",
            fix="Widen --days or show fewer items.",
        )
    new, old = _roles(sample, before, settings, rng)
    is_new = np.zeros(sample.n_users, np.bool_)
    is_new[new] = True
    past = sample.with_interactions(events.select(before & ~is_new[events.user]), cutoff=start)
    users = np.concatenate([new, old]).astype(np.int32)
    if category is None:
        names, code = topics(past, items, settings, rng)
    else:
        names, code = item_categories(
            sample.item_table, category, items, recent, most=settings.most_categories
        )
    own = past.pairs()
    taken = np.zeros((len(users), sample.n_items), np.bool_)
    for at, user in enumerate(users):
        taken[at, own.row(int(user))] = True
    # Whoever took most of what is on offer cannot be shown feeds of new things.
    enough = (~taken[:, items]).sum(axis=1) >= settings.slots * settings.visits
    users, taken = users[enough], taken[enough]
    known = Known(
        past=past,
        users=readonly(users),
        n_new=len(new),
        items=readonly(items),
        category=readonly(code),
        categories=names,
        popularity=_users_of(past, past.interactions)[items],
        recent=_users_of(past, past.interactions.select(past.interactions.timestamp >= start - span))[items],
        days=days,
        taken=readonly(taken[:, items]),
    )
    return Scene(everything=sample, start=start, end=start + span, known=known)


def item_categories(
    table: ArrowTable, column: str, items: Rows, weight: F64, *, most: int
) -> tuple[tuple[str, ...], I64]:
    """Return the names of the categories of ``items`` and the code of each; the rarest are joined."""
    names, codes = levels_of(table[column].combine_chunks().cast(pa.string()), rare=0.0)
    codes = codes[items]
    volume = np.bincount(codes, weights=weight[items], minlength=len(names))
    order = np.lexsort((np.arange(len(names)), -volume))
    order = order[volume[order] > 0]
    kept = order if len(order) <= most else order[: most - 1]
    place = np.full(len(names), len(kept))
    place[kept] = np.arange(len(kept))
    told = tuple(names[i] for i in kept)
    return (told if len(kept) == len(order) else (*told, "(other)")), readonly(place[codes].astype(np.int64))


def topics(
    past: Snapshot, items: Rows, settings: SimulationSettings, rng: Generator
) -> tuple[tuple[str, ...], I64]:
    """Return topics for items without categories: k-means of the directions of their factors."""
    model = Ials(factors=settings.factors).train(past, rng=rng, progress=Silent())
    y = model.index.by_row()[items]
    y = y / np.maximum(np.linalg.norm(y, axis=1, keepdims=True), 1e-9)
    found = k_means(y, min(settings.most_categories, len(np.unique(y, axis=0))), rng=rng, restarts=2)
    return tuple(f"topic {i + 1}" for i in range(found.k)), readonly(found.labels.astype(np.int64))


def _roles(
    sample: Snapshot, before: Bools, settings: SimulationSettings, rng: Generator
) -> tuple[AnyArray, AnyArray]:
    """Draw the new users among all with attributes, and as many others among those with a past as asked.

    Never more than a third of the users are new: the rest is what a policy learns from.
    """
    described = np.zeros(sample.n_users, np.bool_)
    for name in sample.user_table.column_names[1:]:
        described |= np.asarray(pc.is_valid(sample.user_table[name]))
    candidates = np.flatnonzero(described if described.any() else ~described)
    n_new = min(settings.new_users, len(candidates) // 3)
    if n_new < 10:
        raise InputError(
            f"only {len(candidates)} users have attributes, too few to make some of them new.",
            fix="Import users with attributes.",
        )
    new = np.sort(rng.choice(candidates, n_new, replace=False))
    past = np.zeros(sample.n_users, np.bool_)
    past[sample.interactions.user[before]] = True
    past[new] = False
    old = np.flatnonzero(past)
    return new, np.sort(rng.choice(old, min(settings.known_users, len(old)), replace=False))


def _users_of(snapshot: Snapshot, events: Interactions) -> F64:
    """Return how many different users took each item."""
    ones = np.ones(len(events), np.float32)
    pairs = events.pairs(ones, n_users=snapshot.n_users, n_items=snapshot.n_items)
    return readonly(np.bincount(pairs.indices, minlength=snapshot.n_items).astype(np.float64))
