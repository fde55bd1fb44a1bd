"""What a model says about static image preprocessing."""

from __future__ import annotations

import ctypes as C
from typing import Any

import pytest

from support.acl import AIPP_NOT_EXIST, INVALID_PARAM, MODEL_ID, Acl, AippInfo
from support.ge_graph import GeGraph, Value, named

AIPP = {
    "input_format": 1,
    "src_image_size_w": 16,
    "src_image_size_h": 12,
    "crop": True,
    "load_start_pos_w": 2,
    "crop_size_h": 10,
    "csc_switch": True,
    "matrix_r0c0": 256,
    "matrix_r2c2": -3,
    "input_bias_1": 128,
    "mean_chn_2": 104,
    "min_chn_0": 0.5,
    "var_reci_chn_3": [0.25],
}


def yuv_model() -> bytes:
    graph = GeGraph()
    attrs: dict[str, Any] = {
        "aipp": named(AIPP),
        "input_dims": [2, 18, 16, 1],
        "_data_related_aipp_mode": "static_aipp",
        "_aipp_inputs": ["NHWC:DT_UINT8:x:576:4:2,18,16,1"],
        "_aipp_outputs": ["NC1HWC0:DT_FLOAT16:x:12288:5:2,1,12,16,16"],
    }
    x = graph.data("x", "uint8", (2, 12, 16, 3), "NHWC", **attrs)
    plain = graph.data("plain", "uint8", (2, 12, 16, 3), "NHWC")
    graph.output(graph.op("Add", [x, plain], Value("y", "uint8", (2, 12, 16, 3), "NHWC")))
    return graph.to_bytes()


def test_static_aipp_is_reported(acl: Acl) -> None:
    model, info, kind, attached = acl.load(yuv_model()), AippInfo(), C.c_int(), C.c_size_t()
    acl("aclmdlGetAippType", model, 0, C.byref(kind), C.byref(attached))
    assert (kind.value, attached.value) == (1, 0xFFFFFFFF)
    acl("aclmdlGetFirstAippInfo", model, 0, C.byref(info))
    assert info.input_format == 1
    assert list(info.size) == [16, 12]
    assert (info.crop, list(info.crop_window)) == (1, [2, 0, 0, 10])
    assert list(info.switches) == [1, 0, 0, 0]
    assert list(info.matrix) == [256, 0, 0, 0, 0, 0, 0, 0, -3]
    assert (list(info.input_bias), list(info.mean)) == ([0, 128, 0], [0, 0, 104, 0])
    assert (list(info.minimum), list(info.var_reci)) == ([0.5, 0, 0, 0], [0, 0, 0, 0.25])
    assert (info.src_format, info.src_dtype, info.src_ndim, info.shape_count) == (1, 4, 4, 1)
    dims = info.out_dims[0]
    assert (dims.src.shape(), dims.src_size) == ((2, 18, 16, 1), 576)
    assert (dims.out.shape(), dims.out_size) == ((2, 1, 12, 16, 16), 12288)
    with acl.desc(model) as desc:
        assert acl.dims("aclmdlGetInputDims", desc, 0) == (2, 12, 16, 3)
        assert acl.dims("aclmdlGetInputDimsV2", desc, 0) == (2, 18, 16, 1)
    acl("aclmdlUnload", model)


def test_an_input_without_aipp(acl: Acl) -> None:
    model, kind = acl.load(yuv_model()), C.c_int(7)
    acl("aclmdlGetAippType", model, 1, C.byref(kind), C.byref(C.c_size_t()))
    assert kind.value == 0
    code, text = acl.error("aclmdlGetFirstAippInfo", model, 1, C.byref(AippInfo()))
    assert (code, "there is not AIPP related with index 1 of input 'plain'" in text) == (AIPP_NOT_EXIST, True)
    assert acl.code("aclmdlGetFirstAippInfo", model, 2, C.byref(AippInfo())) == INVALID_PARAM
    acl("aclmdlUnload", model)
    assert acl.code("aclmdlGetFirstAippInfo", model, 0, C.byref(AippInfo())) == MODEL_ID


@pytest.mark.parametrize(("mode", "kind"), [("dynamic_aipp", 2), ("dynamic_aipp_conf", 3)])
def test_dynamic_aipp_is_named(acl: Acl, mode: str, kind: int) -> None:
    graph = GeGraph()
    x = graph.data("x", "uint8", (2,), _data_related_aipp_mode=mode)
    graph.output(graph.op("Identity", [x], Value("y", "uint8", (2,))))
    model, found = acl.load(graph.to_bytes()), C.c_int()
    acl("aclmdlGetAippType", model, 0, C.byref(found), C.byref(C.c_size_t()))
    assert found.value == kind
    acl("aclmdlUnload", model)
