"""Operators that slide a window over images, against onnx's reference evaluator and ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
from onnx import helper

from support.run_operators import One, check, evaluated

_random = np.random.default_rng(0)


def real(*shape: int) -> Any:
    return _random.standard_normal(shape).astype(np.float32)


def by_onnxruntime(operator: str, inputs: list[Any], outputs: int, **attributes: Any) -> list[Any]:
    names, results = [f"i{n}" for n in range(len(inputs))], [f"o{n}" for n in range(outputs)]
    node = helper.make_node(operator, names, results, **attributes)
    ports = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in zip(names, inputs, strict=True)
    ]
    graph = helper.make_graph([node], "one", ports, [helper.make_empty_tensor_value_info(name) for name in results])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return list(session.run(None, dict(zip(names, inputs, strict=True))))


def pooled(name: str, data: Any, **attributes: Any) -> One:
    return One(name, "MaxPool", [data], by_onnxruntime("MaxPool", [data], 2, **attributes), attributes=attributes)


def test_pooling_tells_where_the_largest_elements_are() -> None:
    picture = real(2, 3, 7, 6)
    equal = np.round(picture)  # of equal ones the first counts
    check(
        [
            pooled("plain", picture, kernel_shape=[2, 3]),
            pooled("equal", equal, kernel_shape=[3, 3], strides=[1, 2]),
            pooled("padded", picture, kernel_shape=[3, 2], pads=[1, 0, 1, 1], strides=[2, 2]),
            pooled("columns", picture, kernel_shape=[2, 2], storage_order=1),
            pooled("dilated", picture, kernel_shape=[2, 2], dilations=[2, 3]),
            pooled("ceiled", picture, kernel_shape=[3, 3], strides=[3, 3], ceil_mode=1),
            pooled("upper", picture, kernel_shape=[2, 2], auto_pad="SAME_UPPER"),
            pooled("lower", picture, kernel_shape=[2, 2], strides=[2, 2], auto_pad="SAME_LOWER"),
            pooled("bytes", _random.integers(-128, 127, (1, 2, 5, 5)).astype(np.int8), kernel_shape=[2, 2]),
            pooled("line", real(2, 2, 9), kernel_shape=[3], strides=[2]),
            pooled("volume", real(1, 2, 4, 5, 3), kernel_shape=[2, 2, 2]),
        ],
        opset=22,
    )


def unfolded(name: str, data: Any, image: list[int], block: list[int], **attributes: Any) -> One:
    inputs = [data, np.array(image, np.int64), np.array(block, np.int64)]
    return One(name, "Col2Im", inputs, evaluated("Col2Im", inputs, **attributes), constants=(1, 2), attributes=attributes)


def test_windows_are_summed_to_an_image() -> None:
    check(
        [
            unfolded("apart", real(2, 12, 4), [4, 4], [2, 2], strides=[2, 2]),
            unfolded("overlapping", real(1, 4, 12), [4, 5], [2, 2]),
            unfolded("padded", real(1, 6, 16), [4, 4], [2, 3], pads=[1, 0, 0, 2]),
            unfolded("dilated", real(1, 4, 15), [5, 7], [2, 2], dilations=[2, 2]),
            unfolded("line", real(2, 6, 4), [9], [3], strides=[2]),
            unfolded("volume", real(1, 8, 8), [3, 3, 3], [2, 2, 2]),
        ]
    )


def deformed(name: str, shape: Any, weights: Any, result: Any, offset_group: int = 1, *, masked: bool = False, **attributes: Any) -> One:
    image, matrix = real(*shape), real(*weights)
    taps = weights[2] * weights[3]
    offsets = real(shape[0], offset_group * taps * 2, *result) * 1.5
    mask = real(shape[0], offset_group * taps, *result) if masked else None
    inputs = [image, matrix, offsets, real(weights[0]), *([mask] if masked else [])]
    given = {**attributes, "offset_group": offset_group, "kernel_shape": list(weights[2:])}
    return One(name, "DeformConv", inputs, evaluated("DeformConv", inputs, 22, **given), attributes=given)


def test_deformed_windows_see_between_pixels() -> None:
    check(
        [
            deformed("plain", (1, 2, 5, 6), (3, 2, 2, 3), (4, 4)),
            deformed("masked", (2, 2, 5, 5), (2, 2, 3, 3), (5, 5), masked=True, pads=[1, 1, 1, 1]),
            deformed("groups", (1, 4, 6, 6), (4, 2, 2, 2), (5, 5), 2, masked=True, group=2),
            deformed("strides", (1, 2, 7, 7), (1, 2, 2, 2), (3, 3), strides=[2, 2], dilations=[2, 2]),
        ],
        opset=22,
        rtol=1e-4,
        atol=1e-5,
    )


def widened(name: str, image: Any, weights: Any, **attributes: Any) -> One:
    return One(
        name, "ConvTranspose", [image, weights], by_onnxruntime("ConvTranspose", [image, weights], 1, **attributes), attributes=attributes
    )


def test_a_transposed_convolution_is_told_its_size() -> None:
    image, weights = real(1, 2, 3, 3), real(2, 2, 3, 3)
    check(
        [
            widened("smaller", image, weights, strides=[3, 2], output_shape=[8, 6]),
            widened("larger", image, weights, strides=[3, 2], output_shape=[10, 8]),
            widened("upper", image, weights, strides=[2, 2], output_shape=[6, 6], auto_pad="SAME_UPPER"),
            widened("lower", image, weights, strides=[2, 2], output_shape=[6, 6], auto_pad="SAME_LOWER"),
        ],
        opset=22,
    )
