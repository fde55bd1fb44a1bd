"""Say what is wrong with an ONNX model before anything is made of it: each problem one message with the node, its operator and what to do.

The order of the nodes and the operator sets are looked at here, since onnx's checker does not name the nodes of a cycle and takes operator
sets that it does not know; the rest is the checker's, and that of onnx's strict inference, brought into one line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import onnx

from landbridge.frontends.onnx.graph import DOMAINS, captured_by
from landbridge.runtime.errors import ModelError, UnsupportedError

_NODE = re.compile(r"\bName: (?P<name>\S*) OpType: (?P<operator>\S+)")
_INFERRED = re.compile(r"\(op_type:(?P<operator>[^,()]+)(?:, node name: (?P<name>[^()]*))?\): (?:\[\w+\] )?(?P<problem>.+)$")
_TOLERATED = "Inferred shape and existing shape differ"
"""A declared shape that is another than the inferred one: ONNX Runtime runs such models, and so does a fallback region."""


def validate(proto: Any, title: str) -> None:
    """Check a loaded model.

    Raises:
        UnsupportedError: its operator set or its format is newer than what is installed knows.
        ModelError: it is not valid.
    """
    _check_versions(proto, title)
    _check_order(proto.graph, title)
    try:
        onnx.checker.check_model(proto)
    except onnx.checker.ValidationError as error:
        raise ModelError(
            f"not a valid ONNX model: {_checkers_words(str(error), proto)}", at=title, code="LB2003", hint=_advice(str(error))
        ) from error


def check_types(proto: Any, title: str) -> None:
    """Check that the operators take the types and shapes that they are given.

    Raises:
        ModelError: one does not.
    """
    try:
        onnx.shape_inference.infer_shapes(proto, strict_mode=True, check_type=True, data_prop=True)
    except (onnx.shape_inference.InferenceError, ValueError) as error:
        lines = str(error).strip().splitlines()
        found = _INFERRED.search(lines[0]) if lines else None
        if found is None or _TOLERATED in lines[0] or lines[0].count("op_type:") != 1:
            return  # not about one operator of the model; whatever it is shows when that is imported
        words = f"{_label(found['name'] or '', found['operator'], proto)}: {found['problem'].strip()}"
        raise ModelError(
            f"its types contradict each other: {words}", at=title, code="LB2003", hint="export the model again, or mend this node"
        ) from error


def _check_versions(proto: Any, title: str) -> None:
    newest = onnx.defs.onnx_opset_version()
    for entry in proto.opset_import:
        if entry.domain in DOMAINS and entry.version > newest:
            raise UnsupportedError(
                f"its operators are of operator set {entry.version}; onnx {onnx.__version__} knows up to {newest}",
                at=title,
                hint=f"install a newer onnx, or export the model with opset_version={newest}",
            )
    if proto.ir_version > onnx.IR_VERSION:
        raise UnsupportedError(
            f"its format is version {proto.ir_version}; onnx {onnx.__version__} knows up to {onnx.IR_VERSION}",
            at=title,
            hint="install a newer onnx, or export the model with an older one",
        )


def _check_order(graph: Any, title: str) -> None:
    """Raise where a node reads what nothing makes, or what only itself or a later one makes."""
    known = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    known |= {sparse.values.name for sparse in graph.sparse_initializer}
    maker = {output: node for node in graph.node for output in node.output if output}
    for node in graph.node:
        for name in (*node.input, *captured_by(node)):
            if not name or name in known:
                continue
            who = f"node {_named(node)}"
            if name not in maker:
                raise ModelError(
                    f"not a valid ONNX model: {who} reads '{name}', which nothing makes",
                    at=title,
                    code="LB2003",
                    hint="export the model again",
                )
            cycle = _cycle(node, maker, known)
            if cycle:
                around = " -> ".join(_named(step) for step in (*cycle, cycle[0]))
                raise ModelError(
                    f"not a valid ONNX model: its nodes form a cycle: {around}", at=title, code="LB2003", hint="a graph must have none"
                )
            words = f"{who} reads '{name}', which the later node {_named(maker[name])} makes"
            raise ModelError(
                f"not a valid ONNX model: {words}", at=title, code="LB2003", hint="put the nodes in the order in which they run"
            )
        known.update(output for output in node.output if output)


def _cycle(start: Any, maker: dict[str, Any], known: set[str]) -> list[Any]:
    """Return the nodes of a cycle through ``start``, each reading what the next makes; nothing where there is none."""
    path: list[Any] = []
    seen: set[int] = set()

    def steps(node: Any) -> Iterator[Any]:
        return iter([maker[name] for name in node.input if name in maker and name not in known])

    waiting = [(start, steps(start))]
    while waiting:
        step = next(waiting[-1][1], None)
        if step is None:
            waiting.pop()
        elif step is start:
            path = [entry for entry, _ in waiting]
            break
        elif id(step) not in seen:
            seen.add(id(step))
            waiting.append((step, steps(step)))
    return path


def _named(node: Any) -> str:
    return f"'{node.name or next(iter(node.output), '')}' ({node.op_type})"


def _label(name: str, operator: str, proto: Any) -> str:
    opset = max((entry.version for entry in proto.opset_import if entry.domain in DOMAINS), default=1)
    return f"node '{name.strip()}' ({operator}, operator set {opset})" if name.strip() else f"a node of {operator} (operator set {opset})"


def _checkers_words(text: str, proto: Any) -> str:
    """Return the first line of what onnx's checker says, with the node that it means."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    found = _NODE.search(text)
    words = lines[0] if lines else "no reason given"
    return f"{words} At {_label(found['name'], found['operator'], proto)}" if found else words


def _advice(text: str) -> str:
    if "No Op registered" in text:
        return "the operator does not exist, or not in this operator set: export the model with a newer one"
    if "deprecated" in text:
        return "convert the model to a newer operator set: onnx.version_converter.convert_version"
    return "export the model again, or mend what onnx.checker.check_model says"
