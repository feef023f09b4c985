"""The state of `penchant.models.co_visitation` and the kernels that learn and score, one event at a time.

With H the items of the open session, l the last of them and b a bucket of how much is known of l, the next
item is j with the probability

    p(j | H) = Σ_m w_bm p_m(j)        p_m(j) = f_m(j) / Σ_{i not in H} f_m(i)        p_m(j in H) = 0

whose parts count, each with its own half-life: clicks on j; clicks on j that were not the first of a session;
clicks on j right after l; clicks on j in one session with any of H. The weights follow every click by one
step of expectation maximisation, online (Cappé and Moulines, 2009):

    w_bm ← (1 - η) w_bm + η w_bm p_m(j) / Σ_n w_bn p_n(j)

Counts that fade together need no clock: f_m and its sum are both kept as 2^((t - t0) / h) times what they are
worth, so their ratio holds until somebody clicks; t0 moves up before the factor grows large.
"""

from typing import Any, NamedTuple

import numpy as np

from penchant.kernel.arrays import F32, F64, I64, Bools, Rows
from penchant.kernel.compiled import kernel
from penchant.models.next_click_kernels import MEMORY, among, place_in, rank_of

DEPTH = 6  # of a session's latest items, so many are counted with each other
LEVELS, SIZES = 8, 3  # buckets: how much is known of the last item, times how long the session is
_FAR = 64.0  # half-lives after which t0 moves up
_NEVER = -1e18
BY_ITEM = frozenset(
    ("seen", "heat", "next_item", "next_weight", "next_time", "near_item", "near_weight", "near_time")
)  # the fields of `Trails` with one row an item


class Trails(NamedTuple):
    """What is known at one moment: n items, K places, P, C, D half-lives of clicks, of next, of near ones."""

    seen: F64  # (n,) last click of each item, seconds; long ago when never
    heat: F64  # (n, 2 P) clicks, then clicks that were not the first of a session
    heat_total: F64  # (2 P,)
    heat_from: F64  # (2 P,) t0 of each column
    next_item: Rows  # (n, K) what was clicked right after, -1 = free
    next_weight: F32  # (n, K, C) as at next_time
    next_time: F64  # (n,)
    near_item: Rows  # (n, K) what was clicked in the same session
    near_weight: F32  # (n, K, D) as at near_time
    near_time: F64  # (n,)
    owner: I64  # (S,) user of each session, -1 = free
    trail: Rows  # (S, MEMORY) its items, oldest first
    length: Rows  # (S,) how many there are
    touched: F64  # (S,) its last click
    weights: F64  # (LEVELS * SIZES + 1, 2 P + C + D) w of the equation
    clock: F64  # (1,) the last moment known


class Pace(NamedTuple):
    """How fast it forgets and learns; spans in seconds."""

    click_half_lives: F64  # (P,) ascending
    next_half_lives: F64  # (C,)
    near_half_lives: F64  # (D,)
    session_gap: float
    window: float  # items without a click for so long are not given
    rate: float  # η


def empty(n_items: int, sessions: int, places: int, pace: Pace, since: float) -> Trails:
    """Return the state that knows nothing at the time ``since``; ``sessions`` is a multiple of `WAYS`."""
    p, c, d = len(pace.click_half_lives), len(pace.next_half_lives), len(pace.near_half_lives)
    parts = 2 * p + c + d
    return Trails(
        seen=np.full(n_items, _NEVER),
        heat=np.zeros((n_items, 2 * p)),
        heat_total=np.zeros(2 * p),
        heat_from=np.full(2 * p, since),
        next_item=np.full((n_items, places), -1, np.int32),
        next_weight=np.zeros((n_items, places, c), np.float32),
        next_time=np.full(n_items, since),
        near_item=np.full((n_items, places), -1, np.int32),
        near_weight=np.zeros((n_items, places, d), np.float32),
        near_time=np.full(n_items, since),
        owner=np.full(sessions, -1, np.int64),
        trail=np.full((sessions, MEMORY), -1, np.int32),
        length=np.zeros(sessions, np.int32),
        touched=np.full(sessions, _NEVER),
        weights=np.full((LEVELS * SIZES + 1, parts), 1.0 / parts),
        clock=np.array([since]),
    )


@kernel()
def session_of(state: Trails, pace: Pace, user: int, now: float) -> Rows:
    """Return the items of a user's open session, oldest first; none when there is no open one."""
    at = place_in(state.owner, state.touched, user)
    if state.owner[at] != user or now - state.touched[at] > pace.session_gap:
        return state.trail[at, :0]
    return state.trail[at, : state.length[at]]


@kernel()
def _faded(then: Any, now: Any, half_life: Any) -> float:
    """Return what 1 of an earlier moment is worth now."""
    return 2.0 ** (-max(now - then, 0.0) / half_life)


@kernel()
def _bucket(evidence: float, size: int) -> int:
    """Return b: 0 without a session, else by the third powers that the evidence exceeds, and the length."""
    if size == 0:
        return 0
    level = 0
    while evidence >= 1.0 and level < LEVELS - 1:
        level += 1
        evidence /= 3.0
    return 1 + level * SIZES + min(size, SIZES) - 1


@kernel()
def totals(state: Trails, pace: Pace, session: Rows, now: float, total: F64) -> int:
    """Set ``total`` to Σ f_m of each part over the items outside the session; return the bucket."""
    p, c = len(pace.click_half_lives), len(pace.next_half_lives)
    total[:] = 0.0
    for m in range(2 * p):
        total[m] = state.heat_total[m]
        for s in range(len(session)):
            total[m] -= state.heat[session[s], m]
    if len(session) == 0:
        return 0
    last = session[len(session) - 1]
    for m in range(c):
        share = 0.0
        for k in range(state.next_item.shape[1]):
            if state.next_item[last, k] >= 0 and not among(session, state.next_item[last, k]):
                share += state.next_weight[last, k, m]
        total[2 * p + m] = share * _faded(state.next_time[last], now, pace.next_half_lives[m])
    for s in range(max(len(session) - DEPTH, 0), len(session)):
        item = session[s]
        for k in range(state.near_item.shape[1]):
            if state.near_item[item, k] >= 0 and not among(session, state.near_item[item, k]):
                for m in range(len(pace.near_half_lives)):
                    total[2 * p + c + m] += state.near_weight[item, k, m] * _faded(
                        state.near_time[item], now, pace.near_half_lives[m]
                    )
    return _bucket(total[2 * p + c - 1], len(session))


@kernel()
def parts_of(state: Trails, pace: Pace, session: Rows, now: float, item: int, part: F64) -> None:
    """Set ``part`` to f_m of one item outside the session."""
    p, c = len(pace.click_half_lives), len(pace.next_half_lives)
    part[:] = 0.0
    for m in range(2 * p):
        part[m] = state.heat[item, m]
    if len(session) == 0:
        return
    last = session[len(session) - 1]
    for k in range(state.next_item.shape[1]):
        if state.next_item[last, k] == item:
            for m in range(c):
                part[2 * p + m] = state.next_weight[last, k, m] * _faded(
                    state.next_time[last], now, pace.next_half_lives[m]
                )
    for s in range(max(len(session) - DEPTH, 0), len(session)):
        other = session[s]
        for k in range(state.near_item.shape[1]):
            if state.near_item[other, k] == item:
                for m in range(len(pace.near_half_lives)):
                    part[2 * p + c + m] += state.near_weight[other, k, m] * _faded(
                        state.near_time[other], now, pace.near_half_lives[m]
                    )


@kernel()
def scores(state: Trails, pace: Pace, session: Rows, now: float, out: F32) -> None:
    """Set ``out`` (n,) to p(j | session), NaN for the session's own items and what nobody clicks now."""
    p, c, n = len(pace.click_half_lives), len(pace.next_half_lives), len(state.seen)
    share = np.zeros(state.weights.shape[1])
    bucket = totals(state, pace, session, now, share)
    for m in range(len(share)):
        share[m] = state.weights[bucket, m] / share[m] if share[m] > 1e-9 else 0.0
    for j in range(n):
        if state.seen[j] < now - pace.window:
            out[j] = np.nan
            continue
        sum_ = 0.0
        for m in range(2 * p):
            sum_ += share[m] * state.heat[j, m]
        out[j] = sum_
    if len(session) == 0:
        return
    _add_row(
        state.next_item,
        state.next_weight,
        state.next_time,
        pace.next_half_lives,
        session[len(session) - 1],
        now,
        share[2 * p : 2 * p + c],
        out,
    )
    for s in range(max(len(session) - DEPTH, 0), len(session)):
        _add_row(
            state.near_item,
            state.near_weight,
            state.near_time,
            pace.near_half_lives,
            session[s],
            now,
            share[2 * p + c :],
            out,
        )
    for s in range(len(session)):
        out[session[s]] = np.nan


@kernel()
def _add_row(
    items: Rows, weights: F32, time: F64, half_lives: F64, source: int, now: float, share: F64, out: F32
) -> None:
    """Add Σ_m share_m f_m(j) to each j that ``source`` knows of."""
    for k in range(items.shape[1]):
        if items[source, k] >= 0:
            sum_ = 0.0
            for m in range(len(half_lives)):
                sum_ += share[m] * weights[source, k, m] * _faded(time[source], now, half_lives[m])
            out[items[source, k]] += sum_


@kernel()
def _count(
    items: Rows, weights: F32, time: F64, half_lives: F64, source: int, target: int, now: float
) -> None:
    """Add 1 to what ``source`` knows of ``target``; the least known makes room when all places are taken."""
    before = time[source]
    at, least = -1, 0
    for k in range(items.shape[1]):
        for m in range(len(half_lives)):
            weights[source, k, m] *= _faded(before, now, half_lives[m])
        if items[source, k] == target:
            at = k
        if weights[source, k, -1] < weights[source, least, -1]:
            least = k
    if at < 0:
        at = least
        items[source, at] = target
        weights[source, at] = 0.0
    for m in range(len(half_lives)):
        weights[source, at, m] += _faded(now, before, half_lives[m])
    time[source] = max(before, now)


@kernel()
def _heat(state: Trails, pace: Pace, item: int, now: float, first: int) -> None:
    """Count a click in the columns from ``first`` on, one a half-life."""
    for m in range(len(pace.click_half_lives)):
        column, half_life = first + m, pace.click_half_lives[m]
        age = (now - state.heat_from[column]) / half_life
        if age > _FAR:
            back = 2.0**-age
            for j in range(len(state.seen)):
                state.heat[j, column] *= back
            state.heat_total[column] *= back
            state.heat_from[column] = now
            age = 0.0
        state.heat[item, column] += 2.0**age
        state.heat_total[column] += 2.0**age


@kernel()
def learn(state: Trails, pace: Pace, user: int, item: int, now: float) -> float:
    """Learn from one click in place; return the probability that it had."""
    at = place_in(state.owner, state.touched, user) if user >= 0 else -1
    session = state.trail[0, :0]
    if at >= 0:
        if state.owner[at] != user or now - state.touched[at] > pace.session_gap:
            state.owner[at] = user
            state.length[at] = 0
        state.touched[at] = now
        session = state.trail[at, : state.length[at]]
    chance = 0.0
    if not among(session, item):
        chance = _learn_weights(state, pace, session, item, now)
        if len(session) > 0:
            last = session[len(session) - 1]
            _count(state.next_item, state.next_weight, state.next_time, pace.next_half_lives, last, item, now)
            for s in range(max(len(session) - DEPTH, 0), len(session)):
                for source, target in ((session[s], item), (item, session[s])):
                    _count(
                        state.near_item,
                        state.near_weight,
                        state.near_time,
                        pace.near_half_lives,
                        source,
                        target,
                        now,
                    )
            _heat(state, pace, item, now, len(pace.click_half_lives))
        if at >= 0:
            _extend(state, at, item)
    _heat(state, pace, item, now, 0)
    state.seen[item] = max(state.seen[item], now)
    state.clock[0] = max(state.clock[0], now)
    return chance


@kernel()
def _extend(state: Trails, at: int, item: int) -> None:
    n = state.length[at]
    if n == MEMORY:
        state.trail[at, :-1] = state.trail[at, 1:].copy()
        n -= 1
    state.trail[at, n] = item
    state.length[at] = n + 1


@kernel()
def _learn_weights(state: Trails, pace: Pace, session: Rows, item: int, now: float) -> float:
    """Take the step of the equation above; return p(item | session)."""
    total, part = np.empty(state.weights.shape[1]), np.empty(state.weights.shape[1])
    bucket = totals(state, pace, session, now, total)
    parts_of(state, pace, session, now, item, part)
    chance = 0.0
    for m in range(len(part)):
        part[m] = state.weights[bucket, m] * part[m] / total[m] if total[m] > 1e-9 else 0.0
        chance += part[m]
    if chance > 0.0:
        for m in range(len(part)):
            kept = (1.0 - pace.rate) * state.weights[bucket, m]
            state.weights[bucket, m] = kept + pace.rate * part[m] / chance
    return chance


@kernel()
def learn_all(state: Trails, pace: Pace, user: I64, item: Rows, time: F64, chances: F64) -> None:
    """Learn from events in turn; ``chances`` (n,) become the probabilities that they had."""
    for e in range(len(item)):
        chances[e] = learn(state, pace, user[e], item[e], time[e])


@kernel()
def replay(state: Trails, pace: Pace, user: I64, item: Rows, time: F64, asked: Bools, ranks: Rows) -> None:
    """Learn from events in turn; just before each one ``asked`` for, say at which rank it was given.

    ``ranks`` (n,) counts from 1; 0 = it was not given.
    """
    out = np.empty(len(state.seen), np.float32)
    for e in range(len(item)):
        if asked[e]:
            scores(state, pace, session_of(state, pace, user[e], time[e]), time[e], out)
            ranks[e] = rank_of(out, item[e])
        learn(state, pace, user[e], item[e], time[e])
