"""OpenVINO as a vendor: its blobs, its compiler, its device."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

from landbridge.runtime.driver import Driver, Vendor
from landbridge.runtime.errors import ModelError, SignatureError, UnsupportedError
from landbridge.runtime.signature import Signature
from landbridge.runtime.vendors.onnx_model import read_interface
from landbridge.runtime.vendors.openvino import blob
from landbridge.runtime.vendors.presence import check_only_device

INSTALL = "pip install landbridge[openvino]"

_AT = "OpenVINO blob"
_VENDOR_TEXT_LINES = 4


class OpenvinoVendor(Vendor):
    """Blobs exported by OpenVINO's CPU plugin. Options are OpenVINO's own properties, such as INFERENCE_NUM_THREADS."""

    name: ClassVar[str] = "openvino"
    device_kind: ClassVar[str] = "openvino"
    packages: ClassVar[tuple[str, ...]] = ("openvino",)
    suffixes: ClassVar[tuple[str, ...]] = (".blob",)
    host_memory: ClassVar[bool] = True

    def recognises(self, data: bytes) -> bool:
        """Return whether ``data`` begins like an exported blob."""
        return blob.recognises(data)

    def read_signature(self, data: bytes, options: Mapping[str, str]) -> Signature:
        """Return the signature that the blob tells; see `blob.read_signature` for the names of dynamic dimensions."""
        return blob.read_signature(data, _AT)

    def describe(self, data: bytes) -> list[tuple[str, str]]:
        """Return what made the blob, and how large its parts are."""
        found = blob.read_blob(data, _AT)
        signature = blob.read_signature(data, _AT)
        return [
            ("exported by", f"OpenVINO {found.version}"),
            ("instruction sets", found.isa),
            ("computes in", signature.versions.get("precision", "not recorded; f32 is asked for when it is loaded")),
            ("constants", f"{found.constant_nbytes} bytes"),
        ]

    def open(self, ordinal: int, *, simulate: bool = False) -> Driver:
        """Open OpenVINO's CPU device, which is ``openvino0``.

        Raises:
            DeviceError: the package is not installed, or ``ordinal`` is not 0.
            UnsupportedError: a simulator is asked for; the real one runs on any CPU.
        """
        check_only_device(self.name, "OpenVINO", ordinal, simulate=simulate)
        from landbridge.runtime.vendors.openvino.driver import open_driver  # noqa: PLC0415 - it imports the vendor's package

        return open_driver()

    def compile(self, onnx_model: bytes, options: Mapping[str, str]) -> bytes:
        """Compile a serialised ONNX model into a blob for this machine's CPU; the same bytes for the same model.

        Floating-point operators compute in float32 unless ``options`` has another INFERENCE_PRECISION_HINT; the blob records it.

        Raises:
            ModelError: ``onnx_model`` is not a model that can be read.
            UnsupportedError: OpenVINO is not installed, or refuses the model, in its own words.
        """
        try:
            interface = read_interface(onnx_model, "model for OpenVINO")
        except SignatureError as error:
            raise ModelError(error.message, at=error.at, hint=error.hint) from error
        if find_spec("openvino") is None:
            raise UnsupportedError("OpenVINO's compiler is not installed", hint=INSTALL, code="LB2303")
        head = {
            "properties": {blob.PRECISION: "f32", **options},
            "dims": {port.name: list(port.shape) for port in (*interface.inputs, *interface.outputs)},
        }
        done = subprocess.run(
            [sys.executable, "-P", str(Path(__file__).with_name("compile_blob.py"))],
            input=json.dumps(head).encode() + b"\n" + onnx_model,
            capture_output=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            check=False,
        )
        if done.returncode != 0:
            text = done.stderr.decode(errors="replace").strip()
            last = " ".join(text.splitlines()[-_VENDOR_TEXT_LINES:]) or f"exit status {done.returncode}"
            raise UnsupportedError(
                f"OpenVINO cannot compile the model: {last}", at=interface.name, hint="leave out the operator it names", code="LB2309"
            )
        return done.stdout
