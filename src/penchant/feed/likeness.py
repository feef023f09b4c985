"""How alike items are, for feeds that want different ones: by a model's vectors or by shared labels."""

from dataclasses import dataclass
from typing import Protocol, final

import numpy as np

from penchant.feed.bridge import Bridge
from penchant.feed.item_columns import Labels
from penchant.feed.live import as_rows
from penchant.feed.live_columns import LiveColumns
from penchant.feed.types import Request
from penchant.kernel.arrays import F32, F64, Rows
from penchant.kernel.compiled import kernel


class Nearest(Protocol):
    """For each of m items the largest similarity with any item placed so far."""

    @property
    def best(self) -> F64:
        """Return (m,), 0 before anything is placed."""
        ...

    def put(self, item: int) -> None:
        """Place an item, one of the m or any other."""
        ...


class Space(Protocol):
    """Similarities of items, 0 (nothing in common) to 1 (the same); negative cosines count as they are."""

    def open(self, request: Request, items: Rows) -> Nearest:
        """Return ``items`` (m,) with nothing placed."""
        ...

    def similarities(self, request: Request, item: int, others: Rows) -> F64:
        """Return the similarity of one item with each of the others."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorSpace:
    """Cosine of a model's item vectors; 0 with an item that the model does not know."""

    bridge: Bridge

    def open(self, request: Request, items: Rows) -> Nearest:
        """Return the items' vectors with nothing placed."""
        return _ByVector(self.bridge, items)

    def similarities(self, request: Request, item: int, others: Rows) -> F64:
        """Return the cosines."""
        one = self.bridge.directions(as_rows([item]))[0]
        return (self.bridge.directions(others) @ one).astype(np.float64)

    def nearest(self, items: Rows, others: Rows) -> F64:
        """Return each item's largest cosine with any of ``others``, -1 when there are none."""
        if len(others) == 0:
            return np.full(len(items), -1.0)
        return (
            (self.bridge.directions(items) @ self.bridge.directions(others).T).max(axis=1).astype(np.float64)
        )


@final
class _ByVector:
    def __init__(self, bridge: Bridge, items: Rows) -> None:
        self._bridge = bridge
        self._vectors = bridge.directions(items)
        self._place: dict[int, int] = {item: place for place, item in enumerate(items.tolist())}
        self.best: F64 = np.zeros(len(items))
        self._any = False

    def put(self, item: int) -> None:
        place = self._place.get(item)
        one = self._bridge.directions(as_rows([item]))[0] if place is None else self._vectors[place]
        if not self._any:
            self.best.fill(-1.0)
            self._any = True
        raise_to_cosine(self._vectors, one, self.best)


@kernel(fastmath=True)
def raise_to_cosine(vectors: F32, one: F32, best: F64) -> None:
    """best_i <- max(best_i, v_i · v_one), for unit vectors (m, d) and (d,)."""
    for i in range(len(vectors)):
        s = np.float32(0)
        for j in range(len(one)):
            s += vectors[i, j] * one[j]
        best[i] = max(best[i], s)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelSpace:
    """Jaccard overlap |A ∩ B| / |A ∪ B| of the labels in a column; 0 for an item without."""

    column: str
    columns: LiveColumns

    def open(self, request: Request, items: Rows) -> Nearest:
        """Return the items' labels with nothing placed."""
        return _ByLabel(self.columns.labels(self.column, request.now), items)

    def similarities(self, request: Request, item: int, others: Rows) -> F64:
        """Return the overlaps."""
        near = _ByLabel(self.columns.labels(self.column, request.now), others)
        near.put(item)
        return near.best


@final
class _ByLabel:
    def __init__(self, labels: Labels | None, items: Rows) -> None:
        self._labels = labels
        self.best: F64 = np.zeros(len(items))
        if labels is not None:
            self._owner, self._codes = labels.spread(items)
            self._sizes = np.bincount(self._owner, minlength=len(items))

    def put(self, item: int) -> None:
        if self._labels is None:
            return
        codes = np.unique(self._labels.of_row(item))
        both = np.bincount(self._owner[np.isin(self._codes, codes)], minlength=len(self.best))
        union = self._sizes + len(codes) - both
        np.maximum(self.best, both / np.maximum(union, 1), out=self.best)
