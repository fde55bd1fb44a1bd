"""Small ONNX models for tests, written in one line each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

DTYPES: dict[str, int] = {
    "float32": onnx.TensorProto.FLOAT,
    "float16": onnx.TensorProto.FLOAT16,
    "float64": onnx.TensorProto.DOUBLE,
    "bfloat16": onnx.TensorProto.BFLOAT16,
    "int64": onnx.TensorProto.INT64,
    "int32": onnx.TensorProto.INT32,
    "int8": onnx.TensorProto.INT8,
    "uint8": onnx.TensorProto.UINT8,
    "bool": onnx.TensorProto.BOOL,
    "string": onnx.TensorProto.STRING,
}

Value = tuple[str, Sequence[Any] | None]
"""A value's dtype and shape; a str in the shape is a named dimension, None one without a name; the shape of an output may be None."""

OPSET = 17


def small_model(
    nodes: Sequence[Any],
    inputs: Mapping[str, Value],
    outputs: Mapping[str, Value],
    constants: Mapping[str, NDArray[Any]] | None = None,
    *,
    name: str = "small",
    opset: int = OPSET,
) -> Any:
    """Return a checked ``ModelProto``; outputs whose shape is None get it by ONNX's inference."""
    graph = helper.make_graph(
        list(nodes),
        name,
        [helper.make_tensor_value_info(key, DTYPES[dtype], shape) for key, (dtype, shape) in inputs.items()],
        [helper.make_tensor_value_info(key, DTYPES[dtype], shape) for key, (dtype, shape) in outputs.items()],
        [numpy_helper.from_array(np.asarray(array), key) for key, array in (constants or {}).items()],
    )
    others = [helper.make_opsetid(domain, 1) for domain in dict.fromkeys(node.domain for node in nodes) if domain]
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset), *others], ir_version=8)
    if any(shape is None for _, shape in outputs.values()):
        model = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    onnx.checker.check_model(model)
    return model


def node(op: str, inputs: str, outputs: str, **attributes: Any) -> Any:
    """Return a node; ``inputs`` and ``outputs`` are names separated by spaces, ``_`` an input left out; it is called ``op_output``."""
    names = ["" if name == "_" else name for name in inputs.split()]
    return helper.make_node(op, names, outputs.split(), name=f"{op.lower()}_{outputs.split(maxsplit=1)[0]}", **attributes)


def never_native(source: str, result: str) -> Any:
    """Return a node of a float32 tensor that ONNX Runtime has and native code will never have."""
    return node("QuickGelu", source, result, domain="com.microsoft")
