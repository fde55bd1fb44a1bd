"""LiteRT models for tests, built with the schema module of the installed wheel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

TYPES = {"float32": 0, "float16": 1, "int32": 2, "uint8": 3, "int64": 4, "string": 5, "bool": 6, "int16": 7, "int8": 9, "bfloat16": 18}


def require_litert() -> Any:
    """Return the schema module; skips the test where the package is absent."""
    pytest.importorskip("ai_edge_litert.interpreter", reason="needs the package ai-edge-litert: pip install landbridge[litert]")
    from ai_edge_litert import schema_py_generated

    return schema_py_generated


def tflite(
    operator: str,
    inputs: Mapping[str, Sequence[int]],
    output: tuple[str, Sequence[int]],
    *,
    dtype: str = "float32",
    output_dtype: str | None = None,
    weight: Any = None,
    names: Mapping[str, str] | None = None,
    min_version: str = "",
    quantized: tuple[float, int] | None = None,
) -> bytes:
    """Return a model of one operator.

    Args:
        operator: LiteRT's name of it, such as "ADD".
        inputs: shapes by name; -1 is a dynamic extent.
        output: its name and shape.
        weight: a constant second operand.
        names: of a signature, by tensor.
    """
    schema = require_litert()
    import flatbuffers

    model = schema.ModelT()
    model.version, model.description = 3, b"made by a test"
    code = schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, operator)
    code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), 1
    model.operatorCodes, model.buffers = [code], [schema.BufferT()]
    tensors = [_tensor(schema, name, shape, dtype, quantized) for name, shape in inputs.items()]
    arguments = list(range(len(tensors)))
    if weight is not None:
        tensors.append(_tensor(schema, "weight", weight.shape, weight.dtype.name, None, buffer=1))
        model.buffers.append(_buffer(schema, weight.tobytes()))
        arguments.append(len(tensors) - 1)
    tensors.append(_tensor(schema, output[0], output[1], output_dtype or dtype, quantized))
    graph = schema.SubGraphT()
    graph.name, graph.tensors, graph.inputs, graph.outputs = b"main", tensors, list(range(len(inputs))), [len(tensors) - 1]
    step = schema.OperatorT()
    step.opcodeIndex, step.inputs, step.outputs = 0, arguments, graph.outputs
    options = {"ADD": "AddOptions", "MUL": "MulOptions", "CAST": "CastOptions", "FULLY_CONNECTED": "FullyConnectedOptions"}.get(operator)
    if options is not None:
        step.builtinOptionsType, step.builtinOptions = getattr(schema.BuiltinOptions, options), getattr(schema, f"{options}T")()
    graph.operators, model.subgraphs = [step], [graph]
    if names:
        model.signatureDefs = [_signature(schema, graph, names)]
    if min_version:
        entry = schema.MetadataT()
        entry.name, entry.buffer = b"min_runtime_version", len(model.buffers)
        model.metadata = [entry]
        model.buffers.append(_buffer(schema, min_version.encode().ljust(16, b"\0")))
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def dense(weight: Any, inputs: Mapping[str, Sequence[int]], output: tuple[str, Sequence[int]]) -> bytes:
    """Return a model that multiplies by the transpose of ``weight`` (float32 [outputs, inputs])."""
    return tflite("FULLY_CONNECTED", inputs, output, weight=np.ascontiguousarray(weight, np.float32))


def _tensor(schema: Any, name: str, shape: Sequence[int], dtype: str, quantized: tuple[float, int] | None, buffer: int = 0) -> Any:
    tensor = schema.TensorT()
    tensor.name, tensor.type, tensor.buffer, tensor.hasRank = name.encode(), TYPES[dtype], buffer, True
    tensor.shape = np.array([max(extent, 1) for extent in shape], np.int32)
    if any(extent < 0 for extent in shape):
        tensor.shapeSignature = np.array(shape, np.int32)
    if quantized is not None:
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale, tensor.quantization.zeroPoint = [quantized[0]], [quantized[1]]
    return tensor


def _buffer(schema: Any, data: bytes) -> Any:
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(data, np.uint8)
    return buffer


def _signature(schema: Any, graph: Any, names: Mapping[str, str]) -> Any:
    found = schema.SignatureDefT()
    found.signatureKey, found.subgraphIndex = b"serving_default", 0
    found.inputs, found.outputs = ([_named(schema, graph, index, names) for index in part] for part in (graph.inputs, graph.outputs))
    return found


def _named(schema: Any, graph: Any, index: int, names: Mapping[str, str]) -> Any:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = names[graph.tensors[index].name.decode()].encode(), index
    return entry
