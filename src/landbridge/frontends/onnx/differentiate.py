"""Replace ``Gradient`` operators by the operators that compute the derivatives: nothing that runs models has ``Gradient``.

Derivatives go backwards through element-wise operators of tensors of one known shape. What leads through others, or is asked for at other
values than those of the tensors that it names, stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from landbridge.frontends.onnx.graph import DOMAINS, ValueType, declared_types

_DOMAIN = "ai.onnx.preview.training"


class _Stays(Exception):  # it is not an error: it says that a node is left as it is
    """A derivative that is not known here."""


@dataclass
class _Tape:
    """The operators that compute derivatives, as they are written.

    Attributes:
        at: what the names of new values begin with.
        dtype: of all values.
        shape: of all values.
    """

    at: str
    dtype: str
    shape: tuple[int, ...]
    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)

    def emit(self, operator: str, *inputs: str) -> str:
        """Return the name of what an operator makes of some values."""
        result = f"{self.at}/{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [result], name=result))
        return result

    def constant(self, value: float) -> str:
        """Return the name of a tensor of one number."""
        name = f"{self.at}/constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.full(self.shape, value, self.dtype), name))
        return name


Rule = Callable[[_Tape, str, Any], tuple[str, ...]]
"""Returns the derivatives by an operator's inputs, of the derivative by its result and the operator."""


def _divided(tape: _Tape, by: str, node: Any) -> tuple[str, ...]:
    first = tape.emit("Div", by, node.input[1])
    return first, tape.emit("Neg", tape.emit("Mul", first, node.output[0]))


def _tanh(tape: _Tape, by: str, node: Any) -> tuple[str, ...]:
    (y,) = node.output
    return (tape.emit("Mul", by, tape.emit("Sub", tape.constant(1), tape.emit("Mul", y, y))),)


def _sigmoid(tape: _Tape, by: str, node: Any) -> tuple[str, ...]:
    (y,) = node.output
    return (tape.emit("Mul", by, tape.emit("Mul", y, tape.emit("Sub", tape.constant(1), y))),)


_RULES: dict[str, Rule] = {
    "Add": lambda tape, by, node: (by, by),
    "Div": _divided,
    "Exp": lambda tape, by, node: (tape.emit("Mul", by, node.output[0]),),
    "Identity": lambda tape, by, node: (by,),
    "Log": lambda tape, by, node: (tape.emit("Div", by, node.input[0]),),
    "Mul": lambda tape, by, node: (tape.emit("Mul", by, node.input[1]), tape.emit("Mul", by, node.input[0])),
    "Neg": lambda tape, by, node: (tape.emit("Neg", by),),
    "Sigmoid": _sigmoid,
    "Sqrt": lambda tape, by, node: (tape.emit("Div", tape.emit("Mul", by, tape.constant(0.5)), node.output[0]),),
    "Sub": lambda tape, by, node: (by, tape.emit("Neg", by)),
    "Tanh": _tanh,
}


def differentiate(proto: Any) -> Any:
    """Return a model whose types are inferred without the ``Gradient`` operators that can be replaced, or ``proto`` itself.

    ``proto`` is not changed; what is new has no types.
    """
    if not any(node.op_type == "Gradient" and node.domain == _DOMAIN for node in proto.graph.node):
        return proto
    types, nodes, constants = declared_types(proto.graph), [], []
    producer = {name: node for node in proto.graph.node for name in node.output if name}
    changed = False
    for node in proto.graph.node:
        try:
            tape = _derivatives(node, producer, types)
        except _Stays:
            nodes.append(node)
            continue
        nodes += tape.nodes
        constants += tape.constants
        changed = True
    if not changed:
        return proto
    result = onnx.ModelProto()
    result.CopyFrom(proto)
    del result.graph.node[:]
    result.graph.node.extend(nodes)
    result.graph.initializer.extend(constants)
    return result


def _derivatives(node: Any, producer: Mapping[str, Any], types: Mapping[str, ValueType]) -> _Tape:
    """Return the operators that make the outputs of a ``Gradient``.

    Raises:
        _Stays: it is none, or cannot be replaced.
    """
    if node.op_type != "Gradient" or node.domain != _DOMAIN:
        raise _Stays
    named = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    sources = [name.decode() for name in named["xs"]]
    others, result = [name.decode() for name in named.get("zs", ())], named["y"].decode()
    found = types.get(result, ValueType())
    if list(node.input) != [*sources, *others] or found.shape is None or found.dtype not in ("float32", "float64"):
        raise _Stays
    if not all(isinstance(extent, int) for extent in found.shape):
        raise _Stays
    at = str(node.name or next(iter(node.output)))
    while any(name.startswith(f"{at}/") for name in (*types, *producer)):
        at += "_"
    tape = _Tape(at, found.dtype, tuple(int(extent or 0) for extent in found.shape))
    by = {result: tape.constant(1)}
    for step in _backwards(result, {*sources, *others}, producer):
        rule = _RULES.get(step.op_type) if step.domain in DOMAINS else None
        if rule is None or any(types.get(name, ValueType()) != found for name in (*step.input, *step.output)):
            raise _Stays
        for name, part in zip(step.input, rule(tape, by[step.output[0]], step), strict=True):
            by[name] = tape.emit("Add", by[name], part) if name in by else part
    for source, output in zip(sources, node.output, strict=False):
        if output:
            tape.nodes.append(helper.make_node("Identity", [by.get(source) or tape.constant(0)], [output]))
    return tape


def _backwards(result: str, sources: set[str], producer: Mapping[str, Any]) -> Iterator[Any]:
    """Yield the operators between ``sources`` and ``result``, each before those that make its inputs."""
    order: list[Any] = []
    seen: set[str] = set()
    waiting = [(result, False)]
    while waiting:
        name, done = waiting.pop()
        node = producer.get(name)
        if done:
            order.append(node)
        elif node is not None and name not in sources and name not in seen:
            seen.update(node.output)
            waiting.append((name, True))
            waiting.extend((read, False) for read in node.input)
    yield from reversed(order)
