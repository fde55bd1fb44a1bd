"""Replace control flow whose way is known before the model runs by the operators on that way, and short ways by a choice between results.

Known are the way of an ``If`` whose condition is, and of a ``Loop`` or ``Scan`` whose every step is: one that counts to a constant, goes
until a condition that does not depend on the inputs, or goes along an axis of known length. Operators of a step are called after the node
and the number of the step. What would become too many operators stays a loop. An ``If`` whose condition depends on the inputs becomes both
of its branches and a ``Where`` for each result, where the branches are short, cheap, and cannot fail on any data.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from landbridge.frontends.onnx.graph import DOMAINS, ValueType, declared_types
from landbridge.frontends.onnx.known import Known

MOST_NODES = 2048
"""How many operators all loops of a model together may become."""

_MOST_NODES_OF_BOTH = 64
"""How many operators the branches of an ``If`` may have together for both to be computed."""

_LOGIC = ("And", "Equal", "Greater", "GreaterOrEqual", "IsInf", "IsNaN", "Less", "LessOrEqual", "Not", "Or", "Where", "Xor")
_ARITHMETIC = ("Abs", "Add", "Ceil", "Clip", "Floor", "Max", "Mean", "Min", "Mul", "Neg", "Reciprocal", "Round", "Sign", "Sub", "Sum")
_FUNCTIONS = ("Cast", "Cos", "Erf", "Exp", "Identity", "Log", "Pow", "Sigmoid", "Sin", "Softmax", "Sqrt", "Tanh")
_ACTIVATIONS = ("Elu", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Relu", "Selu", "Softplus", "Softsign")
_HARMLESS = (*_LOGIC, *_ARITHMETIC, *_FUNCTIONS, *_ACTIVATIONS)
"""Operators that keep shapes, cost about a pass over their operands, and fail on no numbers: none has an index, a size or a divisor."""

_WHERE_OPSET = 9
_SCAN_OPSET = 9
"""The operator set from which on ``Scan`` has no batches of its own."""


class _Stays(Exception):  # it is not an error: it says that a node is left as it is
    """A node whose way is not known, or is too long."""


def unroll(proto: Any) -> Any:
    """Return a model whose types are inferred without the control flow whose way is known, or ``proto`` itself where there is none.

    The result has constant nodes, and what is new in it has no types. ``proto`` is not changed.
    """
    if not any(node.op_type in _FLATTEN and node.domain in DOMAINS for node in proto.graph.node):
        return proto
    dims = [dim.dim_param for value in proto.graph.input for dim in value.type.tensor_type.shape.dim if dim.dim_param]
    writer = _Writer(Known(proto), declared_types(proto.graph, dims), _opset(proto), set(_names(proto.graph)), MOST_NODES)
    nodes: list[Any] = []
    changed = False
    for node in proto.graph.node:
        flat = writer.flat(node)
        changed |= flat is not None
        nodes += [node] if flat is None else flat
    if not changed:
        return proto
    result = onnx.ModelProto()
    result.CopyFrom(proto)
    del result.graph.node[:]
    result.graph.node.extend(nodes)
    result.graph.initializer.extend(writer.constants)
    return result


@dataclass
class _Writer:
    """Writes operators in the place of control flow.

    Attributes:
        known: the values of the model.
        types: what the model says of them, with the names of its inputs' dimensions.
        opset: the version of ONNX's operators.
        taken: the names that are in use.
        left: how many operators may still be added.
        constants: the tensors that the new operators need.
    """

    known: Known
    types: Mapping[str, ValueType]
    opset: int
    taken: set[str]
    left: int
    constants: list[Any] = field(default_factory=list)

    def flat(self, node: Any) -> list[Any] | None:
        """Return the operators that a node becomes, or None where it is no control flow or its way is not known."""
        flatten = _FLATTEN.get(node.op_type) if node.domain in DOMAINS else None
        if flatten is None:
            return None
        constants, left = len(self.constants), self.left
        try:
            return list(flatten(self, node))
        except _Stays:
            del self.constants[constants:]
            self.left = left
            return None

    def name(self, wanted: str) -> str:
        """Return a name that nothing has."""
        result, count = wanted, 1
        while result in self.taken:
            result, count = f"{wanted}_{count}", count + 1
        self.taken.add(result)
        return result

    def constant(self, array: np.ndarray[Any, Any], wanted: str) -> str:
        """Return the name of a new constant."""
        tensor = numpy_helper.from_array(array, self.name(wanted))
        self.constants.append(tensor)
        self.known.add_tensors([tensor])
        return str(tensor.name)

    def hoisted(self, body: Any, at: str) -> dict[str, str]:
        """Take the constants of a body out of it, once for all its steps; return what they are called now."""
        names: dict[str, str] = {}
        tensors = [*body.initializer, *(tensor for tensor in map(_constant_of, body.node) if tensor is not None)]
        if body.sparse_initializer:
            raise _Stays
        for tensor in tensors:
            copy = onnx.TensorProto()
            copy.CopyFrom(tensor)
            copy.name = names[tensor.name] = self.name(f"{at}/{tensor.name}")
            self.constants.append(copy)
            self.known.add_tensors([copy])
        return names

    def step(self, body: Any, at: str, names: Mapping[str, str]) -> tuple[list[Any], list[str]]:
        """Return the operators of one pass through a body, and what its outputs are called.

        Args:
            at: what the names of values and operators begin with.
            names: what the body's inputs and constants are called outside.
        """
        here = dict(names)
        nodes = []
        for node in body.node:
            if node.output[0] in names:  # a constant
                continue
            here.update({output: self.name(f"{at}/{output}") for output in node.output if output})
            copy = _renamed(node, here)
            copy.name = f"{at}/{node.name}" if node.name else ""
            nodes.append(copy)
        self.left -= len(nodes)
        if self.left < 0:
            raise _Stays
        self.known.add_nodes(nodes)
        return nodes, [here.get(output.name, output.name) for output in body.output]

    # ---- what becomes of each --------------------------------------------------------------------------------------------------

    def branch(self, node: Any) -> Iterator[Any]:
        """Yield what an ``If`` becomes."""
        condition = self.known.value(node.input[0])
        if condition is None:
            yield from self._choice(node)
            return
        if condition.size != 1:
            raise _Stays
        chosen = "then_branch" if condition.item() else "else_branch"
        body, at = _attribute(node, chosen).g, _label(node)
        nodes, outputs = self.step(body, at, self.hoisted(body, at))
        yield from nodes
        yield from _same(outputs, node.output)

    def _choice(self, node: Any) -> Iterator[Any]:
        """Yield both branches of an ``If`` and the choice between their results."""
        at = _label(node)
        sides = {f"{at}/{side}": _attribute(node, f"{side}_branch").g for side in ("then", "else")}
        inner = [operator for side in sides.values() for operator in side.node]
        harmless = all(_is_harmless(operator) for operator in inner)
        if self.opset < _WHERE_OPSET or not harmless or len(inner) > _MOST_NODES_OF_BOTH or not _give_the_same(*sides.values()):
            raise _Stays
        if not self._fit(sides.values()):
            raise _Stays
        results = []
        for here, side in sides.items():
            nodes, outputs = self.step(side, here, self.hoisted(side, here))
            yield from nodes
            results.append(outputs)
        condition = self.name(f"{at}/condition")  # it may have a dimension, which a result need not have
        yield helper.make_node("Reshape", [node.input[0], self.constant(np.zeros(0, np.int64), f"{at}/scalar")], [condition])
        for then, other, output in zip(*results, node.output, strict=False):
            if output:
                yield helper.make_node("Where", [condition, then, other], [output], name=f"{at}/{output}")

    def _fit(self, bodies: Iterable[Any]) -> bool:
        """Return whether what bodies of element-wise operators read are numbers of shapes that go together, whatever named dimensions are.

        A dimension may have any size where all tensors of more than one element have it at the same place.
        """
        bodies = list(bodies)
        inside = [output for body in bodies for operator in body.node for output in operator.output]
        tensors = [tensor for body in bodies for tensor in (*body.initializer, *filter(None, map(_constant_of, body.node)))]
        shapes = [tuple(tensor.dims) for tensor in tensors]
        own = {*inside, *(tensor.name for tensor in tensors), ""}
        for name in {name for body in bodies for operator in body.node for name in operator.input} - own:
            found = self.types.get(name)
            if found is None or found.shape is None or None in found.shape or found.dtype == "string":
                return False
            shapes.append(tuple(found.shape))
        if all(isinstance(extent, int) for shape in shapes for extent in shape):
            return True
        return len({shape for shape in shapes if any(extent != 1 for extent in shape)}) == 1

    def loop(self, node: Any) -> Iterator[Any]:
        """Yield what a ``Loop`` becomes."""
        body, at = _attribute(node, "body").g, _label(node)
        count, names = self._most_steps(node), self.hoisted(body, at)
        carried = list(node.input[2:])
        kept: list[list[str]] = [[] for _ in node.output[len(carried) :]]
        if "" in carried:
            raise _Stays
        nodes: list[Any] = []
        number, goes_on = 0, self._condition(node.input[1] if len(node.input) > 1 else "")
        always = self.constant(np.array(True), f"{at}/condition")
        while goes_on and (count is None or number < count):
            counter = self.constant(np.array(number, np.int64), f"{at}/{number}/number")
            given = _given(body, (counter, always, *carried))
            made, outputs = self.step(body, f"{at}/{number}", {**names, **given})
            nodes += made
            carried, number = outputs[1 : 1 + len(carried)], number + 1
            for stack, output in zip(kept, outputs[1 + len(carried) :], strict=True):
                stack.append(output)
            goes_on = (count is not None and number == count) or self._condition(outputs[0])
        yield from nodes
        yield from _same(carried, node.output)
        for stack, output in zip(kept, node.output[len(carried) :], strict=True):
            yield from self._stacked(stack, output, 0, at)

    def _most_steps(self, node: Any) -> int | None:
        """Return how many steps a loop makes at most; None where its condition alone ends it."""
        if not node.input[0]:
            return None
        count = self.known.value(node.input[0])
        if count is None or count.size != 1 or count.item() > MOST_NODES:
            raise _Stays
        return int(count.item())

    def _condition(self, name: str) -> bool:
        """Return the value of a loop's condition; one that is left out is true."""
        if not name:
            return True
        condition = self.known.value(name)
        if condition is None or condition.size != 1:
            raise _Stays
        return bool(condition.item())

    def scan(self, node: Any) -> Iterator[Any]:
        """Yield what a ``Scan`` becomes."""
        body, at = _attribute(node, "body").g, _label(node)
        along = int(_attribute(node, "num_scan_inputs").i)
        carried, sequences = list(node.input)[:-along], list(node.input)[-along:]
        if self.opset < _SCAN_OPSET:
            raise _Stays
        axes, steps = self._scanned(node, sequences)
        backwards = _numbers(node, "scan_input_directions", along)
        names, nodes = self.hoisted(body, at), []
        kept: list[list[str]] = [[] for _ in node.output[len(carried) :]]
        for number in range(steps):
            here = f"{at}/{number}"
            parts = []
            for sequence, axis, back in zip(sequences, axes, backwards, strict=True):
                index = self.constant(np.array(steps - 1 - number if back else number, np.int64), f"{here}/place")
                parts.append(self.name(f"{here}/{sequence}"))
                nodes.append(helper.make_node("Gather", [sequence, index], [parts[-1]], axis=axis))
            given = _given(body, (*carried, *parts))
            made, outputs = self.step(body, here, {**names, **given})
            nodes += made
            carried = outputs[: len(carried)]
            for stack, output in zip(kept, outputs[len(carried) :], strict=True):
                stack.append(output)
        yield from nodes
        yield from _same(carried, node.output)
        axes, backwards = _numbers(node, "scan_output_axes", len(kept)), _numbers(node, "scan_output_directions", len(kept))
        for stack, output, axis, back in zip(kept, node.output[len(carried) :], axes, backwards, strict=True):
            yield from self._stacked(stack[::-1] if back else stack, output, axis, at)

    def _scanned(self, node: Any, sequences: Sequence[str]) -> tuple[list[int], int]:
        """Return along which axis a ``Scan`` goes in each of its inputs, and how many steps that is."""
        axes = _numbers(node, "scan_input_axes", len(sequences))
        steps: set[Any] = set()
        for name, axis in zip(sequences, axes, strict=True):
            found = self.known.types.get(name)
            if found is None or found.shape is None:
                raise _Stays
            steps.add(found.shape[axis])
        count = steps.pop()
        if steps or not isinstance(count, int):
            raise _Stays
        return axes, count

    def _stacked(self, parts: Sequence[str], output: str, axis: int, at: str) -> Iterator[Any]:
        """Yield what puts the results of all steps into one tensor."""
        if not output:
            return
        if not parts:  # the type of an element is not known here
            raise _Stays
        wide = [self.name(f"{part}/stacked") for part in parts]
        if self.opset < 13:
            yield from (helper.make_node("Unsqueeze", [part], [name], axes=[axis]) for part, name in zip(parts, wide, strict=True))
        else:
            axes = self.constant(np.array([axis], np.int64), f"{at}/axis")
            yield from (helper.make_node("Unsqueeze", [part, axes], [name]) for part, name in zip(parts, wide, strict=True))
        # a negative axis counts from the end of the tensor that comes out, for both operators
        yield helper.make_node("Concat", wide, [output], name=f"{at}/{output}", axis=axis)


_FLATTEN = {"If": _Writer.branch, "Loop": _Writer.loop, "Scan": _Writer.scan}


def _is_harmless(node: Any) -> bool:
    return (node.op_type in _HARMLESS and node.domain in DOMAINS) or _constant_of(node) is not None


def _give_the_same(*bodies: Any) -> bool:
    """Return whether the results of bodies are tensors of the same, known types."""
    types = []
    for body in bodies:
        if any(value.type.WhichOneof("value") != "tensor_type" for value in body.output):
            return False
        tensors = [value.type.tensor_type for value in body.output]
        if any(tensor.elem_type == onnx.TensorProto.STRING or not tensor.HasField("shape") for tensor in tensors):
            return False
        extents = [[dim.dim_value if dim.HasField("dim_value") else dim.dim_param for dim in tensor.shape.dim] for tensor in tensors]
        if "" in (extent for each in extents for extent in each):
            return False
        types.append([(tensor.elem_type, each) for tensor, each in zip(tensors, extents, strict=True)])
    return all(each == types[0] for each in types)


def _given(body: Any, values: Sequence[str]) -> dict[str, str]:
    """Return what the inputs of a body are called outside."""
    if len(body.input) != len(values):
        raise _Stays
    return dict(zip((value.name for value in body.input), values, strict=True))


def _renamed(node: Any, names: Mapping[str, str]) -> Any:
    """Return a copy of a node with other names for values, in its subgraphs too."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.input[:] = [names.get(name, name) for name in node.input]
    copy.output[:] = [names.get(name, name) for name in node.output]
    for attribute in copy.attribute:
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            _rename_captured(graph, names)
    return copy


def _rename_captured(graph: Any, names: Mapping[str, str]) -> None:
    """Rename what a subgraph reads from outside; its own values keep their names."""
    own = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    own |= {output for node in graph.node for output in node.output}
    outer = {old: new for old, new in names.items() if old not in own}
    copies = [_renamed(node, outer) for node in graph.node]
    del graph.node[:]
    graph.node.extend(copies)
    for output in graph.output:
        output.name = outer.get(output.name, output.name)


def _same(sources: Sequence[str], outputs: Sequence[str]) -> Iterator[Any]:
    """Yield what makes the first of ``outputs`` other names of ``sources``."""
    for source, output in zip(sources, outputs, strict=False):
        if output:
            yield helper.make_node("Identity", [source], [output])


def _constant_of(node: Any) -> Any:
    """Return the tensor of a ``Constant`` node, or None where it is none or has another form."""
    if node.op_type != "Constant" or node.domain not in DOMAINS or node.attribute[0].name != "value":
        return None
    tensor = onnx.TensorProto()
    tensor.CopyFrom(node.attribute[0].t)
    tensor.name = node.output[0]
    return tensor


def _attribute(node: Any, name: str) -> Any:
    return next(attribute for attribute in node.attribute if attribute.name == name)


def _numbers(node: Any, name: str, count: int) -> list[int]:
    """Return an attribute of integers; zeros where it is left out."""
    found = [attribute for attribute in node.attribute if attribute.name == name]
    return [int(value) for value in found[0].ints] if found else [0] * count


def _label(node: Any) -> str:
    return str(node.name or next(iter(node.output)))


def _opset(proto: Any) -> int:
    return max((int(entry.version) for entry in proto.opset_import if entry.domain in DOMAINS), default=1)


def _names(graph: Any) -> Iterator[str]:
    """Yield the names of all values, in subgraphs too."""
    for value in (*graph.input, *graph.initializer):
        yield value.name
    for node in graph.node:
        yield from node.output
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _names(inner)
