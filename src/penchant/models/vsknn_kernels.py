"""The state of `penchant.models.vsknn` and the kernels that learn and score, one event at a time.

With s the open session, oldest item first, and n a remembered one,

    sim(s, n)  = Σ_{i in s ∩ n} w(i) · idf(i)^a · 2^(-age(n) / h)        w(i) = (place of i in s / |s|)^d
    score(j)   = Σ_{n in N} sim(s, n) · 1_n(j) · idf(j)^b            N: the k nearest, of equals the newest
    idf(i)     = ln(1 + sessions / sessions with i)

(V-SkNN: Ludewig and Jannach: Evaluation of session-based recommendation algorithms, 2018, with d = 1; that
neighbours fade is STAN, Garg et al., 2019.) Only the latest m sessions of each item are looked at, which is
what keeps the work bounded (VMIS-kNN: Kersbergen et al.: Serenade, 2022); here these lists are rings, so that
a click costs a few writes and is a neighbour at once. A session with nothing to give is no neighbour; so the
open session itself never is.
"""

from typing import NamedTuple

import numpy as np

from penchant.kernel.arrays import F32, F64, I64, Bools, Rows
from penchant.kernel.compiled import kernel
from penchant.models.next_click_kernels import MEMORY, among, place_in, rank_of

_NEVER = -1e18
_MASK = 0x7FFFFFFF
BY_ITEM = frozenset(("seen", "held", "recent"))  # the fields of `Sessions` with one row an item


class Sessions(NamedTuple):
    """What is known at one moment: n items, m sessions of each, S sessions in all."""

    seen: F64  # (n,) last click of each item, seconds; long ago when never
    held: I64  # (n,) how many sessions, of two items or more, had it
    recent: Rows  # (n, m) numbers of the latest of them, a ring: the newest at (held - 1) % m
    number: Rows  # (S,) of the session that stands there, number % S; -1 = free
    trail: Rows  # (S, MEMORY) its items, oldest first
    length: Rows  # (S,) how many there are
    touched: F64  # (S,) its last click
    owner: I64  # (S,) users with an open session, -1 = free
    opened: Rows  # (S,) the number of theirs
    idle: F64  # (S,) since when
    begun: I64  # (1,) sessions ever begun: the next number
    clock: F64  # (1,) the last moment known


class Reach(NamedTuple):
    """How far it looks; spans in seconds."""

    neighbours: int  # k
    position: float  # d
    shared_idf: float  # a
    given_idf: float  # b
    half_life: float  # h
    session_gap: float
    window: float  # items without a click for so long are not given


def empty(n_items: int, sessions: int, sample: int, since: float) -> Sessions:
    """Return the state that knows nothing at the time ``since``; ``sessions`` is a multiple of `WAYS`."""
    return Sessions(
        seen=np.full(n_items, _NEVER),
        held=np.zeros(n_items, np.int64),
        recent=np.full((n_items, sample), -1, np.int32),
        number=np.full(sessions, -1, np.int32),
        trail=np.full((sessions, MEMORY), -1, np.int32),
        length=np.zeros(sessions, np.int32),
        touched=np.full(sessions, _NEVER),
        owner=np.full(sessions, -1, np.int64),
        opened=np.full(sessions, -1, np.int32),
        idle=np.full(sessions, _NEVER),
        begun=np.zeros(1, np.int64),
        clock=np.array([since]),
    )


@kernel()
def slot_of(state: Sessions, number: int) -> int:
    """Return where a session stands, -1 when it is no longer remembered."""
    at = number % len(state.number)
    return at if number >= 0 and state.number[at] == number else -1


@kernel()
def session_of(state: Sessions, reach: Reach, user: int, now: float) -> Rows:
    """Return the items of a user's open session, oldest first; none when there is no open one."""
    at = place_in(state.owner, state.idle, user)
    if state.owner[at] != user or now - state.idle[at] > reach.session_gap:
        return state.trail[0, :0]
    slot = slot_of(state, state.opened[at])
    return state.trail[slot, : state.length[slot]] if slot >= 0 else state.trail[0, :0]


@kernel()
def learn(state: Sessions, reach: Reach, user: int, item: int, now: float) -> None:
    """Learn from one click in place; who is unknown (-1) has no session."""
    state.seen[item] = max(state.seen[item], now)
    state.clock[0] = max(state.clock[0], now)
    if user < 0:
        return
    at = place_in(state.owner, state.idle, user)
    slot = -1
    if state.owner[at] == user and now - state.idle[at] <= reach.session_gap:
        slot = slot_of(state, state.opened[at])
    state.owner[at] = user
    state.idle[at] = now
    if slot < 0:
        slot = state.begun[0] % len(state.number)
        state.number[slot] = state.begun[0]
        state.opened[at] = state.begun[0]
        state.length[slot] = 0
        state.begun[0] += 1
    state.touched[slot] = now
    if among(state.trail[slot, : state.length[slot]], item):
        return
    if state.length[slot] == MEMORY:
        state.trail[slot, :-1] = state.trail[slot, 1:].copy()
        state.length[slot] -= 1
    state.trail[slot, state.length[slot]] = item
    state.length[slot] += 1
    # One item alone says nothing of what goes with it: the first is listed with the second.
    for s in range(0 if state.length[slot] == 2 else state.length[slot] - 1, state.length[slot]):
        if state.length[slot] > 1:
            listed = state.trail[slot, s]
            state.recent[listed, state.held[listed] % state.recent.shape[1]] = state.number[slot]
            state.held[listed] += 1


@kernel()
def _nearness(state: Sessions, reach: Reach, session: Rows, now: float, near: F32) -> I64:
    """Set ``near`` (S,) to sim(s, n), 0 for who shares nothing; return the keys of the others, ascending.

    A key holds the bits of sim, which ascend with it, above the session's number.
    """
    m = state.recent.shape[1]
    found = np.empty(len(session) * m, np.int32)
    count = 0
    for s in range(len(session)):
        item = session[s]
        held = state.held[item]
        idf = np.log(1.0 + state.begun[0] / max(held, 1))
        worth = np.float32(((s + 1) / len(session)) ** reach.position * idf**reach.shared_idf)
        for r in range(min(held, m)):
            slot = slot_of(state, state.recent[item, r])
            if slot >= 0:
                if near[slot] == 0:
                    found[count] = slot
                    count += 1
                near[slot] += worth
    keys = np.empty(count, np.int64)
    bits = np.empty(1, np.float32)
    as_integer = bits.view(np.int32)
    for c in range(count):
        slot = found[c]
        near[slot] *= 2.0 ** (-max(now - state.touched[slot], 0.0) / reach.half_life)
        bits[0] = near[slot]
        keys[c] = (np.int64(as_integer[0]) << 32) | state.number[slot]
    keys.sort()
    return keys


@kernel()
def scores(state: Sessions, reach: Reach, session: Rows, now: float, out: F32) -> None:
    """Set ``out`` (n,) to score(j), NaN for the session's own items and what no neighbour has."""
    out[:] = np.nan
    near = np.zeros(len(state.number), np.float32)
    keys = _nearness(state, reach, session, now, near)
    taken = 0
    for c in range(len(keys) - 1, -1, -1):
        slot = slot_of(state, keys[c] & _MASK)
        gives = False
        for t in range(state.length[slot]):
            j = state.trail[slot, t]
            if not among(session, j) and state.seen[j] >= now - reach.window:
                gives = True
                old = out[j] if out[j] == out[j] else np.float32(0)
                out[j] = old + near[slot]
        taken += gives
        if taken == reach.neighbours:
            break
    if reach.given_idf != 0.0:
        for j in range(len(out)):
            if out[j] == out[j]:
                out[j] *= np.log(1.0 + state.begun[0] / max(state.held[j], 1)) ** reach.given_idf


@kernel()
def learn_all(state: Sessions, reach: Reach, user: I64, item: Rows, time: F64) -> None:
    """Learn from events in turn."""
    for e in range(len(item)):
        learn(state, reach, user[e], item[e], time[e])


@kernel()
def replay(
    state: Sessions, reach: Reach, user: I64, item: Rows, time: F64, asked: Bools, ranks: Rows
) -> None:
    """Learn from events in turn; just before each one ``asked`` for, say at which rank it was given.

    ``ranks`` (n,) counts from 1; 0 = it was not given.
    """
    out = np.empty(len(state.seen), np.float32)
    for e in range(len(item)):
        if asked[e]:
            scores(state, reach, session_of(state, reach, user[e], time[e]), time[e], out)
            ranks[e] = rank_of(out, item[e])
        learn(state, reach, user[e], item[e], time[e])
