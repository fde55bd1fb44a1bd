"""Make a simulated Cambricon offline model from ONNX models, to develop without the vendor's compiler.

The file has a function for each ONNX model, whose graph is in it as the Ascend simulator takes it: the simulator runs it, a device
would not, and it says so in its first bytes. As on the device, images are NHWC: inputs and outputs of rank 4 are transposed.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx
from onnx import helper

from landbridge.runtime.errors import UsageError
from landbridge.runtime.signature import BATCH, Port
from landbridge.runtime.vendors.atlas import AtlasVendor
from landbridge.runtime.vendors.cambricon.format import CORES, DTYPES, QUANT8, SIMULATED_HEAD, SIMULATED_MAGIC, SIMULATED_VERSION
from landbridge.simulators.ascend.make_om import make_om
from landbridge.simulators.ascend.make_om_onnx import read_model

_CODES = {dtype: code for code, dtype in DTYPES.items() if code != QUANT8}
_TO_NHWC, _TO_NCHW = (0, 2, 3, 1), (0, 3, 1, 2)
_TWO_BATCHES = (1, 2)
"""Gears of a graph whose batch may change: any two will do, since its function takes every batch."""


@dataclass(frozen=True)
class _Options:
    """The arguments of `make_cambricon` that concern every function."""

    is_mutable: bool
    sizes: Mapping[str, int]
    input_dtype: str | None
    output_dtype: str | None
    quantised: frozenset[str]


def make_cambricon(
    models: Any,
    *,
    tensor_dim_mutable: bool = False,
    sizes: Mapping[str, int] | None = None,
    input_dtype: str | None = None,
    output_dtype: str | None = None,
    quantised: Collection[str] = (),
    core: str = "MLU270",
) -> bytes:
    """Return a simulated offline model; the same bytes for the same models.

    Args:
        models: a ``ModelProto``, its bytes or the path of a file, for a single function ``subnet0``; or a mapping of symbols to those.
        tensor_dim_mutable: dynamic dimensions may be any at run time; otherwise they are what ``sizes`` says.
        sizes: the extent that each dynamic dimension is made for; 1 for those it does not name.
        input_dtype: of all inputs that are of a floating type in the models; None leaves them as they are.
        output_dtype: the same for outputs.
        quantised: names of int8 inputs and outputs that the file calls QUANT8: whose scale the vendor keeps to itself.
        core: what devices it is for.

    Raises:
        ModelError: not a valid model, or one whose shapes are not known.
        UnsupportedError: operators that cannot be translated.
        UsageError: an unknown core; a name in ``quantised`` that is no int8 input or output.

    Example:
        >>> from onnx import parser
        >>> text = '<ir_version: 8, opset_import: ["" : 17]> g (float[2, 4] x) => (float[2, 4] y) { y = Relu(x) }'
        >>> make_cambricon(parser.parse_model(text), input_dtype="float16")[:29]
        b'landbridge simulated cambrico'
    """
    if core not in CORES.values():
        raise UsageError(f"unknown core '{core}'", hint=f"cores are {', '.join(CORES.values())}")
    named = models if isinstance(models, Mapping) else {"subnet0": models}
    options = _Options(tensor_dim_mutable, sizes or {}, input_dtype, output_dtype, frozenset(quantised))
    functions = [_function(symbol, read_model(model), options) for symbol, model in named.items()]
    strange = sorted(options.quantised.difference(*(names for names, _ in functions)))
    if strange:
        raise UsageError(f"quantised: {', '.join(strange)}, expected names of int8 inputs or outputs")
    body = b"".join(packed for _, packed in functions)
    code = next(code for code, name in CORES.items() if name == core)
    return SIMULATED_HEAD.pack(SIMULATED_MAGIC, SIMULATED_VERSION, code, SIMULATED_HEAD.size + len(body), len(functions)) + body


def _function(symbol: str, original: Any, options: _Options) -> tuple[set[str], bytes]:
    """Return the names of a function's int8 ports, and the function as it is in the file."""
    model = onnx.ModelProto()
    model.CopyFrom(original)
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    outputs = list(model.graph.output)
    batch = next((_name(value, 0) for value in inputs if options.is_mutable and _rank(value) and _name(value, 0)), "")
    open_axes = {value.name: _fix(value, batch, options.sizes) for value in inputs}
    for value in (*outputs, *model.graph.value_info):
        _fix(value, batch, options.sizes)
    names = [value.name for value in (*inputs, *outputs)]
    _make_nhwc(model, inputs, outputs)
    graph = make_om(
        model, gears=_TWO_BATCHES if batch else (), name=symbol, input_dtype=options.input_dtype, output_dtype=options.output_dtype
    )
    signature = AtlasVendor().read_signature(graph, {})
    rows = options.sizes.get(batch, 1)
    resizable = any(axis > 0 for axes in open_axes.values() for axis in axes)
    ports = []
    for index, (name, port) in enumerate(zip(names, (*signature.inputs, *signature.outputs), strict=True)):
        free = {axis for axis, extent in enumerate(port.shape) if extent == BATCH}
        if index < len(inputs):
            nhwc = {axis if len(port.shape) != 4 else _TO_NHWC.index(axis) for axis in open_axes[name] if axis > 0}
        else:
            nhwc = {1, 2} if resizable and len(port.shape) == 4 else set()
        ports.append(_port(name, port, rows, free | (nhwc if options.is_mutable else set()), options.quantised))
    counts = struct.pack("<III", options.is_mutable, len(inputs), len(outputs))
    packed = b"".join((_text(symbol), counts, *ports, struct.pack("<Q", len(graph)), graph))
    int8 = {name for name, port in zip(names, (*signature.inputs, *signature.outputs), strict=True) if port.dtype == "int8"}
    return int8, packed


def _rank(value: Any) -> int:
    return len(value.type.tensor_type.shape.dim)


def _name(value: Any, axis: int) -> str:
    """Return the name of a dynamic dimension, "" of a fixed one."""
    dim = value.type.tensor_type.shape.dim[axis]
    return str(dim.dim_param)


def _fix(value: Any, batch: str, sizes: Mapping[str, int]) -> set[int]:
    """Give the dynamic dimensions of a value their sizes, but for a leading one that is the batch; return which are dynamic."""
    dynamic = {axis for axis in range(_rank(value)) if _name(value, axis)}
    for axis in dynamic:
        name = _name(value, axis)
        if axis > 0 or name != batch:
            value.type.tensor_type.shape.dim[axis].dim_value = sizes.get(name, 1)
    return dynamic


def _make_nhwc(model: Any, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
    """Put a transposition at each input and output of rank 4."""
    graph = model.graph
    nodes = list(graph.node)
    before, after = [], []
    for value in inputs:
        if _rank(value) == 4:
            inner = f"{value.name}_nchw"
            for node in nodes:
                node.input[:] = [inner if name == value.name else name for name in node.input]
            before.append(helper.make_node("Transpose", [value.name], [inner], name=f"{value.name}_to_nchw", perm=_TO_NCHW))
            _permute(value, _TO_NHWC)
    for value in outputs:
        if _rank(value) == 4:
            inner = f"{value.name}_nchw"
            for node in nodes:
                node.input[:] = [inner if name == value.name else name for name in node.input]
                node.output[:] = [inner if name == value.name else name for name in node.output]
            after.append(helper.make_node("Transpose", [inner], [value.name], name=f"{value.name}_to_nhwc", perm=_TO_NHWC))
            _permute(value, _TO_NHWC)
    del graph.node[:]
    graph.node.extend([*before, *nodes, *after])


def _permute(value: Any, order: Sequence[int]) -> None:
    dims = value.type.tensor_type.shape.dim
    extents = [type(dims[axis])() for axis in order]
    for extent, axis in zip(extents, order, strict=True):
        extent.CopyFrom(dims[axis])
    del dims[:]
    dims.extend(extents)


def _port(name: str, port: Port, rows: int, free: Collection[int], quantised: Collection[str]) -> bytes:
    code = QUANT8 if name in quantised and port.dtype == "int8" else _CODES[port.dtype]
    extents = [rows if extent == BATCH else int(extent) for extent in port.shape]
    pairs = [struct.pack("<ii", extent, -1 if axis in free else extent) for axis, extent in enumerate(extents)]
    return b"".join((_text(name), struct.pack("<II", code, len(extents)), *pairs))


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<I", len(data)) + data
