"""Histories cut into sessions: a user's events less than a gap apart."""

import numpy as np

from penchant.data.interactions import Interactions
from penchant.kernel.arrays import F64, Csr, readonly


def sessions_of(events: Interactions, gap: float, n_items: int) -> tuple[Csr, F64]:
    """Return the items of each session, oldest first, and when each session ended, sessions in that order.

    Events of one user more than ``gap`` seconds apart are in different sessions; an item right after itself
    counts once.
    """
    order = np.lexsort((events.timestamp, events.user))  # stable: ties stay as they were
    user, item, time = events.user[order], events.item[order], events.timestamp[order]
    if len(item) == 0:
        return Csr.group(item, item, np.zeros(0, np.float32), n_rows=0, n_columns=n_items), np.zeros(0)
    new = np.append(True, (np.diff(user) != 0) | (np.diff(time) > gap))
    session = np.cumsum(new) - 1
    ends = time[np.append(np.flatnonzero(new)[1:] - 1, len(time) - 1)]
    rank = np.empty(len(ends), np.int64)
    rank[np.argsort(ends, kind="stable")] = np.arange(len(ends))
    kept = new | np.append(True, np.diff(item) != 0)
    owner = rank[session[kept]].astype(np.int32)
    found = Csr.group(owner, item[kept], np.ones(len(owner), np.float32), n_rows=len(ends), n_columns=n_items)
    return found, readonly(np.sort(ends, kind="stable"))


def newest_sessions(events: Interactions, gap: float) -> Interactions:
    """Return the events of each user's last session, by user and then time."""
    order = np.lexsort((events.timestamp, events.user))
    user, time = events.user[order], events.timestamp[order]
    if len(user) == 0:
        return events
    session = np.cumsum(np.append(True, (np.diff(user) != 0) | (np.diff(time) > gap)))
    ends = np.append(np.flatnonzero(np.diff(user)), len(user) - 1)
    newest = np.repeat(session[ends], np.diff(np.append(-1, ends)))
    return events.select(order[session == newest])
