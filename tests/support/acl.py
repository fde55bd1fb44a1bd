"""The C interface of libascendcl by ctypes, for tests of the simulator; shares nothing with the driver."""

from __future__ import annotations

import ctypes as C
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

P, Z, U32, I32, U64, I64, STR, INT = (
    C.c_void_p,
    C.c_size_t,
    C.c_uint32,
    C.c_int32,
    C.c_uint64,
    C.c_int64,
    C.c_char_p,
    C.c_int,
)

INVALID_PARAM, UNINITIALIZE, REPEAT_INITIALIZE, REPEAT_FINALIZE = 100000, 100001, 100002, 100037
INPUT_NOT_MATCH, OUTPUT_NOT_MATCH, NOT_DYNAMIC = 100017, 100018, 100019
RT_PARAM, DEVICE_ID, CONTEXT_NULL, STREAM_CONTEXT, MODEL_CONTEXT = 107000, 107001, 107002, 107003, 107004
MODEL_ID, DATA_SIZE, MODEL_ADDR = 145003, 145006, 145007
INPUT_LENGTH, NOT_A_GEAR, AIPP_NOT_EXIST = 145012, 145013, 145015
OUT_OF_MEMORY, GE_FAILURE, RT_FAILURE = 207001, 500002, 500003
SOC_VERSION, MODEL_EXECUTE = 507008, 507011
LOAD_MODEL, MODEL_PARTITION, WEIGHT_PARTITION = 545001, 545002, 545003
H2H, H2D, D2H, D2D = 0, 1, 2, 3

DTYPES = {0: "float32", 1: "float16", 2: "int8", 3: "int32", 4: "uint8", 6: "int16", 7: "uint16", 8: "uint32", 9: "int64", 12: "bool"}


class Dims(C.Structure):
    _fields_ = (("name", C.c_char * 128), ("count", Z), ("dims", I64 * 128))

    def shape(self) -> tuple[int, ...]:
        return tuple(self.dims[: self.count])


class Batch(C.Structure):
    _fields_ = (("count", Z), ("batch", U64 * 128))


class HW(C.Structure):
    _fields_ = (("count", Z), ("hw", (U64 * 2) * 128))


class AippDims(C.Structure):
    _fields_ = (("src", Dims), ("src_size", Z), ("out", Dims), ("out_size", Z))


class AippInfo(C.Structure):
    _fields_ = (
        ("input_format", INT),
        ("size", I32 * 2),
        ("crop", C.c_int8),
        ("crop_window", I32 * 4),
        ("resize", C.c_int8),
        ("resize_output", I32 * 2),
        ("padding", C.c_int8),
        ("padding_sizes", I32 * 4),
        ("switches", C.c_int8 * 4),
        ("matrix", I32 * 9),
        ("output_bias", I32 * 3),
        ("input_bias", I32 * 3),
        ("mean", I32 * 4),
        ("minimum", C.c_float * 4),
        ("var_reci", C.c_float * 4),
        ("src_format", INT),
        ("src_dtype", INT),
        ("src_ndim", Z),
        ("shape_count", Z),
        ("out_dims", AippDims * 128),
        ("extend", P),
    )


PROTOTYPES: dict[str, tuple[Any, list[Any]]] = {
    "aclInit": (INT, [STR]),
    "aclFinalize": (INT, []),
    "aclGetRecentErrMsg": (STR, []),
    "aclrtGetVersion": (INT, [C.POINTER(I32)] * 3),
    "aclrtGetSocName": (STR, []),
    "aclrtSetDevice": (INT, [I32]),
    "aclrtResetDevice": (INT, [I32]),
    "aclrtGetDevice": (INT, [C.POINTER(I32)]),
    "aclrtGetDeviceCount": (INT, [C.POINTER(U32)]),
    "aclrtGetRunMode": (INT, [C.POINTER(INT)]),
    "aclrtSynchronizeDevice": (INT, []),
    "aclrtCreateContext": (INT, [C.POINTER(P), I32]),
    "aclrtDestroyContext": (INT, [P]),
    "aclrtSetCurrentContext": (INT, [P]),
    "aclrtGetCurrentContext": (INT, [C.POINTER(P)]),
    "aclrtCreateStream": (INT, [C.POINTER(P)]),
    "aclrtDestroyStream": (INT, [P]),
    "aclrtSynchronizeStream": (INT, [P]),
    "aclrtSynchronizeStreamWithTimeout": (INT, [P, I32]),
    "aclrtMalloc": (INT, [C.POINTER(P), Z, INT]),
    "aclrtFree": (INT, [P]),
    "aclrtMallocHost": (INT, [C.POINTER(P), Z]),
    "aclrtFreeHost": (INT, [P]),
    "aclrtMemcpy": (INT, [P, Z, P, Z, INT]),
    "aclrtMemcpyAsync": (INT, [P, Z, P, Z, INT, P]),
    "aclrtMemset": (INT, [P, Z, I32, Z]),
    "aclrtMemsetAsync": (INT, [P, Z, I32, Z, P]),
    "aclrtGetMemInfo": (INT, [INT, C.POINTER(Z), C.POINTER(Z)]),
    "aclCreateDataBuffer": (P, [P, Z]),
    "aclDestroyDataBuffer": (INT, [P]),
    "aclGetDataBufferAddr": (P, [P]),
    "aclGetDataBufferSizeV2": (Z, [P]),
    "aclUpdateDataBuffer": (INT, [P, P, Z]),
    "aclDataTypeSize": (Z, [INT]),
    "aclCreateTensorDesc": (P, [INT, INT, C.POINTER(I64), INT]),
    "aclDestroyTensorDesc": (None, [P]),
    "aclGetTensorDescNumDims": (Z, [P]),
    "aclGetTensorDescDimV2": (INT, [P, Z, C.POINTER(I64)]),
    "aclmdlQuerySizeFromMem": (INT, [P, Z, C.POINTER(Z), C.POINTER(Z)]),
    "aclmdlLoadFromMem": (INT, [P, Z, C.POINTER(U32)]),
    "aclmdlLoadFromMemWithMem": (INT, [P, Z, C.POINTER(U32), P, Z, P, Z]),
    "aclmdlLoadFromFile": (INT, [STR, C.POINTER(U32)]),
    "aclmdlUnload": (INT, [U32]),
    "aclmdlCreateConfigHandle": (P, []),
    "aclmdlSetConfigOpt": (INT, [P, INT, P, Z]),
    "aclmdlLoadWithConfig": (INT, [P, C.POINTER(U32)]),
    "aclmdlDestroyConfigHandle": (INT, [P]),
    "aclmdlCreateDesc": (P, []),
    "aclmdlDestroyDesc": (INT, [P]),
    "aclmdlGetDesc": (INT, [P, U32]),
    "aclmdlGetDescFromMem": (INT, [P, P, Z]),
    "aclmdlGetNumInputs": (Z, [P]),
    "aclmdlGetNumOutputs": (Z, [P]),
    "aclmdlGetInputSizeByIndex": (Z, [P, Z]),
    "aclmdlGetOutputSizeByIndex": (Z, [P, Z]),
    "aclmdlGetInputNameByIndex": (STR, [P, Z]),
    "aclmdlGetOutputNameByIndex": (STR, [P, Z]),
    "aclmdlGetTensorRealName": (STR, [P, STR]),
    "aclmdlGetInputDims": (INT, [P, Z, C.POINTER(Dims)]),
    "aclmdlGetInputDimsV2": (INT, [P, Z, C.POINTER(Dims)]),
    "aclmdlGetOutputDims": (INT, [P, Z, C.POINTER(Dims)]),
    "aclmdlGetCurOutputDims": (INT, [P, Z, C.POINTER(Dims)]),
    "aclmdlGetInputFormat": (INT, [P, Z]),
    "aclmdlGetOutputFormat": (INT, [P, Z]),
    "aclmdlGetInputDataType": (INT, [P, Z]),
    "aclmdlGetOutputDataType": (INT, [P, Z]),
    "aclmdlGetInputIndexByName": (INT, [P, STR, C.POINTER(Z)]),
    "aclmdlGetOutputIndexByName": (INT, [P, STR, C.POINTER(Z)]),
    "aclmdlGetDynamicBatch": (INT, [P, C.POINTER(Batch)]),
    "aclmdlGetDynamicHW": (INT, [P, Z, C.POINTER(HW)]),
    "aclmdlGetInputDynamicGearCount": (INT, [P, Z, C.POINTER(Z)]),
    "aclmdlGetInputDynamicDims": (INT, [P, Z, C.POINTER(Dims), Z]),
    "aclmdlSetDynamicBatchSize": (INT, [U32, P, Z, U64]),
    "aclmdlSetDynamicHWSize": (INT, [U32, P, Z, U64, U64]),
    "aclmdlSetInputDynamicDims": (INT, [U32, P, Z, C.POINTER(Dims)]),
    "aclmdlGetAippType": (INT, [U32, Z, C.POINTER(INT), C.POINTER(Z)]),
    "aclmdlGetFirstAippInfo": (INT, [U32, Z, C.POINTER(AippInfo)]),
    "aclmdlCreateDataset": (P, []),
    "aclmdlDestroyDataset": (INT, [P]),
    "aclmdlAddDatasetBuffer": (INT, [P, P]),
    "aclmdlGetDatasetNumBuffers": (Z, [P]),
    "aclmdlGetDatasetBuffer": (P, [P, Z]),
    "aclmdlSetDatasetTensorDesc": (INT, [P, P, Z]),
    "aclmdlGetDatasetTensorDesc": (P, [P, Z]),
    "aclmdlExecute": (INT, [U32, P, P]),
    "aclmdlExecuteAsync": (INT, [U32, P, P, P]),
    "sim_live": (I64, [STR]),
    "sim_reset": (None, []),
    "sim_fault": (INT, [STR, INT, STR]),
    "sim_misuse": (STR, []),
    "sim_speed": (INT, [STR, C.c_double, C.c_double]),
}


class AclError(Exception):
    """An ACL function failed; ``code`` is what it returned, ``text`` what aclGetRecentErrMsg then said."""

    def __init__(self, function: str, code: int, text: str) -> None:
        super().__init__(f"{function}: {code}: {text}")
        self.code = code
        self.text = text


class Acl:
    """The library with prototypes set, and the steps that every test takes."""

    def __init__(self, path: Path) -> None:
        self.lib = C.CDLL(str(path))
        for name, (result, arguments) in PROTOTYPES.items():
            function = getattr(self.lib, name)
            function.restype, function.argtypes = result, arguments

    def code(self, function: str, *arguments: Any) -> int:
        """Call a function and return its code (or whatever it returns)."""
        return int(getattr(self.lib, function)(*arguments) or 0)

    def error(self, function: str, *arguments: Any) -> tuple[int, str]:
        """Call a function that must fail; return its code and the text."""
        code = self.code(function, *arguments)
        assert code != 0, f"{function} succeeded"
        return code, self.message()

    def message(self) -> str:
        return (self.lib.aclGetRecentErrMsg() or b"").decode(errors="replace")

    def __call__(self, function: str, *arguments: Any) -> None:
        code = self.code(function, *arguments)
        if code:
            raise AclError(function, code, self.message())

    def live(self) -> dict[str, int]:
        """The kinds of objects that live, with how many."""
        kinds = ["buffer", "host", "context", "stream", "model", "desc", "dataset", "databuffer", "tensordesc", "config", "bytes"]
        counts = {kind: int(self.lib.sim_live(kind.encode())) for kind in kinds}
        return {kind: count for kind, count in counts.items() if count}

    def malloc(self, nbytes: int) -> int:
        pointer = P()
        self("aclrtMalloc", C.byref(pointer), nbytes, 0)
        assert pointer.value is not None
        return pointer.value

    def upload(self, array: npt.NDArray[Any], room: int | None = None) -> int:
        array = np.ascontiguousarray(array)
        pointer = self.malloc(room or array.nbytes)
        self("aclrtMemcpy", pointer, room or array.nbytes, array.ctypes.data, array.nbytes, H2D)
        return pointer

    def download(self, pointer: int, nbytes: int) -> bytes:
        host = np.empty(nbytes, np.uint8)
        self("aclrtMemcpy", host.ctypes.data, nbytes, pointer, nbytes, D2H)
        return host.tobytes()

    def load(self, blob: bytes) -> int:
        model = U32()
        self("aclmdlLoadFromMem", blob, len(blob), C.byref(model))
        return model.value

    @contextmanager
    def desc(self, model: int) -> Iterator[int]:
        desc = self.lib.aclmdlCreateDesc()
        try:
            self("aclmdlGetDesc", desc, model)
            yield desc
        finally:
            self("aclmdlDestroyDesc", desc)

    def dims(self, function: str, desc: int, index: int) -> tuple[int, ...]:
        dims = Dims()
        self(function, desc, index, C.byref(dims))
        return dims.shape()

    @contextmanager
    def dataset(self, *buffers: tuple[int, int]) -> Iterator[int]:
        """A dataset over (address, nbytes) pairs."""
        dataset = self.lib.aclmdlCreateDataset()
        handles = [self.lib.aclCreateDataBuffer(address, nbytes) for address, nbytes in buffers]
        for handle in handles:
            self("aclmdlAddDatasetBuffer", dataset, handle)
        try:
            yield dataset
        finally:
            for handle in handles:
                self("aclDestroyDataBuffer", handle)
            self("aclmdlDestroyDataset", dataset)

    def run(self, model: int, inputs: list[npt.NDArray[Any]], gear: int | None = None) -> list[npt.NDArray[Any]]:
        """Upload, execute, download; with a gear, the outputs' leading extent is the gear's."""
        with self.desc(model) as desc:
            hidden = self.code("aclmdlGetNumInputs", desc) - 1 if gear is not None else None
            sizes = [self.code("aclmdlGetInputSizeByIndex", desc, i) for i in range(self.code("aclmdlGetNumInputs", desc))]
            arrays = [*inputs, *([np.zeros(1, np.int64)] if gear is not None else [])]
            ins = [(self.upload(array, size), size) for array, size in zip(arrays, sizes, strict=True)]
            count = self.code("aclmdlGetNumOutputs", desc)
            outs = [(self.malloc(size), size) for size in (self.code("aclmdlGetOutputSizeByIndex", desc, i) for i in range(count))]
            results = []
            try:
                with self.dataset(*ins) as inset, self.dataset(*outs) as outset:
                    if gear is not None:
                        self("aclmdlSetDynamicBatchSize", model, inset, hidden, gear)
                    self("aclmdlExecute", model, inset, outset)
                for i, (address, size) in enumerate(outs):
                    dtype = np.dtype(DTYPES[self.code("aclmdlGetOutputDataType", desc, i)])
                    shape = self.dims("aclmdlGetCurOutputDims", desc, i)
                    flat = np.frombuffer(self.download(address, size), dtype)
                    results.append(flat[: int(np.prod(shape))].reshape(shape))
            finally:
                for address, _ in [*ins, *outs]:
                    self("aclrtFree", address)
        return results


@contextmanager
def unloaded(acl: Acl, model: int) -> Iterator[int]:
    """Unload at the end, and expect that nothing but the context is left."""
    try:
        yield model
    finally:
        acl("aclmdlUnload", model)
    assert acl.live() == {"context": 1}
