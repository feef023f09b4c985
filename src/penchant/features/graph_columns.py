"""What the follow graph says of users, as columns of the users' table, for every recipe that reads it."""

from typing import Any, Literal

import msgspec
import numpy as np
import pyarrow as pa
from numpy.random import Generator

from penchant.data.snapshot import Snapshot
from penchant.features.communities import Method, find_communities
from penchant.features.graph import PIVOTS, FollowGraph, graph_features
from penchant.kernel.arrays import Rows
from penchant.kernel.arrow import ArrowColumn, pc
from penchant.kernel.errors import InputError

COMMUNITY = "community"
_MADE = b"penchant.graph"  # the settings a column was made with, in the column's metadata

GraphColumn = Literal[
    "community", "followers", "following", "mutual", "clustering", "pagerank", "betweenness"
]


class GraphSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[graph]``: what recipes are told of the follow graph, and how communities are found.

    ``columns`` are given to the users' table at training; see `find_communities` for ``method``,
    ``resolution``, ``k`` and ``smallest``, `graph_features` for the others and ``pivots``.
    """

    columns: list[GraphColumn] = []
    method: Method = "leiden"
    resolution: float = 1.0
    k: int | None = None
    smallest: int = 10
    pivots: int = PIVOTS

    def __post_init__(self) -> None:
        if len(set(self.columns)) < len(self.columns):
            raise ValueError(f"columns names one twice: {', '.join(self.columns)}")
        if not self.resolution > 0:
            raise ValueError(f"resolution must be above 0, got {self.resolution}")
        if self.smallest < 1 or self.pivots < 1:
            raise ValueError("smallest and pivots must be at least 1")
        if self.k is not None and self.k < 2:
            raise ValueError(f"k must be at least 2, got {self.k}")


def with_graph(
    snapshot: Snapshot, settings: GraphSettings, *, rng: Generator, previous: Snapshot | None = None
) -> Snapshot:
    """Return the snapshot whose users' table has the columns that ``settings`` name, the same one if none.

    A community is text such as ``c3``, in a dictionary column, missing for users of none. ``previous`` is the
    last snapshot made so: communities keep their numbers, and stay as they are while no follow has changed.

    Raises:
        InputError: the users' table has a column of that name already.
    """
    if not settings.columns or len(snapshot.follows.follower) == 0:
        return snapshot
    for name in settings.columns:
        if name in snapshot.user_table.column_names:
            raise InputError(
                f"users have a column '{name}' of their own.",
                where="[graph] columns",
                fix="Take it out of the list, or rename the users' column.",
            )
    graph = FollowGraph.of(snapshot.follows, snapshot.n_users)
    made: dict[str, ArrowColumn] = {}
    if COMMUNITY in settings.columns:
        made[COMMUNITY] = _as_column(_communities(snapshot, graph, settings, rng, previous))
    if set(settings.columns) - {COMMUNITY}:
        features = graph_features(graph, rng=rng, pivots=settings.pivots)
        made.update(
            {name: pa.array(getattr(features, name)) for name in settings.columns if name != COMMUNITY}
        )
    table = snapshot.user_table
    mark = {_MADE: msgspec.json.encode(settings)}
    for name in settings.columns:
        table = table.append_column(pa.field(name, made[name].type, metadata=mark), made[name])
    return snapshot.with_user_table(table)


def _communities(
    snapshot: Snapshot,
    graph: FollowGraph,
    settings: GraphSettings,
    rng: Generator,
    previous: Snapshot | None,
) -> Rows:
    before = None if previous is None else communities_of(previous, snapshot)
    if previous is not None and before is not None and _unchanged(snapshot, settings, previous):
        return before
    return find_communities(
        graph,
        rng=rng,
        method=settings.method,
        resolution=settings.resolution,
        k=settings.k,
        smallest=settings.smallest,
        previous=before,
    ).labels


def communities_of(made: Snapshot, snapshot: Snapshot) -> Rows | None:
    """Return the numbers in ``made`` of the users of ``snapshot``, -1 for none; None without a column."""
    if not _is_ours(made):
        return None
    names = made.user_table[COMMUNITY].combine_chunks().dictionary_decode()
    numbers: Any = pc.cast(pc.utf8_slice_codeunits(names, 1), pa.int32())
    own = np.append(np.asarray(pc.fill_null(numbers, -1)), np.int32(-1))
    return own[made.users.rows(snapshot.users.to_arrow())].astype(np.int32)


def _is_ours(made: Snapshot) -> bool:
    table = made.user_table
    return COMMUNITY in table.column_names and _MADE in (table.schema.field(COMMUNITY).metadata or {})


def _unchanged(snapshot: Snapshot, settings: GraphSettings, previous: Snapshot) -> bool:
    mark = previous.user_table.schema.field(COMMUNITY).metadata[_MADE]
    before, now = previous.follows, snapshot.follows
    return (
        mark == msgspec.json.encode(settings)
        and snapshot.users == previous.users
        and np.array_equal(before.follower, now.follower)
        and np.array_equal(before.followed, now.followed)
    )


def _as_column(labels: Rows) -> ArrowColumn:
    text = pa.array([None if label < 0 else f"c{label}" for label in labels.tolist()], pa.string())
    return text.dictionary_encode()
