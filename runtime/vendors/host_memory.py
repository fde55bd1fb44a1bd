"""Memory of devices that work in the host's memory: addresses of aligned arrays, and copies by ``memmove``."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landbridge.runtime.errors import UnsupportedError

ALIGNMENT = 64
"""In bytes; what `Driver.allocate` promises."""

_BY_SIZE = {"bfloat16": "uint16"}
"""Types that NumPy lacks, with the type of the same size under which their bits are seen."""


class HostMemory:
    """Hands out aligned host memory; any method may be called from any thread."""

    def __init__(self) -> None:
        self._arrays: dict[int, NDArray[np.uint8]] = {}
        self._lock = threading.Lock()

    def allocate(self, nbytes: int) -> int:
        """Return the address of ``nbytes`` > 0 bytes, aligned to `ALIGNMENT`.

        Raises:
            MemoryError: there is not that much.
        """
        array = np.empty(nbytes + ALIGNMENT - 1, np.uint8)
        address = -(-array.ctypes.data // ALIGNMENT) * ALIGNMENT
        with self._lock:
            self._arrays[address] = array
        return address

    def free(self, address: int) -> None:
        """Give back what `allocate` returned."""
        with self._lock:
            del self._arrays[address]

    def copy(self, destination: int, source: int, nbytes: int) -> None:
        """Copy ``nbytes`` from one address to another; nothing where they are the same."""
        if destination != source:
            ctypes.memmove(destination, source, nbytes)

    def close(self) -> None:
        """Free everything. Idempotent."""
        with self._lock:
            self._arrays.clear()


def storage_dtype(dtype: str, at: str) -> np.dtype[Any]:
    """Return the NumPy type that holds the bits of ``dtype``: itself, or an unsigned integer of its size.

    Raises:
        UnsupportedError: elements that are not whole bytes, or not plain data.
    """
    try:
        found = np.dtype(_BY_SIZE.get(dtype, dtype))
    except TypeError:
        found = np.dtype(object)
    if found.hasobject or found.itemsize == 0:
        raise UnsupportedError(f"elements of type {dtype} cannot be passed to an offline model", at=at)
    return found


def view(address: int, dtype: np.dtype[Any], shape: Sequence[int]) -> NDArray[Any]:
    """Return the array at ``address``, not copied; the caller keeps the memory alive."""
    count = int(np.prod(shape, dtype=np.int64))
    if count == 0:
        return np.empty(shape, dtype)
    memory = (ctypes.c_uint8 * (count * dtype.itemsize)).from_address(address)
    return np.ctypeslib.as_array(memory).view(dtype).reshape(shape)
