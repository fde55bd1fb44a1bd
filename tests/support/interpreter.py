"""A small reference interpreter of programs, in NumPy: what a program means, wherever its values live.

Copies are the identity. An offline model is a fixed function of its inputs in which every bit counts: its outputs are random
numbers, seeded by its symbol and the bytes of what it is given, after the conversion to the types that its signature has.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tvm
from tvm import relax

Array = np.ndarray[Any, Any]


def interpret(module: tvm.IRModule, inputs: Sequence[Array]) -> list[Array]:
    """Return the outputs of ``module``, placed or not, for one array for each parameter."""
    return _Interpreter(module, inputs).outputs()


def converted(array: Array, dtype: str) -> Array:
    """Return ``array`` as ``dtype``, also where NumPy leaves the result open: real numbers lose their fraction and wrap around."""
    target = np.dtype(dtype)
    if array.dtype.kind == "f" and target.kind in "iu":
        whole = np.where(np.isfinite(array), np.trunc(array.astype("float64")), 0.0)
        return np.array([int(number) & 0xFFFFFFFFFFFFFFFF for number in whole.ravel()], "uint64").reshape(array.shape).astype(target)
    with np.errstate(over="ignore", invalid="ignore"):
        return array.astype(target)


class _Interpreter:
    def __init__(self, module: tvm.IRModule, inputs: Sequence[Array]) -> None:
        self.function = module["main"]
        self.externs = module.attrs["landbridge.externs"]
        self.values: dict[Any, Any] = dict(zip(self.function.params, inputs, strict=True))
        self.dims: dict[str, int] = {}
        for param, array in self.values.items():
            for extent, size in zip(param.ty.shape.values, array.shape, strict=True):
                if isinstance(extent, tvm.tirx.Var):
                    self.dims[extent.name] = size

    def outputs(self) -> list[Array]:
        for block in self.function.body.blocks:
            for binding in block.bindings:
                self.values[binding.var] = self.value(binding.value)
        return list(self.value(self.function.body.body))

    def value(self, expr: Any) -> Any:
        if isinstance(expr, relax.Tuple):
            return tuple(self.value(field) for field in expr.fields)
        if isinstance(expr, relax.TupleGetItem):
            return self.value(expr.tuple_value)[expr.index]
        if isinstance(expr, relax.Call):
            return self.call(expr)
        return expr.value.numpy() if isinstance(expr, tvm.ir.Constant) else self.values[expr]

    def call(self, call: Any) -> Any:
        name = call.op.name.removeprefix("relax.")
        if name == "call_dps_packed":
            return self.offline_model(str(call.args[0].global_symbol), self.value(call.args[1]))
        if name == "reshape":
            return self.value(call.args[0]).reshape([self.extent(extent) for extent in call.args[1].values])
        if name == "strided_slice":
            (axis,), (begin,), (end,) = ([int(number.value) for number in argument.fields] for argument in call.args[1:4])
            return np.take(self.value(call.args[0]), np.arange(begin, end), axis)
        arguments = [self.value(argument) for argument in call.args]
        with np.errstate(over="ignore", invalid="ignore"):
            return _OPERATORS[name](call.attrs, *arguments)

    def extent(self, extent: Any) -> int:
        return int(extent.value) if isinstance(extent, tvm.tirx.IntImm) else self.dims[extent.name]

    def offline_model(self, symbol: str, arguments: Sequence[Array]) -> Any:
        signature: Mapping[str, Any] = self.externs[symbol]["signature"]
        seed = zlib.crc32(symbol.encode())
        dims: dict[str, int] = {}
        for port, argument in zip(signature["inputs"], arguments, strict=True):
            given = np.ascontiguousarray(converted(argument, str(port["dtype"])))
            seed = zlib.crc32(given.tobytes(), zlib.crc32(f"{given.dtype}{given.shape}".encode(), seed))
            dims.update({str(dim): size for dim, size in zip(port["shape"], given.shape, strict=True) if isinstance(dim, str)})
        random = np.random.default_rng(seed)
        results = []
        for port in signature["outputs"]:
            shape = [dims[str(dim)] if isinstance(dim, str) else int(dim) for dim in port["shape"]]
            results.append(converted(random.uniform(-20, 20, shape), str(port["dtype"])))
        return results[0] if len(results) == 1 else tuple(results)


_OPERATORS: dict[str, Callable[..., Any]] = {
    "to_vdevice": lambda attrs, x: x,
    "astype": lambda attrs, x: converted(x, str(attrs.dtype)),
    "nn.relu": lambda attrs, x: np.maximum(x, 0),
    "negative": lambda attrs, x: -x,
    "abs": lambda attrs, x: np.abs(x),
    "add": lambda attrs, x, y: x + y,
    "subtract": lambda attrs, x, y: x - y,
    "multiply": lambda attrs, x, y: x * y,
    "maximum": lambda attrs, x, y: np.maximum(x, y),
    "concat": lambda attrs, parts: np.concatenate(parts, int(attrs.axis)),
    "split": lambda attrs, x: tuple(np.split(x, int(attrs.indices_or_sections), int(attrs.axis))),
}
