"""The two compiled passes of Leiden over a graph in compressed rows, for `communities_leiden`.

``scale`` is γ / 2m. Labels are changed in place; a node's own weight within a part is in its strength alone.
"""

import numpy as np

from penchant.kernel.arrays import F64, I64, Rows
from penchant.kernel.compiled import kernel

_RANDOMNESS = 0.01  # θ of the paper, in units of weight


@kernel()
def move(
    indptr: I64, indices: Rows, weight: F64, strength: F64, label: Rows, order: I64, scale: float
) -> None:
    """Move nodes to the community that gains most until none gains: gain_d = w(v, d) - γ K_v K_d / 2m.

    A node is looked at again only when a neighbour has left for another community (the queue of Leiden).
    """
    n = len(strength)
    total, size = _totals(strength, label)
    queue, waiting = order.copy(), np.ones(n, np.bool_)
    head, length, empty = 0, n, 0
    to, touched = np.zeros(n), np.empty(n, np.int32)
    while length > 0:
        v = queue[head]
        head, length = (head + 1) % n, length - 1
        waiting[v] = False
        own = label[v]
        total[own] -= strength[v]
        size[own] -= 1
        met = _weights_to(v, indptr, indices, weight, label, to, touched)
        best, gain = own, to[own] - scale * strength[v] * total[own]
        for i in range(met):
            c = touched[i]
            g = to[c] - scale * strength[v] * total[c]
            if g > gain + 1e-12:
                best, gain = c, g
        if gain < -1e-12:  # better alone: without v some number is always free
            while size[empty] > 0:
                empty = (empty + 1) % n
            best = empty
        to[touched[:met]] = 0.0
        total[best] += strength[v]
        size[best] += 1
        label[v] = best
        if best != own:
            for u in indices[indptr[v] : indptr[v + 1]]:
                if label[u] != best and not waiting[u]:
                    waiting[u] = True
                    queue[(head + length) % n] = u
                    length += 1


@kernel()
def split(
    indptr: I64,
    indices: Rows,
    weight: F64,
    strength: F64,
    label: Rows,
    order: I64,
    draws: F64,
    scale: float,
) -> Rows:
    """Return parts of the communities, each connected: nodes alone join a part at random, by its gain.

    P(join d) ∝ exp(gain_d / θ) over the parts d of the same community with gain >= 0 that are well connected
    to the rest of it: w(d, C - d) >= γ K_d (K_C - K_d) / 2m. One number of ``draws`` in [0, 1) a node.
    """
    n = len(strength)
    community, _ = _totals(strength, label)
    outward = np.zeros(n)  # weight from a part to the rest of its community
    for v in range(n):
        for i in range(indptr[v], indptr[v + 1]):
            if label[indices[i]] == label[v]:
                outward[v] += weight[i]
    part, total, alone = np.arange(n).astype(np.int32), strength.copy(), np.ones(n, np.bool_)
    to, touched, gain = np.zeros(n), np.empty(n, np.int32), np.empty(n)
    for v in order:
        whole = community[label[v]]
        if not alone[v] or outward[v] < scale * strength[v] * (whole - strength[v]):
            continue
        met = _weights_to(v, indptr, indices, weight, part, to, touched)
        for i in range(met):
            d = touched[i]
            loose = outward[d] < scale * total[d] * (whole - total[d])
            # Parts keep the number of a member, so its label is that of all.
            gain[i] = -1.0 if loose or label[d] != label[v] else to[d] - scale * strength[v] * total[d]
        best = _drawn(gain[:met], float(draws[v]))
        if best >= 0:
            d = touched[best]
            outward[d] += outward[v] - 2 * to[d]
            total[d] += strength[v]
            part[v] = d
            alone[v] = alone[d] = False
        to[touched[:met]] = 0.0
    return part


@kernel()
def _totals(strength: F64, label: Rows) -> tuple[F64, I64]:
    """Return the strength and the number of nodes of each community."""
    total, size = np.zeros(len(strength)), np.zeros(len(strength), np.int64)
    for v in range(len(strength)):
        total[label[v]] += strength[v]
        size[label[v]] += 1
    return total, size


@kernel()
def _weights_to(v: int, indptr: I64, indices: Rows, weight: F64, label: Rows, to: F64, touched: Rows) -> int:
    """Sum v's weights by the neighbours' labels into ``to``; return how many labels are in ``touched``."""
    met = 0
    for i in range(indptr[v], indptr[v + 1]):
        c = label[indices[i]]
        if to[c] == 0.0:
            touched[met] = c
            met += 1
        to[c] += weight[i]
    return met


@kernel()
def _drawn(gain: F64, draw: float) -> int:
    """Return a position with P ∝ exp(gain / θ) where gain >= 0, or -1: staying alone, which gains 0."""
    highest = max(0.0, gain.max()) if len(gain) else 0.0
    mass = np.exp(-highest / _RANDOMNESS)
    for g in gain:
        mass += np.exp((g - highest) / _RANDOMNESS) if g >= 0 else 0.0
    left = draw * mass
    for i in range(len(gain)):
        left -= np.exp((gain[i] - highest) / _RANDOMNESS) if gain[i] >= 0 else 0.0
        if left < 0:
            return i
    return -1
