"""Run a model in onnx's reference evaluator: slow, and there for whatever else refuses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landbridge.runtime.dims import render_shape
from landbridge.runtime.driver import LoadedModel, PreparedCall, TensorRef
from landbridge.runtime.dtypes import holder, is_packed, nbytes_of, pack, unpack
from landbridge.runtime.errors import DeviceError, UnsupportedError
from landbridge.runtime.opaque import STRING, is_opaque
from landbridge.runtime.signature import Signature
from landbridge.runtime.vendors.host_memory import check_arguments, view


def make_evaluator(reference: Any, blob: bytes, region: str) -> Any:
    """Return the evaluator of a model.

    Raises:
        DeviceError: it refuses the model.
    """
    try:
        return reference.ReferenceEvaluator(blob)
    except Exception as error:  # it documents no type
        raise DeviceError(
            f"region '{region}': onnx's reference evaluator refuses it: {error}", at="cpu", vendor_text=str(error), code="LB4008"
        ) from error


class ReferenceModel(LoadedModel):
    """A model and its evaluator."""

    def __init__(self, evaluator: Any, signature: Signature, region: str) -> None:
        self._evaluator = evaluator
        self._signature = signature
        self._region = region

    def prepare(self, inputs: Sequence[TensorRef], outputs: Sequence[TensorRef]) -> PreparedCall:
        """Look at the addresses as arrays; results are copied to theirs."""
        check_arguments(self._signature.inputs, inputs, "input", "cpu")
        check_arguments(self._signature.outputs, outputs, "output", "cpu")
        results = [_memory(ref) for ref in outputs]
        return ReferenceCall(lambda: self._run([_elements(ref) for ref in inputs]), outputs, results, self._region)

    def run_late(self, inputs: Sequence[Any]) -> list[Any]:
        """Run on host arrays and return fresh ones, each in NumPy's dtype for its type (`holder`)."""
        ports = (*self._signature.inputs, *self._signature.outputs)
        packed = next((port for port in ports if not is_opaque(port.dtype) and is_packed(port.dtype)), None)
        if packed is not None:
            raise UnsupportedError(f"'{packed.name}' is {packed.dtype}: such values need shapes that are known", at="cpu", code="LB2304")
        return self._run(inputs)

    def _run(self, inputs: Sequence[Any]) -> list[Any]:
        feeds = {port.name: _to_evaluator(array, port.dtype) for array, port in zip(inputs, self._signature.inputs, strict=True)}
        try:
            found = self._evaluator.run(None, feeds)
        except Exception as error:  # it documents no type
            text = f"{type(error).__name__}: {error}"
            raise DeviceError(
                f"region '{self._region}': onnx's reference evaluator failed: {text}", at="cpu", vendor_text=text, code="LB4009"
            ) from error
        return [self._from_evaluator(value, index) for index, value in enumerate(found)]

    def _from_evaluator(self, value: Any, index: int) -> Any:
        port = self._signature.outputs[index]
        if is_opaque(port.dtype):
            return _bits(np.asarray(value) if port.dtype == STRING or port.dtype.startswith("tensor(") else value)
        array = np.array(value, order="C")
        if array.dtype.name != port.dtype:
            raise DeviceError(
                f"region '{self._region}': output '{port.name}' came out as {array.dtype.name}, expected {port.dtype}",
                at="cpu",
                hint="the model does not keep its own types; write it again",
                code="LB4010",
            )
        return array.view(holder(port.dtype))

    def close(self) -> None:
        """Let go of the model."""
        self._evaluator = None


class ReferenceCall(PreparedCall):
    """A run whose results are copied to where they belong."""

    def __init__(self, run: Callable[[], list[Any]], outputs: Sequence[TensorRef], results: list[NDArray[Any]], region: str) -> None:
        self._run = run
        self._outputs = tuple(outputs)
        self._results = results
        self._region = region

    def __call__(self) -> None:
        """Run, and copy the results."""
        for found, ref, result in zip(self._run(), self._outputs, self._results, strict=True):
            if found.shape != tuple(ref.shape):
                raise DeviceError(
                    f"region '{self._region}': a result came out as {render_shape(found.shape)}, expected {render_shape(ref.shape)}",
                    at="cpu",
                    code="LB4010",
                )
            np.copyto(result, pack(found, ref.dtype) if is_packed(ref.dtype) else found)

    def close(self) -> None:
        """Let go of the arrays."""
        self._results = []


def _memory(ref: TensorRef) -> NDArray[Any]:
    """Return an argument's memory as an array, of a packed one the bytes."""
    if is_packed(ref.dtype):
        return view(ref.address, "uint8", (nbytes_of(ref.dtype, ref.shape),))
    return view(ref.address, ref.dtype, ref.shape)


def _elements(ref: TensorRef) -> NDArray[Any]:
    memory = _memory(ref)
    return unpack(memory, ref.dtype, tuple(ref.shape)) if is_packed(ref.dtype) else memory


def _bits(value: Any) -> Any:
    """Return what the evaluator made with the arrays in it as `landbridge.runtime.opaque` has them."""
    if isinstance(value, np.ndarray):
        if value.dtype.kind in "UTO":
            return value.astype(object)
        return np.array(value, order="C").view(holder(value.dtype.name))
    if isinstance(value, list):
        return [_bits(item) for item in value]
    return {key: _bits(item) for key, item in value.items()} if isinstance(value, dict) else value


def _typed(value: Any, dtype: str) -> Any:
    """Return a value that is no tensor of numbers as the evaluator knows it."""
    kind, _, inner = dtype[:-1].partition("(")
    if value is None or dtype == STRING or kind == "map" or inner == STRING:
        return value
    if kind == "sequence":
        return [_typed(item, inner) for item in value]
    return _typed(value, inner) if kind == "optional" else _to_evaluator(value, inner)


def _to_evaluator(array: Any, dtype: str) -> Any:
    """Return ``array`` in the dtype that the evaluator knows: NumPy's, or that of ml_dtypes, which the onnx package brings."""
    if is_opaque(dtype):
        return _typed(array, dtype)
    storage = np.asarray(array, holder(dtype))
    return storage if storage.dtype.name == dtype else storage.view(getattr(import_module("ml_dtypes"), dtype))
