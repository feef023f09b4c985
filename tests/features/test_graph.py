"""The follow graph against networkx, which is slow and right."""

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penchant.data.snapshot import Follows
from penchant.features.graph import (
    FollowGraph,
    GraphFeatures,
    betweenness,
    clustering,
    graph_features,
    pagerank,
)
from penchant.kernel.arrays import AnyArray


def graph_of(edges: list[tuple[int, int]], n: int) -> FollowGraph:
    pairs = np.array(edges, np.int32).reshape(-1, 2)
    return FollowGraph.of(
        Follows(follower=pairs[:, 0], followed=pairs[:, 1], timestamp=np.zeros(len(pairs))), n
    )


def random_edges(seed: int, n: int, m: int) -> list[tuple[int, int]]:
    rng = np.random.default_rng(seed)
    return [(int(a), int(b)) for a, b in rng.integers(0, n, (m, 2))]


def directed(edges: list[tuple[int, int]], n: int) -> "nx.DiGraph[int]":
    graph: nx.DiGraph[int] = nx.DiGraph()
    graph.add_nodes_from(range(n))
    graph.add_edges_from((a, b) for a, b in edges if a != b)
    return graph


def column(values: dict[int, float]) -> AnyArray:
    return np.array([values[i] for i in range(len(values))])


edge_lists = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=40)


@given(edge_lists)
def test_both_ways_round_repeats_once_nobody_follows_themselves(edges: list[tuple[int, int]]) -> None:
    graph = graph_of(edges, 10)
    real = {(a, b) for a, b in edges if a != b}
    assert graph.n_follows == len(real)
    for user in range(10):
        assert graph.following.row(user).tolist() == sorted(b for a, b in real if a == user)
        assert graph.followers.row(user).tolist() == sorted(a for a, b in real if b == user)
        neighbours = {b for a, b in real if a == user} | {a for a, b in real if b == user}
        assert graph.ties.row(user).tolist() == sorted(neighbours)
        weights = [((user, v) in real) + ((v, user) in real) for v in sorted(neighbours)]
        assert graph.ties.values(user).tolist() == weights


@given(edge_lists)
def test_features_are_those_of_networkx(edges: list[tuple[int, int]]) -> None:
    check_against_networkx(edges, 10)


@pytest.mark.parametrize("seed", range(3))
def test_features_of_a_larger_graph_are_those_of_networkx(seed: int) -> None:
    check_against_networkx(random_edges(seed, 150, 900), 150)


def check_against_networkx(edges: list[tuple[int, int]], n: int) -> None:
    graph, other = graph_of(edges, n), directed(edges, n)
    found = graph_features(graph, rng=np.random.default_rng(0), pivots=n)
    assert found.followers.tolist() == [other.in_degree(i) for i in range(n)]
    assert found.following.tolist() == [other.out_degree(i) for i in range(n)]
    mutual = [sum(other.has_edge(j, i) for j in other.successors(i)) for i in range(n)]
    assert found.mutual.tolist() == mutual
    np.testing.assert_allclose(found.clustering, column(nx.clustering(other.to_undirected())), atol=1e-6)
    np.testing.assert_allclose(found.pagerank, column(nx.pagerank(other, tol=1e-12)), atol=1e-6)
    np.testing.assert_allclose(found.betweenness, column(nx.betweenness_centrality(other)), atol=1e-6)


def test_sampled_betweenness_is_unbiased() -> None:
    graph = graph_of(random_edges(7, 60, 200), 60)
    exact = betweenness(graph, rng=np.random.default_rng(0), pivots=60)
    drawn = np.stack([betweenness(graph, rng=np.random.default_rng(i), pivots=15) for i in range(400)])
    error = drawn.std(axis=0) / np.sqrt(len(drawn))
    off = np.abs(drawn.mean(axis=0) - exact)
    assert (off <= 4.5 * error + 1e-6).all()
    assert drawn.std(axis=0).max() > 0


def test_betweenness_does_not_depend_on_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = graph_of(random_edges(3, 200, 1000), 200)
    found: list[bytes] = []
    for threads in ("1", "4"):
        monkeypatch.setenv("PENCHANT_THREADS", threads)
        found.append(betweenness(graph, rng=np.random.default_rng(1), pivots=100).tobytes())
    assert found[0] == found[1]


def test_a_star_is_known_by_heart() -> None:
    inward = graph_of([(i, 0) for i in range(1, 6)] + [(0, 6)], 7)
    found = graph_features(inward, rng=np.random.default_rng(0))
    assert found.followers.tolist() == [5, 0, 0, 0, 0, 0, 1]
    assert found.betweenness.tolist() == pytest.approx([5 / 30, 0, 0, 0, 0, 0, 0])
    assert found.clustering.tolist() == [0] * 7
    assert found.pagerank.argmax() in (0, 6)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_no_follows_no_features_no_error(n: int) -> None:
    found = graph_features(graph_of([], n), rng=np.random.default_rng(0))
    assert found.matrix().shape == (n, len(GraphFeatures.names()))
    assert np.isfinite(found.matrix()).all()
    assert clustering(graph_of([], n)).tolist() == [0.0] * n
    assert pagerank(graph_of([], n)).tolist() == pytest.approx([1 / max(n, 1)] * n)


def test_standardised_features_have_one_scale() -> None:
    matrix = graph_features(graph_of(random_edges(2, 80, 500), 80), rng=np.random.default_rng(0)).matrix()
    np.testing.assert_allclose(matrix.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(matrix.std(axis=0), 1, atol=1e-4)
