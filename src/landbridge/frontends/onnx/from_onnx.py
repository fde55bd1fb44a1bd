"""Import ONNX models.

Every operator that TVM takes becomes native code; the others run in ONNX Runtime on the CPU, as few regions of them as possible,
each named in `Program.fallbacks` with its reason. Names of inputs, outputs and values stay the user's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from landbridge.frontends import ep_context
from landbridge.frontends.onnx.assemble import Assembly, Border
from landbridge.frontends.onnx.build import Build
from landbridge.frontends.onnx.graph import OnnxGraph
from landbridge.frontends.onnx.load import OnnxModel, load
from landbridge.frontends.onnx.prepare import prepare
from landbridge.ir.one_at_a_time import one_at_a_time
from landbridge.ir.program import Program


@one_at_a_time
def from_onnx(
    model: OnnxModel, *, shapes: Mapping[str, Sequence[int | str]] | None = None, fallback: bool = True, name: str | None = None
) -> Program:
    """Return the program that an ONNX model describes.

    Args:
        model: a path, the serialised model, or a `ModelProto`, which is not changed.
        shapes: by input, extents in place of the model's symbolic ones; a string names a dimension that stays open.
        fallback: whether operators that cannot be native may run in ONNX Runtime.
        name: what messages call the model; the name of its file by default.

    Raises:
        ModelError: it cannot be read or is not valid, or ``shapes`` does not fit it.
        UnsupportedError: operators or types that cannot run; all of them are named.
        SignatureError: an offline model in it (an EPContext node) cannot be called like this.

    Example:
        >>> model = lb.from_onnx("digits/digits.onnx", shapes={"image": (4, 8, 8, 1)})
    """
    proto, title = load(model, name)
    ep_context.embed(proto, title, Path(model).parent if isinstance(model, str | Path) else None)
    return import_graph(prepare(proto, title, shapes), fallback=fallback)


def import_graph(
    graph: OnnxGraph, *, fallback: bool = True, borders: Sequence[Border] = (), refused: Mapping[str, str] | None = None
) -> Program:
    """Return the program of a prepared graph.

    Args:
        borders: the inputs and outputs of regions; no fallback region has operators of both sides of one.
        refused: by one of its outputs each operator that must not be native, with the reason.

    Raises:
        UnsupportedError, SignatureError: as `from_onnx`.
    """
    build = Build(graph, refused or {})
    params = [build.values.declare(value, graph.type_of(value)) for value in graph.inputs]
    outputs = build.walk()
    return Assembly(build, borders).program(params, outputs, fallback=fallback)
