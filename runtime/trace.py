"""The trace of one run: when each step ran and for how long, in the form that Perfetto and chrome://tracing open.

Format: the "JSON Array with metadata" form of the Trace Event Format,
https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU: complete events ("X"), times in microseconds. Each
device is a lane; a copy is in the lane of its device.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from operator import attrgetter
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from landbridge.runtime.artifact import Artifact, ExternRecord
from landbridge.runtime.plan import Copy, Extern, Segment, Step
from landbridge.runtime.records import dataclass

if TYPE_CHECKING:
    from pathlib import Path

    from landbridge.runtime.binding import Binding


@dataclass(frozen=True)
class Span:
    """One step of a run.

    Attributes:
        step: its index in the plan.
        phase: such as "host" or "copy in".
        start_ns: since the start of the run.
        elapsed_ns: how long it took.
    """

    step: int
    phase: str
    start_ns: int
    elapsed_ns: int


@dataclass(frozen=True)
class Timed:
    """Calls the steps of a run and times each by itself, as a stepper of `landbridge.runtime.execute`.

    Attributes:
        spans: the span of each step is appended to it.
    """

    spans: list[Span]

    def __call__(self, binding: Binding, phases: dict[str, int]) -> None:
        """Run all steps."""
        now = begin = perf_counter_ns()
        if binding.overlap is not None:
            binding.overlap.run(phases, self)
            self.spans[:] = sorted((replace(span, start_ns=span.start_ns - begin) for span in self.spans), key=attrgetter("start_ns"))
            return
        for index, phase, call in binding.calls:
            started = now
            call()
            now = perf_counter_ns()
            phases[phase] += now - started
            self.spans.append(Span(index, phase, started - begin, now - started))

    def begin(self, index: int) -> None:
        """Take no note: what ends is what counts."""

    def end(self, index: int, phase: str, started_ns: int, elapsed_ns: int) -> None:
        """Append the span of a step."""
        self.spans.append(Span(index, phase, started_ns, elapsed_ns))


@dataclass(frozen=True)
class Trace:
    """The spans of one run, in order.

    Attributes:
        artifact: what ran.
        spans: a step that had nothing to do has none.
        simulated: vendors that a simulator stood in for.
    """

    artifact: Artifact
    spans: tuple[Span, ...]
    simulated: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the trace as plain data."""
        lanes = list(dict.fromkeys(["cpu", *(self._lane(span) for span in self.spans)]))
        names = [{"ph": "M", "pid": 1, "tid": lanes.index(lane), "name": "thread_name", "args": {"name": lane}} for lane in lanes]
        return {
            "traceEvents": [*names, *(self._event(span, lanes) for span in self.spans)],
            "displayTimeUnit": "ns",
            "otherData": {"model": self.artifact.name, "digest": self.artifact.digest, "simulated": ", ".join(self.simulated)},
        }

    def save(self, path: str | Path) -> None:
        """Write the trace to a file."""
        with open(path, "w", encoding="utf-8") as file:
            json.dump(self.to_json(), file)
            file.write("\n")

    def _event(self, span: Span, lanes: Sequence[str]) -> dict[str, Any]:
        return {
            "ph": "X",
            "pid": 1,
            "tid": lanes.index(self._lane(span)),
            "cat": span.phase,
            "name": self._name(self._step(span)),
            "ts": span.start_ns / 1e3,
            "dur": span.elapsed_ns / 1e3,
            "args": {"step": span.step, **self._details(self._step(span))},
        }

    def _step(self, span: Span) -> Step:
        return self.artifact.plan.steps[span.step]

    def _lane(self, span: Span) -> str:
        step, buffers = self._step(span), self.artifact.plan.buffers
        if isinstance(step, Copy):
            ends = (buffers[step.source].device, buffers[step.destination].device)
            return next(device for device in ends if device != "cpu")
        return self._record(step).device if isinstance(step, Extern) else "cpu"

    def _name(self, step: Step) -> str:
        if isinstance(step, Segment):
            return ", ".join(step.operators) or step.symbol
        if isinstance(step, Copy):
            return self.artifact.plan.buffers[step.source].name
        return self._record(step).title

    def _record(self, step: Extern) -> ExternRecord:
        return next(record for record in self.artifact.externs if record.symbol == step.model)

    def _details(self, step: Step) -> dict[str, Any]:
        buffers = self.artifact.plan.buffers
        if isinstance(step, Copy):
            return {"from": buffers[step.source].device, "to": buffers[step.destination].device, "dtype": buffers[step.source].dtype}
        return {"reads": [buffers[i].name for i in step.reads], "writes": [buffers[i].name for i in step.writes]}
