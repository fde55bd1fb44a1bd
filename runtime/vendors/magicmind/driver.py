"""Run MagicMind models through the vendor's Python package.

The package takes and gives NumPy arrays and moves them itself. Device memory is therefore memory of the host here, in which tensors
wait for a call; each call copies its inputs to the card and its outputs back. The device is activated on the thread of each call.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from landbridge.runtime.device import Device
from landbridge.runtime.dims import render_shape
from landbridge.runtime.driver import LoadedModel, PreparedCall, TensorRef
from landbridge.runtime.errors import DeviceError, PlanError, did_you_mean
from landbridge.runtime.records import dataclass
from landbridge.runtime.signature import Port, Signature
from landbridge.runtime.vendors.host_memory import HostDriver, check_arguments, view
from landbridge.runtime.vendors.magicmind.package import check, import_package, made, names_of, open_model, read_ports


def open_driver(ordinal: int) -> MagicMindDriver:
    """Return the driver of card ``ordinal``.

    Raises:
        DeviceError: the package or the card is missing.
    """
    at = str(Device("cambricon", ordinal))
    return MagicMindDriver(import_package(at), ordinal, at)


class MagicMindDriver(HostDriver):
    """One Cambricon card.

    Attributes:
        package: the vendor's.
        device: the vendor's device.
        at: its name, such as ``cambricon0``.
    """

    def __init__(self, package: Any, ordinal: int, at: str) -> None:
        """Open card ``ordinal``; the vendor's system stays open as long as this."""
        super().__init__({})
        self.package = package
        self.at = at
        self._models: set[MagicMindModel] = set()
        with ExitStack() as stack:
            count = stack.enter_context(package.System()).device_count()
            if ordinal >= count:
                names = ", ".join(f"cambricon{index}" for index in range(count)) or "none"
                raise DeviceError(
                    f"there is no such device; Cambricon devices here: {names}", at=at, hint="name one of them", code="LB4002"
                )
            self.device = package.Device()
            self.device.id = ordinal
            self.bind()
            self._stack = stack.pop_all()

    def bind(self) -> None:
        """Make the card the one that this thread works with."""
        check(self.device.active(), "activating the device", self.at)

    def load(self, blob: bytes, signature: Signature, options: Mapping[str, str]) -> MagicMindModel:
        """Load a model."""
        model = MagicMindModel(self, blob, signature)
        self._models.add(model)
        return model

    def forget(self, model: MagicMindModel) -> None:
        """Take note that ``model`` is closed."""
        self._models.discard(model)

    def close(self) -> None:
        """Close what is still open, then the vendor's system."""
        for model in list(self._models):
            model.close()
        super().close()
        self._stack.close()


class MagicMindModel(LoadedModel):
    """A model with an engine, a context and a queue of its own."""

    def __init__(self, driver: MagicMindDriver, blob: bytes, signature: Signature) -> None:
        """Load ``blob``.

        Raises:
            DeviceError: the vendor refused it, or describes it otherwise than ``signature``.
        """
        self.driver = driver
        self.signature = signature
        self.lock = threading.Lock()
        package, at = driver.package, driver.at
        driver.bind()
        model = open_model(package, blob, at)
        self.order = _compare(package, model, signature, at)
        config = package.Model.EngineConfig()
        config.device_type = "MLU"
        engine = made(package, model.create_i_engine(config), "creating an engine", at)
        self.context = made(package, engine.create_i_context(), "creating a context", at)
        self.queue = made(package, driver.device.create_queue(), "creating a queue", at)
        self.inputs = made(package, self.context.create_inputs(), "creating the inputs", at)
        self._owned = [model, engine]

    def prepare(self, inputs: Sequence[TensorRef], outputs: Sequence[TensorRef]) -> MagicMindCall:
        """Bind the arguments."""
        return MagicMindCall(self, inputs, outputs)

    def close(self) -> None:
        """Let go of what the vendor made, the last first."""
        with self.lock:
            self.inputs = self.context = self.queue = None
            while self._owned:
                self._owned.pop()
        self.driver.forget(self)


class MagicMindCall(PreparedCall):
    """A call of a model with its arguments bound."""

    def __init__(self, model: MagicMindModel, inputs: Sequence[TensorRef], outputs: Sequence[TensorRef]) -> None:
        at = model.driver.at
        check_arguments(model.signature.inputs, inputs, "input", at)
        check_arguments(model.signature.outputs, outputs, "output", at)
        self._model = model
        self._inputs = [view(ref.address, ref.dtype, ref.shape) for ref in inputs]
        self._outputs = [
            (port, view(ref.address, ref.dtype, ref.shape)) for port, ref in zip(model.signature.outputs, outputs, strict=True)
        ]
        self._open = True

    def __call__(self) -> None:
        """Copy the inputs to the card, run the model, copy the outputs back."""
        model, at = self._model, self._model.driver.at
        with model.lock:
            if not self._open or model.context is None:
                raise PlanError("a call was used after it was closed", at=at)
            model.driver.bind()
            for place, array in zip(model.order.inputs, self._inputs, strict=True):
                tensor = model.inputs[place]
                check(tensor.from_numpy(array), "reading an input", at)
                check(tensor.to(model.driver.device), "copying an input to the device", at)
            results: list[Any] = []
            check(model.context.enqueue(model.inputs, results, model.queue), "running the model", at)
            check(model.queue.sync(), "waiting for the model", at)
            for place, (port, destination) in zip(model.order.outputs, self._outputs, strict=True):
                _store(np.asarray(results[place].asnumpy()), port, destination, at)

    def close(self) -> None:
        """Let go of the arguments."""
        self._open = False
        self._inputs, self._outputs = [], []


@dataclass(frozen=True)
class _Order:
    """Where in the vendor's lists the inputs and outputs of a signature are."""

    inputs: list[int]
    outputs: list[int]


_AGAIN = "capture the signature again from this model, and compile the artifact again"


def _store(result: Any, port: Port, destination: Any, at: str) -> None:
    found, expected = f"{result.dtype} {render_shape(result.shape)}", f"{destination.dtype} {render_shape(destination.shape)}"
    if found != expected:
        raise DeviceError(f"output '{port.name}' came out as {found}, expected {expected}", at=at, code="LB4010")
    np.copyto(destination, result)


def _compare(package: Any, model: Any, signature: Signature, at: str) -> _Order:
    """Return where each input and output is: by name, where this release tells names, else by position.

    Raises:
        DeviceError: the model is not what the signature says.
    """
    sides = {
        kind: _match(ports, read_ports(package, model, kind, at), bool(names_of(model, kind)), kind, at)
        for kind, ports in (("input", signature.inputs), ("output", signature.outputs))
    }
    return _Order(sides["input"], sides["output"])


def _match(ports: Sequence[Port], found: Sequence[Port], named: bool, kind: str, at: str) -> list[int]:
    if len(ports) != len(found):
        raise DeviceError(f"the model has {len(found)} {kind}s, its signature {len(ports)}", at=at, hint=_AGAIN, code="LB4007")
    places = {port.name: index for index, port in enumerate(found)}
    unknown = [port.name for port in ports if named and port.name not in places]
    if unknown:
        raise DeviceError(f"the model has no {kind} '{unknown[0]}'", at=at, hint=did_you_mean(unknown[0], places), code="LB4007")
    order = [places[port.name] if named else index for index, port in enumerate(ports)]
    for port, place in zip(ports, order, strict=True):
        other = found[place]
        fits = len(port.shape) == len(other.shape) and all(
            isinstance(theirs, str) or theirs == ours for ours, theirs in zip(port.shape, other.shape, strict=True)
        )
        if port.dtype != other.dtype or not fits:
            raise DeviceError(
                f"{kind} '{other.name}' is {other.dtype} {render_shape(other.shape)} on the device, "
                f"its signature says {port.dtype} {render_shape(port.shape)}",
                at=at,
                hint=_AGAIN,
                code="LB4007",
            )
    return order
