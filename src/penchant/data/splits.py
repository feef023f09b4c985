"""Ways to hold interactions out: ``time``, ``last``, ``user`` and, for replication, ``random``.

``time`` cuts everything at one moment, ``last`` hides each user's last new item, ``user`` hides whole users
and shows part of their items, ``random`` hides part of everybody's. A global cut is the honest default:
``last`` trains on other users' future (Ji et al. 2020, arXiv:2010.11060). For tuning, `time` and `last` split
the training part once more by the same rule, and `user` asks about another set of users: nothing chosen on a
validation part has seen the test part.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.random import Generator

from penchant.data.heldout import Held, Split, keys, make_split, member, pair_keys, subset
from penchant.data.interactions import Interactions
from penchant.data.snapshot import Snapshot
from penchant.kernel.arrays import AnyArray, Bools, Csr
from penchant.kernel.errors import InputError
from penchant.kernel.seeds import derive

__all__ = ["Part", "Split", "last_split", "random_split", "time_split", "user_split"]

Part = Literal["test", "validation"]


def time_split(
    snapshot: Snapshot,
    *,
    share: float = 0.1,
    at: float | None = None,
    new_only: bool = True,
    event_types: Sequence[str] = (),
) -> Split:
    """Cut everything at one moment: train on what came before, look for what came at or after it.

    The cut is ``at`` (seconds UTC), or else where the newest ``share`` of interactions begins; interactions
    of that very time fall after it. Requests are about warm users, with interactions on both sides. Truth
    is the items they took after the cut among those anybody took before; with ``new_only`` only items new
    to the user, and what the user took before is excluded from the answers. ``event_types`` limits the
    truth to those types (empty: all).

    Raises:
        InputError: ``share`` is not inside (0, 1), the cut leaves one side empty, an event type is unknown,
        or
            nothing is left to find.
    """
    events = snapshot.interactions
    if at is None:
        if not 0 < share < 1:
            raise InputError(f"share is {share}; it must lie between 0 and 1.", fix="Use 0.1 for a tenth.")
        at = float(events.timestamp[int((1 - share) * len(events))]) if len(events) else 0.0
    train = snapshot.before(at)
    n_train = len(train.interactions)
    if not 0 < n_train < len(events):
        raise InputError(
            f"a cut at {_date(at)} has {n_train} of {len(events)} interactions before it.",
            fix="Choose a cut or a share with interactions on both sides.",
        )
    late = events.select(slice(n_train, None))
    late = late.select(_of_types(late, event_types))
    truth, seen = _pairs(late.user, late.item, snapshot), train.pairs()
    if new_only:
        truth = subset(truth, ~member(keys(truth), keys(seen)))
    wanted = f" of type {', '.join(sorted(event_types))}" if event_types else ""
    return make_split(
        snapshot,
        Held(
            protocol="time",
            parameters={"at": at, "new_only": new_only, "event_types": sorted(event_types)},
            description=(
                f"cut at {_date(at)}, {n_train:,} of {len(events):,} interactions before it; users active on "
                f"both sides; to find: {'items new to the user' if new_only else 'all items, repeats too'}"
                f"{wanted}, known in training; {'seen items' if new_only else 'none'} left out of the answers"
            ),
            train=train,
            truth=truth,
            exclude=seen if new_only else None,
            now=at,
            cut=at,
        ),
    )


def last_split(snapshot: Snapshot) -> Split:
    """Hide the last item that was new to each user, and whatever the user did after it.

    A user's interactions are ordered by (timestamp, item row): equal times have one stated, stable order.
    Without repeats this is the usual leave-last-out; with them the target is never an item seen before. Users
    with a single item stay whole in the training part. Seen items are excluded from the answers.

    Raises:
        InputError: nothing is left to find.
    """
    events = snapshot.interactions
    indptr, positions = snapshot.by_user
    user, item = events.user[positions], events.item[positions]
    first = np.unique(user.astype(np.int64) * snapshot.n_items + item, return_index=True)[1]
    target = np.full(snapshot.n_users, -1, np.int64)
    np.maximum.at(target, user[first], first)
    has = target > indptr[:-1]
    kept = np.arange(len(user)) < np.where(has, target, indptr[1:])[user]
    train = snapshot.with_interactions(events.select(np.sort(positions[kept])))
    return make_split(
        snapshot,
        Held(
            protocol="last",
            parameters={},
            description=(
                "leave last out: the last item new to each user, ties by (timestamp, item id), later repeats "
                "dropped; truth known in train; seen items excluded"
            ),
            train=train,
            truth=_pairs(np.flatnonzero(has), item[target[has]], snapshot),
            exclude=train.pairs(),
            now=snapshot.cutoff,
        ),
    )


def user_split(
    snapshot: Snapshot,
    *,
    seed: int = 42,
    part: Part = "test",
    share: float = 0.1,
    shown: float = 0.8,
    min_items: int = 5,
) -> Split:
    """Hide whole users, show part of each one's items and look for the rest (Liang et al. 2018).

    Users with at least ``min_items`` items are dealt at random into test, validation (``share`` of them
    each) and train; both parts train on the same rest, where users with fewer items stay too. The share
    ``shown`` of a hidden user's items, drawn at random, is told with the request and excluded from the
    answers.

    Raises:
        InputError: a parameter is out of range, or nothing is left to find.
    """
    if not (0 < share < 0.5 and 0 < shown < 1 and min_items >= 2):
        raise InputError(
            f"share is {share}, shown {shown}, min_items {min_items}.",
            fix="Use share inside (0, 0.5), shown inside (0, 1) and min_items of 2 or more.",
        )
    pairs = snapshot.pairs()
    eligible = np.flatnonzero(np.diff(pairs.indptr) >= min_items)
    dealt = derive(seed, "user_split", "users").permutation(eligible)
    size = int(len(eligible) * share)
    asked = np.zeros(snapshot.n_users, bool)
    asked[dealt[:size] if part == "test" else dealt[size : 2 * size]] = True
    hidden = np.zeros(snapshot.n_users, bool)
    hidden[dealt[: 2 * size]] = True
    own = subset(pairs, np.repeat(asked, np.diff(pairs.indptr)))
    told = _drawn(own, shown, derive(seed, "user_split", "items", part))
    return make_split(
        snapshot,
        Held(
            protocol="user",
            parameters={"seed": seed, "part": part, "share": share, "shown": shown, "min_items": min_items},
            description=(
                f"strong generalisation: of the users with {min_items}+ items, {share:.0%} are asked about "
                f"({part}) and as many more kept out of train; {shown:.0%} of a user's items shown and "
                f"excluded, truth: the rest known in train; seed {seed}"
            ),
            train=snapshot.with_interactions(
                snapshot.interactions.select(~hidden[snapshot.interactions.user])
            ),
            truth=subset(own, ~told),
            exclude=subset(own, told),
            shown=subset(own, told),
            now=snapshot.cutoff,
        ),
    )


def random_split(
    snapshot: Snapshot, *, seed: int = 42, share: float = 0.2, by: Literal["user", "item"] = "user"
) -> Split:
    """Hide a random ``share`` of each user's items, or of each item's users.

    At least one of a user's (an item's) pairs is hidden and never all; who has a single one keeps it. Seen
    items are excluded from the answers. Others' future is in the training part: published levels are
    replicated so, nothing is decided so.

    Raises:
        InputError: ``share`` is not inside (0, 1), or nothing is left to find.
    """
    if not 0 < share < 1:
        raise InputError(f"share is {share}; it must lie between 0 and 1.", fix="Use 0.2 for a fifth.")
    pairs = snapshot.pairs()
    owners = np.repeat(np.arange(snapshot.n_users), np.diff(pairs.indptr)) if by == "user" else pairs.indices
    hidden = _dealt(owners, share, derive(seed, "random_split", by))
    train = snapshot.interactions.select(
        ~member(pair_keys(snapshot.interactions, snapshot), keys(subset(pairs, hidden)))
    )
    return make_split(
        snapshot,
        Held(
            protocol="random",
            parameters={"seed": seed, "share": share, "by": by},
            description=(
                f"{share:.0%} of each {by}'s pairs hidden at random; truth known in train; seen items "
                f"excluded; seed {seed}"
            ),
            train=snapshot.with_interactions(train),
            truth=subset(pairs, hidden),
            exclude=subset(pairs, ~hidden),
            now=snapshot.cutoff,
        ),
    )


def _date(at: float) -> str:
    return str(np.datetime64(int(at), "s")).replace("T", " ") + " UTC"


def _of_types(events: Interactions, names: Sequence[str]) -> Bools:
    """Return which events are of the named types; all when none is named."""
    unknown = sorted(set(names) - set(events.event_types))
    if unknown:
        raise InputError(
            f"the data has no event type '{unknown[0]}'.", fix=f"It has: {', '.join(events.event_types)}."
        )
    if not names:
        return np.ones(len(events), bool)
    return np.isin(events.event_type, [events.event_types.index(name) for name in names])


def _pairs(owner: AnyArray, column: AnyArray, snapshot: Snapshot) -> Csr:
    ones = np.ones(len(owner), np.float32)
    return Csr.summed(owner, column, ones, n_rows=snapshot.n_users, n_columns=snapshot.n_items)


def _drawn(matrix: Csr, share: float, rng: Generator) -> Bools:
    """Draw that share of each row's entries: at least one of them and never all."""
    return _dealt(np.repeat(np.arange(matrix.n_rows), np.diff(matrix.indptr)), share, rng)


def _dealt(owner: AnyArray, share: float, rng: Generator) -> Bools:
    """Draw that share of each owner's entries: at least one of them and never all."""
    lengths = np.bincount(owner)
    order = np.lexsort((rng.random(len(owner)), owner))
    rank = np.empty(len(owner), np.int64)
    rank[order] = np.arange(len(owner)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return rank < np.clip(np.floor(lengths * share), 1, lengths - 1)[owner]
