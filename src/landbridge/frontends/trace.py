"""One run of a module on symbolic tensors: what offline models it calls, and where they run."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import tvm
from tvm import relax
from tvm.relax.frontend.nn import Tensor

from landbridge.frontends.output_types import output_types
from landbridge.ir.body import extern_call, extern_symbol, is_extern
from landbridge.runtime.device import CPU, Device
from landbridge.runtime.errors import UsageError

if TYPE_CHECKING:
    from landbridge.frontends.runtime_subgraph import RuntimeSubgraph

COPY = "landbridge.copy:"
"""Prefix of the call that stands for a copy while a module is traced: Relax would refuse operands of two devices."""


class Outputs(list[Any]):
    """The outputs of an offline model, which is no tensor even where there is one of them."""

    def __init__(self, name: str, tensors: Sequence[Any]) -> None:
        super().__init__(tensors)
        self._name = name

    @property
    def _expr(self) -> Any:
        """What operators ask a tensor for."""
        raise UsageError(
            f"the outputs of an offline model are used like a tensor; they are a sequence of {len(self)}",
            at=self._name,
            hint=f"choose one: {self._name}(…)[0]",
            code="LB1114",
        )


@dataclass
class Trace:
    """One run of a module on symbolic tensors.

    Attributes:
        names: what the user calls each offline model: the attribute that holds it ("backbone"), by identity of the module.
        calls: for each symbol its module and the device of its call.
        devices: where each argument of the module is; what operators make is on the CPU.
    """

    names: dict[int, str]
    calls: dict[str, tuple[RuntimeSubgraph, Device]] = field(default_factory=dict)
    devices: dict[Any, Device] = field(default_factory=dict)

    _active: ClassVar[threading.local] = threading.local()

    @staticmethod
    def current(caller: str) -> Trace:
        """Return the run that this thread is in.

        Raises:
            UsageError: it is in none.
        """
        trace: Trace | None = getattr(Trace._active, "trace", None)
        if trace is None:
            raise UsageError("an offline model can only be called inside lb.from_module", at=caller, code="LB1114")
        return trace

    def __enter__(self) -> Trace:
        Trace._active.trace = self
        return self

    def __exit__(self, *_: object) -> None:
        Trace._active.trace = None

    def call(self, module: RuntimeSubgraph, inputs: Sequence[Any]) -> list[Any]:
        """Emit the call of an offline model and return its outputs.

        Raises:
            SignatureError: the shapes of the outputs do not follow from those of the inputs.
        """
        name = self.name_of(module)
        symbol = f"{module.vendor}_{len(self.calls)}"
        arguments = [tensor._expr for tensor in inputs]
        types = output_types(module.model.signature, arguments, at=name)
        self.calls[symbol] = (module, self._device(module, arguments))
        builder = relax.BlockBuilder.current()
        result = builder.emit(extern_call(symbol, arguments, types[0] if len(types) == 1 else tvm.ir.TupleType(types)), name)
        if len(types) == 1:
            return Outputs(name, [Tensor(_expr=result)])
        fields = [builder.emit(relax.TupleGetItem(result, i), f"{name}.{i}") for i in range(len(types))]
        return Outputs(name, [Tensor(_expr=part) for part in fields])

    def name_of(self, module: RuntimeSubgraph) -> str:
        """What messages call an offline model: the name it was given, else the attribute that holds it."""
        return module.name or self.names.get(id(module), module.model.name)

    def _device(self, module: RuntimeSubgraph, arguments: Sequence[Any]) -> Device:
        if module.device is not None:
            return Device.parse(module.device)
        kind = module.model.device_kind
        first = self._device_of(arguments[0]) if arguments else CPU
        return first if first.kind == kind else Device(kind)

    def _device_of(self, expr: Any) -> Device:
        if expr in self.devices:
            return self.devices[expr]
        value = relax.BlockBuilder.current().lookup_binding(expr) if isinstance(expr, relax.Var) else None
        if value is None or not is_extern(value):
            return CPU
        symbol = extern_symbol(value)
        return Device.parse(symbol.removeprefix(COPY)) if symbol.startswith(COPY) else self.calls[symbol][1]
