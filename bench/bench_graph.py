"""The follow graph: planted communities, real ones, speed, and what a community is worth to new users.

LFR graphs (Lancichinetti et al. 2008): 800 users, average degree 10, at most 50, communities of at most 150,
power laws 3 and 1.5, each tie a follow in a random direction. A fifth of the follows is held out. Lift is
P(same community | held-out follow) / P(same community | any two users). The planted groups' own lift is the
ceiling: it falls with larger communities, and the bar is set where it is 9.7 at mixing .1 and 7.1 at .3.
Deezer (Romania): 125,826 friendships; HetRec LastFM: friendships, and artists tagged on known days.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import networkit
import networkx as nx
import numpy as np
import scipy.sparse as sp
from sknetwork.clustering import Leiden

from bench.paired import versions
from penchant.data.snapshot import Snapshot, build_snapshot
from penchant.evaluation.follow_study import study_follows
from penchant.features.communities import (
    METHODS,
    Communities,
    find_communities,
    keep_numbers,
    kept,
    lift,
    modularity,
)
from penchant.features.graph import FollowGraph, graph_features
from penchant.features.graph_columns import GraphSettings
from penchant.kernel.arrays import AnyArray, Rows
from penchant.kernel.progress import Silent
from penchant.kernel.seeds import derive
from penchant.models.lookalike import Lookalike

USERS = 800
MIXING = (0.1, 0.3, 0.5)
SMALLEST = (20, 40, 60)  # members of a planted community
BARS = {0.1: 9.0, 0.3: 6.0}
DATA = Path(os.environ.get("PENCHANT_DATA", Path(__file__).parents[2] / "shared" / "data"))

_TAGGED = """
SELECT DISTINCT CAST(userID AS VARCHAR) AS user_id, CAST(artistID AS VARCHAR) AS item_id,
       CAST(EPOCH(MAKE_DATE(year, month, day)) AS DOUBLE) AS timestamp
FROM read_csv('{folder}/user_taggedartists.dat', delim='\t') WHERE year BETWEEN 2005 AND 2011
"""
# No user is an artist's author. Who of them tagged it first, alone on that day, brought it in.
_BROUGHT_IN = """
SELECT item_id, ANY_VALUE(user_id) AS author FROM (
  SELECT *, MIN(timestamp) OVER (PARTITION BY item_id) AS first FROM tagged
) WHERE timestamp = first GROUP BY item_id HAVING COUNT(*) = 1
"""
_FRIENDS = """
SELECT CAST(userID AS VARCHAR) AS user_id, CAST(friendID AS VARCHAR) AS followed_id,
       CAST(0 AS DOUBLE) AS timestamp
FROM read_csv('{folder}/user_friends.dat', delim='\t')
"""


def main(*, quick: bool) -> dict[str, object]:
    """Run all parts."""
    planted = lfr_lifts(seeds=1 if quick else 5, smallest=SMALLEST[:1] if quick else SMALLEST)
    lasting = stability(seeds=1 if quick else 5)
    deezer = real_graph()
    friends = None if quick else lastfm()
    met = {
        **{f"lift at mixing {m}": planted[f"{m} smallest 20"]["leiden"] >= bar for m, bar in BARS.items()},
        "95% keep their number": min(lasting.values()) >= 0.95,
        "Deezer under 10 s": deezer is not None and deezer["seconds"]["all features"] < 10,
    }
    print("  " + ", ".join(f"{name}: {'met' if ok else 'NOT met'}" for name, ok in met.items()))
    return {
        "bar": "LFR lift >= 9 at mixing .1, >= 6 at .3; 95% keep their number; Deezer under 10 s",
        "met": all(met.values()),
        "bars": met,
        "data": "LFR graphs; Deezer Romania; HetRec 2011 LastFM",
        "protocol": (__doc__ or "").replace("\n", " "),
        "lfr": planted,
        "stability": lasting,
        "deezer": deezer,
        "lastfm": friends,
        "versions": versions("networkx", "networkit", "scikit-network", "scikit-learn"),
    }


def lfr(mixing: float, smallest: int, seed: int) -> tuple[AnyArray, Rows]:
    """Return follows (m, 2) in random directions and the planted community of each user."""
    graph = nx.LFR_benchmark_graph(
        USERS,
        3,
        1.5,
        mixing,
        average_degree=10,
        max_degree=50,
        min_community=smallest,
        max_community=150,
        seed=seed,
    )
    edges = np.array([edge for edge in graph.edges if edge[0] != edge[1]], np.int32)
    turned = np.random.default_rng(seed).random(len(edges)) < 0.5
    edges[turned] = edges[turned][:, ::-1]
    truth = np.empty(USERS, np.int32)
    groups = {frozenset(graph.nodes[v]["community"]) for v in graph}
    for number, members in enumerate(sorted(groups, key=min)):
        truth[list(members)] = number
    return edges, truth


def lfr_lifts(*, seeds: int, smallest: tuple[int, ...]) -> dict[str, dict[str, float]]:
    """Return the mean lift of every method, and of the planted groups, by mixing and smallest group."""
    table: dict[str, dict[str, float]] = {}
    for least in smallest:
        for mixing in MIXING:
            found: dict[str, list[float]] = {}
            for seed in range(seeds):
                edges, truth = lfr(mixing, least, seed)
                held = derive(seed, "held out").random(len(edges)) < 0.2
                graph = FollowGraph.between(edges[~held, 0], edges[~held, 1], USERS)
                planted = len(np.unique(truth))
                for method in METHODS:
                    labels = find_communities(
                        graph, rng=derive(seed, method), method=method, k=planted
                    ).labels
                    found.setdefault(method, []).append(lift(labels, edges[held, 0], edges[held, 1]))
                found.setdefault("planted", []).append(lift(truth, edges[held, 0], edges[held, 1]))
            row = {name: float(np.mean(values)) for name, values in found.items()}
            table[f"{mixing} smallest {least}"] = row
            print(
                f"  LFR mixing {mixing}, communities of {least} up, {seeds} graphs: " + _words(row),
                flush=True,
            )
    return table


def stability(*, seeds: int) -> dict[str, float]:
    """Return the least share of users who keep their number on LFR graphs of communities of 20 up."""
    kept_: dict[str, list[float]] = {}
    for mixing in (0.1, 0.3):
        for seed in range(seeds):
            edges, _ = lfr(mixing, 20, seed)
            before = _leiden(edges, seed)
            rng = derive(seed, "change")
            fewer = edges[rng.random(len(edges)) >= 0.02]
            more = rng.integers(0, USERS, (len(edges) // 50, 2), np.int32)
            changed = np.concatenate([fewer, more[more[:, 0] != more[:, 1]]])
            after = _leiden(changed, seed + 1000, before.labels)
            same = _leiden(edges, seed + 1000, before.labels)
            afresh = keep_numbers(_leiden(edges, seed + 1000).labels, before.labels)
            kept_.setdefault(f"same follows, mixing {mixing}", []).append(kept(same.labels, before.labels))
            kept_.setdefault(f"4% changed, mixing {mixing}", []).append(kept(after.labels, before.labels))
            row = {
                "same follows": kept(same.labels, before.labels),
                "4% changed": kept(after.labels, before.labels),
                "from nothing": kept(afresh, before.labels),
            }
            print(f"  kept, mixing {mixing}, graph {seed}: " + _words(row), flush=True)
    return {name: min(values) for name, values in kept_.items()}


def _leiden(edges: AnyArray, seed: int, previous: Rows | None = None) -> Communities:
    graph = FollowGraph.between(edges[:, 0], edges[:, 1], USERS)
    return find_communities(graph, rng=np.random.default_rng(seed), previous=previous)


def real_graph() -> dict[str, Any] | None:
    """Return times and modularity on Deezer's friendships, beside networkit's and scikit-network's Leiden."""
    file = DATA / "deezer_ro" / "RO_edges.csv"
    if not file.exists():
        print("  Deezer: no data")
        return None
    edges = np.loadtxt(file, delimiter=",", skiprows=1, dtype=np.int32)
    n = int(edges.max()) + 1
    _leiden(np.array([[0, 1]], np.int32), 0)  # compiled code is loaded
    graph_features(FollowGraph.between(edges[:9, 0], edges[:9, 1], n), rng=derive(0), pivots=1)
    seconds: dict[str, float] = {}
    begun = time.perf_counter()
    graph = FollowGraph.between(edges[:, 0].copy(), edges[:, 1].copy(), n)
    ours = timed(seconds, "leiden", lambda: find_communities(graph, rng=derive(1)))
    timed(seconds, "features", lambda: graph_features(graph, rng=derive(2)))
    seconds["all features"] = time.perf_counter() - begun
    other = networkit.Graph(n)
    for one, two in edges.tolist():
        other.addEdge(one, two)
    networkit.setSeed(1, False)
    peer = networkit.community.ParallelLeiden(other)
    timed(seconds, "networkit ParallelLeiden", peer.run)
    labels = {"leiden": ours.labels, "networkit": np.array(peer.getPartition().getVector(), np.int32)}
    ties = graph.ties
    matrix = sp.csr_matrix((np.ones(ties.nnz), ties.indices, ties.indptr), shape=(n, n))
    labels["scikit-network"] = timed(
        seconds, "scikit-network Leiden", lambda: Leiden(random_state=0).fit_predict(matrix)
    ).astype(np.int32)
    quality = {name: modularity(ties, each) for name, each in labels.items()}
    again = find_communities(graph, rng=derive(9), previous=ours.labels)
    afresh = keep_numbers(find_communities(graph, rng=derive(9)).labels, ours.labels)
    last = {"same follows": kept(again.labels, ours.labels), "from nothing": kept(afresh, ours.labels)}
    print(f"  Deezer, {n:,} users, {len(edges):,} ties: {len(ours.sizes())} communities")
    print("  seconds: " + _words(seconds) + "; modularity: " + _words(quality) + "; kept: " + _words(last))
    return {"seconds": seconds, "modularity": quality, "kept": last, "communities": len(ours.sizes())}


def timed(seconds: dict[str, float], name: str, work: Callable[[], Any]) -> Any:
    """Run and note the wall time."""
    begun = time.perf_counter()
    done = work()
    seconds[name] = time.perf_counter() - begun
    return done


def lastfm_snapshot() -> Snapshot | None:
    """Return who tagged which artist on which day, with friendships; None where the files are not there."""
    folder = DATA / "hetrec_lastfm"
    if not folder.is_dir():
        return None
    with duckdb.connect() as connection:
        tagged = connection.sql(_TAGGED.format(folder=folder)).to_arrow_table()
        friends = connection.sql(_FRIENDS.format(folder=folder)).to_arrow_table()
        brought = connection.register("tagged", tagged).sql(_BROUGHT_IN).to_arrow_table()
    return build_snapshot(tagged, items=brought, follows=friends)


def lastfm() -> dict[str, Any] | None:
    """Return what a community among friends says of the artists they tag."""
    snapshot = lastfm_snapshot()
    if snapshot is None:
        print("  LastFM: no data")
        return None
    study = study_follows(
        snapshot,
        GraphSettings(),
        recipe=Lookalike(place="ridge", half_lives=("", "90d", "30d")),
        author="author",
        k=20,
        seed=42,
        progress=Silent(),
    )
    rows: dict[str, Any] = {"methods": {m.method: m.lift.mean for m in study.methods}}
    print("  LastFM lift of held-out friendships: " + _words(rows["methods"]))
    if study.behaviour is not None:
        b = rows["behaviour"] = msgspec.to_builtins(study.behaviour)
        print(f"  LastFM, what friends brought in: lift {b['mean']:.2f} [{b['low']:.2f}, {b['high']:.2f}]")
    for comparison in study.comparisons:
        for arm in comparison.arms:
            from_ = "" if arm.from_followed is None else f", from friends {arm.from_followed.mean:.4f}"
            print(
                f"  LastFM, {comparison.users} {comparison.who}, {arm.name}: NDCG@20 {arm.ndcg.mean:.4f}, "
                f"recall@20 {arm.recall.mean:.4f}{from_}"
            )
        for d in comparison.differences:
            print(f"    {d.first} - {d.second}: {d.metric} {d.mean:+.4f} [{d.low:+.4f}, {d.high:+.4f}]")
            rows[f"{comparison.who}, {d.first}, {d.metric}"] = {"mean": d.mean, "low": d.low, "high": d.high}
    return rows


def _words(row: dict[str, float]) -> str:
    return ", ".join(
        f"{name} {value:.2f}" if value < 100 else f"{name} {value:,.0f}" for name, value in row.items()
    )
