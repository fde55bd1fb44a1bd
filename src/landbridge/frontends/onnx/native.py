"""Import one ONNX operator at a time through TVM's importer, and try whether TVM can lower what came out.

Each node is converted in a function of its own, so that a node that fails takes no other with it, keeps no half-made bindings,
and every value gets the user's name. `Declined` says why a node cannot be native.
"""

from __future__ import annotations

import contextlib
import io
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import tvm
import tvm_ffi
from tvm import relax, tirx
from tvm.relax.frontend.onnx.onnx_frontend import ONNXGraphImporter

from landbridge.frontends.onnx.graph import Node
from landbridge.frontends.onnx.operators import RULES
from landbridge.frontends.onnx.operators.agreement import AGREED, agreed
from landbridge.frontends.onnx.operators.call import LATE, Call, Declined, Result, Trimmed
from landbridge.frontends.onnx.operators.narrow import WIDE, is_narrow, narrow, widen
from landbridge.frontends.onnx.scout import Scout
from landbridge.frontends.onnx.shapes import MAX_ELEMENTS, Extents, constant_of, elements, is_static, shape_extents
from landbridge.ir.body import MAIN, Binding, Body, infer_type, is_constant, substitute
from landbridge.ir.devices import VDevices
from landbridge.ir.sizes import dtype_of, shape_of
from landbridge.runtime.errors import PassError


@dataclass(frozen=True)
class Converted:
    """What a node became.

    Attributes:
        bindings: in order; their variables have no names of the user yet.
        outputs: for each output of the node, as far as the importer gives them: a variable (of ``bindings`` or an argument), a
            constant, a shape, or what is `Trimmed` of two variables.
        functions: TensorIR functions that the bindings call, by their variable.
    """

    bindings: tuple[Binding, ...]
    outputs: tuple[Any, ...]
    functions: dict[Any, Any] = field(default_factory=dict)


class Converter:
    """Converts nodes of one graph."""

    def __init__(self, opset: int, dims: Sequence[Any], scout: Scout) -> None:
        """Take the version of ONNX's operators, the variables of the symbolic dimensions, and who asks TVM first."""
        self._opset = opset
        self._dims = tuple(dims)
        self._scout = scout
        self._converted: dict[Any, tuple[list[Any], Converted]] = {}

    def convert(
        self, node: Node, arguments: Sequence[Any], results: Sequence[Result], refused: str, walk_on: Callable[[], None]
    ) -> Converted:
        """Return the node in Relax: by a rule of ours where there is one that takes it, else by TVM's importer.

        Args:
            arguments: for each input a variable, a constant, a shape, or None where it is left out.
            results: what the model says of each output.
            refused: why TVM's importer is not to be asked, or "".
            walk_on: visits this node and all after it, in a child that finds out whether TVM survives them.

        Raises:
            Declined: it cannot be native.
        """
        key = (self._opset, *_key(node, arguments, results))
        params = _variables(arguments)
        like = (key, refused, tuple(params.index(value) if isinstance(value, relax.Var) else None for value in arguments))
        if like in self._converted:
            return _with_arguments(*self._converted[like], params)
        danger = self._scout.danger(key, walk_on)
        if danger:
            raise Declined(danger)
        converted = self._convert(node, arguments, results, refused, key)
        says_names = any(var.name_hint.startswith(AGREED) for var in converted.functions)  # of this node's values, if it fails
        if not says_names and not any(is_constant(value) and not _is_small(value) for value in arguments):
            self._converted[like] = (params, converted)
        return converted

    def _convert(self, node: Node, arguments: Sequence[Any], results: Sequence[Result], refused: str, key: Any) -> Converted:
        module, pattern = self._import(node, arguments, results, refused)
        module = with_static_shapes(module)
        body = _body(module)
        functions = {var: function for var, function in module.functions.items() if var.name_hint != MAIN}
        bindings = tuple(binding for binding in body.bindings if not isinstance(binding.value, relax.Tuple))
        flat = iter(body.outputs)
        outputs = tuple(_next(flat, part) for part in pattern)
        types = [None if isinstance(output, Trimmed) else output.ty for output in outputs]
        types = [found if isinstance(found, relax.TensorType) else None for found in types]
        check_bindings(bindings, types)
        problem = self._scout.problem(key, lambda: lowering_problem(module))
        if problem:
            raise Declined(problem, types)
        return Converted(bindings, outputs, functions)

    def _import(self, node: Node, arguments: Sequence[Any], results: Sequence[Result], refused: str) -> tuple[tvm.IRModule, list[Any]]:
        """Return a module whose main function is the node, and its outputs, None for those that the function returns."""
        importer = ONNXGraphImporter({}, "float32", sanitize=False)
        importer.opset = self._opset
        params = _variables(arguments)
        dims = relax.Var("landbridge_dims", relax.ShapeType(list(self._dims)))
        try:
            with quiet(), importer.bb.function(MAIN, [*params, dims]):
                with importer.bb.dataflow():
                    made = [_normalized(importer.bb, value) for value in self._made(importer, node, arguments, results, refused)]
                    returned = [part for value in made for part in _tensors(value)]
                    result = importer.bb.emit_output(relax.Tuple(returned))
                importer.bb.emit_func_output(result)
            module = relax.transform.CanonicalizeBindings()(importer.bb.finalize())
        except Declined:
            raise
        except Exception as error:  # TVM raises anything; whatever it is becomes the reason
            raise Declined(f"TVM's importer refuses it: {first_line(error)}") from error
        if sum(isinstance(value, Trimmed) for value in made) > 1:  # a unit of a program has one step that cuts an output out
            raise Declined("more than one of its outputs is as large as the data say")
        pattern: list[Any] = []
        for value in made:
            if not isinstance(value, Trimmed) and _tensors(value):
                pattern.append(None)
            elif isinstance(value, relax.Var):
                raise Declined(LATE)
            else:
                pattern.append(value)
        return relax.transform.DeadCodeElimination([MAIN])(module), pattern

    def _made(self, importer: Any, node: Node, arguments: Sequence[Any], results: Sequence[Result], refused: str) -> list[Any]:
        """Return the outputs that are wanted, those of narrow types rounded; the arguments of narrow types are widened."""
        wide = [widen(importer.bb, value) if _is_narrow(value) else value for value in arguments]
        wide = agreed(importer.bb, node, wide)
        rule = RULES.get(node.type)
        asked = partial(_asked, importer)
        own = NotImplemented if rule is None else rule(Call(node, self._opset, tuple(wide), tuple(results), importer.bb, refused, asked))
        if own is NotImplemented:
            if refused:
                raise Declined(refused)
            importer._nodes = {name: value for name, value in zip(node.inputs, wide, strict=True) if name}
            importer._construct_nodes(_OneNode([node.proto]))
            made = [importer._nodes[name] for name in node.makes]
        else:
            outputs = own if isinstance(own, list | tuple) else [own]
            made = [output for name, output in zip(node.outputs, outputs, strict=False) if name]
        dtypes = [result.dtype for name, result in zip(node.outputs, results, strict=True) if name]
        return [_rounded(importer.bb, value, dtype) for value, dtype in zip(made, dtypes, strict=False)]


def _normalized(builder: Any, value: Any) -> Any:
    return value if isinstance(value, Trimmed) else builder.normalize(value)


def _tensors(value: Any) -> list[Any]:
    """Return the tensors that an output needs; a shape needs none."""
    if isinstance(value, Trimmed):
        return [value.tensor, value.extents]
    return [] if isinstance(value.ty, relax.ShapeType) or tvm.ir.is_prim_expr(value) else [value]


def _next(flat: Iterator[Any], part: Any) -> Any:
    """Return an output: ``part``, or the next tensors that came out in its place."""
    if isinstance(part, Trimmed):
        return Trimmed(next(flat), next(flat))
    return next(flat) if part is None else part


def _key(node: Node, arguments: Sequence[Any], results: Sequence[Result]) -> Any:
    """Return what decides whether TVM can lower a node: operator, attributes, and types; small constants may be attributes too."""
    found: list[Any] = [
        node.type,
        *((bool(name), result.dtype, _type_text(result.type)) for name, result in zip(node.outputs, results, strict=True)),
        *(attribute.SerializeToString(deterministic=True) for attribute in node.proto.attribute),
    ]
    for argument in arguments:
        if is_constant(argument):
            found.append(("constant", _type_text(argument.ty), argument.value.numpy().tobytes() if _is_small(argument) else None))
        else:
            found.append(("variable", _type_text(argument.ty)) if isinstance(argument, relax.Var) else str(argument))
    return tuple(found)


def _type_text(relax_type: Any) -> str:
    """Return a type as text; equal types have equal texts. TVM's own printer takes a hundred times as long."""
    plain = isinstance(relax_type, relax.TensorType) and isinstance(relax_type.shape, relax.ShapeExpr)
    return f"{dtype_of(relax_type)}{shape_of(relax_type)}" if plain and relax_type.vdevice is None else str(relax_type)


def _is_small(constant: Any) -> bool:
    return math.prod(int(extent) for extent in constant.ty.shape) <= MAX_ELEMENTS


def _variables(arguments: Sequence[Any]) -> list[Any]:
    """Return the variables among the arguments, each once."""
    return list(dict.fromkeys(value for value in arguments if isinstance(value, relax.Var)))


def _with_arguments(params: Sequence[Any], converted: Converted, given: Sequence[Any]) -> Converted:
    """Return what another node of the same operator, attributes and types became, of other arguments."""
    new = dict(zip(params, given, strict=True))
    bindings = tuple(Binding(binding.var, substitute(binding.value, new)) for binding in converted.bindings)
    return Converted(bindings, tuple(new.get(output, output) for output in converted.outputs), converted.functions)


@dataclass
class _OneNode:
    """What `ONNXGraphImporter` takes for a graph."""

    node: list[Any]


def _asked(importer: Any, proto: Any, arguments: Sequence[Any]) -> Any:
    """Return the first output of a node by TVM's importer."""
    importer._nodes = {name: value for name, value in zip(proto.input, arguments, strict=True) if name}
    importer._construct_nodes(_OneNode([proto]))
    return importer._nodes[proto.output[0]]


def _is_narrow(value: Any) -> bool:
    return isinstance(value, relax.Var) and is_narrow(dtype_of(value.ty))


def _rounded(builder: Any, value: Any, dtype: str) -> Any:
    """Return an output in the narrow type that it is to have, where it came out in the wide one."""
    if isinstance(value, Trimmed):
        return Trimmed(_rounded(builder, value.tensor, dtype), value.extents)
    value = builder.normalize(value)
    wide = isinstance(value.ty, relax.TensorType) and is_narrow(dtype) and dtype_of(value.ty) == WIDE[dtype]
    return narrow(builder, value, dtype) if wide else value


def first_line(error: BaseException) -> str:
    """Return the most telling line of an exception from TVM, whose last lines often are its message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and not line.lstrip().startswith(("File ", "at ", "---"))]
    text = lines[-1] if lines else type(error).__name__
    return text if len(text) <= 160 else f"{text[:157]}..."


def lowering_problem(module: tvm.IRModule) -> str:
    """Return why TVM does not lower a module to native functions only, or "" where it does."""
    try:
        with quiet():
            lowered = relax.transform.LegalizeOps()(relax.transform.DecomposeOpsForInference(MAIN)(module))
    except Exception as error:  # TVM raises anything; whatever it is becomes the reason
        return f"TVM cannot lower it: {first_line(error)}"
    for binding in _body(lowered).bindings:
        value = binding.value
        if isinstance(value, relax.Call) and getattr(value.op, "name", "") != "relax.call_tir":
            return f"TVM does not lower {getattr(value.op, 'name', None) or value.op}"
    functions = [function for function in lowered.functions.values() if isinstance(function, tirx.PrimFunc)]
    calls = sorted({call for function in functions for call in _outside_calls(function)})
    return f"it calls {calls[0]}, which is a part of TVM's runtime" if calls else ""


def with_static_shapes(module: tvm.IRModule) -> tvm.IRModule:
    """Return the module with shapes that it reads from tensors while it runs in place of them as tensors made from their types."""
    body = _body(module)
    shapes: dict[Any, Any] = {}
    constants: dict[Any, Any] = {}
    bindings: list[Binding] = []
    for binding in body.bindings:
        value = binding.value
        name = getattr(value.op, "name", "") if isinstance(value, relax.Call) else ""
        if isinstance(value, relax.ShapeExpr):
            shapes[binding.var] = value
        elif name == "relax.shape_of" and isinstance(value.args[0].ty.shape, relax.ShapeExpr):
            shapes[binding.var] = value.args[0].ty.shape
        elif name == "relax.shape_to_tensor" and isinstance(shapes.get(value.args[0], value.args[0]), relax.ShapeExpr):
            found = shape_extents(list(shapes.get(value.args[0], value.args[0]).values))
            if is_static(found):
                constants[binding.var] = constant_of(np.array(found.tolist(), np.int64))
            else:
                bindings += _tensor(binding.var, found)
        else:
            bindings.append(Binding(binding.var, substitute(value, constants)))
    if not shapes and len(bindings) == len(body.bindings):
        return module
    outputs = tuple(constants.get(output, output) for output in body.outputs)
    return Body(body.params, tuple(bindings), outputs).write(module, VDevices())


def _tensor(result: Any, found: Extents) -> list[Binding]:
    """Return the bindings that make ``result`` of symbolic extents."""
    bindings = [Binding(relax.Var("extent", infer_type(part)), part) for part in elements(found) if not is_constant(part)]
    calls = iter(bindings)
    parts = [part if is_constant(part) else next(calls).var for part in elements(found)]
    if len(parts) == 1:
        return [Binding(result, bindings[0].value)]
    return [*bindings, Binding(result, relax.op.concat(parts, axis=0))]


def _body(module: tvm.IRModule) -> Body:
    if any(isinstance(binding, relax.MatchCast) for block in module[MAIN].body.blocks for binding in block.bindings):
        raise Declined(LATE)
    return Body.of(module)


def _outside_calls(function: Any) -> list[str]:
    """Return the functions of TVM's runtime that a TensorIR function calls."""
    found: list[str] = []

    def visit(node: Any) -> None:
        if getattr(node.op, "name", "") in _RUNTIME_CALLS:
            found.append(str(node.args[0].value) if node.args and isinstance(node.args[0], tvm.tirx.StringImm) else str(node.op.name))

    tvm_ffi.structural_walk(function.body, (tvm.ir.Call, visit))
    return found


_RUNTIME_CALLS = ("tirx.tvm_call_packed", "tirx.tvm_call_cpacked", "tirx.call_packed", "tirx.call_cpacked", "tirx.call_extern")


def check_bindings(bindings: Sequence[Binding], types: Sequence[Any]) -> None:
    """Check that bindings are calls whose shapes are known before they run.

    Args:
        types: of the outputs, for the error.

    Raises:
        Declined: one is not.
    """
    for binding in bindings:
        if not isinstance(binding.value, relax.Call | relax.TupleGetItem):
            raise Declined(LATE)
        fields = binding.var.ty.fields if isinstance(binding.var.ty, tvm.ir.TupleType) else [binding.var.ty]
        if not all(isinstance(part, relax.TensorType) for part in fields):
            raise Declined(LATE)
        try:
            shapes = [shape_of(part) for part in fields]
        except PassError as error:
            raise Declined(f"TVM gives it a shape that cannot be computed: {error.message}", types) from error
        if None in shapes:
            raise Declined(LATE)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep TVM's importer from printing and warning; what it has to say is in its exceptions."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
