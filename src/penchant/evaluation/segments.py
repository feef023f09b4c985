"""How good user segments are: of the users that an item is said to suit, how many took it afterwards.

The protocol is `penchant.data.splits.time_split`: train on what came before a cut, then, for every item that
somebody took after it, look at the top 1% of users.

    hit rate   share of items with at least one such user among the top
    hits       mean number of such users among the top
    recall     mean share of such users that are among the top

Two segments that anybody could make stand beside it: the most active users, and the users who took the item
before, most often first, filled up with the most active.
"""

import math
from collections.abc import Iterable

import msgspec
import numpy as np

from penchant.data.snapshot import Snapshot
from penchant.data.splits import Split, time_split
from penchant.kernel.arrays import Csr, Rows
from penchant.kernel.errors import InputError
from penchant.kernel.progress import Progress, Silent
from penchant.models.affinity import Affinity
from penchant.models.ials import Ials, IalsModel
from penchant.models.measure import train_measured

SHARE = 0.01


class SegmentScore(msgspec.Struct, frozen=True, kw_only=True):
    """The three means over all questions."""

    hit_rate: float
    hits: float
    recall: float


class SegmentQuality(msgspec.Struct, frozen=True, kw_only=True):
    """What a segment of ``size`` users holds of those who took the item, for ``questions`` items."""

    protocol: str
    questions: int
    users: int
    size: int
    affinity: SegmentScore
    most_active: SegmentScore
    took_before: SegmentScore | None  # None where only users count who had not taken the item

    def amazon(self) -> dict[str, float]:
        """Return the metrics of a user segmentation recipe under Amazon Personalize's names."""
        return {
            "hits_at_1_percent": self.affinity.hits,
            "hit_rate_at_1_percent": self.affinity.hit_rate,
            "recall_at_1_percent": self.affinity.recall,
            "coverage": self.affinity.hit_rate,
        }


def segment_quality(
    snapshot: Snapshot,
    recipe: Ials,
    *,
    share: float = SHARE,
    seed: int = 42,
    new_only: bool = False,
    progress: Progress | None = None,
) -> SegmentQuality:
    """Train on the older part and measure the segments of every item that was taken in the newer one.

    With ``new_only`` only users count who had not taken the item before, and who had is left out.

    Raises:
        InputError: the data leaves nothing to find.
    """
    split = time_split(snapshot, new_only=new_only)
    model = train_measured(recipe, split.train, seed=seed, progress=progress or Silent())
    if not isinstance(model, IalsModel):
        raise InputError("segments need the recipe ials.")
    takers = _takers(split)
    items: list[int] = np.flatnonzero(np.diff(takers.indptr)).tolist()
    size = max(1, math.ceil(share * split.train.n_users))
    past = split.train.pairs().transpose()
    affinity = Affinity.of(model, split.train.interactions)
    activity = np.bincount(split.train.interactions.user, minlength=split.train.n_users)
    active = np.argsort(-activity, kind="stable").astype(np.int32)

    def banned(item: int) -> Rows | None:
        return past.row(item) if new_only else None

    def score(segments: Iterable[Rows]) -> SegmentScore:
        return _score(list(segments), takers, items)

    return SegmentQuality(
        protocol=split.description,
        questions=len(items),
        users=split.train.n_users,
        size=size,
        affinity=score(
            affinity.segment(np.array([i], np.int32), size, without=banned(i)).items for i in items
        ),
        most_active=score(_cut(active, banned(i), size) for i in items),
        took_before=None if new_only else score(_before(past, i, active, size) for i in items),
    )


def _takers(split: Split) -> Csr:
    """Return for each item the users who took it after the cut, as rows of the training part's users."""
    asked = split.truth.transpose()
    return Csr(
        indptr=asked.indptr,
        indices=split.users[asked.indices],
        data=asked.data,
        n_columns=split.train.n_users,
    )


def _cut(users: Rows, banned: Rows | None, size: int) -> Rows:
    return users[:size] if banned is None else users[~np.isin(users, banned)][:size]


def _before(past: Csr, item: int, active: Rows, size: int) -> Rows:
    often = past.row(item)[np.argsort(-past.values(item), kind="stable")][:size]
    if len(often) == size:
        return often
    return np.concatenate([often, active[~np.isin(active, often)][: size - len(often)]])


def _score(segments: list[Rows], takers: Csr, items: list[int]) -> SegmentScore:
    found = np.array(
        [np.isin(takers.row(item), users).sum() for item, users in zip(items, segments, strict=True)]
    )
    wanted = np.diff(takers.indptr)[items]
    return SegmentScore(
        hit_rate=float((found > 0).mean()), hits=float(found.mean()), recall=float((found / wanted).mean())
    )
