"""What is compared.

The light models of the ``onnx`` package, the architectures that ``make test-models`` has exported, transformer layers, what stands before
and after a model, small graphs, quantised operators, and recurrent layers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.backend.test
import processing_graphs
import quantised_graphs
import recurrent_graphs
import transformer_graphs
from onnx import TensorProto, helper, numpy_helper

EXPORTED = Path(__file__).parents[2] / "build/models"
"""Where ``make test-models`` keeps what PyTorch exported: of each architecture a model and a file of inputs."""

LIGHT, EXPORTS, LAYERS, PROCESSING, FORMS, SMALL, QUANTISED, RECURRENT = (
    "light models",
    "exported architectures",
    "a transformer layer",
    "before and after a model",
    "the same picture in other graphs",
    "small graphs",
    "quantised operators",
    "recurrent layers",
)


@dataclass(frozen=True)
class Case:
    """A model as it is run.

    Attributes:
        model: in ONNX.
        feeds: its inputs.
        numpy: the same in NumPy; None where there is none.
        hand: the function of ``hand_fused.c`` that does the same, or "".
    """

    model: Any
    feeds: Mapping[str, Any]
    numpy: Callable[[Mapping[str, Any]], list[Any]] | None = None
    hand: str = ""


@dataclass(frozen=True)
class Entry:
    """A line of the comparison.

    Attributes:
        name: unique.
        group: what it is listed under.
        make: makes the same case each time.
        threads: on how many it is measured.
    """

    name: str
    group: str
    make: Callable[[], Case]
    threads: tuple[int, ...] = (1, 2)


def entries() -> list[Entry]:
    """Return all that is compared, in the order of the table."""
    light = sorted((Path(onnx.backend.test.__file__).parent / "data" / "light").glob("light_*.onnx"))
    exported = sorted(EXPORTED.glob("*.onnx"))
    forms = [(form, scaled) for form in processing_graphs.FORMS for scaled in (False, True)][1:]
    return [
        *(Entry(path.stem, LIGHT, partial(_light, path)) for path in light),
        *(Entry(path.stem, EXPORTS, partial(_exported, path)) for path in exported),
        *(Entry(f"{length} places", LAYERS, partial(_layer, length)) for length in transformer_graphs.LENGTHS),
        *(Entry(name, PROCESSING, partial(_processing, make)) for name, make in processing_graphs.graphs().items()),
        *(Entry(form + ", scaled" * scaled, FORMS, partial(_picture, form, scaled=scaled), (1,)) for form, scaled in forms),
        *(Entry(name, SMALL, partial(_small, make)) for name, make in _SMALL.items()),
        *(Entry(name, QUANTISED, partial(_small, make)) for name, make in quantised_graphs.graphs().items()),
        *(Entry(name, RECURRENT, partial(_small, make)) for name, make in recurrent_graphs.graphs().items()),
    ]


def _light(path: Path) -> Case:
    model = onnx.load(path)
    return Case(model, _random_feeds(model))


def _exported(path: Path) -> Case:
    with np.load(path.with_suffix(".npz")) as feeds:
        return Case(onnx.load(path), dict(feeds))


def _layer(length: int) -> Case:
    model = transformer_graphs.transformer_layer("exported", length)
    return Case(model, _random_feeds(model))


def _processing(make: Callable[[], Any]) -> Case:
    found = make()
    return Case(found.model, found.feeds, found.numpy, found.hand)


def _picture(form: str, *, scaled: bool) -> Case:
    found = processing_graphs.picture(form, scaled=scaled)
    return Case(found.model, found.feeds)


def _small(make: Callable[[], Any]) -> Case:
    model = make()
    return Case(model, _random_feeds(model))


def _random_feeds(model: Any) -> dict[str, Any]:
    random = np.random.default_rng(0)
    weights = {weight.name for weight in model.graph.initializer}
    feeds = {}
    for value in model.graph.input:
        if value.name not in weights:
            tensor = value.type.tensor_type
            shape = [extent.dim_value or 1 for extent in tensor.shape.dim]
            dtype = helper.tensor_dtype_to_np_dtype(tensor.elem_type)
            feeds[value.name] = (random.random(shape) * (255 if dtype == np.uint8 else 1)).astype(dtype)
    return feeds


class _Graph:
    """A small model while it is written."""

    def __init__(self, *shape: int) -> None:
        self.random = np.random.default_rng(0)
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.input = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)

    def floats(self, *shape: int) -> Any:
        """Return a weight that keeps the scale of what it is applied to."""
        return (self.random.standard_normal(shape) / math.sqrt(shape[-1])).astype("float32")

    def add(self, operator: str, *inputs: Any, **attributes: Any) -> str:
        """Return the name of the output of a new node; arrays among the inputs become weights."""
        names = []
        for value in inputs:
            if not isinstance(value, str):
                self.weights.append(numpy_helper.from_array(value, f"w{len(self.weights)}"))
            names.append(value if isinstance(value, str) else self.weights[-1].name)
        self.nodes.append(helper.make_node(operator, names, [f"v{len(self.nodes)}"], **attributes))
        return f"v{len(self.nodes) - 1}"

    def model(self, output: str) -> Any:
        """Return the model that gives ``output``."""
        results = [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)]
        graph = helper.make_graph(self.nodes, "bench", [self.input], results, self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        model.ir_version = 8
        return onnx.shape_inference.infer_shapes(model)


def _residual_net() -> Any:
    graph = _Graph(1, 3, 128, 128)
    y = graph.add("Conv", "x", graph.floats(32, 3, 3, 3), graph.floats(32), strides=[2, 2], pads=[1, 1, 1, 1])
    channels = 32
    for more in (32, 64, 128):
        stride = 1 if more == channels else 2
        skip = graph.add("Conv", y, graph.floats(more, channels, 1, 1), graph.floats(more), strides=[stride, stride])
        y = graph.add("Conv", y, graph.floats(more, channels, 3, 3), graph.floats(more), strides=[stride] * 2, pads=[1] * 4)
        y = graph.add("Conv", graph.add("Relu", y), graph.floats(more, more, 3, 3), graph.floats(more), pads=[1] * 4)
        y, channels = graph.add("Relu", graph.add("Add", y, skip)), more
    pooled = graph.add("Flatten", graph.add("GlobalAveragePool", y))
    return graph.model(graph.add("Gemm", pooled, graph.floats(128, 100), graph.floats(100)))


def _mlp(rows: int) -> Any:
    graph = _Graph(rows, 512)
    y = graph.add("Relu", graph.add("Gemm", "x", graph.floats(1024, 512), graph.floats(1024), transB=1))
    y = graph.add("Tanh", graph.add("Gemm", y, graph.floats(1024, 1024), graph.floats(1024), transB=1))
    return graph.model(graph.add("Gemm", y, graph.floats(10, 1024), graph.floats(10), transB=1))


def _one(operator: str, shape: Sequence[int], weights: int = 0) -> Any:
    graph = _Graph(*shape)
    return graph.model(graph.add(operator, "x", *(graph.floats(shape[-1]) for _ in range(weights))))


_SMALL: dict[str, Callable[[], Any]] = {
    "mlp, 1 row": lambda: _mlp(1),
    "mlp, 64 rows": lambda: _mlp(64),
    "residual net, 128 x 128": _residual_net,
    "softmax, 197 x 768": lambda: _one("Softmax", (197, 768)),
    "layer norm, 197 x 768": lambda: _one("LayerNormalization", (197, 768), 2),
    "sigmoid, 8400 x 80": lambda: _one("Sigmoid", (8400, 80)),
}
