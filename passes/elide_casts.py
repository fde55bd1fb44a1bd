"""Remove the casts that cannot change a value.

Three kinds: to the type that the value has; one that was done before; and one behind another, which may then start from the first
one's operand. The last only where the type between holds every value of the *first* type: float32 -> float16 -> float32 has rounded
and float32 -> int32 -> uint8 has lost fractions and wrapped, so both stay, whatever the last type holds. Copies between two casts are
looked through: they do not change values. What is left without a reader is for ``remove-dead``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import tvm

from landbridge.ir.body import Binding, Body, is_cast, is_copy, operands
from landbridge.ir.dtypes import holds, is_float
from landbridge.ir.location import value_name
from landbridge.ir.program import ModuleInfo
from landbridge.ir.sizes import dtype_of
from landbridge.passes.base import Declined
from landbridge.passes.rewrite import Deriver, home, reading, replaced, rewritten


@dataclass(frozen=True)
class ElideCasts:
    """Remove casts to the same type, repeated casts, and the first of two where the second alone gives the same."""

    name: ClassVar[str] = "elide-casts"
    phase: ClassVar[str] = "placed"

    def run(self, module: tvm.IRModule) -> tvm.IRModule:
        """Return the rewritten module, or ``module`` itself when every cast is needed."""
        body = Body.of(module)
        casts = _Casts.of(body, ModuleInfo.of(module))
        outputs = replaced(body.outputs, casts.stands_for)
        return rewritten(module, body, casts.bindings, outputs, Deriver(module, body).vdevices)

    def declined(self, module: tvm.IRModule) -> tuple[Declined, ...]:
        """Return the casts behind casts that stay, in program order."""
        return tuple(_Casts.of(Body.of(module), ModuleInfo.of(module)).declined)


def why_not_shorter(source: str, middle: str) -> str | None:
    """Return why a cast of ``source`` by way of ``middle`` may differ from the direct one, or None where no value differs.

    Example:
        >>> why_not_shorter("float32", "float16")
        'float32 to float16 rounds'
        >>> why_not_shorter("uint8", "float32")
    """
    if holds(source, middle):
        return None  # the middle is the same number, and the second cast sees no more than the number
    return f"{source} to {middle} {'rounds' if is_float(middle) else 'wraps or truncates'}"


class _Casts:
    """The bindings so far, with what each dropped cast stands for and what each kept one converts."""

    def __init__(self, info: ModuleInfo) -> None:
        self.info = info
        self.bindings: list[Binding] = []
        self.declined: list[Declined] = []
        self.stands_for: dict[Any, Any] = {}
        self._origin: dict[Any, Any] = {}
        self._operand: dict[Any, Any] = {}
        self._done: dict[tuple[Any, str], Any] = {}

    @staticmethod
    def of(body: Body, info: ModuleInfo) -> _Casts:
        casts = _Casts(info)
        for binding in body.bindings:
            current = reading(binding, casts.stands_for)
            value = current.value
            if is_cast(value) and home(operands(value)[0]).is_cpu:
                casts._add_cast(current)
                continue
            if is_copy(value):
                source = operands(value)[0]
                casts._origin[binding.var] = casts._origin.get(source, source)
            casts.bindings.append(current)
        return casts

    def _add_cast(self, binding: Binding) -> None:
        operand, target = operands(binding.value)[0], dtype_of(binding.var.ty)
        source = self._furthest(operand, binding)
        if dtype_of(source.ty) == target:
            self.stands_for[binding.var] = source
            return
        key = self._origin.get(source, source), target
        if key in self._done:
            self.stands_for[binding.var] = self._done[key]
            return
        self._done[key] = binding.var
        self._operand[binding.var] = source
        self.bindings.append(reading(binding, {operand: source}))

    def _furthest(self, operand: Any, binding: Binding) -> Any:
        """Return the value furthest up the casts from which ``binding`` gives the same, and note why it is no further."""
        target = dtype_of(binding.var.ty)
        while (cast := self._origin.get(operand, operand)) in self._operand and dtype_of(operand.ty) != target:
            above = self._operand[cast]
            reason = why_not_shorter(dtype_of(above.ty), dtype_of(operand.ty))
            if reason is not None:
                self.declined.append(Declined(reason, at=value_name(self.info, binding.var)))
                break
            operand = above
        return operand
