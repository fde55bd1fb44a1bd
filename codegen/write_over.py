"""Let a kernel write its result over an operand that nobody needs any more.

That is right where the kernel reads each element of the operand only for the element of the result at the same place, which is read off
the kernel before it is scheduled: no rule reads an element again after what depends on it was written. Such a kernel becomes one whose
operand and result are the same buffer, so that the compiler knows, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import tvm
import tvm_ffi
from tvm import s_tir, tirx

from landbridge.codegen.graph import Value
from landbridge.codegen.kernel_calls import KernelCall, Scalar

OVER = "landbridge.over"
"""Attribute of a kernel: the positions of the operand and of the result that are to be one buffer."""

_SPATIAL = 0  # tirx.IterVar.DataPar


@dataclass(frozen=True)
class Overwriting:
    """What came of it.

    Attributes:
        calls: of each stage.
        same: for a result the operand whose memory it takes.
        kernels: all that are called.
    """

    calls: tuple[tuple[KernelCall, ...], ...]
    same: Mapping[int, int]
    kernels: tvm.IRModule


def write_over(
    stages: Sequence[Sequence[KernelCall]], values: Sequence[Value], same: Mapping[int, int], kept: Sequence[int], kernels: tvm.IRModule
) -> Overwriting:
    """Return the calls, in which as many results as can be lie over operands.

    Args:
        stages: the kernels of each stage, in order.
        same: for a value the one whose memory it is in.
        kept: values that something besides these kernels needs.
    """
    made = {str(variable.name_hint): function for variable, function in kernels.functions.items()}
    uses = Counter(index for calls in stages for call in calls for index in (*call.inputs, *call.outputs))
    shown = {*same, *same.values(), *kept, *(index for index, value in enumerate(values) if value.constant is not None or value.late)}
    found: dict[int, int] = {}
    result = []
    for calls in stages:
        last = {index: number for number, call in enumerate(calls) for index in call.inputs}
        here = {index for call in calls for index in call.outputs}
        within = Counter(index for call in calls for index in (*call.inputs, *call.outputs))
        rewritten = []
        for number, call in enumerate(calls):
            dying = [
                position
                for position, argument in enumerate(call.arguments)
                if isinstance(argument, int)
                and argument in here
                and argument not in shown
                and last[argument] == number
                and within[argument] == uses[argument]
                and call.inputs.count(argument) == 1
            ]
            position = _operand(call, dying, values, made[call.kernel]) if call.outputs[0] not in same else None
            if position is None:
                rewritten.append(call)
                continue
            operand = call.arguments[position]
            assert isinstance(operand, int)
            found[call.outputs[0]] = operand
            name = f"{call.kernel}_over{position}"
            made[name] = made[call.kernel].with_attr(OVER, [position, len(call.arguments)]).with_attr("global_symbol", name)
            arguments = (*call.arguments[:position], *call.arguments[position + 1 :])
            rewritten.append(replace(call, kernel=name, arguments=arguments, over=operand))
        result.append(tuple(rewritten))
    called = {call.kernel for calls in result for call in calls}
    return Overwriting(tuple(result), found, tvm.IRModule({name: made[name] for name in sorted(called)}))


def _operand(call: KernelCall, dying: Sequence[int], values: Sequence[Value], kernel: Any) -> int | None:
    """Return the position of an operand that the result can lie over."""
    if len(call.outputs) != 1 or any(isinstance(argument, Scalar) for argument in call.arguments):
        return None
    result = values[call.outputs[0]]
    for position in dying:
        operand = values[call.arguments[position]]  # type: ignore[index]  # no scalar, as was seen
        same_type = (operand.dtype, operand.shape, operand.device) == (result.dtype, result.shape, result.device)
        if same_type and reads_where_it_writes(kernel, position, len(call.arguments)):
            return position
    return None


def reads_where_it_writes(kernel: Any, operand: int, result: int) -> bool:
    """Return whether a kernel reads each element of an operand only for the element of its result at the same place.

    Args:
        kernel: not scheduled.
        operand: the position of the operand.
        result: the position of the result.
    """
    steps = _steps(kernel)
    target = kernel.params[result]
    followed = [kernel.params[operand]]
    for source in followed:
        if not tvm_ffi.structural_equal(source.ty.shape, target.ty.shape):
            return False
        for block in steps:
            loads = _loads(block, source)
            if not loads:
                continue
            store = block.body
            if not isinstance(store, tirx.BufferStore) or block.init is not None or not _is_plain(block, store.indices):
                return False
            if any(not tvm_ffi.structural_equal(list(load.indices), list(store.indices)) for load in loads):
                return False
            if not store.buffer.same_as(target) and not any(store.buffer.same_as(other) for other in followed):
                followed.append(store.buffer)
    return bool(steps) and not any(_loads(block, target) for block in steps)


def _steps(kernel: Any) -> list[Any]:
    """Return the blocks of a kernel in order; none where it has another form than TVM's fusion gives."""
    if not isinstance(kernel.body, s_tir.SBlockRealize):
        return []
    body = kernel.body.block.body
    found = []
    for statement in list(body.seq) if isinstance(body, tirx.SeqStmt) else [body]:
        inner = statement
        while isinstance(inner, tirx.For):
            inner = inner.body
        if not isinstance(inner, s_tir.SBlockRealize):
            return []
        found.append(inner.block)
    return found


def _is_plain(block: Any, indices: Sequence[Any]) -> bool:
    """Return whether a block goes over each index once."""
    variables = [it.var for it in block.iter_vars]
    spatial = all(int(it.iter_type) == _SPATIAL for it in block.iter_vars)
    return spatial and len(variables) == len(indices) and all(i.same_as(var) for i, var in zip(indices, variables, strict=True))


def _loads(block: Any, buffer: Any) -> list[Any]:
    found: list[Any] = []
    tvm_ffi.structural_walk(block.body, [(tvm.ir.TensorLoad, found.append)])
    if block.init is not None:
        tvm_ffi.structural_walk(block.init, [(tvm.ir.TensorLoad, found.append)])
    return [load for load in found if load.source.same_as(buffer)]


def merged(kernel: Any) -> Any:
    """Return a scheduled kernel with its operand and its result as one buffer, where its attribute `OVER` asks for it."""
    if kernel.attrs is None or OVER not in kernel.attrs:
        return kernel
    operand, result = (kernel.params[int(position)] for position in kernel.attrs[OVER])

    def one(variable: Any) -> Any:
        return result if variable.same_as(operand) else variable

    params = [param for param in kernel.params if not param.same_as(operand)]
    body = tvm_ffi.structural_map(kernel.body, [(tvm.ir.Var, one)])
    return tirx.PrimFunc(params, body, kernel.ret_type, kernel.attrs)
