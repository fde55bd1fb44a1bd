"""Run OpenVINO blobs through the ``openvino`` package.

Each prepared call has an infer request of its own with its tensors set beforehand, on the caller's memory, so that results are
written in place; a compiled model is never called itself (two threads doing that get wrong results without an error).
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from landbridge.runtime.dims import render_shape
from landbridge.runtime.driver import LoadedModel, PreparedCall, TensorRef
from landbridge.runtime.errors import DeviceError
from landbridge.runtime.signature import Signature
from landbridge.runtime.vendors.host_memory import HostDriver, check_arguments, default_threads, view
from landbridge.runtime.vendors.openvino.blob import PRECISION, VERSION_KEY, read_blob
from landbridge.runtime.vendors.presence import import_package

_DEVICE = "openvino0"

_CURRENT = re.compile(r"current:.*?isa=([^\n;]+)")


def open_driver() -> OpenvinoDriver:
    """Return the driver of OpenVINO's CPU device.

    Raises:
        DeviceError: the package is missing or cannot be loaded.
    """
    ov = import_package("openvino", at=_DEVICE, hint="pip install landbridge[openvino]")
    return OpenvinoDriver(ov)


class OpenvinoDriver(HostDriver):
    """OpenVINO's CPU device; its memory is the host's."""

    def __init__(self, ov: Any) -> None:
        super().__init__({VERSION_KEY: str(ov.__version__).split("-")[0]})
        self._ov = ov
        self._core = ov.Core()

    def load(self, blob: bytes, signature: Signature, options: Mapping[str, str]) -> LoadedModel:
        """Import a blob after checking that this OpenVINO and this CPU are those it was exported by."""
        found = read_blob(blob, "OpenVINO blob")
        installed = self.versions[VERSION_KEY]
        if found.version != installed:
            raise DeviceError(
                f"the blob was exported by OpenVINO {found.version}, installed is {installed}",
                at=_DEVICE,
                hint=f"pip install openvino=={found.version}, or export the model again with {installed}",
                code="LB4005",
            )
        properties = {
            PRECISION: signature.versions.get("precision", "f32"),
            "INFERENCE_NUM_THREADS": str(default_threads()),
            "ENABLE_CPU_PINNING": "NO",  # pinned, all models of a process would share one core
            **options,
        }
        try:
            compiled = self._core.import_model(io.BytesIO(blob), "CPU", properties)
        except RuntimeError as error:
            raise _import_error(error, found.isa) from error
        _check_interface(compiled, signature)
        return OpenvinoModel(self._ov, compiled, signature)


class OpenvinoModel(LoadedModel):
    """A blob, imported."""

    def __init__(self, ov: Any, compiled: Any, signature: Signature) -> None:
        self._ov = ov
        self._compiled = compiled
        self._signature = signature

    def prepare(self, inputs: Sequence[TensorRef], outputs: Sequence[TensorRef]) -> PreparedCall:
        """Make an infer request whose tensors are at the given addresses."""
        check_arguments(self._signature.inputs, inputs, "input", _DEVICE)
        check_arguments(self._signature.outputs, outputs, "output", _DEVICE)
        request = self._compiled.create_infer_request()
        try:
            ins = [self._tensor(ref) for ref in inputs]
            outs = [self._tensor(ref) for ref in outputs]
            for index, tensor in enumerate(ins):
                request.set_input_tensor(index, tensor)
            for index, tensor in enumerate(outs):
                request.set_output_tensor(index, tensor)
        except RuntimeError as error:
            raise DeviceError("OpenVINO refused the arguments", at=_DEVICE, vendor_text=str(error), code="LB4009") from error
        dynamic = [index for index, port in enumerate(self._signature.outputs) if any(isinstance(dim, str) for dim in port.shape)]
        checks = [(self._signature.outputs[index].name, outs[index], outputs[index].shape) for index in dynamic]
        return OpenvinoCall(request, checks)

    def _tensor(self, ref: TensorRef) -> Any:
        array = view(ref.address, ref.dtype, ref.shape)
        if ref.dtype == "bfloat16":
            return self._ov.Tensor(array, self._ov.Shape(list(ref.shape)), self._ov.Type.bf16)
        return self._ov.Tensor(array, shared_memory=True)

    def close(self) -> None:
        """Unload the model."""
        self._compiled = None


class OpenvinoCall(PreparedCall):
    """An infer request with its tensors set; ``checks`` are the outputs (name, tensor, shape) whose shape the model decides."""

    def __init__(self, request: Any, checks: list[tuple[str, Any, tuple[int, ...]]]) -> None:
        self._request = request
        self._checks = checks

    def __call__(self) -> None:
        """Run the request to its end."""
        try:
            self._request.infer()
        except RuntimeError as error:
            raise DeviceError(f"OpenVINO failed: {_last_line(error)}", at=_DEVICE, vendor_text=str(error), code="LB4009") from error
        for name, tensor, expected in self._checks:
            if tuple(tensor.shape) != expected:  # a smaller result fits, and is written without a word
                raise DeviceError(
                    f"output '{name}' came out as {render_shape(tensor.shape)}, expected {render_shape(expected)}",
                    at=_DEVICE,
                    code="LB4010",
                )

    def close(self) -> None:
        """Free the request."""
        self._request = None
        self._checks = []


def _check_interface(compiled: Any, signature: Signature) -> None:
    for kind, ports, found in (("inputs", signature.inputs, compiled.inputs), ("outputs", signature.outputs, compiled.outputs)):
        got = [
            (_dtype_name(port.element_type), [-1 if dim.is_dynamic else dim.get_length() for dim in port.partial_shape]) for port in found
        ]
        expected = [(port.dtype, [-1 if isinstance(dim, str) else dim for dim in port.shape]) for port in ports]
        if got != expected:
            raise DeviceError(
                f"the blob's {kind} are {got}, its signature says {expected}", at=_DEVICE, hint="compile the artifact again", code="LB4007"
            )


def _dtype_name(element_type: Any) -> str:
    return "bfloat16" if element_type.to_string() == "bf16" else str(np.dtype(element_type.to_dtype()))


def _import_error(error: RuntimeError, isa: str) -> DeviceError:
    current = _CURRENT.search(str(error))
    if current is not None and current[1].strip() != isa:
        return DeviceError(
            f"the blob was exported on a CPU with {isa}; this one has {current[1].strip()}",
            at=_DEVICE,
            hint="export the model again on this machine",
            vendor_text=str(error),
            code="LB4004",
        )
    return DeviceError(
        f"OpenVINO refused the blob: {_last_line(error)}", at=_DEVICE, hint="export the model again", vendor_text=str(error), code="LB4008"
    )


def _last_line(error: RuntimeError) -> str:
    return next((line for line in reversed(str(error).splitlines()) if line.strip()), "no reason given")
