"""The C interface of libascendcl, as far as the driver uses it, by ctypes.

Functions are resolved one by one, because releases differ in what they have: what is missing is an error only where it is
needed. A call that fails becomes a `DeviceError` with the code, its name and the vendor's own words.

Source: acl_base.h, acl_rt.h and acl_mdl.h of ACL 1.1 to 1.8.
"""

from __future__ import annotations

import ctypes
import os
from ctypes import POINTER, c_char, c_char_p, c_int, c_int32, c_int64, c_size_t, c_uint32, c_uint64, c_void_p
from pathlib import Path
from typing import Any

from landbridge.runtime.errors import DeviceError, DeviceLost
from landbridge.runtime.vendors.shared_library import open_first

SUCCESS = 0
REPEAT_INITIALIZE = 100002

MEM_HUGE_FIRST = 0
"""``aclrtMemMallocPolicy``: large pages where there are any."""

HOST_TO_DEVICE, DEVICE_TO_HOST, DEVICE_TO_DEVICE = 1, 2, 3
"""``aclrtMemcpyKind``"""

RUN_ON_DEVICE = 0
"""``aclrtRunMode``: this process itself runs on the device, so that all memory is device memory."""

CONFIG_LOAD_TYPE, CONFIG_MEM_ADDRESS, CONFIG_MEM_SIZE = 1, 3, 4
CONFIG_WEIGHT_ADDRESS, CONFIG_WEIGHT_SIZE, CONFIG_WORKSPACE_ADDRESS, CONFIG_WORKSPACE_SIZE = 5, 6, 7, 8
"""``aclmdlConfigAttr``"""

LOAD_FROM_MEM_WITH_MEM = 4
"""A load type: the file is in memory, and the caller gives the model's workspace and weights memory."""

ALL_INPUTS = c_size_t(-1).value
"""The "input -1" of functions that are about the whole model."""

LIBRARY = "libascendcl.so"

_ERROR_NAMES = {
    100000: "INVALID_PARAM",
    100001: "UNINITIALIZE",
    100002: "REPEAT_INITIALIZE",
    100011: "INVALID_MODEL_ID",
    100012: "DESERIALIZE_MODEL",
    100013: "PARSE_MODEL",
    100014: "READ_MODEL_FAILURE",
    100015: "MODEL_SIZE_INVALID",
    100017: "MODEL_INPUT_NOT_MATCH",
    100018: "MODEL_OUTPUT_NOT_MATCH",
    100019: "MODEL_NOT_DYNAMIC",
    100037: "REPEAT_FINALIZE",
    100038: "NOT_STATIC_AIPP",
    100039: "COMPILING_STUB_MODE",
    107000: "RT_PARAM_INVALID",
    107001: "RT_INVALID_DEVICEID",
    107002: "RT_CONTEXT_NULL",
    107003: "RT_STREAM_CONTEXT",
    107004: "RT_MODEL_CONTEXT",
    145003: "GE_EXEC_MODEL_ID_INVALID",
    145006: "GE_EXEC_MODEL_DATA_SIZE_INVALID",
    145007: "GE_EXEC_MODEL_ADDR_INVALID",
    145009: "GE_EXEC_LOAD_MODEL_REPEATED",
    145012: "GE_DYNAMIC_INPUT_LENGTH_INVALID",
    145013: "GE_DYNAMIC_BATCH_SIZE_INVALID",
    145015: "GE_AIPP_NOT_EXIST",
    145016: "GE_AIPP_MODE_INVALID",
    145021: "GE_SHAPE_INVALID",
    145022: "GE_DATATYPE_INVALID",
    200000: "BAD_ALLOC",
    200001: "API_NOT_SUPPORT",
    200002: "INVALID_DEVICE",
    200003: "MEMORY_ADDRESS_UNALIGNED",
    207000: "RT_FEATURE_NOT_SUPPORT",
    207001: "RT_MEMORY_ALLOCATION",
    207004: "RT_NO_DEVICE",
    245000: "GE_MEMORY_ALLOCATION",
    300000: "STORAGE_OVER_LIMIT",
    500002: "GE_FAILURE",
    500003: "RT_FAILURE",
    500004: "DRV_FAILURE",
    507008: "RT_SOC_VERSION",
    507010: "RT_LOST_HEARTBEAT",
    507011: "RT_MODEL_EXECUTE",
    507013: "RT_SYS_DMA",
    507014: "RT_AICORE_TIMEOUT",
    507015: "RT_AICORE_EXCEPTION",
    507016: "RT_AICORE_TRAP_EXCEPTION",
    507017: "RT_AICPU_TIMEOUT",
    507018: "RT_AICPU_EXCEPTION",
    507901: "RT_SOCKET_CLOSE",
    545001: "GE_LOAD_MODEL",
    545002: "GE_LOAD_MODEL_PARTITION_FAILED",
    545003: "GE_LOAD_WEIGHT_PARTITION_FAILED",
    545004: "GE_LOAD_TASK_PARTITION_FAILED",
    545005: "GE_LOAD_KERNEL_PARTITION_FAILED",
}

LOST = frozenset({507010, 507013, 507014, 507015, 507016, 507017, 507018, 507901})
"""Codes after which a device is of no use to this process: its scheduler's heartbeat is lost, its DMA failed, a core threw or timed out,
the connection to its host is closed. (507011 is not one of them: a model also fails so for its arguments.)"""

_ERROR_KINDS = {1: "wrong use", 2: "out of a resource", 3: "over a limit", 5: "internal error"}
"""What the first digit of a code means."""


class IODims(ctypes.Structure):
    """The structure ``aclmdlIODims``."""

    name: bytes
    dimCount: int  # noqa: N815 - the name in the interface
    dims: Any
    _fields_ = (("name", c_char * 128), ("dimCount", c_size_t), ("dims", c_int64 * 128))


_PROTOTYPES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "aclInit": (c_int, (c_char_p,)),
    "aclFinalize": (c_int, ()),
    "aclGetRecentErrMsg": (c_char_p, ()),
    "aclrtGetVersion": (c_int, (POINTER(c_int32),) * 3),
    "aclrtGetSocName": (c_char_p, ()),
    "aclrtGetDeviceCount": (c_int, (POINTER(c_uint32),)),
    "aclrtSetDevice": (c_int, (c_int32,)),
    "aclrtResetDevice": (c_int, (c_int32,)),
    "aclrtGetRunMode": (c_int, (POINTER(c_int),)),
    "aclrtCreateContext": (c_int, (POINTER(c_void_p), c_int32)),
    "aclrtDestroyContext": (c_int, (c_void_p,)),
    "aclrtSetCurrentContext": (c_int, (c_void_p,)),
    "aclrtMalloc": (c_int, (POINTER(c_void_p), c_size_t, c_int)),
    "aclrtFree": (c_int, (c_void_p,)),
    "aclrtMallocHost": (c_int, (POINTER(c_void_p), c_size_t)),
    "aclrtFreeHost": (c_int, (c_void_p,)),
    "aclrtCreateStream": (c_int, (POINTER(c_void_p),)),
    "aclrtDestroyStream": (c_int, (c_void_p,)),
    "aclrtSynchronizeStream": (c_int, (c_void_p,)),
    "aclrtMemcpyAsync": (c_int, (c_void_p, c_size_t, c_void_p, c_size_t, c_int, c_void_p)),
    "aclrtMemset": (c_int, (c_void_p, c_size_t, c_int32, c_size_t)),
    "aclrtMemcpy": (c_int, (c_void_p, c_size_t, c_void_p, c_size_t, c_int)),
    "aclrtGetMemInfo": (c_int, (c_int, POINTER(c_size_t), POINTER(c_size_t))),
    "aclCreateDataBuffer": (c_void_p, (c_void_p, c_size_t)),
    "aclDestroyDataBuffer": (c_int, (c_void_p,)),
    "aclmdlQuerySizeFromMem": (c_int, (c_void_p, c_size_t, POINTER(c_size_t), POINTER(c_size_t))),
    "aclmdlLoadFromMemWithMem": (c_int, (c_void_p, c_size_t, POINTER(c_uint32), c_void_p, c_size_t, c_void_p, c_size_t)),
    "aclmdlCreateConfigHandle": (c_void_p, ()),
    "aclmdlSetConfigOpt": (c_int, (c_void_p, c_int, c_void_p, c_size_t)),
    "aclmdlLoadWithConfig": (c_int, (c_void_p, POINTER(c_uint32))),
    "aclmdlDestroyConfigHandle": (c_int, (c_void_p,)),
    "aclmdlUnload": (c_int, (c_uint32,)),
    "aclmdlCreateDesc": (c_void_p, ()),
    "aclmdlDestroyDesc": (c_int, (c_void_p,)),
    "aclmdlGetDesc": (c_int, (c_void_p, c_uint32)),
    "aclmdlGetNumInputs": (c_size_t, (c_void_p,)),
    "aclmdlGetNumOutputs": (c_size_t, (c_void_p,)),
    "aclmdlGetInputSizeByIndex": (c_size_t, (c_void_p, c_size_t)),
    "aclmdlGetOutputSizeByIndex": (c_size_t, (c_void_p, c_size_t)),
    "aclmdlGetInputNameByIndex": (c_char_p, (c_void_p, c_size_t)),
    "aclmdlGetInputDims": (c_int, (c_void_p, c_size_t, POINTER(IODims))),
    "aclmdlGetInputDimsV2": (c_int, (c_void_p, c_size_t, POINTER(IODims))),
    "aclmdlGetOutputDims": (c_int, (c_void_p, c_size_t, POINTER(IODims))),
    "aclmdlGetInputDataType": (c_int, (c_void_p, c_size_t)),
    "aclmdlGetOutputDataType": (c_int, (c_void_p, c_size_t)),
    "aclmdlGetInputIndexByName": (c_int, (c_void_p, c_char_p, POINTER(c_size_t))),
    "aclmdlSetDynamicBatchSize": (c_int, (c_uint32, c_void_p, c_size_t, c_uint64)),
    "aclmdlSetDynamicHWSize": (c_int, (c_uint32, c_void_p, c_size_t, c_uint64, c_uint64)),
    "aclmdlSetInputDynamicDims": (c_int, (c_uint32, c_void_p, c_size_t, POINTER(IODims))),
    "aclmdlCreateDataset": (c_void_p, ()),
    "aclmdlDestroyDataset": (c_int, (c_void_p,)),
    "aclmdlAddDatasetBuffer": (c_int, (c_void_p, c_void_p)),
    "aclCreateTensorDesc": (c_void_p, (c_int, c_int, POINTER(c_int64), c_int)),
    "aclDestroyTensorDesc": (None, (c_void_p,)),
    "aclmdlSetDatasetTensorDesc": (c_int, (c_void_p, c_void_p, c_size_t)),
    "aclmdlGetDatasetTensorDesc": (c_void_p, (c_void_p, c_size_t)),
    "aclGetTensorDescNumDims": (c_size_t, (c_void_p,)),
    "aclGetTensorDescDimV2": (c_int, (c_void_p, c_size_t, POINTER(c_int64))),
    "aclmdlExecute": (c_int, (c_uint32, c_void_p, c_void_p)),
}


class Acl:
    """A loaded libascendcl.

    Attributes:
        at: what errors are about, such as "atlas0" or "the Ascend simulator".
    """

    def __init__(self, library: ctypes.CDLL, at: str) -> None:
        """Resolve the functions that ``library`` has."""
        self.at = at
        self._functions: dict[str, Any] = {}
        for name, (result, arguments) in _PROTOTYPES.items():
            function = getattr(library, name, None)
            if function is not None:
                function.restype, function.argtypes = result, arguments
                self._functions[name] = function

    def has(self, name: str) -> bool:
        """Return whether this release has the function ``name``."""
        return name in self._functions

    def function(self, name: str) -> Any:
        """Return a function as ctypes sees it.

        Raises:
            DeviceError: this release does not have it.
        """
        try:
            return self._functions[name]
        except KeyError:
            raise DeviceError(
                f"this release of {LIBRARY} has no {name}", at=self.at, hint="install a newer CANN or Ascend driver", code="LB4014"
            ) from None

    def get(self, name: str, *arguments: Any) -> Any:
        """Call a function that returns a value, not a code."""
        return self.function(name)(*arguments)

    def create(self, name: str, *arguments: Any) -> int:
        """Call a function that returns a handle.

        Raises:
            DeviceError: it returned NULL.
        """
        handle = self.function(name)(*arguments)
        if not handle:
            text = self.recent_text()
            raise DeviceError(f"{name} gave no handle{_clause(text)}", at=self.at, vendor_text=text)
        return int(handle)

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function that returns a code.

        Raises:
            DeviceError: the code is not success.
        """
        code = self.function(name)(*arguments)
        if code != SUCCESS:
            raise self.failure(name, code)

    def failure(self, name: str, code: int) -> DeviceError:
        """Return the error for a ``code`` that ``name`` just returned on this thread: a `DeviceLost` where the code is one of `LOST`."""
        text = self.recent_text()
        kind = DeviceLost if code in LOST else DeviceError
        return kind(f"{name} failed with {describe_code(code)}{_clause(text)}", at=self.at, vendor_code=code, vendor_text=text)

    def recent_text(self) -> str:
        """Return and clear the vendor's words about the last failure on this thread, "" where the release has none."""
        if not self.has("aclGetRecentErrMsg"):
            return ""
        text: bytes | None = self._functions["aclGetRecentErrMsg"]()
        return (text or b"").decode("utf-8", "replace").strip()


def describe_code(code: int) -> str:
    """Return an error code with its name, such as ``error 507011 (RT_MODEL_EXECUTE)``."""
    return f"error {code} ({_ERROR_NAMES.get(code) or _ERROR_KINDS.get(code // 100000, 'unknown')})"


def library_places() -> list[Path]:
    """Return the places where a vendor's installation may have the library; the last is left to the system's search."""
    places = [
        *(Path(home) / "lib64" for home in (os.environ.get("ASCEND_HOME_PATH"), os.environ.get("ASCEND_TOOLKIT_HOME")) if home),
        Path("/usr/local/Ascend/ascend-toolkit/latest/lib64"),
        Path("/usr/local/Ascend/nnrt/latest/lib64"),
        Path("/usr/local/Ascend/acllib/lib64"),
    ]
    return [*(place / LIBRARY for place in places), Path(LIBRARY)]


def open_library(at: str) -> ctypes.CDLL:
    """Return the vendor's library, from the first place that has it.

    Raises:
        DeviceError: it is not installed, or does not load.
    """
    return open_first(
        library_places(),
        called=f"the Ascend library {LIBRARY}",
        at=at,
        hint="install CANN (or its nnrt package) and run `source /usr/local/Ascend/ascend-toolkit/set_env.sh` before starting; "
        'without a device, simulate one: --simulate atlas, simulate=["atlas"] or LANDBRIDGE_SIMULATE=atlas',
    )


def _clause(text: str) -> str:
    return f": {text}" if text else ""
