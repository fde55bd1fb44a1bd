"""Count what a model has to do: floating-point operations, and the bytes that it must read and write at least.

The shapes of all values are those of a real run in ONNX Runtime. Products, convolutions, recurrences and spectra count two operations for
each multiplication; exponentials and their like count ten an element, other arithmetic one; moving data counts none. The bytes are those
of inputs and outputs, and of weights, of tables only what is looked up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Work:
    """What a run has to do at least.

    Attributes:
        flops: floating-point operations.
        nbytes: bytes read and written.
    """

    flops: float
    nbytes: int


def work_of(model: Any, feeds: Mapping[str, Any]) -> Work:
    """Return what a run of ``model`` on ``feeds`` has to do."""
    values = _values(model, feeds)
    shapes = {name: array.shape for name, array in values.items()}
    weights = {weight.name: numpy_helper.to_array(weight) for weight in model.graph.initializer}
    shapes |= {name: array.shape for name, array in weights.items()}
    flops = sum(_flops(node, shapes) for node in model.graph.node)
    moved = sum(values[value.name].nbytes for value in (*model.graph.input, *model.graph.output) if value.name in values)
    constants = weights | {node.output[0]: values[node.output[0]] for node in model.graph.node if _is_constant(node)}
    return Work(flops, moved + sum(_read(name, array, model, shapes) for name, array in constants.items()))


def _values(model: Any, feeds: Mapping[str, Any]) -> dict[str, Any]:
    """Return every value of a run, by name."""
    everything = onnx.ModelProto()
    everything.CopyFrom(model)
    del everything.graph.output[:]
    names = list(dict.fromkeys(name for node in model.graph.node for name in node.output if name))
    everything.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(everything.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found = dict(zip(names, session.run(None, dict(feeds)), strict=True))
    arrays = {name: array for name, array in found.items() if isinstance(array, np.ndarray)}
    return arrays | {name: np.asarray(array) for name, array in feeds.items()}


def _is_constant(node: Any) -> bool:
    return node.op_type in ("Constant", "ConstantOfShape")


def _read(name: str, array: Any, model: Any, shapes: Shapes) -> int:
    """Return the bytes of a constant that are read: of a table in which things are looked up what is found."""
    readers = [node for node in model.graph.node if name in node.input]
    if readers and all(node.op_type == "Gather" and node.input[0] == name for node in readers):
        return min(int(array.nbytes), sum(math.prod(shapes[node.output[0]]) for node in readers) * int(array.itemsize))
    return int(array.nbytes) if readers else 0


_COSTLY = 10
"""Operations that an exponential, a logarithm or their like counts for."""

_PER_ELEMENT = {
    **dict.fromkeys(("Exp", "Log", "Sigmoid", "Tanh", "Erf", "Gelu", "Sqrt", "Pow", "Softplus", "Mish", "HardSwish", "Swish"), _COSTLY),
    **dict.fromkeys(("Elu", "Selu", "Celu", "Sin", "Cos", "Tan", "Softmax", "LogSoftmax"), _COSTLY),
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Max", "Min", "Neg", "Abs", "Relu", "LeakyRelu", "PRelu", "Clip", "Where"), 1),
    **dict.fromkeys(("Reciprocal", "Floor", "Ceil", "Round", "HardSigmoid", "Mod"), 1),
    **dict.fromkeys(("LayerNormalization", "InstanceNormalization", "GroupNormalization", "RMSNormalization"), 8),
    **dict.fromkeys(("BatchNormalization",), 2),
    "Resize": 8,
}
"""Operations an element of the first output."""

_PER_INPUT = {"ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "GlobalAveragePool", "GlobalMaxPool", "ArgMax", "ArgMin", "TopK"}
"""Operators that look at each element of their input once."""


def _flops(node: Any, shapes: Shapes) -> float:
    if not node.output or node.output[0] not in shapes:
        return 0
    if node.op_type in _COUNTS:
        return _COUNTS[node.op_type](node, shapes)
    if node.op_type in _PER_INPUT:
        return math.prod(shapes.get(node.input[0], ()))
    return _PER_ELEMENT.get(node.op_type, 0) * math.prod(shapes[node.output[0]])


def _convolution(node: Any, shapes: Shapes) -> float:
    weight = shapes[node.input[1]]
    return 2 * math.prod(shapes[node.output[0]]) * math.prod(weight[1:])


def _transposed(node: Any, shapes: Shapes) -> float:
    return 2 * math.prod(shapes[node.input[0]]) * math.prod(shapes[node.input[1]][1:])


def _product(node: Any, shapes: Shapes) -> float:
    left = shapes[node.input[0]]
    depth: int = left[-2] if node.op_type == "Gemm" and _attribute(node, "transA", 0) else left[-1]
    return 2 * math.prod(shapes[node.output[0]]) * depth


def _pooling(node: Any, shapes: Shapes) -> float:
    return math.prod(shapes[node.output[0]]) * float(math.prod(_attribute(node, "kernel_shape", [1])))


def _recurrence(node: Any, shapes: Shapes) -> float:
    steps, batch, inputs = shapes[node.input[0]]
    directions, gates, _ = shapes[node.input[1]]
    return 2 * directions * steps * batch * gates * (inputs + shapes[node.input[2]][-1])


def _spectrum(node: Any, shapes: Shapes) -> float:
    _, frames, frequencies, _ = shapes[node.output[0]]
    window = 2 * (frequencies - 1)
    return frames * 2.5 * window * math.log2(window)


def _attention(node: Any, shapes: Shapes) -> float:
    query, key = shapes[node.input[0]], shapes[node.input[1]]
    return 2 * 2 * math.prod(query) * key[-2]


_COUNTS: dict[str, Callable[[Any, Shapes], float]] = {
    "Conv": _convolution,
    "ConvTranspose": _transposed,
    "MatMul": _product,
    "Gemm": _product,
    "MaxPool": _pooling,
    "AveragePool": _pooling,
    "LSTM": _recurrence,
    "GRU": _recurrence,
    "RNN": _recurrence,
    "STFT": _spectrum,
    "Attention": _attention,
}


def _attribute(node: Any, name: str, default: Any) -> Any:
    found = [onnx.helper.get_attribute_value(attribute) for attribute in node.attribute if attribute.name == name]
    return found[0] if found else default
