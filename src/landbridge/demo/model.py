"""The model of the demo, as an exporter would write it: one ONNX file from the image to the digit.

::

    image uint8 [n, 8, 8, 1] -> Cast, scale, normalise, to NCHW          pre-processing
      -> conv1, conv2, pool, conv3, pool -> "features" [n, 128]          backbone
      -> fc1, fc2 -> "logits" [n, 10]                                    head
      -> "probabilities", "digit"                                        post-processing
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from landbridge.demo.data import MEAN, STD

WEIGHTS = Path(__file__).with_name("digits.npz")
"""The trained weights, float16; ``examples/train_digits.py`` writes them."""

BACKBONE = (["normalised"], ["features"])
"""Where the backbone begins and ends: names of tensors."""

HEAD = (["features"], ["logits"])
"""Where the head begins and ends."""


def digits_model() -> onnx.ModelProto:
    """Return the whole model, float32 inside, with the batch ``n`` left open."""
    with np.load(WEIGHTS) as saved:
        weights = {name: saved[name].astype(np.float32) for name in saved.files}
    constants = {
        "levels": np.float32(16),
        "mean": np.float32(MEAN),
        "std": np.float32(STD),
        **weights,
    }
    nodes = [
        _node("Cast", "image", "pixels", to=TensorProto.FLOAT),
        _node("Div", ["pixels", "levels"], "scaled"),
        _node("Sub", ["scaled", "mean"], "centred"),
        _node("Div", ["centred", "std"], "standardised"),
        _node("Transpose", "standardised", "normalised", perm=[0, 3, 1, 2]),
        *_conv("conv1", "normalised"),
        *_conv("conv2", "conv1"),
        _node("MaxPool", "conv2", "pool1", kernel_shape=[2, 2], strides=[2, 2]),
        *_conv("conv3", "pool1"),
        _node("MaxPool", "conv3", "pool2", kernel_shape=[2, 2], strides=[2, 2]),
        _node("Flatten", "pool2", "features"),
        _node("Gemm", ["features", "fc1.weight", "fc1.bias"], "hidden", transB=1),
        _node("Relu", "hidden", "fc1"),
        _node("Gemm", ["fc1", "fc2.weight", "fc2.bias"], "logits", transB=1),
        _node("Softmax", "logits", "probabilities", axis=1),
        _node("ArgMax", "logits", "digit", axis=1, keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", 8, 8, 1])],
        [
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 10]),
            helper.make_tensor_value_info("digit", TensorProto.INT64, ["n"]),
        ],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(model)
    return model


def _node(operator: str, inputs: str | list[str], output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(operator, [inputs] if isinstance(inputs, str) else inputs, [output], f"{operator}_{output}", **attributes)


def _conv(name: str, source: str) -> list[onnx.NodeProto]:
    return [
        _node("Conv", [source, f"{name}.weight", f"{name}.bias"], f"{name}.sum", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        _node("Relu", f"{name}.sum", name),
    ]
