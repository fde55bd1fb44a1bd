"""Shapes, parts, repetitions and borders that are tensors, against onnx's reference evaluator; and what fails a run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper

import landbridge as lb
from landbridge.runtime.errors import DeviceError
from support.run_onnx import assert_same, reference
from support.run_operators import One, check, evaluated
from support.small_onnx import node, small_model

RNG = np.random.default_rng(6)
DATA = RNG.standard_normal((2, 3, 4)).astype(np.float32)


def ints(*values: int) -> Any:
    return np.array(values, np.int64)


def case(name: str, operator: str, *inputs: Any, outputs: int = 1, **attributes: Any) -> One:
    found = evaluated(operator, list(inputs), outputs=outputs, **attributes)
    return One(name, operator, list(inputs), found, attributes=attributes)


def test_every_parameter_is_a_tensor() -> None:
    border = np.float32(7)
    cut = np.pad(DATA[:, 1:, :-1], ((0, 1), (0, 0), (2, 0)), constant_values=7)
    cases = [
        case("reshape", "Reshape", DATA, ints(4, 6)),
        case("reshape_marks", "Reshape", DATA, ints(0, -1)),
        case("squeeze", "Squeeze", DATA[:, None], ints(1)),
        case("unsqueeze", "Unsqueeze", DATA, ints(0, -1)),
        case("expand", "Expand", DATA[:, :1], ints(2, 3, 4)),
        case("expand_ones", "Expand", DATA, ints(1, 1, 1)),
        case("tile", "Tile", DATA, ints(7, 6, 2)),
        case("slice", "Slice", DATA, ints(0, 1), ints(2, 100)),
        case("slice_back", "Slice", DATA, ints(-1, 3), ints(-100, 0), ints(1, -1), ints(-1, -2)),
        *(case(f"pad_{mode}", "Pad", DATA, ints(0, 1, 2, 1, 1, 1), mode=mode) for mode in ("constant", "edge", "reflect", "wrap")),
        One("pad_less", "Pad", [DATA, ints(0, -1, 2, 1, 0, -1), border], [cut]),
        case("pad_axes", "Pad", DATA, ints(1, 2, 0, 3), border, ints(-1, 0)),
        case("center", "CenterCropPad", DATA, ints(3, 2), axes=[1, 2]),
        case("split", "Split", DATA, ints(1, 0, 2), axis=1, outputs=3),
        case("top", "TopK", DATA, ints(3), outputs=2),
        case("bottom", "TopK", DATA, ints(2), axis=1, largest=0, outputs=2),
        *(case(f"sum_{e}_{r}", "CumSum", DATA, np.int64(-2), exclusive=e, reverse=r) for e in (0, 1) for r in (0, 1)),
        case("one_hot", "OneHot", ints(1, -1, 9), np.int64(4), np.array([2, 5], np.float32), axis=0),
        case("range", "Range", np.float32(1), np.float32(5), np.float32(1.5)),
        case("range_down", "Range", np.int32(10), np.int32(4), np.int32(-2)),
        case("full", "ConstantOfShape", ints(2, 3)),
        *(case(name, name, np.int64(9), periodic=0) for name in ("HannWindow", "HammingWindow", "BlackmanWindow")),
    ]
    check(cases, rtol=1e-5)


def test_known_parameters_of_every_type() -> None:
    cases = []
    for dtype in (np.int32, np.uint8, np.float16, np.float64):
        inputs = [RNG.integers(0, 9, (3, 5)).astype(dtype), ints(4)]
        cases.append(One(f"top_{np.dtype(dtype).name}", "TopK", inputs, evaluated("TopK", inputs, outputs=2), constants=[1]))
    check(cases)


def test_what_is_no_number_is_the_largest() -> None:
    data = np.array([1, np.nan, 3, -np.inf, 2], np.float32)
    values, places = np.array([np.nan, 3, 2], np.float32), ints(1, 2, 4)
    check([One("top", "TopK", [data, ints(3)], [values, places], constants=[1])])


@pytest.mark.parametrize(
    ("operator", "good", "bad", "message"),
    [
        ("Reshape", ints(4, 6), ints(6, 4), "the shape: not what the model declares"),
        ("Tile", ints(2, 2, 2), ints(2, 2, 1), "the repeats: not what the model declares"),
        ("TopK", ints(2), ints(3), "k: not what the model declares"),
        ("Pad", ints(0, 0, 1, 0, 0, 0), ints(0, 0, 2, 0, 0, 0), "the borders do not give the shape that the model declares"),
    ],
)
def test_parameters_that_do_not_give_the_declared_shape_fail_the_run(operator: str, good: Any, bad: Any, message: str) -> None:
    outputs = 2 if operator == "TopK" else 1
    expected = evaluated(operator, [DATA, good], outputs=outputs)
    names = ["y", "z"][:outputs]
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", "p"], names)],
        "m",
        [helper.make_tensor_value_info("x", 1, DATA.shape), helper.make_tensor_value_info("p", 7, good.shape)],
        [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape) for n, v in zip(names, expected, strict=True)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=8)
    with lb.compile(lb.from_onnx(model), check="off").load() as session:
        np.testing.assert_allclose(session.run({"x": DATA, "p": good})["y"], expected[0])
        with pytest.raises(DeviceError, match=message):
            session.run({"x": DATA, "p": bad})


@pytest.mark.parametrize("target", [[1, 3, 4], [3, 1], [2, 1, 3, 4]])
def test_a_tensor_with_open_dimensions_is_expanded_to_a_known_shape(target: Any) -> None:
    constants = {"target": np.array(target, np.int64)}
    made = small_model([node("Expand", "x target", "y")], {"x": ("float32", ["n", 1, 4])}, {"y": ("float32", None)}, constants)
    compiled = lb.compile(lb.from_onnx(made))
    assert not compiled.report.fallbacks
    for batch in (1, 5):
        x = np.arange(4 * batch, dtype=np.float32).reshape(batch, 1, 4)
        assert_same(compiled.load().run({"x": x}), reference(made, {"x": x}))
