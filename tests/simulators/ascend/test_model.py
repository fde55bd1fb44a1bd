"""Models through the C interface: the two real files, how a model is loaded, and what it says of itself."""

from __future__ import annotations

import ctypes as C
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.acl import INVALID_PARAM, MODEL_ID, OUT_OF_MEMORY, SOC_VERSION, Acl, AclError, Batch, Dims, unloaded
from support.ge_graph import Array, GeGraph, Value, half, small_model
from support.om_data import om_data_dir


def convolution(x: Array) -> Array:
    """What both real files compute: float16 in and out, sums in float32."""
    w = np.load(om_data_dir() / "conv1_weights.npy").astype(np.float32)
    y = np.zeros((x.shape[0], 17, 14, 14), np.float32)
    for i in range(3):
        for j in range(3):
            y += np.einsum("nchw,oc->nohw", half(x)[:, :, i : i + 14, j : j + 14], w[:, :, i, j])
    return half(y)


def image(batch: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=(batch, 3, 16, 16)).astype(np.float32)


# --- the real files


def test_the_real_static_file_computes_its_convolution(acl: Acl, static_om: bytes) -> None:
    with unloaded(acl, acl.load(static_om)) as model:
        for x in (image(4), np.ones((4, 3, 16, 16), np.float32)):
            (found,) = acl.run(model, [x])
            expected = convolution(x)
            assert found.shape == (4, 17, 14, 14)
            assert found.dtype == np.float32
            np.testing.assert_array_equal(found, half(found))
            assert (np.abs(found - expected) / np.maximum(1, np.abs(expected))).max() <= 2e-3


@pytest.mark.parametrize("batch", [1, 2, 4, 8])
def test_the_real_dynamic_file_computes_its_convolution_at_every_gear(acl: Acl, dynamic_om: bytes, batch: int) -> None:
    with unloaded(acl, acl.load(dynamic_om)) as model:
        (found,) = acl.run(model, [image(batch, batch)], gear=batch)
        expected = convolution(image(batch, batch))
        assert found.shape == (batch, 17, 14, 14)
        assert (np.abs(found - expected) / np.maximum(1, np.abs(expected))).max() <= 2e-3


def test_rows_behind_the_gear_are_overwritten_up_to_the_largest_gear_and_not_beyond(acl: Acl, dynamic_om: bytes) -> None:
    row = 17 * 14 * 14 * 4
    with unloaded(acl, acl.load(dynamic_om)) as model:
        x = (acl.upload(image(2)), 2 * 3072)
        hidden = (acl.malloc(8), 8)
        pointer = acl.malloc(8 * row + 100)
        acl("aclrtMemset", pointer, 8 * row + 100, 0x11, 8 * row + 100)
        with acl.dataset(x, hidden) as inputs, acl.dataset((pointer, 8 * row + 100)) as outputs:
            acl("aclmdlSetDynamicBatchSize", model, inputs, 1, 2)
            acl("aclmdlExecute", model, inputs, outputs)
        data = acl.download(pointer, 8 * row + 100)
        np.testing.assert_allclose(
            np.frombuffer(data[: 2 * row], np.float32).reshape(2, 17, 14, 14), convolution(image(2)), rtol=0, atol=4e-3
        )
        assert set(data[2 * row : 8 * row]) == {0xA5}
        assert set(data[8 * row :]) == {0x11}
        for address in (x[0], hidden[0], pointer):
            acl("aclrtFree", address)


def test_what_the_real_static_file_says_of_itself(acl: Acl, static_om: bytes) -> None:
    work, weight = C.c_size_t(), C.c_size_t()
    acl("aclmdlQuerySizeFromMem", static_om, len(static_om), C.byref(work), C.byref(weight))
    assert (work.value, weight.value) == (150528, 9728)
    with unloaded(acl, acl.load(static_om)) as model, acl.desc(model) as desc:
        assert [acl.code(f"aclmdlGetNum{kind}", desc) for kind in ("Inputs", "Outputs")] == [1, 1]
        assert acl.lib.aclmdlGetInputNameByIndex(desc, 0) == b"d"
        assert acl.lib.aclmdlGetOutputNameByIndex(desc, 0) == b"conv1:0:conv1"
        assert [acl.code(f"aclmdlGet{kind}SizeByIndex", desc, 0) for kind in ("Input", "Output")] == [12288, 53312]
        assert [acl.code(f"aclmdlGet{kind}DataType", desc, 0) for kind in ("Input", "Output")] == [0, 0]
        assert [acl.code(f"aclmdlGet{kind}Format", desc, 0) for kind in ("Input", "Output")] == [0, 0]
        assert acl.dims("aclmdlGetInputDims", desc, 0) == acl.dims("aclmdlGetInputDimsV2", desc, 0) == (4, 3, 16, 16)
        assert acl.dims("aclmdlGetOutputDims", desc, 0) == acl.dims("aclmdlGetCurOutputDims", desc, 0) == (4, 17, 14, 14)
        batch = Batch()
        acl("aclmdlGetDynamicBatch", desc, C.byref(batch))
        assert batch.count == 0
        assert acl.live()["bytes"] == 150528 + 9728


def test_what_the_real_dynamic_file_says_of_itself(acl: Acl, dynamic_om: bytes) -> None:
    with unloaded(acl, acl.load(dynamic_om)) as model, acl.desc(model) as desc:
        assert acl.code("aclmdlGetNumInputs", desc) == 2
        assert acl.lib.aclmdlGetInputNameByIndex(desc, 1) == b"ascend_mbatch_shape_data"
        assert [acl.code("aclmdlGetInputSizeByIndex", desc, i) for i in range(2)] == [24576, 8]
        assert acl.code("aclmdlGetOutputSizeByIndex", desc, 0) == 106624
        assert acl.dims("aclmdlGetInputDims", desc, 0) == (-1, 3, 16, 16)
        assert acl.dims("aclmdlGetOutputDims", desc, 0) == (8, 17, 14, 14)
        batch, index = Batch(), C.c_size_t()
        acl("aclmdlGetDynamicBatch", desc, C.byref(batch))
        assert list(batch.batch[: batch.count]) == [1, 2, 4, 8]
        acl("aclmdlGetInputIndexByName", desc, b"ascend_mbatch_shape_data", C.byref(index))
        assert index.value == 1


def test_a_description_can_be_had_without_loading_and_outlives_the_model(acl: Acl, static_om: bytes) -> None:
    desc = acl.lib.aclmdlCreateDesc()
    acl("aclmdlGetDescFromMem", desc, static_om, len(static_om))
    assert acl.dims("aclmdlGetOutputDims", desc, 0) == (4, 17, 14, 14)
    assert acl.code("aclmdlGetCurOutputDims", desc, 0, C.byref(Dims())) == MODEL_ID
    model = acl.load(static_om)
    acl("aclmdlGetDesc", desc, model)
    acl("aclmdlUnload", model)
    assert acl.dims("aclmdlGetInputDims", desc, 0) == (4, 3, 16, 16)
    acl("aclmdlDestroyDesc", desc)
    assert acl.code("aclmdlDestroyDesc", desc) == INVALID_PARAM


def test_indices_and_names_that_are_not_there(acl: Acl, static_om: bytes) -> None:
    with unloaded(acl, acl.load(static_om)) as model, acl.desc(model) as desc:
        index = C.c_size_t()
        code, text = acl.error("aclmdlGetInputDims", desc, 1, C.byref(Dims()))
        assert (code, "input index 1 is not below 1" in text) == (INVALID_PARAM, True)
        code, text = acl.error("aclmdlGetInputIndexByName", desc, b"nope", C.byref(index))
        assert (code, "there is no input 'nope'" in text, index.value) == (INVALID_PARAM, True, 0xFFFFFFFF)
        assert acl.code("aclmdlGetOutputSizeByIndex", desc, 5) == 0


def test_long_names_get_a_stand_in_that_leads_back(acl: Acl) -> None:
    graph = GeGraph()
    x = graph.data("x" * 200, "float32", (2,))
    graph.output(graph.op("Relu", [x], Value("y", "float32", (2,))))
    with unloaded(acl, acl.load(graph.to_bytes())) as model, acl.desc(model) as desc:
        dims = Dims()
        acl("aclmdlGetInputDims", desc, 0, C.byref(dims))
        assert dims.name.startswith(f"acl_modelId_{model}_input_0".encode())
        assert acl.lib.aclmdlGetTensorRealName(desc, dims.name) == b"x" * 200
        assert acl.lib.aclmdlGetTensorRealName(desc, b"other") is None
        acl("aclmdlGetOutputDims", desc, 0, C.byref(dims))
        assert dims.name == b"output_0_y_0"


@pytest.mark.parametrize(
    ("listed", "names"),
    [
        (["a:0:a", "b"], [b"a:0:a", b"b:0"]),
        (["a"], [b"output_0_p_0", b"output_1_q_0"]),
        (["a", "b", "c"], [b"output_0_p_0", b"output_1_q_0"]),
    ],
)
def test_output_names_come_from_the_model_when_their_number_fits(acl: Acl, listed: list[str], names: list[bytes]) -> None:
    graph = GeGraph()
    x = graph.data("x", "float32", (2,))
    graph.output(*[graph.op("Relu", [x], Value(name, "float32", (2,))) for name in "pq"])
    with unloaded(acl, acl.load(graph.to_bytes(attr_model_out_nodes_name=listed))) as model, acl.desc(model) as desc:
        assert [acl.lib.aclmdlGetOutputNameByIndex(desc, i) for i in range(2)] == names


def test_inputs_are_in_the_order_of_their_index(acl: Acl) -> None:
    graph = GeGraph()
    values = [graph.data(name, "float32", (2,), index=index) for name, index in (("b", 1), ("c", 2), ("a", 0))]
    graph.output(graph.op("ConcatD", values, Value("y", "float32", (6,)), {"concat_dim": 0}))
    with unloaded(acl, acl.load(graph.to_bytes())) as model, acl.desc(model) as desc:
        assert [acl.lib.aclmdlGetInputNameByIndex(desc, i) for i in range(3)] == [b"a", b"b", b"c"]
        (found,) = acl.run(model, [np.full(2, i, np.float32) for i in range(3)])
        assert found.tolist() == [1, 1, 2, 2, 0, 0]


# --- other ways to load


def load_with_config(acl: Acl, options: dict[int, Any]) -> int:
    handle, model = acl.lib.aclmdlCreateConfigHandle(), C.c_uint32()
    try:
        for attribute, value in options.items():
            acl("aclmdlSetConfigOpt", handle, attribute, C.byref(value), C.sizeof(value))
        acl("aclmdlLoadWithConfig", handle, C.byref(model))
        return model.value
    finally:
        acl("aclmdlDestroyConfigHandle", handle)


def test_load_with_config_as_megengine_does(acl: Acl, static_om: bytes) -> None:
    buffer = C.create_string_buffer(static_om, len(static_om))
    options = {1: C.c_size_t(3), 3: C.c_void_p(C.addressof(buffer)), 4: C.c_size_t(len(static_om)), 13: C.c_size_t(1)}
    with unloaded(acl, load_with_config(acl, options)) as model:
        del buffer
        assert acl.run(model, [image(4)])[0].shape == (4, 17, 14, 14)


def test_load_with_config_from_a_file(acl: Acl, tmp_path: Path) -> None:
    path = tmp_path / "small.om"
    path.write_bytes(small_model())
    name = C.create_string_buffer(str(path).encode())
    with unloaded(acl, load_with_config(acl, {1: C.c_size_t(1), 2: C.c_void_p(C.addressof(name))})):
        pass
    with pytest.raises(AclError, match="the load type 0 is not one of 1 to 4"):
        load_with_config(acl, {})
    with pytest.raises(AclError, match="config attribute 9 is not simulated"):
        load_with_config(acl, {9: C.c_size_t(1)})
    with pytest.raises(AclError, match="config attribute 4: the value has 4 bytes, expected 8"):
        load_with_config(acl, {4: C.c_uint32(1)})
    assert acl.live() == {"context": 1}


def test_load_from_a_file(acl: Acl, tmp_path: Path) -> None:
    path = tmp_path / "small.om"
    path.write_bytes(small_model())
    model = C.c_uint32()
    acl("aclmdlLoadFromFile", str(path).encode(), C.byref(model))
    with unloaded(acl, model.value):
        pass
    code, text = acl.error("aclmdlLoadFromFile", b"/nowhere/x.om", C.byref(model))
    assert (code, "modelPath '/nowhere/x.om' cannot be read" in text) == (100003, True)


def test_load_with_the_callers_memory(acl: Acl, static_om: bytes) -> None:
    work, weight = acl.malloc(150528), acl.malloc(9728)
    used = acl.live()["bytes"]
    model = C.c_uint32()
    acl("aclmdlLoadFromMemWithMem", static_om, len(static_om), C.byref(model), work, 150528, weight, 9728)
    assert acl.live()["bytes"] == used
    acl("aclmdlUnload", model)
    code, text = acl.error("aclmdlLoadFromMemWithMem", static_om, len(static_om), C.byref(model), work, 150528, weight, 9000)
    assert (code, "weightPtr memory of 9000 bytes is less than the 9728 needed" in text) == (INVALID_PARAM, True)
    acl("aclrtFree", work)
    assert acl.code("aclmdlLoadFromMemWithMem", static_om, len(static_om), C.byref(model), work, 150528, weight, 9728) == INVALID_PARAM
    acl("aclrtFree", weight)
    assert acl.live() == {"context": 1}


def test_a_model_that_does_not_fit_in_the_devices_memory(bare: Acl, static_om: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANDBRIDGE_SIM_ATLAS_MEMORY", "150K")
    bare("aclInit", None)
    bare("aclrtSetDevice", 0)
    code, text = bare.error("aclmdlLoadFromMem", static_om, len(static_om), C.byref(C.c_uint32()))
    assert code == OUT_OF_MEMORY
    assert "device 0: 160256 bytes requested, 153600 of 153600 free" in text
    assert bare.live() == {"context": 1}


def test_model_data_in_device_memory_is_refused(acl: Acl) -> None:
    pointer = acl.malloc(4096)
    code, text = acl.error("aclmdlLoadFromMem", C.cast(pointer, C.c_char_p), 4096, C.byref(C.c_uint32()))
    assert code == 145007
    assert "is device memory; when the run mode is ACL_HOST it must be host memory" in text
    acl("aclrtFree", pointer)


@pytest.mark.parametrize(
    ("chip", "attrs", "says"),
    [
        ("Ascend910B3", {}, "the model was compiled for MINI (Ascend310), this device is Ascend910B3"),
        ("Ascend310P3", {"soc_version": "Ascend310"}, "the model was compiled for Ascend310, this device is Ascend310P3"),
    ],
)
def test_a_model_for_another_chip_is_refused(
    bare: Acl, monkeypatch: pytest.MonkeyPatch, chip: str, attrs: dict[str, Any], says: str
) -> None:
    monkeypatch.setenv("LANDBRIDGE_SIM_ATLAS_SOC", chip)
    bare("aclInit", None)
    bare("aclrtSetDevice", 0)
    graph = GeGraph()
    graph.output(graph.op("Relu", [graph.data("x", "float32", (2,))], Value("y", "float32", (2,))))
    blob = graph.to_bytes(**attrs)
    code, text = bare.error("aclmdlLoadFromMem", blob, len(blob), C.byref(C.c_uint32()))
    assert (code, says in text) == (SOC_VERSION, True)
