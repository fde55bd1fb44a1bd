"""Write recurrent layers as PyTorch exports them: weights and biases for each direction, a GRU that resets after its product."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

GATES = {"LSTM": 4, "GRU": 3}


def graphs() -> dict[str, Callable[[], Any]]:
    """Return what is compared: by name a function that makes the model."""
    return {
        "LSTM, 64 steps of 1, 128 to 128": lambda: layer("LSTM", 64, 1, 128, 128),
        "LSTM, 32 steps of 16, 256 to 256, both ways": lambda: layer("LSTM", 32, 16, 256, 256, both_ways=True),
        "GRU, 64 steps of 1, 256 to 256": lambda: layer("GRU", 64, 1, 256, 256),
        "GRU, 32 steps of 16, 128 to 128": lambda: layer("GRU", 32, 16, 128, 128),
    }


def layer(kind: str, steps: int, batch: int, inputs: int, hidden: int, *, both_ways: bool = False, seed: int = 0) -> Any:
    """Return the model of a layer on ``x``, float32 [steps, batch, inputs], that gives all states and the last ones.

    Args:
        kind: of `GATES`.
        hidden: units in each direction.
        both_ways: two directions.
        seed: of the weights and the biases.
    """
    random, directions, gates = np.random.default_rng(seed), 1 + both_ways, GATES[kind] * hidden
    bound = 1 / np.sqrt(hidden)
    shapes = {"w": (directions, gates, inputs), "r": (directions, gates, hidden), "b": (directions, 2 * gates)}
    weights = [numpy_helper.from_array(random.uniform(-bound, bound, shape).astype("float32"), name) for name, shape in shapes.items()]
    attributes: dict[str, Any] = {"hidden_size": hidden, "direction": "bidirectional" if both_ways else "forward"}
    if kind == "GRU":
        attributes["linear_before_reset"] = 1
    outputs = ["y", "h", "c"][: 3 if kind == "LSTM" else 2]
    node = helper.make_node(kind, ["x", *shapes], outputs, **attributes)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [steps, batch, inputs])
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    graph = helper.make_graph([node], "recurrent", [x], results, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model)
