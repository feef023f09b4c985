"""The least-squares problem of one row, solved for many rows: the inner loops of implicit ALS.

With the other side's factors y_i fixed, row u of this side minimises

    L_u(x) = Σ_{i in S_u} c_ui (x·y_i - 1)² + w0 Σ_{all i} (x·y_i)² + λ_u |x|²

so that A x = b with A = Σ_{S_u} c_ui y_i y_iᵀ + w0 Σ_all y_i y_iᵀ + λ_u I and b = Σ_{S_u} c_ui y_i.

Hu, Koren, Volinsky: Collaborative filtering for implicit feedback datasets (2008); the form with a separate
weight w0 for the unobserved is that of Rendle, Krichene, Zhang, Koren: Revisiting the performance of iALS
(2021); conjugate gradient for it of Takács, Pilászy, Tikk (2011).

Each kernel works on rows start..stop-1 without the GIL; no row depends on another.
"""

import numpy as np

from penchant.kernel.arrays import F32, I64, Rows
from penchant.kernel.compiled import kernel


@kernel(fastmath=True)
def add_outer(a: F32, y: F32, c: F32, n: int) -> None:
    """Add Σ c_e y_e y_eᵀ to the upper triangle of ``a`` (f, f); ``y`` is (8, f), ``c`` zero from n on."""
    f = a.shape[0]
    y0, y1, y2, y3, y4, y5, y6, y7 = y[0], y[1], y[2], y[3], y[4], y[5], y[6], y[7]
    if n <= 4:
        for i in range(f):
            b0, b1, b2, b3 = c[0] * y0[i], c[1] * y1[i], c[2] * y2[i], c[3] * y3[i]
            row = a[i]
            for j in range(i, f):
                row[j] += b0 * y0[j] + b1 * y1[j] + b2 * y2[j] + b3 * y3[j]
        return
    for i in range(f):
        b0, b1, b2, b3 = c[0] * y0[i], c[1] * y1[i], c[2] * y2[i], c[3] * y3[i]
        b4, b5, b6, b7 = c[4] * y4[i], c[5] * y5[i], c[6] * y6[i], c[7] * y7[i]
        row = a[i]
        for j in range(i, f):
            row[j] += (
                b0 * y0[j] + b1 * y1[j] + b2 * y2[j] + b3 * y3[j]
                + b4 * y4[j] + b5 * y5[j] + b6 * y6[j] + b7 * y7[j]
            )  # fmt: skip


@kernel(fastmath=True)
def gram_rows(y: F32, start: int, stop: int) -> F32:
    """Return Σ y_i yᵢᵀ over rows start..stop-1, upper triangle, (f, f)."""
    f = y.shape[1]
    out = np.zeros((f, f), np.float32)
    block = np.zeros((8, f), np.float32)
    ones = np.ones(8, np.float32)
    for first in range(start, stop, 8):
        n = min(8, stop - first)
        block[:n] = y[first : first + n]
        block[n:] = np.float32(0)
        add_outer(out, block, ones, n)
    return out


@kernel(fastmath=True)
def exact_rows(
    indptr: I64, indices: Rows, data: F32, y: F32, base: F32, ridge: F32, x: F32, start: int, stop: int
) -> np.float64:
    """Solve rows exactly by Cholesky, A = UᵀU; return Σ L_u. ``base`` is w0 Σ y yᵀ, upper triangle."""
    f = y.shape[1]
    a = np.empty((f, f), np.float32)
    b = np.empty(f, np.float32)
    block = np.zeros((8, f), np.float32)
    c = np.zeros(8, np.float32)
    loss = np.float64(0)
    for u in range(start, stop):
        out = x[u]
        first, last = indptr[u], indptr[u + 1]
        if first == last:
            out[:] = np.float32(0)
            continue
        a[:] = base
        b[:] = np.float32(0)
        total = np.float32(0)
        for at in range(first, last, 8):
            n = min(8, last - at)
            for e in range(8):
                if e < n:
                    c[e] = data[at + e]
                    total += c[e]
                    source = y[indices[at + e]]
                    target = block[e]
                    for j in range(f):
                        target[j] = source[j]
                        b[j] += c[e] * source[j]
                else:
                    c[e] = np.float32(0)
            add_outer(a, block, c, n)
        for i in range(f):
            a[i, i] += ridge[u]
        out[:] = b
        cholesky_solve(a, out)
        explained = np.float32(0)
        for j in range(f):
            explained += b[j] * out[j]
        loss += total - explained  # L_u at its minimum is Σ c - b·x
    return loss


@kernel(fastmath=True)
def cholesky_solve(a: F32, x: F32) -> None:
    """Replace ``x`` = b by the solution of A x = b; the upper triangle of ``a`` is used up."""
    f = a.shape[0]
    for i in range(f):
        inverse = np.float32(1) / np.sqrt(a[i, i])
        pivot = a[i]
        for j in range(i, f):
            pivot[j] *= inverse
        for k in range(i + 1, f):
            s = pivot[k]
            row = a[k]
            for j in range(k, f):
                row[j] -= s * pivot[j]
    for i in range(f):  # Uᵀ z = b
        x[i] /= a[i, i]
        s = x[i]
        for j in range(i + 1, f):
            x[j] -= s * a[i, j]
    for i in range(f - 1, -1, -1):  # U x = z
        s = x[i]
        for j in range(i + 1, f):
            s -= a[i, j] * x[j]
        x[i] = s / a[i, i]


@kernel(fastmath=True)
def cg_rows(
    indptr: I64,
    indices: Rows,
    data: F32,
    y: F32,
    base: F32,
    ridge: F32,
    x: F32,
    steps: int,
    start: int,
    stop: int,
) -> np.float64:
    """Improve rows by ``steps`` of conjugate gradient from where they are; return Σ L_u.

    A is never formed: A p = base p + λ p + Σ c y (y·p), one pass over the entries a step and one for the
    first residual. ``base`` is w0 Σ y yᵀ, both triangles. A step along p lowers L_u by (r·r)² / (p·A p).
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
        apply_base(base, ridge[u], out, ap)
        of_row = np.float32(0)
        for j in range(f):
            of_row += out[j] * ap[j]
            r[j] = -ap[j]
        of_row += add_residual(indices, data, y, first, last, out, r)
        square = np.float32(0)
        for j in range(f):
            p[j] = r[j]
            square += r[j] * r[j]
        for _ in range(steps):
            if square < np.float32(1e-20):
                break
            apply_base(base, ridge[u], p, ap)
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
    """Add Σ c (1 - y·x) y to ``r``; return Σ c (1 - y·x)²."""
    f = len(x)
    loss = np.float32(0)
    for e in range(first, last):
        row = y[indices[e]]
        s = np.float32(0)
        for j in range(f):
            s += row[j] * x[j]
        miss = np.float32(1) - s
        weighted = data[e] * miss
        loss += weighted * miss
        for j in range(f):
            r[j] += weighted * row[j]
    return loss


@kernel(fastmath=True)
def add_entries(indices: Rows, data: F32, y: F32, first: int, last: int, p: F32, out: F32) -> None:
    """Add Σ c y (y·p) to ``out``."""
    f = len(p)
    for e in range(first, last):
        row = y[indices[e]]
        s = np.float32(0)
        for j in range(f):
            s += row[j] * p[j]
        s *= data[e]
        for j in range(f):
            out[j] += s * row[j]


@kernel(fastmath=True)
def apply_base(base: F32, ridge: np.float32, p: F32, out: F32) -> None:
    """Set ``out`` to base p + ridge p; ``base`` is (f, f), symmetric."""
    f = len(p)
    for j in range(f):
        out[j] = ridge * p[j]
    for i in range(0, f - 3, 4):
        s0, s1, s2, s3 = p[i], p[i + 1], p[i + 2], p[i + 3]
        r0, r1, r2, r3 = base[i], base[i + 1], base[i + 2], base[i + 3]
        for j in range(f):
            out[j] += s0 * r0[j] + s1 * r1[j] + s2 * r2[j] + s3 * r3[j]
    for i in range(f - f % 4, f):
        s = p[i]
        row = base[i]
        for j in range(f):
            out[j] += s * row[j]
