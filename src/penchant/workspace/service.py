"""The facade: one workspace folder and all that can be done with it."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import final

from penchant.data.importing import ImportSummary, import_files
from penchant.data.insights import Insight, insights
from penchant.data.log_snapshot import snapshot_of
from penchant.data.snapshot import Snapshot
from penchant.data.sqlite_log import SqliteLog
from penchant.evaluation.leaderboard import Leaderboard, evaluate
from penchant.evaluation.protocols import check_protocol, split_for
from penchant.evaluation.spaces import SPACES
from penchant.evaluation.tuning import Trial, reached_by
from penchant.evaluation.tuning_optuna import search_optuna
from penchant.features.graph_columns import with_graph
from penchant.features.text import with_text
from penchant.kernel.clock import Clock, SystemClock
from penchant.kernel.errors import Conflict, InputError, NotFound, NotReady
from penchant.kernel.folders import write_atomically
from penchant.kernel.names import did_you_mean
from penchant.kernel.progress import Progress, Silent
from penchant.kernel.seeds import derive
from penchant.models.base import Card
from penchant.workspace.forgetting import Receipt, finish, forget
from penchant.workspace.registry import Registry
from penchant.workspace.serving import Serving
from penchant.workspace.settings import FILE, Settings
from penchant.workspace.template import TEMPLATE
from penchant.workspace.training import train

LOG_FOLDER, QUARANTINE_FOLDER, TEXT_FOLDER = "log", "quarantine", "text"
_TAIL = 100_000  # events that stay in the log's tail when a training seals it: read faster than segments


@final
class Workspace:
    """A folder with ``penchant.toml``, the event log, snapshots and models."""

    def __init__(self, folder: Path, settings: Settings, log: SqliteLog, clock: Clock) -> None:
        self.folder = folder
        self.settings = settings
        self.log = log
        self.registry = Registry(folder)
        self.clock = clock

    @classmethod
    def open(cls, folder: Path, *, clock: Clock | None = None) -> "Workspace":
        """Open a workspace.

        Raises:
            NotFound: there is no ``penchant.toml`` in ``folder``.
            InputError: the settings are wrong.
        """
        settings = Settings.read(folder)
        log = SqliteLog.open(folder / LOG_FOLDER)
        finish(folder, Registry(folder), log, folder / QUARANTINE_FOLDER)
        return cls(folder, settings, log, SystemClock() if clock is None else clock)

    @classmethod
    def init(cls, folder: Path) -> "Workspace":
        """Make a workspace: a folder with a commented ``penchant.toml``.

        Raises:
            Conflict: there is one already, or the name is a file's.
        """
        if folder.exists() and not folder.is_dir():
            raise Conflict("this is a file, not a folder.", where=str(folder), fix="Choose another name.")
        path = folder / FILE
        if path.exists():
            raise Conflict(
                f"there is a {FILE} already.", where=str(folder), fix="Edit it, or choose another folder."
            )
        write_atomically(path, TEMPLATE.encode())
        return cls.open(folder)

    def import_files(
        self,
        *,
        users: Sequence[Path] = (),
        items: Sequence[Path] = (),
        interactions: Sequence[Path] = (),
        follows: Sequence[Path] = (),
        actions: Sequence[Path] = (),
        action_interactions: Sequence[Path] = (),
        strict: bool = False,
        progress: Progress | None = None,
    ) -> ImportSummary:
        """Read files into the log; bad rows go to the folder ``quarantine``, each with its reason."""
        return import_files(
            self.log,
            users=users,
            items=items,
            interactions=interactions,
            follows=follows,
            actions=actions,
            action_interactions=action_interactions,
            quarantine=self.folder / QUARANTINE_FOLDER,
            strict=strict,
            now=self.clock.now(),
            progress=Silent() if progress is None else progress,
        )

    def snapshot(self, *, cutoff: float | None = None, progress: Progress | None = None) -> Snapshot:
        """Return the dataset as the log has it now, or as of a cut-off (seconds UTC)."""
        return snapshot_of(self.log, cutoff=cutoff, progress=Silent() if progress is None else progress)

    def check(self, snapshot: Snapshot | None = None, *, progress: Progress | None = None) -> list[Insight]:
        """Return what is noteworthy or wrong in the data as the log has it now, and what to do about it."""
        return insights(snapshot or self.snapshot(progress=progress), self.log)

    def train(self, names: Sequence[str] = (), *, progress: Progress | None = None) -> list[Card]:
        """Train the named recipes, all by default, on one snapshot, and serve them from then on.

        A run that was killed goes on where it stopped: recipes that finished are not trained again.

        Raises:
            NotFound: there is no recipe of that name.
            Conflict: another process trains in this workspace.
            InputError: there is no data.
        """
        silent = Silent() if progress is None else progress
        self.log.seal(keep=_TAIL)
        return train(
            self.registry,
            self.settings,
            lambda: self.learnt_from(progress=silent),
            names,
            now=self.clock.now(),
            progress=silent,
        )

    def evaluate(self, protocol: str | None = None, *, progress: Progress | None = None) -> Leaderboard:
        """Compare all configured recipes by a protocol: ``time``, ``last`` or ``user``."""
        chosen = self.settings.evaluation
        by = protocol or chosen.protocol
        check_protocol(by)  # before the log is read
        return evaluate(
            self.settings.recipes,
            self.snapshot(progress=progress),
            by,
            k=chosen.k,
            seed=self.settings.workspace.seed,
            progress=Silent() if progress is None else progress,
            prepare=self.told,
        )

    def tune(
        self,
        name: str,
        *,
        trials: int = 20,
        protocol: str | None = None,
        progress: Progress | None = None,
    ) -> list[Trial]:
        """Search the fields of one configured recipe on the validation part; return the trials best first.

        The first trial is the recipe as it is configured. The test part is not looked at.

        Raises:
            NotFound: there is no recipe or protocol of that name.
            InputError: the recipe has nothing to tune, the data leaves nothing to find, or optuna is missing.
        """
        if name not in self.settings.recipes:
            raise NotFound(f"there is no recipe '{name}'.", fix=did_you_mean(name, self.settings.recipes))
        recipe = self.settings.recipes[name]
        if recipe.name not in SPACES:
            raise InputError(
                f"nothing of a '{recipe.name}' can be tuned.", fix=f"Recipes that can: {', '.join(SPACES)}."
            )
        space, seed, chosen = SPACES[recipe.name], self.settings.workspace.seed, self.settings.evaluation
        split = split_for(
            self.snapshot(progress=progress), protocol or chosen.protocol, seed=seed, part="validation"
        )
        split = replace(split, train=self.told(split.train))
        return search_optuna(
            reached_by(recipe, split, metric=f"ndcg_at_{chosen.k}", seed=seed),
            space,
            trials=trials,
            seed=seed,
            first=[{field: getattr(recipe, field) for field in space}],
            progress=progress,
        )

    def learnt_from(self, *, progress: Progress | None = None) -> Snapshot:
        """Return what a training would learn from now: the dataset, told what the settings add to it."""
        return self.told(self.snapshot(progress=progress), self._served_snapshot())

    def told(self, snapshot: Snapshot, previous: Snapshot | None = None) -> Snapshot:
        """Return the snapshot with what ``[graph]`` and ``[text]`` add to it.

        Communities keep their numbers from ``previous``, a snapshot that was told before.
        """
        rng = derive(self.settings.workspace.seed, "graph")
        told = with_graph(snapshot, self.settings.graph, rng=rng, previous=previous)
        return with_text(told, self.settings.text, cache=self.folder / TEXT_FOLDER)

    def _served_snapshot(self) -> Snapshot | None:
        if not self.settings.graph.columns:
            return None
        try:
            return Snapshot.open(self.registry.snapshot_folder(self.registry.current().snapshot))
        except (NotReady, NotFound, InputError):  # the first training, or nothing that can be read on from
            return None

    def forget(self, users: Collection[str], *, progress: Progress | None = None) -> Receipt:
        """Take users out of the log and of everything made from it; what is served is made again.

        Killed at any moment, it was done or not; see `penchant.workspace.forgetting`.

        Raises:
            InputError: no user is named.
            Conflict: a training or an import is running.
        """
        return forget(
            self.folder,
            self.registry,
            self.settings,
            self.log,
            users,
            told=lambda snapshot: self.told(snapshot, self._served_snapshot()),
            quarantine=self.folder / QUARANTINE_FOLDER,
            now=self.clock.now(),
            progress=Silent() if progress is None else progress,
        )

    def serving(self) -> Serving:
        """Return a live view for answering feeds; the caller closes it.

        Raises:
            NotReady: nothing was trained yet.
        """
        return Serving(self.registry, self.settings, self.log, self.clock)

    def close(self) -> None:
        """Release the log's files."""
        self.log.close()
