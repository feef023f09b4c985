"""Training: one snapshot, every recipe on it, one pointer at the end; killed, it goes on later."""

import fcntl
import os
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from penchant.data.snapshot import Snapshot
from penchant.kernel.clock import DAY
from penchant.kernel.errors import Conflict, InputError, NotFound, NotReady
from penchant.kernel.names import did_you_mean
from penchant.kernel.progress import Progress
from penchant.models.base import Card, Recipe
from penchant.models.measure import train_measured
from penchant.workspace.personas import keep_persona_ids
from penchant.workspace.registry import Pointer, Registry, version_of
from penchant.workspace.settings import DataSettings, Settings

LOCK = "train.lock"


@contextmanager
def only_trainer(folder: Path) -> Generator[None]:
    """Hold the folder's training lock; the kernel gives it back when the process dies.

    Raises:
        Conflict: another process holds it.
    """
    path = folder / LOCK
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise Conflict(
                f"another training runs here (process {file.read().strip() or 'unknown'}).",
                where=str(folder),
                fix="Wait for it to end.",
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def train(
    registry: Registry,
    settings: Settings,
    snapshot: Callable[[], Snapshot],
    names: Sequence[str],
    *,
    now: float,
    progress: Progress,
) -> list[Card]:
    """Train the named recipes (all when none is named) and serve them; return their cards.

    A model is named by a digest of all that it is made from, so one that is there already is not made again:
    a killed run goes on where it stopped. Models of recipes that were not named stay as they are served.

    Raises:
        NotFound: there is no recipe of that name.
        InputError: no recipe is configured, or there is no data.
        Conflict: another process trains here.
    """
    recipes = _chosen(settings, names)
    with only_trainer(registry.folder):
        registry.sweep()
        progress.start("snapshot", 1)
        made = prepared(registry, settings, snapshot(), list(recipes), now=now, progress=progress)
        kept = _still_served(registry, settings)
        for name, version in made.models.items():
            keep_persona_ids(registry, name, version, kept.get(name))
        registry.publish(msgspec.structs.replace(made, models={**kept, **made.models}))
        registry.prune(keep=settings.workspace.keep_versions)
    return [registry.open(name, version).card for name, version in made.models.items()]


def prepared(
    registry: Registry,
    settings: Settings,
    snapshot: Snapshot,
    names: Sequence[str],
    *,
    now: float,
    progress: Progress,
) -> Pointer:
    """Make what is not there yet of the named models, on this snapshot; nobody serves them by that."""
    data = registry.keep_snapshot(snapshot)
    progress.advance(note=f"{len(data.interactions):,} interactions")
    models = {
        name: _trained(registry, name, settings.recipes[name], data, settings, progress) for name in names
    }
    return Pointer(snapshot=data.digest, models=models, published=now)


def _chosen(settings: Settings, names: Sequence[str]) -> dict[str, Recipe]:
    if not settings.recipes:
        raise InputError(
            "no recipe is configured.", fix="Add a table such as [recipes.for_you] to penchant.toml."
        )
    for name in names:
        if name not in settings.recipes:
            raise NotFound(f"there is no recipe '{name}'.", fix=did_you_mean(name, settings.recipes))
    return {name: settings.recipes[name] for name in (names or settings.recipes)}


def _trained(
    registry: Registry, name: str, recipe: Recipe, snapshot: Snapshot, settings: Settings, progress: Progress
) -> str:
    """Return the version of the model, trained now unless it is there."""
    seed = settings.workspace.seed
    version = version_of(
        recipe=recipe.name,
        config=msgspec.to_builtins(recipe),
        snapshot=snapshot.digest,
        seed=seed,
        data=settings.data,
    )
    if not registry.has(name, version):
        model = train_measured(recipe, windowed(snapshot, settings.data), seed=seed, progress=progress)
        registry.save(name, version, model)
    return version


def windowed(snapshot: Snapshot, data: DataSettings) -> Snapshot:
    """Return what recipes learn from: all, or the interactions of the last ``window_days``."""
    if data.window_days is None:
        return snapshot
    recent = snapshot.interactions.timestamp > snapshot.cutoff - data.window_days * DAY
    return snapshot.with_interactions(snapshot.interactions.select(recent))


def _still_served(registry: Registry, settings: Settings) -> dict[str, str]:
    """Return the models that are served now and still configured."""
    try:
        served = registry.current().models
    except (NotReady, InputError):
        return {}
    return {
        name: version
        for name, version in served.items()
        if name in settings.recipes and registry.has(name, version)
    }
