"""Personas from a snapshot: features, clusters, descriptions, checks and the behaviour matrix in one call."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from penchant.data.snapshot import Snapshot
from penchant.features.user_features import UserMatrix, describe, encode_users, guess_columns
from penchant.kernel.arrays import F32, Rows, readonly
from penchant.kernel.progress import Progress
from penchant.models.user_clusters import Clusters, Elbow, assign, find_elbow, k_means, keep_ids
from penchant.personas.behaviour import Behaviour, BehaviourMatrix, behaviour_matrix, behaviour_of
from penchant.personas.checks import Check, Interval, check_clusters
from penchant.personas.profile import Persona, describe_clusters
from penchant.personas.settings import PersonaSettings, SpaceName
from penchant.personas.spaces import attribute_space, behaviour_space


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
    kept: float  # see `penchant.personas.spaces.Space`
    rival: Check | None  # of attribute clusters, when these are of behaviour
    notes: tuple[str, ...]

    def sentences(self) -> list[str]:
        """Return the checks in plain words, the verdict last; nothing without behaviour."""
        if self.check is None:
            return []
        *told, verdict = self.check.sentences()
        if self.rival is not None:
            told.append(
                f"Attributes tell {max(self.kept, 0):.0%} of where a user stands in the space of behaviour. "
                f"Groups of behaviour, entered by attributes, gain {self.check.held_out_gain.value:+.2%}; "
                f"as many groups of attributes gain {self.rival.held_out_gain.value:+.2%}: "
                f"{_better(self.check.held_out_gain, self.rival.held_out_gain)}."
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
    behaviour, notes = _behaviour(snapshot, settings)
    check = rival = None
    if behaviour is not None:
        check = _check(behaviour, as_new, clusters.k, rng)
        if settings.space == "behaviour":
            rival = _check(behaviour, _by_attributes(matrix, settings, clusters.k, rng), clusters.k, rng)
    progress.advance(note="checks")
    all_points = np.zeros((snapshot.n_users, space.points.shape[1]), np.float32)
    all_points[space.rows] = space.points
    personas = describe_clusters(
        snapshot.user_table,
        columns,
        labels,
        clusters.k,
        behaviour=behaviour,
        points=all_points,
        centres=clusters.centres,
    )
    progress.advance(note="descriptions")
    return Personas(
        personas=personas,
        labels=readonly(labels),
        centres=clusters.centres,
        elbow=elbow,
        check=check,
        matrix=behaviour_matrix(behaviour, labels, clusters.k) if behaviour is not None else None,
        used=describe(columns),
        space=settings.space,
        kept=space.kept,
        rival=rival,
        notes=notes,
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
    if settings.category not in snapshot.item_table.column_names[1:]:
        return None, (
            f"Items have no column '{settings.category}': behaviour by category is left out. "
            "Name the column with --category.",
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
