"""Personas from a snapshot: features, clusters, descriptions, checks and the behaviour matrix in one call."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from penchant.data.snapshot import Snapshot
from penchant.features.user_features import describe, encode_users, guess_columns
from penchant.kernel.arrays import F32, Rows, readonly
from penchant.kernel.errors import InputError
from penchant.kernel.progress import Progress
from penchant.models.user_clusters import Clusters, Elbow, find_elbow, k_means, keep_ids, svd_basis
from penchant.personas.behaviour import Behaviour, BehaviourMatrix, behaviour_matrix, behaviour_of
from penchant.personas.checks import Check, check_clusters
from penchant.personas.profile import Persona, describe_clusters
from penchant.personas.settings import PersonaSettings


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
    energy: float  # share of the features' energy in the kept dimensions
    notes: tuple[str, ...]


def find_personas(
    snapshot: Snapshot,
    settings: PersonaSettings,
    *,
    rng: Generator,
    progress: Progress,
    previous: Mapping[str, int] | None = None,
) -> Personas:
    """Cluster the users of whom something is known and say what the clusters are and whether they matter.

    ``previous`` maps user ids to the persona ids of the last run, which are kept where clusters match.

    Raises:
        InputError: no usable column, too few users, or a setting that does not fit the data.
    """
    progress.start("personas", 4)
    columns = settings.columns or guess_columns(snapshot.user_table)
    matrix = encode_users(snapshot.user_table, columns)
    rows = np.flatnonzero(matrix.known).astype(np.int32)
    if len(rows) < 10:
        raise InputError(
            f"only {len(rows)} users have any attribute, too few for personas.",
            fix="Import users with attributes.",
        )
    basis = svd_basis(matrix.values[rows], settings.rank)
    points = basis.project(matrix.values[rows])
    progress.advance(note="features")
    clusters, elbow = _cluster(points, settings.k, rng)
    if previous:
        old = np.array([previous.get(id_, -1) for id_ in snapshot.users.ids(rows)], np.int32)
        clusters = keep_ids(clusters, old)
    labels = np.full(snapshot.n_users, -1, np.int32)
    labels[rows] = clusters.labels
    progress.advance(note=f"{clusters.k} clusters")
    behaviour, notes = _behaviour(snapshot, settings)
    check = None
    if behaviour is not None:
        check = check_clusters(behaviour.shares()[rows], clusters.labels, clusters.k, rng=rng)
    progress.advance(note="checks")
    all_points = np.zeros((snapshot.n_users, points.shape[1]), np.float32)
    all_points[rows] = points
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
        energy=basis.energy,
        notes=notes,
    )


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
        most=settings.most_categories,
    )
    return behaviour, ()
