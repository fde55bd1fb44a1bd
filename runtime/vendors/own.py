"""What a plan has Landbridge itself do beside its host library, where only the data tell a size.

A kernel whose result is as large as the data say writes it into the front of a buffer of the largest size, and how much of each axis it
wrote; `Trim` hands out that part. What the model computes of it has sizes that are known only by then: it is an artifact of its own
inside the artifact, whose named dimensions are those sizes, and `Part` runs it. Both have the form of an offline model on the CPU, so that
a plan needs nothing new for them. They are no vendor that a user could name or install: `landbridge.runtime.vendors.registry.vendor`
knows it, lists of vendors do not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from landbridge.runtime.artifact import from_bytes
from landbridge.runtime.driver import Driver, LoadedModel, PreparedCall, TensorRef, Vendor
from landbridge.runtime.errors import ArtifactCorrupt, ArtifactError, DeviceError, SignatureError, UnsupportedError
from landbridge.runtime.signature import Signature
from landbridge.runtime.vendors.host_memory import HostDriver, thread_count

OWN = "landbridge"
"""The name by which artifacts call it."""

TRIM = b"landbridge: trim a tensor to extents\n"
"""The blob that trims; every other one is an artifact."""


class OwnVendor(Vendor):
    """Cuts tensors to a size that the data told, and runs what a program computes of them."""

    name: ClassVar[str] = OWN
    device_kind: ClassVar[str] = "cpu"
    host_memory: ClassVar[bool] = True
    tells_signature: ClassVar[bool] = False

    def recognises(self, data: bytes) -> bool:
        """Return False: an artifact is nothing that a user would embed in another, and says itself what it is."""
        return False

    def read_signature(self, data: bytes, options: Mapping[str, str]) -> Signature:
        """Refuse: each call has a signature of its own, which whoever makes it knows.

        Raises:
            SignatureError: always.
        """
        raise SignatureError("a step of Landbridge's own is no offline model", hint="give it none")

    def open(self, ordinal: int, *, simulate: bool = False) -> Driver:
        """Open the CPU."""
        return OwnDriver()


class OwnDriver(HostDriver):
    """The CPU."""

    def __init__(self) -> None:
        super().__init__({})

    def load(self, blob: bytes, signature: Signature, options: Mapping[str, str]) -> LoadedModel:
        """Return what trims, or the part.

        Raises:
            DeviceError: the blob is neither, or what the part needs is missing.
        """
        if blob == TRIM:
            return Trim()
        try:
            return Part(blob, signature, thread_count(options, "cpu") if "threads" in options else None)
        except ArtifactError as error:
            raise DeviceError(
                f"a step of Landbridge's own that this version does not know: {error.message}", at="cpu", hint="compile the artifact again"
            ) from error


class Trim(LoadedModel):
    """Takes a tensor and, as int64, an extent for each of its axes; gives the front of the tensor, of these extents."""

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


class Part(LoadedModel):
    """A part of a program, compiled as an artifact of its own; its inputs and outputs are those of the call, in their order."""

    concurrent = True

    def __init__(self, data: bytes, signature: Signature, threads: int | None = None) -> None:
        """Open the artifact, to compute on so many threads at most.

        Raises:
            ArtifactError: it is none, its code is for another machine, or its interface is not ``signature``.
        """
        from landbridge.runtime.session import Session  # noqa: PLC0415 - a session loads vendors

        self._inputs = [port.name for port in signature.inputs]
        self._outputs = [port.name for port in signature.outputs]
        self._session = Session(from_bytes(data), threads=threads)  # the artifact around it is what is trusted or not
        found = [[info.name for info in infos] for infos in (self._session.inputs, self._session.outputs)]
        if found != [self._inputs, self._outputs]:
            self._session.close()
            raise ArtifactCorrupt(f"the part takes and gives {found}, expected {[self._inputs, self._outputs]}")

    def prepare(self, inputs: Sequence[TensorRef], outputs: Sequence[TensorRef]) -> PreparedCall:
        """Refuse: what has known sizes is in the program itself.

        Raises:
            UnsupportedError: always.
        """
        raise UnsupportedError("a part of a program that is run apart takes sizes that only the data tells", at="cpu", code="LB2304")

    def run_late(self, inputs: Sequence[Any]) -> list[Any]:
        """Run on host arrays.

        Raises:
            InputError, DeviceError: as `landbridge.runtime.session.Session.run`.
        """
        found = self._session.run(dict(zip(self._inputs, inputs, strict=True)))
        return [found[name] for name in self._outputs]

    def close(self) -> None:
        """Close its session."""
        self._session.close()
