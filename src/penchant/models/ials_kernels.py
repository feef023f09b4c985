"""The least-squares problem of one row, solved for many rows: the inner loops of implicit ALS.

With the other side's factors y_i fixed, row u of this side minimises

    L_u(x) = Σ_{i in S_u} c_ui (x·y_i - 1)² + w0 Σ_{all i} (x·y_i)² + λ_u |x|²

so that A x = b with A = Σ_{S_u} c_ui y_i y_iᵀ + w0 Σ_all y_i y_iᵀ + λ_u I and b = Σ_{S_u} c_ui y_i.

Everything here is told in the principal axes of the other side, where Σ_all y_i y_iᵀ is diagonal: the part of
A that all rows share costs f multiplications instead of f², and D = w0 Λ + λ_u I is inverted by dividing.
Inner products do not change with the axes.

Hu, Koren, Volinsky: Collaborative filtering for implicit feedback datasets (2008); the form with a separate
weight w0 for the unobserved is that of Rendle, Krichene, Zhang, Koren: Revisiting the performance of iALS
(2021); conjugate gradient for it of Takács, Pilászy, Tikk (2011).

Each kernel works on rows start..stop-1 without the GIL; no row depends on another.
"""

import numpy as np

from penchant.kernel.arrays import F32, I64, Rows
from penchant.kernel.compiled import kernel

_BLOCK = 64  # entries gathered for one product: large enough for BLAS, small enough to stay in L1
_LANES = 16  # rows of the factorisation start at a multiple of this, so that vector loops have no remainder


@kernel()
def gram_rows(y: F32, start: int, stop: int) -> F32:
    """Return Σ y_i y_iᵀ over rows start..stop-1, (f, f)."""
    return np.dot(y[start:stop].T, y[start:stop])


@kernel(fastmath=True)
def exact_rows(
    indptr: I64, indices: Rows, data: F32, y: F32, shared: F32, ridge: F32, x: F32, start: int, stop: int
) -> np.float64:
    """Solve rows exactly by Cholesky; return Σ L_u, which at its minimum is Σ c - b·x.

    ``shared`` (f,) is w0 Λ. A row with few entries is solved by a matrix as large as they are many.
    """
    f = y.shape[1]
    d = np.empty(f, np.float32)
    inverse = np.empty(f, np.float32)
    b = np.empty(f, np.float32)
    square = np.empty(max(f, _BLOCK) ** 2, np.float32)
    product = np.empty((f, f), np.float32)
    z = np.empty((_BLOCK, f), np.float32)
    v = np.empty((_BLOCK, f), np.float32)
    roots = np.zeros(_BLOCK, np.float32)
    loss = np.float64(0)
    for u in range(start, stop):
        out = x[u]
        first, last = indptr[u], indptr[u + 1]
        if first == last:
            out[:] = np.float32(0)
            continue
        for j in range(f):
            d[j] = shared[j] + ridge[u]
            inverse[j] = np.float32(1) / d[j]
            b[j] = np.float32(0)
        if 4 * (last - first) <= 3 * f and last - first <= _BLOCK:
            total = gather(indices, data, y, first, last, z, roots, b)
            few_entries(int(last - first), z, roots, inverse, v, square, out)
        else:
            a = square[: f * f].reshape(f, f)
            total = np.float32(0)
            for at in range(first, last, _BLOCK):
                n = min(_BLOCK, last - at)
                total += gather(indices, data, y, at, at + n, z, roots, b)
                if at == first:
                    np.dot(z[:n].T, z[:n], a)
                else:
                    np.dot(z[:n].T, z[:n], product)
                    a += product
            for j in range(f):
                a[j, j] += d[j]
            out[:] = b
            factorise(a)
            substitute(a, out)
        explained = np.float32(0)
        for j in range(f):
            explained += b[j] * out[j]
        loss += total - explained
    return loss


@kernel(fastmath=True)
def gather(indices: Rows, data: F32, y: F32, first: int, last: int, z: F32, roots: F32, b: F32) -> np.float32:
    """Put √c y of each entry into ``z`` and √c into ``roots``; add Σ c y to ``b``; return Σ c."""
    f = len(b)
    total = np.float32(0)
    for e in range(last - first):
        roots[e] = np.sqrt(data[first + e])
        total += data[first + e]
    fours = (last - first) // 4 * 4
    for e in range(0, fours, 4):
        at = first + e
        y0, y1, y2, y3 = y[indices[at]], y[indices[at + 1]], y[indices[at + 2]], y[indices[at + 3]]
        z0, z1, z2, z3 = z[e], z[e + 1], z[e + 2], z[e + 3]
        s0, s1, s2, s3 = roots[e], roots[e + 1], roots[e + 2], roots[e + 3]
        for j in range(f):
            z0[j] = s0 * y0[j]
            z1[j] = s1 * y1[j]
            z2[j] = s2 * y2[j]
            z3[j] = s3 * y3[j]
        for j in range(f):
            b[j] += s0 * z0[j] + s1 * z1[j] + s2 * z2[j] + s3 * z3[j]
    for e in range(fours, last - first):
        source, target, root = y[indices[first + e]], z[e], roots[e]
        for j in range(f):
            target[j] = root * source[j]
            b[j] += root * target[j]
    return total


@kernel(fastmath=True)
def few_entries(n: int, z: F32, roots: F32, inverse: F32, v: F32, square: F32, x: F32) -> None:
    """Solve a row with n < f entries: by Sherman, Morrison and Woodbury, with Z = C^½ Y,

        x = D⁻¹ Zᵀ (I + Z D⁻¹ Zᵀ)⁻¹ C^½ 1

    Rows of zeros fill Z up to a whole number of vector registers: they add rows of the identity.
    """
    f = len(x)
    m = (n + _LANES - 1) // _LANES * _LANES
    for e in range(n):
        source, target = z[e], v[e]
        for j in range(f):
            target[j] = source[j] * inverse[j]
    z[n:m] = np.float32(0)
    v[n:m] = np.float32(0)
    roots[n:m] = np.float32(0)
    inner = square[: m * m].reshape(m, m)
    np.dot(v[:m], z[:m].T, inner)
    for e in range(m):
        inner[e, e] += np.float32(1)
    factorise(inner)
    weight = roots[:m]
    substitute(inner, weight)
    x[:] = np.float32(0)
    for e in range(n):
        s, row = weight[e], v[e]
        for j in range(f):
            x[j] += s * row[j]


@kernel(fastmath=True)
def factorise(a: F32) -> None:
    """Replace the upper triangle of the symmetric ``a`` (f, f) by U with A = UᵀU; the lower becomes noise.

    Row i of U is (a_i - Σ_{k<i} U_ki U_k) / √a_ii, eight k at a time.
    """
    f = len(a)
    for i in range(f):
        left = i - i % _LANES
        row = a[i, left:]
        k = 0
        while k + 8 <= i:
            s0, s1, s2, s3 = a[k, i], a[k + 1, i], a[k + 2, i], a[k + 3, i]
            s4, s5, s6, s7 = a[k + 4, i], a[k + 5, i], a[k + 6, i], a[k + 7, i]
            p0, p1, p2, p3 = a[k, left:], a[k + 1, left:], a[k + 2, left:], a[k + 3, left:]
            p4, p5, p6, p7 = a[k + 4, left:], a[k + 5, left:], a[k + 6, left:], a[k + 7, left:]
            for j in range(f - left):
                one = s0 * p0[j] + s1 * p1[j] + s2 * p2[j] + s3 * p3[j]
                row[j] -= one + s4 * p4[j] + s5 * p5[j] + s6 * p6[j] + s7 * p7[j]
            k += 8
        while k < i:
            s0, p0 = a[k, i], a[k, left:]
            for j in range(f - left):
                row[j] -= s0 * p0[j]
            k += 1
        inverse = np.float32(1) / np.sqrt(a[i, i])
        for j in range(f - left):
            row[j] *= inverse


@kernel(fastmath=True)
def substitute(a: F32, x: F32) -> None:
    """Replace ``x`` = b by the solution of UᵀU x = b, U being the upper triangle of ``a``."""
    f = len(a)
    for i in range(f):
        x[i] /= a[i, i]
        s, rest, row = x[i], x[i + 1 :], a[i, i + 1 :]
        for j in range(f - i - 1):
            rest[j] -= s * row[j]
    for i in range(f - 1, -1, -1):
        s, rest, row = np.float32(0), x[i + 1 :], a[i, i + 1 :]
        for j in range(f - i - 1):
            s += row[j] * rest[j]
        x[i] = (x[i] - s) / a[i, i]


@kernel(fastmath=True)
def cg_rows(
    indptr: I64,
    indices: Rows,
    data: F32,
    y: F32,
    shared: F32,
    ridge: F32,
    x: F32,
    steps: int,
    start: int,
    stop: int,
) -> np.float64:
    """Improve rows by ``steps`` of conjugate gradient from where they are; return Σ L_u.

    A is never formed: A p = D p + Σ c y (y·p), one pass over the entries a step and one for the first
    residual. ``shared`` (f,) is w0 Λ. A step along p lowers L_u by (r·r)² / (p·A p).
    """
    f = y.shape[1]
    r = np.empty(f, np.float32)
    p = np.empty(f, np.float32)
    ap = np.empty(f, np.float32)
    loss = np.float64(0)
    for u in range(start, stop):
        out = x[u]
        first, last = indptr[u], indptr[u + 1]
        if first == last:
            out[:] = np.float32(0)
            continue
        of_row = np.float32(0)
        for j in range(f):
            r[j] = -(shared[j] + ridge[u]) * out[j]
            of_row -= out[j] * r[j]
        of_row += add_residual(indices, data, y, first, last, out, r)
        square = np.float32(0)
        for j in range(f):
            p[j] = r[j]
            square += r[j] * r[j]
        for _ in range(steps):
            if square < np.float32(1e-20):
                break
            for j in range(f):
                ap[j] = (shared[j] + ridge[u]) * p[j]
            add_entries(indices, data, y, first, last, p, ap)
            curve = np.float32(0)
            for j in range(f):
                curve += p[j] * ap[j]
            length = square / curve
            of_row -= length * square
            square = step(length, square, out, r, p, ap)
        loss += of_row
    return loss


@kernel(fastmath=True)
def step(length: np.float32, square: np.float32, x: F32, r: F32, p: F32, ap: F32) -> np.float32:
    """Move ``x`` by ``length`` along ``p``; update residual and direction; return the new r·r."""
    f = len(x)
    after = np.float32(0)
    for j in range(f):
        x[j] += length * p[j]
        r[j] -= length * ap[j]
        after += r[j] * r[j]
    ratio = after / square
    for j in range(f):
        p[j] = r[j] + ratio * p[j]
    return after


@kernel(fastmath=True)
def add_residual(indices: Rows, data: F32, y: F32, first: int, last: int, x: F32, r: F32) -> np.float32:
    """Add Σ c (1 - y·x) y to ``r``, four entries at a time; return Σ c (1 - y·x)²."""
    f = len(x)
    loss = np.float32(0)
    one = np.float32(1)
    fours = first + (last - first) // 4 * 4
    for e in range(first, fours, 4):
        y0, y1, y2, y3 = y[indices[e]], y[indices[e + 1]], y[indices[e + 2]], y[indices[e + 3]]
        s0, s1, s2, s3 = one, one, one, one
        for j in range(f):
            s0 -= y0[j] * x[j]
            s1 -= y1[j] * x[j]
            s2 -= y2[j] * x[j]
            s3 -= y3[j] * x[j]
        w0, w1, w2, w3 = data[e] * s0, data[e + 1] * s1, data[e + 2] * s2, data[e + 3] * s3
        loss += w0 * s0 + w1 * s1 + w2 * s2 + w3 * s3
        for j in range(f):
            r[j] += w0 * y0[j] + w1 * y1[j] + w2 * y2[j] + w3 * y3[j]
    for e in range(fours, last):
        row = y[indices[e]]
        s = one
        for j in range(f):
            s -= row[j] * x[j]
        weighted = data[e] * s
        loss += weighted * s
        for j in range(f):
            r[j] += weighted * row[j]
    return loss


@kernel(fastmath=True)
def add_entries(indices: Rows, data: F32, y: F32, first: int, last: int, p: F32, out: F32) -> None:
    """Add Σ c y (y·p) to ``out``, four entries at a time: ``p`` and ``out`` are loaded once for them."""
    f = len(p)
    fours = first + (last - first) // 4 * 4
    for e in range(first, fours, 4):
        y0, y1, y2, y3 = y[indices[e]], y[indices[e + 1]], y[indices[e + 2]], y[indices[e + 3]]
        s0, s1, s2, s3 = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
        for j in range(f):
            s0 += y0[j] * p[j]
            s1 += y1[j] * p[j]
            s2 += y2[j] * p[j]
            s3 += y3[j] * p[j]
        s0 *= data[e]
        s1 *= data[e + 1]
        s2 *= data[e + 2]
        s3 *= data[e + 3]
        for j in range(f):
            out[j] += s0 * y0[j] + s1 * y1[j] + s2 * y2[j] + s3 * y3[j]
    for e in range(fours, last):
        row = y[indices[e]]
        s = np.float32(0)
        for j in range(f):
            s += row[j] * p[j]
        s *= data[e]
        for j in range(f):
            out[j] += s * row[j]
