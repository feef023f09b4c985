"""What the trees of `penchant.models.session_blend` look at beside the features of its regression.

Of each candidate j, l being the last item of the open session: its clicks by each half-life, and how they
compare with those by the next half-life (is it rising?) and with those within sessions (do people come for it
or come by it?); how often it was clicked after l, after the item before l, and with any of the session;
both as a share against its share of all clicks; whether l came after it; how much newer than l it is; the
sessions it ever was in; how often it stands with what the user read last. Of the request: how much is known
of l, the length of the session, how many reads of the user are remembered. Nothing depends on when the user
last clicked.
"""

from typing import NamedTuple

import numpy as np

from penchant.kernel.arrays import F32, F64, I64, Rows
from penchant.kernel.compiled import kernel
from penchant.models import co_visitation_kernels as visits
from penchant.models.co_visitation_kernels import Pace, Trails

RECENT = 8  # of a user's reads, the latest
_HALF = 0.1  # what a ratio of counts has above and below
_SHARE = 1e-3  # and a ratio of shares


class Notes(NamedTuple):
    """A ring of the newest N requests whose answer was one of the c candidates."""

    sights: F32  # (N, c, G)
    size: Rows  # (N,) candidates that there were
    clicked: Rows  # (N,) which of them
    ever: I64  # (1,) requests noted, also those that made room


def notes(n: int, candidates: int, features: int, pace: Pace) -> Notes:
    """Return room for ``n`` requests."""
    return Notes(
        sights=np.empty((n, candidates, width(features, pace)), np.float32),
        size=np.zeros(n, np.int32),
        clicked=np.zeros(n, np.int32),
        ever=np.zeros(1, np.int64),
    )


@kernel()
def width(features: int, pace: Pace) -> int:
    """Return G, the number of sights beside and with so many ``features``."""
    return (
        features + 3 * len(pace.click_half_lives) + len(pace.next_half_lives) + len(pace.near_half_lives) + 11
    )


@kernel()
def _held_by(items: Rows, weights: F32, source: int, target: int) -> float:
    """Return what ``source`` knows of ``target`` by the longest half-life, as at its last click."""
    for k in range(items.shape[1]):
        if items[source, k] == target:
            return weights[source, k, -1]
    return 0.0


@kernel()
def sights(
    state: Trails,
    pace: Pace,
    born: F64,
    held: I64,
    session: Rows,
    earlier: Rows,
    now: float,
    rows: Rows,
    phi: F64,
    share: F64,
    out: F32,
) -> None:
    """Set ``out`` (len(rows), G): ``phi``, ln of ``share``, then what stands above; ``earlier`` are reads."""
    p, c, d = len(pace.click_half_lives), len(pace.next_half_lives), len(pace.near_half_lives)
    total, part, clicks = np.empty(2 * p + c + d), np.empty(2 * p + c + d), np.empty(2 * p)
    visits.totals(state, pace, session, now, total)
    last, before = session[-1], session[max(len(session) - 2, 0)]
    for i in range(len(rows)):
        j, at = rows[i], phi.shape[1]
        visits.parts_of(state, pace, session, now, j, part)
        for m in range(2 * p):
            clicks[m] = part[m] * 2.0 ** (-(now - state.heat_from[m]) / pace.click_half_lives[m % p])
        out[i, :at] = phi[i]
        out[i, at] = np.log(max(share[i], 1e-30))
        at += 1
        for m in range(p):
            out[i, at] = np.log(1.0 + clicks[m])
            out[i, at + 1] = np.log((clicks[p + m] + _HALF) / (clicks[m] + _HALF))
            out[i, at + 2] = np.log((clicks[m] + _HALF) / (clicks[min(m + 1, p - 1)] + _HALF))
            at += 3
        for m in range(2 * p, 2 * p + c + d):
            out[i, at] = np.log(1.0 + part[m])
            at += 1
        of_clicks = _part(part, total, p - 1) + _SHARE
        out[i, at] = np.log((_part(part, total, 2 * p + c - 1) + _SHARE) / of_clicks)
        out[i, at + 1] = np.log((_part(part, total, 2 * p + c + d - 1) + _SHARE) / of_clicks)
        out[i, at + 2] = np.log(1.0 + _held_by(state.next_item, state.next_weight, before, j))
        out[i, at + 3] = np.log(1.0 + _held_by(state.next_item, state.next_weight, j, last))
        out[i, at + 4] = np.log(1.0 + held[j])
        out[i, at + 5] = (born[j] - born[last]) / 86400.0
        near = 0.0
        for e in range(max(len(earlier) - RECENT, 0), len(earlier)):
            near += _held_by(state.near_item, state.near_weight, earlier[e], j)
        out[i, at + 6] = np.log(1.0 + near)
        out[i, at + 7] = len(earlier)
        out[i, at + 8] = np.log(1.0 + total[2 * p + c - 1])
        out[i, at + 9] = len(session)


@kernel()
def _part(part: F64, total: F64, m: int) -> float:
    """Return an item's share of one part of the mixture."""
    return part[m] / total[m] if total[m] > 1e-9 else 0.0
