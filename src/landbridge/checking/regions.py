"""Check the native regions of an artifact: what they give, on made-up inputs, must be what the ONNX model means.

A region is native code between the inputs, the outputs and the calls of offline models. Offline models on devices are not called: what the
reference computes goes on in their place, so that each region is checked on right inputs, on a machine with no device. Where a region
differs, its operators are checked one by one (`landbridge.checking.operators`), and those that differ are named; where none does, the whole
region is, unless its result turns on the last bits of its inputs, which the reference itself tells when it is run with some noise.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import onnx
from onnx import numpy_helper

from landbridge.checking.feeds import Feed, feeds, noisy
from landbridge.checking.operators import Build, Operators
from landbridge.checking.tolerance import difference
from landbridge.frontends.onnx.graph import NATIVE_DTYPES, Node, OnnxGraph
from landbridge.frontends.onnx.reference import misrun
from landbridge.frontends.onnx.support import CONTROL_FLOW
from landbridge.reference import Reference
from landbridge.runtime.artifact import Artifact
from landbridge.runtime.check_plan import roots
from landbridge.runtime.dims import evaluate
from landbridge.runtime.errors import ArtifactIncompatible, DeviceError, ModelError
from landbridge.runtime.gate import TensorInfo
from landbridge.runtime.plan import Copy, Extern, Segment
from landbridge.runtime.replay import stand_in
from landbridge.runtime.session import Session

Level = Literal["off", "fast", "full"]
"""How much is checked: nothing; every region on two sets of inputs; every operator for itself as well."""

LEVELS: tuple[Level, ...] = ("off", "fast", "full")
"""All levels."""

SETS = 2
"""How many sets of inputs a region is checked on, with different extents where dimensions are open."""

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Checked:
    """What a check found.

    Attributes:
        refused: by the first output of each operator whose native code must not be used, why.
        against: who computed the reference: "onnxruntime" or "onnx"; "" where nothing was checked.
        sets: how many sets of inputs were used.
        note: why nothing was checked, or "".
    """

    refused: Mapping[str, str] = field(default_factory=dict)
    against: str = ""
    sets: int = 0
    note: str = ""


def check_regions(source: bytes, artifact: Artifact, level: Level, build: Build, started: Callable[[str], None]) -> Checked:
    """Run native code and reference on made-up inputs and compare.

    Args:
        source: the prepared ONNX model that the program came from.
        artifact: of the program.
        level: "fast" or "full".
        build: compiles a program without checking it.
        started: is told "native code" before that runs for the first time, which may crash.
    """
    plan = artifact.plan
    strange = [entry.name for entry in plan.inputs if plan.buffers[entry.buffer].dtype not in NATIVE_DTYPES]
    if strange:
        return Checked(note=f"inputs like '{strange[0]}' are not made up")
    try:
        return _Check(source, artifact, build, started).run(level)
    except (ModelError, ArtifactIncompatible, DeviceError) as error:  # native code may refuse made-up numbers, which is no wrong result
        return Checked(note=error.message)


class _Check:
    def __init__(self, source: bytes, artifact: Artifact, build: Build, started: Callable[[str], None]) -> None:
        self.artifact, self.build, self.started = artifact, build, started
        self.borders = Borders(artifact)
        model = onnx.ModelProto.FromString(source)
        model.ir_version = max(model.ir_version, 4)  # before that, initialisers must be inputs as well, which a prepared model's are not
        self.graph = OnnxGraph(model, artifact.name, artifact.plan.dims)
        self.nodes = self._upstream(self.borders.native)
        by = "onnx" if any(misrun(node) for node in self.nodes) else None
        self.reference = Reference(model, by=by)
        self.types = tuple(dict.fromkeys(buffer.dtype for buffer in artifact.plan.buffers))

    def run(self, level: Level) -> Checked:
        wanted = [name for name in (*self.borders.native, *self.borders.served) if name in self.graph.producer]
        missing = [name for name in self.borders.served if name not in self.graph.producer]
        if missing:
            return Checked(note=f"the reference has no value '{missing[0]}', which an offline model gives")
        chosen = self._chosen(wanted)
        refused: dict[str, str] = {}
        alone = replace(self.artifact, externs=tuple(replace(record, alternatives=()) for record in self.artifact.externs))
        with tempfile.TemporaryDirectory(prefix="landbridge-") as folder:
            stand_in(folder, alone)
            self.started("native code")
            with Session(alone, replay=folder) as session:
                for feed, expected in chosen:
                    refused |= self._refused(session, feed, expected, level)
        return Checked(refused, self.reference.by, len(chosen))

    def _chosen(self, wanted: Sequence[str]) -> list[tuple[Feed, dict[str, Array]]]:
        """Return the inputs that the reference accepts, with the values that it gives.

        Raises:
            ModelError: it accepts none.
        """
        plan = self.artifact.plan
        compute, found, refusal, seen = self.reference.evaluator(wanted), [], None, set()
        for extents, feed in feeds(interface(self.artifact), plan.dims, plan.ranges, self._is_empty):
            key = tuple(extents.values())
            if key and key in seen:
                continue
            try:
                values = compute(dict(feed))
            except ModelError as error:
                refusal = error
                continue
            expected = dict(zip(wanted, (np.asarray(value) for value in values), strict=True))
            if not all(self._keeps(name, array) for name, array in expected.items()):
                continue
            seen.add(key)
            found.append((feed, expected))
            if len(found) == SETS:
                break
        if not found:
            raise refusal or ModelError("no inputs can be made up")
        return found

    def _is_empty(self, extents: Mapping[str, int]) -> bool:
        """Return whether some value has no elements where the dimensions have these extents: what is made of it is nobody's concern."""
        shapes = [buffer.shape for buffer in self.artifact.plan.buffers if buffer.storage != "late"]
        return any(evaluate(size, extents) == 0 for shape in shapes for size in shape)

    def _keeps(self, name: str, array: Array) -> bool:
        """Return whether a value has the shape that the model declares: made-up axes, sizes and the like may contradict it."""
        declared = self.graph.type_of(name).shape
        if declared is None or len(declared) != array.ndim:
            return declared is None
        return all(extent == size for extent, size in zip(declared, array.shape, strict=True) if isinstance(extent, int))

    def _refused(self, session: Session, feed: Feed, expected: Mapping[str, Array], level: Level) -> dict[str, str]:
        outputs, boundaries = session.boundaries(feed, {name: expected[name] for name in self.borders.served})
        found = {entry.name: outputs[entry.name] for entry in self.artifact.plan.outputs}
        found |= {value.name: value.array for boundary in boundaries for value in boundary.inputs if value.buffer in self.borders.buffers}
        named = [name for name in self.borders.native if name in expected]
        wrong = {name: self._difference(name, found[name], expected[name]) for name in named}
        wrong = {name: text for name, text in wrong.items() if text}
        suspects = self.nodes if level == "full" else self._upstream(wrong, stop=[name for name in named if name not in wrong])
        refused = self._alone(suspects, feed) if suspects else {}
        unexplained = {
            name: text for name, text in wrong.items() if not refused.keys() & {node.makes[0] for node in self._upstream([name])}
        }
        steady = [name for name in unexplained if not self._turns_on_noise(name, feed, expected[name])]
        for node in self._upstream(steady, stop=[name for name in named if name not in wrong]):
            first = next(name for name in steady if node in self._upstream([name]))
            refused[node.makes[0]] = f"{self._says(unexplained[first])}, though each operator alone gives the same"
        return refused

    def _difference(self, name: str, found: Any, expected: Array) -> str:
        array = np.asarray(found)
        same = array if array.dtype == expected.dtype or array.dtype.kind != "f" else array.astype(expected.dtype)
        return difference(name, same, expected, *self.types)

    def _says(self, text: str) -> str:
        return f"its native code differs from {self.reference.by}: {text}"

    def _alone(self, nodes: Sequence[Node], feed: Feed) -> dict[str, str]:
        names = dict.fromkeys(name for node in nodes for name in (*node.reads, *node.makes) if name in self.graph.producer)
        values = self.reference.evaluator(list(names))(dict(feed))
        arrays = {**feed, **dict(zip(names, (np.asarray(value) for value in values), strict=True))}
        differing = Operators(self.graph, arrays, self.build).differing(nodes)
        return {name: self._says(text) for name, text in differing.items()}

    def _turns_on_noise(self, name: str, feed: Feed, expected: Array) -> bool:
        """Return whether the reference gives something else, too, where inputs and weights are off by a few units in the last place."""
        generator = np.random.default_rng(1)
        model = onnx.ModelProto()
        model.CopyFrom(self.graph.model)
        for tensor in model.graph.initializer:
            if tensor.data_type in (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16):
                tensor.CopyFrom(numpy_helper.from_array(noisy(numpy_helper.to_array(tensor), generator), tensor.name))
        inputs = {key: noisy(array, generator) for key, array in feed.items()}
        (other,) = Reference(model, by=self.reference.by).evaluator([name])(inputs)
        return bool(difference(name, other, expected, *self.types))

    def _upstream(self, names: Sequence[str] | Mapping[str, str], stop: Sequence[str] = ()) -> list[Node]:
        """Return the native operators that make some values from what comes into the region, in order."""
        borders = {*self.borders.foreign, *stop}
        found: dict[int, Node] = {}
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            node = self.graph.producer.get(name)
            if node is None or node.index in found or name in borders:
                continue
            if node.proto.op_type not in CONTROL_FLOW:
                found[node.index] = node
            waiting.extend(node.reads)
        return [found[index] for index in sorted(found)]


class Borders:
    """The values at the borders of native regions, by the user's names."""

    def __init__(self, artifact: Artifact) -> None:
        """Read the plan of an artifact."""
        self.plan = artifact.plan

    @cached_property
    def _written(self) -> set[int]:
        """The roots of buffers that native code writes."""
        root = roots(self.plan)
        return {root[buffer] for step in self.plan.steps if isinstance(step, Segment) for buffer in step.writes}

    @cached_property
    def buffers(self) -> set[int]:
        """The buffers at a border whose value native code made."""
        root = roots(self.plan)
        read = [buffer for step in self.plan.steps if isinstance(step, Extern) for buffer in step.inputs]
        return {buffer for buffer in (*read, *(entry.buffer for entry in self.plan.outputs)) if self._origin(buffer, root) in self._written}

    def _origin(self, buffer: int, root: Sequence[int]) -> int:
        """Return the root of the buffer that a value had before it was copied between devices."""
        copied = {root[step.destination]: root[step.source] for step in self.plan.steps if isinstance(step, Copy)}
        found = root[buffer]
        while found in copied:
            found = copied[found]
        return found

    @cached_property
    def native(self) -> list[str]:
        """The values that native code makes and something else reads."""
        outputs = {entry.buffer: entry.name for entry in self.plan.outputs}
        return list(dict.fromkeys(outputs.get(buffer, self.plan.buffers[buffer].name) for buffer in sorted(self.buffers)))

    @cached_property
    def served(self) -> list[str]:
        """The values that offline models on devices give."""
        externs = [step for step in self.plan.steps if isinstance(step, Extern) and step.device != "cpu"]
        return list(dict.fromkeys(self.plan.buffers[buffer].name for step in externs for buffer in step.outputs))

    @cached_property
    def foreign(self) -> list[str]:
        """The values that offline models and fallback regions give."""
        externs = [step for step in self.plan.steps if isinstance(step, Extern)]
        return list(dict.fromkeys(self.plan.buffers[buffer].name for step in externs for buffer in step.outputs))


def interface(artifact: Artifact) -> list[TensorInfo]:
    """Return what the inputs of an artifact are."""
    buffers = artifact.plan.buffers
    return [
        TensorInfo(entry.name, buffers[entry.buffer].dtype, buffers[entry.buffer].shape, buffers[entry.buffer].device)
        for entry in artifact.plan.inputs
    ]
