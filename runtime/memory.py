"""Memory that tensors live in: the host's, and a device's.

A `Block` is memory at a fixed address, aligned to 64 bytes, given back after nobody refers to it any more. `DeviceTensor` is what a
caller holds of a tensor on a device.
"""

from __future__ import annotations

import ctypes
import logging
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landbridge.runtime import dtypes
from landbridge.runtime.device import Device
from landbridge.runtime.driver import Driver, Vendor
from landbridge.runtime.errors import DeviceError, DeviceLost, SessionClosed
from landbridge.runtime.heap import Block, Heap
from landbridge.runtime.plan import ALIGNMENT

_LOG = logging.getLogger(__name__)


def allocate_host(nbytes: int) -> Block:
    """Return fresh memory of the host."""
    array = np.empty(nbytes + ALIGNMENT, np.uint8)
    address = address_of(array)
    return Block(address + -address % ALIGNMENT, nbytes, array)


def empty(dtype: str, shape: tuple[int, ...], nbytes: int = 0) -> tuple[NDArray[Any], int]:
    """Return a fresh, aligned array that holds a tensor, and its address; of a packed one it has the bytes.

    Args:
        nbytes: of memory behind it, where the tensor itself takes less.
    """
    needed = dtypes.nbytes_of(dtype, shape)
    shape = (needed,) if dtypes.is_packed(dtype) else shape
    raw = np.empty(max(needed, nbytes) + ALIGNMENT, np.uint8)
    address = address_of(raw)
    shift = -address % ALIGNMENT
    return raw[shift : shift + needed].view(dtypes.holder(dtype)).reshape(shape), address + shift


def address_of(array: NDArray[Any]) -> int:
    """Return the address of an array's first element."""
    buffer: Any = array
    try:
        return ctypes.addressof(ctypes.c_char.from_buffer(buffer))  # a third of the time of the other way
    except (TypeError, ValueError, BufferError):  # it is read-only, not contiguous, or empty
        return array.ctypes.data


def view(address: int, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return the array at a host address, not copied, of a packed one the bytes; the caller keeps the memory alive."""
    nbytes = dtypes.nbytes_of(dtype, shape)
    shape = (nbytes,) if dtypes.is_packed(dtype) else shape
    if nbytes == 0:
        return np.empty(shape, dtypes.holder(dtype))
    memory: Any = (ctypes.c_uint8 * nbytes).from_address(address)
    return np.frombuffer(memory, dtypes.holder(dtype)).reshape(shape)


class OpenDevice:
    """A device and its memory. Any method may be called from any thread.

    Nothing of the device is lost when an interrupt arrives between two lines: what a driver gave is stored where it was asked for, and
    taken out where it is given back.

    Attributes:
        name: such as "atlas0".
        driver: of its vendor; not there before `open`.
        host_memory: its addresses are host addresses.
    """

    driver: Driver

    def __init__(self, name: str, *, host_memory: bool) -> None:
        self.name = name
        self.host_memory = host_memory
        self.closed = False
        self._memory = Heap(name, self.check_open, self._allocate, self._free)
        self._pinned = Heap(name, self.check_open, self._allocate_host, self._free_host)
        self._closing = threading.Lock()

    def open(self, vendor: Vendor, *, simulate: bool) -> None:
        """Open the driver.

        Raises:
            DeviceError: library or device missing.
        """
        self.driver = vendor.open(Device.parse(self.name).ordinal, simulate=simulate)

    def allocate(self, nbytes: int) -> Block:
        """Return memory of the device, perhaps memory that was given back; its contents are arbitrary.

        Raises:
            DeviceError: out of memory.
        """
        return self._memory.allocate(nbytes)

    def allocate_host(self, nbytes: int) -> Block:
        """Return memory of the host from which and to which the device copies fastest: pinned, where its driver has such memory.

        Raises:
            DeviceLost: the device is.
        """
        if not self.driver.pins:
            return allocate_host(nbytes)
        try:
            return self._pinned.allocate(nbytes)
        except DeviceLost:
            raise
        except DeviceError as error:
            _LOG.debug("%s: %d bytes of the host are not pinned: %s", self.name, nbytes, error)
            return allocate_host(nbytes)

    def _allocate(self, nbytes: int) -> int:
        return self.driver.allocate(nbytes)

    def _free(self, address: int) -> None:
        self.driver.free(address)

    def _allocate_host(self, nbytes: int) -> int:
        return self.driver.allocate_host(nbytes)

    def _free_host(self, address: int) -> None:
        self.driver.free_host(address)

    def check_open(self) -> None:
        """Raise `SessionClosed` after `close`."""
        if self.closed:
            raise SessionClosed(f"the session that opened {self.name} is closed", hint="load the artifact again")

    def copy_in(self, destination: int, source: int, nbytes: int) -> None:
        """Copy from a host address to one on the device."""
        if self.host_memory:
            ctypes.memmove(destination, source, nbytes)
        else:
            self.driver.copy_in(destination, source, nbytes)

    def copy_out(self, destination: int, source: int, nbytes: int) -> None:
        """Copy from an address on the device to one of the host."""
        if self.host_memory:
            ctypes.memmove(destination, source, nbytes)
        else:
            self.driver.copy_out(destination, source, nbytes)

    def close(self) -> None:
        """Free all memory, tensors that callers still hold included, and the device. Idempotent; what cannot be freed is logged."""
        with self._closing:
            self.closed = True
            if "driver" not in vars(self):
                return  # it was never opened
            self._memory.close()
            self._pinned.close()
            self.driver.close()


class DeviceTensor:
    """A tensor on a device, which a session takes as an input without a copy. Freed when it is collected or its session is closed.

    Attributes:
        dtype: its element type, as in signatures.
        shape: its extents.
        device: the name of the device.

    Example:
        >>> features = session.to_device(np.ones((4, 128), "float32"), "openvino0")
        >>> features.dtype, features.shape
        ('float32', (4, 128))
    """

    def __init__(self, device: OpenDevice, block: Block, address: int, dtype: str, shape: tuple[int, ...]) -> None:
        self.dtype = dtype
        self.shape = shape
        self.device = device.name
        self.on = device
        self.block = block
        self.address = address

    @property
    def capacity(self) -> int:
        """Bytes from its first element to the end of its memory."""
        return self.block.address + self.block.nbytes - self.address

    @property
    def nbytes(self) -> int:
        """Bytes of its elements."""
        return dtypes.nbytes_of(self.dtype, self.shape)

    def numpy(self) -> NDArray[Any]:
        """Return a copy on the host; elements of a type that NumPy lacks come as unsigned integers of the same width.

        Raises:
            SessionClosed: the session that made it is closed.
            DeviceError: the copy failed.
        """
        self.on.check_open()
        array, address = empty(self.dtype, self.shape)
        if array.size:
            self.on.copy_out(address, self.address, self.nbytes)
        return array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError(f"a tensor on {self.device} cannot become an array without a copy")
        array = self.numpy()
        return array if dtype is None else array.astype(dtype, copy=False)

    def __repr__(self) -> str:
        return f"DeviceTensor({self.dtype} {list(self.shape)} on {self.device})"
