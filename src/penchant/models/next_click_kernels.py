"""What kernels over open sessions share: where a user's session stands, and the rank of an item."""

import numpy as np

from penchant.kernel.arrays import F32, F64, I64, Rows
from penchant.kernel.compiled import kernel

WAYS = 4  # a user's session stands in one of so many places; the one idle longest makes room
MEMORY = 20  # items of a session that are remembered, the latest


@kernel()
def place_in(owner: I64, touched: F64, user: int) -> int:
    """Return where a user's session stands, or where it is to stand: the place idle longest of its few."""
    sets = np.uint64(len(owner) // WAYS)
    mixed = np.uint64(user) * np.uint64(0x9E3779B97F4A7C15)
    first = int((mixed >> np.uint64(32)) % sets) * WAYS
    oldest = first
    for at in range(first, first + WAYS):
        if owner[at] == user:
            return at
        if touched[at] < touched[oldest]:
            oldest = at
    return oldest


@kernel()
def among(items: Rows, item: int) -> bool:
    """Return whether an item is one of a few."""
    found = False
    for i in range(len(items)):
        found = found or items[i] == item
    return found


@kernel()
def rank_of(scores: F32, item: int) -> int:
    """Return the place of an item by descending score, ties in row order; 0 when its score is NaN."""
    own = scores[item]
    if np.isnan(own):
        return 0
    better = 0
    for j in range(len(scores)):
        if scores[j] > own or (scores[j] == own and j < item):
            better += 1
    return better + 1
