"""Control flow whose way only the data tell: the ways are artifacts, and the data say which runs, or how often.

As ONNX defines If, Loop and Scan. A blob has two artifacts: the branches of an If, first that for a true condition; else one that gives
what a Loop or a Scan starts from, of the inputs of the call, and the body. Artifacts read values of the call by their names.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from landbridge.runtime.driver import LoadedModel
from landbridge.runtime.dtypes import holder
from landbridge.runtime.errors import ArtifactCorrupt
from landbridge.runtime.signature import Signature
from landbridge.runtime.vendors.own import STEP
from landbridge.runtime.vendors.own.part import Body, HostModel

MAGIC = b"landbridge: artifacts\n"
"""The first bytes of a blob; then, for each artifact, how long it is (8 bytes, little-endian), and the artifact."""

CHOICE, LOOP, SCAN = "choice", "loop", "scan"
"""The steps; the option `OPTIONS` has what they need to know."""

OPTIONS = "control"
"""An option: a JSON object. Of all ``results``: which of the outputs of the node are those of the call, in their order. Of a choice
``condition``, the input. Of a loop ``states``, how many values are handed on, and ``limit`` and
``condition``, whether it starts from these. Of a scan ``states``, and ``inputs`` and ``outputs``: for each that is scanned its axis and
whether backward."""


def pack(artifacts: Sequence[bytes]) -> bytes:
    """Return the blob of some artifacts."""
    return MAGIC + b"".join(len(data).to_bytes(8, "little") + data for data in artifacts)


def unpack(blob: bytes) -> list[bytes]:
    """Return the artifacts of a blob.

    Raises:
        ArtifactCorrupt: it is none.
    """
    if not blob.startswith(MAGIC):
        raise ArtifactCorrupt(f"a step of Landbridge's own begins with {blob[:22]!r}, expected {MAGIC!r}")
    found, at = [], len(MAGIC)
    while at < len(blob):
        end = at + 8 + int.from_bytes(blob[at : at + 8], "little")
        if end > len(blob):
            raise ArtifactCorrupt(f"an artifact in a step of Landbridge's own ends at byte {end} of {len(blob)}")
        found.append(blob[at + 8 : end])
        at = end
    return found


def control(blob: bytes, signature: Signature, options: Mapping[str, str], threads: int | None) -> LoadedModel:
    """Return what runs the artifacts of a blob.

    Raises:
        ArtifactError: the blob is damaged or for another machine, or the options are not those of a step.
    """
    kinds: dict[str, type[_Control]] = {CHOICE: _Choice, LOOP: _Loop, SCAN: _Scan}
    kind, artifacts = kinds.get(options[STEP]), unpack(blob)
    if kind is None or len(artifacts) != 2:
        raise ArtifactCorrupt(f"a step '{options[STEP]}' of {len(artifacts)} artifacts")
    bodies: list[Body] = []
    try:
        for data in artifacts:
            bodies.append(Body(data, threads))
        return kind(bodies, signature, json.loads(options.get(OPTIONS, "{}")))
    except BaseException as error:
        for body in bodies:
            body.session.close()
        if isinstance(error, KeyError | ValueError | TypeError):
            raise ArtifactCorrupt(f"the options of a step '{options[STEP]}': {error}") from error
        raise


class _Control(HostModel):
    def __init__(self, bodies: Sequence[Body], signature: Signature, about: Mapping[str, Any]) -> None:
        self._bodies, self._about = tuple(bodies), about
        self._inputs = [port.name for port in signature.inputs]
        self._wanted = [int(number) for number in about["results"]]
        if len(self._wanted) != len(signature.outputs):
            raise ValueError(f"{len(self._wanted)} results, expected {len(signature.outputs)}")
        places, gives = self.read()
        for body, count in zip(self._bodies, places, strict=True):
            unknown = [name for name in body.inputs[count:] if name not in self._inputs]
            if unknown or len(body.inputs) < count:
                raise ValueError(f"an artifact takes {body.inputs}, of which {count} have their places, and the call {self._inputs}")
        if not all(0 <= number < gives for number in self._wanted):
            raise ValueError(f"results {self._wanted} of {gives}")

    @abstractmethod
    def read(self) -> tuple[tuple[int, int], int]:
        """Read the options; return how many inputs of each artifact are not found by their names, and how many outputs the node has.

        Raises:
            KeyError, ValueError, TypeError: they are not there, or do not fit the artifacts.
        """

    def expect(self, gives: int, takes: int) -> None:
        """Check that what comes first gives as many values as the body takes at the start, and that these are not negative.

        Raises:
            ValueError: it does not.
        """
        if gives != len(self._bodies[0].outputs) or takes < 0:
            raise ValueError(f"{gives} values at the start, of which {takes} are handed on, of {self._bodies[0].outputs}")

    def run_late(self, inputs: Sequence[Any]) -> list[Any]:
        """Run on host arrays."""
        found = self.run(dict(zip(self._inputs, inputs, strict=True)))
        return [found[number] for number in self._wanted]

    @abstractmethod
    def run(self, values: Mapping[str, Any]) -> Sequence[Any]:
        """Return all outputs of the node, of which those that nobody wants may be anything."""

    def joined(self, rows: Sequence[Sequence[Any]], first: int, axes: Sequence[tuple[int, bool]]) -> list[Any]:
        """Return what each turn gave of the last outputs of the body, joined.

        Args:
            rows: by turn, these outputs.
            first: the number of the first of them among the outputs of the node.
            axes: of each the axis along which its parts are joined, and whether backward.
        """
        results: list[Any] = []
        for column, (axis, back) in enumerate(axes):
            parts = [row[column] for row in (reversed(rows) if back else rows)]
            if parts:
                results.append(np.stack(parts, axis) if first + column in self._wanted else None)
                continue
            one = self._bodies[-1].session.outputs[len(self._bodies[-1].outputs) - len(axes) + column]
            known = [extent if isinstance(extent, int) else 0 for extent in one.shape]
            known.insert(axis if axis >= 0 else len(known) + 1 + axis, 0)
            results.append(np.zeros(known, holder(one.dtype)))
        return results

    def close(self) -> None:
        """Close the sessions."""
        for body in self._bodies:
            body.session.close()


class _Choice(_Control):
    def read(self) -> tuple[tuple[int, int], int]:
        self._condition = str(self._about["condition"])
        self._inputs.index(self._condition)
        first, second = (len(branch.outputs) for branch in self._bodies)
        if first != second:
            raise ValueError(f"branches of {first} and {second} outputs")
        return (0, 0), first

    def run(self, values: Mapping[str, Any]) -> list[Any]:
        branch = self._bodies[0 if _truth(values[self._condition]) else 1]
        return branch([values[name] for name in branch.inputs])


class _Loop(_Control):
    def read(self) -> tuple[tuple[int, int], int]:
        self._states = int(self._about["states"])
        self._limited, self._conditional = bool(self._about["limit"]), bool(self._about["condition"])
        self.expect(self._limited + self._conditional + self._states, self._states)
        return (0, 2 + self._states), len(self._bodies[1].outputs) - 1

    def run(self, values: Mapping[str, Any]) -> list[Any]:
        start, body = self._bodies
        given = iter(start([values[name] for name in start.inputs]))
        limit = int(next(given).item()) if self._limited else None
        goes_on = _truth(next(given)) if self._conditional else True
        states, turns = list(given), 0
        outer = [values[name] for name in body.inputs[2 + self._states :]]
        scanned: list[list[Any]] = []
        while goes_on and (limit is None or turns < limit):
            found = body([np.array(turns, np.int64), np.array(goes_on), *states, *outer])
            goes_on, states = _truth(found[0]), found[1 : 1 + self._states]
            scanned.append(found[1 + self._states :])
            turns += 1
        return [*states, *self.joined(scanned, self._states, [(0, False)] * (len(body.outputs) - 1 - self._states))]


class _Scan(_Control):
    def read(self) -> tuple[tuple[int, int], int]:
        self._states = int(self._about["states"])
        self._taken, self._given = ([(int(axis), bool(back)) for axis, back in self._about[ends]] for ends in ("inputs", "outputs"))
        self.expect(self._states + len(self._taken), self._states)
        start, body = self._bodies
        ranks = [len(one.shape) for one in start.session.outputs[self._states :]], [len(one.shape) + 1 for one in body.session.outputs]
        for axes, known in ((self._taken, ranks[0]), (self._given, ranks[1][self._states :])):
            if not all(-rank <= axis < rank for (axis, _), rank in zip(axes, known, strict=True)):
                raise ValueError(f"axes {axes} of tensors of {known} dimensions")
        if not self._taken:
            raise ValueError("nothing to scan")
        return (0, len(start.outputs)), len(body.outputs)

    def run(self, values: Mapping[str, Any]) -> list[Any]:
        start, body = self._bodies
        given = start([values[name] for name in start.inputs])
        states, sequences = given[: self._states], given[self._states :]
        outer = [values[name] for name in body.inputs[len(given) :]]
        turns = sequences[0].shape[self._taken[0][0]]
        scanned: list[list[Any]] = []
        for turn in range(turns):
            elements = [
                np.ascontiguousarray(np.take(sequence, turns - 1 - turn if back else turn, axis))
                for sequence, (axis, back) in zip(sequences, self._taken, strict=True)
            ]
            found = body([*states, *elements, *outer])
            states = found[: self._states]
            scanned.append(found[self._states :])
        return [*states, *self.joined(scanned, self._states, self._given)]


def _truth(array: Any) -> bool:
    return bool(np.asarray(array).reshape(-1)[0])
