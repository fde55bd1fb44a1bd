"""Convolutions, pooling and products against NumPy, and what operators refuse.

Bounds: what float16 results may differ by when sums are made in another order.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from support.acl import MODEL_EXECUTE, Acl, AclError
from support.ge_graph import Array, GeGraph, Value
from support.operators import apply, close, rand, run, to_5hd, to_fractal_z

# --- convolution


def conv2d(
    x: Array,
    w: Array,
    strides: tuple[int, int],
    pads: tuple[int, int, int, int],
    dilations: tuple[int, int],
    groups: int,
    bias: Array | None,
) -> Array:
    x = np.pad(x.astype(np.float32), ((0, 0), (0, 0), pads[:2], pads[2:]))
    rows = (x.shape[2] - (w.shape[2] - 1) * dilations[0] - 1) // strides[0] + 1
    columns = (x.shape[3] - (w.shape[3] - 1) * dilations[1] - 1) // strides[1] + 1
    y = np.zeros((x.shape[0], w.shape[0], rows, columns), np.float32)
    outs, ins = w.shape[0] // groups, w.shape[1]
    for g in range(groups):
        for i in range(w.shape[2]):
            for j in range(w.shape[3]):
                top, left = i * dilations[0], j * dilations[1]
                window = x[
                    :,
                    g * ins : (g + 1) * ins,
                    top : top + (rows - 1) * strides[0] + 1 : strides[0],
                    left : left + (columns - 1) * strides[1] + 1 : strides[1],
                ]
                y[:, g * outs : (g + 1) * outs] += np.einsum(
                    "nchw,oc->nohw", window, w[g * outs : (g + 1) * outs, :, i, j].astype(np.float32)
                )
    return y if bias is None else y + bias.astype(np.float32)[:, None, None]


CONVOLUTIONS = [
    ((2, 4, 9, 8), (6, 4, 3, 3), (1, 1), (0, 0, 0, 0), (1, 1), 1, False),
    ((1, 4, 9, 8), (6, 4, 3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1, True),
    ((2, 4, 9, 11), (6, 2, 3, 2), (2, 3), (1, 0, 2, 1), (1, 1), 2, True),
    ((1, 3, 12, 12), (5, 3, 3, 3), (1, 2), (2, 2, 3, 1), (2, 3), 1, False),
    ((1, 4, 5, 5), (4, 1, 5, 5), (1, 1), (4, 4, 4, 4), (1, 1), 4, True),
    ((1, 1, 2, 2), (1, 1, 1, 1), (3, 3), (0, 0, 0, 0), (1, 1), 1, False),
]


@pytest.mark.parametrize(("x_shape", "w_shape", "strides", "pads", "dilations", "groups", "biased"), CONVOLUTIONS)
def test_conv2d(acl: Acl, x_shape: Any, w_shape: Any, strides: Any, pads: Any, dilations: Any, groups: int, biased: bool) -> None:
    x, w, bias = rand(*x_shape), rand(*w_shape), rand(w_shape[0])
    expected = conv2d(x, w, strides, pads, dilations, groups, bias if biased else None)
    attrs: dict[str, Any] = {
        "strides": [1, 1, *strides],
        "pads": list(pads),
        "dilations": [1, 1, *dilations],
        "groups": groups,
        "data_format": "NCHW",
    }
    found = apply(acl, "Conv2D", [x, w, *([bias] if biased else [])], expected.shape, layout="NCHW", **attrs)
    close(found, expected)


def test_conv2d_rounds_only_its_result(acl: Acl) -> None:
    """The sum 2048 + 1 is no float16, but 2048 + 1 - 2048 is: products are not summed in float16."""
    x = np.array([2048, 1, -2048], np.float16).reshape(1, 3, 1, 1)
    attrs: dict[str, Any] = {"strides": [1] * 4, "pads": [0] * 4}
    assert apply(acl, "Conv2D", [x, np.ones((1, 3, 1, 1), np.float16)], (1, 1, 1, 1), layout="NCHW", **attrs).item() == 1


def test_conv2d_in_the_devices_layouts_between_trans_datas(acl: Acl) -> None:
    x, w = rand(2, 20, 6, 5), rand(18, 20, 3, 3)
    expected = conv2d(x, w, (1, 1), (1, 1, 1, 1), (1, 1), 1, None)
    graph = GeGraph()
    plain = graph.data("x", "float16", x.shape, "NCHW")
    stored = graph.op("TransData", [plain], Value("t", "float16", to_5hd(x).shape, "NC1HWC0"))
    filter_ = graph.const("w", to_fractal_z(w), "FRACTAL_Z", origin=w.shape)
    attrs: dict[str, Any] = {"strides": [1] * 4, "pads": [1] * 4, "dilations": [1] * 4, "groups": 1, "data_format": "NCHW"}
    result = graph.op("Conv2D", [stored, filter_], Value("c", "float16", (2, 2, 6, 5, 16), "NC1HWC0"), attrs)
    graph.output(graph.op("TransData", [result], Value("y", "float16", expected.shape, "NCHW")))
    close(run(acl, graph, x), expected)


@pytest.mark.parametrize("shape", [(8, 1, 3, 3), (2, 4, 3, 3)])
def test_depthwise_conv2d(acl: Acl, shape: tuple[int, ...]) -> None:
    x, w = rand(2, 4, 7, 7), rand(*shape)
    grouped = w if shape[1] == 1 else w.transpose(1, 0, 2, 3).reshape(8, 1, 3, 3)
    expected = conv2d(x, grouped, (2, 2), (1, 1, 1, 1), (1, 1), 4, None)
    attrs: dict[str, Any] = {"strides": [1, 1, 2, 2], "pads": [1] * 4, "dilations": [1] * 4, "data_format": "NCHW"}
    close(apply(acl, "DepthwiseConv2D", [x, w], expected.shape, layout="NCHW", **attrs), expected)


# --- pooling and means


def pool(
    x: Array, kernel: tuple[int, int], strides: tuple[int, int], pads: tuple[int, ...], ceil: bool, average: bool, exclusive: bool
) -> Array:
    """By the definition, window by window; None marks what lies outside of the padded input."""
    outer = math.ceil if ceil else math.floor
    sizes = [outer((x.shape[2 + a] + pads[2 * a] + pads[2 * a + 1] - kernel[a]) / strides[a]) + 1 for a in range(2)]
    sizes = [s - 1 if (s - 1) * strides[a] >= x.shape[2 + a] + pads[2 * a] else s for a, s in enumerate(sizes)]
    y = np.zeros((*x.shape[:2], *sizes), np.float32)
    for r in range(sizes[0]):
        for c in range(sizes[1]):
            top, left = r * strides[0] - pads[0], c * strides[1] - pads[2]
            rows = range(max(top, 0), min(top + kernel[0], x.shape[2]))
            columns = range(max(left, 0), min(left + kernel[1], x.shape[3]))
            window = x[:, :, rows.start : rows.stop, columns.start : columns.stop].astype(np.float32)
            padded = (min(top + kernel[0], x.shape[2] + pads[1]) - top) * (min(left + kernel[1], x.shape[3] + pads[3]) - left)
            if average:
                y[:, :, r, c] = window.sum((2, 3)) / (len(rows) * len(columns) if exclusive else padded)
            else:
                y[:, :, r, c] = window.max((2, 3))
    return y


POOLS = [
    ((2, 2), (2, 2), (0, 0, 0, 0), False, True),
    ((3, 2), (2, 1), (1, 1, 1, 0), False, True),
    ((3, 3), (2, 2), (1, 1, 1, 1), True, False),
    ((3, 3), (2, 2), (0, 0, 0, 0), True, True),
    ((2, 2), (3, 3), (1, 0, 0, 1), True, False),
]


@pytest.mark.parametrize(("kernel", "strides", "pads", "ceil", "exclusive"), POOLS)
@pytest.mark.parametrize("type_", ["MaxPoolV3", "AvgPoolV2"])
def test_pooling_of_the_v2_family(acl: Acl, type_: str, kernel: Any, strides: Any, pads: Any, ceil: bool, exclusive: bool) -> None:
    x = rand(2, 3, 8, 7)
    expected = pool(x, kernel, strides, pads, ceil, type_ == "AvgPoolV2", exclusive)
    attrs: dict[str, Any] = {
        "ksize": [1, 1, *kernel],
        "strides": [1, 1, *strides],
        "pads": list(pads),
        "padding_mode": "CALCULATED",
    }
    close(apply(acl, type_, [x], expected.shape, layout="NCHW", ceil_mode=ceil, exclusive=exclusive, **attrs), expected)


@pytest.mark.parametrize(("type_", "average"), [("MaxPool", False), ("AvgPool", True)])
@pytest.mark.parametrize(("padding", "shape", "pads"), [("SAME", (1, 2, 4, 3), (0, 1, 1, 1)), ("VALID", (1, 2, 3, 2), (0, 0, 0, 0))])
def test_pooling_of_tensorflow(acl: Acl, type_: str, average: bool, padding: str, shape: tuple[int, ...], pads: tuple[int, ...]) -> None:
    x = rand(1, 2, 8, 6) if padding == "SAME" else rand(1, 2, 8, 5)
    x = x[:, :, :, :5] if padding == "SAME" else x
    expected = pool(x, (3, 3), (2, 2), pads, False, average, True)
    assert expected.shape == shape
    attrs: dict[str, Any] = {"ksize": [1, 1, 3, 3], "strides": [1, 1, 2, 2], "padding": padding, "data_format": "NCHW"}
    close(apply(acl, type_, [np.ascontiguousarray(x)], shape, layout="NCHW", **attrs), expected)


@pytest.mark.parametrize("mode", [0, 1])
def test_pooling_of_caffe_rounds_up_by_default(acl: Acl, mode: int) -> None:
    x = rand(1, 2, 8, 8)
    expected = pool(x, (3, 3), (2, 2), (0, 0, 0, 0), True, mode == 1, False)
    assert expected.shape == (1, 2, 4, 4)
    close(apply(acl, "Pooling", [x], expected.shape, layout="NCHW", mode=mode, window=[3, 3], stride=[2, 2], pad=[0] * 4), expected)


@pytest.mark.parametrize(
    ("type_", "attrs"), [("GlobalAveragePool", {}), ("AvgPoolV2", {"global_pooling": True}), ("MaxPoolV3", {"global_pooling": True})]
)
def test_global_pooling(acl: Acl, type_: str, attrs: dict[str, Any]) -> None:
    x = rand(2, 3, 5, 4)
    wide = x.astype(np.float32)
    expected = wide.max((2, 3), keepdims=True) if type_ == "MaxPoolV3" else wide.mean((2, 3), keepdims=True)
    close(apply(acl, type_, [x], (2, 3, 1, 1), layout="NCHW", **attrs), expected)


def test_pooling_in_the_devices_layout(acl: Acl) -> None:
    x = rand(1, 20, 4, 4)
    expected = to_5hd(pool(x, (2, 2), (2, 2), (0, 0, 0, 0), False, False, True))
    graph = GeGraph()
    data = graph.data("x", "float16", (1, 2, 4, 4, 16), "NC1HWC0")
    attrs: dict[str, Any] = {"ksize": [1, 1, 2, 2], "strides": [1, 1, 2, 2], "pads": [0] * 4, "padding_mode": "CALCULATED"}
    graph.output(graph.op("MaxPoolV3", [data], Value("y", "float16", expected.shape, "NC1HWC0"), attrs))
    close(run(acl, graph, to_5hd(x)), expected)


@pytest.mark.parametrize(("axes", "keep"), [((1,), False), ((2, -1), True), ((0, 2), False), ((), True)])
def test_reduce_mean_d(acl: Acl, axes: tuple[int, ...], keep: bool) -> None:
    x = rand(2, 3, 4, 5)
    expected = x.astype(np.float32).mean(axes or None, keepdims=keep)
    close(apply(acl, "ReduceMeanD", [x], expected.shape, axes=list(axes), keep_dims=keep), expected)


def test_reduce_mean_takes_its_axes_from_an_input(acl: Acl) -> None:
    x = rand(2, 3, 4)
    expected = x.astype(np.float32).mean((1, 2))
    close(apply(acl, "ReduceMean", [x, np.array([1, -1], np.int64)], (2,), keep_dims=False), expected)


# --- products


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("second", [False, True])
@pytest.mark.parametrize("biased", [False, True])
def test_matmul(acl: Acl, first: bool, second: bool, biased: bool) -> None:
    a, b, bias = rand(4, 5), rand(5, 3), rand(3)
    expected = a.astype(np.float32) @ b.astype(np.float32) + (bias if biased else 0)
    inputs = [a.T.copy() if first else a, b.T.copy() if second else b, *([bias] if biased else [])]
    close(apply(acl, "MatMulV2", inputs, (4, 3), transpose_x1=first, transpose_x2=second), expected)


@pytest.mark.parametrize(("a_shape", "b_shape"), [((2, 3, 4, 5), (2, 3, 5, 2)), ((3, 4, 5), (5, 2)), ((2, 1, 4, 5), (3, 5, 2))])
@pytest.mark.parametrize("adjoint", [False, True])
def test_batch_matmul(acl: Acl, a_shape: tuple[int, ...], b_shape: tuple[int, ...], adjoint: bool) -> None:
    a, b = rand(*a_shape), rand(*b_shape)
    expected = a.astype(np.float32) @ b.astype(np.float32)
    inputs = [np.ascontiguousarray(np.swapaxes(array, -1, -2)) if adjoint else array for array in (a, b)]
    close(apply(acl, "BatchMatMul", inputs, expected.shape, adj_x1=adjoint, adj_x2=adjoint), expected)


@pytest.mark.parametrize("shape", [(2, 5), (2, 5, 1, 1)])
def test_fully_connection(acl: Acl, shape: tuple[int, ...]) -> None:
    x, w, bias = rand(2, 3, 2, 2), rand(5, 3, 2, 2), rand(5)
    expected = x.reshape(2, -1).astype(np.float32) @ w.reshape(5, -1).T.astype(np.float32) + bias
    found = apply(acl, "FullyConnection", [x, w, bias], shape, layout="NCHW", num_output=5, axis=1, transpose=False)
    close(found, expected.reshape(shape))


# --- what is not simulated is said, with the operator's name

WRONG: list[tuple[str, list[Array], tuple[int, ...], dict[str, Any], str]] = [
    (
        "Conv2D",
        [rand(1, 2, 4, 4), rand(2, 2, 3, 3)],
        (1, 2, 2, 2),
        {},
        "it keeps no strides and pads, and its shapes leave open which: 4 -> 2 with a window of 3",
    ),
    (
        "Conv2D",
        [rand(1, 2, 4, 4), rand(2, 2, 3, 3)],
        (1, 2, 2, 2),
        {"strides": [1, 1], "pads": [0] * 4},
        "attribute 'strides' has 2 numbers, expected 4",
    ),
    (
        "Conv2D",
        [rand(1, 2, 4, 4), rand(2, 3, 3, 3)],
        (1, 2, 2, 2),
        {"strides": [1] * 4, "pads": [0] * 4},
        "2 channels do not fit a filter of 3 -> 2 in 1 groups",
    ),
    (
        "Conv2D",
        [rand(1, 2, 2, 2), rand(2, 2, 3, 3)],
        (1, 2, 1, 1),
        {"strides": [1] * 4, "pads": [0] * 4},
        "the window is larger than the padded input",
    ),
    (
        "Conv2D",
        [rand(1, 2, 4, 4), rand(2, 2, 3, 3)],
        (1, 2, 4, 4),
        {"strides": [1] * 4, "pads": [0] * 4},
        "the result is float16 [1, 2, 2, 2], the file says float16 [1, 2, 4, 4]",
    ),
    ("Add", [rand(2, 3), rand(2)], (2, 3), {}, "shapes [2, 3] and [2] do not broadcast"),
    ("MatMulV2", [rand(2, 3), rand(2, 3)], (2, 3), {}, "shapes [2, 3] and [2, 3] do not multiply"),
    ("MatMulV2", [rand(2, 3), rand(3, 4), rand(3)], (2, 4), {}, "the bias has 3 numbers for 4 columns"),
    ("Reshape", [rand(2, 3)], (4,), {}, "the result is float16 [6], the file says float16 [4]"),
    ("Reshape", [rand(2, 3)], (2, 4), {}, "[2, 3] does not reshape to [2, 4]"),
    ("TransposeD", [rand(2, 3)], (3, 2), {"perm": [1, 1]}, "the permutation is not one of 2 axes"),
    ("ConcatD", [rand(2, 3), rand(3, 3)], (2, 6), {"concat_dim": 1}, "input 1 does not match input 0"),
    ("SoftmaxV2", [rand(2, 3)], (2, 3), {"axes": [2]}, "its axes are not neighbouring axes of the input"),
    ("ReduceMeanD", [rand(2, 3)], (2,), {}, "its axes are missing or not axes of the input"),
    ("RealDiv", [np.ones(2, np.int32), np.ones(2, np.int32)], (2,), {}, "dtypes int32 and int32 are not simulated"),
    ("Sigmoid", [np.ones(2, np.int32)], (2,), {}, "the input is int32; only floating types are simulated"),
]


@pytest.mark.parametrize(("type_", "inputs", "shape", "attrs", "reason"), WRONG)
def test_what_an_operator_cannot_do_is_an_error_with_its_name(
    acl: Acl, type_: str, inputs: list[Array], shape: tuple[int, ...], attrs: dict[str, Any], reason: str
) -> None:
    layout = "NCHW" if type_ == "Conv2D" else "ND"
    with pytest.raises(AclError) as caught:
        apply(acl, type_, inputs, shape, str(inputs[0].dtype), layout, **attrs)
    assert caught.value.code == MODEL_EXECUTE
    assert f"Reason: simulator: operator 'y' ({type_}): {reason}\n" in caught.value.text
    assert acl.live() == {"context": 1}
