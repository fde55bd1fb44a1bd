"""Describe what was compiled, for people: each operator with the user's names, its text in the IR and its step of the plan."""

from __future__ import annotations

import re
from collections.abc import Sequence

from landbridge.codegen.assemble_plan import Assembled
from landbridge.codegen.graph import Graph, Node
from landbridge.codegen.schedule_steps import Stage
from landbridge.ir.body import is_cast, operator_name
from landbridge.ir.program import ModuleInfo, Program
from landbridge.runtime.description import Description, Kind, Lifetime, Operator, Value

_BINDING = re.compile(r"^\s+(\w+)(?:: .*?)? = (R\..*)$", re.M)
"""A binding as TVMScript writes it, on a line of its own. There are spaces around no other ``=``."""

_LONGEST = 2000
"""The most characters of an operator's text that are kept: a concatenation may have thousands of operands."""


def describe(program: Program, graph: Graph, stages: Sequence[Stage], assembled: Assembled) -> Description:
    """Return the description of a program that was compiled.

    Args:
        program: placed.
        graph: of ``program``.
        stages: of ``graph``, as they were lowered.
        assembled: the plan of them.
    """
    texts = dict(_BINDING.findall(str(program.module.script(show_meta=False))))
    names = {values[0]: str(variable.name) for variable, values in reversed(graph.values_of.items()) if values}
    info = ModuleInfo.of(program.module)
    steps = _steps(stages, assembled)
    constants = {index for index, value in enumerate(graph.values) if value.constant is not None}

    def operator(node: Node) -> Operator:
        text = texts.get(names.get(node.outputs[0], ""), "")
        source, title, kind = *info.sources.get(node.name, ("", "")), _kind(node)
        if kind in ("copy", "extern") or (kind == "cast" and not title.startswith("Cast")):  # none of the user's nodes
            source, title = "", info.externs[node.symbol].name if kind == "extern" else kind
        title = title or (operator_name(node.expr) if kind == "host" else "reshape")
        inputs = tuple(index for index in dict.fromkeys(node.inputs) if index not in constants)
        return Operator(kind, node.name, title, source, steps.get(node, -1), inputs, node.outputs, text[:_LONGEST])

    return Description(
        values=tuple(Value(value.name, value.device, value.dtype, value.shape) for value in graph.values),
        operators=tuple(operator(node) for stage in stages for node in stage.nodes),
        moments=tuple(len(moments) for moments in assembled.accesses),
        lifetimes=tuple(Lifetime(buffer, *span) for buffer, span in sorted(assembled.lifetimes.items())),
        inputs=tuple(index for _, index in graph.inputs),
        outputs=tuple(index for _, index in graph.outputs),
    )


def _kind(node: Node) -> Kind:
    return "cast" if node.kind == "host" and is_cast(node.expr) else node.kind


def _steps(stages: Sequence[Stage], assembled: Assembled) -> dict[Node, int]:
    """Return the step of each operator that is part of one."""
    found = dict(assembled.step_of)
    for stage, segment in zip(stages, assembled.segments, strict=True):
        found.update({node: segment for node in stage.nodes if node.kind == "host" and segment >= 0})
    return found
