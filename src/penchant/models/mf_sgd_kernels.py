"""Stochastic gradient steps for matrix factorisation from implicit feedback, one after the other.

    s_ui = x_u·y_i + b_i.   For a pair (u, i) that happened and m items j that u did not take, with
    gradient weights g on the scores (each loss falls along +g):

    bpr        -Σ_j ln σ(s_ui - s_uj) / m             g_j = -σ(s_uj - s_ui) / m,   g_i = -Σ_j g_j
    logistic   -ln σ(s_ui) - Σ_j ln σ(-s_uj)          g_i = σ(-s_ui),              g_j = -σ(s_uj)
    softmax    -ln ( e^s_ui / Σ_{i, j} e^s )           g_i = 1 - p_i,               g_j = -p_j

(Rendle et al.: BPR, 2009; Mikolov et al.: negative sampling, 2013; Jean et al.: sampled softmax, 2015.) Steps
are scaled by AdaGrad (Duchi, Hazan, Singer 2011). One thread and one stream of random numbers: the same
seed gives the same bytes.
"""

import numpy as np

from penchant.kernel.arrays import F32, F64, I64, Rows
from penchant.kernel.compiled import kernel

BPR, LOGISTIC, SOFTMAX = 0, 1, 2


@kernel()
def draw(state: I64) -> int:
    """Advance a xorshift generator, ``state`` (1,) not 0; return 31 random bits (Marsaglia 2003)."""
    s = state[0]
    s ^= (s << 13) & 0x7FFFFFFFFFFFFFFF
    s ^= s >> 7
    s ^= (s << 17) & 0x7FFFFFFFFFFFFFFF
    state[0] = s
    return (s >> 24) & 0x7FFFFFFF


@kernel()
def run(
    users: Rows,
    items: Rows,
    indptr: I64,
    seen: Rows,
    warm: Rows,
    x: F32,
    y: F32,
    b: F32,
    of_x: F32,
    of_y: F32,
    of_b: F32,
    rate: np.float32,
    ridge: np.float32,
    negatives: int,
    loss: int,
    move_items: bool,
    state: I64,
) -> float:
    """Take a step for each (user, item) in the order given; return the mean loss.

    ``seen[indptr[u]:indptr[u + 1]]`` ascends: items that are no negatives of u. Negatives are drawn
    evenly from ``warm``. ``of_x``, ``of_y``, ``of_b`` are AdaGrad's sums of squares.
    """
    f = x.shape[1]
    picked = np.empty(1 + negatives, np.int64)
    score = np.empty(1 + negatives)
    push = np.empty(1 + negatives)
    step = np.empty(f)
    total = 0.0
    for e in range(len(users)):
        u = users[e]
        picked[0] = items[e]
        m = _negatives(seen[indptr[u] : indptr[u + 1]], warm, picked, state)
        if m == 0:
            continue
        for a in range(m + 1):
            s = np.float64(b[picked[a]])
            for d in range(f):
                s += x[u, d] * y[picked[a], d]
            score[a] = s
        total += pushes(score, push, m, loss)
        step[:] = 0.0
        for a in range(m + 1):
            i, g = picked[a], push[a]
            for d in range(f):
                step[d] += g * y[i, d]
                if move_items:
                    slope = g * x[u, d] - ridge * y[i, d]
                    of_y[i, d] += slope * slope
                    y[i, d] += rate * slope / np.sqrt(of_y[i, d])
            if move_items:
                slope = g - ridge * b[i]
                of_b[i] += slope * slope
                b[i] += rate * slope / np.sqrt(of_b[i])
        for d in range(f):
            slope = step[d] - ridge * x[u, d]
            of_x[u, d] += slope * slope
            x[u, d] += rate * slope / np.sqrt(of_x[u, d])
    return total / max(len(users), 1)


@kernel()
def _negatives(mine: Rows, warm: Rows, picked: I64, state: I64) -> int:
    """Set ``picked[1:]`` to items not among ``mine``; return how many were found."""
    wanted, m = len(picked) - 1, 0
    for _ in range(3 * wanted):
        j = warm[draw(state) % len(warm)]
        at = np.searchsorted(mine, j)
        if at < len(mine) and mine[at] == j:
            continue
        m += 1
        picked[m] = j
        if m == wanted:
            break
    return m


@kernel()
def pushes(score: F64, push: F64, m: int, loss: int) -> float:
    """Set ``push`` to g of the chosen loss for the pair's own score and those of m negatives; return it."""
    total = 0.0
    if loss == BPR:
        push[0] = 0.0
        for a in range(1, m + 1):
            apart = score[0] - score[a]
            push[a] = -1.0 / (1.0 + np.exp(apart)) / m
            push[0] -= push[a]
            total += np.log1p(np.exp(-abs(apart))) / m + max(-apart, 0.0) / m
    elif loss == LOGISTIC:
        for a in range(m + 1):
            sign = 1.0 if a == 0 else -1.0
            apart = sign * score[a]
            push[a] = sign / (1.0 + np.exp(apart))
            total += np.log1p(np.exp(-abs(apart))) + max(-apart, 0.0)
    else:
        top = score[: m + 1].max()
        whole = 0.0
        for a in range(m + 1):
            push[a] = np.exp(score[a] - top)
            whole += push[a]
        for a in range(m + 1):
            push[a] = (1.0 if a == 0 else 0.0) - push[a] / whole
        total = np.log(whole) + top - score[0]
    return total
