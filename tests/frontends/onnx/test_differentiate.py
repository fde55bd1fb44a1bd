"""``Gradient`` becomes operators, with the derivatives that differences give; what cannot be derived stays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from onnx import helper

import landbridge as lb
from landbridge.frontends.onnx.prepare import prepare
from support.run_onnx import run_program
from support.small_onnx import node, small_model

TRAINING = "ai.onnx.preview.training"


def gradient(nodes: Sequence[Any], xs: Sequence[str], inputs: Sequence[str] | None = None) -> Any:
    """Return a model of ``y`` and its derivatives by ``xs``; its inputs are a and b."""
    wanted = [f"by_{name}" for name in xs]
    made = helper.make_node("Gradient", list(inputs or xs), wanted, name="gradient", domain=TRAINING, xs=list(xs), y="y")
    ports = dict.fromkeys(("y", *wanted), ("float64", (3,)))
    return small_model([*nodes, made], {"a": ("float64", (3,)), "b": ("float64", (3,))}, ports, opset=17)


FUNCTIONS: dict[str, tuple[Sequence[Any], Callable[[Any, Any], Any]]] = {
    "Add": ([node("Add", "a b", "s"), node("Mul", "s a", "y")], lambda a, b: (a + b) * a),
    "Div": ([node("Div", "a b", "q"), node("Sub", "q a", "y")], lambda a, b: a / b - a),
    "Exp": ([node("Neg", "a", "n"), node("Exp", "n", "e"), node("Mul", "e b", "y")], lambda a, b: np.exp(-a) * b),
    "Log": ([node("Log", "a", "l"), node("Sqrt", "b", "r"), node("Mul", "l r", "y")], lambda a, b: np.log(a) * np.sqrt(b)),
    "Tanh": ([node("Tanh", "a", "t"), node("Sigmoid", "b", "s"), node("Mul", "t s", "y")], lambda a, b: np.tanh(a) / (1 + np.exp(-b))),
    "reused": ([node("Mul", "a a", "s"), node("Identity", "s", "t"), node("Mul", "t s", "y")], lambda a, b: a**4 + 0 * b),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_derivatives_are_those_that_differences_give(name: str) -> None:
    nodes, function = FUNCTIONS[name]
    program = lb.from_onnx(gradient(nodes, ["a", "b"]))
    assert not program.fallbacks
    a, b, step = np.array([0.5, 1.2, 2.0]), np.array([1.5, 0.7, 3.0]), 1e-6
    found = run_program(program, {"a": a, "b": b})
    np.testing.assert_allclose(found["by_a"], (function(a + step, b) - function(a - step, b)) / (2 * step), rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(found["by_b"], (function(a, b + step) - function(a, b - step)) / (2 * step), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    "model",
    [
        gradient([node("Sin", "a", "s"), node("Add", "s b", "y")], ["a", "b"]),
        gradient([node("Mul", "a b", "y")], ["a"], inputs=["b"]),
    ],
    ids=["an operator without a rule", "other values"],
)
def test_what_cannot_be_derived_stays(model: Any) -> None:
    assert "Gradient" in [found.proto.op_type for found in prepare(model, "m").nodes]
