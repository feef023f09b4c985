"""The study behind `penchant communities`: are communities real, do they last, and does following help?"""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.random import Generator

from penchant.data.heldout import subset
from penchant.data.snapshot import Snapshot
from penchant.evaluation.followed import Authors, Comparison, behaviour_lift, compare_arms
from penchant.evaluation.intervals import Interval, interval, resampled_means
from penchant.evaluation.protocols import answers, split_for
from penchant.features.communities import (
    METHODS,
    Communities,
    Method,
    find_communities,
    keep_numbers,
    kept,
    silhouette,
)
from penchant.features.graph import FollowGraph
from penchant.features.graph_columns import COMMUNITY, GraphSettings, with_graph
from penchant.kernel.arrays import Bools, Csr, Rows, readonly
from penchant.kernel.errors import InputError
from penchant.kernel.progress import Progress, Silent
from penchant.kernel.seeds import derive
from penchant.models.base import Queries
from penchant.models.lookalike import Lookalike, LookalikeModel

HELD_OUT = 0.2
CHANGED = 0.02
MOST_FOR_ALL_METHODS = 50_000  # users up to which the slow methods are compared too
_MOST_NEW = 2_000
WITHOUT, FOLLOWED = "without", "followed"  # the ways compared; the third is COMMUNITY
_EVERY = 4  # in the way FOLLOWED each fourth place is for those whom the user follows


class MethodRow(msgspec.Struct, frozen=True, kw_only=True):
    """One method on the follows that were not held out."""

    method: Method
    communities: int
    modularity: float
    silhouette: float
    lift: Interval  # of held-out follows


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowStudy:
    """The result; ``kept_again`` and ``kept_changed`` are shares of users whose number stayed."""

    graph: FollowGraph
    communities: Communities
    silhouette: float
    methods: tuple[MethodRow, ...]
    kept_again: float  # found again with other random numbers
    kept_changed: float  # after 2% of the follows were taken away
    behaviour: Interval | None
    comparisons: tuple[Comparison, ...]
    notes: tuple[str, ...]


def study_follows(
    snapshot: Snapshot,
    settings: GraphSettings,
    *,
    recipe: Lookalike,
    author: str,
    k: int,
    seed: int,
    progress: Progress,
    previous: Mapping[str, int] | None = None,
) -> FollowStudy:
    """Find communities and measure what they and follows are worth.

    ``author`` is the items' column with the user who made each; ``recipe`` is trained with and without the
    community as a column. ``previous`` maps user ids to the numbers of the last run, which are kept.

    Raises:
        InputError: nobody follows anybody.
    """
    if len(snapshot.follows.follower) == 0:
        raise InputError("nobody follows anybody.", fix="Import follows with `penchant import --follows`.")
    progress.start("communities", 5)
    graph = FollowGraph.of(snapshot.follows, snapshot.n_users)
    old = None
    if previous:
        ids = snapshot.users.to_arrow().to_pylist()
        old = np.array([previous.get(id_, -1) for id_ in ids], np.int32)
    communities = _found(graph, settings, derive(seed, "graph"), old)
    progress.advance(note=f"{len(communities.sizes())} communities")
    methods = _methods(graph, settings, seed)
    progress.advance(note="methods compared")
    again, changed = _lasting(graph, settings, communities.labels, seed)
    progress.advance(note="stability")
    notes: list[str] = []
    authors = Authors.of(snapshot, author)
    if authors is None:
        notes.append(
            f"No item has a followed user as its '{author}': what authors mean is left out. Name the column "
            "as `author` under [data]."
        )
    comparisons: list[Comparison] = []
    behaviour = None
    if len(snapshot.interactions):
        task = _Task(settings=settings, recipe=recipe, author=author, k=k, seed=seed)
        behaviour, known = _known_users(snapshot, task, notes)
        comparisons += known
        progress.advance(note="users with a history")
        comparisons += _new_users(snapshot, task, notes)
        progress.advance(note="new users")
    return FollowStudy(
        graph=graph,
        communities=communities,
        silhouette=silhouette(graph.ties, communities.labels, rng=derive(seed, "silhouette")),
        methods=methods,
        kept_again=again,
        kept_changed=changed,
        behaviour=behaviour,
        comparisons=tuple(comparisons),
        notes=tuple(notes),
    )


def _found(
    graph: FollowGraph, settings: GraphSettings, rng: Generator, previous: Rows | None = None
) -> Communities:
    return find_communities(
        graph,
        rng=rng,
        method=settings.method,
        resolution=settings.resolution,
        k=settings.k,
        smallest=settings.smallest,
        previous=previous,
    )


def _edges(graph: FollowGraph) -> tuple[Rows, Rows]:
    following = graph.following
    return np.repeat(np.arange(graph.n_users, dtype=np.int32), np.diff(following.indptr)), following.indices


def _drawn(one: Rows, other: Rows, share: float, rng: Generator) -> Bools:
    """Draw a share of the pairs of users with a follow; with one follow goes the one back."""
    low, high = np.minimum(one, other).astype(np.int64), np.maximum(one, other)
    pairs, which = np.unique(low << 32 | high, return_inverse=True)
    return (rng.random(len(pairs)) < share)[which]


def _methods(graph: FollowGraph, settings: GraphSettings, seed: int) -> tuple[MethodRow, ...]:
    """Hold a fifth of the follows out, find communities by each method in the rest, measure the lift."""
    one, other = _edges(graph)
    held = _drawn(one, other, HELD_OUT, derive(seed, "held-out follows"))
    rest = FollowGraph.between(one[~held], other[~held], graph.n_users)
    rows: list[MethodRow] = []
    few = int((np.diff(graph.ties.indptr) > 0).sum()) <= MOST_FOR_ALL_METHODS
    for method in METHODS if few else METHODS[:2]:
        rng = derive(seed, "method", method)
        found = find_communities(
            rest,
            rng=rng,
            method=method,
            resolution=settings.resolution,
            k=settings.k or (rows[0].communities if rows else None),
            smallest=settings.smallest,
        )
        if not found.sizes() or not held.any():
            return ()
        rows.append(
            MethodRow(
                method=method,
                communities=len(found.sizes()),
                modularity=found.modularity,
                silhouette=silhouette(rest.ties, found.labels, rng=rng),
                lift=_lift(found.labels, one[held], other[held], rng),
            )
        )
    return tuple(rows)


def _lift(labels: Rows, one: Rows, other: Rows, rng: Generator) -> Interval:
    """Return `lift` with its interval over the held-out follows."""
    same = ((labels[one] == labels[other]) & (labels[one] >= 0)).astype(np.float64)
    sizes = np.bincount(labels[labels >= 0]).astype(np.float64)
    chance = float((sizes * (sizes - 1)).sum()) / (len(labels) * (len(labels) - 1))
    ratio = (same / chance)[:, None]
    return interval(ratio[:, 0], resampled_means(ratio, rng=rng)[:, 0])


def _lasting(graph: FollowGraph, settings: GraphSettings, labels: Rows, seed: int) -> tuple[float, float]:
    rng = derive(seed, "lasting")
    afresh = keep_numbers(_found(graph, settings, rng).labels, labels)
    one, other = _edges(graph)
    stay = ~_drawn(one, other, CHANGED, rng)
    fewer = FollowGraph.between(one[stay], other[stay], graph.n_users)
    return kept(afresh, labels), kept(_found(fewer, settings, rng, labels).labels, labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    """What is recommended by, and measured how."""

    settings: GraphSettings
    recipe: Lookalike
    author: str
    k: int
    seed: int

    def models(self, train: Snapshot) -> dict[str, LookalikeModel]:
        """Train without the graph and with the community as a column."""
        only = msgspec.structs.replace(self.settings, columns=[COMMUNITY])
        told = with_graph(train, only, rng=derive(self.seed, "graph"))
        return {
            name: self.recipe.train(each, rng=derive(self.seed, "study"), progress=Silent())
            for name, each in ((WITHOUT, train), (COMMUNITY, told))
        }


def _known_users(
    snapshot: Snapshot, task: _Task, notes: list[str]
) -> tuple[Interval | None, list[Comparison]]:
    """Cut at one moment: do people take what those they follow made, and is it recommended to them?"""
    try:
        split = split_for(snapshot, "time", seed=task.seed)
    except InputError as error:
        notes.append(f"Users with a history are left out: {error.what}")
        return None, []
    lists = {name: answers(model, split, task.k) for name, model in task.models(split.train).items()}
    rng = derive(task.seed, "study", "bootstrap")
    authors = Authors.of(split.train, task.author)
    behaviour = None
    if authors is not None:
        newest = _newest(split.train)
        lists[FOLLOWED] = _with_places(lists[WITHOUT], authors, split.subjects, newest, split.exclude)
        later = snapshot.interactions.select(snapshot.interactions.timestamp >= split.now)
        behaviour = behaviour_lift(authors, later, rng=rng)
    found = compare_arms("users with a history", lists, split.truth, split.subjects, authors, rng=rng)
    return behaviour, [found]


def _new_users(snapshot: Snapshot, task: _Task, notes: list[str]) -> list[Comparison]:
    """Hide all that some users did, not whom they follow: what do they get, and is it what they took?"""
    pairs = snapshot.pairs()
    graph = FollowGraph.of(snapshot.follows, snapshot.n_users)
    eligible = np.flatnonzero((np.diff(pairs.indptr) > 0) & (np.diff(graph.ties.indptr) > 0))
    rng = derive(task.seed, "study", "new users")
    new = np.sort(rng.choice(eligible, min(len(eligible) // 5, _MOST_NEW), replace=False)).astype(np.int32)
    hidden = np.zeros(snapshot.n_users, np.bool_)
    hidden[new] = True
    train = snapshot.with_interactions(snapshot.interactions.select(~hidden[snapshot.interactions.user]))
    known = np.bincount(train.interactions.item, minlength=snapshot.n_items) > 0
    truth = subset(pairs, known[pairs.indices])
    new = new[np.diff(truth.indptr)[new] > 0]
    if len(new) < 2:
        notes.append("New users are left out: too few users have both follows and interactions.")
        return []
    asked = Queries(users=new, now=train.cutoff)
    lists = {name: model.top_many(asked, task.k).items for name, model in task.models(train).items()}
    authors = Authors.of(train, task.author)
    if authors is not None:
        lists[FOLLOWED] = _with_places(lists[WITHOUT], authors, new, _newest(train), None)
    return [compare_arms("new users", lists, truth.take(new), new, authors, rng=rng)]


def _newest(train: Snapshot) -> Rows:
    """Return the items that anybody took, the one first taken latest in front."""
    items, first = np.unique(train.interactions.item, return_index=True)
    return items[np.argsort(-first, kind="stable")]


def _with_places(lists: Rows, authors: Authors, users: Rows, newest: Rows, exclude: Csr | None) -> Rows:
    """Return the lists with each fourth place given to the newest by those whom the user follows."""
    out = lists.copy()
    k = lists.shape[1]
    for i, own in enumerate(authors.items_for(users, newest, k)):
        gone = set(exclude.row(i).tolist()) if exclude is not None else set()
        theirs = [item for item in own.tolist() if item not in gone]
        row: list[int] = []
        rest = iter(lists[i].tolist())
        while len(row) < k:
            turn = len(row) % _EVERY == _EVERY - 1
            item = next((t for t in theirs if t not in row), None) if turn else None
            if item is None:
                item = next((r for r in rest if r not in row), -1)
            row.append(item)
        out[i] = row
    return readonly(out)
