"""A part of a program, compiled as an artifact of its own."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from landbridge.runtime.artifact import from_bytes
from landbridge.runtime.dims import render_shape
from landbridge.runtime.driver import LoadedModel, PreparedCall, TensorRef
from landbridge.runtime.errors import ArtifactCorrupt, DeviceError
from landbridge.runtime.signature import Signature
from landbridge.runtime.vendors.host_memory import view


class Body:
    """An artifact that is called with values in the order of its inputs.

    Attributes:
        inputs: their names, in order.
        outputs: likewise.
    """

    def __init__(self, data: bytes, threads: int | None) -> None:
        """Open the artifact, to compute on so many threads at most.

        Raises:
            ArtifactError: it is none, or its code is for another machine.
        """
        from landbridge.runtime.session import Session  # noqa: PLC0415 - a session loads vendors

        self.session = Session(from_bytes(data), threads=threads)  # the artifact around it is what is trusted or not
        self.inputs = [info.name for info in self.session.inputs]
        self.outputs = [info.name for info in self.session.outputs]

    def __call__(self, values: Sequence[Any]) -> list[Any]:
        """Return the outputs, as fresh arrays.

        Raises:
            InputError, DeviceError: as `landbridge.runtime.session.Session.run`.
        """
        found = self.session.run(dict(zip(self.inputs, values, strict=True)))
        return [found[name] for name in self.outputs]


class HostModel(LoadedModel):
    """What runs on arrays of the host, whether their sizes were known before or not."""

    concurrent = True

    def prepare(self, inputs: Sequence[TensorRef], outputs: Sequence[TensorRef]) -> PreparedCall:
        """Bind the arguments."""
        return _Call(self, inputs, outputs)

    @abstractmethod
    def run_late(self, inputs: Sequence[Any]) -> list[Any]:
        """Run on host arrays; the results are nobody else's memory."""


class _Call(PreparedCall):
    def __init__(self, model: HostModel, inputs: Sequence[TensorRef], outputs: Sequence[TensorRef]) -> None:
        self._model = model
        self._inputs, self._outputs = ([view(one.address, one.dtype, one.shape) for one in ends] for ends in (inputs, outputs))

    def __call__(self) -> None:
        for target, found in zip(self._outputs, self._model.run_late(self._inputs), strict=True):
            if found.shape != target.shape or found.dtype != target.dtype:
                given, wanted = (f"{array.dtype} {render_shape(array.shape)}" for array in (found, target))
                raise DeviceError(f"a result is {given}, expected {wanted}", at="cpu", code="LB4010")
            target[...] = found

    def close(self) -> None:
        self._inputs, self._outputs = [], []


class Part(HostModel):
    """Runs one artifact, whose inputs and outputs are those of the call, in their order."""

    def __init__(self, data: bytes, signature: Signature, threads: int | None) -> None:
        """Open the artifact.

        Raises:
            ArtifactError: as `Body`, or its interface is not ``signature``.
        """
        self._body = Body(data, threads)
        found, expected = (
            [self._body.inputs, self._body.outputs],
            [[port.name for port in ports] for ports in (signature.inputs, signature.outputs)],
        )
        if found != expected:
            self.close()
            raise ArtifactCorrupt(f"the part takes and gives {found}, expected {expected}")

    def run_late(self, inputs: Sequence[Any]) -> list[Any]:
        """Run on host arrays."""
        return self._body(inputs)

    def close(self) -> None:
        """Close its session."""
        self._body.session.close()
