"""What a user's own trials say beside the user's features, followed in time.

With ``f`` the log-odds that features and action give a user nothing else is known of, the user's own are

    c f + r + s_a,   r ~ N(0, ω²) how ready the user is for any action,   s_a ~ N(0, ν²) for this one,
    c = √(1 + π (ω² + ν²) / 8)

so that the average over users with equal features is what ``f`` says (MacKay's approximation of the mean of a
sigmoid). A finished trial moves mean and variance of both by one step of the extended Kalman filter of
logistic regression, and a prediction averages over what is not known:

    p = σ(m / √(1 + π v / 8)),   g = y - w p,   h = w p (1 - p),   Δm_i = v_i g / (1 + v h),
    Δv_i = -v_i² h / (1 + v h)        with m = c f + m_r + m_s, v = v_r + v_s, i each of r and s_a

A prediction knows the trials that ended before it and no others, in training as in serving.
"""

import numpy as np

from penchant.kernel.arrays import F64, I64, Rows
from penchant.kernel.compiled import kernel
from penchant.models.action_trials import Trials


def predictions(
    trials: Trials, weight: F64, logit: F64, doubt: F64, *, ready: float, liking: float, n_actions: int
) -> F64:
    """Return P(taken) of each trial as of its start, (n,).

    ``logit`` (n,) is the f of each trial and ``doubt`` (n,) the variance that is left in it; ``weight`` (n,)
    is how much of a trial it is to those after it, and 0 for one that only asks. An open trial is known from
    its start. ``ready`` is ω², ``liking`` ν².
    """
    ended = np.where(trials.open, trials.start, trials.end)
    by_start = np.lexsort((trials.start, trials.user))
    by_end = np.lexsort((ended, trials.user))
    out = np.empty(len(trials))
    _replay(
        trials.user,
        trials.action,
        trials.start,
        ended,
        trials.taken,
        weight,
        logit,
        doubt,
        by_start,
        by_end,
        ready,
        liking,
        np.zeros((2, n_actions)),
        out,
    )
    return out


@kernel()
def _replay(
    user: Rows,
    action: Rows,
    start: F64,
    end: F64,
    taken: F64,
    weight: F64,
    logit: F64,
    doubt: F64,
    by_start: I64,
    by_end: I64,
    ready: float,
    liking: float,
    own: F64,
    out: F64,
) -> None:
    eighth = np.pi / 8
    c = np.sqrt(1 + eighth * (ready + liking))
    n = len(user)
    i = 0
    while i < n:
        last = i
        while last < n and user[by_start[last]] == user[by_start[i]]:
            last += 1
        for e in range(i, last):
            own[0, action[by_start[e]]], own[1, action[by_start[e]]] = 0.0, liking
        mean, spread = 0.0, ready
        learnt = i
        for e in range(i, last):
            at = by_start[e]
            while learnt < last and end[by_end[learnt]] < start[at]:
                t = by_end[learnt]
                a = action[t]
                v = spread + own[1, a]
                z = (c * logit[t] + mean + own[0, a]) / np.sqrt(1 + eighth * (v + doubt[t]))
                p = 1 / (1 + np.exp(-z))
                g, h = taken[t] - weight[t] * p, weight[t] * p * (1 - p)
                below = 1 + v * h
                mean += spread * g / below
                own[0, a] += own[1, a] * g / below
                spread -= spread * spread * h / below
                own[1, a] -= own[1, a] * own[1, a] * h / below
                learnt += 1
            a = action[at]
            z = (c * logit[at] + mean + own[0, a]) / np.sqrt(1 + eighth * (spread + own[1, a] + doubt[at]))
            out[at] = 1 / (1 + np.exp(-z))
        i = last
