"""Run LiteRT models through the ``ai-edge-litert`` package.

Each prepared call has an interpreter of its own: one that two threads share raises or, rarely, is wrong, and its memory is laid out
for one set of extents. Arguments are copied into and out of the interpreter's tensors, which are in its own arena.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landbridge.runtime.dims import render_shape
from landbridge.runtime.driver import LoadedModel, PreparedCall, TensorRef
from landbridge.runtime.errors import DeviceError
from landbridge.runtime.signature import Port, Signature
from landbridge.runtime.vendors.host_memory import HostDriver, check_arguments, thread_count, view
from landbridge.runtime.vendors.presence import import_package

_DEVICE = "litert0"
_PACKAGE = "ai-edge-litert"
VERSION_KEY = "litert"

_ERRORS = (RuntimeError, ValueError)
"""What the package raises: a model refused, an operator that there is not, a failure while it runs."""

Places = list[tuple[str, int, NDArray[Any]]]
"""For each argument its name, the interpreter's number of it, and the array it is copied from or to."""


def open_driver() -> LitertDriver:
    """Return the driver of LiteRT's CPU.

    Raises:
        DeviceError: the package is missing or cannot be loaded.
    """
    module = import_package("ai_edge_litert.interpreter", package=_PACKAGE, at=_DEVICE, hint="pip install landbridge[litert]")
    return LitertDriver(module.Interpreter, metadata.version(_PACKAGE))


class LitertDriver(HostDriver):
    """LiteRT on the CPU; ``interpreter`` is its class."""

    def __init__(self, interpreter: Any, version: str) -> None:
        super().__init__({VERSION_KEY: version})
        self._interpreter = interpreter

    def load(self, blob: bytes, signature: Signature, options: Mapping[str, str]) -> LoadedModel:
        """Let LiteRT read a model, and compare its interface with ``signature``."""
        model = LitertModel(self._interpreter, blob, signature, thread_count(options, _DEVICE))
        model.check()
        return model


class LitertModel(LoadedModel):
    """A model, of which each call makes an interpreter."""

    concurrent = True

    def __init__(self, interpreter: Any, blob: bytes, signature: Signature, threads: int) -> None:
        self._interpreter = interpreter
        self._blob = blob
        self._signature = signature
        self._threads = threads

    def check(self) -> None:
        """Compare the interface that LiteRT finds with the signature.

        Raises:
            DeviceError: LiteRT refuses the model, or they differ.
        """
        made = self._make()
        for kind, ports, details in (
            ("inputs", self._signature.inputs, made.get_input_details()),
            ("outputs", self._signature.outputs, made.get_output_details()),
        ):
            found = [(str(np.dtype(detail["dtype"])), list(map(int, detail["shape_signature"]))) for detail in details]
            expected = [(port.dtype, [-1 if isinstance(dim, str) else dim for dim in port.shape]) for port in ports]
            if found != expected:
                raise DeviceError(
                    f"the model's {kind} are {found}, its signature says {expected}",
                    at=_DEVICE,
                    hint="compile the artifact again",
                    code="LB4007",
                )

    def prepare(self, inputs: Sequence[TensorRef], outputs: Sequence[TensorRef]) -> PreparedCall:
        """Make an interpreter for these extents."""
        check_arguments(self._signature.inputs, inputs, "input", _DEVICE)
        check_arguments(self._signature.outputs, outputs, "output", _DEVICE)
        made = self._make()
        takes = _places(self._signature.inputs, made.get_input_details(), inputs)
        gives = _places(self._signature.outputs, made.get_output_details(), outputs)
        try:
            for port, (_, index, array) in zip(self._signature.inputs, takes, strict=True):
                if any(isinstance(dim, str) for dim in port.shape):
                    made.resize_tensor_input(index, array.shape)
            made.allocate_tensors()
        except _ERRORS as error:
            shapes = ", ".join(f"'{name}' {render_shape(array.shape)}" for name, _, array in takes)
            raise DeviceError(
                f"LiteRT refused the inputs {shapes}: {_first_line(error)}", at=_DEVICE, vendor_text=str(error), code="LB4009"
            ) from error
        return LitertCall(made, takes, gives)

    def _make(self) -> Any:
        try:
            return self._interpreter(model_content=self._blob, num_threads=self._threads)
        except _ERRORS as error:
            raise DeviceError(
                f"LiteRT refused the model: {_first_line(error)}",
                at=_DEVICE,
                hint="convert the model again",
                vendor_text=str(error),
                code="LB4008",
            ) from error

    def close(self) -> None:
        """Forget the model."""
        self._blob = b""


class LitertCall(PreparedCall):
    """An interpreter with its memory laid out."""

    def __init__(self, interpreter: Any, takes: Places, gives: Places) -> None:
        self._interpreter = interpreter
        self._takes = takes
        self._gives = gives

    def __call__(self) -> None:
        """Copy the inputs in, run to the end, copy the outputs out."""
        interpreter = self._interpreter
        if all(array.size == 0 for _, _, array in self._gives):
            return  # nothing is asked for, and its kernels are not made for empty tensors
        try:
            for _, index, array in self._takes:
                np.copyto(interpreter.tensor(index)(), array)  # a view kept longer would forbid to run
            interpreter.invoke()
        except _ERRORS as error:
            raise DeviceError(f"LiteRT failed: {_first_line(error)}", at=_DEVICE, vendor_text=str(error), code="LB4009") from error
        for name, index, array in self._gives:
            found = interpreter.tensor(index)()
            if found.shape != array.shape:
                raise DeviceError(
                    f"output '{name}' came out as {render_shape(found.shape)}, expected {render_shape(array.shape)}",
                    at=_DEVICE,
                    code="LB4010",
                )
            np.copyto(array, found)

    def close(self) -> None:
        """Free the interpreter."""
        self._interpreter = None
        self._takes, self._gives = [], []


def _places(ports: Sequence[Port], details: Sequence[Mapping[str, Any]], refs: Sequence[TensorRef]) -> Places:
    return [
        (port.name, int(detail["index"]), view(ref.address, ref.dtype, ref.shape))
        for port, detail, ref in zip(ports, details, refs, strict=True)
    ]


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "no reason given")
