"""Copies between the host and an Ascend device: asynchronous ones for memory of the host that is pinned, blocking ones for the rest.

Each direction has a stream of its own, so that copies go on beside each other and beside a model. The vendor takes only pinned memory
for asynchronous copies.
"""

from __future__ import annotations

import threading
from ctypes import byref, c_void_p

from landbridge.runtime.vendors.atlas.acl import DEVICE_TO_DEVICE, DEVICE_TO_HOST, HOST_TO_DEVICE, Acl

_FUNCTIONS = (
    *("aclrtMallocHost", "aclrtFreeHost", "aclrtMemcpyAsync"),
    *("aclrtCreateStream", "aclrtSynchronizeStream", "aclrtDestroyStream"),
)


class Copies:
    """The copies of one device; its context is current on the calling thread.

    Attributes:
        pins: memory of the host can be pinned, and copied from and to asynchronously.
    """

    def __init__(self, acl: Acl, *, run_on_device: bool) -> None:
        self._acl = acl
        self._kinds = (DEVICE_TO_DEVICE, DEVICE_TO_DEVICE) if run_on_device else (HOST_TO_DEVICE, DEVICE_TO_HOST)
        self.pins = not run_on_device and all(acl.has(name) for name in _FUNCTIONS)
        self._pinned: dict[int, int] = {}
        self._streams: list[int] = []
        self._lock = threading.Lock()

    def allocate(self, nbytes: int) -> int:
        """Return the address of pinned memory of the host.

        Raises:
            DeviceError: there is no more of it.
        """
        with self._lock:
            while len(self._streams) < len(self._kinds):
                stream = c_void_p()
                self._acl.call("aclrtCreateStream", byref(stream))
                self._streams.append(stream.value or 0)
            address = c_void_p()
            self._acl.call("aclrtMallocHost", byref(address), nbytes)
            found = address.value or 0
            self._pinned[found] = nbytes
        return found

    def free(self, address: int) -> None:
        """Give it back."""
        self._acl.call("aclrtFreeHost", address)
        with self._lock:
            self._pinned.pop(address, None)

    def copy(self, direction: int, destination: int, source: int, nbytes: int) -> None:
        """Copy to the device (0) or to the host (1)."""
        if not nbytes:
            return  # the vendor calls this a wrong parameter
        kind, host = self._kinds[direction], destination if direction else source
        if self._pinned and any(start <= host < start + room for start, room in list(self._pinned.items())):
            self._acl.call("aclrtMemcpyAsync", destination, nbytes, source, nbytes, kind, self._streams[direction])
            self._acl.call("aclrtSynchronizeStream", self._streams[direction])
        else:
            self._acl.call("aclrtMemcpy", destination, nbytes, source, nbytes, kind)

    def streams(self) -> list[int]:
        """Return the streams, which belong to the caller from now on."""
        with self._lock:
            streams, self._streams = self._streams, []
        return streams
