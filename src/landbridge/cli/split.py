"""``landbridge split``: cut a region out of an ONNX model, for a vendor's own tool."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from landbridge.cli import options


def add(verbs: options.Verbs) -> None:
    """Add the verb."""
    parser = options.verb(
        verbs,
        "split",
        execute,
        summary="write a region of an ONNX model as a model of its own",
        example="landbridge split detector.onnx --inputs image --outputs features -o backbone.onnx",
    )
    parser.add_argument("model", metavar="MODEL.onnx")
    parser.add_argument("--inputs", required=True, metavar="A,B", help="names of the tensors where the region begins")
    parser.add_argument("--outputs", required=True, metavar="C", help="names of the tensors where it ends")
    parser.add_argument("-o", "--output", required=True, metavar="PART.onnx")


def execute(arguments: argparse.Namespace) -> int:
    """Do it."""
    import landbridge as lb

    part = lb.split(arguments.model, inputs=arguments.inputs.split(","), outputs=arguments.outputs.split(","))
    Path(arguments.output).write_bytes(part.SerializeToString(deterministic=True))
    ports = {"inputs": _ports(part.graph.input), "outputs": _ports(part.graph.output)}
    lines = [f"{arguments.output}: {len(part.graph.node)} nodes"]
    lines += [f"  {kind[:-1]:6} {name}: {text}" for kind, found in ports.items() for name, text in found.items()]
    options.say(arguments, "\n".join(lines), {"model": arguments.output, "nodes": len(part.graph.node), **ports})
    return 0


def _ports(values: Any) -> dict[str, str]:
    import onnx

    found = {}
    for value in values:
        tensor = value.type.tensor_type
        extents = ", ".join(dim.dim_param or str(dim.dim_value) for dim in tensor.shape.dim)
        found[value.name] = f"{onnx.TensorProto.DataType.Name(tensor.elem_type).lower()} [{extents}]"
    return found
