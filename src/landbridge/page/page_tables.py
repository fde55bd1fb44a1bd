"""The tables of the page, as plain data: what the report has, with the operator in the graph that each row is about."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Literal

from landbridge.costs import Prediction
from landbridge.runtime.artifact import Artifact, ExternRecord
from landbridge.runtime.description import Description, Kind
from landbridge.runtime.plan import Extern
from landbridge.runtime.render_report import PARTS, remark
from landbridge.runtime.report import Report
from landbridge.runtime.signature import Port

Cells = Literal["text", "size", "shape", "number"]
"""What cells of a column are; a size and a shape are over the named dimensions, and the page works them out."""

NOWHERE = -1
"""The operator of a row that is about none."""


@dataclass(frozen=True)
class Column:
    """A column: its head, what its cells are, and the cell of a thing."""

    head: str
    cells: Cells
    of: Callable[[Any], Any]


def make_tables(artifact: Artifact, found: Description, budgets: Mapping[str, int], prediction: Prediction | None) -> list[dict[str, Any]]:
    """Return the tables; the arguments are those of `landbridge.page.make_page`, and the description of the artifact."""
    report = artifact.report
    tables = [_crossings(report, found), _casts(report, found), _fallbacks(report), _models(artifact, found), _memory(report, budgets)]
    return [*tables, _predicted(prediction, found)] if prediction else tables


def _crossings(report: Report, found: Description) -> dict[str, Any]:
    columns = (
        Column("value", "text", lambda c: c.value),
        Column("dtype", "text", lambda c: c.dtype),
        Column("shape", "shape", lambda c: c.shape),
        Column("bytes", "size", lambda c: c.nbytes),
        Column("direction", "text", lambda c: f"{c.source} → {c.destination}"),
        Column("made by", "text", lambda c: c.producer),
        Column("needed by", "text", lambda c: c.consumer),
        Column("why", "text", lambda c: c.reason + remark(c)),
        Column("what would spare it", "text", lambda c: c.remedy),
    )
    note = f"{len(report.copies)} crossings; the least that the rules allow is {report.minimum_copies}."
    operators = _operators(found, "copy")
    at = [operators.get((c.value, c.source, c.destination), NOWHERE) for c in report.copies]
    return _table("crossings", "Crossings", note, columns, report.copies, at)


def _casts(report: Report, found: Description) -> dict[str, Any]:
    columns = (
        Column("value", "text", lambda c: c.value),
        Column("from → to", "text", lambda c: f"{c.source} → {c.destination}"),
        Column("shape", "shape", lambda c: c.shape),
        Column("bytes", "size", lambda c: c.nbytes),
        Column("direction", "text", lambda c: c.direction),
        Column("made by", "text", lambda c: c.producer),
        Column("needed by", "text", lambda c: c.consumer),
        Column("why", "text", lambda c: c.reason),
        Column("what would spare it", "text", lambda c: c.remedy),
    )
    operators = _operators(found, "cast")
    at = [operators.get((c.value, c.source, c.destination), NOWHERE) for c in report.casts]
    return _table(
        "casts", "Conversions", "Element types are converted on the CPU, where the fewest bytes cross.", columns, report.casts, at
    )


def _fallbacks(report: Report) -> dict[str, Any]:
    columns = (
        Column("outputs", "text", lambda f: f.value),
        Column("operators", "text", lambda f: ", ".join(f.nodes)),
        Column("run by", "text", lambda f: f.vendor),
        Column("why", "text", lambda f: f.reason),
    )
    return _table("fallbacks", "Not native", "Regions that run in a general interpreter and not as native code.", columns, report.fallbacks)


def _models(artifact: Artifact, found: Description) -> dict[str, Any]:
    columns = (
        Column("name", "text", lambda r: r.title),
        Column("vendor", "text", lambda r: r.vendor),
        Column("device", "text", lambda r: r.device),
        Column("takes", "text", lambda r: _told(r.signature.inputs)),
        Column("gives", "text", lambda r: _told(r.signature.outputs)),
        Column("launches", "text", lambda r: artifact.report.launches.get(r.title, "")),
        Column("SHA-256", "text", lambda r: artifact.section_digests.get(r.section, "")),
    )
    several = any(record.alternatives for record in artifact.externs)
    note = "Of a call that has several, the first that can run here is taken when it is loaded." if several else ""
    steps = {step.model: number for number, step in reversed(list(enumerate(artifact.plan.steps))) if isinstance(step, Extern)}
    first = _first_of_steps(found)
    blobs: list[tuple[ExternRecord, int]] = [
        (blob, first.get(steps.get(record.symbol, NOWHERE), NOWHERE)) for record in artifact.externs for blob in record.candidates
    ]
    return _table("models", "Offline models", note, columns, [blob for blob, _ in blobs], [at for _, at in blobs])


def _memory(report: Report, budgets: Mapping[str, int]) -> dict[str, Any]:
    columns = (
        Column("device", "text", lambda m: m.device),
        *(Column(part, "size", attrgetter(part)) for part in PARTS),
        Column("total", "size", lambda m: m.total),
        Column("budget", "size", lambda m: budgets.get(m.device, "")),
        Column("largest gear", "text", lambda m: ", ".join(m.gears)),
    )
    return _table("memory", "Memory", "For one run at a time; each further run under way has an arena of its own.", columns, report.memory)


def _predicted(prediction: Prediction, found: Description) -> dict[str, Any]:
    columns = (
        Column("step", "number", lambda s: s.step),
        Column("phase", "text", lambda s: s.phase),
        Column("what", "text", lambda s: s.name),
        Column("bytes", "number", lambda s: s.nbytes),
        Column("µs", "number", lambda s: "" if s.ns is None else round(s.ns / 1e3, 3)),
    )
    first = _first_of_steps(found)
    at = [first.get(step.step, NOWHERE) for step in prediction.steps]
    return _table("predicted", "Predicted latency", prediction.render(), columns, prediction.steps, at)


def _table(
    name: str, title: str, note: str, columns: Iterable[Column], things: Sequence[Any], operators: Sequence[int] = ()
) -> dict[str, Any]:
    """Return the table of ``things``; ``operators`` has for each the operator that it is about."""
    heads = list(columns)
    return {
        "name": name,
        "title": title,
        "note": note,
        "columns": [[column.head, column.cells] for column in heads],
        "rows": [[column.of(thing) for column in heads] for thing in things],
        "operators": list(operators) or [NOWHERE] * len(things),
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


def _first_of_steps(found: Description) -> dict[int, int]:
    """Return the first operator of each step."""
    return {operator.step: number for number, operator in reversed(list(enumerate(found.operators)))}


def _told(ports: Sequence[Port]) -> str:
    return "; ".join(f"{port.name}: {port}" for port in ports)
