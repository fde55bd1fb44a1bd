"""Reductions over axes that are tensors, against onnx's reference evaluator."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from onnx import helper

import landbridge as lb
from landbridge.frontends.onnx.operators.reductions import OPERATORS
from landbridge.runtime.errors import DeviceError
from support.run_onnx import reference
from support.run_operators import One, check, evaluated
from support.small_onnx import node, small_model

RNG = np.random.default_rng(1)


def case(name: str, operator: str, data: Any, axes: Any, **attributes: Any) -> One:
    inputs = [data, np.array(axes, np.int64)]
    with np.errstate(all="ignore"):
        expected = [array.astype(data.dtype) for array in evaluated(operator, inputs, **attributes)]
        return One(name, operator, inputs, expected, attributes=attributes)


def test_every_reduction_over_every_choice_of_axes() -> None:
    data = RNG.standard_normal((2, 3, 4)).astype(np.float32)
    choices: list[tuple[int, ...]] = [(), (0,), (1,), (-1,), (0, 2), (-3, 1), (0, 1, 2)]
    cases = [
        case(f"{operator}_{number}_{keepdims}", operator, np.abs(data) if "Log" in operator else data, axes, keepdims=keepdims)
        for operator, (number, axes), keepdims in itertools.product(OPERATORS, enumerate(choices), (0, 1))
    ]
    check(cases)


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.float16, np.float64])
def test_other_types(dtype: Any) -> None:
    data = RNG.integers(1, 6, (3, 4)).astype(dtype)
    known = [name for name in OPERATORS if np.issubdtype(dtype, np.floating) or "Log" not in name]  # the evaluator has no others
    check([case(operator, operator, data, [1]) for operator in known], rtol=2e-3)


def test_nothing_to_reduce_gives_the_neutral_element() -> None:
    data = np.zeros((2, 0, 3), np.float32)
    cases = [case(f"{operator}_{k}", operator, data, [1], keepdims=k) for operator in OPERATORS if operator != "ReduceMean" for k in (0, 1)]
    check(cases)


def test_the_mean_of_nothing_is_zero_as_in_onnxruntime() -> None:
    """ONNX leaves it undefined; NumPy says that it is no number."""
    data, mean = np.zeros((2, 0), np.float32), np.zeros((2, 1), np.float32)
    check([One("mean", "ReduceMean", [data, np.array([1])], [mean])])


@pytest.mark.parametrize("dtype", ["float32", "float16", "int64"])
def test_a_mean_along_a_dimension_that_may_be_nothing(dtype: str) -> None:
    nodes = [node("ReduceMean", "x first", "rows"), node("ReduceMean", "x first", "flat", keepdims=0), node("ReduceMean", "x", "all")]
    outputs: Any = {"rows": (dtype, (1, 3)), "flat": (dtype, (3,)), "all": (dtype, (1, 1))}
    model = small_model(nodes, {"x": (dtype, ("n", 3))}, outputs, {"first": np.array([0])}, opset=18)
    program = lb.from_onnx(model)
    assert not program.fallbacks
    with lb.compile(program).load() as session:
        for extent in (5, 1, 0):
            feeds = {"x": RNG.integers(-9, 9, (extent, 3)).astype(dtype)}
            expected = reference(model, feeds)
            for name, found in session.run(feeds).items():
                np.testing.assert_allclose(found, expected[name], rtol=1e-3, err_msg=name)


def test_what_is_no_number_goes_through_maxima_and_minima() -> None:
    data = np.array([[1, np.nan, 3], [4, 5, 6]], np.float32)
    check([case(operator, operator, data, [1]) for operator in ("ReduceMax", "ReduceMin")])


def test_axes_that_do_not_give_the_declared_shape_fail_the_run() -> None:
    infos = [helper.make_tensor_value_info("x", 1, [2, 3]), helper.make_tensor_value_info("axes", 7, [1])]
    graph = helper.make_graph(
        [helper.make_node("ReduceSum", ["x", "axes"], ["y"])], "sum", infos, [helper.make_tensor_value_info("y", 1, [1, 3])]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    with lb.compile(lb.from_onnx(model)).load() as session:
        feeds = {"x": np.ones((2, 3), np.float32), "axes": np.array([0])}
        np.testing.assert_array_equal(session.run(feeds)["y"], [[2, 2, 2]])
        with pytest.raises(DeviceError, match="the axes do not give the shape that the model declares"):
            session.run({**feeds, "axes": np.array([1])})
        with pytest.raises(DeviceError, match="an axis that the tensor does not have"):
            session.run({**feeds, "axes": np.array([2])})
