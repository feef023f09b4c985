"""Personas from a snapshot: features, clusters, descriptions, checks and the behaviour matrix in one call."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from penchant.data.snapshot import Snapshot
from penchant.features.user_features import UserColumn, UserMatrix, describe, encode_users, guess_columns
from penchant.kernel.arrays import F32, Rows, readonly
from penchant.kernel.progress import Progress
from penchant.models.user_clusters import Clusters, Elbow, assign, find_elbow, k_means, keep_ids
from penchant.personas.behaviour import Behaviour, BehaviourMatrix, behaviour_matrix, behaviour_of
from penchant.personas.checks import Check, Interval, check_clusters
from penchant.personas.profile import Persona, describe_clusters
from penchant.personas.settings import CATEGORY, PersonaSettings, SpaceName
from penchant.personas.spaces import attribute_space, behaviour_space


@dataclass(frozen=True, slots=True, kw_only=True)
class Grouping:
    """n users in k groups, to be described: what was clustered here, or what a model serves.

    ``labels`` and ``as_new`` (n,) are the groups users belong to, and would if nothing but their attributes
    were known; -1 where nothing is.
    """

    labels: Rows
    as_new: Rows
    points: F32  # (n, r)
    centres: F32  # (k, r)
    columns: Sequence[UserColumn]
    space: SpaceName
    kept: float | None = None  # see `penchant.personas.spaces.Space`
    elbow: Elbow | None = None
    rival: UserMatrix | None = None  # the attributes, whose clusters are compared with these
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Personas:
    """The result. ``labels`` (n_users,) is -1 for users of whom no attribute is known."""

    personas: tuple[Persona, ...]
    labels: Rows
    centres: F32  # (k, r)
    elbow: Elbow | None
    check: Check | None
    matrix: BehaviourMatrix | None
    used: Mapping[str, str]  # column -> in words how it was used
    space: SpaceName
    kept: float | None  # see `penchant.personas.spaces.Space`
    rival: Check | None  # of attribute clusters, when these are of behaviour
    notes: tuple[str, ...]

    def sentences(self) -> list[str]:
        """Return the checks in plain words, the verdict last; nothing without behaviour."""
        if self.check is None:
            return []
        *told, verdict = self.check.sentences()
        if self.rival is not None:
            ours, theirs = self.check.held_out_gain, self.rival.held_out_gain
            told.append(
                f"Attributes tell {max(self.kept or 0, 0):.0%} of where a user stands in the space of "
                f"behaviour. Groups of behaviour, entered by attributes, gain {ours.value:+.2%}; "
                f"as many groups of attributes gain {theirs.value:+.2%}: {_better(ours, theirs)}."
            )
        return [*told, verdict]


def find_personas(
    snapshot: Snapshot,
    settings: PersonaSettings,
    *,
    rng: Generator,
    progress: Progress,
    previous: Mapping[str, int] | None = None,
) -> Personas:
    """Cluster users in the space of the settings and say what the clusters are and whether they matter.

    In the space of behaviour users without a history are placed by their attributes, and the check is of
    everybody placed so: of what the clusters are worth for somebody new.

    ``previous`` maps user ids to the persona ids of the last run, which are kept where clusters match.

    Raises:
        InputError: no usable column, too few users, or a setting that does not fit the data.
    """
    progress.start("personas", 4)
    columns = settings.columns or guess_columns(snapshot.user_table)
    matrix = encode_users(snapshot.user_table, columns)
    if settings.space == "behaviour":
        space = behaviour_space(snapshot, matrix, factors=settings.factors, rng=rng)
    else:
        space = attribute_space(matrix, rank=settings.rank)
    progress.advance(note="features")
    clusters, elbow = _cluster(space.points, settings.k, rng)
    if previous:
        old = np.array([previous.get(id_, -1) for id_ in snapshot.users.ids(space.rows)], np.int32)
        clusters = keep_ids(clusters, old)
    labels = np.full(snapshot.n_users, -1, np.int32)
    labels[space.rows] = clusters.labels
    as_new = labels
    if space.placed is not None:
        as_new = np.where(matrix.known, assign(space.placed, clusters.centres), np.int32(-1))
        labels = np.where(labels < 0, as_new, labels)
    progress.advance(note=f"{clusters.k} clusters")
    points = np.zeros((snapshot.n_users, space.points.shape[1]), np.float32)
    points[space.rows] = space.points
    grouping = Grouping(
        labels=readonly(labels),
        as_new=as_new,
        points=points,
        centres=clusters.centres,
        columns=columns,
        space=settings.space,
        kept=space.kept,
        elbow=elbow,
        rival=matrix if settings.space == "behaviour" else None,
    )
    return describe_personas(snapshot, grouping, settings, rng=rng, progress=progress)


def describe_personas(
    snapshot: Snapshot, grouping: Grouping, settings: PersonaSettings, *, rng: Generator, progress: Progress
) -> Personas:
    """Say what groups are and whether they matter, however they were found.

    Raises:
        InputError: too few users did anything, or a setting that does not fit the data.
    """
    k, labels = len(grouping.centres), grouping.labels
    behaviour, notes = _behaviour(snapshot, settings)
    check = rival = None
    if behaviour is not None:
        check = _check(behaviour, grouping.as_new, k, rng)
        if grouping.rival is not None:
            rival = _check(behaviour, _by_attributes(grouping.rival, settings, k, rng), k, rng)
    progress.advance(note="checks")
    personas = describe_clusters(
        snapshot.user_table,
        grouping.columns,
        labels,
        k,
        behaviour=behaviour,
        points=grouping.points,
        centres=grouping.centres,
    )
    progress.advance(note="descriptions")
    return Personas(
        personas=personas,
        labels=labels,
        centres=grouping.centres,
        elbow=grouping.elbow,
        check=check,
        matrix=behaviour_matrix(behaviour, labels, k) if behaviour is not None else None,
        used=describe(grouping.columns),
        space=grouping.space,
        kept=grouping.kept,
        rival=rival,
        notes=(*grouping.notes, *notes),
    )


def _better(behaviour: Interval, attributes: Interval) -> str:
    """Say which gain is larger; intervals that overlap settle nothing."""
    if behaviour.low > attributes.high:
        return "behaviour is the better space here"
    if attributes.low > behaviour.high:
        return "attributes are the better space here"
    return "the difference is within the intervals"


def _check(behaviour: Behaviour, labels: Rows, k: int, rng: Generator) -> Check:
    """Check clusters as they serve somebody new: by where attributes put a user."""
    told = labels >= 0
    return check_clusters(behaviour.shares()[told], labels[told], k, rng=rng)


def _by_attributes(matrix: UserMatrix, settings: PersonaSettings, k: int, rng: Generator) -> Rows:
    """Return as many clusters of attributes, to compare with; -1 for who has none."""
    space = attribute_space(matrix, rank=settings.rank)
    labels = np.full(len(matrix.known), -1, np.int32)
    labels[space.rows] = k_means(space.points, k, rng=rng).labels
    return labels


def _cluster(points: F32, k: int | None, rng: Generator) -> tuple[Clusters, Elbow | None]:
    if k is not None:
        return k_means(points, k, rng=rng), None
    elbow = find_elbow(points, rng=rng)
    return k_means(points, elbow.chosen, rng=rng), elbow


def _behaviour(snapshot: Snapshot, settings: PersonaSettings) -> tuple[Behaviour | None, tuple[str, ...]]:
    """Return the scores, or why there are none: personas can be described without behaviour."""
    if len(snapshot.interactions) == 0:
        return None, ("There are no interactions: personas are described by attributes alone.",)
    if settings.category == CATEGORY and CATEGORY not in snapshot.item_table.column_names[1:]:
        return None, (
            f"Items have no column '{CATEGORY}': behaviour by category is left out. Name the column with "
            "--category.",
        )
    behaviour = behaviour_of(
        snapshot,
        column=settings.category,
        days=settings.days,
        weights=settings.event_weights,
        by_value=settings.by_value,
        most=settings.most_categories,
    )
    return behaviour, ()
