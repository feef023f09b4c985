"""Continuous bag of words over sessions of items, with negative sampling.

For an item o of a session, with C the other items at most c places away (c drawn from 1..window),

    h = Σ_{i in C} v_i / |C|        maximise  log σ(u_o·h) + Σ_{n drawn from P} log σ(-u_n·h)

P is proportional to count^exponent (Mikolov et al., 2013, arXiv:1310.4546; items for words: Grbovic et al.,
2015, arXiv:1606.07154). An item is left out of a session at random with the probability 1 - √(t / f), f being
its share of all events.
"""

import numpy as np

from penchant.kernel.arrays import F32, F64, I64, AnyArray, Rows
from penchant.kernel.compiled import kernel


@kernel()
def _next(state: AnyArray) -> np.uint64:
    """Return the next number of a xorshift generator (Marsaglia, 2003)."""
    x = state[0]
    x ^= x << np.uint64(13)
    x ^= x >> np.uint64(7)
    x ^= x << np.uint64(17)
    state[0] = x
    return x


@kernel()
def _unit(state: AnyArray) -> float:
    return float(_next(state) >> np.uint64(11)) * 2.0**-53


@kernel()
def _thinned(items: Rows, keep: F64, state: AnyArray, kept: Rows) -> int:
    """Write to ``kept`` the items that are not left out; return how many."""
    n = 0
    for e in range(len(items)):
        if _unit(state) < keep[items[e]]:
            kept[n] = items[e]
            n += 1
    return n


@kernel(fastmath=True)
def _dot(a: F32, b: F32) -> np.float32:
    s = np.float32(0)
    for j in range(len(a)):
        s += a[j] * b[j]
    return s


@kernel(fastmath=True)
def _pull(h: F32, output: F32, wanted: float, rate: float, pull: F32) -> float:
    """Move an output vector towards ``wanted``, add to ``pull`` what h should move by; return the loss."""
    s = _dot(h, output)
    chance = 1.0 / (1.0 + np.exp(-float(s)))
    step = np.float32((wanted - chance) * rate)
    for j in range(len(h)):
        pull[j] += step * output[j]
        output[j] += step * h[j]
    return -np.log(max(chance if wanted > 0.5 else 1.0 - chance, 1e-9))


@kernel()
def epoch(
    items: Rows,
    indptr: I64,
    order: I64,
    keep: F64,
    cumulative: F64,
    inputs: F32,
    outputs: F32,
    window: int,
    negatives: int,
    rate: float,
    last_rate: float,
    state: AnyArray,
) -> float:
    """Learn from all sessions once in place; return the mean loss of a prediction.

    Session s holds ``items[indptr[s]:indptr[s + 1]]``; they come in ``order``. ``keep`` (n,) is the chance
    that an item is not left out, ``cumulative`` (n,) the distribution negatives are drawn from. The rate
    falls linearly to ``last_rate``; ``state`` (1,) is that of the generator of random numbers.
    """
    d = inputs.shape[1]
    h, pull = np.empty(d, np.float32), np.empty(d, np.float32)
    kept = np.empty(np.diff(indptr).max(), np.int32)
    loss, predicted = 0.0, 0
    for place in range(len(order)):
        step = rate + (last_rate - rate) * place / len(order)
        session = items[indptr[order[place]] : indptr[order[place] + 1]]
        n = _thinned(session, keep, state, kept)
        for at in range(n):
            reach = 1 + int(_next(state) % np.uint64(window))
            low, high = max(at - reach, 0), min(at + reach + 1, n)
            if high - low < 2:
                continue
            h[:] = 0
            pull[:] = 0
            for c in range(low, high):
                if c != at:
                    h += inputs[kept[c]]
            h /= np.float32(high - low - 1)
            loss += _pull(h, outputs[kept[at]], 1.0, step, pull)
            for _ in range(negatives):
                drawn = min(np.searchsorted(cumulative, _unit(state), side="right"), len(cumulative) - 1)
                if drawn != kept[at]:
                    loss += _pull(h, outputs[drawn], 0.0, step, pull)
            pull /= np.float32(high - low - 1)
            for c in range(low, high):
                if c != at:
                    inputs[kept[c]] += pull
            predicted += 1
    return loss / max(predicted, 1)
