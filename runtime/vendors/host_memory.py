"""What vendors share whose devices work in the host's memory: a driver's memory half, arrays at addresses, how many threads."""

from __future__ import annotations

import ctypes
import math
import os
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landbridge.runtime.dims import render_shape
from landbridge.runtime.driver import Driver, TensorRef
from landbridge.runtime.dtypes import holder
from landbridge.runtime.errors import InputError, UsageError
from landbridge.runtime.signature import Port

ALIGNMENT = 64
"""In bytes; what `Driver.allocate` promises."""

_MAX_THREADS = 4
"""Threads of one model unless an option says otherwise: host segments and other models need some too."""


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


class HostDriver(Driver):
    """The half of a driver that is about memory; a vendor adds `load`."""

    def __init__(self, versions: Mapping[str, str]) -> None:
        self._memory = HostMemory()
        self.versions: Mapping[str, str] = versions

    def allocate(self, nbytes: int) -> int:
        """Return the address of fresh host memory."""
        return self._memory.allocate(nbytes)

    def free(self, address: int) -> None:
        """Give back what `allocate` returned."""
        self._memory.free(address)

    def copy_in(self, destination: int, source: int, nbytes: int) -> None:
        """Copy within the host's memory."""
        self._memory.copy(destination, source, nbytes)

    def copy_out(self, destination: int, source: int, nbytes: int) -> None:
        """Copy within the host's memory."""
        self._memory.copy(destination, source, nbytes)

    def close(self) -> None:
        """Free what is left."""
        self._memory.close()


def default_threads() -> int:
    """Return how many threads one model uses where no option says."""
    return min(_MAX_THREADS, os.cpu_count() or 1)


def thread_count(options: Mapping[str, str], at: str) -> int:
    """Return how many threads one model may use: what its option "threads" says, else a few.

    Raises:
        UsageError: the option is not a positive number.
    """
    text = options.get("threads", str(default_threads()))
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise UsageError(f"option 'threads' is '{text}', expected a positive number", at=at)
    return int(text)


def view(address: int, dtype: str, shape: Sequence[int]) -> NDArray[Any]:
    """Return the array at ``address``, in NumPy's dtype for ``dtype`` (`holder`), not copied; the caller keeps the memory alive."""
    count, storage = math.prod(shape), holder(dtype)
    if count == 0:
        return np.empty(shape, storage)
    memory: Any = (ctypes.c_uint8 * (count * storage.itemsize)).from_address(address)
    return np.frombuffer(memory, storage).reshape(shape)


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
                f"{kind} '{port.name}': {ref.dtype} {render_shape(ref.shape)}, expected {port.dtype} {render_shape(port.shape)}",
                at=at,
                code="LB1203",
            )
