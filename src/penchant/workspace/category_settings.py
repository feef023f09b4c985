"""The table ``[feeds.NAME.categories]`` of ``penchant.toml``: a block whose places a bandit gives."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from penchant.bandits.category import CategoryPolicy
from penchant.bandits.delayed import RewardRules
from penchant.kernel.durations import seconds_of

_UNIFORM: dict[CategoryPolicy, float] = {"published": 0.2, "thompson": 0.05}


class CategorySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the places of the source ``categories`` are given."""

    column: str = "category"
    policy: CategoryPolicy = "thompson"
    uniform: Annotated[float, Meta(gt=0, le=1)] | None = None  # .2 as published, .05 for thompson
    prefer: dict[str, Literal["popularity", "recency"]] = {}
    window_days: Annotated[float, Meta(gt=0)] = 30.0
    half_life: str = "7d"
    half_lives: dict[str, str] = {}
    prior_pulls: Annotated[float, Meta(gt=0)] = 20.0
    personas: str | None = None
    rewards: dict[str, Annotated[float, Meta(ge=0)]] = {}
    wait: str = "30m"
    waits: dict[str, str] = msgspec.field(default_factory=lambda: {"share": "24h", "comment": "24h"})
    examined: Annotated[int, Meta(ge=1)] = 10
    candidates: Annotated[int, Meta(ge=1, le=5000)] = 400

    def __post_init__(self) -> None:
        seconds_of(self.half_life, field="half_life")
        seconds_of(self.wait, field="wait")
        for name, span in {**self.half_lives, **self.waits}.items():
            seconds_of(span, field=name)

    @property
    def uniform_share(self) -> float:
        """Return the share of places that go to any category alike."""
        return _UNIFORM[self.policy] if self.uniform is None else self.uniform

    def half_life_of(self, category: str) -> float:
        """Return a category's half-life in seconds."""
        return seconds_of(self.half_lives.get(category, self.half_life))

    def rules(self) -> RewardRules:
        """Return what counts as a reward."""
        return RewardRules(
            needs=dict(self.rewards),
            wait=seconds_of(self.wait),
            waits={kind: seconds_of(span) for kind, span in self.waits.items()},
            examined=self.examined,
        )
