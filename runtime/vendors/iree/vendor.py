"""IREE as a vendor: its modules and its device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from landbridge.runtime.driver import Driver, Vendor
from landbridge.runtime.signature import Signature
from landbridge.runtime.vendors.iree import vmfb
from landbridge.runtime.vendors.presence import check_only_device

AT = "IREE module"


class IreeVendor(Vendor):
    """Modules compiled by IREE for a CPU (its targets llvm-cpu and vmvx).

    Options: "function", which one to call where it is not ``main``; "driver", "local-sync" (the default: the calling thread does the
    work) or "local-task" (threads of its own).
    """

    name: ClassVar[str] = "iree"
    device_kind: ClassVar[str] = "iree"
    packages: ClassVar[tuple[str, ...]] = ("iree-base-runtime",)
    suffixes: ClassVar[tuple[str, ...]] = (".vmfb",)
    host_memory: ClassVar[bool] = True

    def recognises(self, data: bytes) -> bool:
        """Return whether ``data`` begins like an IREE module."""
        return vmfb.recognises(data)

    def read_signature(self, data: bytes, options: Mapping[str, str]) -> Signature:
        """Return the signature of the function that ``options`` names; see `vmfb.read_function` for the names of its ports."""
        return vmfb.read_signature(data, options.get("function"), AT)

    def describe(self, data: bytes) -> list[tuple[str, str]]:
        """Return the module's functions and what machine it is for."""
        found = vmfb.read_module(data, AT)
        return [
            ("module", found.name),
            ("bytecode", found.bytecode),
            *(("function", declaration) for declaration in found.declarations.values()),
            *(("machine code", part) for part in found.parts),
        ]

    def open(self, ordinal: int, *, simulate: bool = False) -> Driver:
        """Open IREE's CPU, which is ``iree0``.

        Raises:
            DeviceError: the package is not installed, or ``ordinal`` is not 0.
            UnsupportedError: a simulator is asked for; the real one runs on any CPU.
        """
        check_only_device(self.name, "IREE", ordinal, simulate=simulate)
        from landbridge.runtime.vendors.iree.driver import open_driver  # noqa: PLC0415 - it imports the vendor's package

        return open_driver()
