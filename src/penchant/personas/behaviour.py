"""What users did, by category: scores in a window, and cluster x category by mean and by median."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from penchant.data.interactions import Interactions
from penchant.data.snapshot import Snapshot
from penchant.features.user_features import levels_of
from penchant.kernel.arrays import F32, Rows, readonly
from penchant.kernel.clock import DAY
from penchant.kernel.errors import InputError
from penchant.kernel.names import did_you_mean

OTHER = "(other)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """n users x c categories: the sum of event weights in a window of ``days`` before the cut-off."""

    categories: tuple[str, ...]
    scores: F32  # (n, c)
    days: float

    def shares(self) -> F32:
        """Return each user's square-rooted category shares, all 0 for users without events.

        Between two users the Euclidean distance of these is the Hellinger distance of their tastes (times
        √2): how much somebody does no longer counts, only what.
        """
        total = self.scores.sum(axis=1, keepdims=True)
        return np.sqrt(np.divide(self.scores, total, out=np.zeros_like(self.scores), where=total > 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class BehaviourMatrix:
    """k clusters x c categories, over the users who did anything in the window."""

    categories: tuple[str, ...]
    mean: F32  # (k, c)
    median: F32  # (k, c)
    days: float  # of the window


def behaviour_of(
    snapshot: Snapshot,
    *,
    column: str,
    days: float = 30.0,
    weights: Mapping[str, float] | None = None,
    by_value: Collection[str] = (),
    most: int = 30,
) -> Behaviour:
    """Return the scores of every user in the ``most`` frequent categories of an item column; others joined.

    ``weights`` gives the weight of an event type (1 where it is not named; 0 leaves it out). Events of the
    types ``by_value`` count their value times the weight, as seconds of dwell do; one without a value counts
    nothing. Scores are non-negative, so a weight may not be below 0, and a value below 0 counts as 0.

    Raises:
        InputError: items have no such column, or a weight is negative, or an event type is unknown.
    """
    if column not in snapshot.item_table.column_names[1:]:
        raise InputError(
            f"items have no column '{column}'.",
            fix=did_you_mean(column, snapshot.item_table.column_names[1:]),
        )
    events = snapshot.interactions
    weight = _event_weights(events.event_types, weights or {})
    worth = _worth(events, by_value)
    names, code = levels_of(snapshot.item_table[column].combine_chunks().cast(pa.string()), rare=0.0)
    recent = events.timestamp > snapshot.cutoff - days * DAY
    user, category = events.user[recent], code[events.item[recent]]
    amount = weight[events.event_type[recent]] * worth[recent]
    volume = np.bincount(category, weights=amount, minlength=len(names))
    kept = np.argsort(-volume, kind="stable")[:most]
    place = np.full(len(names), len(kept))
    place[kept] = np.arange(len(kept))
    flat = user.astype(np.int64) * (len(kept) + 1) + place[category]
    scores = np.bincount(flat, weights=amount, minlength=snapshot.n_users * (len(kept) + 1))
    scores = scores.reshape(snapshot.n_users, len(kept) + 1).astype(np.float32)
    labels = [names[i] for i in kept]
    if scores[:, -1].any():
        labels.append(OTHER)
    return Behaviour(categories=tuple(labels), scores=readonly(scores[:, : len(labels)]), days=days)


def behaviour_matrix(behaviour: Behaviour, labels: Rows, k: int) -> BehaviourMatrix:
    """Return mean and median score of each category in each cluster; clusters without active users get 0."""
    active = behaviour.scores.sum(axis=1) > 0
    c = len(behaviour.categories)
    mean, median = np.zeros((k, c), np.float32), np.zeros((k, c), np.float32)
    for cluster in range(k):
        rows = behaviour.scores[active & (labels == cluster)]
        if len(rows):
            mean[cluster], median[cluster] = rows.mean(axis=0), np.median(rows, axis=0)
    return BehaviourMatrix(
        categories=behaviour.categories, mean=readonly(mean), median=readonly(median), days=behaviour.days
    )


def _worth(events: Interactions, by_value: Collection[str]) -> F32:
    """Return 1 for each event, or its value where its type is one of ``by_value``."""
    for name in by_value:
        if name not in events.event_types:
            raise InputError(f"there are no '{name}' events.", fix=did_you_mean(name, events.event_types))
    valued = np.array([name in by_value for name in events.event_types], np.bool_)[events.event_type]
    return np.where(valued, np.maximum(np.nan_to_num(events.value), 0), 1).astype(np.float32)


def _event_weights(event_types: tuple[str, ...], weights: Mapping[str, float]) -> F32:
    for name, weight in weights.items():
        if name not in event_types:
            raise InputError(f"there are no '{name}' events to weigh.", fix=did_you_mean(name, event_types))
        if weight < 0:
            raise InputError(f"the weight of '{name}' events must not be negative, got {weight}.")
    return np.array([weights.get(name, 1.0) for name in event_types], np.float32)
