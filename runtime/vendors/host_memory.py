"""What vendors share whose devices work in the host's memory: aligned memory, copies, arrays at addresses."""

from __future__ import annotations

import ctypes
import math
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landbridge.runtime.dims import render_shape
from landbridge.runtime.driver import TensorRef
from landbridge.runtime.dtypes import holder
from landbridge.runtime.errors import InputError
from landbridge.runtime.signature import Port

ALIGNMENT = 64
"""In bytes; what `Driver.allocate` promises."""


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


def view(address: int, dtype: str, shape: Sequence[int]) -> NDArray[Any]:
    """Return the array at ``address``, in NumPy's dtype for ``dtype`` (`holder`), not copied; the caller keeps the memory alive."""
    count, storage = math.prod(shape), holder(dtype)
    if count == 0:
        return np.empty(shape, storage)
    memory = (ctypes.c_uint8 * (count * storage.itemsize)).from_address(address)
    return np.ctypeslib.as_array(memory).view(storage).reshape(shape)


def check_arguments(ports: Sequence[Port], refs: Sequence[TensorRef], kind: str, at: str) -> None:
    """Check the type, the rank and the fixed extents of a call's arguments; their number is the plan's author's affair.

    Raises:
        InputError: naming the first that does not fit.
    """
    for port, ref in zip(ports, refs, strict=True):
        fits = len(port.shape) == len(ref.shape) and all(
            isinstance(dim, str) or dim == n for dim, n in zip(port.shape, ref.shape, strict=True)
        )
        if not fits or port.dtype != ref.dtype:
            raise InputError(
                f"{kind} '{port.name}': {ref.dtype} {render_shape(ref.shape)}, expected {port.dtype} {render_shape(port.shape)}", at=at
            )
