"""ONNX Runtime as a vendor: its blobs are serialised ONNX models, its device is the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from landbridge.runtime.driver import Driver, Vendor
from landbridge.runtime.errors import ModelError, SignatureError, UnsupportedError
from landbridge.runtime.opaque import is_opaque
from landbridge.runtime.signature import Signature
from landbridge.runtime.vendors.onnx_model import OnnxInterface, looks_like_onnx, read_interface

_AT = "ONNX model"


def _check_tensors(found: OnnxInterface) -> None:
    """Check that the border has tensors of numbers only: programs call offline models on nothing else."""
    for kind, ports in (("input", found.inputs), ("output", found.outputs)):
        for port in ports:
            if is_opaque(port.dtype):
                raise SignatureError(
                    f"{kind} '{port.name}' is {port.dtype}, expected a tensor of numbers whose rank is known",
                    at=_AT,
                    hint="give the whole model to lb.from_onnx, which takes such values; or infer its shapes (onnx.shape_inference)",
                    code="LB2110",
                )


class OnnxruntimeVendor(Vendor):
    """Serialised ONNX models, run on the CPU.

    Options: "threads", how many one model may use; "evaluator", "onnxruntime" (the default where it is installed and takes the
    model) or "reference".

    A dimension of an output whose name no input has is one that only the data will tell.
    """

    name: ClassVar[str] = "onnxruntime"
    device_kind: ClassVar[str] = "cpu"
    packages: ClassVar[tuple[str, ...]] = ("onnxruntime", "onnx")
    suffixes: ClassVar[tuple[str, ...]] = (".onnx",)
    host_memory: ClassVar[bool] = True

    def recognises(self, data: bytes) -> bool:
        """Return whether ``data``, all of it, is built like a serialised ONNX model, which has no magic number."""
        return looks_like_onnx(data)

    def read_signature(self, data: bytes, options: Mapping[str, str]) -> Signature:
        """Return the signature in the model's graph; a dimension without a name is called after its port and axis.

        Raises:
            SignatureError: not a model, or a value at its border that is no tensor of numbers of known rank.
        """
        found = read_interface(data, _AT)
        _check_tensors(found)
        return Signature(
            inputs=found.inputs,
            outputs=found.outputs,
            weight_nbytes=found.constant_nbytes,
            versions={"opset": str(found.opset), "ir_version": str(found.ir_version)},
            origin=dict.fromkeys(("inputs", "outputs", "versions", "weight_nbytes"), "file"),
        )

    def describe(self, data: bytes) -> list[tuple[str, str]]:
        """Return what wrote the model and how large it is."""
        found = read_interface(data, _AT)
        return [
            ("graph", found.name),
            ("written by", found.producer or "not said"),
            ("opset", str(found.opset)),
            ("operators", str(found.operators)),
        ]

    def open(self, ordinal: int, *, simulate: bool = False) -> Driver:
        """Open the CPU; ``ordinal`` is 0, for there is one.

        Raises:
            DeviceError: neither onnxruntime nor onnx is installed.
            UnsupportedError: a simulator is asked for.
        """
        if simulate:
            raise UnsupportedError(
                "onnxruntime has no simulator", hint="it runs on every CPU: leave it out of the simulated vendors", code="LB2302"
            )
        from landbridge.runtime.vendors.onnxruntime.driver import open_driver  # noqa: PLC0415 - it imports the vendor's package

        return open_driver()

    def compile(self, onnx_model: bytes, options: Mapping[str, str]) -> bytes:
        """Return ``onnx_model`` itself, which is the blob.

        Raises:
            ModelError: it is not a model, or one that cannot stand alone.
        """
        try:
            read_interface(onnx_model, _AT)
        except SignatureError as error:
            raise ModelError(error.message, at=error.at, hint=error.hint) from error
        return onnx_model
