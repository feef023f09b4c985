"""What a scoring method may look at: the people asked about, their features, who of them is a seed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator

from penchant.features.codes import Codes, CodeStore
from penchant.features.matrix import ACCOUNT, PLAIN, FeatureName
from penchant.features.purchase import REPEATS
from penchant.features.taste import Axes
from penchant.kernel.arrays import F32, F64, U8, Bools, Rows, readonly
from penchant.kernel.compiled import kernel, prange


@kernel(parallel=True)
def _look_up(codes: U8, columns: Rows, users: Rows, ranks: F32, out: F32) -> None:
    for k in prange(len(columns)):
        j = columns[k]
        for i in range(len(users)):
            out[k, i] = ranks[j, codes[j, users[i]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """n users to learn from, seeds among them; all arrays are in the order of these users.

    ``rows`` are their places in the population, ascending. ``weight`` says how much each seed counts (1
    unless the list carries values), 0 for the others. ``usable`` marks features that are neither hidden nor
    a repetition of another.
    """

    rows: Rows  # (n,)
    codes: CodeStore  # (d, n)
    ranks: F32  # (d, bins) what each code of each feature means: its mid-rank in (0, 1), never = 0
    taste: F32  # (n, r) dimensions of taste
    seeds: Rows  # (s,) places in the pool
    weight: F64  # (n,)
    usable: Bools  # (d,)

    @property
    def size(self) -> int:
        """Return n."""
        return self.codes.n_users

    @property
    def is_seed(self) -> Bools:
        """Mark the seeds (n,)."""
        return _marked(self.seeds, self.size)

    def values(self, columns: Rows, users: Rows) -> F32:
        """Return the mid-ranks (m, k) of k features for m users."""
        found = np.empty((len(columns), len(users)), np.float32)
        _look_up(self.codes.codes, columns, users, self.ranks, found)
        return found.T

    @property
    def account(self) -> Rows:
        """Return the usable columns that speak of the whole account, or of no category at all."""
        whole = [f.code in (ACCOUNT, PLAIN) for f in self.codes.book]
        return np.flatnonzero(np.array(whole, bool) & self.usable).astype(np.int32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Population:
    """Everybody to be scored: n users, perhaps too many for memory."""

    codes: Codes
    seeds: Rows  # (s,)
    taste: "F32 | Axes"  # (n, r), or how to read it from the codes
    items: Any = None  # (n, items) sparse, rows of unit length or empty; None where only codes are at hand

    @property
    def size(self) -> int:
        """Return n."""
        return self.codes.n_users

    @property
    def is_seed(self) -> Bools:
        """Mark the seeds (n,)."""
        return _marked(self.seeds, self.size)

    def drawn(self, *, others: int, seeds: int, rng: Generator) -> Rows:
        """Return everybody (m,), or at most so many who are not seeds and so many seeds; ascending."""
        rest, mine = np.flatnonzero(~self.is_seed), self.seeds
        if len(rest) <= others:
            return np.arange(self.size, dtype=np.int32)
        rest = rng.choice(rest, others, replace=False)
        if len(mine) > seeds:
            mine = rng.choice(mine, seeds, replace=False)
        return np.sort(np.concatenate([rest, mine])).astype(np.int32)


def _marked(rows: Rows, n: int) -> Bools:
    marks = np.zeros(n, bool)
    marks[rows] = True
    return marks


def pool_of(
    codes: CodeStore,
    taste: F32,
    seeds: Rows,
    *,
    allowed: "Bools | None" = None,
    weight: "F64 | None" = None,
    rows: "Rows | None" = None,
    ranks: "F32 | None" = None,
) -> Pool:
    """Return the pool of a code store's users; ``seeds`` are its rows, ``weight`` (s,) theirs.

    Where the store is a part of a population, ``rows`` are its places there and ``ranks`` its codes' ranks.
    """
    repeats = repeated(codes.book)
    full = np.zeros(codes.n_users)
    full[seeds] = 1.0 if weight is None else weight * len(seeds) / weight.sum()
    return Pool(
        rows=np.arange(codes.n_users, dtype=np.int32) if rows is None else rows,
        codes=codes,
        ranks=readonly(mid_ranks(codes)) if ranks is None else ranks,
        taste=taste,
        seeds=seeds,
        weight=readonly(full),
        usable=readonly(~repeats if allowed is None else ~repeats & allowed),
    )


def repeated(book: Sequence[FeatureName]) -> Bools:
    """Mark features (d,) that say what another one says: a constant times it, or its inverse."""
    return np.array([f.code != PLAIN and f.symbol in REPEATS for f in book], bool)


def mid_ranks(codes: Codes) -> F32:
    """Return (d, bins): the middle rank, in (0, 1), of the users with each code among those not "never"."""
    known = codes.counts[:, 1:].astype(np.float64)
    below = np.cumsum(known, axis=1) - known
    ranks = np.zeros(codes.counts.shape, np.float32)
    ranks[:, 1:] = (below + (known + 1) / 2) / (known.sum(1, keepdims=True) + 1)
    return ranks
