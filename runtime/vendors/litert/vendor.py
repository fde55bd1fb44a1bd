"""LiteRT as a vendor: its models and its device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from landbridge.runtime.driver import Driver, Vendor
from landbridge.runtime.signature import Signature
from landbridge.runtime.vendors.litert import model
from landbridge.runtime.vendors.presence import check_only_device

_AT = "LiteRT model"


class LitertVendor(Vendor):
    """LiteRT models (TensorFlow Lite's format). Option: "threads", how many one model may use.

    Quantised inputs and outputs are passed as the integers they are; ``landbridge inspect`` shows what they stand for.
    """

    name: ClassVar[str] = "litert"
    device_kind: ClassVar[str] = "litert"
    packages: ClassVar[tuple[str, ...]] = ("ai-edge-litert",)
    suffixes: ClassVar[tuple[str, ...]] = (".tflite",)
    host_memory: ClassVar[bool] = True

    def recognises(self, data: bytes) -> bool:
        """Return whether ``data`` has the identifier of a LiteRT model."""
        return model.recognises(data)

    def read_signature(self, data: bytes, options: Mapping[str, str]) -> Signature:
        """Return the signature of the first subgraph; see `model.read_signature` for the names of dynamic dimensions."""
        return model.read_signature(data, _AT)

    def describe(self, data: bytes) -> list[tuple[str, str]]:
        """Return what the converter wrote about the model, and how large it is."""
        found = model.read_model(data, _AT)
        return [
            ("description", found.description or "none"),
            ("operators", str(found.operators)),
            ("subgraphs", str(found.subgraphs)),
            *(("stands for", text) for text in found.quantized),
        ]

    def open(self, ordinal: int, *, simulate: bool = False) -> Driver:
        """Open LiteRT's CPU, which is ``litert0``.

        Raises:
            DeviceError: the package is not installed, or ``ordinal`` is not 0.
            UnsupportedError: a simulator is asked for; the real one runs on any CPU.
        """
        check_only_device(self.name, "LiteRT", ordinal, simulate=simulate)
        from landbridge.runtime.vendors.litert.driver import open_driver  # noqa: PLC0415 - it imports the vendor's package

        return open_driver()
