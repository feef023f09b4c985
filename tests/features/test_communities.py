"""Communities: planted groups are found again, they hang together, and their numbers last."""

import itertools

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penchant.features.communities import (
    METHODS,
    Communities,
    Method,
    by_size,
    find_communities,
    keep_numbers,
    kept,
    lift,
    modularity,
    silhouette,
)
from penchant.features.communities_leiden import leiden
from penchant.features.graph import FollowGraph
from penchant.kernel.arrays import AnyArray, Rows


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def graph_of(edges: AnyArray, n: int) -> FollowGraph:
    pairs = np.asarray(edges, np.int32).reshape(-1, 2)
    return FollowGraph.between(pairs[:, 0], pairs[:, 1], n)


def cliques(count: int, size: int) -> FollowGraph:
    """Return cliques in a ring, neighbours joined by one follow."""
    inside = [
        (c * size + a, c * size + b) for c in range(count) for a in range(size) for b in range(size) if a != b
    ]
    ring = [(c * size, ((c + 1) % count) * size + 1) for c in range(count)]
    return graph_of(np.array(inside + ring), count * size)


def lfr(mixing: float, seed: int) -> AnyArray:
    """Return the edges of an LFR graph of 800 nodes, each a follow in a random direction."""
    graph = nx.LFR_benchmark_graph(
        800, 3, 1.5, mixing, average_degree=10, max_degree=50, min_community=40, seed=seed
    )
    edges = np.array([edge for edge in graph.edges if edge[0] != edge[1]], np.int32)
    turned = rng(seed).random(len(edges)) < 0.5
    edges[turned] = edges[turned][:, ::-1]
    return edges


def found(edges: AnyArray, seed: int = 0, **how: object) -> Communities:
    return find_communities(graph_of(edges, 800), rng=rng(seed), **how)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("method", ["leiden", "louvain", "spectral"])
def test_cliques_in_a_ring_are_its_communities(method: Method) -> None:
    got = find_communities(cliques(6, 8), rng=rng(), method=method, k=6)
    assert len(got.sizes()) == 6
    for c in range(6):
        assert len(set(got.labels[c * 8 : (c + 1) * 8].tolist())) == 1


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_gives_the_same_bytes(method: Method) -> None:
    edges = lfr(0.3, 1)
    one, two = (found(edges, 3, method=method).labels.tobytes() for _ in range(2))
    assert one == two


@given(st.lists(st.tuples(st.integers(0, 14), st.integers(0, 14)), max_size=45), st.integers(0, 5))
def test_every_community_of_leiden_hangs_together(edges: list[tuple[int, int]], seed: int) -> None:
    graph = graph_of(np.array([e for e in edges if e[0] != e[1]], np.int32).reshape(-1, 2), 15)
    labels = leiden(graph.ties, rng=rng(seed))
    other: nx.Graph[int] = nx.Graph()
    other.add_nodes_from(range(15))
    other.add_edges_from(e for e in edges if e[0] != e[1])
    for number in np.unique(labels):
        assert nx.is_connected(other.subgraph(np.flatnonzero(labels == number).tolist()))


@given(st.lists(st.tuples(st.integers(0, 14), st.integers(0, 14)), min_size=1, max_size=45))
def test_modularity_is_that_of_networkx_and_no_single_move_raises_it(edges: list[tuple[int, int]]) -> None:
    real = [e for e in edges if e[0] != e[1]]
    graph = graph_of(np.array(real, np.int32).reshape(-1, 2), 15)
    labels = find_communities(graph, rng=rng()).labels
    got = modularity(graph.ties, labels)
    if not real:
        assert got == 0
        return
    other: nx.Graph[int] = nx.Graph()
    other.add_nodes_from(range(15))
    for a, b in set(real):
        weight = other.edges[a, b]["weight"] + 1 if other.has_edge(a, b) else 1
        other.add_edge(a, b, weight=weight)
    alone = np.where(labels < 0, 100 + np.arange(15), labels)
    parts = [np.flatnonzero(alone == c).tolist() for c in np.unique(alone)]
    assert got == pytest.approx(nx.community.modularity(other, parts), abs=1e-6)
    for user, number in itertools.product(range(15), set(labels.tolist())):
        moved = labels.copy()
        moved[user] = number
        assert modularity(graph.ties, moved) <= got + 1e-6


def test_modularity_reaches_that_of_networkx_on_larger_graphs() -> None:
    for seed in range(3):
        edges = lfr(0.4, seed)
        other = nx.Graph(edges.tolist())
        parts = nx.community.louvain_communities(other, seed=1)
        assert found(edges).modularity > nx.community.modularity(other, parts) - 0.005


@pytest.mark.parametrize(("mixing", "bar"), [(0.1, 9.0), (0.3, 6.0)])
def test_held_out_follows_are_inside_communities_far_above_chance(mixing: float, bar: float) -> None:
    lifts: list[float] = []
    for seed in range(5):
        edges = lfr(mixing, seed)
        held = rng(seed + 100).random(len(edges)) < 0.2
        labels = found(edges[~held], seed).labels
        lifts.append(lift(labels, edges[held, 0], edges[held, 1]))
    assert np.mean(lifts) >= bar
    assert min(lifts) >= bar * 0.9


def test_k_means_on_features_says_nothing_about_who_follows_whom() -> None:
    edges = lfr(0.1, 0)
    held = rng(1).random(len(edges)) < 0.2
    got = found(edges[~held], method="kmeans", k=18)
    assert 0.7 < lift(got.labels, edges[held, 0], edges[held, 1]) < 1.5
    assert got.modularity < 0.1


@pytest.mark.parametrize("mixing", [0.1, 0.3])
def test_numbers_last_when_a_few_follows_come_and_go(mixing: float) -> None:
    edges = lfr(mixing, 2)
    before = found(edges, 1)
    drawn = rng(5)
    fewer = edges[drawn.random(len(edges)) > 0.02]
    more = drawn.integers(0, 800, (len(edges) // 50, 2), np.int32)
    changed = np.concatenate([fewer, more[more[:, 0] != more[:, 1]]])
    after = found(changed, 99, previous=before.labels)
    assert kept(after.labels, before.labels) >= 0.95
    afresh = keep_numbers(found(changed, 99).labels, before.labels)
    assert kept(afresh, before.labels) >= (0.95 if mixing == 0.1 else 0.8)


def test_starting_from_the_result_changes_nothing() -> None:
    edges = lfr(0.3, 4)
    before = found(edges)
    after = found(edges, 7, previous=before.labels)
    assert kept(after.labels, before.labels) >= 0.98
    assert after.modularity >= before.modularity - 1e-6


@given(
    st.lists(st.integers(-1, 3), min_size=8, max_size=8), st.lists(st.integers(-1, 4), min_size=8, max_size=8)
)
def test_kept_numbers_are_a_maximum_matching(now: list[int], before: list[int]) -> None:
    labels, previous = by_size(np.array(now)), np.array(before, np.int32)
    got = keep_numbers(labels, previous)
    assert partition(got) == partition(labels)
    options = itertools.permutations(range(10), int(labels.max(initial=-1)) + 1)
    best = max(
        sum(n >= 0 and number[n] == old for n, old in zip(labels, before, strict=True)) for number in options
    )
    assert int(((got == previous) & (got >= 0)).sum()) == best
    for number in set(got[got >= 0].tolist()) & set(before):
        if ((got >= 0) & (previous >= 0)).any():
            assert ((got == number) & (previous == number)).any(), "an old number went to strangers"


def partition(labels: Rows) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(labels == c).tolist()) for c in np.unique(labels).tolist() if c >= 0} | {
        frozenset([-1, *np.flatnonzero(labels < 0).tolist()])
    }


def test_sizes_fall_and_small_communities_are_none() -> None:
    graph = graph_of(np.array([(0, 1), (1, 2), (2, 0), (3, 4), (4, 5), (5, 3), (3, 6), (7, 8)]), 10)
    got = find_communities(graph, rng=rng(), smallest=3)
    assert list(got.sizes().values()) == [4, 3]
    assert got.labels.tolist() == [1, 1, 1, 0, 0, 0, 0, -1, -1, -1]


@pytest.mark.parametrize("method", METHODS)
def test_a_graph_without_follows_has_no_communities(method: Method) -> None:
    got = find_communities(graph_of(np.zeros((0, 2)), 5), rng=rng(), method=method, k=3)
    assert got.labels.tolist() == [-1] * 5
    assert got.modularity == 0


def test_planted_groups_have_a_higher_silhouette_than_shuffled_ones() -> None:
    edges = lfr(0.1, 0)
    ties = graph_of(edges, 800).ties
    labels = found(edges).labels
    good = silhouette(ties, labels, rng=rng())
    bad = silhouette(ties, rng().permutation(labels), rng=rng())
    assert good > 0.5 > 0 > bad


def test_lift_by_hand() -> None:
    labels = np.array([0, 0, 1, 1, -1], np.int32)
    one, two = np.array([0, 2, 4], np.int32), np.array([1, 0, 4], np.int32)
    assert lift(labels, one, two) == pytest.approx((1 / 3) / (4 / 20))
