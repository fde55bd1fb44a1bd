"""Open a Cambricon card, move bytes to and from it, and load models.

The vendor's rules kept here: the library is initialised once in a process, and ended with it; which device is current is a matter
of the calling thread, so that it is set on entry of each call; runtime contexts, functions and models are destroyed in this order.
So every method may be called from any thread.
"""

from __future__ import annotations

import atexit
import ctypes
import logging
import os
import threading
from collections.abc import Mapping
from ctypes import byref, c_int, c_uint, c_uint64, c_void_p
from typing import Any

from landbridge.runtime.device import Device
from landbridge.runtime.driver import Driver
from landbridge.runtime.errors import DeviceError, DeviceLost
from landbridge.runtime.signature import Signature
from landbridge.runtime.vendors import registry
from landbridge.runtime.vendors.cambricon.cnrt import REAL, SUCCESS, Cnrt, DeviceInfo, open_library
from landbridge.runtime.vendors.cambricon.copies import Copies
from landbridge.runtime.vendors.cambricon.format import CORES, check_options, is_simulated
from landbridge.runtime.vendors.cambricon.model import CambriconModel

_log = logging.getLogger(__name__)


class CambriconDriver(Driver):
    """One Cambricon card, or the simulator in its place.

    Attributes:
        device: its name, such as ``cambricon0``.
        cnrt: the vendor's interface.
    """

    def __init__(self, ordinal: int, *, simulate: bool = False) -> None:
        """Open device ``ordinal``.

        Raises:
            DeviceError: the library or the device is missing.
            UnsupportedError: the simulator cannot be built here.
        """
        self.device = Device("cambricon", ordinal)
        self.simulated = simulate
        process = _process(str(self.device), simulate=simulate)
        self.cnrt = Cnrt(process.library, f"{self.device} (simulated)" if simulate else str(self.device))
        self._models: set[CambriconModel] = set()
        self._closing = threading.Lock()
        self._process = process
        process.hold(self.cnrt)
        self._handle: int | None = None
        try:
            self._handle = _device_handle(self.cnrt, ordinal)
            self.versions: Mapping[str, str] = _read_versions(self.cnrt, ordinal)
            self.bind()
        except BaseException:
            process.release()
            raise
        self._copies = Copies(self.cnrt, self.versions.get("core", ""))
        self.pins = self._copies.pins

    def bind(self) -> None:
        """Make this device current on the calling thread.

        Raises:
            DeviceError: the driver is closed, or the vendor refused.
        """
        if self._handle is None:
            raise DeviceError("the device was closed before this call", at=self.cnrt.at, code="LB4016")
        self.cnrt.call("cnrtSetCurrentDevice", self._handle)

    def allocate(self, nbytes: int) -> int:
        """Return ``nbytes`` of device memory."""
        self.bind()
        address = c_void_p()
        code = self.cnrt.get("cnrtMalloc", byref(address), nbytes)
        if code == SUCCESS and address.value:
            return address.value
        error = self.cnrt.failure("cnrtMalloc", code)
        if isinstance(error, DeviceLost):
            raise error
        hint = "use a smaller batch, or close other sessions on this device"
        raise DeviceError(
            f"no room for {nbytes} bytes: {error.message}",
            at=self.cnrt.at,
            hint=hint,
            vendor_code=error.vendor_code,
            vendor_text=error.vendor_text,
            code="LB4003",
        )

    def free(self, address: int) -> None:
        """Give device memory back."""
        self.bind()
        self.cnrt.call("cnrtFree", address)

    def copy_in(self, destination: int, source: int, nbytes: int) -> None:
        """Copy from the host to the device."""
        self.bind()
        self._copies.copy_in(destination, source, nbytes)

    def copy_out(self, destination: int, source: int, nbytes: int) -> None:
        """Copy from the device to the host."""
        self.bind()
        self._copies.copy_out(destination, source, nbytes)

    def allocate_host(self, nbytes: int) -> int:
        """Return pinned memory of the host."""
        self.bind()
        return self._copies.allocate(nbytes)

    def free_host(self, address: int) -> None:
        """Give pinned memory back."""
        self.bind()
        self._copies.free(address)

    def load(self, blob: bytes, signature: Signature, options: Mapping[str, str]) -> CambriconModel:
        """Load a function of an offline model, that which the options name."""
        if is_simulated(blob) and not self.simulated:
            raise DeviceError(
                "this offline model was made by Landbridge for its simulator; a real device cannot run it",
                at=self.cnrt.at,
                hint="compile the model with the vendor's tools",
                code="LB4006",
            )
        check_options(options, self.cnrt.at)
        self._check_core(signature.versions.get("core", ""))
        self._check_length(blob)
        model = CambriconModel(self, blob, signature, options)
        self._models.add(model)
        return model

    def close(self) -> None:
        """Close what is still open on the device."""
        with self._closing:
            if self._handle is not None:
                for model in list(self._models):
                    model.close()
                for queue in self._copies.take_queues():
                    self.quietly("cnrtDestroyQueue", queue)
                self._handle = None
                self._process.release()

    def forget(self, model: CambriconModel) -> None:
        """Take note that ``model`` is closed."""
        self._models.discard(model)

    def quietly(self, name: str, *arguments: Any) -> None:
        """Call a function that frees something; a failure is logged, so that the rest is freed too."""
        try:
            self.bind()
            self.cnrt.call(name, *arguments)
        except DeviceError as error:
            _log.warning("while freeing: %s", error)

    def _check_core(self, built: str) -> None:
        here = self.versions.get("core", "")
        if built and here and built != here:
            hint = f"compile the model again for {here}"
            raise DeviceError(
                f"the offline model was compiled for {built}, this device is {here}", at=self.cnrt.at, hint=hint, code="LB4004"
            )

    def _check_length(self, blob: bytes) -> None:
        """Check that the model is not longer than what is there: the library reads as much as the model says, and is not told."""
        if not self.cnrt.has("cnrtGetModelSize"):
            return
        descriptor = os.memfd_create("landbridge-model", os.MFD_CLOEXEC)
        try:
            with os.fdopen(os.dup(descriptor), "wb") as file:
                file.write(blob)
            size = c_int()
            code = self.cnrt.get("cnrtGetModelSize", f"/proc/self/fd/{descriptor}".encode(), byref(size))
        finally:
            os.close(descriptor)
        if code != SUCCESS:
            _log.info("the length of the model is not checked: %s", self.cnrt.failure("cnrtGetModelSize", code))
            return
        if size.value > len(blob):
            raise DeviceError(
                f"the offline model is cut off: {len(blob)} bytes, it says {size.value}",
                at=self.cnrt.at,
                hint="copy the file again",
                code="LB4008",
            )


class _Process:
    """What a process has once for each library: whether it is initialised, and how many drivers there are."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self.library = library
        self._lock = threading.Lock()
        self._initialised = False
        self._drivers = 0

    def hold(self, cnrt: Cnrt) -> None:
        """Initialise the library, where nobody has yet."""
        with self._lock:
            if not self._initialised:
                cnrt.call("cnrtInit", REAL)
                self._initialised = True
                atexit.register(self._at_exit, cnrt)
            self._drivers += 1

    def release(self) -> None:
        """Take note that a driver is closed."""
        with self._lock:
            self._drivers -= 1

    def _at_exit(self, cnrt: Cnrt) -> None:
        if not self._drivers:  # what lives cannot be freed after the library's end
            cnrt.destroy()


_processes: dict[bool, _Process] = {}
_processes_lock = threading.Lock()


def _process(at: str, *, simulate: bool) -> _Process:
    with _processes_lock:
        if simulate not in _processes:
            library = ctypes.CDLL(str(registry.simulator("cambricon"))) if simulate else open_library(at)
            _processes[simulate] = _Process(library)
        return _processes[simulate]


def _device_handle(cnrt: Cnrt, ordinal: int) -> int:
    count = c_uint()
    cnrt.call("cnrtGetDeviceCount", byref(count))
    if ordinal >= count.value:
        names = ", ".join(f"cambricon{index}" for index in range(count.value)) or "none"
        raise DeviceError(f"there is no such device; Cambricon devices here: {names}", at=cnrt.at, hint="name one of them", code="LB4002")
    handle = c_uint64()
    cnrt.call("cnrtGetDeviceHandle", byref(handle), ordinal)
    return handle.value


def _read_versions(cnrt: Cnrt, ordinal: int) -> dict[str, str]:
    if not cnrt.has("cnrtGetDeviceInfo"):
        return {}
    info = DeviceInfo()
    cnrt.call("cnrtGetDeviceInfo", byref(info), ordinal)
    core = CORES.get(info.core_version, f"core version {info.core_version}")
    return {"device": info.device_name.decode("utf-8", "replace"), "core": core}
