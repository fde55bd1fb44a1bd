"""What a measurement says should be done next. A line is given only where it is true of this measurement."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from landbridge.latency import ELSEWHERE, Measured, StepTime
from landbridge.runtime.artifact import Artifact, ExternRecord
from landbridge.runtime.execute import INPUTS, OUTPUTS
from landbridge.runtime.plan import ALIGNMENT, Copy, Extern
from landbridge.runtime.report import Crossing
from landbridge.runtime.steps import COPY_IN, COPY_OUT, EXECUTE, HOST

MUCH = 0.25
"""The share of the latency from which on a part of it is worth a line."""

UNSTEADY = 0.10
"""The coefficient of variation from which on figures of this kind are not to be trusted."""


def advise(measured: Measured, artifact: Artifact, inputs: Mapping[str, Any], launches: str, simulated: tuple[str, ...]) -> list[str]:
    """Return what to do, a line each, the largest share of the latency first.

    Args:
        inputs: what was run.
        launches: `landbridge.runtime.session.Session.plan_text` for them.
        simulated: vendors that a simulator stood in for.
    """
    lines = [
        _phase(measured, artifact, name, share, simulated)
        for name, share in sorted(measured.shares.items(), key=lambda item: -item[1])
        if share >= MUCH
    ]
    lines += _fallbacks(measured, artifact)
    if measured.shares[EXECUTE] >= MUCH and not simulated:
        lines += [f"{line}: one launch would do if the model had such a gear" for line in launches.splitlines() if "+" in line]
    lines += _unaligned(measured, inputs)
    if measured.latency.variation > UNSTEADY:
        varies = f"the latency varies by {measured.latency.variation:.0%} of its mean"
        lines.append(f"{varies}: other work on this machine, or a clock that changes, is in these figures; measure longer or elsewhere")
    if measured.first_ns > 5 * measured.latency.p50:
        first = f"the first run took {measured.first_ns / measured.latency.p50:.0f} times as long as the median"
        lines.append(f"{first}: call session.warm_up() before the first request")
    return [line for line in lines if line]


def _phase(measured: Measured, artifact: Artifact, phase: str, share: float, simulated: tuple[str, ...]) -> str:
    """Return the line on a phase that takes much of the latency."""
    head = f"{share:.0%} of the latency is"
    heaviest = max((step for step in measured.steps if step.phase == phase), key=lambda step: step.p50, default=None)
    if phase in (INPUTS, OUTPUTS, ELSEWHERE) or heaviest is None:
        fixed = "; session.bind() leaves out what can be done once, where the arrays stay the same" if phase == ELSEWHERE else ""
        return f"{head} {_WORDS.get(phase, phase)}{fixed}"
    what = _short(heaviest.name)
    part = f", mostly {what}" if sum(step.phase == phase for step in measured.steps) > 1 else f": {what}"
    if phase in (COPY_IN, COPY_OUT):
        crossing = _crossing(artifact, heaviest)
        remedy = f"; {crossing.remedy}" if crossing is not None and crossing.remedy else ""
        return f"{head} {_WORDS[phase]}{part}{remedy}"
    if phase == EXECUTE:
        record = _record(artifact, heaviest)
        if record is not None and record.vendor in simulated:
            return f"{head} the simulator of {record.vendor}: these figures say nothing about the hardware"
        return f"{head} in offline models{part}: a faster one is all that would help much"
    return f"{head} {_WORDS[phase]}{part}"


def _short(name: str) -> str:
    """Return the name of a step, of which only the first operators are told."""
    operators = name.split(", ")
    return ", ".join(operators[:4]) + (f" and {len(operators) - 4} more" if len(operators) > 4 else "")


_WORDS = {
    INPUTS: "taking the inputs in",
    HOST: "the CPU's own code",
    COPY_IN: "copying in",
    COPY_OUT: "copying out",
    OUTPUTS: "giving the outputs out",
    ELSEWHERE: "neither in steps nor in copies, but in the session itself",
}


def _crossing(artifact: Artifact, step: StepTime) -> Crossing | None:
    """Return what the report says of a copy."""
    what = artifact.plan.steps[step.step]
    if not isinstance(what, Copy):
        return None
    source, destination = artifact.plan.buffers[what.source], artifact.plan.buffers[what.destination]
    ends = (source.name, source.device, destination.device)
    return next((c for c in artifact.report.copies if (c.value, c.source, c.destination) == ends), None)


def _record(artifact: Artifact, step: StepTime) -> ExternRecord | None:
    what = artifact.plan.steps[step.step]
    return next((record for record in artifact.externs if isinstance(what, Extern) and record.symbol == what.model), None)


def _fallbacks(measured: Measured, artifact: Artifact) -> list[str]:
    """Return a line on each fallback region that takes a tenth of the latency."""
    lines = []
    for step in measured.steps:
        share = step.p50 / measured.latency.p50
        what = artifact.plan.steps[step.step]
        if not isinstance(what, Extern) or share < MUCH / 2.5:
            continue
        written = [artifact.plan.buffers[buffer].name for buffer in what.outputs]
        region = next((entry for entry in artifact.report.fallbacks if set(entry.value.split(", ")) & set(written)), None)
        if region is not None:
            lines.append(f"{share:.0%} of the latency is the fallback region of {region.value}, which is not native: {region.reason}")
    return lines


def _unaligned(measured: Measured, inputs: Mapping[str, Any]) -> list[str]:
    """Return a line where inputs are copied that need not be."""
    if measured.shares[INPUTS] < MUCH / 2.5:
        return []
    wrong = [
        name
        for name, array in inputs.items()
        if isinstance(array, np.ndarray) and (not array.flags.c_contiguous or array.ctypes.data % ALIGNMENT)
    ]
    if not wrong:
        return []
    return [f"{measured.shares[INPUTS]:.0%} of the latency is copying {', '.join(wrong)}, not dense and aligned to {ALIGNMENT} bytes"]
