"""Who orders candidates of any source."""

from dataclasses import dataclass

from penchant.feed.bridge import Bridge
from penchant.feed.profile import Profile
from penchant.feed.types import Candidates, Request
from penchant.kernel.arrays import F32


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRanker:
    """Orders by a model's score for the user, who is known by the events that ``profile`` leaves."""

    name: str
    bridge: Bridge
    profile: Profile | None = None

    def score(self, request: Request, candidates: Candidates) -> F32:
        """Return the model's score of each candidate, NaN where it has none."""
        asked = request if self.profile is None else self.profile.of(request)
        return self.bridge.score(asked, candidates.items)
