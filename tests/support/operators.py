"""Running one operator on the simulator, and the device's layouts in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from support.acl import Acl
from support.ge_graph import Array, GeGraph, Value

RNG = np.random.default_rng(7)


def rand(*shape: int, dtype: str = "float16") -> Array:
    return (RNG.normal(size=shape)).astype(dtype)


def run(acl: Acl, graph: GeGraph, *inputs: Array) -> Array:
    model = acl.load(graph.to_bytes())
    try:
        return acl.run(model, list(inputs))[0]
    finally:
        acl("aclmdlUnload", model)


def apply(
    acl: Acl,
    type_: str,
    inputs: list[Array],
    shape: tuple[int, ...],
    dtype: str = "float16",
    layout: str = "ND",
    result: str = "",
    **attrs: Any,
) -> Array:
    """Run one operator; the inputs after the first are constants."""
    graph = GeGraph()
    first = graph.data("x", str(inputs[0].dtype), inputs[0].shape, layout)
    rest = [graph.const(f"c{i}", array, layout if array.ndim == 4 else "ND") for i, array in enumerate(inputs[1:])]
    graph.output(graph.op(type_, [first, *rest], Value("y", dtype, shape, result or layout), attrs))
    return run(acl, graph, inputs[0])


def close(found: Array, expected: Array) -> None:
    assert found.shape == expected.shape
    error = np.abs(found.astype(np.float32) - expected) / np.maximum(1, np.abs(expected))
    assert error.max() <= 2e-3


def to_5hd(x: Array) -> Array:
    n, c, h, w = x.shape
    padded = np.zeros((n, -(-c // 16) * 16, h, w), x.dtype)
    padded[:, :c] = x
    return padded.reshape(n, -1, 16, h, w).transpose(0, 1, 3, 4, 2)


def to_fractal_z(w: Array) -> Array:
    n, c, h, k = w.shape
    padded = np.zeros((-(-n // 16) * 16, -(-c // 16) * 16, h, k), w.dtype)
    padded[:n, :c] = w
    blocks = padded.reshape(-1, 16, padded.shape[1] // 16, 16, h, k)
    return np.ascontiguousarray(blocks.transpose(2, 4, 5, 0, 1, 3)).reshape(-1, blocks.shape[0], 16, 16)
