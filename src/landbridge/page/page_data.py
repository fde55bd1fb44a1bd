"""What the page shows, as plain data: the graph, the planned memory, a profiled run, and the tables of the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from landbridge.costs import Prediction
from landbridge.page.page_tables import make_tables
from landbridge.runtime.artifact import Artifact
from landbridge.runtime.description import SECTION, Description, Kind, Operator, Value
from landbridge.runtime.errors import ArtifactCorrupt, UsageError
from landbridge.runtime.plan import Copy, Segment, Step


def page_data(
    artifact: Artifact,
    *,
    title: str,
    extents: Mapping[str, int],
    budgets: Mapping[str, int],
    trace: Any,
    prediction: Prediction | None,
) -> dict[str, Any]:
    """Return the data of the page; the arguments are those of `landbridge.page.make_page`.

    Raises:
        ArtifactCorrupt, UsageError: as `make_page`.
    """
    report, plan = artifact.report, artifact.plan
    told = Description.of(artifact.sections)
    found = told if told.operators or not plan.steps else _of_plan(artifact)
    beyond = next((operator for operator in found.operators if operator.step >= len(plan.steps)), None)
    if beyond is not None:
        raise ArtifactCorrupt(f"'{beyond.name}' is of step {beyond.step}, the plan has {len(plan.steps)}", at=SECTION)
    return {
        "title": title,
        "model": artifact.name,
        "digest": artifact.digest,
        "producer": ", ".join(f"{name} {version}" for name, version in artifact.producer.items()),
        "target": " ".join(part for part in (artifact.target.triple, artifact.target.cpu) if part),
        "dims": list(plan.dims),
        "extents": {name: extents.get(name, 1) for name in plan.dims},
        "devices": list(dict.fromkeys(["cpu", *(value.device for value in found.values), *(m.device for m in report.memory)])),
        "values": [[v.name, v.device, v.dtype, v.shape] for v in found.values],
        "operators": [[o.kind, o.name, o.operator, o.source, o.step, o.inputs, o.outputs, o.text] for o in found.operators],
        "inputs": [[entry.name, value] for entry, value in zip(plan.inputs, found.inputs, strict=False)],
        "outputs": [[entry.name, value] for entry, value in zip(plan.outputs, found.outputs, strict=False)],
        "steps": [[step.kind, _title(artifact, step)] for step in plan.steps],
        "moments": found.moments,
        "arenas": plan.arenas,
        "buffers": [
            [b.name, device, b.dtype, b.shape, offset, b.nbytes, life.first, life.last]
            for life in found.lifetimes
            if life.buffer < len(plan.buffers)
            for b, (device, offset) in ((plan.buffers[life.buffer], plan.place(life.buffer)),)
        ],
        "totals": {
            "crossings": len(report.copies),
            "minimum": report.minimum_copies,
            "run_nbytes": report.run_nbytes,
            "casts": len(report.casts),
            "fallbacks": len(report.fallbacks),
        },
        "tables": make_tables(artifact, found, budgets, prediction),
        "trace": _spans(artifact, trace),
        "simulated": str(trace["otherData"].get("simulated", "")) if trace else "",
    }


def _of_plan(artifact: Artifact) -> Description:
    """Return what the plan alone tells, where an artifact has no description: a segment is one operator."""
    plan = artifact.plan
    kinds: dict[str, Kind] = {"segment": "host", "copy": "copy", "extern": "extern"}

    def operator(number: int, step: Step) -> Operator:
        named = plan.buffers[step.writes[0]].name if step.writes else ""
        title = f"{len(step.operators)} operators" if isinstance(step, Segment) else _title(artifact, step)
        text = ", ".join(step.operators) if isinstance(step, Segment) else ""
        return Operator(kinds[step.kind], named, title, "", number, step.reads, step.writes, text)

    return Description(
        values=tuple(Value(buffer.name, buffer.device, buffer.dtype, buffer.shape) for buffer in plan.buffers),
        operators=tuple(operator(number, step) for number, step in enumerate(plan.steps)),
        moments=(1,) * len(plan.steps),
        inputs=tuple(entry.buffer for entry in plan.inputs),
        outputs=tuple(entry.buffer for entry in plan.outputs),
    )


def _title(artifact: Artifact, step: Step) -> str:
    if isinstance(step, Segment):
        return ", ".join(step.operators[:4]) + (f" and {len(step.operators) - 4} more" if len(step.operators) > 4 else "")
    if isinstance(step, Copy):
        return "copy"
    return next((record.name or record.symbol for record in artifact.externs if record.symbol == step.model), step.model)


def _spans(artifact: Artifact, trace: Any) -> list[list[Any]] | None:
    """Return each span of a trace as [lane, step, phase, name, start, duration], times in microseconds.

    Raises:
        UsageError: it is no trace, or that of another artifact.
    """
    if trace is None:
        return None
    try:
        events, digest = trace["traceEvents"], trace["otherData"]["digest"]
        lanes = {event["tid"]: event["args"]["name"] for event in events if event["ph"] == "M"}
        spans: list[list[Any]] = [
            [str(lanes[e["tid"]]), int(e["args"]["step"]), str(e["cat"]), str(e["name"]), float(e["ts"]), float(e["dur"])]
            for e in events
            if e["ph"] == "X"
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError("not a trace of a run", hint="landbridge run ARTIFACT --profile trace.json writes one", code="LB1119") from error
    if digest != artifact.digest or any(not 0 <= span[1] < len(artifact.plan.steps) for span in spans):
        raise UsageError(
            f"the trace is of another artifact: sha256:{str(digest)[:16]}, expected sha256:{artifact.digest[:16]}",
            hint="profile this artifact: landbridge run ARTIFACT --profile trace.json",
            code="LB1119",
        )
    return spans
