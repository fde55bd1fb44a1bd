"""Compile the host operators of a program one by one, to find out which of them cannot be compiled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from landbridge.codegen.compile_kernels import compile_kernels
from landbridge.codegen.graph import read_graph
from landbridge.codegen.lower import lower
from landbridge.codegen.schedule_steps import schedule_steps
from landbridge.codegen.target import resolve_target
from landbridge.ir.program import Program
from landbridge.runtime.errors import UnsupportedError


def host_operators(program: Program) -> list[str]:
    """Return the user's name of the first output of each host operator of a placed program."""
    return [node.name for node in read_graph(program).nodes if node.kind == "host"]


def try_operators(program: Program, target: str | None, tell: Callable[[tuple[str, str]], None], skip: int = 0) -> None:
    """Compile each host operator alone.

    Args:
        program: in phase "placed".
        target: as `landbridge.codegen.build` takes it.
        tell: is told the user's name of an operator's first output and "" before it is compiled, and the same name and the reason
            afterwards where it cannot be.
        skip: how many operators to leave out at the start.
    """
    host, graph = resolve_target(target), read_graph(program)
    for node in [node for node in graph.nodes if node.kind == "host"][skip:]:
        tell((node.name, ""))
        inputs = tuple((graph.values[index].name, index) for index in dict.fromkeys(node.inputs))
        outputs = tuple((graph.values[index].name, index) for index in node.outputs)
        alone = replace(graph, nodes=(node,), inputs=inputs, outputs=outputs)
        try:
            compile_kernels(lower(alone, schedule_steps(alone), host.tvm).kernels, host.tvm)
        except Exception as error:  # TVM raises anything
            lines = (error.message if isinstance(error, UnsupportedError) else str(error)).strip().splitlines()
            tell((node.name, lines[-1].strip() if lines else type(error).__name__))
