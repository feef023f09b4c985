"""A split of a snapshot into what to train on and what to find, and the audit every split has passed."""

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np

from penchant.data.interactions import Interactions
from penchant.data.snapshot import Snapshot
from penchant.kernel.arrays import AnyArray, Bools, Csr, Rows, readonly
from penchant.kernel.errors import Defect, InputError

UNCHECKED = "NOT "
"""How a line of `Split.audit` begins that says what was not checked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """What to train on, who is asked about, and what should be found.

    Request ``i`` is about the user ``subjects[i]``. ``users[i]`` is that same row where the training part
    knows the user, and -1 where it must not. ``histories`` is all that may be known of the requests, oldest
    first, its ``user`` naming the request. ``truth`` and ``exclude`` are (n, n_items) with ascending
    columns and share no entry; every row of ``truth`` has at least one. Rows are those of ``train``'s
    vocabularies, which are the source's. ``fingerprint`` is a digest of the protocol, its parameters and
    the data: numbers under equal fingerprints may be compared.
    """

    protocol: str
    description: str
    fingerprint: str
    train: Snapshot
    subjects: Rows  # (n,)
    users: Rows  # (n,)
    histories: Interactions
    truth: Csr
    exclude: Csr
    now: float  # seconds UTC, the moment of all requests
    audit: tuple[str, ...]  # what was checked and found so

    def __len__(self) -> int:
        return len(self.subjects)


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a protocol decided, before users with nothing to find are dropped.

    Matrices are (n_users, n_items). ``shown`` is what a hidden user's request may tell (None: users are not
    hidden, their training interactions are known). ``exclude`` None excludes nothing. ``cut`` is the moment
    that no training interaction may reach, where there is one.
    """

    protocol: str
    parameters: dict[str, Any]
    description: str
    train: Snapshot
    truth: Csr
    exclude: Csr | None
    now: float
    shown: Csr | None = None
    cut: float | None = None


def make_split(source: Snapshot, held: Held) -> Split:
    """Keep the requests that can be answered, number them, fingerprint and audit the split.

    Truth is limited to items with a training interaction and to users of whom something is known.

    Raises:
        InputError: nothing is left to find.
        Defect: the audit found a leak.
    """
    seen = held.train.pairs()
    known = seen if held.shown is None else held.shown
    in_train = np.bincount(seen.indices, minlength=source.n_items) > 0
    truth = held.truth
    askable = np.repeat(np.diff(known.indptr) > 0, np.diff(truth.indptr))
    truth = subset(truth, in_train[truth.indices] & askable)
    subjects = readonly(np.flatnonzero(np.diff(truth.indptr) > 0).astype(np.int32))
    if len(subjects) == 0:
        raise InputError(
            f"the protocol '{held.protocol}' leaves no user with anything to find.",
            fix="It needs users with interactions on both sides: import more or use another protocol.",
        )
    exclude = held.exclude
    split = Split(
        protocol=held.protocol,
        description=held.description,
        fingerprint=_fingerprint(held, source),
        train=held.train,
        subjects=subjects,
        users=subjects if held.shown is None else readonly(np.full(len(subjects), -1, np.int32)),
        histories=_histories(source, held, subjects),
        truth=truth.take(subjects),
        exclude=subset(truth, np.zeros(truth.nnz, bool)).take(subjects)
        if exclude is None
        else exclude.take(subjects),
        now=held.now,
        audit=(),
    )
    return replace(split, audit=audit(split, source, cut=held.cut, repeats=exclude is None))


def audit(split: Split, source: Snapshot, *, cut: float | None, repeats: bool) -> tuple[str, ...]:
    """Return what was checked about leakage, from the data itself and not from how the split was made.

    With ``repeats`` a user's truth may hold items of the training part, taken again after the cut.

    Raises:
        Defect: a check failed; the message names it.
    """
    train = split.train.interactions
    truth = np.sort(keys(split.truth, split.subjects))
    excluded = keys(split.exclude, split.subjects)
    trained, happened = pair_keys(train, source), pair_keys(source.interactions, source)
    told = split.subjects[split.histories.user].astype(np.int64) * source.n_items + split.histories.item
    some = np.diff(split.truth.indptr) > 0
    known = np.bincount(train.item, minlength=source.n_items)[split.truth.indices] > 0
    checks: list[tuple[str, bool]] = [
        ("every request has something to find", bool(some.all())),
        ("truth is interactions that happened", _covers(truth, happened)),
        ("every item of the truth has a training interaction", bool(known.all())),
        ("no item of the truth is excluded from the answers", not member(excluded, truth).any()),
    ]
    if not repeats:
        checks += [
            ("no (user, item) of the truth is in the training part", not member(trained, truth).any()),
            ("no (user, item) of the truth is in a request's history", not member(told, truth).any()),
        ]
    if cut is not None:
        late = happened[source.interactions.timestamp >= cut]
        checks += [
            ("no training interaction, follow or history reaches the cut", _before(split, cut)),
            ("truth is interactions at or after the cut", _covers(truth, late)),
        ]
    if (split.users < 0).all():
        absent = not member(train.user, split.subjects).any()
        checks.append(("no user asked about has a training interaction", absent))
    for name, passed in checks:
        if not passed:
            raise Defect(f"the '{split.protocol}' split leaks: it does not hold that {name}.")
    return (*(name for name, _ in checks), *_unchecked(split, cut))


def keys(matrix: Csr, users: Rows | None = None) -> AnyArray:
    """Return user * n_columns + column of each entry, row ``i`` standing for ``users[i]``."""
    owner = np.arange(matrix.n_rows, dtype=np.int64) if users is None else users.astype(np.int64)
    return np.repeat(owner, np.diff(matrix.indptr)) * matrix.n_columns + matrix.indices


def pair_keys(events: Interactions, source: Snapshot) -> AnyArray:
    """Return user * n_items + item of each event."""
    return events.user.astype(np.int64) * source.n_items + events.item


def member(values: AnyArray, ascending: AnyArray) -> Bools:
    """Return which ``values`` are in an ascending array: a binary search each, no sorting of the many."""
    if len(ascending) == 0:
        return np.zeros(len(values), bool)
    at = np.searchsorted(ascending, values)
    return ascending[np.minimum(at, len(ascending) - 1)] == values


def subset(matrix: Csr, keep: Bools) -> Csr:
    """Return the matrix with the entries where ``keep`` is true."""
    counts = np.bincount(
        np.repeat(np.arange(matrix.n_rows), np.diff(matrix.indptr))[keep], minlength=matrix.n_rows
    )
    return Csr(
        indptr=readonly(np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)),
        indices=readonly(matrix.indices[keep]),
        data=readonly(matrix.data[keep]),
        n_columns=matrix.n_columns,
    )


def _before(split: Split, cut: float) -> bool:
    times = (split.train.interactions.timestamp, split.train.follows.timestamp, split.histories.timestamp)
    return all(bool((t < cut).all()) for t in times)


def _covers(truth: AnyArray, others: AnyArray) -> bool:
    """Return whether each of ``truth`` (unique) is among ``others``."""
    return len(np.unique(others[member(others, truth)])) == len(truth)


def _unchecked(split: Split, cut: float | None) -> tuple[str, ...]:
    notes: list[str] = []
    if len(split.train.user_table.column_names) > 1 or len(split.train.item_table.column_names) > 1:
        notes.append(
            f"{UNCHECKED}checked: properties of users and items carry no time and may know the future"
        )
    if cut is None:
        notes.append(
            f"{UNCHECKED}so by design: other users' interactions after a request's moment are in the "
            "training part"
        )
    return tuple(notes)


def _histories(source: Snapshot, held: Held, subjects: Rows) -> Interactions:
    """Return the training interactions of each request, or of hidden users those with a shown item."""
    events = held.train.interactions if held.shown is None else source.interactions
    position = np.full(source.n_users, -1, np.int32)
    position[subjects] = np.arange(len(subjects), dtype=np.int32)
    own = events.select(position[events.user] >= 0)
    if held.shown is not None:
        own = own.select(member(pair_keys(own, source), keys(held.shown)))
    own = own.mapped(users=position)
    return own.select(np.argsort(own.user, kind="stable"))


def _fingerprint(held: Held, source: Snapshot) -> str:
    text = msgspec.json.encode([held.protocol, held.parameters, source.digest], order="sorted")
    return hashlib.blake2b(text, digest_size=16).hexdigest()
