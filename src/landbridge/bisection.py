"""Which operator of the CPU's code is wrong? Compile ever smaller parts of the model, each by itself, and compare.

A part begins at what the artifact's own run had at the border of the region: what offline models gave, or inputs. Whether its result is
right says the model itself on the very same values, so that what an offline model did wrong is no part of it. Of the operators before the
wrong value, the first is looked for whose value comes out wrong although what it reads is right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from landbridge.compiler import compile as compile_model
from landbridge.frontends.onnx.from_onnx import from_onnx
from landbridge.frontends.onnx.graph import Node, OnnxGraph, between
from landbridge.frontends.onnx.prepare import prepare
from landbridge.frontends.split import cut
from landbridge.reference import Reference
from landbridge.runtime.artifact import Artifact
from landbridge.runtime.boundaries import Boundary
from landbridge.runtime.comparison import TOLERANCES, Difference, Tolerance, coarsest, compare
from landbridge.runtime.errors import LandbridgeError
from landbridge.runtime.verdict import Regions, Verdict


@dataclass(frozen=True)
class Culprit:
    """What a bisection found.

    Attributes:
        reproduced: whether the region comes out wrong when it is compiled by itself.
        operator: the first that is wrong, with its type; "" where there is none.
        value: what it makes.
        reads: what it reads.
        difference: of the value from what it should be.
        compilations: how many it took.
        reason: why nothing was found, where that is so.
    """

    reproduced: bool
    operator: str = ""
    value: str = ""
    reads: tuple[str, ...] = ()
    difference: Difference | None = None
    compilations: int = 0
    reason: str = ""

    def render(self) -> str:
        """Return it as text."""
        if self.difference is not None:
            found = f"{self.operator}, which makes '{self.value}' of {', '.join(self.reads)}: {self.difference.describe()}"
            return f"the first operator that is wrong by itself is {found} (found in {self.compilations} compilations)"
        return self.reason

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {**vars(self), "reads": list(self.reads), "difference": self.difference.to_json() if self.difference else None}


def bisect(
    artifact: Artifact,
    verdict: Verdict,
    run: tuple[Mapping[str, Any], Sequence[Boundary]],
    reference: Reference,
    tolerance: Tolerance | None = None,
) -> Culprit:
    """Return the operator to blame for the first value of a verdict that differs, which the CPU's code made.

    Args:
        run: the inputs, and the boundaries that the run had, on which the verdict is.
        tolerance: as for the verdict.

    Raises:
        ValueError: the verdict blames something else.
    """
    first = verdict.first
    if first is None or not verdict.by_host:
        raise ValueError("no value differs that the CPU's code made")
    plan = artifact.plan
    inputs, boundaries = run
    at_border = {value.buffer: value.array for boundary in boundaries for value in boundary.outputs}
    at_border |= {entry.buffer: inputs[entry.name] for entry in plan.inputs}
    given = {plan.buffers[buffer].name: at_border[buffer] for buffer in Regions(artifact).of(first.buffer).borders}
    value, target = first.difference.name, f"llvm -mcpu={artifact.target.cpu}" if artifact.target.cpu else None
    try:
        search = _Search(prepare(reference.model, reference.title), given, target, tolerance)
        return search.run(value, plan.buffers[first.buffer].dtype)
    except LandbridgeError as error:
        return Culprit(False, reason=f"the region cannot be compiled by itself: {error.at}: {error.message}")


@dataclass
class _Search:
    """A bisection under way.

    Attributes:
        graph: the model.
        given: the values at the border of the region, by name.
        target: of the host code.
        tolerance: the caller's, or None.
        found: by value, how it came out of a part that ends with it.
    """

    graph: OnnxGraph
    given: Mapping[str, Any]
    target: str | None
    tolerance: Tolerance | None
    found: dict[str, Difference] = field(default_factory=dict)

    def run(self, value: str, dtype: str) -> Culprit:
        """Search before ``value``, which is of ``dtype`` in the artifact."""
        if self.right(value):
            own = self.graph.type_of(value).dtype
            conversion = f"; what differs comes from its conversion to {dtype}" if own != dtype else ""
            reason = (
                f"'{value}' comes out right when the operators before it are compiled by themselves from {self.graph.title}{conversion}"
            )
            other = "" if conversion else ": was the artifact compiled from this very model, and by this release?"
            return Culprit(False, compilations=len(self.found), reason=reason + other)
        node = self.graph.producer[value]
        while True:
            node, value = self._first_wrong(node, value)
            wrong = next((name for name in self._made_here(node) if not self.right(name)), None)
            if wrong is None:
                return Culprit(True, node.label, value, node.reads, self.found[value], len(self.found))
            node, value = self.graph.producer[wrong], wrong

    def right(self, value: str) -> bool:
        """Return whether the part that ends with ``value`` gives what the model gives on the same values."""
        if value not in self.found:
            self.found[value] = self._probe(value)
        return self.found[value].agrees

    def _first_wrong(self, node: Node, value: str) -> tuple[Node, str]:
        """Return an operator before ``node`` or itself that is wrong, while the one before it in the graph's order is right."""
        members = sorted(between(self.graph, list(self.given), [value]).members)
        known, wrong = -1, len(members) - 1  # the last one is wrong
        while wrong - known > 1:
            middle = (known + wrong) // 2
            if self._node_right(self.graph.nodes[members[middle]], value):
                known = middle
            else:
                wrong = middle
        found = self.graph.nodes[members[wrong]]
        return found, value if found.index == node.index else next(name for name in self._tensors(found) if not self.right(name))

    def _node_right(self, node: Node, value: str) -> bool:
        return all(name == value or self.right(name) for name in self._tensors(node))

    def _made_here(self, node: Node) -> list[str]:
        """Return what an operator reads that the region makes."""
        return [name for name in node.reads if name not in self.given and name in self.graph.producer and self._is_plain(name)]

    def _tensors(self, node: Node) -> list[str]:
        return [name for name in node.makes if self._is_plain(name)]

    def _is_plain(self, name: str) -> bool:
        """Return whether a part can end with a value: it is a tensor whose type is known, and depends on the border."""
        known = self.graph.type_of(name)
        reads = between(self.graph, list(self.given), [name]).reads
        return known.tensor and bool(known.dtype) and known.shape is not None and any(given in reads for given in self.given)

    def _probe(self, value: str) -> Difference:
        """Compile the part that ends with ``value``, run it, and compare."""
        reads = between(self.graph, list(self.given), [value]).reads
        used = [name for name in self.given if name in reads]
        part = cut(self.graph, used, [value])
        inputs = {name: np.asarray(self.given[name]).astype(self.graph.type_of(name).dtype, copy=False) for name in used}
        expected = Reference(part, self.graph.title).run(inputs, [value])[value]
        with compile_model(from_onnx(part, name=self.graph.title), self.target, check="off").load() as session:  # a check would mend it
            result = np.asarray(session.run(inputs)[value])
        names = [self.graph.type_of(name).dtype for name in (*used, value)]
        return compare(value, result, expected, self.tolerance or TOLERANCES[coarsest(*names)])
