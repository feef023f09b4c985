"""What lowers an item in the order of its source, and the ranker that applies it.

    score = relevance · Π factor        relevance = (s - min s) / (max s - min s)

over the candidates of a source, so that a factor lowers an item whatever the scale of its source.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from penchant.feed.live_columns import LiveColumns
from penchant.feed.types import Candidates, Ranker, Request
from penchant.kernel.arrays import F32, F64, Rows, readonly


class Weight(Protocol):
    """Lowers items for a request."""

    def factors(self, request: Request, items: Rows) -> F64 | None:
        """Return a factor in (0, 1] for each item, None when all are 1."""
        ...


def relevance(scores: F32) -> F64:
    """Return scores (m,) moved into 0..1, all 1 when they are equal; what is not finite stays NaN."""
    finite = np.isfinite(scores)
    out = np.full(len(scores), np.nan)
    if finite.any():
        least, most = float(scores[finite].min()), float(scores[finite].max())
        out[finite] = (scores[finite] - least) / (most - least) if most > least else 1.0
    return out


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighed:
    """Orders by the ``inner`` ranker, or as the source does without one, then lowers what ``weights`` say."""

    name: str
    inner: Ranker | None
    weights: tuple[Weight, ...]

    def score(self, request: Request, candidates: Candidates) -> F32:
        """Return the lowered relevance of each candidate, NaN where the inner ranker has no score."""
        scores = candidates.scores if self.inner is None else self.inner.score(request, candidates)
        out = relevance(scores)
        for weight in self.weights:
            factors = weight.factors(request, candidates.items)
            if factors is not None:
                out *= factors
        return readonly(out.astype(np.float32))


@dataclass(frozen=True, slots=True, kw_only=True)
class Aversion:
    """Lowers items that share a property with what the user disliked.

        factor = 2^(-Σ w · 2^(-age / half_life))

    over the events of dislike with any item that has the same label, ``weights`` by event type: one of weight
    1 now halves an item, one of weight 3 leaves an eighth.
    """

    weights: Mapping[str, float]
    properties: tuple[str, ...]
    half_life: float  # seconds
    columns: LiveColumns

    def factors(self, request: Request, items: Rows) -> F64 | None:
        """Return a factor for each item."""
        history = request.history
        table = np.array([self.weights.get(name, 0.0) for name in history.event_types] or [0.0])
        weight = table[history.event_type]
        if not weight.any():
            return None
        bad = np.flatnonzero(weight)
        age = np.maximum(request.now - history.timestamp[bad], 0.0)
        weight = weight[bad] * np.exp2(-age / self.half_life)
        total = np.zeros(len(items))
        for name in self.properties:
            labels = self.columns.labels(name, request.now)
            if labels is None:
                continue
            strength = np.zeros(len(labels.names))
            for row, one in zip(history.item[bad].tolist(), weight.tolist(), strict=True):
                strength[labels.of_row(row)] += one
            total += labels.sums(strength, items)
        return np.exp2(-total) if total.any() else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """Lowers what the user was shown lately.

    factor = (1 - rate)^E        E = Σ over impressions of 2^(-age / half_life)
    """

    rate: float
    half_life: float  # seconds

    def factors(self, request: Request, items: Rows) -> F64 | None:
        """Return a factor for each item."""
        shown = request.shown
        if len(shown.items) == 0:
            return None
        rows, place = np.unique(shown.items, return_inverse=True)
        fresh = np.exp2(-np.maximum(request.now - shown.timestamps, 0.0) / self.half_life)
        weight = np.bincount(place, fresh)
        at = np.minimum(np.searchsorted(rows, items), len(rows) - 1)
        return (1.0 - self.rate) ** np.where(rows[at] == items, weight[at], 0.0)
