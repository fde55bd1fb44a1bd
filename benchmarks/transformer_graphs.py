"""Write one layer of a transformer as ONNX models have it: the same arithmetic in the forms that exporters give it.

``exported`` is what PyTorch's exporter makes of an encoder layer for operator set 17, every step an operator of its own;
``packed`` has query, key and value from one product, as ``torch.nn.MultiheadAttention`` computes them, and scales both factors of the
scores; ``operators`` has ``Attention`` and ``Gelu`` of newer operator sets. A sequence length of None is a named dimension.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FORMS = ("exported", "packed", "operators")
"""The forms of a layer."""

LENGTHS = (16, 64, 128, 256, 512)
"""Sequence lengths that the comparison is made at."""

_OPSETS = {"exported": 17, "packed": 17, "operators": 23}


class _Layer:
    """A layer while it is written."""

    def __init__(self, form: str, length: int | None, hidden: int, heads: int, seed: int) -> None:
        self.form, self.length, self.hidden, self.heads = form, length, hidden, heads
        self.random = np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def constant(self, array: Any) -> str:
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(array), f"w{len(self.weights)}"))
        return str(self.weights[-1].name)

    def weight(self, *shape: int) -> str:
        """Return a weight that keeps the scale of what it is applied to."""
        return self.constant((self.random.standard_normal(shape) / math.sqrt(shape[0])).astype("float32"))

    def add(self, operator: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """Return the name of the output of a new node; the names where there are several."""
        names = [
            f"{operator.lower()}_{len(self.nodes)}_{i}" if outputs > 1 else f"{operator.lower()}_{len(self.nodes)}" for i in range(outputs)
        ]
        self.nodes.append(helper.make_node(operator, inputs, names, **attributes))
        return names if outputs > 1 else names[0]

    def linear(self, x: str, inputs: int, outputs: int) -> str:
        product = self.add("MatMul", x, self.weight(inputs, outputs))
        return str(self.add("Add", self.constant(0.1 * self.random.standard_normal(outputs).astype("float32")), product))

    def norm(self, x: str) -> str:
        scale = 1 + 0.1 * self.random.standard_normal(self.hidden)
        shift = 0.1 * self.random.standard_normal(self.hidden)
        arrays = (self.constant(array.astype("float32")) for array in (scale, shift))
        return str(self.add("LayerNormalization", x, *arrays, axis=-1, epsilon=1e-5))

    def reshaped(self, x: str, *extents: int) -> str:
        """Return ``x`` with other extents: 0 stands for the sequence length, which a model with a named dimension computes from a shape."""
        if self.length is not None:
            return str(self.add("Reshape", x, self.constant(np.array([extent or self.length for extent in extents], "int64"))))
        length = self.add("Shape", "x", start=1, end=2)
        parts = [length if extent == 0 else self.constant(np.array([extent], "int64")) for extent in extents]
        return str(self.add("Reshape", x, self.add("Concat", *parts, axis=0)))

    def in_heads(self, x: str, perm: tuple[int, ...]) -> str:
        split = self.reshaped(x, 1, 0, self.heads, self.hidden // self.heads)
        return str(self.add("Transpose", split, perm=perm))

    def attention(self, x: str) -> str:
        width = self.hidden // self.heads
        if self.form == "packed":
            packed = self.linear(x, self.hidden, 3 * self.hidden)
            query, key, value = self.add("Split", packed, self.constant(np.full(3, self.hidden, "int64")), outputs=3, axis=-1)
        else:
            query, key, value = (self.linear(x, self.hidden, self.hidden) for _ in range(3))
        if self.form == "operators":
            return str(self.add("Attention", query, key, value, q_num_heads=self.heads, kv_num_heads=self.heads))
        scale = self.constant(np.array(width ** (-0.25 if self.form == "packed" else -0.5), "float32"))
        query, key = self.in_heads(query, (0, 2, 1, 3)), self.in_heads(key, (0, 2, 3, 1))
        if self.form == "packed":
            scores = self.add("MatMul", self.add("Mul", query, scale), self.add("Mul", key, scale))
        else:
            scores = self.add("Mul", self.add("MatMul", query, key), scale)
        mixed = self.add("MatMul", self.add("Softmax", scores, axis=-1), self.in_heads(value, (0, 2, 1, 3)))
        return self.reshaped(self.add("Transpose", mixed, perm=[0, 2, 1, 3]), 1, 0, self.hidden)

    def gelu(self, x: str) -> str:
        if self.form == "operators":
            return str(self.add("Gelu", x))
        one, half, root = (self.constant(np.array(number, "float32")) for number in (1, 0.5, math.sqrt(2)))
        curve = self.add("Add", self.add("Erf", self.add("Div", x, root)), one)
        return str(self.add("Mul", self.add("Mul", x, curve), half))

    def write(self) -> str:
        attended = self.linear(self.attention("x"), self.hidden, self.hidden)
        x = self.norm(self.add("Add", attended, "x"))
        inner = self.gelu(self.linear(x, self.hidden, 4 * self.hidden))
        return self.norm(self.add("Add", self.linear(inner, 4 * self.hidden, self.hidden), x))


def transformer_layer(form: str, length: int | None, *, hidden: int = 768, heads: int = 12, seed: int = 0) -> Any:
    """Return the ONNX model of an encoder layer: ``x`` float32 [1, length, hidden] to ``y`` of the same shape.

    Args:
        form: one of `FORMS`.
        length: of the sequence; None makes it a named dimension ``sequence``.
        hidden: numbers that stand for a place of the sequence.
        heads: of the attention; divides ``hidden``.
        seed: of the weights.
    """
    layer = _Layer(form, length, hidden, heads, seed)
    layer.nodes.append(helper.make_node("Identity", [layer.write()], ["y"]))
    shape = [1, "sequence" if length is None else length, hidden]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", "y"))
    graph = helper.make_graph(layer.nodes, f"transformer layer, {form}", [x], [y], layer.weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSETS[form])])
    model.ir_version = 10
    onnx.checker.check_model(model, full_check=True)
    return model
