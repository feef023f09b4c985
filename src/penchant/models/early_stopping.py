"""How many epochs: as many as ranked the newest interactions best, learnt from the older ones alone.

The search trains from a fresh start also where training itself starts warm: a model that has seen the newest
part already could not be told when to stop by it.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np

from penchant.data.snapshot import Snapshot
from penchant.data.splits import time_split
from penchant.kernel.arrays import F32, Csr, Rows, readonly
from penchant.kernel.errors import InputError
from penchant.kernel.progress import Progress
from penchant.models.gains import mean_gain
from penchant.models.index import ExactIndex

DEPTH = 10
_SHARE = 0.1  # of the interactions, the newest
_LEAST = 50  # fewer users say nothing about when to stop
_MOST = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """What to train on, and some of its users with the items they took for the first time later."""

    train: Snapshot
    users: Rows  # (n,)
    truth: Csr  # (n, n_items)
    exclude: Csr  # (n, n_items), what they had before

    @classmethod
    def of(cls, snapshot: Snapshot) -> Self | None:
        """Cut off the newest tenth; None when too few users are left to ask about."""
        try:
            split = time_split(snapshot, share=_SHARE)
        except InputError:
            return None
        if len(split) < _LEAST:
            return None
        some = np.linspace(0, len(split) - 1, min(len(split), _MOST)).astype(np.int32)
        return cls(
            train=split.train,
            users=readonly(split.subjects[some]),
            truth=split.truth.take(some),
            exclude=split.exclude.take(some),
        )

    def ndcg(self, users: F32, items: F32) -> float:
        """Return NDCG@10 by the products of vectors of all users (n_users, d) and items (n_items, d)."""
        index = ExactIndex.build(items)
        found = index.top_many(readonly(users[self.users]), DEPTH, exclude=self.exclude)
        return mean_gain(found.items, self.truth)


Step = tuple[float, F32, F32]
"""The loss after an epoch, and the vectors of all users (n_users, d) and items (n_items, d)."""


def search(
    train: Callable[[Snapshot], Iterator[Step]],
    snapshot: Snapshot,
    *,
    what: str,
    epochs: int,
    patience: int,
    progress: Progress,
) -> tuple[int, dict[str, float]]:
    """Return after how many of at most ``epochs`` the newest part was ranked best, and the card's metrics.

    ``train`` starts afresh on the snapshot it is given, one epoch a step. With ``patience`` 0, or too few
    users to ask about, nothing is searched: ``epochs`` it is.
    """
    part = Validation.of(snapshot) if patience else None
    if part is None:
        return epochs, {}
    progress.start(f"{what}: how many epochs", epochs)

    def qualities(part: Validation) -> Iterator[float]:
        for loss, users, items in train(part.train):
            quality = part.ndcg(users, items)
            progress.advance(note=f"loss {loss:,.4g}, NDCG@{DEPTH} {quality:.4f}")
            yield quality

    found, reached = best_epochs(qualities(part), patience)
    return found, {f"validation_ndcg_at_{DEPTH}": reached}


def best_epochs(qualities: Iterable[float], patience: int) -> tuple[int, float]:
    """Return after how many epochs the quality was best, and that quality.

    ``qualities`` trains one epoch a step. It is asked no further once ``patience`` epochs brought nothing
    better.
    """
    best, at = -np.inf, 1
    for epoch, quality in enumerate(qualities, start=1):
        if quality > best:
            best, at = quality, epoch
        elif epoch - at >= patience:
            break
    return at, float(best)
