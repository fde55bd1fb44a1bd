"""Running sums and products."""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import relax, tirx
from tvm.script.ir_builder import tirx as ib

from landbridge.frontends.onnx.operators.call import Call, Rule, constant, product
from landbridge.frontends.onnx.operators.loops import check, loops, variable, when


def _running(call: Call) -> Any:
    """``CumSum`` and ``CumProd`` along an axis that may be a tensor."""
    rank, dtype = len(call.shape(0)), call.dtype(0)
    add = call.node.proto.op_type == "CumSum"
    exclusive, reverse = bool(call.number("exclusive", 0)), bool(call.number("reverse", 0))
    known = call.integers(1)

    def kernel(data: Any, axis: Any) -> Any:
        def body(source: Any, axis: Any, result: Any) -> None:
            which = axis[0].astype("int64")
            check(tirx.all(which >= -rank, which < rank), "an axis that the tensor does not have")
            for a in range(rank):
                if known is None:
                    when(tirx.any(which == a, which == a - rank), lambda a=a: along(source, result, a))  # type: ignore[misc]
                elif int(known[0]) % rank == a:
                    along(source, result, a)

        def along(source: Any, result: Any, axis: int) -> None:
            shape = list(source.shape)
            extent, inner = shape[axis], product(shape[axis + 1 :])
            with ib.serial(0, product(shape[:axis])) as outer, ib.serial(0, inner) as i:
                total = variable(dtype, tirx.const(0 if add else 1, dtype))
                with ib.serial(0, extent) as step:
                    place = (outer * extent + (extent - 1 - step if reverse else step)) * inner + i
                    if exclusive:
                        result[place] = total[0]
                    total[0] = total[0] + source[place] if add else total[0] * source[place]
                    if not exclusive:
                        result[place] = total[0]

        return loops("running", [data, axis], [(data.shape, dtype)], body)

    axis = call.tensor(1)
    if len(axis.ty.shape) != 1:
        axis = constant(np.reshape(known, [1]), "int64") if known is not None else call.emit(relax.op.reshape(axis, [1]))
    return call.compute(kernel, call.tensor(0), axis, name=call.node.proto.op_type.lower())


OPERATORS: dict[str, Rule] = {"CumProd": _running, "CumSum": _running}
