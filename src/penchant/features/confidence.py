"""How sure an interaction makes us: from events to one confidence for each (user, item)."""

from collections.abc import Mapping

import numpy as np

from penchant.data.interactions import Interactions
from penchant.kernel.arrays import F32, Csr, readonly


def event_weights(
    events: Interactions, *, by_type: Mapping[str, float], half_life: float | None, now: float
) -> F32:
    """Return a weight for each event, (n,).

    w = by_type[event type] · 2^(-max(now - t, 0) / half_life)

    A type that ``by_type`` does not name weighs 1. ``half_life`` and ``now`` are in seconds; without a half
    life an event never fades.
    """
    table = np.array([by_type.get(name, 1.0) for name in events.event_types] or [1.0])
    weight = table[events.event_type]
    if half_life is not None:
        weight = weight * np.exp2(-np.maximum(now - events.timestamp, 0.0) / half_life)
    return readonly(weight.astype(np.float32))


def confidences(events: Interactions, weight: F32, *, alpha: float, n_users: int, n_items: int) -> Csr:
    """Return the (n_users, n_items) matrix of confidences, only where the weights of a pair sum above 0.

    c_ui = (Σ weights of the pair)^alpha

    With ``alpha`` 0 one interaction says as much as many, with 1 ten say ten times as much.
    """
    counts = weight > 0
    if not counts.all():
        events, weight = events.select(counts), weight[counts]
    summed = events.pairs(weight, n_users=n_users, n_items=n_items)
    with np.errstate(under="ignore"):
        data = np.power(summed.data, np.float32(alpha))
    return Csr(indptr=summed.indptr, indices=summed.indices, data=readonly(data), n_columns=summed.n_columns)
