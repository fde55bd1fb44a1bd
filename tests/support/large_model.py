"""A model of thousands of operators with offline models between them, for what must stay fast."""

from __future__ import annotations

from typing import Any

import numpy as np

import landbridge as lb
from landbridge.simulators.ascend.make_om import make_om
from support.small_onnx import node, small_model

WIDE = 16
BLOCK = 47
"""Operators in a block."""
EVERY = 8
"""One block of so many ends in an offline model."""


def offline_block() -> bytes:
    """Return an offline model for Ascend, float16 in and out."""
    shape = ("float32", ("n", WIDE))
    middle = small_model([node("Sigmoid", "x", "y")], {"x": shape}, {"y": shape})
    return make_om(middle, gears=(1, 8), name="block", input_dtype="float16", output_dtype="float16")


def large_model(operators: int) -> Any:
    """Return a program that comes to about so many operators when it is placed, with a few crossings among them."""
    rng = np.random.default_rng(0)
    weight = (rng.random((WIDE, WIDE), np.float32) - 0.5) / 2
    nodes, value = [], "image"
    for block in range(operators // BLOCK):
        skip = value
        for index in range(15):
            name = f"/stage{block}/layer{index}"
            nodes.append(node("MatMul", f"{value} weight", f"{name}/product"))
            nodes.append(node("Add", f"{name}/product bias", f"{name}/sum"))
            nodes.append(node("Relu", f"{name}/sum", f"{name}/act"))
            value = f"{name}/act"
        nodes.append(node("Add", f"{value} {skip}", f"/stage{block}/skip"))
        value = f"/stage{block}/skip"
        if block % EVERY == 1:
            nodes.append(node("Sigmoid", value, f"/stage{block}/gate"))
            value = f"/stage{block}/gate"
    bias: np.ndarray[Any, Any] = np.full(WIDE, 0.01, np.float32)
    constants: dict[str, np.ndarray[Any, Any]] = {"weight": weight, "bias": bias}
    program = lb.from_onnx(small_model(nodes, {"image": ("float32", ("n", WIDE))}, {value: ("float32", ("n", WIDE))}, constants))
    blob = lb.ExternModel.from_bytes(offline_block(), name="gate.om")
    for block in range(1, operators // BLOCK, EVERY):
        program = lb.replace(program, inputs=[f"/stage{block}/skip"], outputs=[f"/stage{block}/gate"], by=blob)
    return program
