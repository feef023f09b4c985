"""Two shops' item spaces laid on each other, so that a session in one predicts the next item in the other.

A map x → (x - m) R + m' takes the first space to the second, with R the rotation that brings pairs of vectors
of the same thing together (orthogonal Procrustes; Schönemann, 1966):

    R = argmin_{R Rᵀ = I} Σ_p w_p |(a_p - m) R - (b_p - m')|²  =  U Vᵀ
    U S Vᵀ = Σ_p w_p (a_p - m)ᵀ (b_p - m')        (singular value decomposition)

Pairs begin as items alike in text, category and price (Bianchi et al., 2020, arXiv:2007.14906), are joined by
items, users and sessions known in both, and are refined by taking each other's nearest items as further
pairs, distances corrected for hubs (CSLS; Lample et al., 2018, arXiv:1710.04087):

    csls(a, b) = 2 cos(a, b) - mean cos of a's 10 nearest - mean cos of b's 10 nearest
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import csr_array

from penchant.kernel.arrays import F32, F64, Bools, Rows, readonly
from penchant.kernel.errors import InputError
from penchant.models.prod2vec import unit

_NEAR = 10
_BLOCK = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Vectors of the same things in two spaces, or near enough: (n, d) each, and how sure that is (n,)."""

    first: F32
    second: F32
    weight: F32

    @classmethod
    def of_items(cls, a: F32, b: F32, rows: tuple[Rows, Rows], weight: F32 | float = 1.0) -> "Pairs":
        """Return pairs of item rows; those where a side has no vector are left out."""
        first, second = a[rows[0]], b[rows[1]]
        has = first.any(axis=1) & second.any(axis=1)
        sure = np.broadcast_to(np.asarray(weight, np.float32), has.shape)
        return cls(first=first[has], second=second[has], weight=sure[has])

    def joined(self, other: "Pairs") -> "Pairs":
        """Return both."""
        return Pairs(
            first=np.concatenate([self.first, other.first]),
            second=np.concatenate([self.second, other.second]),
            weight=np.concatenate([self.weight, other.weight]),
        )

    def __len__(self) -> int:
        return len(self.weight)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceMap:
    """The map of the equation above."""

    rotation: F32  # (d, d)
    centre: F32  # (d,) m
    target: F32  # (d,) m'

    @classmethod
    def fit(cls, pairs: Pairs) -> "SpaceMap":
        """Return the best map for the pairs.

        Raises:
            InputError: there are none.
        """
        total = float(pairs.weight.sum())
        if len(pairs) == 0 or total <= 0:
            raise InputError(
                "no pair of things known in both spaces.", fix="Give text, items or users in both."
            )
        share = (pairs.weight / total)[:, None]
        centre, target = (share * pairs.first).sum(axis=0), (share * pairs.second).sum(axis=0)
        cross = ((pairs.first - centre) * share).T.astype(np.float64) @ (pairs.second - target)
        u, _, vt = np.linalg.svd(cross)
        return cls(
            rotation=readonly((u @ vt).astype(np.float32)),
            centre=readonly(centre.astype(np.float32)),
            target=readonly(target.astype(np.float32)),
        )

    def apply(self, vectors: F32) -> F32:
        """Return vectors (n, d) of the first space in the second, at length 1; zeros stay zeros."""
        moved = unit(np.asarray((vectors - self.centre) @ self.rotation + self.target, np.float32))
        return readonly(np.where(vectors.any(axis=1, keepdims=True), moved, np.float32(0)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a shop says of its items: text (empty = none), category ("" = none), price (NaN = none)."""

    text: Sequence[str]
    category: Sequence[str]
    price: F64


def content_pairs(a: Content, b: Content, *, least: float = 0.5) -> tuple[Rows, Rows, F32]:
    """Return rows in both shops of the items most alike to each other, and how alike (``least`` to 1).

    Alike is the cosine of words and of parts of words by TF-IDF, halved where both name a category and it is
    another, and times exp(-|log price ratio|) to the power 1/4 where both name a price.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer  # heavy: only here

    words = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 4), sublinear_tf=True)
    both = words.fit_transform([*a.text, *b.text]).tocsr()
    left, right = both[: len(a.text)], csr_array(both[len(a.text) :].T)
    best_of_a, how = np.zeros(len(a.text), np.int64), np.zeros(len(a.text), np.float32)
    best_of_b, how_b = np.zeros(len(b.text), np.int64), np.zeros(len(b.text), np.float32)
    names, codes = np.unique([*a.category, *b.category], return_inverse=True)
    category = (codes[: len(a.text)], codes[len(a.text) :])
    named = [names[code] != "" for code in category]
    price = [np.log(np.where(shop.price > 0, shop.price, np.nan)) for shop in (a, b)]
    for start in range(0, len(a.text), _BLOCK):
        part = slice(start, min(start + _BLOCK, len(a.text)))
        alike = np.asarray((left[part] @ right).todense(), np.float32)
        other = category[0][part, None] != category[1][None, :]
        alike[other & named[0][part, None] & named[1][None, :]] *= np.float32(0.5)
        apart = np.abs(price[0][part, None] - price[1][None, :])
        alike *= np.exp(-np.nan_to_num(apart) / 4).astype(np.float32)
        best_of_a[part], how[part] = alike.argmax(axis=1), alike.max(axis=1)
        top, value = alike.argmax(axis=0) + start, alike.max(axis=0)
        better = value > how_b
        best_of_b[better], how_b[better] = top[better], value[better]
    rows = np.flatnonzero((how >= least) & (best_of_b[best_of_a] == np.arange(len(a.text))))
    return (
        readonly(rows.astype(np.int32)),
        readonly(best_of_a[rows].astype(np.int32)),
        readonly(how[rows]),
    )


def align(
    a: F32,
    b: F32,
    pairs: Pairs,
    *,
    rounds: int = 5,
    allowed: tuple[Bools, Bools] | None = None,
) -> SpaceMap:
    """Return the map from space ``a`` (n, d) to ``b`` (m, d), items at length 1, zeros where there is none.

    Each of ``rounds`` adds as pairs the items that are each other's nearest under the map so far, at half
    the weight, and weighs all by how well they agree under it; ``allowed`` says which rows may become pairs.
    """
    found = SpaceMap.fit(pairs)
    free = [side.any(axis=1) for side in (a, b)]
    if allowed is not None:
        free = [mine & may for mine, may in zip(free, allowed, strict=True)]
    left, right = (np.flatnonzero(mine).astype(np.int32) for mine in free)
    for _ in range(rounds):
        first, second = mutual_nearest(found.apply(a[left]), b[right])
        more = Pairs.of_items(a, b, (left[first], right[second]), 0.5)
        found = SpaceMap.fit(_trusted(found, pairs.joined(more)))
    return found


def _trusted(found: SpaceMap, pairs: Pairs) -> Pairs:
    """Return the pairs weighed by their squared cosine under a map, so that wrong ones lose their say."""
    cosine = np.einsum("ij,ij->i", found.apply(pairs.first), unit(pairs.second))
    return replace(pairs, weight=pairs.weight * np.maximum(cosine, np.float32(1e-3)) ** 2)


def mutual_nearest(a: F32, b: F32) -> tuple[Rows, Rows]:
    """Return the rows of ``a`` and ``b`` (at length 1) that are each other's nearest by CSLS."""
    if len(a) == 0 or len(b) == 0:
        return np.zeros(0, np.int32), np.zeros(0, np.int32)
    near_a, near_b = _nearness(a, b), _nearness(b, a)
    best_of_a = np.zeros(len(a), np.int64)
    best_of_b, value_b = np.zeros(len(b), np.int64), np.full(len(b), -np.inf, np.float32)
    for start in range(0, len(a), _BLOCK):
        part = slice(start, min(start + _BLOCK, len(a)))
        score = 2 * (a[part] @ b.T) - near_a[part, None] - near_b[None, :]
        best_of_a[part] = score.argmax(axis=1)
        top, value = score.argmax(axis=0), score.max(axis=0)
        better = value > value_b
        best_of_b[better], value_b[better] = top[better] + start, value[better]
    rows = np.flatnonzero(best_of_b[best_of_a] == np.arange(len(a)))
    return rows.astype(np.int32), best_of_a[rows].astype(np.int32)


def _nearness(a: F32, b: F32) -> F32:
    """Return the mean cosine of each of ``a`` with its nearest of ``b``."""
    k = min(_NEAR, len(b))
    out = np.empty(len(a), np.float32)
    for start in range(0, len(a), _BLOCK):
        part = slice(start, min(start + _BLOCK, len(a)))
        cosine = a[part] @ b.T
        out[part] = np.partition(cosine, len(b) - k, axis=1)[:, len(b) - k :].mean(axis=1)
    return out
