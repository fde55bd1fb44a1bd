"""Run a model in ONNX Runtime, on the caller's memory.

Arguments are bound by address. ONNX Runtime does not write a bound output that is an input or a constant passed through: it
hands out that value's own memory; such results are copied after the run.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landbridge.runtime.driver import LoadedModel, PreparedCall, TensorRef
from landbridge.runtime.dtypes import holder, is_packed, nbytes_of
from landbridge.runtime.errors import DeviceError, UnsupportedError
from landbridge.runtime.opaque import is_opaque
from landbridge.runtime.signature import Signature
from landbridge.runtime.vendors.host_memory import check_arguments, view
from landbridge.runtime.vendors.onnx_model import DTYPES

_CODES = {dtype: code for code, dtype in DTYPES.items()}
_ONLY_FATAL = 4
"""Of ONNX Runtime's severities of log messages: what is worse than fatal comes as an exception, with the text."""


def make_session(ort: Any, blob: bytes, threads: int) -> tuple[Any, str]:
    """Return the session, or None, and why ONNX Runtime refuses the model."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ONLY_FATAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # between our steps other threads need the cores
    try:
        return ort.InferenceSession(blob, options, providers=["CPUExecutionProvider"]), ""
    except _errors(ort) as error:
        return None, f"refuses it: {_first_line(error)}"


def _errors(ort: Any) -> tuple[type[Exception], ...]:
    """Return what ONNX Runtime raises: classes of its own, without a common base, and `RuntimeError` from the binding."""
    own = vars(ort.capi.onnxruntime_pybind11_state).values()
    return (RuntimeError, *(kind for kind in own if isinstance(kind, type) and issubclass(kind, Exception)))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no reason given"])[0]


class OrtModel(LoadedModel):
    """A model in a session of its own."""

    def __init__(self, ort: Any, session: Any, signature: Signature) -> None:
        self._errors = _errors(ort)
        self._session = session
        self._signature = signature

    def prepare(self, inputs: Sequence[TensorRef], outputs: Sequence[TensorRef]) -> PreparedCall:
        """Bind the addresses."""
        check_arguments(self._signature.inputs, inputs, "input", "cpu")
        check_arguments(self._signature.outputs, outputs, "output", "cpu")
        binding = self._session.io_binding()
        for port, ref in zip(self._signature.inputs, inputs, strict=True):
            binding.bind_input(port.name, "cpu", 0, _CODES[port.dtype], list(ref.shape), ref.address)
        for port, ref in zip(self._signature.outputs, outputs, strict=True):
            binding.bind_output(port.name, "cpu", 0, _CODES[port.dtype], list(ref.shape), ref.address)
        return OrtCall(self._session, binding, [(ref.address, nbytes_of(ref.dtype, ref.shape)) for ref in outputs], self._errors)

    def run_late(self, inputs: Sequence[Any]) -> list[Any]:
        """Run on host arrays and return fresh ones, each in NumPy's dtype for its type (`holder`)."""
        ports = (*self._signature.inputs, *self._signature.outputs)
        if any(is_opaque(port.dtype) for port in ports):
            return self._run_opaque(inputs)
        packed = next((port for port in ports if is_packed(port.dtype)), None)
        if packed is not None:
            raise UnsupportedError(f"'{packed.name}' is {packed.dtype}: such values need shapes that are known", at="cpu", code="LB2304")
        binding = self._session.io_binding()
        arrays = [np.asarray(array, holder(port.dtype), order="C") for array, port in zip(inputs, self._signature.inputs, strict=True)]
        for port, array in zip(self._signature.inputs, arrays, strict=True):
            binding.bind_input(port.name, "cpu", 0, _CODES[port.dtype], list(array.shape), array.ctypes.data)
        for port in self._signature.outputs:
            binding.bind_output(port.name, "cpu")
        _run(self._session, binding, self._errors)
        return [_fresh(value, port.dtype) for value, port in zip(binding.get_outputs(), self._signature.outputs, strict=True)]

    def _run_opaque(self, inputs: Sequence[Any]) -> list[Any]:
        """Run on values some of which are no tensors of numbers; an absent optional is left out, as ONNX Runtime wants it."""
        feeds = {port.name: value for port, value in zip(self._signature.inputs, inputs, strict=True) if value is not None}
        try:
            return list(self._session.run([port.name for port in self._signature.outputs], feeds))
        except self._errors as error:
            raise DeviceError(f"onnxruntime failed: {_first_line(error)}", at="cpu", vendor_text=str(error), code="LB4009") from error

    def close(self) -> None:
        """Unload the model."""
        self._session = None


class OrtCall(PreparedCall):
    """A binding; ``places`` are the address and the bytes of each output."""

    def __init__(self, session: Any, binding: Any, places: list[tuple[int, int]], errors: tuple[type[Exception], ...]) -> None:
        self._session = session
        self._binding = binding
        self._places = places
        self._errors = errors

    def __call__(self) -> None:
        """Run the session to the end."""
        _run(self._session, self._binding, self._errors)
        for value, (address, nbytes) in zip(self._binding.get_outputs(), self._places, strict=True):
            found = value.data_ptr()
            if found != address and nbytes:
                ctypes.memmove(address, found, nbytes)

    def close(self) -> None:
        """Let go of session and binding."""
        self._session = self._binding = None
        self._places = []


def _run(session: Any, binding: Any, errors: tuple[type[Exception], ...]) -> None:
    try:
        session.run_with_iobinding(binding)
    except errors as error:
        raise DeviceError(f"onnxruntime failed: {_first_line(error)}", at="cpu", vendor_text=str(error), code="LB4009") from error


def _fresh(value: Any, dtype: str) -> NDArray[Any]:
    return view(value.data_ptr(), dtype, value.shape()).copy()
