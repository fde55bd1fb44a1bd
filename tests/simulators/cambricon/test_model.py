"""Models, functions, descriptors and calls in the Cambricon simulator."""

from __future__ import annotations

import ctypes as C
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from landbridge.simulators.cambricon.make_cambricon import make_cambricon
from support.cnrt import BUSY, FLOAT16, INVALID, INVALID_POINTER, IO, MLU, NO_EXIST, NODEV, NOT_READY, UNSUPPORTED, Cnrt, Loaded, params
from support.small_onnx import node, small_model

X = np.linspace(-3, 3, 24).astype("float16").reshape(1, 2, 3, 4)


def relu(*shape: int | str) -> Any:
    return small_model([node("Relu", "x", "y")], {"x": ("float32", shape)}, {"y": ("float32", shape)})


@pytest.fixture(scope="module")
def fixed() -> bytes:
    return make_cambricon(relu(1, 4, 2, 3), input_dtype="float16", output_dtype="float16")


@pytest.fixture(scope="module")
def mutable() -> bytes:
    model = relu("n", 4, "h", "w")
    return make_cambricon(model, tensor_dim_mutable=True, sizes={"h": 2, "w": 3}, input_dtype="float16", output_dtype="float16")


def describe(cnrt: Cnrt, *shapes: Sequence[int], dtype: int = FLOAT16) -> Any:
    descs = (C.c_void_p * len(shapes))()
    for index, shape in enumerate(shapes):
        desc = cnrt.make("cnrtCreateParamDesc")
        cnrt("cnrtSetShapeToParamDesc", desc, (C.c_int * len(shape))(*shape), len(shape))
        cnrt("cnrtSetDataTypeToParamDesc", desc, dtype)
        descs[index] = desc.value
    return descs


def test_a_call_is_done_when_its_queue_is_waited_for(cnrt: Cnrt, fixed: bytes) -> None:
    loaded, queue = Loaded(cnrt, fixed), cnrt.make("cnrtCreateQueue")
    context, x, y = loaded.context(0), cnrt.put(X), cnrt.put(np.zeros_like(X))
    cnrt("cnrtInvokeRuntimeContext", context, params(x, y), queue, None)
    cnrt("cnrtQueryQueue", queue, expect=NOT_READY)
    assert (cnrt.get(y, X) == 0).all()
    cnrt("cnrtDestroyQueue", queue, expect=BUSY)
    cnrt("cnrtDestroyRuntimeContext", context, expect=BUSY)
    cnrt("cnrtSyncQueue", queue)
    assert (cnrt.get(y, X) == np.maximum(X, 0)).all()
    cnrt("cnrtQueryQueue", queue)


def test_one_context_does_not_run_twice_at_once(cnrt: Cnrt, fixed: bytes) -> None:
    loaded, first, second = Loaded(cnrt, fixed), cnrt.make("cnrtCreateQueue"), cnrt.make("cnrtCreateQueue")
    context, x, y = loaded.context(0), cnrt.put(X), cnrt.put(X)
    for _ in range(2):
        cnrt("cnrtInvokeRuntimeContext", context, params(x, y), first, None)
    text = cnrt("cnrtInvokeRuntimeContext", context, params(x, y), second, None, expect=BUSY)
    assert text.endswith("waits in another queue; one context must not run twice at once")
    cnrt("cnrtSyncQueue", first)
    cnrt("cnrtInvokeRuntimeContext", context, params(x, y), second, None)
    cnrt("cnrtSyncDevice")


def test_models_die_after_their_functions_and_these_after_their_contexts(cnrt: Cnrt, fixed: bytes) -> None:
    loaded = Loaded(cnrt, fixed)
    context = loaded.context(0)
    assert "call cnrtDestroyFunction first" in cnrt("cnrtUnloadModel", loaded.model, expect=BUSY)
    assert "call cnrtDestroyRuntimeContext first" in cnrt("cnrtDestroyFunction", loaded.function, expect=BUSY)
    cnrt("cnrtDestroyRuntimeContext", context)
    loaded.close()
    assert [cnrt.live(kind) for kind in ("model", "function", "context")] == [0, 0, 0]
    cnrt("cnrtUnloadModel", loaded.model, expect=INVALID)


def test_what_a_function_says_of_itself(cnrt: Cnrt, mutable: bytes) -> None:
    loaded = Loaded(cnrt, mutable)
    sizes, dtypes, dims, n = C.POINTER(C.c_int64)(), C.POINTER(C.c_int)(), C.POINTER(C.c_int)(), C.c_int()
    cnrt("cnrtGetInputDataSize", C.byref(sizes), C.byref(n), loaded.function)
    assert (n.value, sizes[0]) == (1, 48)
    cnrt("cnrtGetOutputDataType", C.byref(dtypes), C.byref(n), loaded.function)
    assert (n.value, dtypes[0]) == (1, FLOAT16)
    cnrt("cnrtGetOutputDataShape", C.byref(dims), C.byref(n), 0, loaded.function)
    assert dims[: n.value] == [1, 2, 3, 4]
    assert cnrt.live("resource") == 1
    cnrt("cnrtReleaseInternalResource", dims)
    cnrt("cnrtReleaseInternalResource", dims, expect=INVALID_POINTER)
    cnrt("cnrtGetInputDataShape", C.byref(dims), C.byref(n), 1, loaded.function, expect=INVALID)
    supported = (C.c_int * 4)()
    cnrt("cnrtGetSupportedParamShapeByName", loaded.function, b"x", supported)
    assert list(supported) == [-1, -1, -1, 4]
    layout = C.c_int()
    cnrt("cnrtGetSupportedParamLayoutByName", loaded.function, b"y", C.byref(layout))
    assert layout.value == 0x0231
    cnrt("cnrtGetSupportedParamShapeByName", loaded.function, b"z", supported, expect=NO_EXIST)


def test_names_are_given_back(cnrt: Cnrt, fixed: bytes) -> None:
    loaded = Loaded(cnrt, fixed)
    ins, outs, n_in, n_out = C.POINTER(C.c_char_p)(), C.POINTER(C.c_char_p)(), C.c_int(), C.c_int()
    cnrt("cnrtGetInputAndOutputNamesFromFunction", loaded.function, C.byref(ins), C.byref(outs), C.byref(n_in), C.byref(n_out))
    assert (ins[: n_in.value], outs[: n_out.value]) == ([b"x"], [b"y"])
    assert cnrt.live("names") == 2
    cnrt("cnrtDestroyInputAndOutputNames", ins, outs, n_in, n_out)
    assert cnrt.live("names") == 0


def test_a_model_has_several_functions(cnrt: Cnrt) -> None:
    loaded = Loaded(cnrt, make_cambricon({"first": relu(1, 2), "second": relu(3, 4)}), symbol="second")
    number, symbol, length = C.c_int(), C.c_char_p(), C.c_int()
    cnrt("cnrtGetFunctionNumber", loaded.model, C.byref(number))
    cnrt("cnrtGetFunctionSymbol", loaded.model, 0, C.byref(symbol), C.byref(length))
    assert (number.value, symbol.value, length.value) == (2, b"first", 5)
    cnrt("cnrtGetFunctionSymbol", loaded.model, 2, C.byref(symbol), C.byref(length), expect=INVALID)
    function = cnrt.make("cnrtCreateFunction")
    assert "the model has no function 'third'" in cnrt("cnrtExtractFunction", C.byref(function), loaded.model, b"third", expect=NO_EXIST)


def test_a_context_needs_its_device_and_its_core(cnrt: Cnrt, fixed: bytes) -> None:
    loaded, queue = Loaded(cnrt, fixed), cnrt.make("cnrtCreateQueue")
    x, y = cnrt.put(X), cnrt.put(X)
    context = cnrt.make("cnrtCreateRuntimeContext", loaded.function, None)
    assert "call cnrtSetRuntimeContextDeviceId first" in cnrt("cnrtInitRuntimeContext", context, None, expect=INVALID)
    cnrt("cnrtInvokeRuntimeContext", context, params(x, y), queue, None, expect=INVALID)
    cnrt("cnrtSetRuntimeContextDeviceId", context, 1)
    cnrt("cnrtInitRuntimeContext", context, None)
    assert "the context is on device 1" in cnrt("cnrtInvokeRuntimeContext", context, params(x, y), queue, None, expect=NODEV)
    other = Loaded(cnrt, make_cambricon(relu(1, 2), core="MLU220"))
    context = cnrt.make("cnrtCreateRuntimeContext", other.function, None)
    cnrt("cnrtSetRuntimeContextDeviceId", context, 0)
    cnrt("cnrtInitRuntimeContext", context, None, expect=UNSUPPORTED)


def test_a_destroyed_context_and_a_freed_buffer_are_detected(cnrt: Cnrt, fixed: bytes) -> None:
    loaded, queue = Loaded(cnrt, fixed), cnrt.make("cnrtCreateQueue")
    context, x, y = loaded.context(0), cnrt.put(X), cnrt.put(X)
    small = cnrt.make("cnrtMalloc", C.c_size_t(47))
    assert "do not fit" in cnrt("cnrtInvokeRuntimeContext", context, params(x, small), queue, None, expect=INVALID_POINTER)
    host = X.ctypes.data_as(C.c_void_p)
    assert "is not device memory" in cnrt("cnrtInvokeRuntimeContext", context, params(host, y), queue, None, expect=INVALID_POINTER)
    cnrt("cnrtInvokeRuntimeContext", context, params(x, y), queue, None)
    cnrt("cnrtFree", y)
    assert "is not in any live device buffer" in cnrt("cnrtSyncQueue", queue, expect=MLU)
    cnrt("cnrtInvokeRuntimeContext", context, params(x, y), queue, None, expect=INVALID_POINTER)
    cnrt("cnrtDestroyRuntimeContext", context)
    assert "does not exist" in cnrt("cnrtInvokeRuntimeContext", context, params(x, x), queue, None, expect=INVALID)


def test_extents_are_chosen_by_descriptors(cnrt: Cnrt, mutable: bytes) -> None:
    loaded, queue = Loaded(cnrt, mutable), cnrt.make("cnrtCreateQueue")
    big = np.linspace(-1, 1, 3 * 5 * 2 * 4).astype("float16").reshape(3, 5, 2, 4)
    context, x, y = loaded.context(0), cnrt.put(big), cnrt.put(np.zeros_like(big))
    descs = describe(cnrt, big.shape, [])
    cnrt("cnrtInferFunctionOutputShape", loaded.function, 1, descs, 1, C.byref(descs, C.sizeof(C.c_void_p)))
    dims, n = C.POINTER(C.c_int)(), C.c_int()
    cnrt("cnrtGetShapeFromParamDesc", C.c_void_p(descs[1]), C.byref(dims), C.byref(n))
    assert dims[: n.value] == list(big.shape)
    cnrt("cnrtInvokeRuntimeContext_V2", context, descs, params(x, y), queue, None)
    cnrt("cnrtSyncQueue", queue)
    assert (cnrt.get(y, big) == np.maximum(big, 0)).all()


@pytest.mark.parametrize(
    ("shape", "dtype", "words"),
    [
        ((1, 2, 3), FLOAT16, "input 'x' has rank 3, the function takes 4"),
        ((1, 2, 3, 5), FLOAT16, "input 'x' has extent 5 at 3, the function takes 4"),
        ((1, 0, 3, 4), FLOAT16, "input 'x' has extent 0 at 1, the function takes -1"),
        ((1, 2, 3, 4), 0x13, "input 'x' has type 0x13, the function takes 0x12"),
    ],
)
def test_descriptors_that_do_not_fit(cnrt: Cnrt, mutable: bytes, shape: tuple[int, ...], dtype: int, words: str) -> None:
    loaded = Loaded(cnrt, mutable)
    descs = describe(cnrt, shape, shape, dtype=dtype)
    text = cnrt("cnrtInferFunctionOutputShape", loaded.function, 1, descs, 1, C.byref(descs, C.sizeof(C.c_void_p)), expect=INVALID)
    assert text.endswith(words)


def test_an_output_of_another_shape_than_the_call_says(cnrt: Cnrt, mutable: bytes) -> None:
    loaded, queue = Loaded(cnrt, mutable), cnrt.make("cnrtCreateQueue")
    context, x = loaded.context(0), cnrt.put(np.zeros(48, "float16"))
    cnrt("cnrtInvokeRuntimeContext_V2", context, describe(cnrt, (2, 2, 3, 4), (1, 4, 3, 4)), params(x, x), queue, None)
    assert "output 'y' has another shape than the call says" in cnrt("cnrtSyncQueue", queue, expect=INVALID)


def test_a_file_tells_its_length(cnrt: Cnrt, fixed: bytes, tmp_path: Path) -> None:
    size = C.c_int()
    file = tmp_path / "net.cambricon"
    file.write_bytes(fixed[:100])
    cnrt("cnrtGetModelSize", str(file).encode(), C.byref(size))
    assert size.value == len(fixed)
    cnrt("cnrtGetModelSize", b"/nowhere", C.byref(size), expect=IO)
    file.write_bytes(b"something else")
    cnrt("cnrtGetModelSize", str(file).encode(), C.byref(size), expect=UNSUPPORTED)


def test_other_bytes_are_no_model(cnrt: Cnrt, fixed: bytes) -> None:
    model = C.c_void_p()
    text = cnrt("cnrtLoadModelFromMem", C.byref(model), C.create_string_buffer(b"x" * 64), expect=UNSUPPORTED)
    assert text.endswith("this is no simulated offline model; the format of real ones is not public")
    cnrt("cnrtLoadModelFromMem", C.byref(model), None, expect=INVALID_POINTER)


def test_every_damaged_model_is_refused_and_leaves_nothing(cnrt: Cnrt, fixed: bytes) -> None:
    """Bytes of the structure are changed one by one; whatever loads is whole, since the graph is checked too."""
    model, refused = C.c_void_p(), 0
    for position in range(32, 150):
        for value in (0, 0x7F, 0xFF):
            damaged = bytearray(fixed)
            damaged[position] = value
            if 40 <= position < 48:
                continue  # the length: nothing protects from a wrong one
            buffer = C.create_string_buffer(bytes(damaged), len(fixed))
            if cnrt.lib.cnrtLoadModelFromMem(C.byref(model), buffer) == 0:
                cnrt("cnrtUnloadModel", model)
            else:
                refused += 1
    assert refused > 100
    assert cnrt.live("model") == 0
