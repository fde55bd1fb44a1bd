"""A report as text, as ``landbridge report`` prints it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from landbridge.runtime import notebook
from landbridge.runtime.device_memory import DeviceMemory
from landbridge.runtime.dims import Size, evaluate, names, render, render_shape
from landbridge.runtime.report import Cast, Crossing, Report


def render_report(report: Report, budgets: Mapping[str, int], dims: Mapping[str, int]) -> str:
    """Return the report as text: crossings, casts, fallbacks, launches, memory; the arguments are those of `Report.render`."""
    parts = [_copies(report), _casts(report), _fallbacks(report)]
    if report.launches:
        parts.append(_section("launches", [f"  {name}: {text}" for name, text in report.launches.items()]))
    if report.memory:
        at = ", ".join(f"{name}={extent}" for name, extent in dims.items())
        parts.append(_section(f"memory in bytes{f' for {at}' if at else ''}", table(_memory(report.memory, budgets, dims))))
    if report.dims:
        parts.append(f"sizes depend on: {', '.join(report.dims)}")
    return "\n\n".join(parts)


def _copies(report: Report) -> str:
    title = f"{_counted(len(report.copies), 'crossing')}, the minimum is {report.minimum_copies}"
    if not report.copies:
        return title
    head = ("  value", "dtype", "shape", "bytes", "direction", "from -> to", "reason")
    rows = [
        (
            f"  {copy.value}",
            copy.dtype,
            render_shape(copy.shape),
            render(copy.nbytes),
            f"{copy.source} -> {copy.destination}",
            f"{copy.producer} -> {copy.consumer}",
            copy.reason + remark(copy),
        )
        for copy in report.copies
    ]
    return "\n".join([title, *table([head, *rows]), *_remedies(report.copies), f"  {_totals(report)}"])


def remark(copy: Crossing) -> str:
    """Return what is to be said of a crossing besides its reason, in brackets, or nothing."""
    remarks = [text for text, holds in (("same memory, no byte moves", copy.aliased), ("once, at load", copy.once)) if holds]
    return f" ({'; '.join(remarks)})" if remarks else ""


def _totals(report: Report) -> str:
    """Return how many bytes cross in a run and at load."""
    text = f"{render(report.run_nbytes)} bytes cross in a run"
    return text + (f", {render(report.load_nbytes)} at load" if report.load_nbytes != 0 else "")


def _casts(report: Report) -> str:
    title = _counted(len(report.casts), "cast")
    if not report.casts:
        return title
    head = ("  value", "from -> to", "shape", "bytes", "direction", "between", "reason")
    rows = [
        (
            f"  {cast.value}",
            f"{cast.source} -> {cast.destination}",
            render_shape(cast.shape),
            render(cast.nbytes),
            cast.direction,
            f"{cast.producer} -> {cast.consumer}",
            cast.reason,
        )
        for cast in report.casts
    ]
    return "\n".join([title, *table([head, *rows]), *_remedies(report.casts)])


def _remedies(entries: Sequence[Crossing | Cast]) -> list[str]:
    """Return what would remove entries, a line each."""
    return [f"  to spare {entry.value}, {entry.source} -> {entry.destination}: {entry.remedy}" for entry in entries if entry.remedy]


def _fallbacks(report: Report) -> str:
    title = _counted(len(report.fallbacks), "fallback")
    if not report.fallbacks:
        return f"{title}: every host operator is native code"
    head = ("  value", "run by", "operators", "reason")
    rows = [(f"  {entry.value}", entry.vendor, ", ".join(entry.nodes), entry.reason) for entry in report.fallbacks]
    return "\n".join([title, *table([head, *rows])])


PARTS = ("arena", "constants", "weights", "workspace", "staging")
"""What a device's memory is for; a column each."""


def _memory(memory: Sequence[DeviceMemory], budgets: Mapping[str, int], dims: Mapping[str, int]) -> list[tuple[str, ...]]:
    def told(size: Size) -> str:
        return str(evaluate(size, dims)) if set(names(size)) <= set(dims) else render(size)

    budget = ("budget",) if budgets else ()
    rows: list[tuple[str, ...]] = [("  device", *PARTS, "total", *budget, "largest gear")]
    for device in memory:
        parts = [told(getattr(device, part)) for part in PARTS]
        allowed = (str(budgets.get(device.device, "")),) if budgets else ()
        rows.append((f"  {device.device}", *parts, told(device.total), *allowed, ", ".join(device.gears)))
    return rows


def report_to_html(report: Report) -> str:
    """Return the report as tables of HTML, as notebooks show it."""
    crossing = f"{_counted(len(report.copies), 'crossing')}, the minimum is {report.minimum_copies}; {_totals(report)}"
    copies = [
        (
            c.value,
            f"{c.dtype} {render_shape(c.shape)}",
            render(c.nbytes),
            f"{c.source} → {c.destination}",
            f"{c.producer} → {c.consumer}",
            c.reason + remark(c),
            c.remedy,
        )
        for c in report.copies
    ]
    casts = [
        (c.value, f"{c.source} → {c.destination}", render_shape(c.shape), render(c.nbytes), c.direction, c.reason, c.remedy)
        for c in report.casts
    ]
    fallbacks = [(f.value, f.vendor, ", ".join(f.nodes), f.reason) for f in report.fallbacks]
    memory = [(m.device, *(render(getattr(m, part)) for part in PARTS), render(m.total)) for m in report.memory]
    between = ("value", "type", "bytes", "direction", "from → to", "reason", "what would spare it")
    return "".join(
        [
            notebook.title(crossing),
            notebook.table("crossings", between, copies),
            notebook.table("casts", ("value", "from → to", "shape", "bytes", "direction", "reason", "what would spare it"), casts),
            notebook.table("fallbacks", ("value", "run by", "operators", "reason"), fallbacks),
            notebook.table("launches", ("offline model", "batches"), report.launches.items()),
            notebook.table("memory in bytes", ("device", *PARTS, "total"), memory),
        ]
    )


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _section(title: str, lines: Sequence[str]) -> str:
    return "\n".join([title, *lines])


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows with their columns aligned; the last column is as long as it is."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False)]
        lines.append("  ".join([*cells, row[-1]]).rstrip())
    return lines
