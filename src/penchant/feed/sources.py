"""Where candidates come from."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass

import numpy as np

from penchant.feed.bridge import Bridge
from penchant.feed.explain import label, why
from penchant.feed.live import Live, as_rows
from penchant.feed.types import Candidates, Request, Source
from penchant.kernel.arrays import Rows, readonly
from penchant.kernel.errors import StageFailed

_ANCHORS = 5


def by_place(source: str, items: Rows) -> Candidates:
    """Return candidates that have an order and no score of their own: 1, 1/2, 1/3 ..."""
    scores = (1.0 / np.arange(1, len(items) + 1)).astype(np.float32)
    return Candidates(source=source, items=readonly(items), scores=readonly(scores))


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSource:
    """What a model gives a user; empty for somebody it can say nothing about."""

    name: str
    bridge: Bridge
    title: str = "title"

    def fetch(self, request: Request, k: int) -> Candidates:
        """Return the model's best ``k``."""
        found = self.bridge.top(request, k)
        return Candidates(source=self.name, items=found.items, scores=found.scores)

    def why(self, request: Request, item: int) -> str:
        """Return what the model knows of the item, or what of the user's history it is like."""
        return why(self.bridge, request, item, title=self.title)


@dataclass(frozen=True, slots=True, kw_only=True)
class SimilarSource:
    """Items like the anchor of the request or, without one, like the user's latest different items.

    Several anchors take turns, the latest first: each one's most similar, then each one's second, ...
    """

    name: str
    bridge: Bridge
    anchors: int = _ANCHORS
    title: str = "title"

    def fetch(self, request: Request, k: int) -> Candidates:
        """Return up to ``k`` items, never an anchor."""
        anchors = latest_items(request, self.anchors) if request.item < 0 else [request.item]
        found = [self.bridge.similar(anchor, k + len(anchors)) for anchor in anchors]
        rows = in_turns([items.tolist() for items, _ in found], k, without=anchors)
        return by_place(self.name, as_rows(rows))

    def why(self, request: Request, item: int) -> str:
        """Return which item it is like."""
        if request.item >= 0:
            return f"like {label(request.catalogue, request.item, self.title)}"
        return why(self.bridge, request, item, title=self.title)


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowedSource:
    """Items by those whom the user follows (`Live.by_author`), newest first."""

    name: str
    live: Live

    def fetch(self, request: Request, k: int) -> Candidates:
        """Return up to ``k`` items: each author's newest, then each one's second, ..."""
        followed = sorted(self.live.follows(request.user_id, request.user))
        rows = in_turns([self.live.by_author(author) for author in followed], k)
        return by_place(self.name, as_rows(rows))

    def why(self, request: Request, item: int) -> str:
        """Return by whom it is."""
        author = request.catalogue.property(item, self.live.author)
        return "" if author is None else f"by {author}, whom the user follows"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewestSource:
    """Items that were put since the snapshot, the latest first: no model knows them yet."""

    name: str

    def fetch(self, request: Request, k: int) -> Candidates:
        """Return up to ``k`` new items."""
        end, base = len(request.catalogue), len(request.catalogue.base)
        return by_place(self.name, as_rows(range(end - 1, max(base, end - k) - 1, -1)))

    def why(self, request: Request, item: int) -> str:
        """Return that it is new."""
        return "new since the last training"


@dataclass(frozen=True, slots=True, kw_only=True)
class Everything:
    """The whole catalogue in one fixed order, then what is newer: gives to anyone and cannot run dry early.

    ``order`` (len(base),) holds every row of the snapshot once.
    """

    name: str
    order: Rows

    @classmethod
    def of(cls, name: str, n_items: int, first: Rows | None = None) -> "Everything":
        """Return the catalogue with ``first`` in front and the other rows in id order."""
        head = np.zeros(0, np.int32) if first is None else first
        rest = np.ones(n_items, np.bool_)
        rest[head] = False
        order = np.concatenate([head, np.flatnonzero(rest).astype(np.int32)])
        return cls(name=name, order=readonly(order))

    def fetch(self, request: Request, k: int) -> Candidates:
        """Return the first ``k`` of the catalogue."""
        rows = self.order[:k]
        if k > len(self.order):
            newer = np.arange(len(self.order), min(len(request.catalogue), k), dtype=np.int32)
            rows = np.concatenate([rows, newer])
        return by_place(self.name, rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """A source that leaves the process, given ``seconds`` to answer in a thread of its own.

    A source that hangs keeps its thread; once all of the pool's hang, the next answers fail at once by time
    instead of piling up more.
    """

    inner: Source
    seconds: float
    pool: ThreadPoolExecutor

    @property
    def name(self) -> str:
        """Return the inner source's name."""
        return self.inner.name

    def fetch(self, request: Request, k: int) -> Candidates:
        """Return what the inner source gives.

        Raises:
            StageFailed: it took longer.
        """
        answer = self.pool.submit(self.inner.fetch, request, k)
        try:
            return answer.result(timeout=self.seconds)
        except FutureTimeoutError:
            answer.cancel()
            raise StageFailed(f"no answer within {self.seconds:g} s.", where=f"source {self.name}") from None


def in_turns(lists: Sequence[Sequence[int]], k: int, *, without: Iterable[int] = ()) -> list[int]:
    """Return up to ``k`` different rows: the first of each list, then the second of each, ..."""
    rows: dict[int, None] = {}
    gone = set(without)
    for place in range(max(map(len, lists), default=0)):
        rows.update(
            (items[place], None) for items in lists if place < len(items) and items[place] not in gone
        )
        if len(rows) >= k:
            break
    return list(rows)[:k]


def latest_items(request: Request, n: int) -> list[int]:
    """Return the user's latest ``n`` different items, the latest first."""
    seen: dict[int, None] = {}
    for row in request.history.item[::-1].tolist():
        seen[row] = None
        if len(seen) == n:
            break
    return list(seen)
