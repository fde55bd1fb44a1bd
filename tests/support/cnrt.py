"""The C interface of libcnrt by ctypes, for tests of the simulator; shares nothing with the driver."""

from __future__ import annotations

import ctypes as C
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FAKE_DEVICE, NOT_READY, INVALID, NOMEM, NODEV, IO, SYS, BUSY = 1, 632006, 632007, 632008, 632009, 632010, 632011, 632014
UNSUPPORTED, INVALID_POINTER, NO_EXIST, INIT, QUEUE, MLU, MEMCPY = 632020, 632021, 632022, 632024, 632025, 632032, 632036
H2D, D2D, D2H, H2H = 0, 1, 2, 3
FLOAT16, FLOAT32, INT8, QUANT8 = 0x12, 0x13, 0x21, 0x51

Array = NDArray[Any]


class Info(C.Structure):
    _fields_ = (("name", C.c_char * 64), ("core", C.c_int), ("cores", C.c_int))


class Cnrt:
    """The library; calling it calls a function and checks its code."""

    def __init__(self, path: Path) -> None:
        """Load it."""
        self.lib = C.CDLL(str(path))
        self.lib.cnrtGetErrorStr.restype = C.c_char_p
        self.lib.sim_live.restype = C.c_int64
        self.lib.sim_misuse.restype = C.c_char_p

    def __call__(self, name: str, *arguments: Any, expect: int = 0) -> str:
        """Call a function that must return ``expect``; return the text of that code."""
        code = getattr(self.lib, name)(*arguments)
        text: str = self.lib.cnrtGetErrorStr(code).decode()
        assert code == expect, f"{name}: {code} {text}"
        return text

    def make(self, name: str, *arguments: Any) -> Any:
        """Call a function whose first argument is where it stores a handle; return that."""
        handle = C.c_void_p()
        self(name, C.byref(handle), *arguments)
        return handle

    def live(self, kind: str) -> int:
        return int(self.lib.sim_live(kind.encode()))

    def misuse(self) -> str:
        """Return the first rule that was broken since this was asked last."""
        return str(self.lib.sim_misuse().decode())

    def set_device(self, ordinal: int) -> None:
        device = C.c_uint64()
        self("cnrtGetDeviceHandle", C.byref(device), ordinal)
        self("cnrtSetCurrentDevice", device)

    def put(self, array: Array) -> Any:
        """Return a device buffer that holds ``array``."""
        address = self.make("cnrtMalloc", C.c_size_t(max(array.nbytes, 1)))
        self("cnrtMemcpy", address, array.ctypes.data_as(C.c_void_p), C.c_size_t(array.nbytes), H2D)
        return address

    def get(self, address: Any, like: Array) -> Array:
        """Return what is on the device."""
        found = np.empty_like(like)
        self("cnrtMemcpy", found.ctypes.data_as(C.c_void_p), address, C.c_size_t(found.nbytes), D2H)
        return found


class Loaded:
    """A function of a model, extracted."""

    def __init__(self, cnrt: Cnrt, blob: bytes, symbol: str = "subnet0") -> None:
        """Load it on the current device."""
        self.cnrt = cnrt
        self.blob = C.create_string_buffer(blob, len(blob))
        self.model = cnrt.make("cnrtLoadModelFromMem", self.blob)
        self.function = cnrt.make("cnrtCreateFunction")
        cnrt("cnrtExtractFunction", C.byref(self.function), self.model, symbol.encode())

    def context(self, ordinal: int) -> Any:
        """Return a runtime context that is ready."""
        context = self.cnrt.make("cnrtCreateRuntimeContext", self.function, None)
        self.cnrt("cnrtSetRuntimeContextDeviceId", context, ordinal)
        self.cnrt("cnrtInitRuntimeContext", context, None)
        return context

    def close(self) -> None:
        self.cnrt("cnrtDestroyFunction", self.function)
        self.cnrt("cnrtUnloadModel", self.model)


def params(*addresses: Any) -> Any:
    """Return the list of addresses that an invocation takes."""
    return (C.c_void_p * len(addresses))(*addresses)
