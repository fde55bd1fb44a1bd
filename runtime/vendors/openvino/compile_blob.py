"""Compile an ONNX model into an OpenVINO blob; run as a script in a process of its own.

In a process of its own because OpenVINO numbers the operators that it adds with a counter of the process: only a fresh one gives
the same bytes for the same model. Reads a head line of JSON (``properties``, ``dims``: shapes of inputs and outputs by name of the
port) and the serialised model from standard input, writes the blob to standard output. It imports nothing of Landbridge.
"""

from __future__ import annotations

import io
import json
import sys
from typing import Any


def main() -> int:
    """Do it; on failure, say why on standard error and return 1."""
    head = json.loads(sys.stdin.buffer.readline())
    try:
        blob = compile_blob(sys.stdin.buffer.read(), head["properties"], head["dims"])
    except RuntimeError as error:
        sys.stderr.write(str(error))
        return 1
    sys.stdout.buffer.write(blob)
    return 0


def compile_blob(onnx_model: bytes, properties: dict[str, str], dims: dict[str, list[Any]]) -> bytes:
    """Return the blob, with the precision and the names of its dynamic dimensions recorded in the model's ``rt_info``."""
    import openvino as ov  # noqa: PLC0415 - an optional dependency, imported by the process that needs it only

    core = ov.Core()
    model = core.read_model(io.BytesIO(onnx_model))
    groups = [[_shape(port, dims) for port in group] for group in (model.inputs, model.outputs)]
    model.set_rt_info(json.dumps(groups), ["landbridge", "dims"])
    model.set_rt_info(properties["INFERENCE_PRECISION_HINT"], ["landbridge", "precision"])
    exported = core.compile_model(model, "CPU", properties).export_model()
    return bytes(exported.getvalue() if isinstance(exported, io.BytesIO) else exported)


def _shape(port: Any, dims: dict[str, list[Any]]) -> list[Any]:
    """Return the port's shape with the model's own name for each dynamic dimension, or ""."""
    found = list(port.partial_shape)
    own = next((dims[name] for name in sorted(port.names) if len(dims.get(name, ())) == len(found)), [""] * len(found))
    return [(name if isinstance(name, str) else "") if dim.is_dynamic else dim.get_length() for dim, name in zip(found, own, strict=True)]


if __name__ == "__main__":
    sys.exit(main())
