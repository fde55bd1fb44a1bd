"""Cambricon: offline models of CNRT 4 (.cambricon) and the MLU cards that run them.

The format is not public: what a model expects comes from a sidecar, from the caller, or from the vendor's library, which answers
on its fake device where there is no card. A blob cannot be told by its bytes either, unless Landbridge made it for its simulator.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from landbridge.runtime.driver import Driver, Vendor
from landbridge.runtime.errors import DeviceError, SignatureError
from landbridge.runtime.signature import Signature
from landbridge.runtime.vendors import registry
from landbridge.runtime.vendors.cambricon.format import CORES, SIMULATED_HEAD, check_length, check_options, is_simulated

_AT = "Cambricon model"


class CambriconVendor(Vendor):
    """Offline models of CNRT 4. Options: ``symbol`` (the function), ``tensor_dim_mutable`` ("true" or "false")."""

    name: ClassVar[str] = "cambricon"
    device_kind: ClassVar[str] = "cambricon"
    suffixes: ClassVar[tuple[str, ...]] = (".cambricon",)
    tells_signature: ClassVar[bool] = False

    def recognises(self, data: bytes) -> bool:
        """Return whether ``data`` is a model for the simulator: those are the only ones that can be told by their bytes."""
        return is_simulated(data)

    def read_signature(self, data: bytes, options: Mapping[str, str]) -> Signature:
        """Return what the vendor's library says on its fake device; of a model for the simulator, what the simulator says."""
        from landbridge.runtime.vendors.cambricon.cnrt import open_library  # noqa: PLC0415 - a program without Cambricon needs no ctypes
        from landbridge.runtime.vendors.cambricon.query import query  # noqa: PLC0415 - see above

        check_options(options, _AT)
        check_length(data, _AT)
        if is_simulated(data):
            return query(str(registry.simulator(self.name)), data, options, _AT)
        try:
            library = open_library(_AT)
        except DeviceError as error:
            raise SignatureError(
                "the format does not tell what the model expects, and libcnrt, which would, is not installed here",
                at=_AT,
                hint="put a sidecar FILE.sig.json beside it: `landbridge capture FILE` writes one where libcnrt is (a card is not "
                "needed); or give signature=lb.Signature(...)",
                code="LB2106",
            ) from error
        return query(library._name, data, options, _AT)

    def describe(self, data: bytes) -> list[tuple[str, str]]:
        """Return what the first bytes of a model for the simulator say."""
        if not is_simulated(data) or len(data) < SIMULATED_HEAD.size:
            return [("format", "not public")]
        _, version, core, _, functions = SIMULATED_HEAD.unpack_from(data)
        return [
            ("format", f"simulated, version {version}: no device runs it"),
            ("core", CORES.get(core, str(core))),
            ("functions", str(functions)),
        ]

    def libraries(self) -> tuple[str, ...]:
        """Return where an installation of Neuware may have libcnrt."""
        from landbridge.runtime.vendors.cambricon.cnrt import library_places  # noqa: PLC0415 - reading a file needs no ctypes

        return tuple(str(place) for place in library_places())

    def open(self, ordinal: int, *, simulate: bool = False) -> Driver:
        """Open an MLU card, or the simulator."""
        from landbridge.runtime.vendors.cambricon.driver import CambriconDriver  # noqa: PLC0415 - reading a file needs no ctypes

        return CambriconDriver(ordinal, simulate=simulate)
