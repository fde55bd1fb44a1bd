"""Tensors cut to the size that the data told: the one step of a plan that Landbridge itself runs beside its host library.

A kernel whose result is as large as the data say writes it into the front of a buffer of the largest size, and how much of each axis it
wrote. This step hands out that part. It has the form of an offline model on the CPU, so that a plan needs nothing new for it. It is no
vendor that a user could name or install: `landbridge.runtime.vendors.registry.vendor` knows it, lists of vendors do not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from landbridge.runtime.driver import Driver, LoadedModel, PreparedCall, TensorRef, Vendor
from landbridge.runtime.errors import DeviceError, SignatureError, UnsupportedError
from landbridge.runtime.signature import Signature
from landbridge.runtime.vendors.host_memory import HostDriver

TRIM = "landbridge"
"""The name by which artifacts call it."""

BLOB = b"landbridge: trim a tensor to extents\n"


class TrimVendor(Vendor):
    """Takes a tensor and, as int64, an extent for each of its axes; gives the front of the tensor, of these extents."""

    name: ClassVar[str] = TRIM
    device_kind: ClassVar[str] = "cpu"
    host_memory: ClassVar[bool] = True
    tells_signature: ClassVar[bool] = False

    def recognises(self, data: bytes) -> bool:
        """Return whether ``data`` is the one blob there is."""
        return data == BLOB

    def read_signature(self, data: bytes, options: Mapping[str, str]) -> Signature:
        """Refuse: each call has a signature of its own, which whoever makes it knows.

        Raises:
            SignatureError: always.
        """
        raise SignatureError("a step of Landbridge's own is no offline model", hint="give it none")

    def open(self, ordinal: int, *, simulate: bool = False) -> Driver:
        """Open the CPU."""
        return TrimDriver()


class TrimDriver(HostDriver):
    """The CPU."""

    def __init__(self) -> None:
        super().__init__({})

    def load(self, blob: bytes, signature: Signature, options: Mapping[str, str]) -> LoadedModel:
        """Return what trims.

        Raises:
            DeviceError: the blob is another one.
        """
        if blob != BLOB:
            raise DeviceError("a step of Landbridge's own that this version does not know", at="cpu", hint="compile the artifact again")
        return Trim()


class Trim(LoadedModel):
    """Cuts tensors on the host."""

    concurrent = True

    def prepare(self, inputs: Sequence[TensorRef], outputs: Sequence[TensorRef]) -> PreparedCall:
        """Refuse: a result of known size needs no trimming.

        Raises:
            UnsupportedError: always.
        """
        raise UnsupportedError("a step that trims has results whose shapes only the data tells", at="cpu", code="LB2304")

    def run_late(self, inputs: Sequence[Any]) -> list[Any]:
        """Return the front of the first array, of the extents in the second, as an array of its own.

        Raises:
            DeviceError: it has not that much.
        """
        array, extents = inputs[0], np.asarray(inputs[1]).tolist()
        if len(extents) != array.ndim or any(not 0 <= extent <= most for extent, most in zip(extents, array.shape, strict=True)):
            raise DeviceError(f"a part of extents {extents} of a tensor of {list(array.shape)}", at="cpu", code="LB4010")
        return [array[tuple(slice(extent) for extent in extents)].copy()]

    def close(self) -> None:
        """Do nothing: there is nothing to let go."""
