"""Which of a user's events a feed learns from, and how much each type counts."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from penchant.feed.types import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """An event of a type counts as ``weights[type]`` events, as one when not named, as none at 0.

    Rules still see all that the user did.
    """

    weights: Mapping[str, int]

    def of(self, request: Request) -> Request:
        """Return the request as sources are to see it."""
        history = request.history
        table = np.array([self.weights.get(name, 1) for name in history.event_types] or [1])
        times = table[history.event_type]
        if (times == 1).all():
            return request
        # No longer what a model was trained on: it has to look at the history itself.
        return replace(request, history=history.select(np.repeat(np.arange(len(times)), times)), fresh=True)
