"""Atlas: Ascend offline models (.om) and the devices that run them.

The reader (`om`, `graph`, `inout`, `interface`) is pure Python and needs nothing of the vendor. The driver (`driver`) calls the
vendor's library, libascendcl, through its C interface.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from landbridge.runtime.driver import Driver, Vendor
from landbridge.runtime.gears import spread_of
from landbridge.runtime.signature import Signature
from landbridge.runtime.vendors.atlas.describe import describe
from landbridge.runtime.vendors.atlas.format import MAGIC
from landbridge.runtime.vendors.atlas.interface import read_signature
from landbridge.runtime.vendors.atlas.om import is_om2, read_container, read_kernels


class AtlasVendor(Vendor):
    """Ascend offline models, made by ATC."""

    name: ClassVar[str] = "atlas"
    device_kind: ClassVar[str] = "atlas"
    suffixes: ClassVar[tuple[str, ...]] = (".om",)

    def recognises(self, data: bytes) -> bool:
        """Return whether ``data`` is an OM file, of a kind that can be read or of one that `read_signature` refuses by name."""
        return data[: len(MAGIC)] == MAGIC or is_om2(data)

    def read_signature(self, data: bytes, options: Mapping[str, str]) -> Signature:
        """Return the signature in the file; of ``options`` only the value of ``gears`` is checked."""
        spread_of(options)
        container = read_container(data)
        read_kernels(container)
        return read_signature(container)

    def describe(self, data: bytes) -> list[tuple[str, str]]:
        """Return the container, the graph and the memory, for ``landbridge inspect``."""
        return describe(read_container(data))

    def libraries(self) -> tuple[str, ...]:
        """Return where an installation of CANN may have libascendcl."""
        from landbridge.runtime.vendors.atlas.acl import library_places  # noqa: PLC0415 - reading a file needs no ctypes

        return tuple(str(place) for place in library_places())

    def open(self, ordinal: int, *, simulate: bool = False) -> Driver:
        """Open an Ascend device, or the simulator."""
        from landbridge.runtime.vendors.atlas.driver import AtlasDriver  # noqa: PLC0415 - reading a file needs no ctypes

        return AtlasDriver(ordinal, simulate=simulate)
