"""Take tuples apart, so that every value that can cross is a tensor with a name.

After it, a tuple variable is the result of an operator with several outputs and used only to choose a part of; a variable that is
another name for a value is gone. What is computed, and where, stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import tvm
from tvm import relax

from landbridge.ir.body import Binding, Body, substitute
from landbridge.passes.rewrite import Deriver, rewritten


@dataclass(frozen=True)
class FlattenTuples:
    """Replace tuple variables by their parts, and names of names by the values."""

    name: ClassVar[str] = "flatten-tuples"
    phase: ClassVar[str] = "imported"

    def run(self, module: tvm.IRModule) -> tvm.IRModule:
        """Return the rewritten module, or ``module`` itself when there is nothing to take apart."""
        body, flat = Body.of(module), _Flattened()
        derive = Deriver(module, body)
        for binding in body.bindings:
            flat.add(binding, derive)
        return rewritten(module, body, flat.bindings, [flat.value(output) for output in body.outputs], derive.vdevices)


class _Flattened:
    """The bindings so far; ``known`` has what a dropped variable stands for: a value, or a tuple expression of values."""

    def __init__(self) -> None:
        self.bindings: list[Binding] = []
        self.known: dict[Any, Any] = {}
        self.parts: dict[Any, Any] = {}

    def value(self, expr: Any) -> Any:
        return substitute(expr, self.known)

    def add(self, binding: Binding, derive: Deriver) -> None:
        value = binding.value
        if isinstance(value, relax.TupleGetItem):
            whole = value.tuple_value
            source = self.value(whole)
            if isinstance(source, relax.Tuple):
                self.known[binding.var] = source.fields[value.index]
                return
            self.bindings.append(binding if source is whole else Binding(binding.var, relax.TupleGetItem(source, value.index)))
            return
        if isinstance(value, relax.Var | relax.Tuple):
            self.known[binding.var] = self.value(value)
            return
        if isinstance(value, relax.Call):
            whole = [arg for arg in value.args if isinstance(arg, relax.Var) and isinstance(arg.ty, tvm.ir.TupleType)]
            for source in whole:
                self._take_apart(source, derive)
            value = substitute(self.value(value), self.parts)
        self.bindings.append(binding if value is binding.value else Binding(binding.var, value))

    def _take_apart(self, source: Any, derive: Deriver) -> None:
        """Make the parts of an operator's tuple that another operator takes whole."""
        if source in self.known or source in self.parts:
            return
        parts = [derive.part(source, index) for index in range(len(source.ty.fields))]
        self.bindings += parts
        self.parts[source] = relax.Tuple([part.var for part in parts])
