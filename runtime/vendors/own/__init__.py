"""What a plan has Landbridge itself do beside its host library.

A kernel whose result is as large as the data say writes it into the front of a buffer of the largest size, and how much of each axis it
wrote; `trim` hands out that part. What the model computes of it has sizes that are known only by then: it is an artifact of its own inside
the artifact, whose named dimensions are those sizes, and `part` runs it. `control` runs such artifacts as the data say: one of two, or one
again and again. All have the form of an offline model on the CPU, so that a plan needs nothing new for them. They are no vendor that a
user could name or install: `landbridge.runtime.vendors.registry.vendor` knows it, lists of vendors do not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from landbridge.runtime.driver import Driver, LoadedModel, Vendor
from landbridge.runtime.errors import ArtifactError, DeviceError, SignatureError
from landbridge.runtime.signature import Signature
from landbridge.runtime.vendors.host_memory import HostDriver, thread_count

OWN = "landbridge"
"""The name by which artifacts call it."""

TRIM = b"landbridge: trim a tensor to extents\n"
"""The blob that trims; every other one has artifacts."""

STEP = "step"
"""The option that says how the artifacts of a blob are run (`landbridge.runtime.vendors.own.control`); without it it is one."""


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
        """Return what trims, or runs the artifacts of the blob.

        Raises:
            DeviceError: the blob is neither, or what an artifact needs is missing.
        """
        if blob == TRIM:
            from landbridge.runtime.vendors.own.trim import Trim  # noqa: PLC0415 - few artifacts have any of these

            return Trim()
        threads = thread_count(options, "cpu") if "threads" in options else None
        try:
            if STEP in options:
                from landbridge.runtime.vendors.own.control import control  # noqa: PLC0415

                return control(blob, signature, options, threads)
            from landbridge.runtime.vendors.own.part import Part  # noqa: PLC0415

            return Part(blob, signature, threads)
        except ArtifactError as error:
            raise DeviceError(
                f"a step of Landbridge's own that this version does not know: {error.message}", at="cpu", hint="compile the artifact again"
            ) from error
