"""Open an Ascend device, move bytes to and from it, and load models.

The vendor's rules kept here: the library is initialised once in a process; a device is set when its first driver opens and
reset when the last closes; everything of a driver happens in one context, which is made current on entry of each call, because
what is current is a matter of the calling thread. So every method may be called from any thread.
"""

from __future__ import annotations

import atexit
import ctypes
import logging
import threading
from collections import Counter
from collections.abc import Mapping
from ctypes import byref, c_int, c_int32, c_size_t, c_uint32, c_void_p
from typing import Any

from landbridge.runtime.device import Device
from landbridge.runtime.driver import Driver
from landbridge.runtime.errors import DeviceError, DeviceLost
from landbridge.runtime.signature import Signature
from landbridge.runtime.vendors import registry
from landbridge.runtime.vendors.atlas.acl import (
    MEM_HUGE_FIRST,
    REPEAT_INITIALIZE,
    RUN_ON_DEVICE,
    SUCCESS,
    Acl,
    open_library,
)
from landbridge.runtime.vendors.atlas.checks import installed_cann, misfits
from landbridge.runtime.vendors.atlas.copies import Copies
from landbridge.runtime.vendors.atlas.model import AtlasModel

_log = logging.getLogger(__name__)


class AtlasDriver(Driver):
    """One Ascend device, or the simulator in its place.

    Attributes:
        device: its name, such as ``atlas0``.
        acl: the vendor's interface.
        run_on_device: this process itself runs on the device, so that the file must be in device memory to be loaded.
    """

    def __init__(self, ordinal: int, *, simulate: bool = False) -> None:
        """Open device ``ordinal``.

        Raises:
            DeviceError: the library or the device is missing.
            UnsupportedError: the simulator cannot be built here.
        """
        self.device = Device("atlas", ordinal)
        self.simulated = simulate
        self._process = _process(str(self.device), simulate=simulate)
        self.acl = Acl(self._process.library, f"{self.device} (simulated)" if simulate else str(self.device))
        self._models: set[AtlasModel] = set()
        self._context: int | None = None
        self._copies = Copies(self.acl, run_on_device=True)
        self._closing = threading.Lock()
        self._process.hold(self.acl, ordinal)
        self._holds = True
        try:
            context = c_void_p()
            self.acl.call("aclrtCreateContext", byref(context), ordinal)
            self._context = context.value
            self.run_on_device = _run_mode(self.acl) == RUN_ON_DEVICE
            self._copies = Copies(self.acl, run_on_device=self.run_on_device)
            self.versions: Mapping[str, str] = _read_versions(self.acl, str(getattr(self._process.library, "_name", "")))
        except BaseException:
            self.close()
            raise
        self.pins = self._copies.pins

    def bind(self) -> None:
        """Make this driver's context current on the calling thread.

        Raises:
            DeviceError: the driver is closed, or the vendor refused.
        """
        if self._context is None:
            raise DeviceError("the device was closed before this call", at=self.acl.at, code="LB4016")
        self.acl.call("aclrtSetCurrentContext", self._context)

    def allocate(self, nbytes: int) -> int:
        """Return ``nbytes`` of device memory, aligned to 64."""
        self.bind()
        address = c_void_p()
        code = self.acl.get("aclrtMalloc", byref(address), nbytes, MEM_HUGE_FIRST)
        if code == SUCCESS and address.value:
            return address.value
        error = self.acl.failure("aclrtMalloc", code)
        if isinstance(error, DeviceLost):
            raise error
        free = self.free_nbytes()
        found = f"no room for {nbytes} bytes{'' if free is None else f', {free} are free'}"
        hint = "use a smaller batch, or close other sessions on this device"
        raise DeviceError(
            f"{found}: {error.message}",
            at=self.acl.at,
            hint=hint,
            code="LB4003",
            vendor_code=error.vendor_code,
            vendor_text=error.vendor_text,
        )

    def free(self, address: int) -> None:
        """Give device memory back."""
        self.bind()
        self.acl.call("aclrtFree", address)

    def copy_in(self, destination: int, source: int, nbytes: int) -> None:
        """Copy from the host to the device."""
        self.bind()
        self._copies.copy(0, destination, source, nbytes)

    def copy_out(self, destination: int, source: int, nbytes: int) -> None:
        """Copy from the device to the host."""
        self.bind()
        self._copies.copy(1, destination, source, nbytes)

    def allocate_host(self, nbytes: int) -> int:
        """Return pinned memory of the host."""
        self.bind()
        return self._copies.allocate(nbytes)

    def free_host(self, address: int) -> None:
        """Give pinned memory back."""
        self.bind()
        self._copies.free(address)

    def load(self, blob: bytes, signature: Signature, options: Mapping[str, str]) -> AtlasModel:
        """Load an OM file; the option ``gears`` says how a batch may be spread over its gears (`landbridge.runtime.gears`)."""
        self._check(signature)
        model = AtlasModel(self, blob, signature, options)
        self._models.add(model)
        return model

    def close(self) -> None:
        """Close what is still open on the device, then the device."""
        with self._closing:
            if self._context is not None:
                for model in list(self._models):
                    model.close()
                for stream in self._copies.streams():
                    self.quietly("aclrtDestroyStream", stream)
                self.quietly("aclrtDestroyContext", self._context)
                self._context = None
            if self._holds:
                self._process.release(self.acl, self.device.ordinal)
                self._holds = False

    def forget(self, model: AtlasModel) -> None:
        """Take note that ``model`` is closed."""
        self._models.discard(model)

    def quietly(self, name: str, *arguments: Any) -> None:
        """Call a function that frees something; a failure is logged, so that the rest is freed too."""
        try:
            self.bind()
            self.acl.call(name, *arguments)
        except DeviceError as error:
            _log.warning("while freeing: %s", error)

    def free_nbytes(self) -> int | None:
        """Return the free bytes of the device's memory."""
        self.bind()
        if not self.acl.has("aclrtGetMemInfo"):
            return None
        free, total = c_size_t(), c_size_t()
        for memory in (1, 0):  # HBM, then DDR: a device has one of them
            if self.acl.get("aclrtGetMemInfo", memory, byref(free), byref(total)) == SUCCESS and total.value:
                return free.value
        acl_text = self.acl.recent_text()
        _log.debug("free memory is unknown: %s", acl_text)
        return None

    def _check(self, signature: Signature) -> None:
        """Check that what is installed can run a model.

        Raises:
            DeviceError: it cannot; the message has every reason.
        """
        found = list(misfits(signature, self.versions, self.acl, simulated=self.simulated))
        if len(found) == 1:
            raise found[0].within(self.acl.at)
        if found:
            lines = [f"{number}. {misfit.message}\n     fix: {misfit.hint}" for number, misfit in enumerate(found, 1)]
            text = f"{len(found)} reasons why this offline model cannot run here:\n  " + "\n  ".join(lines)
            raise DeviceError(text, at=self.acl.at, code="LB4018")


class _Process:
    """What a process has once for each library: whether it is initialised, and how many drivers each device has."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self.library = library
        self._lock = threading.Lock()
        self._holders: Counter[int] = Counter()
        self._finalise = False

    def hold(self, acl: Acl, ordinal: int) -> None:
        """Initialise the library and set the device, where this is the first driver to need it."""
        with self._lock:
            if not self._holders.total():
                code = acl.get("aclInit", None)
                if code not in (SUCCESS, REPEAT_INITIALIZE):
                    raise acl.failure("aclInit", code)
                acl.recent_text()  # dropped: that somebody else initialised it is no failure
                if code == SUCCESS and not self._finalise:
                    self._finalise = True
                    atexit.register(self._at_exit, acl)
            count = _device_count(acl)
            if ordinal >= count:
                names = ", ".join(f"atlas{index}" for index in range(count)) or "none"
                raise DeviceError(
                    f"there is no such device; Ascend devices here: {names}", at=acl.at, hint="name one of them", code="LB4002"
                )
            if not self._holders[ordinal]:
                acl.call("aclrtSetDevice", ordinal)
            self._holders[ordinal] += 1

    def release(self, acl: Acl, ordinal: int) -> None:
        """Reset the device, where this was its last driver."""
        with self._lock:
            self._holders[ordinal] -= 1
            if not self._holders[ordinal]:
                code = acl.get("aclrtResetDevice", ordinal)
                if code != SUCCESS:
                    _log.warning("while closing: %s", acl.failure("aclrtResetDevice", code))

    def _at_exit(self, acl: Acl) -> None:
        if not self._holders.total():  # the vendor forbids it while devices are in use
            acl.get("aclFinalize")


_processes: dict[bool, _Process] = {}
_processes_lock = threading.Lock()


def _process(at: str, *, simulate: bool) -> _Process:
    with _processes_lock:
        if simulate not in _processes:
            library = ctypes.CDLL(str(registry.simulator("atlas"))) if simulate else open_library(at)
            _processes[simulate] = _Process(library)
        return _processes[simulate]


def _device_count(acl: Acl) -> int:
    count = c_uint32()
    acl.call("aclrtGetDeviceCount", byref(count))
    return count.value


def _run_mode(acl: Acl) -> int:
    mode = c_int()
    acl.call("aclrtGetRunMode", byref(mode))
    return mode.value


def _read_versions(acl: Acl, library: str) -> dict[str, str]:
    versions = {"cann": installed_cann(library)}
    if acl.has("aclrtGetSocName"):
        soc: bytes | None = acl.get("aclrtGetSocName")
        versions["soc"] = (soc or b"").decode("utf-8", "replace")
    if acl.has("aclrtGetVersion"):
        parts = (c_int32(), c_int32(), c_int32())
        acl.call("aclrtGetVersion", *(byref(part) for part in parts))
        versions["acl"] = ".".join(str(part.value) for part in parts)
    return {key: text for key, text in versions.items() if text}
