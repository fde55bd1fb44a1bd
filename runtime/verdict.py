"""Judge a run: compare every output, and every value at the border of an offline model, with what it should be.

The first value that differs names the region to look at. A value can be compared where one of its name is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field
from functools import cached_property
from typing import Any

import numpy as np

from landbridge.runtime.artifact import Artifact
from landbridge.runtime.boundaries import Boundary
from landbridge.runtime.check_plan import roots
from landbridge.runtime.comparison import TOLERANCES, Difference, Tolerance, coarsest, comparable, compare
from landbridge.runtime.plan import Extern, Plan, Segment
from landbridge.runtime.records import dataclass

_WORKS_IN = {"atlas": "float16", "cambricon": "float16", "magicmind": "float16", "tensorrt": "float16"}
"""By vendor, the type that its compiler computes in unless told otherwise, whatever type the borders have. TensorRT's TF32 has the
precision of float16."""


@dataclass(frozen=True)
class Checked:
    """One comparison.

    Attributes:
        where: such as "into backbone.om on atlas0".
        difference: of the value.
        buffer: of the plan.
        found: what the run gave.
        expected: what it should have given.
    """

    where: str
    difference: Difference
    buffer: int
    found: Any = field(default=None, repr=False, compare=False)
    expected: Any = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Verdict:
    """What a verification found.

    Attributes:
        checked: every comparison, in the order of the run.
        skipped: values at the border of an offline model that cannot be compared, each with the reason.
        first_region: the region whose result is the first that differs; "" where all agree.
        by_host: whether that is the CPU's code, and neither an offline model nor the inputs.
    """

    checked: tuple[Checked, ...]
    skipped: dict[str, str]
    first_region: str
    by_host: bool = False

    @property
    def first(self) -> Checked | None:
        """The first that differs."""
        return next((entry for entry in self.checked if not entry.difference.agrees), None)

    @property
    def agrees(self) -> bool:
        """Whether every value that could be compared agrees."""
        return all(entry.difference.agrees for entry in self.checked)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        values = [{"where": entry.where, **entry.difference.to_json()} for entry in self.checked]
        return {"agrees": self.agrees, "first_region": self.first_region, "values": values, "not_compared": self.skipped}


def compared_names(plan: Plan) -> dict[str, None]:
    """Return the names of the values that `judge` looks at, in the order of the plan."""
    borders = [buffer for step in plan.steps if isinstance(step, Extern) for buffer in (*step.inputs, *step.outputs)]
    return dict.fromkeys([*(plan.buffers[buffer].name for buffer in borders), *(entry.name for entry in plan.outputs)])


def judge(
    artifact: Artifact,
    outputs: Mapping[str, Any],
    boundaries: Iterable[Boundary],
    expected: Mapping[str, Any],
    *,
    by: str,
    tolerance: Tolerance | None = None,
) -> Verdict:
    """Compare what a run gave with what it should have given.

    Args:
        outputs: of the run.
        boundaries: of the run, as `Session.boundaries` returns both.
        expected: values by name.
        by: what to call what has no value of some name, such as "detector.onnx".
        tolerance: for every value of floating type; by default what fits the coarsest type that took part in making the value.
    """
    regions, plan = Regions(artifact), artifact.plan
    found: list[tuple[str, str, int, Any]] = []
    for boundary in boundaries:
        place = f"{boundary.model} on {boundary.device}"
        found += [(f"into {place}", value.name, value.buffer, value.array) for value in boundary.inputs]
        found += [(f"out of {place}", value.name, value.buffer, value.array) for value in boundary.outputs]
    found += [(f"output '{entry.name}'", entry.name, entry.buffer, outputs[entry.name]) for entry in plan.outputs]
    checked, skipped = [], {}
    for where, name, buffer, array in found:
        dtype = plan.buffers[buffer].dtype
        reason = f"{by} has no such value" if name not in expected else "" if comparable(dtype) else f"NumPy lacks {dtype}"
        if reason:
            skipped[f"{name} {where}"] = reason
            continue
        allowed = tolerance or TOLERANCES[regions.precision[buffer]]
        real, wanted = np.asarray(array), np.asarray(expected[name])
        checked.append(Checked(where, compare(name, real, wanted, allowed, dtype), buffer, real, wanted))
    first = next((entry for entry in checked if not entry.difference.agrees), None)
    if first is None:
        return Verdict(tuple(checked), skipped, "")
    region = regions.of(first.buffer)
    return Verdict(tuple(checked), skipped, str(region), by_host=bool(region.operators))


@dataclass(frozen=True)
class Region:
    """What made a value.

    Attributes:
        model: the offline model, where it is one.
        operators: the host's operators since the last offline model, else.
        borders: the buffers that those begin with: what offline models gave, or inputs of the plan.
    """

    model: str
    operators: tuple[str, ...]
    borders: tuple[int, ...]

    def __str__(self) -> str:
        """Return what messages call it."""
        more = f" and {len(self.operators) - 8} more" if len(self.operators) > 8 else ""
        return self.model or (f"the CPU's code for {', '.join(self.operators[:8])}{more}" if self.operators else "the inputs")


@dataclass(frozen=True)
class Regions:
    """What the comparison asks of an artifact: in what types values are made, and by which regions."""

    artifact: Artifact

    @cached_property
    def roots(self) -> list[int]:
        """By buffer, the one whose memory it is in."""
        return list(roots(self.artifact.plan))

    @cached_property
    def writers(self) -> dict[int, list[int]]:
        """By root, the steps that write it."""
        found: dict[int, list[int]] = {}
        for index, step in enumerate(self.artifact.plan.steps):
            for buffer in step.writes:
                found.setdefault(self.roots[buffer], []).append(index)
        return found

    @cached_property
    def precision(self) -> list[str]:
        """By buffer, the coarsest floating type that took part in making its value."""
        plan = self.artifact.plan
        vendors = {record.symbol: record.vendor for record in self.artifact.externs}
        found = [buffer.dtype for buffer in plan.buffers]
        for step in plan.steps:
            own = _WORKS_IN.get(vendors[step.model], "") if isinstance(step, Extern) else ""
            read = [found[self.roots[buffer]] for buffer in step.reads]
            for buffer in step.writes:
                root = self.roots[buffer]
                found[root] = coarsest(found[root], plan.buffers[buffer].dtype, own, *read)
        return [coarsest(buffer.dtype, found[root]) for buffer, root in zip(plan.buffers, self.roots, strict=True)]

    def of(self, buffer: int) -> Region:
        """Return what made a buffer's value: an offline model, or the host's operators since the last one."""
        plan = self.artifact.plan
        operators: list[str] = []
        borders: dict[int, None] = {}
        wanted, seen = [buffer], set[int]()
        while wanted:
            root = self.roots[wanted.pop()]
            if plan.buffers[root].storage in ("input", "late") and root not in self.writers:
                borders[root] = None
            for index in self.writers.get(root, ()):
                step = plan.steps[index]
                if isinstance(step, Extern):
                    if not operators:
                        return Region(self._model(step), (), ())
                    borders.update(dict.fromkeys(output for output in step.outputs if self.roots[output] == root))
                    continue
                if index in seen:
                    continue
                seen.add(index)
                if isinstance(step, Segment):
                    operators = [*step.operators, *operators]
                wanted += step.reads
        return Region("", tuple(operators), tuple(borders))

    def _model(self, step: Extern) -> str:
        record = next(record for record in self.artifact.externs if record.symbol == step.model)
        return f"{record.title} on {record.device} (by {record.vendor})"
