"""A feed as data: what runs, in run order."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from penchant.feed.profile import Profile
from penchant.feed.types import Mixer, Ranker, Rule, Source
from penchant.kernel.errors import Defect


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Sources, then rules, then the ranker, then late rules, then the mixer.

    ``profile`` says which of the user's events the sources learn from. The ranker orders each source
    but those of ``unranked``. ``depth`` is how many times more candidates than places are fetched:
    above 1 where what follows reorders them; ``at_least`` is how many a source is asked for in any case.

    ``rules`` judge what the sources gave, ``late_rules`` what the ranker ordered. ``fallback`` fills up when
    the sources' eligible candidates are fewer than asked; it gives every item of the catalogue and cannot
    fail. ``budget_ms`` is the time after which no further source is asked. ``log_served`` is for who runs
    the plan: whether what it gives goes into the event log. ``draws`` says that the mixer draws from its
    generator: who runs the plan need not seed one otherwise.
    """

    name: str
    sources: tuple[Source, ...]
    rules: tuple[Rule, ...] = ()
    ranker: Ranker | None = None
    late_rules: tuple[Rule, ...] = ()
    profile: Profile | None = None
    unranked: frozenset[str] = frozenset()
    depth: int = 1
    at_least: Mapping[str, int] = field(default_factory=dict[str, int])
    mixer: Mixer
    fallback: Source
    model_version: str = ""
    budget_ms: float = 250.0
    k_max: int = 500
    log_served: bool = True
    draws: bool = True

    def __post_init__(self) -> None:
        names = [source.name for source in (*self.sources, self.fallback)]
        if len(set(names)) != len(names):
            raise Defect(f"feed '{self.name}' names a source twice: {', '.join(names)}.")
