"""A Relax function as what Landbridge's programs are: a straight list of bindings.

A program is one function ``main``: parameters, one dataflow block, a tuple of outputs. Control flow is inside offline models
and fallback regions. Passes read the function as a `Body`, make a new list, and write it back; there is no visitor to learn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tvm
from tvm import relax

from landbridge.ir.devices import VDevices
from landbridge.runtime.errors import PassError

MAIN = "main"
"""The name of the function that is the program."""


@dataclass(frozen=True)
class Binding:
    """``var = value``."""

    var: Any
    value: Any


@dataclass(frozen=True)
class Body:
    """The parts of ``main``.

    Attributes:
        params: `relax.Var`, the inputs.
        bindings: in order; every operand is a variable, a constant, or part of a (possibly nested) tuple of those.
        outputs: variables or constants, in order; a program of one output has a tuple of one.
    """

    params: tuple[Any, ...]
    bindings: tuple[Binding, ...]
    outputs: tuple[Any, ...]

    @staticmethod
    def of(module: tvm.IRModule) -> Body:
        """Return the body of ``module``'s main function.

        Raises:
            PassError: the function is not a straight list of bindings that returns a tuple.
        """
        if not any(name.name_hint == MAIN for name in module.functions):
            raise PassError(f"the module has no function {MAIN}")
        function = module[MAIN]
        found = [binding for block in function.body.blocks for binding in block.bindings]
        if any(isinstance(binding.value, relax.If) for binding in found):
            raise PassError("control flow in the program; it belongs into a fallback region")
        if any(isinstance(binding, relax.MatchCast) for binding in found):
            raise PassError("a match_cast in the program; declare the type of the variable instead")
        bindings = tuple(Binding(binding.var, binding.value) for binding in found)
        result = function.body.body
        by_var = {binding.var: binding.value for binding in bindings}
        if not isinstance(result, relax.Tuple) and isinstance(by_var.get(result), relax.Tuple):
            bindings = tuple(binding for binding in bindings if not binding.var.same_as(result))
            result = by_var[result]
        if not isinstance(result, relax.Tuple):
            raise PassError("the program does not return a tuple of its outputs")
        return Body(tuple(function.params), bindings, tuple(result.fields))

    def renamed(self, replacements: dict[Any, Any]) -> Body:
        """Return this body with other variables in place of the keys of ``replacements``, where they are bound and used."""
        return Body(
            tuple(replacements.get(param, param) for param in self.params),
            tuple(Binding(replacements.get(b.var, b.var), substitute(b.value, replacements)) for b in self.bindings),
            tuple(replacements.get(output, output) for output in self.outputs),
        )

    def write(self, module: tvm.IRModule, vdevices: VDevices) -> tvm.IRModule:
        """Return ``module`` with this body as its main function; attributes and other functions stay as they are.

        Args:
            vdevices: where the devices in this body's types come from.
        """
        returned = {output for output in self.outputs if isinstance(output, relax.Var)}
        fresh = {b.var: (relax.Var if b.var in returned else relax.DataflowVar)(b.var.name, b.var.ty) for b in self.bindings}
        bindings = [relax.VarBinding(fresh[b.var], _typed(substitute(b.value, fresh), b.var.ty)) for b in self.bindings]
        outputs = relax.Tuple([fresh.get(output, output) for output in self.outputs])
        returns = tvm.ir.TupleType([output.ty for output in self.outputs])
        body = relax.SeqExpr([relax.DataflowBlock(bindings)], outputs)
        relax.expr._update_type(body, returns)
        attrs = module[MAIN].attrs if MAIN in [g.name_hint for g in module.functions] else None
        function = relax.Function(self.params, body, returns, attrs=attrs).with_attr("global_symbol", MAIN)
        result = tvm.IRModule({**{g: f for g, f in module.functions.items() if g.name_hint != MAIN}, MAIN: function}, attrs=module.attrs)
        for name, infos in module.global_infos.items():
            result.update_global_info(name, infos)
        return vdevices.listed_in(result)


def _typed(value: Any, result_type: Any) -> Any:
    """Return ``value``; a call as a fresh copy whose type is ``result_type``.

    Relax's own inference would refuse operands on two devices and drop devices in places; here the variable's type is the
    authority, and the verifier checks it. An offline model's call repeats the type in its arguments. Fresh, because an expression
    may be shared with the module it was read from.
    """
    if isinstance(value, relax.Call):
        types = [result_type] if is_extern(value) else value.ty_args
        value = relax.Call(value.op, value.args, value.attrs, types, value.span)
        relax.expr._update_type(value, result_type)
    return value


def operands(value: Any) -> tuple[Any, ...]:
    """Return the tensor operands of a binding's value: variables and constants, in order, tuples flattened.

    The operands of an offline-model call are its arguments, without its symbol.
    """
    if isinstance(value, relax.Call):
        return tuple(leaf for argument in value.args for leaf in _leaves(argument))
    if isinstance(value, relax.TupleGetItem):
        return (value.tuple_value,)
    return tuple(_leaves(value))


def _leaves(expr: Any) -> Sequence[Any]:
    if isinstance(expr, relax.Tuple):
        return [leaf for field in expr.fields for leaf in _leaves(field)]
    return (expr,) if is_value(expr) else ()


def is_value(expr: Any) -> bool:
    """Return whether ``expr`` is a tensor or tuple variable or a tensor constant, and not a shape or a scalar of the IR."""
    return isinstance(expr, relax.Var | tvm.ir.Constant) and isinstance(expr.ty, relax.TensorType | tvm.ir.TupleType)


def is_constant(expr: Any) -> bool:
    """Return whether ``expr`` is a tensor constant; its array is ``expr.value.numpy()``."""
    return isinstance(expr, tvm.ir.Constant) and isinstance(expr.ty, relax.TensorType)


def substitute(value: Any, replacements: dict[Any, Any]) -> Any:
    """Return ``value`` with each operand that is a key of ``replacements`` replaced; ``value`` itself where none is."""
    if isinstance(value, relax.Var | tvm.ir.Constant):
        return replacements.get(value, value)
    if isinstance(value, relax.Tuple):
        before = list(value.fields)  # read once: TVM makes a new Python object at each access
        fields = [substitute(field, replacements) for field in before]
        return value if all(new is old for new, old in zip(fields, before, strict=True)) else relax.Tuple(fields)
    if isinstance(value, relax.TupleGetItem):
        whole = value.tuple_value
        source = substitute(whole, replacements)
        return value if source is whole else relax.TupleGetItem(source, value.index)
    if isinstance(value, relax.Call):
        before = list(value.args)
        arguments = [substitute(argument, replacements) for argument in before]
        if all(new is old for new, old in zip(arguments, before, strict=True)):
            return value
        return relax.Call(value.op, arguments, value.attrs, value.ty_args)
    return value


def is_extern(value: Any) -> bool:
    """Return whether a binding's value is the call of an offline model."""
    return isinstance(value, relax.Call) and getattr(value.op, "name", "") == "relax.call_dps_packed"


def extern_call(symbol: str, arguments: Sequence[Any], result_type: Any) -> Any:
    """Return the call of an offline model; unlike Relax's own function it takes results whose shape only the data will tell."""
    return relax.Call(tvm.ir.Op.get("relax.call_dps_packed"), [relax.ExternFunc(symbol), relax.Tuple(list(arguments))], None, [result_type])


def extern_symbol(value: Any) -> str:
    """Return the symbol of the offline model that ``value`` calls."""
    return str(value.args[0].global_symbol)


def is_copy(value: Any) -> bool:
    """Return whether a binding's value is a copy to a device."""
    return isinstance(value, relax.Call) and getattr(value.op, "name", "") == "relax.to_vdevice"


def is_cast(value: Any) -> bool:
    """Return whether a binding's value is a dtype conversion."""
    return isinstance(value, relax.Call) and getattr(value.op, "name", "") == "relax.astype"


def is_operator(value: Any) -> bool:
    """Return whether a binding's value is an ordinary operator: no offline model, no copy, no conversion, no part of a tuple."""
    return isinstance(value, relax.Call) and not (is_extern(value) or is_copy(value) or is_cast(value))


def operator_name(value: Any) -> str:
    """Return what messages call an operator, such as ``nn.relu``."""
    return str(getattr(value.op, "name", None) or getattr(value.op, "name_hint", "operator")).removeprefix("relax.")


def infer_type(value: Any) -> Any:
    """Return the type that Relax infers for ``value``; its device is not to be relied on (see `landbridge.ir.verify`)."""
    return relax.BlockBuilder().normalize(value).ty
