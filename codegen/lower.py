"""Turn the host operators of each segment into kernels and the calls of them.

Every segment becomes one Relax function without devices, and TVM's passes take all of them at once: decompose, legalize, fuse.
What comes back is read as a list of calls of TensorIR functions. A reshape is not an operator here: it stays what it is through
the passes, keeps its neighbours apart, and comes back as one tensor in the place of another; so does a concatenation in one memory, as
several tensors in the place of one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import tvm
import tvm_ffi
from tvm import relax, tirx

from landbridge.codegen.block_channels import block_channels
from landbridge.codegen.bound_indices import legalize_ops
from landbridge.codegen.clean_up import clean_up
from landbridge.codegen.dequantise_weights import dequantise_weights
from landbridge.codegen.fold_constants import fold_constants
from landbridge.codegen.fuse_attention import fuse_attention
from landbridge.codegen.gather_first import gather_first
from landbridge.codegen.graph import Graph, Node, read_graph
from landbridge.codegen.join_views import JOIN, join_views
from landbridge.codegen.kernel_calls import KernelCall, ValueTable, bindings_of, read_kernel_calls
from landbridge.codegen.multiply_quantised import multiply_quantised
from landbridge.codegen.pack_bfloat16 import pack_bfloat16
from landbridge.codegen.pack_integers import pack_integers
from landbridge.codegen.pack_weights import pack_weights
from landbridge.codegen.plain_convolutions import plain_convolutions
from landbridge.codegen.round_to_bfloat16 import round_to_bfloat16
from landbridge.codegen.schedule_steps import Stage, schedule_steps
from landbridge.codegen.simplify import simplify
from landbridge.codegen.single_results import hide_items, show_items, slice_parts
from landbridge.codegen.widen_convolutions import widen_convolutions
from landbridge.codegen.write_over import write_over
from landbridge.ir import body as ir_body
from landbridge.ir.program import Program
from landbridge.ir.sizes import expr_of
from landbridge.runtime.errors import UnsupportedError

_RESHAPE = "relax.reshape"
_NODE = "node"  # variables are named after the node they come from, so that what TVM leaves can be named to the user


@dataclass(frozen=True)
class LoweredStage:
    """A stage after lowering.

    Attributes:
        calls: the kernels of a host stage, in order.
        nodes: the copies and offline models of a device stage, in order.
        operators: the user's names of the operators behind ``calls``.
    """

    calls: tuple[KernelCall, ...] = ()
    nodes: tuple[Node, ...] = ()
    operators: tuple[str, ...] = ()


@dataclass(frozen=True)
class Lowered:
    """A program of kernel calls, copies and offline models.

    Attributes:
        graph: its inputs, outputs and values; values that only kernels see have been added.
        stages: in order.
        same: for a value the one in whose memory it is.
        kernels: the TensorIR functions, by the names that calls use.
        offsets: for values that are parts of another, and computed there, the byte at which they begin in it.
        over: values that are computed over another one, which is not needed any more.
    """

    graph: Graph
    stages: tuple[LoweredStage, ...]
    same: Mapping[int, int]
    kernels: tvm.IRModule
    offsets: Mapping[int, int] = field(default_factory=dict)
    over: frozenset[int] = frozenset()


def unlowerable(program: Program) -> tuple[tuple[str, str], ...]:
    """Return the user's name and the type of each host operator of a placed program that has no native code.

    The front door can move these into fallback regions; `lower` refuses a program that still has any.
    """
    graph = read_graph(program)
    segments = _segments(graph, schedule_steps(graph))
    return _legalize(graph, segments, tvm.target.Target({"kind": "llvm"}))[1]


def lower(graph: Graph, stages: Sequence[Stage], target: Any) -> Lowered:
    """Return the kernels and their calls.

    Args:
        target: the TVM target that operators are legalized for.

    Raises:
        UnsupportedError: operators without native code, all of them named.
    """
    segments = _segments(graph, stages)
    module, refused = _legalize(graph, segments, target)
    if refused:
        listed = ", ".join(f"'{name}' ({operator})" for name, operator in refused)
        raise UnsupportedError(f"no native code for {listed}", hint="let these run in a fallback region", code="LB2301")
    with target, tvm.transform.PassContext(config={"relax.FuseOps.max_depth": _MOST_FUSED}):
        module = show_items(_FUSE(hide_items(module)))
        module = relax.transform.DeadCodeElimination([_symbol(i) for i in range(len(segments))])(module)
    table = ValueTable(list(graph.values), {})
    lowered = []
    for i, (stage, segment) in enumerate(zip(stages, segments, strict=True)):
        table.same.update(segment.same)
        calls = read_kernel_calls(module[_symbol(i)], segment.params, segment.results, table)
        operators = tuple(dict.fromkeys(node.name for node in stage.nodes if node.kind == "host"))
        nodes = tuple(node for node in stage.nodes if node.kind in ("copy", "extern"))
        lowered.append(LoweredStage(calls, nodes, operators if calls else ()))
    kernels = {g.name_hint: f for g, f in module.functions.items() if isinstance(f, tirx.PrimFunc)}
    named = {name: kernels[name].with_attr("global_symbol", name) for name in sorted(kernels)}
    kept = [index for node in graph.nodes if node.kind in ("copy", "extern") for index in (*node.inputs, *node.outputs)]
    kept += [index for _, index in (*graph.inputs, *graph.outputs)]
    shared = write_over([stage.calls for stage in lowered], table.values, table.same, kept, tvm.IRModule(named))
    lowered = [replace(stage, calls=calls) for stage, calls in zip(lowered, shared.calls, strict=True)]
    graph = replace(graph, values=tuple(table.values))
    same = {**table.same, **shared.same}
    return Lowered(graph, tuple(lowered), same, shared.kernels, table.offsets, frozenset(shared.same))


_MOST_FUSED = 32
"""The most operators of one kernel. TVM's time grows with the square of what is inlined, and its stack is not endless."""

_FUSE = tvm.transform.Sequential(
    [
        relax.transform.AnnotateTIROpPattern(),
        relax.transform.FuseOps(),
        relax.transform.FuseTIR(),
    ]
)


def _symbol(index: int) -> str:
    return f"segment_{index}"


def _legalize(graph: Graph, segments: Sequence[_Segment], target: Any) -> tuple[tvm.IRModule, tuple[tuple[str, str], ...]]:
    """Return the segments' functions as calls of kernels, and the operators for which there are none; all of them are named."""
    late = _late_operators(graph)
    if late:
        return tvm.IRModule(), late
    try:
        module = _run_passes(graph, [segment.function for segment in segments], target)
    except Exception:  # TVM raises anything; which operator it means is found by asking for each alone
        refused = _failing(graph, target)
        if not refused:
            raise
        return tvm.IRModule(), refused
    return module, _remaining(graph, module)


def _run_passes(graph: Graph, functions: Sequence[Any], target: Any) -> tvm.IRModule:
    named = {_symbol(i): f.with_attr("global_symbol", _symbol(i)) for i, f in enumerate(functions)}
    module = tvm.IRModule({**graph.functions, **named})
    with target:
        module = plain_convolutions(gather_first(simplify(clean_up(fold_constants(module)))))
        module = multiply_quantised(relax.transform.DeadCodeElimination(list(named))(module), target)
        module = dequantise_weights(relax.transform.DeadCodeElimination(list(named))(module))
        module = relax.transform.DeadCodeElimination(list(named))(module)
        module = relax.transform.DecomposeOpsForInference()(module)
        module = fold_constants(module)
        # Once more: weights of transposed convolutions that were dequantised are constants only now.
        module = plain_convolutions(relax.transform.CanonicalizeBindings()(module))
        module = relax.transform.EliminateCommonSubexpr()(module)
        module = widen_convolutions(round_to_bfloat16(pack_bfloat16(module, target)))
        module = fuse_attention(block_channels(module))
        module = relax.transform.DeadCodeElimination(list(named))(module)
        module = pack_integers(pack_weights(module, target), target)
        module = slice_parts(relax.transform.CanonicalizeBindings()(module))
        module = join_views(legalize_ops(skip=[_RESHAPE, JOIN])(module))
        return relax.transform.DeadCodeElimination(list(named))(module)


def _failing(graph: Graph, target: Any) -> tuple[tuple[str, str], ...]:
    """Return the operators on which TVM fails, with the last line of what it says."""
    found = []
    for node in graph.nodes:
        if node.kind != "host":
            continue
        params = tuple(dict.fromkeys(index for index in node.inputs if not _is_inlined(graph, index)))
        try:
            _run_passes(graph, [_function(graph, [node], params, node.outputs)], target)
        except Exception as error:  # as above
            last = (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()
            found.append((node.name, f"{_operator(node)}: {last}"))
    return tuple(found)


@dataclass(frozen=True, eq=False)
class _Segment:
    """The Relax function of one stage.

    Attributes:
        params: the value of each parameter, but for the last, which only brings the named dimensions.
        results: the value of each result.
        same: views of values that come from outside.
    """

    function: Any
    params: tuple[int, ...]
    results: tuple[int, ...]
    same: Mapping[int, int]


def _segment(graph: Graph, stage: Stage, used_by: Mapping[int, Sequence[int]]) -> _Segment:
    """Return the function of ``stage``.

    Args:
        used_by: for each value the ids of the nodes that read it; 0 stands for the program's outputs.
    """
    same: dict[int, int] = {}
    local: list[Node] = []
    made: set[int] = set()
    for node in stage.nodes:
        if node.kind == "view" and node.inputs[0] not in made:
            same[node.outputs[0]] = node.inputs[0]
        elif node.kind in ("host", "view"):
            local.append(node)
            made.update(node.outputs)
    inside = {id(node) for node in local}
    params = tuple(dict.fromkeys(i for node in local for i in node.inputs if i not in made and not _is_inlined(graph, i)))
    results = tuple(i for node in local for i in node.outputs if any(user not in inside for user in used_by.get(i, ())))
    return _Segment(_function(graph, local, params, results), params, results, same)


def _function(graph: Graph, nodes: Sequence[Node], params: Sequence[int], results: Sequence[int]) -> Any:
    inputs = {index: relax.Var(f"param{index}", _type_of(graph, index)) for index in params}
    extents = relax.Var("dims", relax.ShapeType(list(graph.variables.values())))
    builder = relax.BlockBuilder()
    with builder.function("segment", [*inputs.values(), extents]):
        with builder.dataflow():
            local: dict[int, Any] = dict(inputs)
            constants = {index: graph.values[index] for node in nodes for index in node.inputs if _is_inlined(graph, index)}
            local.update({index: relax.const(value.constant, value.dtype) for index, value in constants.items()})
            for node in nodes:
                _emit(builder, graph, node, local)
            result = builder.emit_output(relax.Tuple([local[index] for index in results]))
        builder.emit_func_output(result)
    return relax.utils.copy_with_new_vars(builder.get()["segment"])


def _is_inlined(graph: Graph, index: int) -> bool:
    """Return whether a value is a constant that passes can see: what it is decides how it is laid out and what is folded."""
    value = graph.values[index]
    return value.constant is not None and value.dtype in _SEEN and str(value.constant.dtype) == value.dtype


_SEEN = ("float32", "float64", "float16", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool")


def _type_of(graph: Graph, index: int) -> Any:
    value = graph.values[index]
    return relax.TensorType([expr_of(size, graph.variables) for size in value.shape], value.dtype)


def _emit(builder: Any, graph: Graph, node: Node, local: dict[int, Any]) -> None:
    """Emit ``node`` and note in ``local`` what its outputs are now."""
    if node.kind == "view":
        local[node.outputs[0]] = builder.emit(relax.op.reshape(local[node.inputs[0]], node.expr.shape))
        return
    replacements = {}
    for operand in ir_body.operands(node.expr):
        if not ir_body.is_constant(operand):
            parts = [local[index] for index in graph.values_of[operand]]
            replacements[operand] = parts[0] if isinstance(operand.ty, relax.TensorType) else relax.Tuple(parts)
    call = ir_body.substitute(node.expr, replacements)
    fresh = relax.Call(call.op, call.args, call.attrs, call.ty_args)  # without the device in its type
    var = builder.emit(fresh, name_hint=f"{_NODE}{node.outputs[0]}")
    parts = [var] if isinstance(var.ty, relax.TensorType) else [builder.emit(relax.TupleGetItem(var, i)) for i in range(len(node.outputs))]
    for index, part in zip(node.outputs, parts, strict=True):
        known = part.ty.shape is not None or graph.values[index].late
        local[index] = part if known else builder.match_cast(part, _type_of(graph, index))


def _used_by(graph: Graph) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for node in graph.nodes:
        for index in node.inputs:
            found.setdefault(index, []).append(id(node))
    for _, index in graph.outputs:
        found.setdefault(index, []).append(0)
    return found


def _segments(graph: Graph, stages: Sequence[Stage]) -> list[_Segment]:
    used_by = _used_by(graph)
    return [_segment(graph, stage, used_by) for stage in stages]


def _late_operators(graph: Graph) -> tuple[tuple[str, str], ...]:
    """Return the host operators that touch a value whose shape only the data will tell."""
    late = [
        node for node in graph.nodes if node.kind in ("host", "view") and any(graph.values[i].late for i in (*node.inputs, *node.outputs))
    ]
    return tuple((node.name, _operator(node) + " on a shape that depends on the data") for node in late)


def _operator(node: Node) -> str:
    return "reshape" if node.kind == "view" else _short(node.expr.op)


def _short(operator: Any) -> str:
    return str(getattr(operator, "name", operator)).removeprefix("relax.")


def _remaining(graph: Graph, module: tvm.IRModule) -> tuple[tuple[str, str], ...]:
    """Return the user's name and the type of each operator that is neither a kernel nor a reshape."""
    names = {f"{_NODE}{node.outputs[0]}": node for node in graph.nodes if node.kind == "host"}
    found: dict[tuple[str, str], None] = {}
    for function in module.functions.values():
        for binding in bindings_of(function) if isinstance(function, relax.Function) else ():
            if not isinstance(binding.value, relax.Call):
                continue
            node = names.get(str(binding.var.name))
            if getattr(binding.value.op, "name", "") not in (_RESHAPE, JOIN, "relax.call_tir") or _calls_packed(module, binding.value):
                name = node.name if node else str(binding.var.name)
                found[name, _operator(node) if node else _short(binding.value.op)] = None
    return tuple(found)


def _calls_packed(module: tvm.IRModule, call: Any) -> bool:
    """Return whether a kernel calls back into TVM's runtime, which is not there when it runs."""
    if call.op.name != "relax.call_tir":
        return False
    calls: list[str] = []

    def visit(inner: Any, visitor: Any) -> Any:
        calls.append(str(getattr(inner.op, "name", "")))
        return visitor.default_visit(inner)

    tvm_ffi.structural_visit(module[call.args[0]].body, [(tvm.ir.Call, visit)])
    return any("packed" in name for name in calls)
