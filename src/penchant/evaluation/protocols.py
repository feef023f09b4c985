"""The protocols by name, and how a model or a peer is asked the requests of a split."""

from typing import Protocol, runtime_checkable

import numpy as np

from penchant.data.heldout import subset
from penchant.data.snapshot import Snapshot
from penchant.data.splits import Part, Split, last_split, time_split, user_split
from penchant.evaluation.metrics import hits
from penchant.kernel.arrays import Csr, Rows, readonly
from penchant.kernel.errors import Defect, InputError, NotFound
from penchant.kernel.ids import Vocab
from penchant.kernel.names import did_you_mean
from penchant.models.base import Queries, Retriever
from penchant.models.measure import Cost

PROTOCOLS = ("time", "last", "user")


@runtime_checkable
class Peer(Protocol):
    """A recommender from elsewhere, trained and asked in one call."""

    @property
    def name(self) -> str:
        """Return the name in the table."""
        ...

    def top_many(self, split: Split, k: int) -> Rows:
        """Train on ``split.train`` and return (requests, k) item rows, best first, -1 = nothing.

        Never an item of the request's ``exclude``, never one twice.
        """
        ...


@runtime_checkable
class Elsewhere(Peer, Protocol):
    """A peer that works in another process and knows what its last answer took there."""

    @property
    def spent(self) -> Cost:
        """Return it."""
        ...


def split_for(snapshot: Snapshot, protocol: str, *, seed: int = 42, part: Part = "test") -> Split:
    """Split by the protocol's name. ``validation`` parts never touch what the test part asks for.

    Raises:
        NotFound: there is no such protocol.
        InputError: the data leaves nothing to find.
    """
    check_protocol(protocol)
    if len(snapshot.interactions) == 0:
        raise InputError(
            "there are no interactions to hold out.",
            fix="Import some: `penchant import --interactions FILE`.",
        )
    if protocol == "user":
        return user_split(snapshot, seed=seed, part=part)
    rule = time_split if protocol == "time" else last_split
    test = rule(snapshot)
    return test if part == "test" else rule(test.train)


def check_protocol(name: str) -> None:
    """Refuse a name that is none of `PROTOCOLS`.

    Raises:
        NotFound: it is none.
    """
    if name not in PROTOCOLS:
        raise NotFound(f"there is no protocol '{name}'.", fix=did_you_mean(name, PROTOCOLS))


def asked(model: Retriever, split: Split) -> Queries:
    """Return the requests of a split in the model's own rows.

    A model that knows every user asked about answers from what it was trained on; any other is told the
    histories.
    """
    users = split.users if model.users == split.train.users else _users(model, split)
    if (users >= 0).all():
        return Queries(users=users, now=split.now)
    inward = translated(split.train.items, model.items)
    return Queries(users=users, histories=split.histories.mapped(items=inward), now=split.now)


def answers(model: Retriever, split: Split, k: int) -> Rows:
    """Return the model's best k items of each request, (n, k) rows of the split's items, -1 = nothing."""
    inward = translated(split.train.items, model.items)
    exclude = _moved(split.exclude, inward, len(model.items))
    batch = model.top_many(asked(model, split), k, exclude=exclude)
    outward = np.append(translated(model.items, split.train.items), np.int32(-1))  # its last place maps -1
    return readonly(outward[batch.items].astype(np.int32, copy=False))


def checked(name: str, lists: Rows, split: Split, k: int) -> Rows:
    """Return ``lists`` when they keep the rules of a ranking.

    Raises:
        Defect: wrong shape, an unknown row, an excluded item or one twice in a list.
    """
    ordered = np.sort(lists, axis=1)
    twice = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
    faults = {
        f"has the shape {lists.shape}, not {(len(split), k)}": lists.shape != (len(split), k),
        "gives rows that are no items": bool((lists < -1).any() or (lists >= split.train.n_items).any()),
        "gives an item twice": bool(twice.any()),
    }
    for fault, found in faults.items():
        if found:
            raise Defect(f"the answer of '{name}' {fault}.")
    if hits(lists, split.exclude).any():
        raise Defect(f"the answer of '{name}' gives excluded items.")
    return lists


def _users(model: Retriever, split: Split) -> Rows:
    if len(model.users) == 0:
        return readonly(np.full(len(split), -1, np.int32))
    known = translated(split.train.users, model.users)
    return readonly(np.where(split.users >= 0, known[split.users], np.int32(-1)).astype(np.int32))


def translated(source: Vocab, target: Vocab) -> Rows:
    """Return the row in ``target`` of each row of ``source``, -1 where it has none."""
    if source == target:
        return np.arange(len(source), dtype=np.int32)
    return target.rows(source.to_arrow())


def _moved(matrix: Csr, columns: Rows, n_columns: int) -> Csr:
    """Return the matrix with other column numbers; those mapped to -1 go. Ascending stays ascending."""
    kept = subset(matrix, columns[matrix.indices] >= 0)
    return Csr(
        indptr=kept.indptr, indices=readonly(columns[kept.indices]), data=kept.data, n_columns=n_columns
    )
