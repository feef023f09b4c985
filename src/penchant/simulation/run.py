"""Feeds against each other on the same simulated users, seed by seed.

Whether a user would like an item, how far down a feed they read on each visit, and when they begin are drawn
once for a seed: all feeds meet the same users, so that their differences are not differences of luck.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.random import Generator

from penchant.data.snapshot import Snapshot
from penchant.features.user_features import UserColumn, encode_users, guess_columns
from penchant.kernel.arrays import F32, F64, Bools, Rows, readonly
from penchant.kernel.progress import Progress, Silent
from penchant.kernel.seeds import derive
from penchant.models.lookalike import Lookalike
from penchant.models.user_clusters import k_means, svd_basis
from penchant.simulation.dwell import stay_minutes
from penchant.simulation.feeds import (
    CategoryThompson,
    Feed,
    Oracle,
    Pacing,
    Popular,
    Published,
    SharedOracle,
)
from penchant.simulation.personal import Personal, Steps
from penchant.simulation.response import MODELS, World, fit_worlds
from penchant.simulation.result import OURS, Played, Run, Simulation, simulation_of
from penchant.simulation.scene import Known, Scene, make_scene, sample_users
from penchant.simulation.settings import SimulationSettings

_PERSONAS = 6
_LADDER = {
    "prior": Steps(prior=True),
    "items": Steps(prior=True, items=True),
    "categories": Steps(prior=True, items=True, categories=True),
    OURS: Steps(prior=True, items=True, categories=True, own=True),
}


def simulate(
    snapshot: Snapshot,
    settings: SimulationSettings,
    *,
    category: str | None,
    columns: tuple[UserColumn, ...] = (),
    seed: int,
    progress: Progress,
) -> Simulation:
    """Compare all feeds under both response models and ``settings.seeds`` seeds.

    ``category`` names the item column of categories, None learns topics; ``columns`` says how the users'
    columns are used, guessed from their types if empty.

    Raises:
        InputError: too little data; the message says of what.
    """
    sample = sample_users(snapshot, settings, rng=derive(seed, "simulate", "sample"))
    progress.start("simulate", settings.seeds * len(MODELS))
    runs: list[Run] = []
    scenes: list[Scene] = []
    fits: list[World] = []
    for number in range(settings.seeds):
        rng = derive(seed, "simulate", number)
        scene = make_scene(sample, settings, category=category, rng=rng)
        worlds = fit_worlds(scene, settings, rng=rng)
        minutes = stay_minutes(scene, rng=rng)
        feeds = make_feeds(scene.known, settings, columns, rng=rng)
        luck = int(rng.integers(1 << 31))
        for world in worlds:
            for name, make in {**feeds, **_ceilings(world)}.items():
                played = play(make(), world.chance, minutes, scene.known, settings, luck=luck)
                runs.append(Run(world=world.fit.model, feed=name, seed=number, played=played))
            progress.advance(note=f"seed {number + 1}, {world.fit.model}")
        scenes.append(scene)
        fits += worlds
    return simulation_of(settings, sample, scenes, [world.fit for world in fits], runs)


def make_feeds(
    known: Known, settings: SimulationSettings, columns: tuple[UserColumn, ...], *, rng: Generator
) -> Mapping[str, Callable[[], Feed]]:
    """Return how to begin each feed anew. What they learn from is ``known``, nothing else."""
    recipe = Lookalike(
        place="ridge",
        factors=settings.factors,
        columns=columns,
        half_lives=("", f"{4 * known.days:g}d", f"{known.days:g}d"),
        penalties=(100.0,),
    )
    model = recipe.train(known.past, rng=rng, progress=Silent())
    everyone = persona_of(known, columns, rng=rng)
    weights = category_weights(known, everyone)
    persona = readonly(everyone[known.users])
    baselines: dict[str, Callable[[], Feed]] = {
        "pacing_random": lambda: Pacing(known, "random"),
        "pacing_half": lambda: Pacing(known, "half"),
        "pacing_popular": lambda: Pacing(known, "popular"),
        "global": lambda: Popular(known.popularity),
        "recent": lambda: Popular(known.recent),
        "published": lambda: Published(known, persona, weights),
        "thompson": lambda: CategoryThompson(known, persona, weights),
    }
    ladder = {
        name: lambda steps=steps: Personal(known, model, persona, steps) for name, steps in _LADDER.items()
    }
    return {**baselines, **ladder}


def _ceilings(world: World) -> Mapping[str, Callable[[], Feed]]:
    return {"shared_oracle": lambda: SharedOracle(world.chance), "oracle": lambda: Oracle(world.chance)}


def persona_of(known: Known, columns: tuple[UserColumn, ...], *, rng: Generator) -> Rows:
    """Return the persona of every user of the past; those without attributes share the last one."""
    table = known.past.user_table
    chosen = columns or guess_columns(table)
    persona = np.zeros(table.num_rows, np.int32)
    if not chosen:
        return persona
    matrix = encode_users(table, chosen)
    points = svd_basis(matrix.values, 6).project(matrix.values)[matrix.known]
    found = k_means(points, min(_PERSONAS, len(np.unique(points, axis=0))), rng=rng)
    persona[:] = found.k
    persona[matrix.known] = found.labels
    return persona


def category_weights(known: Known, persona: Rows) -> F64:
    """Return each persona's shares of the categories in the past, (k, C), smoothed by one of each."""
    place = np.full(known.past.n_items, -1, np.int64)
    place[known.items] = np.arange(len(known.items))
    events = known.past.interactions
    kept = place[events.item] >= 0
    weights = np.ones((int(persona.max()) + 1, len(known.categories)))
    category = known.category[place[events.item[kept]]]
    np.add.at(weights, (persona[events.user[kept]], category), 1.0)
    return weights / weights.sum(axis=1, keepdims=True)


def play(
    feed: Feed,
    chance: F32,
    minutes: F32 | None,
    known: Known,
    settings: SimulationSettings,
    *,
    luck: int,
) -> Played:
    """Show one feed to all users; ``luck`` is the seed of what is common to all feeds."""
    rng = derive(luck, "users")
    n, visits = len(known.users), settings.visits
    would_like = rng.random(chance.shape) < chance
    depth = rng.geometric(1 - settings.patience, (n, visits))
    begins = rng.integers(0, settings.waves, n)
    offered = ~known.taken
    likes, looks, stayed = np.zeros(n), np.zeros(n), np.zeros(n)
    own = derive(luck, "feed")
    for tick in range(settings.waves + visits - 1):
        who = np.flatnonzero((begins <= tick) & (tick < begins + visits)).astype(np.int32)
        if not len(who):
            continue
        items = feed.show(who, offered[who], settings.slots, own)
        seen = np.arange(settings.slots) < depth[who, tick - begins[who]][:, None]
        liked = seen & would_like[who[:, None], items]
        feed.learn(who, items, seen, liked)
        likes[who] += liked.sum(axis=1)
        looks[who] += seen.sum(axis=1)
        if minutes is not None:
            stayed[who] += (minutes[who[:, None], items] * liked).sum(axis=1)
        _take_off(offered, who, items, seen)
    return Played(likes=likes, looks=looks, minutes=stayed if minutes is not None else None)


def _take_off(offered: Bools, who: Rows, items: Rows, seen: Bools) -> None:
    """What was looked at is not shown again."""
    row, place = np.nonzero(seen)
    offered[who[row], items[row, place]] = False
