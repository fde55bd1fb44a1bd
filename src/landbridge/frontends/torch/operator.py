"""An offline model as an operator of PyTorch: it runs in eager mode, and `torch.export` keeps it as one call.

All offline models are one custom operator of PyTorch, ``landbridge::offline_model``, with a key for the model. What stands behind a key
is kept in this process: a program that another process exported is read after `torch_operator` was called with the same blob here.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import tvm
from tvm import relax, tirx

from landbridge.frontends.names import NameTable
from landbridge.frontends.offline_call import Place, call_offline
from landbridge.frontends.torch.installed import dtype_name, pytorch, to_array, to_tensor
from landbridge.ir.body import Body
from landbridge.ir.devices import VDevices
from landbridge.ir.gear_extents import follows
from landbridge.ir.one_at_a_time import one_at_a_time
from landbridge.ir.program import EXTERNS, MODEL, NAMES, OUTPUTS, ExternModel, Program
from landbridge.runtime.device import CPU, Device
from landbridge.runtime.errors import SignatureError, UnsupportedError, UsageError
from landbridge.runtime.session import Session

OPERATOR = "landbridge::offline_model"
"""What PyTorch calls the operator."""


def torch_operator(model: ExternModel, *, device: str | Device | None = None, simulate: Iterable[str] = ()) -> Any:
    """Return an offline model as a `torch.nn.Module`, to be called in the ``forward`` of another one.

    It takes tensors in the order of the model's signature, and returns a tuple of tensors, always. Called on tensors, it runs on its
    device through the runtime of Landbridge. `torch.export.export` keeps it, named dimensions and all, and `landbridge.from_torch`
    compiles it into the artifact.

    Args:
        model: the blob.
        device: where it runs; the vendor's first device by default.
        simulate: vendors that are simulated when it runs in PyTorch; also ``LANDBRIDGE_SIMULATE``.

    Raises:
        UnsupportedError: PyTorch is not installed.
        UsageError: ``model`` is something else, or the device is not of its vendor's kind.

    Example:
        >>> backbone = lb.torch_operator(lb.ExternModel.from_file("digits/backbone.om"), simulate=["atlas"])  # doctest: +SKIP
    """
    torch = pytorch("lb.torch_operator")
    if not isinstance(model, ExternModel):
        hint = 'lb.ExternModel.from_file("backbone.om"), or from_bytes'
        raise UsageError(f"expected an offline model, found {type(model).__name__}", hint=hint, code="LB1110")
    where = Device(model.device_kind) if device is None else Device.parse(device)
    if where.kind != model.device_kind:
        raise UsageError(f"{model.name} runs on {model.device_kind}, not on {where}", hint=f"such as {model.device_kind}0", code="LB1107")
    call = _register(torch)
    key = f"{model.name} on {where}, {model.digest[:16]}"
    _KNOWN[key] = Known(model, where, tuple(simulate))

    class OfflineModel(torch.nn.Module):  # type: ignore[misc, name-defined]  # torch has no types here
        """An offline model in a network of PyTorch."""

        def forward(self, *inputs: Any) -> tuple[Any, ...]:
            """Return its outputs."""
            return tuple(call(list(inputs), key))

        def extra_repr(self) -> str:
            """Return what PyTorch prints of it."""
            return f"{key}: {model.signature!r}"

    return OfflineModel()


@dataclass
class Known:
    """An offline model that PyTorch may call.

    Attributes:
        model: the blob.
        device: where it runs.
        simulate: the vendors that are simulated when it runs in PyTorch.
    """

    model: ExternModel
    device: Device
    simulate: tuple[str, ...]
    _sessions: dict[tuple[str, ...], Session] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, inputs: Sequence[Any]) -> list[Any]:
        """Return what it gives for tensors."""
        ports = self.model.signature.inputs
        if len(inputs) != len(ports):
            raise SignatureError(f"{self.model.name}: found {len(inputs)} inputs, expected {len(ports)}", code="LB2108")
        arrays = [to_array(tensor) for tensor in inputs]
        session = self._session(tuple(dtype_name(tensor.dtype) for tensor in inputs))
        found = session.run({info.name: array for info, array in zip(session.inputs, arrays, strict=True)})
        return [to_tensor(array, port.dtype) for array, port in zip(found.values(), self.model.signature.outputs, strict=True)]

    def _session(self, dtypes: tuple[str, ...]) -> Session:
        from landbridge.compiler import compile  # noqa: PLC0415 - it imports every front end

        with self._lock:
            if dtypes not in self._sessions:
                self._sessions[dtypes] = compile(_alone(self, dtypes), check="off").load(simulate=self.simulate)
            return self._sessions[dtypes]

    def shapes(self, inputs: Sequence[Any]) -> list[list[Any]]:
        """Return the shapes of its outputs for shapes of inputs, whose extents may be symbols of PyTorch."""
        signature = self.model.signature
        extents: dict[str, Any] = {}
        for port, shape in zip(signature.inputs, inputs, strict=True):
            extents.update({dim: extent for dim, extent in zip(port.shape, shape, strict=False) if isinstance(dim, str)})
        found = []
        for index, port in enumerate(signature.outputs):
            follow = [follows(signature, index, axis) for axis in range(len(port.shape))]
            shape = []
            for dim, rule in zip(port.shape, follow, strict=True):
                if isinstance(dim, int) or dim in extents:
                    shape.append(extents[dim] if isinstance(dim, str) else dim)
                elif rule is not None and rule.dimension in extents:
                    shape.append((extents[rule.dimension] * rule.factor + rule.added) // rule.divisor)
                else:
                    message = f"output '{port.name}' has the dimension '{dim}', which no input has: PyTorch cannot know its shape"
                    raise UnsupportedError(message, at=self.model.name, code="LB2312")
            found.append(shape)
        return found


_KNOWN: dict[str, Known] = {}
"""What `torch_operator` was called with, by key."""


def known(key: str) -> Known:
    """Return the offline model behind a key.

    Raises:
        UsageError: there is none in this process.
    """
    if key not in _KNOWN:
        hint = "call lb.torch_operator with the same blob and device first"
        raise UsageError(f"the program has the offline model '{key}', which this process does not know", hint=hint)
    return _KNOWN[key]


@functools.cache
def _register(torch: Any) -> Any:
    """Return the custom operator, made once."""

    def run(inputs: Any, key: str) -> Any:
        return known(key).run(inputs)

    def fake(inputs: Any, key: str) -> Any:
        found = known(key)
        ports = found.model.signature.outputs
        shapes = found.shapes([tensor.shape for tensor in inputs])
        return [inputs[0].new_empty(shape, dtype=getattr(torch, port.dtype)) for shape, port in zip(shapes, ports, strict=True)]

    operator = torch.library.custom_op(OPERATOR, run, mutates_args=(), schema="(Tensor[] inputs, str key) -> Tensor[]")
    operator.register_fake(fake)
    return operator


@one_at_a_time
def _alone(found: Known, dtypes: Sequence[str]) -> Program:
    """Return the program that is nothing but the call of an offline model, on tensors of the given element types."""
    model, dims, table = found.model, dict[str, Any](), NameTable()
    vdevices = VDevices()
    params = []
    for port, dtype in zip(model.signature.inputs, dtypes, strict=True):
        shape = [dims.setdefault(dim, tirx.Var(dim, "int64")) if isinstance(dim, str) else dim for dim in port.shape]
        params.append(relax.Var(table.identifier(port.name), vdevices.on(relax.TensorType(shape, dtype), CPU)))
    outputs = model.signature.outputs
    place = Place(model.name, table.names, outputs[0].name)
    call = call_offline(model, found.device, "offline_model", params, len(outputs), place)
    module = Body(tuple(params), call.bindings, call.outputs).write(tvm.IRModule(), vdevices)
    wanted = [[f"{index} {port.name}", ""] for index, port in enumerate(outputs)]
    attributes = {EXTERNS: {"offline_model": call.entry}, NAMES: table.names, OUTPUTS: wanted, MODEL: model.name}
    return Program(module.with_attrs(attributes), {"offline_model": model})
