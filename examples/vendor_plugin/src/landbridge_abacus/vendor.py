"""The vendor, its device, and calls of its models."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from landbridge.runtime.driver import Driver, LoadedModel, PreparedCall, TensorRef, Vendor
from landbridge.runtime.errors import DeviceError, SignatureError, UnsupportedError
from landbridge.runtime.signature import Port, Signature
from landbridge.runtime.vendors.host_memory import HostDriver, check_arguments, view

MAGIC = b"ABACUS1\n"
VERSION = "1"


def make_blob(factor: float, summand: float, *, shape: Sequence[int | str]) -> bytes:
    """Return a blob that computes ``factor * x + summand`` on float32 ``shape``; a name in it is a dimension that callers choose."""
    return MAGIC + json.dumps({"factor": factor, "summand": summand, "shape": list(shape), "version": VERSION}).encode()


class AbacusVendor(Vendor):
    """Blobs of the abacus. Stateless: everything here works where there is no abacus."""

    name: ClassVar[str] = "abacus"
    device_kind: ClassVar[str] = "abacus"
    suffixes: ClassVar[tuple[str, ...]] = (".abacus",)

    def recognises(self, data: bytes) -> bool:
        """Return whether ``data`` begins like one of our blobs."""
        return data.startswith(MAGIC)

    def read_signature(self, data: bytes, options: Mapping[str, str]) -> Signature:
        """Return what the blob says of its input and its output.

        Raises:
            SignatureError: it is damaged.
        """
        content = _read(data)
        shape = tuple(content["shape"])
        return Signature(
            inputs=(Port("x", "float32", shape),),
            outputs=(Port("y", "float32", shape),),
            versions={"abacus": content["version"]},
            origin=dict.fromkeys(("inputs", "outputs", "versions"), "file"),
        )

    def describe(self, data: bytes) -> list[tuple[str, str]]:
        """Return what ``landbridge inspect`` shows besides the signature."""
        content = _read(data)
        return [("computes", f"{content['factor']:g} * x + {content['summand']:g}")]

    def open(self, ordinal: int, *, simulate: bool = False) -> Driver:
        """Open device ``ordinal``; a real vendor loads its library here, and says what to install where that is missing.

        Raises:
            DeviceError: there is no such device.
            UnsupportedError: a simulator is asked for.
        """
        if simulate:
            raise UnsupportedError("abacus has no simulator")
        if ordinal != 0:
            raise DeviceError(f"no device abacus{ordinal}", hint="there is one: abacus0")
        return AbacusDriver()


class AbacusDriver(HostDriver):
    """An abacus. Its memory is in the host's, which `HostDriver` hands out; a real device allocates and copies by its own library."""

    def __init__(self) -> None:
        super().__init__({"abacus": VERSION})

    def load(self, blob: bytes, signature: Signature, options: Mapping[str, str]) -> LoadedModel:
        """Load a blob, after checking that this device can run it.

        Raises:
            DeviceError: it was made for another version.
        """
        content = _read(blob)
        if content["version"] != VERSION:
            raise DeviceError(f"the blob was made for version {content['version']}, installed is {VERSION}", at="abacus0")
        return AbacusModel(content["factor"], content["summand"], signature)


class AbacusModel(LoadedModel):
    """A factor and a summand."""

    def __init__(self, factor: float, summand: float, signature: Signature) -> None:
        self._factor, self._summand = np.float32(factor), np.float32(summand)
        self._signature = signature

    def prepare(self, inputs: Sequence[TensorRef], outputs: Sequence[TensorRef]) -> PreparedCall:
        """Bind the arguments once; the call may then run any number of times."""
        check_arguments(self._signature.inputs, inputs, "input", "abacus0")
        check_arguments(self._signature.outputs, outputs, "output", "abacus0")
        (x, y) = (view(ref.address, ref.dtype, ref.shape) for ref in (*inputs, *outputs))
        return AbacusCall(self._factor, self._summand, x, y)

    def close(self) -> None:
        """Unload the model; there is nothing to unload."""


class AbacusCall(PreparedCall):
    """Arrays on the device."""

    def __init__(self, factor: Any, summand: Any, x: Any, y: Any) -> None:
        self._arguments: tuple[Any, ...] = (factor, summand, x, y)

    def __call__(self) -> None:
        """Compute; the output is complete on return."""
        factor, summand, x, y = self._arguments
        np.multiply(x, factor, out=y)
        np.add(y, summand, out=y)

    def close(self) -> None:
        """Let go of the arrays."""
        self._arguments = ()


def _read(data: bytes) -> dict[str, Any]:
    try:
        content = json.loads(data.removeprefix(MAGIC))
        return {
            "factor": float(content["factor"]),
            "summand": float(content["summand"]),
            "shape": [extent if isinstance(extent, str) else int(extent) for extent in content["shape"]],
            "version": str(content["version"]),
        }
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise SignatureError(f"damaged: {error!r}", at="abacus blob", hint="make it again") from error
