"""How often items were shown and acted on: what exploration is driven by."""

from typing import final

import numpy as np
from scipy import special

from penchant.kernel.arrays import F64, AnyArray, Bools, Rows

_POOR = 0.05  # an item is poor when its rate is above the median's with less than this probability
_ENOUGH_TO_COUNT = 20  # impressions, for an item to count in the median
_REFRESH_SECONDS = 1.0


@final
class Shown:
    """How often each catalogue row was shown, and how often somebody acted on it when it was.

    One thread counts, any number read. ``base`` are the impressions known to the snapshot. Rates are of what
    happened since: the snapshot does not say which of its actions followed an impression.
    """

    def __init__(self, base: AnyArray) -> None:
        self._base = base
        self._impressions: F64 = np.zeros(len(base))
        self._actions: F64 = np.zeros(len(base))
        self._median: tuple[float, float] = (-np.inf, 0.0)  # when it was found, and what it was

    def served(self, rows: Rows, n_items: int) -> None:
        """Count one impression of each row."""
        self._grow(n_items)
        np.add.at(self._impressions, rows, 1.0)

    def acted(self, row: int, n_items: int) -> None:
        """Count one action that followed from an impression."""
        self._grow(n_items)
        self._actions[row] += 1.0

    def impressions(self, rows: Rows) -> F64:
        """Return the impressions of each row."""
        return _taken(self._base, rows) + _taken(self._impressions, rows)

    def clearly_poor(self, rows: Rows, now: float) -> Bools:
        """Return which rows are below the median rate m almost surely: P(Beta(1 + c, 1 + n - c) > m) < 5%."""
        median = self.median_rate(now)
        n, c = _taken(self._impressions, rows), _taken(self._actions, rows)
        return special.betaincc(1.0 + c, 1.0 + np.maximum(n - c, 0.0), median) < _POOR

    def median_rate(self, now: float) -> float:
        """Return the median rate of items shown at least 20 times, 0 without such items; at most 1 s old."""
        made, median = self._median
        if now - made >= _REFRESH_SECONDS:
            actions, impressions = self._actions, self._impressions
            size = min(len(actions), len(impressions))
            known = impressions[:size] >= _ENOUGH_TO_COUNT
            rates = actions[:size][known] / impressions[:size][known]
            median = float(np.median(rates)) if len(rates) else 0.0
            self._median = (now, median)
        return median

    def _grow(self, n_items: int) -> None:
        more = n_items - len(self._impressions)
        if more > 0:
            spare = np.zeros(max(more, len(self._impressions) // 8))
            self._actions = np.concatenate([self._actions, spare])
            self._impressions = np.concatenate([self._impressions, spare])


def _taken(counts: AnyArray, rows: Rows) -> F64:
    """Return counts by row, 0 for rows that were never counted."""
    inside = rows < len(counts)
    return np.where(inside, counts[np.where(inside, rows, 0)], 0.0)
