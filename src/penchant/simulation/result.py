"""What a simulation found: every feed's level, its lift over every baseline, and the lift step by step."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from scipy.stats import t as student

from penchant.data.snapshot import Snapshot
from penchant.kernel.arrays import F64
from penchant.kernel.clock import DAY
from penchant.simulation.response import MODELS, Fit
from penchant.simulation.scene import Scene
from penchant.simulation.settings import SimulationSettings

OURS = "ours"
FEEDS = {
    "pacing_random": "Pacing: random",
    "pacing_half": "Pacing: better half",
    "pacing_popular": "Pacing: popular",
    "global": "Global popularity",
    "recent": "Recent popularity",
    "published": "Published, 80/20",
    "thompson": "Category Thompson",
    "prior": "1 people alike",
    "items": "2 items relearnt",
    "categories": "3 categories",
    OURS: "4 own taste: ours",
    "shared_oracle": "Ceiling: one feed",
    "oracle": "Ceiling: all known",
}
WHAT = {
    "pacing_random": "Every category at most an even part of the places; items at random.",
    "pacing_half": "The same caps; at random from the better half of a category by recent popularity.",
    "pacing_popular": "The same caps; items by recent popularity.",
    "global": "What most users took, ever.",
    "recent": "What most users took in the last days.",
    "published": "80% of the places by the persona's shares of categories, 20% by any; items by Beta draws.",
    "thompson": "Thompson sampling of categories, everybody -> persona -> user; items by Beta draws.",
    "prior": "Global popularity, times what people with the same attributes take more of.",
    "items": "Step 1, and items by what the run taught of them; one in five by a Beta draw, to explore.",
    "categories": "Step 2, and likes over expected likes by category, of the persona and of the user.",
    OURS: "Step 3, and the hand-over to what the user's own likes say.",
    "shared_oracle": "Knows each item's mean chance; the same feed for everybody.",
    "oracle": "Knows every chance of every user.",
}
BASELINES = ("pacing_random", "pacing_half", "pacing_popular", "global", "recent")
LADDER = ("global", "prior", "items", "categories", OURS)
GROUPS = ("new", "all")
_WORDS = {"reward": "likes", "minutes": "minutes"}
Metric = Literal["reward", "minutes"]
METRICS: tuple[Metric, ...] = ("reward", "minutes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What each simulated user (n,) liked, looked at, and stayed with; ``minutes`` None without pauses."""

    likes: F64
    looks: F64
    minutes: F64 | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One feed in one world under one seed."""

    world: str
    feed: str
    seed: int
    played: Played


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A mean over seeds with its 95% interval (Student's t over seeds)."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:+.1%} [{self.low:+.1%}, {self.high:+.1%}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """A feed's level of a metric: likes a looked-at item, or minutes a visit."""

    world: str
    feed: str
    group: str
    metric: Metric
    level: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Lift:
    """One feed over another, relative."""

    world: str
    feed: str
    over: str
    group: str
    metric: Metric
    lift: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """Everything the page shows. ``steps`` are the rungs of the ladder, each over the one below."""

    settings: SimulationSettings
    users: int  # sampled, of whom the response models know the taste
    new: int
    known: int
    items: int
    categories: tuple[str, ...]
    days: float
    fits: tuple[Fit, ...]  # one a seed and model
    levels: tuple[Level, ...]
    lifts: tuple[Lift, ...]  # of ours over each baseline and each ceiling
    steps: tuple[Lift, ...]
    timed: bool

    def level(self, world: str, feed: str, group: str, metric: Metric) -> Span:
        """Return one level."""
        return next(
            found.level
            for found in self.levels
            if (found.world, found.feed, found.group, found.metric) == (world, feed, group, metric)
        )

    def lift(self, world: str, over: str, group: str, metric: Metric) -> Span:
        """Return the lift of ours over a feed."""
        return next(
            found.lift
            for found in self.lifts
            if (found.world, found.over, found.group, found.metric) == (world, over, group, metric)
        )

    def metrics(self) -> tuple[Metric, ...]:
        """Return what was measured."""
        return METRICS if self.timed else METRICS[:1]

    def sentences(self) -> list[str]:
        """Return what was found for new users, in plain words."""
        said: list[str] = []
        for world in MODELS:
            for over in ("pacing_popular", "global"):
                told = [
                    f"{_WORDS[metric]} {_certain(self.lift(world, over, 'new', metric))}"
                    for metric in self.metrics()
                ]
                said.append(f"If people answer by {world}, ours over '{FEEDS[over]}': {', '.join(told)}.")
            room = self.lift(world, "oracle", "new", "reward")
            said.append(f"If people answer by {world}, ours against every chance known: likes {room}.")
        return said

    def fit_of(self, world: str) -> tuple[Fit, ...]:
        """Return the fits of one model, by seed."""
        return tuple(fit for fit in self.fits if fit.model == world)


def _certain(lift: Span) -> str:
    return f"{lift}" if lift.low > 0 or lift.high < 0 else f"{lift}, so nothing certain"


def simulation_of(
    settings: SimulationSettings,
    sample: Snapshot,
    scenes: Sequence[Scene],
    fits: Sequence[Fit],
    runs: Sequence[Run],
) -> Simulation:
    """Gather runs: levels and lifts seed by seed, then their means."""
    known = scenes[0].known
    timed = all(run.played.minutes is not None for run in runs)
    metrics: tuple[Metric, ...] = METRICS if timed else METRICS[:1]
    n_new = {seed: scene.known.n_new for seed, scene in enumerate(scenes)}
    values: dict[tuple[str, str, str, Metric], F64] = {
        (world, feed, group, metric): np.array(
            [
                _value(run.played, n_new[run.seed] if group == "new" else None, metric, settings.visits)
                for run in runs
                if (run.world, run.feed) == (world, feed)
            ]
        )
        for world in MODELS
        for feed in FEEDS
        for group in GROUPS
        for metric in metrics
    }

    def lift(world: str, feed: str, over: str, group: str, metric: Metric) -> Lift:
        ratio = values[world, feed, group, metric] / values[world, over, group, metric] - 1
        return Lift(world=world, feed=feed, over=over, group=group, metric=metric, lift=_span(ratio))

    every: list[tuple[str, str, Metric]] = [
        (world, group, metric) for world in MODELS for group in GROUPS for metric in metrics
    ]
    others = tuple(name for name in FEEDS if name not in LADDER[1:])
    return Simulation(
        settings=settings,
        users=sample.n_users,
        new=known.n_new,
        known=len(known.users) - known.n_new,
        items=len(known.items),
        categories=known.categories,
        days=(scenes[0].end - scenes[0].start) / DAY,
        fits=tuple(fits),
        levels=tuple(
            Level(world=w, feed=f, group=g, metric=m, level=_span(found))
            for (w, f, g, m), found in values.items()
        ),
        lifts=tuple(lift(w, OURS, other, g, m) for w, g, m in every for other in others),
        steps=tuple(lift(w, feed, below, g, m) for w, g, m in every for below, feed in pairwise(LADDER)),
        timed=timed,
    )


def _value(played: Played, first: int | None, metric: Metric, visits: int) -> float:
    """Return likes a look, or minutes a visit, of the first users or of all."""
    if metric == "reward":
        return float(played.likes[:first].sum() / played.looks[:first].sum())
    assert played.minutes is not None
    return float(played.minutes[:first].mean()) / visits


def _span(values: F64) -> Span:
    n, mean = len(values), float(values.mean())
    half = float(student.ppf(0.975, n - 1)) * float(values.std(ddof=1)) / float(np.sqrt(n))
    return Span(value=mean, low=mean - half, high=mean + half)
