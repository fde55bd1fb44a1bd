from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tvm import tirx

from landbridge.frontends.onnx.graph import Node
from landbridge.frontends.onnx.shapes import evaluate, extents, is_static, reshaped, shape_extents
from support.small_onnx import node

N = tirx.Var("n", "int64")
H = tirx.Var("h", "int64")


def run(proto: Any, *inputs: Any) -> Any:
    wrapped = Node(0, proto, tuple(proto.input), (), tuple(proto.output))
    return evaluate(wrapped, 17, [None if value is None else extents(value) for value in inputs])


def text(values: Any) -> list[str]:
    return [str(value).replace("T.int64(", "").replace(")", "") for value in values.flat]


def test_the_usual_way_to_flatten_is_followed() -> None:
    shape = shape_extents([N, 3, H])
    first = run(node("Gather", "s i", "y"), shape, np.array(0))
    assert first.shape == ()
    assert text(run(node("Concat", "a b", "y", axis=0), run(node("Unsqueeze", "x a", "y"), first, [0]), [-1])) == ["n", "-1"]


@pytest.mark.parametrize(
    ("proto", "inputs", "expected"),
    [
        (node("Add", "a b", "y"), ([N, 1], [1, 1]), ["n + 1", "2"]),
        (node("Sub", "a b", "y"), ([N], [N]), ["0"]),
        (node("Mul", "a b", "y"), ([N, 4], [2]), ["n * 2", "8"]),
        (node("Div", "a b", "y"), ([N * 4, 9], [2]), ["n * 2", "4"]),
        (node("Div", "a b", "y"), ([N * 2 - 2], [2]), ["n - 1"]),
        (node("Max", "a b", "y"), ([3, 5], [4]), ["4", "5"]),
        (node("Neg", "a", "y"), ([N, 2],), ["0 - n", "-2"]),
        (node("Equal", "a b", "y"), ([N, 2, N], [-1, 2, N]), ["0", "1", "1"]),
        (node("Where", "c a b", "y"), ([0, 1], [5], [N, H]), ["n", "5"]),
        (node("Slice", "a s e", "y"), ([1, N, H], [1], [3]), ["n", "h"]),
        (node("Slice", "a s e", "y"), ([1, N, H], [-1], [2**63 - 1]), ["h"]),
        (node("Squeeze", "a", "y"), ([N],), ["n"]),
        (node("ReduceProd", "a", "y"), ([N, 2, 3],), ["n * 6"]),
        (node("Reshape", "a s", "y"), ([N, H], [2, 1]), ["n", "h"]),
        (node("Cast", "a", "y", to=6), ([N],), ["n"]),
    ],
    ids=lambda value: value.op_type if hasattr(value, "op_type") else None,
)
def test_what_is_followed(proto: Any, inputs: Any, expected: list[str]) -> None:
    assert text(run(proto, *inputs)) == expected


@pytest.mark.parametrize(
    ("proto", "inputs"),
    [
        (node("Cast", "a", "y", to=1), ([N],)),
        (node("Div", "a b", "y"), ([N], [0])),
        (node("Div", "a b", "y"), ([N - 5], [2])),
        (node("Div", "a b", "y"), ([-3], [2])),
        (node("Gather", "a i", "y"), ([1, 2], [N])),
        (node("Gather", "a i", "y"), ([N, 2], [7])),
        (node("Slice", "a s e x t", "y"), ([N, 2], [1], [0], [0], [-1])),
        (node("Equal", "a b", "y"), ([N], [3])),
        (node("Sqrt", "a", "y"), ([N],)),
    ],
    ids=["to a float", "by zero", "perhaps negative", "negative", "at a symbol", "out of range", "backwards", "perhaps equal", "unknown"],
)
def test_what_is_left_to_the_importer(proto: Any, inputs: Any) -> None:
    assert run(proto, *inputs) is None


def test_reshape_works_out_zeros_and_minus_one() -> None:
    assert text(reshaped(extents([0, -1]), [N, 3, H], allow_zero=False)) == ["n", "h * 3"]
    assert text(reshaped(extents([-1, 4]), [2, 6], allow_zero=False)) == ["3", "4"]
    assert text(reshaped(extents([0, 3]), [0, 5], allow_zero=True)) == ["0", "3"]


def test_static_means_numbers_only() -> None:
    assert is_static(extents([1, 2]))
    assert not is_static(extents([1, N]))
    assert is_static(extents([N - N]))
