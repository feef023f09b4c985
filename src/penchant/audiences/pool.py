"""What a scoring method may look at: the people asked about, their features, who of them is a seed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from penchant.features.codes import CodeStore
from penchant.features.matrix import ACCOUNT, PLAIN, FeatureName
from penchant.features.purchase import REPEATS
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
    """n users, seeds among them; all arrays are in the order of these users.

    ``weight`` says how much each seed counts (1 unless the list carries values), 0 for the others.
    ``usable`` marks features that are neither hidden nor a repetition of another.
    """

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
        marks = np.zeros(self.size, bool)
        marks[self.seeds] = True
        return marks

    def values(self, columns: Rows, users: Rows) -> F32:
        """Return the mid-ranks (m, k) of k features for m users."""
        found = np.empty((len(columns), len(users)), np.float32)
        _look_up(self.codes.codes, columns, users, self.ranks, found)
        return found.T

    def reduced(self, others: int, seeds: int, *, rng: Generator) -> "tuple[Pool, Rows]":
        """Return a pool of at most so many others and seeds, in memory, and its users' places in this one."""
        rest = np.flatnonzero(~self.is_seed)
        if len(rest) <= others:
            return self, np.arange(self.size, dtype=np.int32)
        rest = rng.choice(rest, others, replace=False)
        mine = self.seeds if len(self.seeds) <= seeds else rng.choice(self.seeds, seeds, replace=False)
        rows = np.sort(np.concatenate([rest, mine])).astype(np.int32)
        kept = np.searchsorted(rows, np.sort(mine)).astype(np.int32)
        pool = Pool(
            codes=self.codes.among(rows),
            ranks=self.ranks,
            taste=self.taste[rows],
            seeds=readonly(kept),
            weight=readonly(self.weight[rows]),
            usable=self.usable,
        )
        return pool, rows

    @property
    def account(self) -> Rows:
        """Return the usable columns that speak of the whole account, or of no category at all."""
        whole = [f.code in (ACCOUNT, PLAIN) for f in self.codes.book]
        return np.flatnonzero(np.array(whole, bool) & self.usable).astype(np.int32)


def pool_of(
    codes: CodeStore, taste: F32, seeds: Rows, *, allowed: "Bools | None" = None, weight: "F64 | None" = None
) -> Pool:
    """Return the pool of a code store's users; ``seeds`` are its rows, ``weight`` (s,) theirs."""
    repeats = repeated(codes.book)
    full = np.zeros(codes.n_users)
    full[seeds] = 1.0 if weight is None else weight * len(seeds) / weight.sum()
    return Pool(
        codes=codes,
        ranks=readonly(mid_ranks(codes)),
        taste=taste,
        seeds=seeds,
        weight=readonly(full),
        usable=readonly(~repeats if allowed is None else ~repeats & allowed),
    )


def repeated(book: Sequence[FeatureName]) -> Bools:
    """Mark features (d,) that say what another one says: a constant times it, or its inverse."""
    return np.array([f.code != PLAIN and f.symbol in REPEATS for f in book], bool)


def mid_ranks(codes: CodeStore) -> F32:
    """Return (d, bins): the middle rank, in (0, 1), of the users with each code among those not "never"."""
    known = codes.counts[:, 1:].astype(np.float64)
    below = np.cumsum(known, axis=1) - known
    ranks = np.zeros(codes.counts.shape, np.float32)
    ranks[:, 1:] = (below + (known + 1) / 2) / (known.sum(1, keepdims=True) + 1)
    return ranks
