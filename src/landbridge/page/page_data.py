"""What the page shows, as plain data: the graph, the planned memory, a profiled run, and the tables of the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from landbridge.costs import Prediction
from landbridge.runtime.artifact import Artifact, ExternRecord
from landbridge.runtime.description import Description, Kind, Operator, Value
from landbridge.runtime.errors import UsageError
from landbridge.runtime.plan import Copy, Segment, Step
from landbridge.runtime.render_report import PARTS

Column = tuple[str, str]
"""The head of a column, and the kind of its cells: "text", "size" or "shape" (over the named dimensions), or "number"."""


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
    told = Description.of(artifact.sections) if artifact.sections else Description()
    found = told if told.operators or not artifact.plan.steps else _of_plan(artifact)
    report, plan = artifact.report, artifact.plan
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
            [b.name, b.device, b.dtype, b.shape, b.offset, b.nbytes, life.first, life.last]
            for life in found.lifetimes
            if life.buffer < len(plan.buffers)
            for b in (plan.buffers[life.buffer],)
        ],
        "totals": {
            "crossings": len(report.copies),
            "minimum": report.minimum_copies,
            "run_nbytes": report.run_nbytes,
            "casts": len(report.casts),
            "fallbacks": len(report.fallbacks),
        },
        "tables": _tables(artifact, found, budgets, prediction),
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


def _tables(artifact: Artifact, found: Description, budgets: Mapping[str, int], prediction: Prediction | None) -> list[dict[str, Any]]:
    report = artifact.report
    copies = _operators(found, "copy")
    casts = _operators(found, "cast")
    tables = [
        _table(
            "crossings",
            "Crossings",
            f"{len(report.copies)} crossings; the least that the rules allow is {report.minimum_copies}.",
            [
                ("value", "text"),
                ("dtype", "text"),
                ("shape", "shape"),
                ("bytes", "size"),
                ("direction", "text"),
                ("made by", "text"),
                ("needed by", "text"),
                ("why", "text"),
                ("what would spare it", "text"),
            ],
            [
                [
                    c.value,
                    c.dtype,
                    c.shape,
                    c.nbytes,
                    f"{c.source} → {c.destination}",
                    c.producer,
                    c.consumer,
                    c.reason + _remark(aliased=c.aliased, once=c.once),
                    c.remedy,
                ]
                for c in report.copies
            ],
            [copies.get((c.value, c.source, c.destination), -1) for c in report.copies],
        ),
        _table(
            "casts",
            "Conversions",
            "Element types are converted on the CPU, where the fewest bytes cross.",
            [
                ("value", "text"),
                ("from → to", "text"),
                ("shape", "shape"),
                ("bytes", "size"),
                ("direction", "text"),
                ("made by", "text"),
                ("needed by", "text"),
                ("why", "text"),
                ("what would spare it", "text"),
            ],
            [
                [c.value, f"{c.source} → {c.destination}", c.shape, c.nbytes, c.direction, c.producer, c.consumer, c.reason, c.remedy]
                for c in report.casts
            ],
            [casts.get((c.value, c.source, c.destination), -1) for c in report.casts],
        ),
        _table(
            "fallbacks",
            "Not native",
            "Regions that run in a general interpreter and not as native code.",
            [("outputs", "text"), ("operators", "text"), ("run by", "text"), ("why", "text")],
            [[f.value, ", ".join(f.nodes), f.vendor, f.reason] for f in report.fallbacks],
        ),
        _table(
            "models",
            "Offline models",
            "",
            [
                ("name", "text"),
                ("vendor", "text"),
                ("device", "text"),
                ("takes", "text"),
                ("gives", "text"),
                ("launches", "text"),
                ("SHA-256", "text"),
            ],
            [_model(artifact, record) for record in artifact.externs],
            [
                next((n for n, o in enumerate(found.operators) if o.kind == "extern" and _calls(artifact, o, r)), -1)
                for r in artifact.externs
            ],
        ),
        _table(
            "memory",
            "Memory",
            "For one run at a time; each further run under way has an arena of its own.",
            [("device", "text"), *((part, "size") for part in PARTS), ("total", "size"), ("budget", "size"), ("largest gear", "text")],
            [
                [m.device, *(getattr(m, part) for part in PARTS), m.total, budgets.get(m.device, ""), ", ".join(m.gears)]
                for m in report.memory
            ],
        ),
    ]
    if prediction is not None:
        tables.append(_predicted(prediction, found))
    return tables


def _predicted(prediction: Prediction, found: Description) -> dict[str, Any]:
    rows = [[s.step, s.phase, s.name, s.nbytes, "" if s.ns is None else round(s.ns / 1e3, 3)] for s in prediction.steps]
    at = [next((n for n, o in enumerate(found.operators) if o.step == step.step), -1) for step in prediction.steps]
    head: list[Column] = [("step", "number"), ("phase", "text"), ("what", "text"), ("bytes", "number"), ("µs", "number")]
    return _table("predicted", "Predicted latency", prediction.render(), head, rows, at)


def _table(
    name: str, title: str, note: str, columns: Sequence[Column], rows: Sequence[Sequence[Any]], operators: Sequence[int] | None = None
) -> dict[str, Any]:
    """Return a table; ``operators`` has for each row the operator that it is about, -1 where there is none."""
    return {
        "name": name,
        "title": title,
        "note": note,
        "columns": list(columns),
        "rows": list(rows),
        "operators": list(operators) if operators is not None else [-1] * len(rows),
    }


def _operators(found: Description, kind: Kind) -> dict[tuple[str, str, str], int]:
    """Return operators of a kind by name and what they change: the device or the element type."""
    result: dict[tuple[str, str, str], int] = {}
    for number, operator in enumerate(found.operators):
        if operator.kind == kind and operator.inputs and operator.outputs:
            before, after = found.values[operator.inputs[0]], found.values[operator.outputs[0]]
            change = (before.device, after.device) if kind == "copy" else (before.dtype, after.dtype)
            result.setdefault((operator.name if kind == "copy" else before.name, *change), number)
    return result


def _remark(*, aliased: bool, once: bool) -> str:
    remarks = [text for text, holds in (("same memory, no byte moves", aliased), ("once, at load", once)) if holds]
    return f" ({'; '.join(remarks)})" if remarks else ""


def _calls(artifact: Artifact, operator: Operator, record: ExternRecord) -> bool:
    step = artifact.plan.steps[operator.step] if 0 <= operator.step < len(artifact.plan.steps) else None
    return getattr(step, "model", "") == record.symbol


def _model(artifact: Artifact, record: ExternRecord) -> list[Any]:
    def told(ports: Sequence[Any]) -> str:
        return "; ".join(f"{port.name}: {port.dtype} [{', '.join(map(str, port.shape))}]" for port in ports)

    name, signature = record.name or record.symbol, record.signature
    launches = artifact.report.launches.get(name, "")
    digest = artifact.section_digests.get(record.section, "")
    return [name, record.vendor, record.device, told(signature.inputs), told(signature.outputs), launches, digest]
