"""Compiled walks over a follow graph in compressed rows. The formulas stand in `penchant.features.graph`."""

import numpy as np

from penchant.kernel.arrays import F64, I64, Rows
from penchant.kernel.compiled import kernel


@kernel()
def triangles(indptr: I64, indices: Rows) -> F64:
    """Return in how many triangles each node is, (n,): from ties (n, n) directed without a cycle."""
    n = len(indptr) - 1
    count = np.zeros(n)
    mark = np.full(n, -1, np.int32)
    for v in range(n):
        for i in range(indptr[v], indptr[v + 1]):
            mark[indices[i]] = v
        for i in range(indptr[v], indptr[v + 1]):
            u = indices[i]
            for j in range(indptr[u], indptr[u + 1]):
                w = indices[j]
                if mark[w] == v:
                    count[v] += 1
                    count[u] += 1
                    count[w] += 1
    return count


@kernel()
def pagerank_step(indptr: I64, indices: Rows, share: F64) -> F64:
    """Return Σ of ``share`` over the followers of each user: (n,)."""
    out = np.zeros(len(indptr) - 1)
    for v in range(len(out)):
        for i in range(indptr[v], indptr[v + 1]):
            out[v] += share[indices[i]]
    return out


@kernel()
def betweenness_of(indptr: I64, indices: Rows, sources: Rows) -> F64:
    """Return Σ_s δ_s(v) over ``sources``, with δ_s(v) = Σ_{w after v} σ_sv / σ_sw (1 + δ_s(w)); (n,)."""
    n = len(indptr) - 1
    total = np.zeros(n)
    distance = np.full(n, -1, np.int32)
    paths = np.zeros(n)
    depends = np.zeros(n)
    order = np.empty(n, np.int32)
    for s in sources:
        order[0] = s
        distance[s], paths[s] = 0, 1.0
        head, tail = 0, 1
        while head < tail:
            v = order[head]
            head += 1
            for i in range(indptr[v], indptr[v + 1]):
                w = indices[i]
                if distance[w] < 0:
                    distance[w] = distance[v] + 1
                    order[tail] = w
                    tail += 1
                if distance[w] == distance[v] + 1:
                    paths[w] += paths[v]
        for at in range(tail - 1, -1, -1):
            v = order[at]
            for i in range(indptr[v], indptr[v + 1]):
                w = indices[i]
                if distance[w] == distance[v] + 1:
                    depends[v] += paths[v] / paths[w] * (1.0 + depends[w])
            if v != s:
                total[v] += depends[v]
        for at in range(tail):  # only what was reached is cleared: small components stay cheap
            v = order[at]
            distance[v], paths[v], depends[v] = -1, 0.0, 0.0
    return total
