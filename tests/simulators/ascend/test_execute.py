"""Executing through the C interface: contexts and threads, datasets, wrong arguments, and the rules of setting a gear."""

from __future__ import annotations

import ctypes as C
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from support.acl import (
    GE_FAILURE,
    INPUT_LENGTH,
    INPUT_NOT_MATCH,
    INVALID_PARAM,
    MODEL_CONTEXT,
    MODEL_EXECUTE,
    MODEL_ID,
    NOT_A_GEAR,
    NOT_DYNAMIC,
    OUTPUT_NOT_MATCH,
    RT_PARAM,
    STREAM_CONTEXT,
    Acl,
    AclError,
    unloaded,
)
from support.ge_graph import Array, GeGraph, Value, small_model

# --- contexts and threads


def test_load_execute_and_unload_are_in_one_context(acl: Acl) -> None:
    model, context = acl.load(small_model()), C.c_void_p()
    pointer = acl.malloc(24)
    acl("aclrtCreateContext", C.byref(context), 0)
    with acl.dataset((pointer, 24)) as dataset:
        code, text = acl.error("aclmdlExecute", model, dataset, dataset)
        assert code == MODEL_CONTEXT
        assert f"model {model} is not in current ctx; load, execute and unload it in one context" in text
    assert acl.code("aclmdlUnload", model) == MODEL_CONTEXT
    acl("aclrtDestroyContext", context)
    acl("aclrtSetDevice", 0)
    acl("aclrtFree", pointer)
    acl("aclmdlUnload", model)
    assert acl.code("aclmdlUnload", model) == MODEL_ID


def test_a_thread_may_execute_in_the_context_of_another(acl: Acl) -> None:
    model, context = acl.load(small_model()), C.c_void_p()
    acl("aclrtGetCurrentContext", C.byref(context))
    results: list[Array] = []

    def work() -> None:
        acl("aclrtSetCurrentContext", context)
        results.extend(acl.run(model, [np.array([[-1, 2, -3], [4, 5, -6]], np.float32)]))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert results[0].tolist() == [[0, 2, 0], [4, 5, 0]]
    acl("aclmdlUnload", model)


def slow_model() -> tuple[bytes, Array]:
    """A matrix product that takes some tens of milliseconds."""
    graph = GeGraph()
    x = graph.data("x", "float32", (400, 400))
    value = x
    for i in range(4):
        value = graph.op("MatMulV2", [value, x], Value(f"y{i}", "float32", (400, 400)))
    graph.output(value)
    return graph.to_bytes(), np.eye(400, dtype=np.float32)


def test_one_model_on_two_threads_at_once_is_reported_and_harms_nothing(acl: Acl) -> None:
    blob, eye = slow_model()
    model = acl.load(blob)
    outcomes: list[str] = []

    def work() -> None:
        acl("aclrtSetDevice", 0)
        for _ in range(4):
            try:
                (found,) = acl.run(model, [eye])
                np.testing.assert_array_equal(found, eye)
                outcomes.append("right")
            except AclError as error:
                outcomes.append(error.text.split("Reason: ")[1].splitlines()[0])

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 8
    assert set(outcomes) <= {"right", f"model {model} is executing on another thread; one model must not run twice at once"}
    assert "right" in outcomes
    acl("aclmdlUnload", model)
    assert acl.live() == {"context": 1}


# --- datasets


def test_datasets_hold_buffers_that_the_caller_owns(acl: Acl) -> None:
    dataset = acl.lib.aclmdlCreateDataset()
    buffers = [acl.lib.aclCreateDataBuffer(64 * i, i) for i in range(20)]
    for buffer in buffers:
        acl("aclmdlAddDatasetBuffer", dataset, buffer)
    assert acl.code("aclmdlGetDatasetNumBuffers", dataset) == 20
    assert [acl.lib.aclmdlGetDatasetBuffer(dataset, i) for i in range(20)] == buffers
    assert acl.lib.aclmdlGetDatasetBuffer(dataset, 20) is None
    assert [acl.lib.aclGetDataBufferAddr(buffer) for buffer in buffers[1:]] == [64 * i for i in range(1, 20)]
    acl("aclUpdateDataBuffer", buffers[3], 4096, 99)
    assert (acl.lib.aclGetDataBufferAddr(buffers[3]), acl.code("aclGetDataBufferSizeV2", buffers[3])) == (4096, 99)
    acl("aclmdlDestroyDataset", dataset)
    assert acl.live() == {"context": 1, "databuffer": 20}
    for buffer in buffers:
        acl("aclDestroyDataBuffer", buffer)
    assert acl.code("aclDestroyDataBuffer", buffers[0]) == INVALID_PARAM
    assert acl.code("aclmdlDestroyDataset", dataset) == INVALID_PARAM
    assert acl.code("aclmdlAddDatasetBuffer", dataset, buffers[0]) == INVALID_PARAM


def test_a_dataset_copies_tensor_descriptors(acl: Acl) -> None:
    dims = (C.c_int64 * 2)(5, 7)
    desc, size = acl.lib.aclCreateTensorDesc(0, 2, dims, 2), C.c_int64()
    buffer = acl.lib.aclCreateDataBuffer(64, 4)
    dataset = acl.lib.aclmdlCreateDataset()
    acl("aclmdlAddDatasetBuffer", dataset, buffer)
    assert acl.lib.aclmdlGetDatasetTensorDesc(dataset, 0) is None
    acl("aclmdlSetDatasetTensorDesc", dataset, desc, 0)
    assert acl.code("aclmdlSetDatasetTensorDesc", dataset, desc, 1) == INVALID_PARAM
    acl.lib.aclDestroyTensorDesc(desc)
    kept = acl.lib.aclmdlGetDatasetTensorDesc(dataset, 0)
    assert acl.code("aclGetTensorDescNumDims", kept) == 2
    acl("aclGetTensorDescDimV2", kept, 1, C.byref(size))
    assert size.value == 7
    acl("aclDestroyDataBuffer", buffer)
    acl("aclmdlDestroyDataset", dataset)
    assert acl.live() == {"context": 1}


@pytest.mark.parametrize(("dtype", "size"), [(0, 4), (1, 2), (2, 1), (9, 8), (11, 8), (99, 0)])
def test_sizes_of_types(acl: Acl, dtype: int, size: int) -> None:
    assert acl.code("aclDataTypeSize", dtype) == size


# --- executing with wrong arguments


def test_buffers_are_checked_against_the_model(acl: Acl) -> None:
    with unloaded(acl, acl.load(small_model())) as model:
        a, b = acl.malloc(64), acl.malloc(24)
        _keep = np.zeros(24, np.uint8)
        good: tuple[int, int] = (b, 24)
        cases: list[tuple[list[tuple[int, int]], list[tuple[int, int]], int, str]] = [
            ([], [good], INPUT_NOT_MATCH, f"the dataset has 0 buffers, model {model} has 1 inputs"),
            ([(a, 24), (a, 24)], [good], INPUT_NOT_MATCH, f"the dataset has 2 buffers, model {model} has 1 inputs"),
            ([(a, 23)], [good], INPUT_NOT_MATCH, "the data buffer of 'x' (index 0) has 23 bytes, the model needs 24"),
            ([(a, 65)], [good], INPUT_NOT_MATCH, "65 bytes from offset 0 on do not fit in the device buffer of 64 bytes"),
            ([(a + 48, 24)], [good], INPUT_NOT_MATCH, "24 bytes from offset 48 on do not fit in the device buffer of 64 bytes"),
            ([(_keep.ctypes.data, 24)], [good], INPUT_NOT_MATCH, "is not device memory"),
            ([(a, 24)], [], OUTPUT_NOT_MATCH, f"the dataset has 0 buffers, model {model} has 1 outputs"),
            ([(a, 24)], [(b, 20)], OUTPUT_NOT_MATCH, "the data buffer of 'output_0_y_0' (index 0) has 20 bytes, the model needs 24"),
        ]
        for ins, outs, expected, says in cases:
            with acl.dataset(*ins) as inputs, acl.dataset(*outs) as outputs:
                code, text = acl.error("aclmdlExecute", model, inputs, outputs)
            assert (code, says in text) == (expected, True), text
        with acl.dataset((a, 64)) as inputs, acl.dataset(good) as outputs:
            acl("aclmdlExecute", model, inputs, outputs)
            assert acl.code("aclmdlExecute", model, None, outputs) == INVALID_PARAM
            assert acl.code("aclmdlExecute", model + 1, inputs, outputs) == MODEL_ID
        acl("aclrtFree", a)
        acl("aclrtFree", b)


def test_a_data_buffer_destroyed_under_its_dataset(acl: Acl) -> None:
    with unloaded(acl, acl.load(small_model())) as model:
        pointer = acl.malloc(24)
        dataset, buffer = acl.lib.aclmdlCreateDataset(), acl.lib.aclCreateDataBuffer(pointer, 24)
        acl("aclmdlAddDatasetBuffer", dataset, buffer)
        acl("aclDestroyDataBuffer", buffer)
        code, text = acl.error("aclmdlExecute", model, dataset, dataset)
        assert (code, "the data buffer of 'x' (index 0) was destroyed" in text) == (INPUT_NOT_MATCH, True)
        acl("aclmdlDestroyDataset", dataset)
        acl("aclrtFree", pointer)


def test_execute_on_a_stream(acl: Acl) -> None:
    stream, other = C.c_void_p(), C.c_void_p()
    acl("aclrtCreateStream", C.byref(stream))
    with unloaded_stream(acl, stream), acl.dataset((acl.upload(np.full(6, -1, np.float32)), 24)) as dataset:
        model = acl.load(small_model())
        acl("aclmdlExecuteAsync", model, dataset, dataset, stream)
        acl("aclrtSynchronizeStream", stream)
        pointer = acl.lib.aclGetDataBufferAddr(acl.lib.aclmdlGetDatasetBuffer(dataset, 0))
        assert acl.download(pointer, 24) == bytes(24)
        acl("aclrtCreateContext", C.byref(other), 0)
        acl("aclrtSetCurrentContext", other)
        assert acl.code("aclmdlExecuteAsync", model, dataset, dataset, stream) == STREAM_CONTEXT
        acl("aclrtDestroyContext", other)
        acl("aclrtSetDevice", 0)
        assert acl.code("aclmdlExecuteAsync", model, dataset, dataset, 12345) == RT_PARAM
        acl("aclrtFree", pointer)
        acl("aclmdlUnload", model)
    assert acl.live() == {"context": 1}


@contextmanager
def unloaded_stream(acl: Acl, stream: Any) -> Iterator[None]:
    yield
    acl("aclrtDestroyStream", stream)


def test_injected_faults_of_models(acl: Acl) -> None:
    acl.lib.sim_fault(b"aclmdlLoadFromMem", 2, b"fail")
    acl.lib.sim_fault(b"aclmdlExecute", 2, b"fail")
    x = np.zeros((2, 3), np.float32)
    model = acl.load(small_model())
    with pytest.raises(AclError, match=rf"aclmdlLoadFromMem: {GE_FAILURE}: .*injected fault"):
        acl.load(small_model())
    acl.run(model, [x])
    with pytest.raises(AclError, match=rf"aclmdlExecute: {MODEL_EXECUTE}: .*injected fault"):
        acl.run(model, [x])
    acl.run(model, [x])
    acl("aclmdlUnload", model)
    assert acl.live() == {"context": 1}


# --- gears


def test_the_rules_of_setting_a_batch(acl: Acl, dynamic_om: bytes) -> None:
    with unloaded(acl, acl.load(dynamic_om)) as model:
        x, hidden, short = acl.malloc(24576), acl.malloc(8), acl.malloc(4)
        with acl.dataset((x, 24576)) as early:
            code, text = acl.error("aclmdlSetDynamicBatchSize", model, early, 1, 4)
            assert code == INVALID_PARAM
            assert "the dataset has 1 buffers, none at index 1; add the buffer of input 'ascend_mbatch_shape_data' first" in text
        with acl.dataset((x, 24576), (short, 4)) as dataset:
            assert acl.code("aclmdlSetDynamicBatchSize", model, dataset, 1, 4) == INPUT_LENGTH
        with acl.dataset((x, 24576), (hidden, 8)) as dataset:
            code, text = acl.error("aclmdlSetDynamicBatchSize", model, dataset, 0, 4)
            assert (code, "index 0 is not that of input 'ascend_mbatch_shape_data', which is 1" in text) == (INVALID_PARAM, True)
            for batch in (0, 3, 16):
                code, text = acl.error("aclmdlSetDynamicBatchSize", model, dataset, 1, batch)
                assert (code, f"batch size {batch} is not a gear of model {model}; gears are 1, 2, 4, 8" in text) == (NOT_A_GEAR, True)
            code, text = acl.error("aclmdlSetDynamicHWSize", model, dataset, 1, 16, 16)
            assert (code, f"the gears of model {model} are set by aclmdlSetDynamicBatchSize" in text) == (INVALID_PARAM, True)
            acl("aclmdlSetDynamicBatchSize", model, dataset, 1, 4)
            assert np.frombuffer(acl.download(hidden, 8), np.int64).tolist() == [4]
        for address in (x, hidden, short):
            acl("aclrtFree", address)


def test_executing_without_a_gear_is_an_error(acl: Acl, dynamic_om: bytes) -> None:
    with unloaded(acl, acl.load(dynamic_om)) as model:
        x, hidden, y = acl.malloc(24576), acl.malloc(8), acl.malloc(106624)
        with acl.dataset((x, 24576), (hidden, 8)) as inputs, acl.dataset((y, 106624)) as outputs:
            code, text = acl.error("aclmdlExecute", model, inputs, outputs)
            assert code == NOT_A_GEAR
            assert (
                f"input 'ascend_mbatch_shape_data' holds no gear of model {model} (1, 2, 4, 8); set one after its buffer is added" in text
            )
            acl("aclmdlSetDynamicBatchSize", model, inputs, 1, 8)
            acl("aclmdlExecute", model, inputs, outputs)
        with acl.dataset((x, 24576), (hidden, 8)) as inputs, acl.dataset((y, 106620)) as outputs:
            acl("aclmdlSetDynamicBatchSize", model, inputs, 1, 1)
            code, text = acl.error("aclmdlExecute", model, inputs, outputs)
            assert (code, "has 106620 bytes, the model needs 106624" in text) == (OUTPUT_NOT_MATCH, True)
        with acl.dataset((x, 3071), (hidden, 8)) as inputs, acl.dataset((y, 106624)) as outputs:
            code, text = acl.error("aclmdlExecute", model, inputs, outputs)
            assert (code, "the data buffer of 'd' (index 0) has 3071 bytes, the model needs 3072" in text) == (INPUT_NOT_MATCH, True)
        for address in (x, hidden, y):
            acl("aclrtFree", address)


def test_current_dims_follow_the_gear_that_was_set_last(acl: Acl, dynamic_om: bytes) -> None:
    with unloaded(acl, acl.load(dynamic_om)) as model, acl.desc(model) as desc:
        assert acl.dims("aclmdlGetCurOutputDims", desc, 0) == (8, 17, 14, 14)
        hidden = acl.malloc(8)
        with acl.dataset((hidden, 8), (hidden, 8)) as dataset:
            for batch in (2, 8, 1):
                acl("aclmdlSetDynamicBatchSize", model, dataset, 1, batch)
                assert acl.dims("aclmdlGetCurOutputDims", desc, 0) == (batch, 17, 14, 14)
        acl("aclrtFree", hidden)


def test_a_model_without_gears_takes_none(acl: Acl) -> None:
    with unloaded(acl, acl.load(small_model())) as model, acl.dataset() as dataset:
        code, text = acl.error("aclmdlSetDynamicBatchSize", model, dataset, 1, 4)
        assert (code, f"model {model} has no gears" in text) == (NOT_DYNAMIC, True)
