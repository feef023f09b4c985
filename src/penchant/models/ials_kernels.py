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

_BLOCK = 128  # entries gathered for one product: large enough for BLAS, small enough to stay in L1
_FEW = 64  # entries of a row, at most, that is solved by as many unknowns as it has entries
_LANES = 16  # rows of the factorisation start at a multiple of this, so that vector loops have no remainder
_TILE = 4  # rows of the factorisation made at once


@kernel()
def gram_rows(y: F32, start: int, stop: int) -> F32:
    """Return Σ y_i y_iᵀ over rows start..stop-1, (f, f)."""
    return np.dot(y[start:stop].T, y[start:stop])


@kernel(fastmath=True)
def exact_rows(
    indptr: I64, indices: Rows, data: F32, y: F32, shared: F32, ridge: F32, x: F32, start: int, stop: int
) -> np.float64:
    """Solve rows exactly by Cholesky; return Σ L_u, which at its minimum is Σ c - b·x.

    ``shared`` (f,) is w0 Λ. A row with few entries is solved by a matrix as large as they are many. Up to a
    whole number of tiles, axes in which everything is 0 are added.
    """
    f = y.shape[1]
    wide = (f + _TILE - 1) // _TILE * _TILE
    d = np.ones(wide, np.float32)
    inverse = np.empty(f, np.float32)
    b = np.empty(f, np.float32)
    solution = np.empty(wide, np.float32)
    square = np.empty(max(wide, _FEW) ** 2, np.float32)
    product = np.empty((wide, wide), np.float32)
    z = np.zeros((_BLOCK, wide), np.float32)
    v = np.zeros((_FEW, wide), np.float32)
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
        if 4 * (last - first) <= 3 * f and last - first <= _FEW:
            total = gather(indices, data, y, first, last, z, roots, b)
            few_entries(int(last - first), z, roots, inverse, v, square, out)
        else:
            a = square[: wide * wide].reshape(wide, wide)
            total = np.float32(0)
            for at in range(first, last, _BLOCK):
                n = min(_BLOCK, last - at)
                total += gather(indices, data, y, at, at + n, z, roots, b)
                if at == first:
                    np.dot(z[:n].T, z[:n], a)
                else:
                    np.dot(z[:n].T, z[:n], product)
                    a += product
            for j in range(wide):
                a[j, j] += d[j]
            solution[:f] = b
            solution[f:] = np.float32(0)
            factorise(a)
            substitute(a, solution)
            out[:] = solution[:f]
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
    """Replace the upper triangle of the symmetric ``a`` (f, f) by U, A = UᵀU, but 1 / U_ii on the diagonal.

    Row i of U is (a_i - Σ_{k<i} U_ki U_k) / U_ii. Four rows are made at once from four k at a time; f is a
    multiple of four. What is below the diagonal becomes noise.
    """
    f = len(a)
    one = np.float32(1)
    for i in range(0, f, 4):
        left = i - i % _LANES
        n = f - left
        r0, r1, r2, r3 = a[i, left:], a[i + 1, left:], a[i + 2, left:], a[i + 3, left:]
        for k in range(0, i, 4):
            c0, c1, c2, c3 = a[k, i : i + 4], a[k + 1, i : i + 4], a[k + 2, i : i + 4], a[k + 3, i : i + 4]
            s00, s10, s20, s30 = c0[0], c1[0], c2[0], c3[0]
            s01, s11, s21, s31 = c0[1], c1[1], c2[1], c3[1]
            s02, s12, s22, s32 = c0[2], c1[2], c2[2], c3[2]
            s03, s13, s23, s33 = c0[3], c1[3], c2[3], c3[3]
            p0, p1, p2, p3 = a[k, left:], a[k + 1, left:], a[k + 2, left:], a[k + 3, left:]
            for j in range(n):
                q0, q1, q2, q3 = p0[j], p1[j], p2[j], p3[j]
                r0[j] -= s00 * q0 + s10 * q1 + s20 * q2 + s30 * q3
                r1[j] -= s01 * q0 + s11 * q1 + s21 * q2 + s31 * q3
                r2[j] -= s02 * q0 + s12 * q1 + s22 * q2 + s32 * q3
                r3[j] -= s03 * q0 + s13 * q1 + s23 * q2 + s33 * q3
        i0 = one / np.sqrt(a[i, i])
        u01, u02, u03 = a[i, i + 1] * i0, a[i, i + 2] * i0, a[i, i + 3] * i0
        i1 = one / np.sqrt(a[i + 1, i + 1] - u01 * u01)
        u12, u13 = (a[i + 1, i + 2] - u01 * u02) * i1, (a[i + 1, i + 3] - u01 * u03) * i1
        i2 = one / np.sqrt(a[i + 2, i + 2] - u02 * u02 - u12 * u12)
        u23 = (a[i + 2, i + 3] - u02 * u03 - u12 * u13) * i2
        i3 = one / np.sqrt(a[i + 3, i + 3] - u03 * u03 - u13 * u13 - u23 * u23)
        for j in range(n):
            x0 = r0[j] * i0
            x1 = (r1[j] - u01 * x0) * i1
            x2 = (r2[j] - u02 * x0 - u12 * x1) * i2
            r0[j] = x0
            r1[j] = x1
            r2[j] = x2
            r3[j] = (r3[j] - u03 * x0 - u13 * x1 - u23 * x2) * i3
        a[i, i], a[i + 1, i + 1], a[i + 2, i + 2], a[i + 3, i + 3] = i0, i1, i2, i3


@kernel(fastmath=True)
def substitute(a: F32, x: F32) -> None:
    """Replace ``x`` = b by the solution of UᵀU x = b, ``a`` being what `factorise` made."""
    f = len(a)
    for i in range(0, f, 4):
        r0, r1, r2, r3 = a[i, i:], a[i + 1, i:], a[i + 2, i:], a[i + 3, i:]
        x0 = x[i] * r0[0]
        x1 = (x[i + 1] - r0[1] * x0) * r1[1]
        x2 = (x[i + 2] - r0[2] * x0 - r1[2] * x1) * r2[2]
        x3 = (x[i + 3] - r0[3] * x0 - r1[3] * x1 - r2[3] * x2) * r3[3]
        rest = x[i:]
        for j in range(4, f - i):
            rest[j] -= x0 * r0[j] + x1 * r1[j] + x2 * r2[j] + x3 * r3[j]
        rest[0], rest[1], rest[2], rest[3] = x0, x1, x2, x3
    for i in range(f - 4, -1, -4):
        r0, r1, r2, r3, rest = a[i, i:], a[i + 1, i:], a[i + 2, i:], a[i + 3, i:], x[i:]
        s0, s1, s2, s3 = rest[0], rest[1], rest[2], rest[3]
        for j in range(4, f - i):
            s0 -= r0[j] * rest[j]
            s1 -= r1[j] * rest[j]
            s2 -= r2[j] * rest[j]
            s3 -= r3[j] * rest[j]
        x3 = s3 * r3[3]
        x2 = (s2 - r2[3] * x3) * r2[2]
        x1 = (s1 - r1[3] * x3 - r1[2] * x2) * r1[1]
        rest[0] = (s0 - r0[3] * x3 - r0[2] * x2 - r0[1] * x1) * r0[0]
        rest[1], rest[2], rest[3] = x1, x2, x3


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
