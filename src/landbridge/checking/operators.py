"""Check operators one by one: each is compiled with no neighbour, given what it gets in the model, and compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from landbridge.checking.tolerance import difference
from landbridge.frontends.onnx.extract import extract
from landbridge.frontends.onnx.from_onnx import from_onnx
from landbridge.frontends.onnx.graph import NATIVE_DTYPES, Node, OnnxGraph, ValueType
from landbridge.frontends.onnx.shapes import MAX_ELEMENTS
from landbridge.ir.program import Program
from landbridge.runtime.artifact import Artifact, to_bytes
from landbridge.runtime.session import load

Build = Callable[[Program], Artifact]
"""Compiles a program without checking it."""

_AT_ONCE = 100
"""How many operators are compiled together; they have nothing to do with each other."""


@dataclass(frozen=True)
class Operators:
    """The operators of a graph, with what their values are on some inputs.

    Attributes:
        graph: prepared.
        arrays: every value that they read or make, as the reference gives it.
        build: compiles.
    """

    graph: OnnxGraph
    arrays: Mapping[str, np.ndarray[Any, Any]]
    build: Build

    def differing(self, nodes: Sequence[Node]) -> dict[str, str]:
        """Return by its first output each operator whose native code gives something else, with the difference.

        Operators that are not native when they are alone are not looked at.
        """
        able = [node for node in nodes if self._is_known(node)]
        found: dict[str, str] = {}
        for start in range(0, len(able), _AT_ONCE):
            found.update(self._differing(able[start : start + _AT_ONCE]))
        return found

    def _is_known(self, node: Node) -> bool:
        names = [name for name in (*node.reads, *node.makes) if name not in self.graph.initializers]
        known = all(name in self.arrays and self.arrays[name].dtype.name in NATIVE_DTYPES for name in names)
        return known and not node.captured and bool(node.makes)

    def _differing(self, nodes: Sequence[Node]) -> dict[str, str]:
        program = from_onnx(self._apart(nodes), name="operators")
        session = load(to_bytes(self.build(program)))
        outside = {name for fallback in program.fallbacks.values() for name in fallback.value.split(", ")}
        results = session.run({info.name: self.arrays[info.name] for info in session.inputs})
        found: dict[str, str] = {}
        for node in nodes:
            for name in node.makes:
                alone = _alone(node, name)
                if alone not in results or alone in outside or node.makes[0] in found:
                    continue
                differs = difference(name, results[alone], self.arrays[name])
                if differs:
                    found[node.makes[0]] = differs
        return found

    def _apart(self, nodes: Sequence[Node]) -> Any:
        """Return a model of the operators side by side; no result of one goes into another."""
        inputs: dict[str, ValueType] = {}
        constants: dict[str, Any] = {}
        outputs: dict[str, ValueType] = {}
        protos = []
        for node in nodes:
            for name in node.reads:
                if name in self.graph.initializers:
                    continue
                array = self.arrays[name]
                if array.dtype.kind == "i" and array.ndim < 2 and array.size <= MAX_ELEMENTS and name not in self.graph.inputs:
                    constants[name] = numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)  # perhaps a shape
                else:
                    inputs[name] = ValueType(array.dtype.name, array.shape)
            proto = onnx.NodeProto()
            proto.CopyFrom(node.proto)
            del proto.output[:]
            proto.output.extend(_alone(node, name) if name else "" for name in node.outputs)
            proto.name = node.name
            protos.append(proto)
            outputs.update({_alone(node, name): ValueType(self.arrays[name].dtype.name, self.arrays[name].shape) for name in node.makes})
        return extract(self.graph, protos, inputs, outputs, constants.values(), "operators")


def _alone(node: Node, name: str) -> str:
    return f"{name} of {node.index}"
