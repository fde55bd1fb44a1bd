"""``landbridge export``: a model with offline models in it, for another runtime."""

from __future__ import annotations

import argparse
from pathlib import Path

from landbridge.cli import options
from landbridge.cli.compile import add_regions, program_of
from landbridge.runtime.save_file import save_file


def add(verbs: options.Verbs) -> None:
    """Add the verb."""
    parser = options.verb(
        verbs,
        "export",
        execute,
        summary="write an ONNX model with offline models in it, in the form of ONNX Runtime's EPContext nodes",
        example="landbridge export --ep-context detector.onnx -o ctx.onnx --replace 'atlas0:backbone.om;inputs=image;outputs=features'",
    )
    parser.add_argument("model", metavar="MODEL.onnx")
    parser.add_argument("-o", "--output", required=True, metavar="OUT.onnx")
    parser.add_argument("--ep-context", action="store_true", required=True, help="the form to write: the only one that there is")
    add_regions(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Do it."""
    from landbridge.frontends.ep_context import is_ep_context
    from landbridge.frontends.export_ep_context import export_ep_context

    with options.working(arguments, f"reading {arguments.model}") as progress:
        model = export_ep_context(program_of(arguments, progress))
    output = Path(arguments.output)
    save_file(output, [model.SerializeToString(deterministic=True)])
    nodes = [
        {"name": node.name, "inputs": list(node.input), "outputs": list(node.output)} for node in model.graph.node if is_ep_context(node)
    ]
    lines = [f"{output}: {len(model.graph.node)} nodes, {len(nodes)} of them EPContext"]
    lines += [f"  {node['name']}: {', '.join(node['inputs'])} -> {', '.join(node['outputs'])}" for node in nodes]
    options.say(arguments, "\n".join(lines), {"model": str(output), "nodes": len(model.graph.node), "ep_context": nodes})
    return 0
