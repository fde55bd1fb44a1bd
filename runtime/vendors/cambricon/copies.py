"""Copies between the host and a Cambricon card: asynchronous ones for memory of the host that is pinned, blocking ones for the rest.

Each direction has a queue of its own, so that copies go on beside each other and beside a model. One thread at a time uses a queue, because
what fails in a queue fails the call that waits for it: two who wait could be told of each other's copies. Copies in one direction share the
link anyway.

Source: cnrt.h 4.2.0, 4.3.0, 4.7.12 and 4.10.4.
"""

from __future__ import annotations

import threading
from ctypes import byref, c_uint, c_void_p

from landbridge.runtime.errors import DeviceLost
from landbridge.runtime.vendors.cambricon.cnrt import (
    DEFAULT_IS_PINNED,
    DEVICE_TO_HOST,
    HOST_TO_DEVICE,
    MEMTYPE_DEFAULT,
    MEMTYPE_LOCKED,
    SUCCESS,
    Cnrt,
)

_FUNCTIONS = ("cnrtGetVersion", "cnrtMallocHost", "cnrtFreeHost")

_ASYNCHRONOUS = {"MLU270": 0, "MLU290": 41004}
"""The first release that copies asynchronously, by chip: headers up to 4.7.12 say that MLU270 alone does; that of 4.10.4 names no chip. For
MLU220, which may share its memory with the host, that is not enough to rely on."""


class Copies:
    """The copies of one device, which is current on the calling thread.

    Attributes:
        pins: memory of the host can be pinned.
    """

    def __init__(self, cnrt: Cnrt, core: str) -> None:
        """Find out what can be done; ``core`` is the chip, "" where it is not known."""
        self._cnrt = cnrt
        self.pins = all(cnrt.has(name) for name in _FUNCTIONS)
        self._first = _ASYNCHRONOUS.get(core) if cnrt.has("cnrtMemcpyAsync") else None
        self._version: int | None = None
        self._pinned: dict[int, int] = {}
        self._in = _Direction(HOST_TO_DEVICE)
        self._out = _Direction(DEVICE_TO_HOST)

    def allocate(self, nbytes: int) -> int:
        """Return the address of pinned memory of the host, which begins with a page.

        Raises:
            DeviceError: there is no more of it.
        """
        version = self._version = self._read_version() if self._version is None else self._version
        if self._first is not None and version >= self._first:
            for direction in (self._in, self._out):
                direction.open(self._cnrt)
        address = c_void_p()
        code = self._cnrt.get("cnrtMallocHost", byref(address), nbytes, MEMTYPE_DEFAULT if version >= DEFAULT_IS_PINNED else MEMTYPE_LOCKED)
        if code != SUCCESS or not address.value:
            raise self._cnrt.failure("cnrtMallocHost", code)
        self._pinned[address.value] = nbytes
        return address.value

    def _read_version(self) -> int:
        version = c_uint()
        self._cnrt.call("cnrtGetVersion", byref(version))
        return version.value

    def free(self, address: int) -> None:
        """Give it back."""
        self._pinned.pop(address, None)  # first: the library may give the same address to another thread at once
        self._cnrt.call("cnrtFreeHost", address)

    def copy_in(self, destination: int, source: int, nbytes: int) -> None:
        """Copy to the device."""
        self._copy(self._in, source, destination, source, nbytes)

    def copy_out(self, destination: int, source: int, nbytes: int) -> None:
        """Copy to the host."""
        self._copy(self._out, destination, destination, source, nbytes)

    def _copy(self, direction: _Direction, host: int, destination: int, source: int, nbytes: int) -> None:
        if not nbytes:
            return  # the vendor calls this a wrong parameter
        if any(start <= host < start + room for start, room in list(self._pinned.items())):
            with direction.lock:
                if direction.queue:
                    self._copy_in_queue(direction, direction.queue, destination, source, nbytes)
                    return
        self._cnrt.call("cnrtMemcpy", destination, source, nbytes, direction.code)

    def _copy_in_queue(self, direction: _Direction, queue: int, destination: int, source: int, nbytes: int) -> None:
        try:
            self._cnrt.call("cnrtMemcpyAsync", destination, source, nbytes, queue, direction.code)
        except DeviceLost:
            raise
        except BaseException:
            self._cnrt.get("cnrtSyncQueue", queue)  # an interrupt leaves a copy under way, whose memory others get next
            raise
        self._cnrt.wait(queue)

    def take_queues(self) -> list[int]:
        """Return the queues, which belong to the caller from now on; copies that are under way are waited for."""
        return [queue for queue in (self._in.take(), self._out.take()) if queue]


class _Direction:
    """Copies in one direction.

    Attributes:
        code: of its ``cnrtMemTransDir_t``.
        queue: None until it is opened, and after it was taken.
        lock: held while the queue is used.
    """

    def __init__(self, code: int) -> None:
        self.code = code
        self.queue: int | None = None
        self.lock = threading.Lock()

    def open(self, cnrt: Cnrt) -> None:
        if self.queue is not None:
            return  # without waiting for the copy that uses it
        with self.lock:
            if self.queue is None:
                queue = c_void_p()
                cnrt.call("cnrtCreateQueue", byref(queue))
                self.queue = queue.value

    def take(self) -> int | None:
        with self.lock:
            queue, self.queue = self.queue, None
        return queue
