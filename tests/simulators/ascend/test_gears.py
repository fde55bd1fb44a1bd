"""Gears in files of the newer form: one graph for the largest gear, and a Case that tells the gears."""

from __future__ import annotations

import ctypes as C
from typing import Any

import numpy as np
import pytest

from support.acl import HW, INVALID_PARAM, MODEL_EXECUTE, NOT_A_GEAR, Acl, AclError, Batch, Dims
from support.ge_graph import Array, GeGraph, Value, half


def network(gears: list[int], kind: int | None = 1) -> tuple[bytes, Any]:
    """A small network whose shapes are those of the largest gear, and the same in NumPy."""
    rng = np.random.default_rng(3)
    n = max(gears)
    w, bias, matrix = (rng.normal(size=shape).astype(np.float16) for shape in ((4, 2, 3, 3), (4,), (64, 5)))
    graph = GeGraph()
    x = graph.data("x", "float32", (n, 2, 4, 4), "NCHW", _mbatch_origin_input_dims=[-1, 2, 4, 4])
    graph.gears(*[[gear] for gear in gears], kind=kind)
    cast = graph.op("Cast", [x], Value("cast", "float16", (n, 2, 4, 4), "NCHW"), {"dst_type": 1})
    filter_, offset = graph.const("w", w, "NCHW"), graph.const("bias", bias)
    attrs = {"strides": [1] * 4, "pads": [1] * 4, "dilations": [1] * 4, "groups": 1, "data_format": "NCHW"}
    conv = graph.op("Conv2D", [cast, filter_, offset], Value("conv", "float16", (n, 4, 4, 4), "NCHW"), attrs)
    relu = graph.op("Relu", [conv], Value("relu", "float16", (n, 4, 4, 4), "NCHW"))
    both = graph.op("Add", [relu, conv], Value("both", "float16", (n, 4, 4, 4), "NCHW"))
    flat = graph.op("Reshape", [both], Value("flat", "float16", (n, 64)))
    product = graph.op("MatMulV2", [flat, graph.const("m", matrix)], Value("product", "float16", (n, 5)))
    result = graph.op("Cast", [product], Value("result", "float32", (n, 5)), {"dst_type": 0})
    graph.output(result, flat)

    def reference(x: Array) -> list[Array]:
        padded = np.pad(half(x), ((0, 0), (0, 0), (1, 1), (1, 1)))
        y: Array = np.zeros((x.shape[0], 4, 4, 4), np.float32)
        for i in range(3):
            for j in range(3):
                y += np.einsum("nchw,oc->nohw", padded[:, :, i : i + 4, j : j + 4], w[:, :, i, j].astype(np.float32))
        y = half(y + bias.astype(np.float32)[:, None, None])
        y = half(np.maximum(y, 0) + y).reshape(-1, 64)
        return [half(y @ matrix.astype(np.float32)), y]

    return graph.to_bytes(), reference


@pytest.mark.parametrize("gears", [[1, 2, 8], [8, 3]])
def test_every_activation_has_the_gears_batch(acl: Acl, gears: list[int]) -> None:
    blob, reference = network(gears)
    model = acl.load(blob)
    for gear in gears:
        x = np.random.default_rng(gear).normal(size=(gear, 2, 4, 4)).astype(np.float32)
        found, flat = acl.run(model, [x], gear=gear)
        expected, expected_flat = reference(x)
        assert found.shape == (gear, 5)
        assert (np.abs(flat - expected_flat) / np.maximum(1, np.abs(expected_flat))).max() <= 2e-3
        assert (np.abs(found - expected) / np.maximum(1, np.abs(expected))).max() <= 1e-2  # 64 products of values that may differ by an ulp
    acl("aclmdlUnload", model)
    assert acl.live() == {"context": 1}


def test_a_single_value_is_a_batch_when_the_file_does_not_say(acl: Acl) -> None:
    blob, _ = network([2, 4], kind=None)
    model, batch, hw = acl.load(blob), Batch(), HW()
    with acl.desc(model) as desc:
        acl("aclmdlGetDynamicBatch", desc, C.byref(batch))
        acl("aclmdlGetDynamicHW", desc, -1, C.byref(hw))
        assert (list(batch.batch[: batch.count]), hw.count) == ([2, 4], 0)
        assert acl.code("aclmdlGetDynamicHW", desc, 0, C.byref(hw)) == INVALID_PARAM
    acl("aclmdlUnload", model)


def test_an_input_without_a_batch_keeps_its_shape(acl: Acl) -> None:
    graph = GeGraph()
    x = graph.data("x", "float32", (4, 3), _mbatch_origin_input_dims=[-1, 3])
    scale = graph.data("scale", "float32", (3,))
    graph.gears([1], [4], kind=1)
    graph.output(graph.op("Mul", [x, scale], Value("y", "float32", (4, 3))))
    model = acl.load(graph.to_bytes())
    (found,) = acl.run(model, [np.ones((1, 3), np.float32), np.arange(3, dtype=np.float32)], gear=1)
    assert found.tolist() == [[0, 1, 2]]
    acl("aclmdlUnload", model)


def test_a_graph_that_does_not_follow_the_batch_is_reported(acl: Acl) -> None:
    graph = GeGraph()
    x = graph.data("x", "float32", (4, 3), _mbatch_origin_input_dims=[-1, 3])
    graph.gears([1], [4], kind=1)
    graph.output(graph.op("TransposeD", [x], Value("y", "float32", (3, 4)), {"perm": [1, 0]}))
    model = acl.load(graph.to_bytes())
    with pytest.raises(
        AclError, match=r"operator 'y' \(TransposeD\): the result is float32 \[3, 1\], the file says float32 \[3, 4\]"
    ) as caught:
        acl.run(model, [np.ones((1, 3), np.float32)], gear=1)
    assert caught.value.code == MODEL_EXECUTE
    acl("aclmdlUnload", model)


def execute(acl: Acl, model: int, x: Array, room: int, width: int, set_gear: Any) -> bytes:
    """Run a model with one input and one output, of ``room`` bytes each."""
    a, b, hidden = acl.upload(x, room), acl.malloc(room), acl.malloc(8 * width)
    try:
        with acl.dataset((a, room), (hidden, 8 * width)) as inputs, acl.dataset((b, room)) as outputs:
            set_gear(inputs)
            acl("aclmdlExecute", model, inputs, outputs)
        return acl.download(b, room)
    finally:
        for address in (a, b, hidden):
            acl("aclrtFree", address)


def test_image_size_gears(acl: Acl) -> None:
    graph = GeGraph()
    x = graph.data("x", "float32", (1, 2, 6, 8), "NCHW", _mbatch_origin_input_dims=[1, 2, -1, -1])
    graph.gears([4, 4], [6, 8], kind=2)
    graph.output(graph.op("Relu", [x], Value("y", "float32", (1, 2, 6, 8), "NCHW")), _dynamic_output_dims=["0,0,1,2,4,4", "1,0,1,2,6,8"])
    model, hw = acl.load(graph.to_bytes()), HW()
    with acl.desc(model) as desc:
        acl("aclmdlGetDynamicHW", desc, -1, C.byref(hw))
        assert [list(pair) for pair in hw.hw[: hw.count]] == [[4, 4], [6, 8]]
        assert acl.dims("aclmdlGetInputDims", desc, 0) == (1, 2, -1, -1)
        for height, width in ((4, 4), (6, 8)):
            image = np.random.default_rng(0).normal(size=(1, 2, height, width)).astype(np.float32)
            data = execute(
                acl, model, image, 384, 2, lambda inputs, h=height, w=width: acl("aclmdlSetDynamicHWSize", model, inputs, 1, h, w)
            )
            np.testing.assert_array_equal(np.frombuffer(data, np.float32)[: image.size].reshape(image.shape), np.maximum(image, 0))
            assert acl.dims("aclmdlGetCurOutputDims", desc, 0) == (1, 2, height, width)
        with pytest.raises(AclError, match="is not a gear of model") as caught:
            execute(acl, model, image, 384, 2, lambda inputs: acl("aclmdlSetDynamicHWSize", model, inputs, 1, 4, 8))
        assert caught.value.code == NOT_A_GEAR
    acl("aclmdlUnload", model)
    assert acl.live() == {"context": 1}


def test_gears_of_any_dimensions(acl: Acl) -> None:
    graph = GeGraph()
    x = graph.data("x", "float32", (4, 2, 6), _mbatch_origin_input_dims=[-1, 2, -1])
    graph.gears([1, 3], [4, 6], kind=3)
    graph.output(graph.op("Neg", [x], Value("y", "float32", (4, 2, 6))), _dynamic_output_dims=["0,0,1,2,3", "1,0,4,2,6"])
    model, count = acl.load(graph.to_bytes()), C.c_size_t()
    with acl.desc(model) as desc:
        acl("aclmdlGetInputDynamicGearCount", desc, -1, C.byref(count))
        assert count.value == 2
        gears = (Dims * 2)()
        acl("aclmdlGetInputDynamicDims", desc, -1, gears, 2)
        assert [gear.shape() for gear in gears] == [(1, 2, 3), (4, 2, 6)]
        assert acl.code("aclmdlGetInputDynamicDims", desc, -1, gears, 1) == INVALID_PARAM
        data = execute(
            acl, model, np.ones((1, 2, 3), np.float32), 192, 2, lambda inputs: acl("aclmdlSetInputDynamicDims", model, inputs, 1, gears[0])
        )
        assert np.frombuffer(data, np.float32)[:6].tolist() == [-1] * 6
        for bad, says in (
            ((1, 3, 3), r"dims\[1\] is 3, the model has 2"),
            ((1, 2), "dimCount is 2, the inputs have 3"),
            ((1, 2, 6), "is not a gear"),
        ):
            wrong = Dims(count=len(bad), dims=(C.c_int64 * 128)(*bad))
            with pytest.raises(AclError, match=says):
                execute(
                    acl,
                    model,
                    np.ones((1, 2, 3), np.float32),
                    192,
                    2,
                    lambda inputs, d=wrong: acl("aclmdlSetInputDynamicDims", model, inputs, 1, d),
                )
    acl("aclmdlUnload", model)
    assert acl.live() == {"context": 1}
