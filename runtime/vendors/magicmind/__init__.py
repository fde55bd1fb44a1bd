"""MagicMind: offline models for Cambricon cards of CNRT 5 and later (MLU370 …), run through the vendor's Python package.

The C++ interface has classes of the standard library in it, so that ctypes cannot reach it. The format is not public: what a model
expects comes from a sidecar, from the caller, or from the vendor's package, which reads a model without a card.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from landbridge.runtime.driver import Driver, Vendor
from landbridge.runtime.errors import DeviceError, SignatureError, UnsupportedError
from landbridge.runtime.signature import Signature

_AT = "MagicMind model"


class MagicMindVendor(Vendor):
    """MagicMind models. They run on the same kind of device as those of CNRT 4, but never in the same process."""

    name: ClassVar[str] = "magicmind"
    device_kind: ClassVar[str] = "cambricon"
    packages: ClassVar[tuple[str, ...]] = ("magicmind",)
    suffixes: ClassVar[tuple[str, ...]] = (".mm", ".magicmind")
    tells_signature: ClassVar[bool] = False

    def recognises(self, data: bytes) -> bool:
        """Return False: nothing is known of the format's bytes. The file's name, a sidecar or the caller tells."""
        return False

    def read_signature(self, data: bytes, options: Mapping[str, str]) -> Signature:
        """Return what the vendor's package says of the model; it needs no card."""
        from landbridge.runtime.vendors.magicmind.package import import_package, open_model, signature_of  # noqa: PLC0415 - see `open`

        try:
            package = import_package(_AT)
        except DeviceError as error:
            raise SignatureError(
                "the format does not tell what the model expects, and the package magicmind, which would, is not installed here",
                at=_AT,
                hint="put a sidecar FILE.sig.json beside it: `landbridge capture FILE` writes one where the package is (a card is not "
                "needed); or give signature=lb.Signature(...)",
                code="LB2106",
            ) from error
        try:
            return signature_of(package, open_model(package, data, _AT), _AT)
        except DeviceError as error:
            raise SignatureError(error.message, at=_AT, hint=error.hint, code="LB2103") from error

    def open(self, ordinal: int, *, simulate: bool = False) -> Driver:
        """Open a card.

        Raises:
            DeviceError: the package or the card is missing.
            UnsupportedError: a simulator is asked for.
        """
        if simulate:
            raise UnsupportedError("magicmind has no simulator", hint="leave it out of the simulated vendors", code="LB2302")
        from landbridge.runtime.vendors.magicmind.driver import open_driver  # noqa: PLC0415 - a program without MagicMind needs none of it

        return open_driver(ordinal)
