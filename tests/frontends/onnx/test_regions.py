from __future__ import annotations

import itertools
import random

import networkx as nx

from landbridge.frontends.onnx.regions import Edges, closure, in_order, merge


def chain(*pairs: tuple[int, int], count: int) -> Edges:
    after: dict[int, tuple[int, ...]] = dict.fromkeys(range(count), ())
    for source, destination in pairs:
        after[source] += (destination,)
    return Edges(after)


def test_neighbours_join() -> None:
    assert merge(chain((0, 1), (1, 2), (2, 3), count=4), [1, 2]) == [[1, 2]]


def test_operators_that_are_not_neighbours_stay_apart() -> None:
    assert merge(chain((0, 1), (1, 2), count=3), [0, 2]) == [[0], [2]]


def test_neighbours_with_a_way_around_over_a_native_operator_stay_apart() -> None:
    # 0 -> 2 directly and 0 -> 1 -> 2 over the native 1: one region {0, 2} could neither run before 1 nor after it
    assert merge(chain((0, 1), (1, 2), (0, 2), count=3), [0, 2]) == [[0], [2]]


def test_a_way_around_over_another_region_counts_too() -> None:
    edges = chain((0, 2), (0, 1), (1, 3), (3, 2), count=4)
    assert merge(edges, [0, 2, 3]) == [[0], [2, 3]]


def test_edges_are_found_from_names() -> None:
    edges = Edges.of({0: ["x"], 1: ["a", "x"], 2: ["a", "b"]}, {0: ["a"], 1: ["b"], 2: ["c"]})
    assert edges.after == {0: (1, 2), 1: (2,), 2: ()}


def test_closure_takes_in_what_is_between() -> None:
    edges = chain((0, 1), (1, 2), (2, 3), (0, 4), count=5)
    assert closure(edges, [0, 3]) == [0, 1, 2, 3]
    assert closure(edges, [1]) == [1]


def test_what_must_be_together_is() -> None:
    edges = chain((0, 1), (0, 2), count=3)
    assert merge(edges, [0, 1, 2], together=[[0, 2]]) == [[0, 1, 2]]
    assert merge(chain(count=3), [0, 1, 2], together=[[0, 2]]) == [[0, 2], [1]]


def test_regions_of_random_graphs_have_no_cycle_and_leave_no_edge_that_could_be_joined() -> None:
    for seed in range(60):
        source = random.Random(seed)
        count = source.randint(4, 14)
        pairs = [(a, b) for a, b in itertools.combinations(range(count), 2) if source.random() < 0.25]
        outside = [number for number in range(count) if source.random() < 0.6]
        groups = merge(chain(*pairs, count=count), outside)
        assert sorted(itertools.chain(*groups)) == outside
        quotient = contracted(pairs, groups, count)
        assert nx.is_directed_acyclic_graph(quotient)
        of = {member: number for number, group in enumerate(groups) for member in group}
        for a, b in pairs:
            if a in of and b in of and of[a] != of[b]:
                joined = [group for number, group in enumerate(groups) if number not in (of[a], of[b])]
                joined.append([*groups[of[a]], *groups[of[b]]])
                assert not nx.is_directed_acyclic_graph(contracted(pairs, joined, count))


def contracted(pairs: list[tuple[int, int]], groups: list[list[int]], count: int) -> nx.DiGraph[str]:
    of = {member: f"group {number}" for number, group in enumerate(groups) for member in group}
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(of.get(number, str(number)) for number in range(count))
    edges = [(of.get(a, str(a)), of.get(b, str(b))) for a, b in pairs]
    graph.add_edges_from((a, b) for a, b in edges if a != b)
    return graph


def test_the_order_respects_dependences_and_otherwise_the_rank() -> None:
    assert in_order([[], ["c"], []], [["a"], ["b"], ["c"]], [0, 1, 2]) == [0, 2, 1]
    assert in_order([[], [], []], [["a"], ["b"], ["c"]], [3, 2, 1]) == [2, 1, 0]
