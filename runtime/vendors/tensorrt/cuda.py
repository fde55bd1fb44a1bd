"""NVIDIA's driver, libcuda, through its C interface: memory, copies and streams of one GPU.

The primary context of the device is used, which is the one that TensorRT's own CUDA runtime uses. It is made current on entry of each
call, because what is current is a matter of the calling thread. So every method may be called from any thread.
"""

from __future__ import annotations

import ctypes
import logging
import threading
from ctypes import byref, c_char_p, c_int, c_size_t, c_uint, c_uint64, c_void_p
from typing import Any

from landbridge.runtime.errors import DeviceError, DeviceLost

LIBRARIES = ("libcuda.so.1", "/usr/lib/wsl/lib/libcuda.so.1", "/usr/lib/aarch64-linux-gnu/tegra/libcuda.so.1")
"""Where NVIDIA's driver puts its library: on the search path; on WSL; on Jetson."""

_SUCCESS = 0
_OUT_OF_MEMORY = 2
_LOST = frozenset({4, 214, 220, 700, 702, 709, 710, 714, 715, 716, 717, 718, 719})
"""Codes that every later call in this process gets as well: the driver is shut down, the memory of the GPU, a link or the execution of a
kernel has failed, or the context is destroyed.

Source: cuda.h, where their descriptions say that the process must be terminated, or that the context cannot be used.
"""
_NON_BLOCKING = 1
_PORTABLE = 1
_STREAMS = 3
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76
_NAME_NBYTES = 256

_PROTOTYPES: dict[str, tuple[Any, ...]] = {
    "cuInit": (c_uint,),
    "cuDriverGetVersion": (c_void_p,),
    "cuDeviceGetCount": (c_void_p,),
    "cuDeviceGet": (c_void_p, c_int),
    "cuDeviceGetName": (c_char_p, c_int, c_int),
    "cuDeviceGetAttribute": (c_void_p, c_int, c_int),
    "cuDevicePrimaryCtxRetain": (c_void_p, c_int),
    "cuDevicePrimaryCtxRelease_v2": (c_int,),
    "cuCtxSetCurrent": (c_void_p,),
    "cuMemGetInfo_v2": (c_void_p, c_void_p),
    "cuMemAlloc_v2": (c_void_p, c_size_t),
    "cuMemFree_v2": (c_uint64,),
    "cuMemcpyHtoDAsync_v2": (c_uint64, c_void_p, c_size_t, c_void_p),
    "cuMemcpyDtoHAsync_v2": (c_void_p, c_uint64, c_size_t, c_void_p),
    "cuMemcpyDtoDAsync_v2": (c_uint64, c_uint64, c_size_t, c_void_p),
    "cuMemHostAlloc": (c_void_p, c_size_t, c_uint),
    "cuMemFreeHost": (c_void_p,),
    "cuStreamCreate": (c_void_p, c_uint),
    "cuStreamSynchronize": (c_void_p,),
    "cuStreamDestroy_v2": (c_void_p,),
    "cuGetErrorName": (c_int, c_void_p),
    "cuGetErrorString": (c_int, c_void_p),
}
"""The functions that are called, each returning a ``CUresult``; all are in every driver since CUDA 11."""

_log = logging.getLogger(__name__)


class Cuda:
    """One GPU.

    Attributes:
        name: such as "NVIDIA H200".
        capability: its compute capability, such as "9.0".
        driver_version: the newest CUDA that the driver supports, such as "13.0".
        stream: on which models run, as an address. Copies from and to the host have a stream each: they go on meanwhile.
    """

    def __init__(self, ordinal: int, at: str) -> None:
        """Open GPU ``ordinal``.

        Raises:
            DeviceError: no driver, no such GPU, or the driver refused.
        """
        self._at = at
        self._library = _load(at)
        self._closing = threading.Lock()
        self._context: int | None = None
        self._streams: list[int] = []
        self._call("cuInit", 0)
        count, device = c_int(), c_int()
        self._call("cuDeviceGetCount", byref(count))
        if ordinal >= count.value:
            names = ", ".join(f"gpu{index}" for index in range(count.value)) or "none"
            raise DeviceError(
                f"there is no such device; NVIDIA GPUs here: {names}", at=at, hint="name one of them; see nvidia-smi", code="LB4002"
            )
        self._call("cuDeviceGet", byref(device), ordinal)
        self._device = device.value
        self.name, self.capability, self.driver_version = self._read_facts()
        context = c_void_p()
        self._call("cuDevicePrimaryCtxRetain", byref(context), self._device)
        self._context = context.value
        try:
            self.bind()
            for _ in range(_STREAMS):
                stream = c_void_p()
                self._call("cuStreamCreate", byref(stream), _NON_BLOCKING)
                self._streams.append(stream.value or 0)
        except DeviceError:
            self.close()
            raise
        self.stream, self._in, self._out = self._streams

    def bind(self) -> None:
        """Make the context current on the calling thread.

        Raises:
            DeviceError: it is closed, or the driver refused.
        """
        if self._context is None:
            raise DeviceError("the device was closed before this call", at=self._at, code="LB4016")
        self._call("cuCtxSetCurrent", self._context)

    def allocate(self, nbytes: int) -> int:
        """Return the address of ``nbytes`` > 0 bytes, aligned to 256.

        Raises:
            DeviceError: out of memory, with what is free.
        """
        self.bind()
        address = c_uint64()
        code = self._library.cuMemAlloc_v2(byref(address), nbytes)
        if code == _SUCCESS:
            return address.value
        error = self._failure("cuMemAlloc_v2", code)
        if code != _OUT_OF_MEMORY:
            raise error
        free, _ = self.memory()
        raise DeviceError(
            f"no room for {nbytes} bytes, {free} are free",
            at=self._at,
            hint="use a smaller batch, or close other programs on this GPU",
            vendor_code=error.vendor_code,
            vendor_text=error.vendor_text,
            code="LB4003",
        )

    def memory(self) -> tuple[int, int]:
        """Return the free and the total bytes of the GPU."""
        self.bind()
        free, total = c_size_t(), c_size_t()
        self._call("cuMemGetInfo_v2", byref(free), byref(total))
        return free.value, total.value

    def free(self, address: int) -> None:
        """Give back what `allocate` returned."""
        self.bind()
        self._call("cuMemFree_v2", address)

    def copy_in(self, destination: int, source: int, nbytes: int) -> None:
        """Copy from the host; complete on return."""
        if nbytes:
            self.bind()
            self._call("cuMemcpyHtoDAsync_v2", destination, source, nbytes, self._in)
            self._call("cuStreamSynchronize", self._in)

    def copy_out(self, destination: int, source: int, nbytes: int) -> None:
        """Copy to the host; complete on return."""
        if nbytes:
            self.bind()
            self._call("cuMemcpyDtoHAsync_v2", destination, source, nbytes, self._out)
            self._call("cuStreamSynchronize", self._out)

    def allocate_host(self, nbytes: int) -> int:
        """Return the address of ``nbytes`` > 0 bytes of the host that every GPU reads and writes by itself, aligned to a page.

        Raises:
            DeviceError: the system pins no more.
        """
        self.bind()
        address = c_void_p()
        self._call("cuMemHostAlloc", byref(address), nbytes, _PORTABLE)
        return address.value or 0

    def free_host(self, address: int) -> None:
        """Give back what `allocate_host` returned."""
        self.bind()
        self._call("cuMemFreeHost", address)

    def enqueue_copy(self, destination: int, source: int, nbytes: int) -> None:
        """Copy on the GPU, in the order of the stream; the context is current already."""
        if nbytes:
            self._call("cuMemcpyDtoDAsync_v2", destination, source, nbytes, self.stream)

    def synchronize(self) -> None:
        """Wait for everything on the stream.

        Raises:
            DeviceError: something on it failed.
        """
        self._call("cuStreamSynchronize", self.stream)

    def close(self) -> None:
        """Give everything back. Idempotent."""
        with self._closing:
            if self._context is None:
                return
            while self._streams:
                try:
                    self.bind()
                    self._call("cuStreamDestroy_v2", self._streams.pop())
                except DeviceError as error:
                    _log.warning("while closing: %s", error)
                    break
            self._release()

    def _release(self) -> None:
        self._context = None
        code = self._library.cuDevicePrimaryCtxRelease_v2(self._device)
        if code != _SUCCESS:
            _log.warning("while closing: %s", self._failure("cuDevicePrimaryCtxRelease_v2", code))

    def _read_facts(self) -> tuple[str, str, str]:
        name, version, major, minor = ctypes.create_string_buffer(_NAME_NBYTES), c_int(), c_int(), c_int()
        self._call("cuDeviceGetName", name, _NAME_NBYTES, self._device)
        self._call("cuDeviceGetAttribute", byref(major), _CAPABILITY_MAJOR, self._device)
        self._call("cuDeviceGetAttribute", byref(minor), _CAPABILITY_MINOR, self._device)
        self._call("cuDriverGetVersion", byref(version))
        return (
            name.value.decode("utf-8", "replace"),
            f"{major.value}.{minor.value}",
            f"{version.value // 1000}.{version.value % 1000 // 10}",
        )

    def _call(self, function: str, *arguments: Any) -> None:
        code: int = getattr(self._library, function)(*arguments)
        if code != _SUCCESS:
            raise self._failure(function, code)

    def _failure(self, function: str, code: int) -> DeviceError:
        name, text = c_char_p(), c_char_p()
        self._library.cuGetErrorName(code, byref(name))
        self._library.cuGetErrorString(code, byref(text))
        words = [(part.value or b"").decode("utf-8", "replace") for part in (name, text)]
        kind = DeviceLost if code in _LOST else DeviceError
        return kind(
            f"{function} failed with {code} ({words[0] or 'unknown'})",
            at=self._at,
            hint="see nvidia-smi and dmesg" if function == "cuInit" or kind is DeviceLost else "",
            vendor_code=code,
            vendor_text=words[1],
        )


def _load(at: str) -> Any:
    """Return the library.

    Raises:
        DeviceError: there is none, or it lacks a function.
    """
    reasons = []
    for path in LIBRARIES:
        try:
            library = ctypes.CDLL(path)
        except OSError as error:
            reasons.append(str(error))
            continue
        for name, arguments in _PROTOTYPES.items():
            if not hasattr(library, name):
                raise DeviceError(
                    f"NVIDIA's driver library {path} has no function {name}", at=at, hint="install a newer NVIDIA driver", code="LB4014"
                )
            function = getattr(library, name)
            function.argtypes, function.restype = arguments, c_int
        return library
    raise DeviceError(
        "NVIDIA's driver is missing: there is no libcuda.so.1",
        at=at,
        hint="install the NVIDIA driver; in a container, start it with --gpus all",
        vendor_text="; ".join(reasons),
        code="LB4001",
    )
