"""States of models that learn event by event: each version stays as it is, and few of them are copies."""

import math
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar, final

import numpy as np

from penchant.data.interactions import Interactions
from penchant.kernel.arrays import U8, AnyArray, readonly

S = TypeVar("S", bound=tuple[AnyArray, ...])
_ALIGNED = 64  # bytes
_SPARE = 8  # a block has room for an eighth more items
_COPIED = 10_000  # bytes that are copied in the time in which one event is learnt


@final
class Turns(Generic[S]):
    """Two blocks of memory take turns at being the newest state.

    The state before the newest lacks one batch of events. When nobody reads it any more, its memory learns
    that batch and the next one and is the newest state: in the time of the events, not of a copy. Otherwise
    the newest is copied. No state is written to while an array that looks at it exists.

    A state is a tuple of arrays; those at the places ``by_item`` have a row an item, ``blank`` the one of an
    item that nobody has seen. ``learn`` takes events in place.
    """

    def __init__(
        self,
        *,
        make: Callable[[Iterable[AnyArray]], S],
        by_item: Iterable[int],
        blank: S,
        learn: Callable[[S, Interactions], None],
    ) -> None:
        self._make, self._blank, self._learn = make, blank, learn
        self._by_item = frozenset(by_item)
        self._lock = threading.Lock()
        self._newest: _Block | None = None
        self._before: _Block | None = None
        self._missed = Interactions.none()  # by the block before

    def after(self, state: S, events: Interactions) -> S:
        """Return the state after ``events``, one or more, whose items may be new; ``state`` stays."""
        n = max(len(state[next(iter(self._by_item))]), int(events.item.max()) + 1)
        with self._lock:
            newest = self._newest if self._newest is not None and self._newest.lends(state[0]) else None
            block, self._before = self._before, None  # what is half learnt, should that fail, is no state
            if newest is None or block is None or not block.can_hold(n) or self._is_long(block):
                block = _Block(state, self._blank, self._by_item, n + n // _SPARE)
                arrays = self._make(block.arrays(n))
            else:
                arrays = self._make(block.arrays(n))
                self._learn(arrays, self._missed)
            self._learn(arrays, events)
            del arrays
            self._before, self._newest, self._missed = newest, block, events
            return self._make(block.lent(n))

    def _is_long(self, block: "_Block") -> bool:
        """Return whether what the block missed takes longer to learn than a copy."""
        return len(self._missed) * _COPIED > block.size


class _Block:
    """Memory for one state, with room for so many rows of items, and knowledge of who looks at it."""

    def __init__(
        self, state: Iterable[AnyArray], blank: Iterable[AnyArray], by_item: frozenset[int], rows: int
    ) -> None:
        self.rows = rows
        self._by_item = by_item
        self._kinds = [(array.dtype, array.shape) for array in state]
        self._begins = [0]
        for at in range(len(self._kinds)):
            self._begins.append(self._begins[at] + -(-self._bytes(at, rows) // _ALIGNED) * _ALIGNED)
        self.size = self._begins[-1]
        self._memory = bytearray(self.size)
        self._reader: weakref.ref[U8] | None = None
        for at, (mine, old, new) in enumerate(zip(self.arrays(rows), state, blank, strict=True)):
            mine[: len(old)] = old
            if at in by_item:
                mine[len(old) :] = new[0]

    def _shape(self, at: int, n_items: int) -> tuple[int, ...]:
        shape = self._kinds[at][1]
        return (n_items, *shape[1:]) if at in self._by_item else shape

    def _bytes(self, at: int, n_items: int) -> int:
        return math.prod(self._shape(at, n_items)) * self._kinds[at][0].itemsize

    def can_hold(self, n_items: int) -> bool:
        """Return whether it has room for so many items and nobody looks at it."""
        return n_items <= self.rows and (self._reader is None or self._reader() is None)

    def lends(self, array: AnyArray) -> bool:
        """Return whether an array is one of those that were lent last."""
        return self._reader is not None and array.base is not None and array.base is self._reader()

    def lent(self, n_items: int) -> Iterator[AnyArray]:
        """Yield the arrays for reading; the block knows when the last of them is gone, with all views."""
        whole = np.frombuffer(self._memory, np.uint8)
        self._reader = weakref.ref(whole)
        return map(readonly, self._over(whole, n_items))

    def arrays(self, n_items: int) -> Iterator[AnyArray]:
        """Yield the arrays for writing."""
        return self._over(np.frombuffer(self._memory, np.uint8), n_items)

    def _over(self, whole: U8, n_items: int) -> Iterator[AnyArray]:
        for at, (begin, (dtype, _)) in enumerate(zip(self._begins[:-1], self._kinds, strict=True)):
            part = whole[begin : begin + self._bytes(at, n_items)]
            yield part.view(dtype).reshape(self._shape(at, n_items))
