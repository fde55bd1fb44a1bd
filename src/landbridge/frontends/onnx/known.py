"""Values of an ONNX graph that are known before anything of it is imported: what follows from constants and from fixed shapes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from landbridge.frontends.onnx.graph import DOMAINS, ValueType, captured_by, declared_types

RANDOM = ("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli", "Dropout")
"""Operators that may give another result each time."""

_MOST_ELEMENTS = 4096
"""The most elements of a constant that is worth following."""

_MOST_NODES = 1024
"""The most operators that are worked out for one value."""

Array = np.ndarray[Any, Any]


class Known:
    """What is known of one graph. Operators and constants may be added as a rewrite makes them.

    Attributes:
        types: of the values, by name.
    """

    def __init__(self, model: Any) -> None:
        """Look at a model whose types are inferred."""
        self.types: dict[str, ValueType] = declared_types(model.graph)
        self._opsets = list(model.opset_import)
        self._ir_version = int(model.ir_version)
        self._found: dict[str, Array | None] = {}
        self._tensors: dict[str, Any] = {}
        self._producer: dict[str, Any] = {}
        self.add_tensors(model.graph.initializer)
        self.add_nodes(model.graph.node)

    def add_tensors(self, tensors: Iterable[Any]) -> None:
        """Take constants for part of the graph."""
        self._tensors.update({tensor.name: tensor for tensor in tensors})

    def add_nodes(self, nodes: Iterable[Any]) -> None:
        """Take operators for part of the graph."""
        self._producer.update({name: node for node in nodes for name in node.output if name})

    def value(self, name: str) -> Array | None:
        """Return a value, or None where only a run will tell it."""
        if name not in self._found:
            self._find(name)
        return self._found[name]

    def _find(self, name: str) -> None:
        """Work out a value, and with it those that it follows from."""
        order: dict[int, Any] = {}
        feeds: dict[str, Array] = {}
        waiting: list[tuple[str, bool]] = [(name, False)]
        while waiting:
            wanted, ready = waiting.pop()
            if ready:
                order.setdefault(id(self._producer[wanted]), self._producer[wanted])
                continue
            if wanted in feeds or (wanted in self._producer and id(self._producer[wanted]) in order):
                continue
            found = self._leaf(wanted)
            if found is not None:
                feeds[wanted] = found
                continue
            node = self._producer.get(wanted)
            if node is None or not _is_pure(node) or len(waiting) + len(order) > _MOST_NODES:
                self._found[name] = None
                return
            waiting.append((wanted, True))
            waiting.extend((read, False) for read in node.input if read)
        self._found.update(feeds)
        if name not in feeds:
            self._found[name] = None
            self._found.update(self._evaluate(list(order.values()), feeds))

    def _leaf(self, name: str) -> Array | None:
        """Return what is known of a value without working anything out."""
        if self._found.get(name) is not None:
            return self._found[name]
        tensor = self._tensors.get(name)
        if tensor is not None:
            small = tensor.data_type != onnx.TensorProto.STRING and np.prod(tensor.dims, dtype=np.int64) <= _MOST_ELEMENTS
            return np.asarray(numpy_helper.to_array(tensor)) if small else None
        node = self._producer.get(name)
        extents = None if node is None or node.domain not in DOMAINS else self._extents(node)
        return (
            np.array(extents, np.int64)
            if extents is not None and all(isinstance(e, int) for e in np.ravel(np.array(extents, object)))
            else None
        )

    def _extents(self, node: Any) -> Any:
        """Return what an operator takes of a tensor's shape, its extents known or not; None where it does no such thing."""
        if node.op_type == "Gather" and node.input[0] in self._producer:  # as exporters pick one extent of several
            source, index = self._extents(self._producer[node.input[0]]), self._leaf(node.input[1])
            fits = isinstance(source, tuple) and index is not None and np.all((-len(source) <= index) & (index < len(source)))
            return np.array(source, object)[index] if fits else None
        shape = self.types.get(node.input[0], ValueType()).shape if node.op_type in ("Shape", "Size") else None
        if shape is None:
            return None
        if node.op_type == "Size":
            return (
                None
                if not all(isinstance(extent, int) for extent in shape)
                else math.prod(extent for extent in shape if extent is not None)
            )
        bounds = {attribute.name: int(attribute.i) for attribute in node.attribute}
        return tuple(shape[bounds.get("start") : bounds.get("end")])

    def _evaluate(self, nodes: list[Any], feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Return what operators make of constants; nothing where the reference cannot say."""
        made = [name for node in nodes for name in node.output if name]
        inputs = [
            onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(a.dtype), a.shape) for name, a in feeds.items()
        ]
        graph = onnx.helper.make_graph(nodes, "known", inputs, [onnx.helper.make_empty_tensor_value_info(name) for name in made])
        model = onnx.helper.make_model(graph, opset_imports=self._opsets, ir_version=self._ir_version)
        try:
            arrays = ReferenceEvaluator(model).run(None, dict(feeds))
        except Exception:  # the reference evaluator raises anything; the value is then one that a run will tell
            return {}
        return {name: np.asarray(array) for name, array in zip(made, arrays, strict=True)}


def _is_pure(node: Any) -> bool:
    return node.domain in DOMAINS and node.op_type not in RANDOM and not captured_by(node)
