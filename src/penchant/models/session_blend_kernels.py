"""The blend of co-visitation and session neighbours that `penchant.models.session_blend` learns online.

Co-visitation's mixture p names the likeliest items C; they share out their probability anew:

    q(j) = P(C) exp(v·φ_j + T_j) / Σ_{i in C} exp(v·φ_i + T_i)        P(C) = Σ_{i in C} p(i)

φ_j says how large an item's share is in each part of the mixture, in the mixture itself and among the session
neighbours, each as ln(1 + share / ε), how long ago it was first and last clicked, and whether the user read
it before. The mixture adds evidence up; here it is multiplied, so that what several parts agree on is not
drowned by what is loud in one. After a click on one of C, v takes a step of AdaGrad (Duchi, Hazan, Singer,
2011) on -ln of its share r without trees:

    g = Σ_{i in C} r(i) φ_i - φ_clicked        s ← s + g²        v ← v - η g / √s

T_j is what trees fitted on earlier such clicks add (`penchant.models.boosted`), from what
`penchant.models.session_sights_kernels` looks at; it stays until the next training, while the counts and v
go on.
"""

from typing import NamedTuple

import numpy as np

from penchant.kernel.arrays import F32, F64, I64, Bools, Rows
from penchant.kernel.compiled import kernel
from penchant.models import co_visitation_kernels as visits
from penchant.models import vsknn_kernels as alike
from penchant.models.boosted import Trees, add_trees
from penchant.models.co_visitation_kernels import Pace, Trails
from penchant.models.next_click_kernels import among, place_in, rank_of
from penchant.models.session_sights_kernels import Notes, sights, width
from penchant.models.vsknn_kernels import Reach, Sessions

READS = 64  # of a user that are remembered, the latest
EPSILON = 1e-3  # a share that is next to nothing
MORE = 5  # features beside the parts of the mixture
_START = 1e-2  # the first s: how large the first steps may be


class Weights(NamedTuple):
    """What the blend learnt of its n items and F features."""

    straight: F64  # (F,) v
    squares: F64  # (F,) s
    born: F64  # (n,) first click of each item, seconds; -1 = never
    clicks: I64  # (1,) within sessions, so far


class Readers(NamedTuple):
    """What users read, session after session; each stands where `Trails` has the session."""

    read: Rows  # (S, READS) the latest, oldest first
    length: Rows  # (S,) how many there are


class Known(NamedTuple):
    """What is known at one moment."""

    trails: Trails
    sessions: Sessions
    weights: Weights
    readers: Readers


class Learning(NamedTuple):
    """How the weights are learnt."""

    candidates: int  # the size of C
    rate: float  # η
    every: int  # one in so many clicks within sessions is learnt from


class Ways(NamedTuple):
    """How both parts and the blend go about it."""

    pace: Pace
    reach: Reach
    learning: Learning


def start(parts: int, n_items: int) -> Weights:
    """Return weights that rank as a mixture of so many ``parts`` does."""
    straight = np.zeros(parts + MORE)
    straight[parts] = 1.0
    return Weights(
        straight=straight,
        squares=np.full(parts + MORE, _START),
        born=np.full(n_items, -1.0),
        clicks=np.zeros(1, np.int64),
    )


def no_readers(places: int) -> Readers:
    """Return readers of nothing."""
    return Readers(read=np.full((places, READS), -1, np.int32), length=np.zeros(places, np.int32))


@kernel()
def reads_of(known: Known, user: int) -> Rows:
    """Return the items that a user read last, the open session's too, oldest first."""
    at = place_in(known.trails.owner, known.trails.touched, user)
    return known.readers.read[at, : known.readers.length[at] if known.trails.owner[at] == user else 0]


@kernel()
def remember(known: Known, user: int, item: int) -> None:
    """Note what a user reads; to be told before `Trails` learn of it."""
    readers, at = known.readers, place_in(known.trails.owner, known.trails.touched, user)
    n = readers.length[at] if known.trails.owner[at] == user else 0
    if n == READS:
        readers.read[at, :-1] = readers.read[at, 1:].copy()
        n -= 1
    readers.read[at, n] = item
    readers.length[at] = n + 1


@kernel()
def likeliest(scores_: F32, c: int) -> Rows:
    """Return the rows of the c largest scores, of equals the first, in no order; NaN is left out."""
    held = np.empty(min(c, len(scores_)), np.int32)
    n, least, bound = 0, 0, np.float32(-np.inf)
    for j in range(len(scores_)):
        if n == len(held):
            if not scores_[j] > bound:  # nor is NaN
                continue
            held[least] = j
        elif np.isnan(scores_[j]):
            continue
        else:
            held[n] = j
            n += 1
        if n == len(held):
            least = 0
            for k in range(1, n):
                worse = scores_[held[k]] < scores_[held[least]]
                if worse or (scores_[held[k]] == scores_[held[least]] and held[k] > held[least]):
                    least = k
            bound = scores_[held[least]]
    return held[:n]


@kernel()
def features(
    known: Known,
    pace: Pace,
    session: Rows,
    earlier: Rows,
    now: float,
    p: F32,
    near: F32,
    rows: Rows,
    out: F64,
) -> None:
    """Set ``out`` (len(rows), F) to φ; ``p`` and ``near`` are what both parts say of every item."""
    state, parts = known.trails, known.trails.weights.shape[1]
    total, part = np.empty(parts), np.empty(parts)
    visits.totals(state, pace, session, now, total)
    of_near = 0.0
    for j in range(len(near)):
        if near[j] > 0:  # nor is NaN
            of_near += near[j]
    for c in range(len(rows)):
        j = rows[c]
        visits.parts_of(state, pace, session, now, j, part)
        for m in range(parts):
            out[c, m] = np.log(1.0 + part[m] / total[m] / EPSILON) if total[m] > 1e-9 else 0.0
        out[c, parts] = np.log(1.0 + p[j] / EPSILON)
        out[c, parts + 1] = np.log(1.0 + near[j] / of_near / EPSILON) if near[j] > 0 else 0.0
        out[c, parts + 2] = np.log(1.0 + max(now - known.weights.born[j], 0.0) / 60.0) / 5.0
        out[c, parts + 3] = np.log(1.0 + max(now - state.seen[j], 0.0) / 60.0) / 5.0
        out[c, parts + 4] = among(earlier, j)


@kernel()
def shares(straight: F64, phi: F64) -> F64:
    """Return exp(v·φ) / Σ exp(v·φ) of each row of ``phi`` (c, F)."""
    out = np.zeros(len(phi))
    largest = -np.inf
    for c in range(len(phi)):
        for f in range(phi.shape[1]):
            out[c] += straight[f] * phi[c, f]
        largest = max(largest, out[c])
    total = 0.0
    for c in range(len(phi)):
        out[c] = np.exp(out[c] - largest)
        total += out[c]
    for c in range(len(phi)):
        out[c] /= total
    return out


@kernel()
def step(weights: Weights, rate: float, phi: F64, share: F64, clicked: int) -> None:
    """Take one step on -ln of the share of the row ``clicked``."""
    for f in range(phi.shape[1]):
        slope = -phi[clicked, f]
        for c in range(len(phi)):
            slope += share[c] * phi[c, f]
        weights.squares[f] += slope * slope
        weights.straight[f] -= rate * slope / np.sqrt(weights.squares[f])


@kernel()
def ordered(
    known: Known, ways: Ways, session: Rows, earlier: Rows, now: float, out: F32
) -> tuple[Rows, F64, F64]:
    """Set ``out`` (n,) to p; return C, φ of each (c, F) and r, its share of P(C) without trees."""
    visits.scores(known.trails, ways.pace, session, now, out)
    near = np.empty(len(out), np.float32)
    alike.scores(known.sessions, ways.reach, session, now, near)
    rows = likeliest(out, ways.learning.candidates)
    phi = np.empty((len(rows), len(known.weights.straight)))
    features(known, ways.pace, session, earlier, now, out, near, rows, phi)
    return rows, phi, shares(known.weights.straight, phi)


@kernel()
def seen(
    known: Known,
    ways: Ways,
    session: Rows,
    earlier: Rows,
    now: float,
    rows: Rows,
    phi: F64,
    share: F64,
    out: F32,
) -> None:
    """Set ``out`` (c, G) to what the trees look at."""
    born, held = known.weights.born, known.sessions.held
    sights(known.trails, ways.pace, born, held, session, earlier, now, rows, phi, share, out)


@kernel()
def scores(
    known: Known, ways: Ways, trees: Trees, session: Rows, earlier: Rows, now: float, out: F32
) -> None:
    """Set ``out`` (n,) to q, beyond the likeliest to p; NaN as co-visitation gives it."""
    if len(session) == 0:
        visits.scores(known.trails, ways.pace, session, now, out)
        return
    rows, phi, share = ordered(known, ways, session, earlier, now, out)
    if len(trees.root) > 0:
        looked = np.empty((len(rows), width(phi.shape[1], ways.pace)), np.float32)
        seen(known, ways, session, earlier, now, rows, phi, share, looked)
        grown = np.log(np.maximum(share, 1e-300))
        add_trees(trees, looked, grown)
        share = np.exp(grown - grown.max())
        share /= share.sum()
    mass = 0.0
    for c in range(len(rows)):
        mass += out[rows[c]]
    for c in range(len(rows)):
        out[rows[c]] = mass * share[c]


@kernel()
def learn(known: Known, ways: Ways, user: int, item: int, now: float, scratch: F32, notes: Notes) -> float:
    """Learn from one click in place; return the probability that co-visitation's mixture gave it."""
    weights = known.weights
    if user >= 0:
        session = visits.session_of(known.trails, ways.pace, user, now)
        weights.clicks[0] += len(session) > 0
        if len(session) > 0 and weights.clicks[0] % ways.learning.every == 0:
            earlier = reads_of(known, user)
            rows, phi, share = ordered(known, ways, session, earlier, now, scratch)
            for c in range(len(rows)):
                if rows[c] == item:
                    if len(notes.size) > 0:
                        at = notes.ever[0] % len(notes.size)
                        seen(known, ways, session, earlier, now, rows, phi, share, notes.sights[at])
                        notes.size[at], notes.clicked[at] = len(rows), c
                        notes.ever[0] += 1
                    step(weights, ways.learning.rate, phi, share, c)
        remember(known, user, item)
    if weights.born[item] < 0:
        weights.born[item] = now
    alike.learn(known.sessions, ways.reach, user, item, now)
    return visits.learn(known.trails, ways.pace, user, item, now)


@kernel()
def learn_all(known: Known, ways: Ways, user: I64, item: Rows, time: F64, chances: F64, notes: Notes) -> None:
    """Learn from events in turn; ``chances`` (n,) become the probabilities the mixture gave them."""
    scratch = np.empty(len(known.weights.born), np.float32)
    for e in range(len(item)):
        chances[e] = learn(known, ways, user[e], item[e], time[e], scratch, notes)


@kernel()
def replay(
    known: Known,
    ways: Ways,
    trees: Trees,
    notes: Notes,
    user: I64,
    item: Rows,
    time: F64,
    asked: Bools,
    ranks: Rows,
) -> None:
    """Learn from events in turn; just before each one ``asked`` for, say at which rank it was given.

    ``ranks`` (n,) counts from 1; 0 = it was not given.
    """
    out = np.empty(len(known.weights.born), np.float32)
    for e in range(len(item)):
        if asked[e]:
            session = visits.session_of(known.trails, ways.pace, user[e], time[e])
            scores(known, ways, trees, session, reads_of(known, user[e]), time[e], out)
            ranks[e] = rank_of(out, item[e])
        learn(known, ways, user[e], item[e], time[e], out, notes)
