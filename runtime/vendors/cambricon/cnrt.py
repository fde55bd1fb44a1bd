"""The C interface of libcnrt 4, as far as it is used here, by ctypes.

Functions are resolved one by one, because releases differ in what they have: what is missing is an error only where it is needed.
A call that fails becomes a `DeviceError` with the code, its name and the vendor's own words.

Source: cnrt.h 4.7.12; 4.2, 4.3 and 4.10.4 carry the same calls. CNRT 5 and later have no offline models (and no ``cnrtInit``).
"""

from __future__ import annotations

import ctypes
import os
from ctypes import POINTER, c_char, c_char_p, c_int, c_int64, c_size_t, c_uint, c_uint64, c_void_p
from pathlib import Path
from typing import Any

from landbridge.runtime.errors import DeviceError, DeviceLost
from landbridge.runtime.vendors.shared_library import open_first

SUCCESS = 0
WARNING_FAKE_DEVICE = 1

REAL, FAKE = 0, 1
"""Flags of ``cnrtInit``: a fake device answers questions about models, where there is no card."""

FAKE_ORDINAL = -1

HOST_TO_DEVICE, DEVICE_TO_DEVICE, DEVICE_TO_HOST = 0, 1, 2
"""``cnrtMemTransDir_t``: neither the order of CUDA nor that of ACL."""

MEMTYPE_DEFAULT, MEMTYPE_LOCKED = 0, 1
"""``cnrtMemType_t`` of ``cnrtMallocHost``: in 4.2 and 4.3 the first is pageable and the second pinned; in 4.7.12 both are pinned; 4.10.4
supports the first only, and says of the second not to use it."""

DEFAULT_IS_PINNED = 40712
"""The first release, as ``cnrtGetVersion`` tells it (4.7.12), of which is known that `MEMTYPE_DEFAULT` is pinned."""

LIBRARY = "libcnrt.so"

INSTALL = (
    "install the Cambricon Neuware of your card (CNRT 4, for MLU220, MLU270 and MLU290) and set NEUWARE_HOME, such as /usr/local/neuware"
)

_ERROR_NAMES = {
    1: "WARNING_FAKE_DEVICE",
    632006: "NOT_READY",
    632007: "INVALID",
    632008: "NOMEM",
    632009: "NODEV",
    632010: "IO",
    632011: "SYS",
    632012: "ACCES",
    632013: "FAULT",
    632014: "BUSY",
    632015: "TIMEOUT",
    632020: "UNSUPPORTED",
    632021: "INVALID_POINTER",
    632022: "NO_EXIST",
    632024: "INIT",
    632025: "QUEUE",
    632028: "FUNC_CALL",
    632030: "INVALID_TYPE",
    632032: "MLU",
    632033: "ONCHIP_CORE",
    632036: "MEMCPY",
    632038: "INVALID_DATADESC",
    999991: "UNKNOWN",
}

LOST = frozenset({632032, 632033})
"""Codes after which a card is of no use to this process: the card, or a core of it, has failed."""


class DeviceInfo(ctypes.Structure):
    """The structure ``cnrtDeviceInfo_t``."""

    device_name: bytes
    core_version: int
    core_num: int
    _fields_ = (("device_name", c_char * 64), ("core_version", c_int), ("core_num", c_int))


_INTS, _HANDLES, _NAMES = POINTER(POINTER(c_int)), POINTER(c_void_p), POINTER(POINTER(c_char_p))

_PROTOTYPES: dict[str, tuple[Any, ...]] = {
    "cnrtInit": (c_uint,),
    "cnrtGetVersion": (POINTER(c_uint),),
    "cnrtGetDeviceCount": (POINTER(c_uint),),
    "cnrtGetDeviceHandle": (POINTER(c_uint64), c_int),
    "cnrtSetCurrentDevice": (c_uint64,),
    "cnrtGetDeviceInfo": (POINTER(DeviceInfo), c_int),
    "cnrtCreateQueue": (_HANDLES,),
    "cnrtDestroyQueue": (c_void_p,),
    "cnrtSyncQueue": (c_void_p,),
    "cnrtMalloc": (_HANDLES, c_size_t),
    "cnrtFree": (c_void_p,),
    "cnrtMallocHost": (_HANDLES, c_size_t, c_int),
    "cnrtFreeHost": (c_void_p,),
    "cnrtMemcpy": (c_void_p, c_void_p, c_size_t, c_int),
    "cnrtMemcpyAsync": (c_void_p, c_void_p, c_size_t, c_void_p, c_int),
    "cnrtGetModelSize": (c_char_p, POINTER(c_int)),
    "cnrtLoadModelFromMem": (_HANDLES, c_void_p),
    "cnrtUnloadModel": (c_void_p,),
    "cnrtQueryCoreVersion": (c_void_p, POINTER(c_int)),
    "cnrtGetFunctionNumber": (c_void_p, POINTER(c_int)),
    "cnrtGetFunctionSymbol": (c_void_p, c_int, _HANDLES, POINTER(c_int)),
    "cnrtCreateFunction": (_HANDLES,),
    "cnrtExtractFunction": (_HANDLES, c_void_p, c_char_p),
    "cnrtDestroyFunction": (c_void_p,),
    "cnrtGetInputDataSize": (POINTER(POINTER(c_int64)), POINTER(c_int), c_void_p),
    "cnrtGetOutputDataSize": (POINTER(POINTER(c_int64)), POINTER(c_int), c_void_p),
    "cnrtGetInputDataType": (_INTS, POINTER(c_int), c_void_p),
    "cnrtGetOutputDataType": (_INTS, POINTER(c_int), c_void_p),
    "cnrtGetInputDataShape": (_INTS, POINTER(c_int), c_int, c_void_p),
    "cnrtGetOutputDataShape": (_INTS, POINTER(c_int), c_int, c_void_p),
    "cnrtGetInputAndOutputNamesFromFunction": (c_void_p, _NAMES, _NAMES, POINTER(c_int), POINTER(c_int)),
    "cnrtDestroyInputAndOutputNames": (POINTER(c_char_p), POINTER(c_char_p), c_int, c_int),
    "cnrtReleaseInternalResource": (c_void_p,),
    "cnrtGetSupportedParamShapeByName": (c_void_p, c_char_p, POINTER(c_int)),
    "cnrtCreateParamDesc": (_HANDLES,),
    "cnrtDestroyParamDesc": (c_void_p,),
    "cnrtSetShapeToParamDesc": (c_void_p, POINTER(c_int), c_int),
    "cnrtSetDataTypeToParamDesc": (c_void_p, c_int),
    "cnrtGetShapeFromParamDesc": (c_void_p, _INTS, POINTER(c_int)),
    "cnrtInferFunctionOutputShape": (c_void_p, c_int, _HANDLES, c_int, _HANDLES),
    "cnrtCreateRuntimeContext": (_HANDLES, c_void_p, c_void_p),
    "cnrtSetRuntimeContextDeviceId": (c_void_p, c_int),
    "cnrtInitRuntimeContext": (c_void_p, c_void_p),
    "cnrtInvokeRuntimeContext": (c_void_p, _HANDLES, c_void_p, c_void_p),
    "cnrtInvokeRuntimeContext_V2": (c_void_p, _HANDLES, _HANDLES, c_void_p, c_void_p),
    "cnrtDestroyRuntimeContext": (c_void_p,),
}
"""The arguments of each function; all return a code."""


class Cnrt:
    """A loaded libcnrt.

    Attributes:
        at: what errors are about, such as "cambricon0".
    """

    def __init__(self, library: ctypes.CDLL, at: str) -> None:
        """Resolve the functions that ``library`` has."""
        self.at = at
        self._functions: dict[str, Any] = {}
        for name, arguments in _PROTOTYPES.items():
            function = getattr(library, name, None)
            if function is not None:
                function.restype, function.argtypes = c_int, arguments
                self._functions[name] = function
        self._text = getattr(library, "cnrtGetErrorStr", None)
        if self._text is not None:
            self._text.restype, self._text.argtypes = c_char_p, (c_int,)
        self._destroy = getattr(library, "cnrtDestroy", None)
        if self._destroy is not None:
            self._destroy.restype, self._destroy.argtypes = None, ()

    def has(self, name: str) -> bool:
        """Return whether this release has the function ``name``."""
        return name in self._functions

    def function(self, name: str) -> Any:
        """Return a function as ctypes sees it.

        Raises:
            DeviceError: this release does not have it.
        """
        if name in self._functions:
            return self._functions[name]
        if "cnrtInit" in self._functions:
            raise DeviceError(
                f"this release of {LIBRARY} has no {name}", at=self.at, hint="install a newer CNRT 4, such as 4.10", code="LB4014"
            )
        raise DeviceError(
            f"this {LIBRARY} has no {name}: CNRT 5 and later run no offline models of CNRT 4",
            at=self.at,
            hint="compile the model with MagicMind (lb.MagicMindRuntimeSubgraph), or install CNRT 4 for an MLU220, MLU270 or MLU290",
            code="LB4014",
        )

    def get(self, name: str, *arguments: Any) -> int:
        """Call a function and return its code."""
        return int(self.function(name)(*arguments))

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function.

        Raises:
            DeviceError: its code is not success.
        """
        code = self.get(name, *arguments)
        if code != SUCCESS:
            raise self.failure(name, code)

    def wait(self, queue: int) -> None:
        """Wait for what is in a queue.

        Raises:
            DeviceError: that failed. Unless the device is lost, the queue was waited for once more: what is in it may use memory that is
                freed next.
        """
        code = self.get("cnrtSyncQueue", queue)
        if code == SUCCESS:
            return
        error = self.failure("cnrtSyncQueue", code)
        if not isinstance(error, DeviceLost):
            self.get("cnrtSyncQueue", queue)
        raise error

    def failure(self, name: str, code: int) -> DeviceError:
        """Return the error for a ``code`` that ``name`` just returned on this thread: a `DeviceLost` where the code is one of `LOST`."""
        raw: bytes | None = self._text(code) if self._text is not None else None
        text = (raw or b"").decode("utf-8", "replace").strip()
        described = f"error {code} ({_ERROR_NAMES.get(code, 'unknown')})"
        kind = DeviceLost if code in LOST else DeviceError
        return kind(f"{name} failed with {described}{f': {text}' if text else ''}", at=self.at, vendor_code=code, vendor_text=text)

    def destroy(self) -> None:
        """End the use of the library in this process."""
        if self._destroy is not None:
            self._destroy()


def library_places() -> list[Path]:
    """Return the places where a vendor's installation may have the library; the last is left to the system's search."""
    homes = [Path(home) for home in (os.environ.get("NEUWARE_HOME"), os.environ.get("NEUWARE"), "/usr/local/neuware") if home]
    return [*(home / "lib64" / LIBRARY for home in homes), Path(LIBRARY)]


def open_library(at: str) -> ctypes.CDLL:
    """Return the vendor's library, from the first place that has it.

    Raises:
        DeviceError: it is not installed, or does not load.
    """
    return open_first(
        library_places(),
        called=f"the Cambricon library {LIBRARY}",
        at=at,
        hint=f'{INSTALL}; without a device, simulate one: --simulate cambricon, simulate=["cambricon"] or LANDBRIDGE_SIMULATE=cambricon',
    )
