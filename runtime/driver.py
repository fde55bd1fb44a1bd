"""The interface between the runtime and a vendor: recognise a blob, read its signature, run it.

A vendor is one folder in ``runtime/vendors/`` (or a third party's package) with a `Vendor`: it knows blobs without any device.
`Vendor.open` gives a `Driver` for one device of the vendor's kind; the driver owns its vendor's threading rules, so that every
method here may be called from any thread.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from landbridge.runtime.errors import UnsupportedError
from landbridge.runtime.records import dataclass
from landbridge.runtime.signature import Signature

if TYPE_CHECKING:
    from landbridge.runtime.diagnosis import Diagnosis


@dataclass(frozen=True)
class TensorRef:
    """A tensor at an address, on whichever device the address belongs to.

    Attributes:
        address: of the first element; C order, no gaps.
        capacity: bytes that may be written from ``address`` on; at least the tensor's own, more where a model writes slack.
        dtype: as in `Signature`.
        shape: extents, all known.
    """

    address: int
    capacity: int
    dtype: str
    shape: tuple[int, ...]


class PreparedCall(ABC):
    """One call of a loaded model with its arguments bound; calling it again runs it again on the same buffers."""

    launches: tuple[int, ...] = ()
    """The batch of each launch where gears split or pad the call, such as ``(8, 8, 4)``; empty for one launch of the batch itself."""

    @abstractmethod
    def __call__(self) -> None:
        """Run the model to the end; the outputs are complete on return.

        Raises:
            DeviceError: the vendor refused or failed, with its code and text.
        """

    @abstractmethod
    def close(self) -> None:
        """Free what `LoadedModel.prepare` made. Idempotent."""


class LoadedModel(ABC):
    """An offline model on its device, ready to be called.

    Attributes:
        concurrent: several threads may prepare and run calls of it at once. Else the session sees to it that one does at a time.
    """

    concurrent: bool = False

    @abstractmethod
    def prepare(self, inputs: Sequence[TensorRef], outputs: Sequence[TensorRef]) -> PreparedCall:
        """Bind the arguments.

        Raises:
            InputError: shapes that the model cannot take, such as a batch no sum of gears reaches.
            DeviceError: the vendor refused.
        """

    def run_late(self, inputs: Sequence[Any]) -> list[Any]:
        """Run on host arrays and return fresh ones, for models whose output shapes depend on the data.

        Only vendors on the CPU have this.
        """
        raise UnsupportedError("this vendor cannot run models whose output shapes depend on the data", code="LB2304")

    def run_open(self, inputs: Sequence[TensorRef], outputs: Sequence[TensorRef | None]) -> list[Any]:
        """Run on tensors of the device, for models some of whose outputs have shapes that only the data tells.

        Args:
            outputs: where those of known shape are to be written; None for the others.

        Returns:
            For each output of unknown shape an array on the host, fresh; None for the others.
        """
        raise UnsupportedError("this vendor cannot run models whose output shapes depend on the data")

    @abstractmethod
    def close(self) -> None:
        """Unload the model. Idempotent."""


class Driver(ABC):
    """One open device.

    Attributes:
        simulated: a simulator answers in place of the hardware; reports and logs say so.
        pins: it has `allocate_host`: memory of the host that the device reads and writes by itself.
        versions: what is installed, such as {"driver": …, "soc": …}; the keys match those of `Signature.versions` where both know it.
    """

    simulated: bool = False
    pins: bool = False
    versions: Mapping[str, str]

    def free_nbytes(self) -> int | None:
        """Return how many bytes of the device's memory are free, None where the vendor does not say."""
        return None

    @abstractmethod
    def allocate(self, nbytes: int) -> int:
        """Return the address of ``nbytes`` > 0 fresh bytes on the device, aligned to 64.

        Raises:
            DeviceError: out of memory, with requested and free bytes where the vendor tells.
        """

    @abstractmethod
    def free(self, address: int) -> None:
        """Give back what `allocate` returned."""

    def allocate_host(self, nbytes: int) -> int:
        """Return the address of ``nbytes`` > 0 fresh bytes of the host that are pinned for the device, aligned to 64.

        Only drivers that say ``pins`` have this.

        Raises:
            DeviceError: there is no more of it.
        """
        raise UnsupportedError("this vendor pins no memory of the host")

    def free_host(self, address: int) -> None:
        """Give back what `allocate_host` returned."""
        raise UnsupportedError("this vendor pins no memory of the host")

    @abstractmethod
    def copy_in(self, destination: int, source: int, nbytes: int) -> None:
        """Copy from the host address ``source`` to the device address ``destination``; complete on return.

        Other threads may copy the other way and run models meanwhile, on other memory: it is up to the driver to let the device do so at
        the same time.
        """

    @abstractmethod
    def copy_out(self, destination: int, source: int, nbytes: int) -> None:
        """Copy from the device address ``source`` to the host address ``destination``; complete on return."""

    @abstractmethod
    def load(self, blob: bytes, signature: Signature, options: Mapping[str, str]) -> LoadedModel:
        """Load an offline model, after checking that what is installed can run it and that its interface is ``signature``.

        Raises:
            DeviceError: the vendor refused the blob, or versions do not fit; the message has both.
        """

    @abstractmethod
    def close(self) -> None:
        """Free the device. Idempotent; call after every model and buffer is closed."""


class Vendor(ABC):
    """A vendor's blobs and how to reach its devices. Stateless; needs neither SDK nor device but for `open` and `compile`.

    Attributes:
        name: such as "atlas"; what an artifact records.
        device_kind: the kind of device its models run on.
        suffixes: usual file name endings of its blobs, such as (".om",).
        host_memory: its devices work in the host's memory: addresses are host addresses and a copy in the IR is an alias.
        packages: Python distributions of the vendor's that its driver may use.
        tells_signature: its blobs tell their signature themselves; else it comes from the caller, a sidecar
            (`landbridge.runtime.sidecar`) or the vendor's own software, where that is installed.
    """

    name: ClassVar[str]
    device_kind: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]] = ()
    host_memory: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = ()
    tells_signature: ClassVar[bool] = True

    @abstractmethod
    def recognises(self, data: bytes) -> bool:
        """Return whether the first bytes of ``data`` are those of this vendor's format."""

    @abstractmethod
    def read_signature(self, data: bytes, options: Mapping[str, str]) -> Signature:
        """Return the signature that the blob itself tells.

        Raises:
            SignatureError: damaged, encrypted, of an unknown version, or the format does not tell.
        """

    def describe(self, data: bytes) -> list[tuple[str, str]]:
        """Return what else ``landbridge inspect`` shows of a blob, as (label, text) pairs."""
        return []

    @abstractmethod
    def open(self, ordinal: int, *, simulate: bool = False) -> Driver:
        """Open device ``ordinal``, or the vendor's simulator in its place.

        Raises:
            DeviceError: library or device missing (naming what to install or set).
        """

    def capture(self, data: bytes, options: Mapping[str, str], driver: Driver | None) -> Signature:
        """Return the signature that the vendor's own software tells, for formats that do not tell it; else what the blob tells.

        Args:
            driver: of an open device, or None where there is none.

        Raises:
            SignatureError: as `read_signature`.
            DeviceError: the vendor's software refuses the blob.
        """
        return self.read_signature(data, options)

    def libraries(self) -> tuple[str, ...]:
        """Return the places where the vendor's library may be; the first that loads is the one that is used."""
        return ()

    def diagnose(self, *, simulate: bool = False) -> Diagnosis:
        """Return what is here of the vendor, for ``landbridge doctor``."""
        from landbridge.runtime.diagnosis import diagnose  # noqa: PLC0415 - only a doctor asks

        return diagnose(self, simulate=simulate)

    def compile(self, onnx_model: bytes, options: Mapping[str, str]) -> bytes:
        """Compile a serialised ONNX model into this vendor's blob by the vendor's own compiler.

        Raises:
            UnsupportedError: no compiler is available here.
        """
        raise UnsupportedError(
            f"{self.name} has no compiler that can be called from here",
            hint="compile with the vendor's tool and use lb.replace",
            code="LB2303",
        )
