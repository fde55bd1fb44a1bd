"""Translate ONNX operators into those of the GE dialect, one short function each.

A function gets a `Call` and adds operators to the graph; what it cannot translate it refuses with `UnsupportedError`. The table
`TRANSLATORS` is the list of what the maker can do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import helper

from landbridge.runtime.dtypes import nbytes_of
from landbridge.runtime.errors import UnsupportedError
from landbridge.runtime.vendors.atlas.format import GE_DTYPES
from landbridge.simulators.ascend.make_om_fold import normalization
from landbridge.simulators.ascend.make_om_graph import Attribute, Graph, Tensor
from landbridge.simulators.ascend.make_om_onnx import Prepared, gear_text

GE_CODES = {dtype: code for code, dtype in GE_DTYPES.items()}
"""``ge::DataType`` by name."""

FLOATS = ("float16", "float32", "float64", "bfloat16")


@dataclass
class Translation:
    """The state of a translation: the model, the graph so far, and which tensor each ONNX value is."""

    model: Prepared
    graph: Graph
    tensors: dict[str, Tensor]
    fp16: bool

    def dtype(self, value: str) -> str:
        """Return the type in which ``value`` is computed."""
        return self._computed(self.model.dtypes[value])

    def _computed(self, own: str) -> str:
        return "float16" if self.fp16 and own in FLOATS else own

    def tensor(self, value: str) -> Tensor:
        """Return the tensor of ``value``, which may be a constant."""
        if value in self.model.constants:
            array = self.model.constants[value]
            return self.graph.constant(array, self._computed(array.dtype.name), value)
        return self.tensors[value]


class Call:
    """One ONNX node, with what a translator asks of it."""

    def __init__(self, node: Any, state: Translation) -> None:
        self.node = node
        self.type: str = node.op_type
        self.state = state
        self.opset = state.model.opset
        self.name: str = node.name or node.output[0]
        self._attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}

    def has(self, index: int) -> bool:
        """Return whether input ``index`` is given."""
        return index < len(self.node.input) and bool(self.node.input[index])

    def input(self, index: int) -> Tensor:
        """Return input ``index``."""
        return self.state.tensor(self.node.input[index])

    def inputs(self) -> list[Tensor]:
        """Return all inputs."""
        return [self.input(index) for index in range(len(self.node.input))]

    def constant(self, index: int) -> NDArray[Any] | None:
        """Return the value of input ``index`` where it is a constant."""
        return self.state.model.constants.get(self.node.input[index]) if self.has(index) else None

    def number(self, name: str, default: float) -> float:
        """Return a numeric attribute."""
        return float(self._attributes.get(name, default))

    def integer(self, name: str, default: int) -> int:
        """Return an integer attribute."""
        return int(self._attributes.get(name, default))

    def integers(self, name: str, default: Sequence[int] = ()) -> list[int]:
        """Return an attribute that is a list of integers."""
        return [int(number) for number in self._attributes.get(name, default)]

    def text(self, name: str, default: str) -> str:
        """Return a text attribute."""
        found = self._attributes.get(name, default)
        return found.decode() if isinstance(found, bytes) else str(found)

    @property
    def given(self) -> set[str]:
        """The names of the attributes that are written."""
        return set(self._attributes)

    def axes(self, index: int) -> list[int] | None:
        """Return the axes of input 0 that are an attribute or, in later opsets, input ``index``; None where left out."""
        found = self.constant(index)
        if self.has(index) and found is None:
            raise UnsupportedError("its axes are not a constant", code="LB2311")
        axes = self.integers("axes") if "axes" in self.given else found
        return None if axes is None else [int(axis) % len(self.input(0).shape) for axis in axes]

    def shape(self, output: int = 0) -> tuple[int, ...]:
        """Return the shape of an output in the largest gear."""
        return self.state.model.shape(self.node.output[output])

    def emit(
        self,
        type_: str,
        inputs: Sequence[Tensor],
        attributes: Mapping[str, Attribute] | None = None,
        *,
        shape: tuple[int, ...] | None = None,
        dtype: str | None = None,
        suffix: str = "",
    ) -> Tensor:
        """Add an operator of one output, with the node's first output's shape and type unless told otherwise."""
        dtype = dtype or self.state.dtype(self.node.output[0])
        op = self.state.graph.add(type_, self.name + suffix, inputs, [(dtype, self.shape() if shape is None else shape)], attributes)
        return op.outputs[0]

    def scalar(self, value: float, suffix: str) -> Tensor:
        """Return a constant of one element in the type of the node's output."""
        return self.state.graph.constant(np.array([value]), self.state.dtype(self.node.output[0]), self.name + suffix)

    def finish(self, tensor: Tensor) -> None:
        """Say that the node's first output is ``tensor``."""
        self.state.tensors[self.node.output[0]] = tensor

    def refuse_other_outputs(self) -> None:
        """Refuse a node whose second or later output is wanted."""
        if any(self.node.output[1:]):
            raise UnsupportedError(f"its output '{next(name for name in self.node.output[1:] if name)}' cannot be made", code="LB2311")


Translator = Callable[[Call], None]


def _unary(type_: str, *names: str) -> Translator:
    """Return a translator to one operator of one input; ``names`` are attributes that may be left as they are."""

    def translate(call: Call) -> None:
        if call.given - set(names):
            raise UnsupportedError(f"its attributes {sorted(call.given - set(names))}", code="LB2311")
        call.finish(call.emit(type_, [call.input(0)]))

    return translate


def _variadic(type_: str) -> Translator:
    """Return a translator to a chain of operators of two inputs."""

    def translate(call: Call) -> None:
        result, *rest = call.inputs()
        if not rest:
            result = call.emit("Identity", [result])
        for index, other in enumerate(rest):
            shape = tuple(int(extent) for extent in np.broadcast_shapes(result.shape, other.shape))
            result = call.emit(type_, [result, other], shape=shape, suffix=f"_{index}" if index < len(rest) - 1 else "")
        call.finish(result)

    return translate


def _divide(call: Call) -> None:
    if call.state.dtype(call.node.output[0]) not in FLOATS:
        raise UnsupportedError("division of integers", code="LB2311")
    call.finish(call.emit("RealDiv", call.inputs()))


def _leaky_relu(call: Call) -> None:
    call.finish(call.emit("LeakyRelu", [call.input(0)], {"negative_slope": call.number("alpha", 0.01)}))


def _identity(call: Call) -> None:
    call.refuse_other_outputs()
    call.finish(call.input(0))


def _cast(call: Call) -> None:
    source, dtype = call.input(0), call.state.dtype(call.node.output[0])
    if dtype not in GE_CODES:
        raise UnsupportedError(f"a cast to {dtype}", code="LB2311")
    call.finish(source if source.dtype == dtype else call.emit("Cast", [source], {"dst_type": GE_CODES[dtype]}))


def _clip(call: Call) -> None:
    limits: list[float | Tensor | None] = []
    for index, name in ((1, "min"), (2, "max")):
        found = call.constant(index)
        if found is not None:
            limits.append(float(found.item()))
        elif call.has(index):
            limits.append(call.input(index))
        else:
            limits.append(call.number(name, 0) if name in call.given else None)
    low, high = limits
    result = call.input(0)
    if low == 0 and high in (6, None):
        call.finish(call.emit("Relu6" if high == 6 else "Relu", [result]))
        return
    for type_, limit, suffix in (("Maximum", low, "_min"), ("Minimum", high, "_max")):
        if limit is not None and not (isinstance(limit, float) and math.isinf(limit)):
            other = limit if isinstance(limit, Tensor) else call.scalar(limit, f"{suffix}_limit")
            result = call.emit(type_, [result, other], suffix=suffix)
    call.finish(result)


def _window(call: Call, kernel: Sequence[int]) -> dict[str, Attribute]:
    """Return strides, pads and dilations of a node with a window over height and width."""
    if len(call.input(0).shape) != 4 or len(kernel) != 2:
        raise UnsupportedError(f"a window over {len(call.input(0).shape) - 2} dimensions, expected 2", code="LB2311")
    strides, dilations = call.integers("strides", (1, 1)), call.integers("dilations", (1, 1))
    auto, pads = call.text("auto_pad", "NOTSET"), call.integers("pads", (0, 0, 0, 0))
    begin, end = pads[:2], pads[2:]
    if auto != "NOTSET":
        begin, end = [0, 0], [0, 0]
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        for axis in (0, 1):
            reach = (kernel[axis] - 1) * dilations[axis] + 1
            extents = {shapes[call.node.input[0]][2 + axis] for shapes in call.state.model.shapes}
            totals = {max((-(-extent // strides[axis]) - 1) * strides[axis] + reach - extent, 0) for extent in extents}
            if len(totals) > 1:
                raise UnsupportedError(f"auto_pad means {sorted(totals)} rows or columns of padding in the model's gears", code="LB2311")
            small, large = min(totals) // 2, min(totals) - min(totals) // 2
            begin[axis], end[axis] = (small, large) if auto == "SAME_UPPER" else (large, small)
    return {
        "strides": [1, 1, *strides],
        "pads": [begin[0], end[0], begin[1], end[1]],
        "dilations": [1, 1, *dilations],
        "data_format": "NCHW",
    }


def _conv(call: Call) -> None:
    inputs = call.inputs()
    window = _window(call, inputs[1].shape[2:])
    call.finish(call.emit("Conv2D", inputs, {**window, "groups": call.integer("group", 1), "offset_x": 0}))


def _pool(type_: str) -> Translator:
    def translate(call: Call) -> None:
        call.refuse_other_outputs()
        kernel = call.integers("kernel_shape")
        window = _window(call, kernel)
        if window.pop("dilations") != [1, 1, 1, 1]:
            raise UnsupportedError("dilations", code="LB2311")
        settings: dict[str, Attribute] = {
            "ksize": [1, 1, *kernel],
            "padding_mode": "CALCULATED",
            "ceil_mode": bool(call.integer("ceil_mode", 0)),
            "global_pooling": False,
        }
        if type_ == "AvgPoolV2":
            settings["exclusive"] = not call.integer("count_include_pad", 0)
        call.finish(call.emit(type_, [call.input(0)], {**window, **settings}))

    return translate


def _global_average_pool(call: Call) -> None:
    if len(call.input(0).shape) != 4:
        raise UnsupportedError(f"a window over {len(call.input(0).shape) - 2} dimensions, expected 2", code="LB2311")
    settings: dict[str, Attribute] = {
        "ksize": [1, 1, *call.input(0).shape[2:]],
        "strides": [1, 1, 1, 1],
        "pads": [0, 0, 0, 0],
        "padding_mode": "CALCULATED",
        "ceil_mode": False,
        "exclusive": True,
        "global_pooling": True,
        "data_format": "NCHW",
    }
    call.finish(call.emit("AvgPoolV2", [call.input(0)], settings))


def _reduce_mean(call: Call) -> None:
    axes = call.axes(1)
    if not axes and call.integer("noop_with_empty_axes", 0):
        call.finish(call.input(0))
        return
    settings: dict[str, Attribute] = {"axes": axes or list(range(len(call.input(0).shape))), "keep_dims": bool(call.integer("keepdims", 1))}
    call.finish(call.emit("ReduceMeanD", [call.input(0)], settings))


def _matmul(call: Call) -> None:
    left, right = call.inputs()
    if min(len(left.shape), len(right.shape)) < 2:
        raise UnsupportedError("a factor of one dimension", code="LB2311")
    if len(left.shape) == len(right.shape) == 2:
        call.finish(call.emit("MatMulV2", [left, right], {"transpose_x1": False, "transpose_x2": False, "offset_x": 0}))
    else:
        call.finish(call.emit("BatchMatMul", [left, right], {"adj_x1": False, "adj_x2": False}))


def _gemm(call: Call) -> None:
    alpha, beta = call.number("alpha", 1), call.number("beta", 1)
    factors: dict[str, Attribute] = {"transpose_x1": bool(call.integer("transA", 0)), "transpose_x2": bool(call.integer("transB", 0))}
    factors["offset_x"] = 0
    bias = call.constant(2)
    columns = call.shape()[1]
    direct = bias is not None and alpha == beta == 1 and bias.shape == (columns,)
    added = call.has(2) and beta != 0 and not direct
    result = call.emit(
        "MatMulV2", call.inputs() if direct else call.inputs()[:2], factors, suffix="_product" if added or alpha != 1 else ""
    )
    if alpha != 1:
        result = call.emit("Mul", [result, call.scalar(alpha, "_alpha")], suffix="_scaled" if added else "")
    if added:
        other = call.input(2)
        if beta != 1:
            other = call.emit("Mul", [other, call.scalar(beta, "_beta")], shape=other.shape, suffix="_bias")
        result = call.emit("Add", [result, other])
    call.finish(result)


def _softmax(call: Call) -> None:
    x = call.input(0)
    axis = call.integer("axis", -1 if call.opset >= 13 else 1) % len(x.shape)
    if call.opset >= 13 or axis == len(x.shape) - 1:
        call.finish(call.emit("SoftmaxV2", [x], {"axes": [axis]}))
        return
    # before opset 13 the dimensions from the axis on were taken as one
    if call.state.model.gears is not None and call.state.model.gears.kind != "batch":
        raise UnsupportedError("several axes as one, which is not made for gears of sizes", code="LB2311")
    flat = (math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))
    rows = call.emit("Reshape", [x], shape=flat, suffix="_rows")
    result = call.emit("SoftmaxV2", [rows], {"axes": [1]}, shape=flat, suffix="_softmax")
    call.finish(call.emit("Reshape", [result]))


def _reshape(call: Call) -> None:
    """Translate all that gives the same elements another shape; the shape is in the output's descriptor."""
    model = call.state.model
    if call.has(1) and call.constant(1) is None:
        raise UnsupportedError("its shape is not a constant", code="LB2311")
    for index, shapes in enumerate(model.shapes if model.gears else ()):
        if model.gears is not None and shapes[call.node.output[0]][1:] != call.shape()[1:]:
            here, there = gear_text(model.gears, index), gear_text(model.gears, model.largest)
            found = f"{list(shapes[call.node.output[0]])} for {here}, {list(call.shape())} for {there}"
            wanted = "the batch must come first" if model.gears.kind == "batch" else "only its first dimension may vary"
            raise UnsupportedError(f"a result {found}: with gears {wanted}", code="LB2311")
    call.finish(call.input(0) if call.input(0).shape == call.shape() else call.emit("Reshape", [call.input(0)]))


def _transpose(call: Call) -> None:
    rank = len(call.input(0).shape)
    call.finish(call.emit("TransposeD", [call.input(0)], {"perm": call.integers("perm", range(rank)[::-1])}))


def _concat(call: Call) -> None:
    axis = call.integer("axis", 1) % len(call.shape())
    call.finish(call.emit("ConcatD", call.inputs(), {"concat_dim": axis, "N": len(call.node.input)}))


def _batch_normalization(call: Call) -> None:
    """Translate to a product and a sum; where a convolution comes before, `fold_batch_normalization` has left nothing to do."""
    call.refuse_other_outputs()
    scale, shift = normalization(call.node, call.state.model.constants)
    rank = len(call.input(0).shape)
    shape = (-1, *[1] * (rank - 2)) if rank > 1 else (-1,)
    dtype = call.state.dtype(call.node.output[0])
    factor = call.state.graph.constant(scale.reshape(shape), dtype, f"{call.name}_scale")
    term = call.state.graph.constant(shift.reshape(shape), dtype, f"{call.name}_shift")
    product = call.emit("Mul", [call.input(0), factor], suffix="_scaled")
    call.finish(call.emit("Add", [product, term]))


def _non_zero(call: Call) -> None:
    """Translate to an operator whose result is as long as the data say, and at most as long as the input has elements."""
    model, x = call.state.model, call.input(0)
    if model.gears is not None or call.node.output[0] not in model.outputs:
        raise UnsupportedError("a result whose shape depends on the data, which is made for an output of a model of one size only")
    op = call.state.graph.add("NonZero", call.name, [x], [("int64", call.shape())], {"transpose": True})
    op.outputs[0] = replace(op.outputs[0], raw_nbytes=nbytes_of("int64", (len(x.shape), *x.shape)))
    call.finish(op.outputs[0])


TRANSLATORS: dict[str, Translator] = {
    "Abs": _unary("Abs"),
    "Add": _variadic("Add"),
    "AveragePool": _pool("AvgPoolV2"),
    "BatchNormalization": _batch_normalization,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": _concat,
    "Conv": _conv,
    "Div": _divide,
    "Dropout": _identity,
    "Exp": _unary("Exp"),
    "Flatten": _reshape,
    "Gemm": _gemm,
    "GlobalAveragePool": _global_average_pool,
    "Identity": _identity,
    "LeakyRelu": _leaky_relu,
    "MatMul": _matmul,
    "Max": _variadic("Maximum"),
    "MaxPool": _pool("MaxPoolV3"),
    "Min": _variadic("Minimum"),
    "Mul": _variadic("Mul"),
    "Neg": _unary("Neg"),
    "NonZero": _non_zero,
    "ReduceMean": _reduce_mean,
    "Relu": _unary("Relu"),
    "Reshape": _reshape,
    "Sigmoid": _unary("Sigmoid"),
    "Softmax": _softmax,
    "Sqrt": _unary("Sqrt"),
    "Squeeze": _reshape,
    "Sub": _variadic("Sub"),
    "Tanh": _unary("Tanh"),
    "Transpose": _transpose,
    "Unsqueeze": _reshape,
}
"""What the maker can do, by ONNX operator; Constant is not among them because constants are folded before."""
