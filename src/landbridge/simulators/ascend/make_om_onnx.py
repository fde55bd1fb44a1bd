"""Prepare an ONNX model for the maker of OM files: fixed shapes for each gear, constants folded, nothing dead.

A model with gears is specialised once for each; its graph must be the same in all of them. What computes shapes (Shape, Gather …)
folds away here, so that only operators on data are left for the maker.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # protobuf has no types
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnx.inliner import inline_local_functions
from onnx.reference import ReferenceEvaluator
from onnx.shape_inference import InferenceError, infer_shapes

from landbridge.runtime.errors import ModelError, UnsupportedError
from landbridge.runtime.signature import Gears

MIN_OPSET = 7
"""Older operators have attributes that nothing writes any more."""

_SHAPE_INPUTS = {("Reshape", 1), ("Squeeze", 1), ("Unsqueeze", 1)}
"""Inputs whose value is in the shape of the result, so that it may differ from gear to gear."""


_NOT_FOLDED = frozenset({"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli"})
"""Operators that give something else each time."""


@dataclass(frozen=True)
class Value:
    """One input or output of the model; an extent is None where the gears decide it."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]


@dataclass(frozen=True)
class Prepared:
    """A model in the largest gear, and what differs in the others.

    Attributes:
        inputs: the user's, in order.
        outputs: their names, in order.
        nodes: all that is left, in an order in which they can be computed.
        constants: by name, folded ones included.
        shapes: for each gear (one for a model without gears), the shape of every value, with -1 where only the data will tell.
        dtypes: of every value, in NumPy's words.
        gears: batches ascending, other kinds in the caller's order; None for a model of one size.
        largest: which gear the nodes and constants are of: the one whose inputs have the most elements.
        opset: of ONNX's own operators.
    """

    name: str
    inputs: tuple[Value, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Any, ...]
    constants: dict[str, NDArray[Any]]
    shapes: tuple[dict[str, tuple[int, ...]], ...]
    dtypes: dict[str, str]
    gears: Gears | None
    largest: int
    opset: int

    def shape(self, value: str) -> tuple[int, ...]:
        """Return the shape of a value in the largest gear."""
        return self.shapes[self.largest][value]

    def largest_shape(self, value: str) -> tuple[int, ...]:
        """Return the shape of a value in the gear in which it has the most elements, which may be another one than the largest."""
        return max((shapes[value] for shapes in self.shapes), key=math.prod)


def read_model(model: Any) -> Any:
    """Return the ``ModelProto`` that ``model`` is, holds as bytes, or names as a path.

    Raises:
        ModelError: the file cannot be read, or is no ONNX model.
    """
    if isinstance(model, onnx.ModelProto):
        return model
    try:
        found = onnx.load_from_string(model) if isinstance(model, bytes) else onnx.load(str(Path(model)))
    except OSError as error:
        raise ModelError(f"cannot read the model: {error.strerror or error}", at=str(model), code="LB2001") from error
    except DecodeError as error:
        at = "model" if isinstance(model, bytes) else str(model)
        raise ModelError("not an ONNX model", at=at, hint="give a file that an ONNX exporter wrote", code="LB2002") from error
    if not found.graph.output:
        raise ModelError("not an ONNX model, or one without outputs", hint="give a file that an ONNX exporter wrote", code="LB2002")
    return found


def prepare(model: Any, gears: Gears | None) -> Prepared:
    """Return ``model`` specialised for every gear.

    Raises:
        ModelError: not a valid model; dynamic dimensions that no gear decides; gears without a dynamic dimension.
        UnsupportedError: the graph is another one in each gear.
    """
    model = inline_local_functions(model)
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    name = model.graph.name or "model"
    if opset < MIN_OPSET:
        raise UnsupportedError(
            f"opset {opset}, expected {MIN_OPSET} or later", at=name, hint="convert the model (onnx.version_converter)", code="LB2311"
        )
    inputs = tuple(_read_inputs(model, name, gears))
    _check_gears(inputs, gears, name)
    _check_names(model.graph, name)
    sizes = [_extents(inputs, gears, choice) for choice in gears.choices] if gears else [_extents(inputs, None, ())]
    largest = max(range(len(sizes)), key=lambda index: sum(math.prod(shape) for shape in sizes[index]))
    special = [_specialise(model, inputs, shapes, opset) for shapes in sizes]
    if gears is not None:
        _check_same(special, gears, largest)
    nodes, constants, _, dtypes = special[largest]
    outputs = tuple(value.name for value in model.graph.output)
    return Prepared(name, inputs, outputs, tuple(nodes), constants, tuple(entry[2] for entry in special), dtypes, gears, largest, opset)


def explain_missing_shape(model: Any, value: str) -> ModelError:
    """Return the error for a value whose shape ONNX's inference does not find, with its reason where it has one."""
    reason = "ONNX's inference does not tell it"
    try:
        infer_shapes(model, strict_mode=True, data_prop=True)
    except InferenceError as error:
        reason = str(error).strip().splitlines()[-1]
    return ModelError(f"the shape of '{value}' is not known: {reason}", at=model.graph.name or "model", code="LB2009")


def _read_inputs(model: Any, at: str, gears: Gears | None) -> Iterator[Value]:
    initialised = {tensor.name for tensor in model.graph.initializer}
    for value in model.graph.input:
        if value.name in initialised:
            continue
        if not value.type.HasField("tensor_type") or not value.type.tensor_type.HasField("shape"):
            raise ModelError(f"input '{value.name}' is not a tensor of known rank", at=at, code="LB2009")
        dims = value.type.tensor_type.shape.dim
        shape = tuple(dim.dim_value if dim.HasField("dim_value") and dim.dim_value >= 0 else None for dim in dims)
        fix = _misfit(shape, gears)
        if fix:
            found = [dim.dim_param or "?" if extent is None else extent for dim, extent in zip(dims, shape, strict=True)]
            raise ModelError(f"input '{value.name}' has the shape {found}", at=at, hint=fix, code="LB2009")
        yield Value(value.name, _dtype(value.type.tensor_type.elem_type), shape)


def _misfit(shape: tuple[int | None, ...], gears: Gears | None) -> str:
    """Return what to do about dynamic dimensions that the gears do not decide, "" where there are none."""
    dynamic = [axis for axis, extent in enumerate(shape) if extent is None]
    if gears is None and dynamic:
        return "fix all dimensions but the first" if dynamic != [0] else "give gears, such as (1, 2, 4)"
    if gears is not None and gears.kind == "batch" and dynamic not in ([], [0]):
        return "fix all dimensions but the first"
    if gears is not None and gears.kind == "image" and dynamic and (len(shape) != 4 or dynamic != [2, 3]):
        return "image sizes are for inputs [n, c, height, width] with a dynamic height and width"
    return ""


def _check_gears(inputs: Sequence[Value], gears: Gears | None, at: str) -> None:
    if gears is None:
        return
    dynamic = sum(value.shape.count(None) for value in inputs)
    widths = {"batch": 1, "image": 2}
    what = {"batch": "batches", "image": "pairs of height and width", "dims": f"tuples of {dynamic} extents"}[gears.kind]
    lengths = {len(choice) for choice in gears.choices}
    good = lengths == {widths.get(gears.kind, dynamic)} and len(set(gears.choices)) == len(gears.choices)
    if dynamic and (not good or any(extent < 1 for choice in gears.choices for extent in choice)):
        found = [choice[0] if gears.kind == "batch" else choice for choice in gears.choices]
        raise ModelError(f"gears {found}, expected different positive {what}", at=at)
    if not dynamic:
        what = "batch" if gears.kind == "batch" else "size"
        raise ModelError(
            f"gears for a model without a dynamic {what}", at=at, hint="give the inputs' dynamic dimensions names in place of numbers"
        )


def _extents(inputs: Sequence[Value], gears: Gears | None, choice: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return the shapes of the inputs in one gear."""
    rest = iter(choice)
    shapes = []
    for value in inputs:
        if gears is not None and gears.kind != "dims":
            rest = iter(choice)  # each input has the same batch, or the same height and width
        shapes.append(tuple(next(rest) if extent is None else extent for extent in value.shape))
    return shapes


def _check_names(graph: Any, at: str) -> None:
    """Check that whatever is read is made before."""
    known = {"", *(value.name for value in graph.input), *(tensor.name for tensor in graph.initializer)}
    for node in graph.node:
        missing = next((name for name in node.input if name not in known), None)
        if missing is not None:
            raise ModelError(f"'{node.name or node.op_type}' reads '{missing}', which nothing before it makes", at=at, code="LB2003")
        known.update(node.output)
    missing = next((value.name for value in graph.output if value.name not in known), None)
    if missing is not None:
        raise ModelError(f"nothing makes the output '{missing}'", at=at, code="LB2003")


_Special = tuple[list[Any], dict[str, NDArray[Any]], dict[str, tuple[int, ...]], dict[str, str]]


def _specialise(model: Any, inputs: tuple[Value, ...], shapes_of_inputs: Sequence[tuple[int, ...]], opset: int) -> _Special:
    """Return nodes, constants, shapes and dtypes of the model in one gear."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    del fixed.graph.value_info[:]
    made = {name for node in fixed.graph.node for name in node.output}
    for output in fixed.graph.output:
        if output.name in made:  # it says "n" where inference finds the gear
            output.type.tensor_type.ClearField("shape")
    fixed_shapes = {entry.name: shape for entry, shape in zip(inputs, shapes_of_inputs, strict=True)}
    for value in fixed.graph.input:
        for dim, extent in zip(value.type.tensor_type.shape.dim, fixed_shapes.get(value.name, ()), strict=False):
            dim.dim_value = extent
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in fixed.graph.initializer}
    while True:
        shapes, dtypes = _infer(fixed)
        nodes: list[Any] = []
        folded: dict[str, NDArray[Any]] = {}
        for node in fixed.graph.node:
            values = _fold(node, {**constants, **folded}, shapes, opset)
            if values is None:
                nodes.append(node)
            folded.update(values or {})
        constants.update(folded)
        if not folded:
            break
        fixed.graph.initializer.extend(numpy_helper.from_array(array, key) for key, array in folded.items())
        del fixed.graph.node[:]
        fixed.graph.node.extend(nodes)
    shapes.update({key: tuple(array.shape) for key, array in constants.items()})
    open_ended = [node for node in nodes if node.op_type == "NonZero" and node.input[0] in shapes]
    shapes.update({node.output[0]: (len(shapes[node.input[0]]), -1) for node in open_ended})
    dtypes.update({key: array.dtype.name for key, array in constants.items()})
    return _live(nodes, {output.name for output in fixed.graph.output}), constants, shapes, dtypes


def _infer(model: Any) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    graph = infer_shapes(model, data_prop=True).graph
    shapes, dtypes = {}, {}
    for value in (*graph.input, *graph.value_info, *graph.output):
        tensor = value.type.tensor_type
        dtypes[value.name] = _dtype(tensor.elem_type)
        if tensor.HasField("shape") and all(dim.HasField("dim_value") for dim in tensor.shape.dim):
            shapes[value.name] = tuple(dim.dim_value for dim in tensor.shape.dim)
    return shapes, dtypes


def _dtype(code: int) -> str:
    return str(helper.tensor_dtype_to_np_dtype(code).name) if code else ""


def _fold(node: Any, constants: dict[str, NDArray[Any]], shapes: dict[str, tuple[int, ...]], opset: int) -> dict[str, NDArray[Any]] | None:
    """Return the outputs of a node whose inputs are constants, or None; of Shape it is enough that the shape is known."""
    standard = node.domain in ("", "ai.onnx") and onnx.defs.has(node.op_type)
    if not standard or node.op_type in _NOT_FOLDED or any(attribute.g.ByteSize() or attribute.graphs for attribute in node.attribute):
        return None
    names = [name for name in node.input if name]
    if node.op_type == "Shape" and names and names[0] in shapes:
        feeds = {names[0]: np.broadcast_to(np.float32(0), shapes[names[0]])}
    elif all(name in constants for name in names):
        feeds = {name: constants[name] for name in names}
    else:
        return None
    ins = [helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape) for name, array in feeds.items()]
    outs = [helper.make_empty_tensor_value_info(name) for name in node.output if name]
    graph = helper.make_graph([node], "fold", ins, outs)
    found = ReferenceEvaluator(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])).run(None, feeds)
    return {value.name: np.asarray(array) for value, array in zip(outs, found, strict=True)}


def _live(nodes: list[Any], wanted: set[str]) -> list[Any]:
    """Return the nodes that the outputs need."""
    needed, kept = set(wanted), []
    for node in reversed(nodes):
        if needed & set(node.output):
            needed |= set(node.input)
            kept.append(node)
    return kept[::-1]


def gear_text(gears: Gears, index: int) -> str:
    """Return one gear as one says it, such as ``batch 8`` or ``size 224x224``."""
    return f"{'batch' if gears.kind == 'batch' else 'size'} {'x'.join(map(str, gears.choices[index]))}"


def _check_same(special: list[_Special], gears: Gears, largest: int) -> None:
    """Check that only shapes differ between gears: nodes and constants must be the same."""
    nodes, constants = special[largest][:2]
    for index, (other_nodes, other_constants, _, _) in enumerate(special):
        if [node.output[0] for node in nodes] != [node.output[0] for node in other_nodes]:
            raise UnsupportedError(
                f"the model computes in another way for {gear_text(gears, index)} than for {gear_text(gears, largest)}",
                hint="make a file for each",
                code="LB2311",
            )
        for node in nodes:
            for position, name in enumerate(node.input):
                differs = name in constants and not np.array_equal(constants[name], other_constants.get(name, np.empty(0)), equal_nan=False)
                if differs and (node.op_type, position) not in _SHAPE_INPUTS:
                    what = "batch" if gears.kind == "batch" else "size"
                    raise UnsupportedError(
                        f"'{name}' depends on the {what}, and the data do on it",
                        at=f"{node.name or node.output[0]} ({node.op_type})",
                        code="LB2311",
                    )
