"""Does a category go by popularity or by recency? By what would have predicted its last actions better.

Each (sampled) action on item i of category c at time t is ranked among the items of c that existed then: by
how many actions they had in the window before t, and by how new they were. The category goes by the order
with the larger Σ 1 / log2(2 + rank). Ties share the mean of their ranks; an item's first action, where that
is all that tells when it began, counts for neither.
"""

import numpy as np

from penchant.data.interactions import Interactions
from penchant.kernel.arrays import F64, I64, Bools, Rows
from penchant.kernel.compiled import kernel

_SAMPLED = 4_000  # actions that are ranked


def newer_is_better(events: Interactions, arm: Rows, born: F64, *, n_arms: int, window: float) -> Bools:
    """Return for each arm (n_arms,) whether recency predicts better than popularity; no events, no.

    ``arm`` and ``born`` (n_items,) are each item's category and birth in seconds; ``events`` ascend in time.
    The first half of them is only counted, not ranked.
    """
    n = len(events)
    order = np.argsort(arm, kind="stable")
    starts = np.searchsorted(arm[order], np.arange(n_arms + 1)).astype(np.int64)
    gains = np.zeros((n_arms, 2))
    if n:
        every = max(1, n // 2 // _SAMPLED)
        _rank(
            events.item,
            events.timestamp,
            arm,
            born,
            order.astype(np.int64),
            starts,
            n // 2,
            every,
            window,
            gains,
        )
    return gains[:, 1] > gains[:, 0]


@kernel()
def _rank(
    item: Rows,
    time: F64,
    arm: Rows,
    born: F64,
    order: I64,
    starts: I64,
    first: int,
    every: int,
    window: float,
    gains: F64,
) -> None:
    count = np.zeros(len(arm))
    oldest = 0
    for e in range(len(item)):
        while time[oldest] < time[e] - window:
            count[item[oldest]] -= 1
            oldest += 1
        i = item[e]
        c = arm[i]
        if e >= first and (e - first) % every == 0 and born[i] < time[e]:
            more, equal, newer = 0.0, 0.0, 0.0
            for at in range(starts[c], starts[c + 1]):
                j = order[at]
                if j == i or born[j] > time[e]:
                    continue
                if count[j] > count[i]:
                    more += 1
                elif count[j] == count[i]:
                    equal += 1
                if born[j] > born[i]:
                    newer += 1
                elif born[j] == born[i]:
                    newer += 0.5
            gains[c, 0] += 1 / np.log2(2 + more + equal / 2)
            gains[c, 1] += 1 / np.log2(2 + newer)
        count[i] += 1
