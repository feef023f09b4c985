"""Who orders candidates of any source."""

from dataclasses import dataclass

from penchant.feed.bridge import Bridge
from penchant.feed.types import Candidates, Request
from penchant.kernel.arrays import F32


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRanker:
    """Orders by a model's score for the user."""

    name: str
    bridge: Bridge

    def score(self, request: Request, candidates: Candidates) -> F32:
        """Return the model's score of each candidate, NaN where it has none."""
        return self.bridge.score(request, candidates.items)
