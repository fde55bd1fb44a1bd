"""Read a lowered Relax function as a list of kernel calls over values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import tvm
from tvm import relax

from landbridge.codegen.graph import Value
from landbridge.codegen.join_views import JOIN
from landbridge.ir import body as ir_body
from landbridge.ir.sizes import dense_nbytes, dtype_of, shape_of, size_of
from landbridge.runtime.dims import Size
from landbridge.runtime.errors import PassError

Part = tuple[Any, int]
"""One tensor of a variable: the variable and the index in its tuple, 0 where it is no tuple."""


@dataclass(frozen=True)
class Scalar:
    """An argument of a kernel that is a number: a size, passed as int64."""

    size: Size


Argument = int | Scalar
"""An argument of a kernel: the index of a value, or a number."""


@dataclass(frozen=True)
class KernelCall:
    """Call the kernel ``kernel`` with ``arguments``, then ``outputs``, then ``scalars``.

    Attributes:
        over: the value that it reads where it writes its output: they have one memory, and only the output is given.
    """

    kernel: str
    arguments: tuple[Argument, ...]
    outputs: tuple[int, ...]
    scalars: tuple[Scalar, ...]
    over: int | None = None

    @property
    def inputs(self) -> tuple[int, ...]:
        """The values it reads."""
        given = tuple(argument for argument in self.arguments if isinstance(argument, int))
        return given if self.over is None else (*given, self.over)

    @property
    def packed(self) -> tuple[Argument, ...]:
        """Everything it is given, in order."""
        return (*self.arguments, *self.outputs, *self.scalars)


@dataclass
class ValueTable:
    """The values while functions are read.

    Attributes:
        values: all; kernels' own results are added.
        same: for a value the one in whose memory it is.
        offsets: for parts of a joined value the byte at which they begin in it.
    """

    values: list[Value]
    same: dict[int, int]
    offsets: dict[int, int] = field(default_factory=dict)

    def add(self, value: Value) -> int:
        """Return the index of a new value."""
        self.values.append(value)
        return len(self.values) - 1

    def show(self, index: int, source: int) -> None:
        """Note that ``index`` has the bytes of ``source``."""
        constant = self.values[source].constant
        if constant is None:
            self.same[index] = source
        else:
            self.values[index] = replace(self.values[index], constant=constant.reshape([int(size) for size in self.values[index].shape]))

    def join(self, whole: int, parts: Sequence[int]) -> None:
        """Note that ``parts`` are computed one after the other in the memory of ``whole``."""
        offset = 0
        for part in parts:
            if part in self.same or self.values[part].constant is not None:
                raise PassError(f"'{self.values[part].name}' has a place already", at=self.values[whole].name)
            self.same[part], self.offsets[part] = whole, offset
            offset += int(dense_nbytes(self.values[part].dtype, self.values[part].shape))


def read_kernel_calls(function: Any, params: Sequence[int], results: Sequence[int], table: ValueTable) -> tuple[KernelCall, ...]:
    """Return the kernel calls of a lowered function, in order.

    Args:
        function: its last parameter only brings the named dimensions.
        params: the value of each other parameter.
        results: the value of each result.
        table: values that only kernels see are added to it, and views.

    Raises:
        PassError: the function has something that is neither a kernel nor a view.
    """
    reader = _Reader(table, _results_by_part(function, results))
    reader.parts.update({param: (index,) for param, index in zip(function.params[:-1], params, strict=True)})
    for binding in bindings_of(function):
        reader.read(binding.var, binding.value)
    for result, index in zip(results, reader.indices(function.body.body), strict=True):
        if index != result:
            table.show(result, index)
    return tuple(reader.calls)


def bindings_of(function: Any) -> list[Any]:
    """Return the bindings of a Relax function in order."""
    return [binding for block in function.body.blocks for binding in block.bindings]


def _results_by_part(function: Any, results: Sequence[int]) -> dict[Part, int]:
    """Return the program's value for each tensor that is a result; where a tensor is several results, for the first one."""
    bound = {binding.var: binding.value for binding in bindings_of(function)}
    result = function.body.body
    while isinstance(result, relax.Var):
        result = bound[result]
    found: dict[Part, int] = {}
    for index, result_field in zip(results, result.fields, strict=True):
        expr, part = result_field, 0
        while isinstance(bound.get(expr), relax.Var | relax.TupleGetItem):
            step = bound[expr]
            expr, part = (step, part) if isinstance(step, relax.Var) else (step.tuple_value, int(step.index))
        if isinstance(bound.get(expr), relax.Call):
            found.setdefault((expr, part), index)
    return found


class _Reader:
    """Attributes: ``parts``, the values of each variable; ``calls``, what was read."""

    def __init__(self, table: ValueTable, results: dict[Part, int]) -> None:
        self.table = table
        self.results = results
        self.parts: dict[Any, tuple[int, ...]] = {}
        self.calls: list[KernelCall] = []

    def read(self, var: Any, value: Any) -> None:
        operator = getattr(value.op, "name", "") if isinstance(value, relax.Call) else ""
        if operator == "relax.call_tir":
            self.parts[var] = self.read_call(var, value)
        elif operator == "relax.reshape":
            (source,) = self.indices(value.args[0])
            self.parts[var] = self.outputs(var, var.ty, self.table.values[source].name)
            self.table.show(self.parts[var][0], source)
        elif operator == JOIN:
            parts = self.indices(value.args[0])
            self.parts[var] = self.outputs(var, var.ty, "joined")
            self.table.join(self.parts[var][0], parts)
        elif operator:
            raise PassError(f"'{operator}' is left after lowering")
        else:
            self.parts[var] = self.indices(value)

    def indices(self, expr: Any) -> tuple[int, ...]:
        """Return the values of an operand."""
        if ir_body.is_constant(expr):
            return (self.table.add(Value("constant", "cpu", dtype_of(expr.ty), shape_of(expr.ty) or (), expr.value.numpy())),)
        if isinstance(expr, relax.Tuple):
            return tuple(index for field in expr.fields for index in self.indices(field))
        if isinstance(expr, relax.TupleGetItem):
            return (self.indices(expr.tuple_value)[expr.index],)
        return self.parts[expr]

    def read_call(self, var: Any, call: Any) -> tuple[int, ...]:
        kernel = str(call.args[0].name_hint)
        arguments: list[Argument] = []
        for argument in call.args[1].fields:
            if ir_body.is_value(argument):
                arguments.extend(self.indices(argument))
            else:
                arguments.append(Scalar(size_of(argument)))
        scalars = tuple(Scalar(size_of(extent)) for extent in call.args[2].values) if len(call.args) > 2 else ()
        outputs = self.outputs(var, call.ty_args[0], kernel)
        self.calls.append(KernelCall(kernel, tuple(arguments), outputs, scalars))
        return outputs

    def outputs(self, var: Any, result_type: Any, name: str) -> tuple[int, ...]:
        """Return a value for each tensor of ``var``: the program's, where it is one of its results, else a new one."""
        types = result_type.fields if isinstance(result_type, tvm.ir.TupleType) else [result_type]
        found = []
        for part, tensor_type in enumerate(types):
            known = self.results.get((var, part))
            fresh = Value(name, "cpu", dtype_of(tensor_type), shape_of(tensor_type) or ())
            found.append(self.table.add(fresh) if known is None else known)
        return tuple(found)
