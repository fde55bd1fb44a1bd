"""Choose who runs an ONNX model: ONNX Runtime, or onnx's reference evaluator where that is missing or refuses the model."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from landbridge.runtime.driver import LoadedModel
from landbridge.runtime.errors import DeviceError
from landbridge.runtime.opaque import is_opaque, takes_numpy
from landbridge.runtime.signature import Port, Signature
from landbridge.runtime.vendors.host_memory import HostDriver, thread_count
from landbridge.runtime.vendors.onnx_model import OnnxInterface, read_interface
from landbridge.runtime.vendors.onnxruntime.ort import OrtModel, make_session
from landbridge.runtime.vendors.onnxruntime.reference import ReferenceModel, make_evaluator

_INSTALL = "pip install landbridge[onnxruntime]"

_log = logging.getLogger(__name__)


def open_driver() -> OnnxruntimeDriver:
    """Return the driver.

    Raises:
        DeviceError: neither onnxruntime nor onnx can be imported.
    """
    ort, reference = _import("onnxruntime"), _import("onnx.reference")
    if ort is None and reference is None:
        raise DeviceError("neither of the Python packages onnxruntime and onnx is installed", at="cpu", hint=_INSTALL, code="LB4001")
    return OnnxruntimeDriver(ort, reference)


def _import(name: str) -> Any:
    """Return the module, or None where it is missing or cannot be loaded."""
    try:
        return import_module(name)
    except ImportError as error:
        _log.info("cannot import %s: %s", name, error)
        return None


class OnnxruntimeDriver(HostDriver):
    """The CPU, with ONNX Runtime (None where missing) and onnx's reference evaluator (the same)."""

    def __init__(self, ort: Any, reference: Any) -> None:
        super().__init__({"onnxruntime": str(ort.__version__) if ort is not None else "missing"})
        self._ort = ort
        self._reference = reference

    def load(self, blob: bytes, signature: Signature, options: Mapping[str, str]) -> LoadedModel:
        """Load a model after checking that its interface is ``signature``; who refuses it, and why, is logged.

        Raises:
            DeviceError: nobody here can run it.
            UsageError: an option has a value it cannot have.
        """
        found = read_interface(blob, "cpu")
        _check_interface(found, signature)
        threads = thread_count(options, "cpu")
        refusal, ports = "is not installed", (*signature.inputs, *signature.outputs)
        if options.get("evaluator", "onnxruntime") == "reference":
            refusal = "is not wanted by an option"
        elif any(is_opaque(port.dtype) for port in ports) and not all(takes_numpy(port.dtype) for port in ports):
            refusal = "has no way to take sequences and strings together with numbers that NumPy lacks"
        elif self._ort is not None:
            session, refusal = make_session(self._ort, blob, threads)
            if session is not None:
                return OrtModel(self._ort, session, signature)
        if self._reference is None:
            raise DeviceError(
                f"region '{found.name}': onnxruntime {refusal}", at="cpu", hint=f"{_INSTALL}; or pip install onnx", code="LB4008"
            )
        _log.warning("region '%s' runs, slowly, in onnx's reference evaluator: onnxruntime %s", found.name, refusal)
        return ReferenceModel(make_evaluator(self._reference, blob, found.name), signature, found.name)


def _check_interface(found: OnnxInterface, signature: Signature) -> None:
    for kind, ports, own in (("inputs", signature.inputs, found.inputs), ("outputs", signature.outputs, found.outputs)):
        if [_essence(port) for port in ports] != [_essence(port) for port in own]:
            raise DeviceError(
                f"region '{found.name}': its {kind} are {[_essence(port) for port in own]}, its signature says "
                f"{[_essence(port) for port in ports]}",
                at="cpu",
                hint="compile the artifact again",
                code="LB4007",
            )


def _essence(port: Port) -> tuple[str, str, int]:
    return port.name, port.dtype, len(port.shape)
