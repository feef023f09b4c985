"""A replay inside the training data, on which the weights of a hand-over are chosen.

Time is cut where the newest part of the interactions begins, and some users are made new: the rest is trained
on before the cut, and the new users' sessions after it arrive one by one. A session is all that a user did at
one moment (a basket). What a weight is chosen on has been seen by no part of what it weighs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from penchant.data.interactions import Interactions
from penchant.data.snapshot import Snapshot
from penchant.kernel.arrays import AnyArray, Bools, Csr, Rows, readonly

DEPTH = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """``train`` ends at the cut and has nothing of the ``new`` users; ``later`` is theirs.

    In ``later`` the user is the position in ``new``; it ascends by user and time.
    """

    train: Snapshot
    new: Rows  # ascending rows of users
    later: Interactions
    session: AnyArray  # (len(later),) 0, 1, ... within a user

    def after(self, sessions: int) -> tuple[Interactions, Csr, Csr]:
        """Return the first so many sessions, their items, and the items first taken in a later session.

        Rows are positions in ``new``; nothing is to be found for who has no later session.
        """
        told = self.session < sessions
        history = self.later.select(told)
        shown = _pairs(history, len(self.new), self.train.n_items)
        rest = self.later.select(~told)
        rest = rest.select(~_among(rest, history, self.train.n_items))
        return history, shown, _pairs(rest, len(self.new), self.train.n_items)


def make_replay(snapshot: Snapshot, among: Bools, *, rng: Generator, most: int = 1000) -> Replay | None:
    """Make new three in ten of the users ``among`` (n_users,) who did something in the newest 40%.

    None when there is nothing before the cut, or nobody to make new.
    """
    events = snapshot.interactions
    if len(events) == 0:
        return None
    cut = float(events.timestamp[int(0.6 * len(events))])
    active = np.unique(events.user[events.timestamp >= cut])
    active = active[among[active]]
    size = min(int(0.3 * len(active)), most)
    new = np.sort(rng.choice(active, size, replace=False)).astype(np.int32)
    place = np.full(snapshot.n_users, -1, np.int32)
    place[new] = np.arange(size, dtype=np.int32)
    kept = (events.timestamp < cut) & (place[events.user] < 0)
    if size == 0 or not kept.any():
        return None
    later = events.select((events.timestamp >= cut) & (place[events.user] >= 0)).mapped(users=place)
    later = later.select(np.lexsort((later.timestamp, later.user)))
    return Replay(
        train=snapshot.with_interactions(events.select(kept), cutoff=cut),
        new=readonly(new),
        later=later,
        session=readonly(_sessions(later)),
    )


def without(matrix: Csr, columns: Bools) -> Csr:
    """Return the matrix without the entries in the given columns (n_columns,)."""
    kept = ~columns[matrix.indices]
    owner = np.repeat(np.arange(matrix.n_rows, dtype=np.int32), np.diff(matrix.indptr))
    return Csr.group(
        owner[kept], matrix.indices[kept], matrix.data[kept], n_rows=matrix.n_rows, n_columns=matrix.n_columns
    )


def best_of(values: Sequence[float]) -> int:
    """Return the position of the largest value, the first on a tie."""
    return int(np.argmax(np.asarray(values)))


def _sessions(events: Interactions) -> AnyArray:
    """Number the different times of each user; events ascend by (user, time)."""
    if len(events) == 0:
        return np.zeros(0, np.int64)
    first = np.append(True, events.user[1:] != events.user[:-1])
    begins = first | np.append(True, events.timestamp[1:] != events.timestamp[:-1])
    number = np.cumsum(begins)
    return number - number[first][np.cumsum(first) - 1]


def _pairs(events: Interactions, n: int, n_items: int) -> Csr:
    return events.pairs(np.ones(len(events), np.float32), n_users=n, n_items=n_items)


def _among(events: Interactions, others: Interactions, n_items: int) -> Bools:
    key = events.user.astype(np.int64) * n_items + events.item
    return np.isin(key, others.user.astype(np.int64) * n_items + others.item)
