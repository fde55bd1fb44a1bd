"""Order the nodes so that host operators come together in as few segments as possible.

A segment is one call into the host library. Between two segments there is at least one device step that the later one waits
for, so the order alternates: all host work that is ready, then all device steps that are ready, and so on. Taking everything
that is ready each time gives the fewest turns; whether the host or the devices take the first turn is tried both ways.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from landbridge.codegen.graph import Graph, Node

_ON_HOST = ("host", "view")
_ON_DEVICES = ("copy", "extern", "view")  # views cost nothing: they never wait for the other's turn


@dataclass(frozen=True)
class Stage:
    """A turn: either host operators and views, or copies, offline models and views.

    Attributes:
        on_host: whose turn it is.
        nodes: in an order in which they may run one after the other.
    """

    on_host: bool
    nodes: tuple[Node, ...]


def schedule_steps(graph: Graph) -> tuple[Stage, ...]:
    """Return the nodes of ``graph`` in turns; the same graph gives the same order."""
    host_first, devices_first = _take_turns(graph, on_host=True), _take_turns(graph, on_host=False)
    return devices_first if _segments(devices_first) < _segments(host_first) else host_first


def _segments(stages: tuple[Stage, ...]) -> int:
    return sum(any(node.kind == "host" for node in stage.nodes) for stage in stages)


def _take_turns(graph: Graph, *, on_host: bool) -> tuple[Stage, ...]:
    done = {index for index, value in enumerate(graph.values) if value.constant is not None}
    done.update(index for _, index in graph.inputs)
    waiting = list(graph.nodes)
    stages: list[Stage] = []
    while waiting:
        taken, waiting = _take_ready(waiting, done, _ON_HOST if on_host else _ON_DEVICES)
        if taken:
            stages.append(Stage(on_host, tuple(taken)))
        on_host = not on_host
    return tuple(stages)


def _take_ready(waiting: list[Node], done: set[int], kinds: Collection[str]) -> tuple[list[Node], list[Node]]:
    """Split ``waiting`` into what can run now without any node of another kind, and the rest. One sweep is enough: nodes come in order."""
    taken, rest = [], []
    for node in waiting:
        if node.kind in kinds and all(index in done for index in node.inputs):
            taken.append(node)
            done.update(node.outputs)
        else:
            rest.append(node)
    return taken, rest
