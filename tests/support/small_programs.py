"""Small programs, built by hand: before placement without devices in their types, after it with them.

Tensors are [2, 3] all through; offline models are named after their symbols ("net" is the blob ``net.blob``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tvm
from tvm import relax

from landbridge.ir.body import Binding, Body
from landbridge.ir.devices import VDevices
from landbridge.ir.program import EXTERNS, MODEL, NAMES, OUTPUTS, TOPOLOGY, ExternModel, extern_entry
from landbridge.runtime.device import CPU, Device
from landbridge.runtime.signature import Port, Signature
from support.random_programs import DEVICES

SHAPE = (2, 3)


class SmallProgram:
    """The program so far; each method adds a binding and returns its variable.

    Args:
        placed: whether types have devices: operators' results on the CPU, all else where it belongs.
        links: the topology, a star where empty.
        names: the user's names.
        model: the name of the model.
    """

    def __init__(
        self, *, placed: bool, links: Sequence[Sequence[str]] = (), names: dict[str, str] | None = None, model: str = "small.onnx"
    ) -> None:
        self.placed = placed
        self.vdevices = VDevices()
        for device in (CPU, *DEVICES):
            self.vdevices.get(device)  # listed whether or not a pass leaves something on it
        self.params: list[Any] = []
        self.bindings: list[Binding] = []
        self.results: list[Any] = []
        self.wishes: list[list[str]] = []
        self.attributes: dict[str, Any] = {EXTERNS: {}, NAMES: names or {}, MODEL: model}
        if links:
            self.attributes[TOPOLOGY] = [list(link) for link in links]

    def model(self, symbol: str, device: str, inputs: Sequence[str] = ("float32",), outputs: Sequence[str] = ("float32",)) -> None:
        """Add an offline model to the table; inputs and outputs are element types."""
        where = Device.parse(device)
        signature = Signature(
            tuple(Port(f"in{i}", dtype, SHAPE) for i, dtype in enumerate(inputs)),
            tuple(Port(f"out{i}", dtype, SHAPE) for i, dtype in enumerate(outputs)),
        )
        vendor = "onnxruntime" if where.is_cpu else f"paper-{where.kind}"
        model = ExternModel(vendor, symbol.encode(), signature, name=f"{symbol}.blob")
        self.attributes[EXTERNS][symbol] = extern_entry(model, where)

    def input(self, name: str, dtype: str = "float32", device: str = "") -> Any:
        """Add a parameter, on ``device`` where that is given."""
        home = Device.parse(device) if device else CPU
        self.params.append(relax.Var(name, self._type(dtype, home, declared=bool(device))))
        return self.params[-1]

    def constant(self, dtype: str = "float32") -> Any:
        """Return a constant of ones."""
        return relax.const(np.ones(SHAPE, dtype))

    def relu(self, name: str, value: Any) -> Any:
        """Add a rectifier."""
        return self.bind(name, relax.op.nn.relu(value), self._type(_dtype(value), CPU))

    def add(self, name: str, left: Any, right: Any) -> Any:
        """Add a sum."""
        return self.bind(name, relax.op.add(left, right), self._type(_dtype(left), CPU))

    def cast(self, name: str, value: Any, dtype: str) -> Any:
        """Add a conversion."""
        return self.bind(name, relax.op.astype(value, dtype), self._type(dtype, CPU))

    def copy(self, name: str, value: Any, device: str) -> Any:
        """Add a copy."""
        there = Device.parse(device)
        return self.bind(name, relax.op.to_vdevice(value, self.vdevices.get(there)), self._type(_dtype(value), there))

    def call(self, name: str, symbol: str, *values: Any) -> Any:
        """Add a call of an offline model; a tuple where it has several outputs."""
        entry = self.attributes[EXTERNS][symbol]
        where = Device.parse(entry["device"])
        types = [self._type(port["dtype"], where) for port in entry["signature"]["outputs"]]
        call = relax.call_dps_packed(symbol, relax.Tuple(list(values)), out_ty=types)
        return self.bind(name, call, types[0] if len(types) == 1 else tvm.ir.TupleType(types))

    def part(self, name: str, whole: Any, index: int) -> Any:
        """Add the choice of a tuple's part."""
        return self.bind(name, relax.TupleGetItem(whole, index), whole.ty.fields[index])

    def output(self, value: Any, name: str = "", device: str = "") -> None:
        """Make a value an output."""
        self.results.append(value)
        self.wishes.append([name or f"out{len(self.wishes)}", device])

    def module(self) -> tvm.IRModule:
        """Return the program."""
        body = Body(tuple(self.params), tuple(self.bindings), tuple(self.results))
        return body.write(tvm.IRModule(), self.vdevices).with_attrs({**self.attributes, OUTPUTS: self.wishes})

    def bind(self, name: str, value: Any, value_type: Any) -> Any:
        """Add any binding."""
        self.bindings.append(Binding(relax.Var(name, value_type), value))
        return self.bindings[-1].var

    def _type(self, dtype: str, device: Device, *, declared: bool = False) -> Any:
        tensor_type = relax.TensorType(SHAPE, dtype)
        return self.vdevices.on(tensor_type, device) if self.placed or declared else tensor_type


def names_in(module: tvm.IRModule) -> list[str]:
    """Return the names of the variables that ``module`` binds, in order."""
    return [str(binding.var.name) for binding in Body.of(module).bindings]


def _dtype(value: Any) -> str:
    return str(value.ty.dtype)
