"""A report as text, as ``landbridge report`` prints it."""

from __future__ import annotations

from collections.abc import Sequence

from landbridge.runtime.dims import Size, render, render_shape
from landbridge.runtime.report import Cast, Crossing, Report


def render_report(report: Report) -> str:
    """Return the report as text: crossings, casts, fallbacks, launches, memory."""
    parts = [_copies(report), _casts(report), _fallbacks(report)]
    if report.launches:
        parts.append(_section("launches", [f"  {name}: {text}" for name, text in report.launches.items()]))
    if report.peak_nbytes:
        rows = [(f"  {device}", render(size)) for device, size in report.peak_nbytes.items()]
        parts.append(_section("peak memory in bytes", table(rows)))
    if report.dims:
        parts.append(f"sizes depend on: {', '.join(report.dims)}")
    return "\n\n".join(parts)


def _copies(report: Report) -> str:
    count = len(report.copies)
    title = f"{count} crossing{'' if count == 1 else 's'}, the minimum is {report.minimum_copies}"
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
            copy.reason + _remark(copy),
        )
        for copy in report.copies
    ]
    return "\n".join([title, *table([head, *rows]), *_remedies(report.copies), f"  {_totals(report.copies)}"])


def _remark(copy: Crossing) -> str:
    remarks = [text for text, holds in (("same memory, no byte moves", copy.aliased), ("once, at load", copy.once)) if holds]
    return f" ({'; '.join(remarks)})" if remarks else ""


def _totals(copies: Sequence[Crossing]) -> str:
    """Return how many bytes cross in a run and at load."""
    moving = [copy.nbytes for copy in copies if not copy.aliased and not copy.once]
    text = f"{_sum(moving)} bytes cross in a run"
    once = [copy.nbytes for copy in copies if copy.once and not copy.aliased]
    return text + (f", {_sum(once)} at load" if once else "")


def _sum(sizes: Sequence[Size]) -> str:
    """Return a sum as one reads it, multiples of the same size added up: ``n*384 + 40``."""
    known, multiples = 0, dict[str, tuple[Size, int]]()
    for size in sizes:
        if isinstance(size, int):
            known += size
            continue
        multiple = not isinstance(size, str) and size[0] == "*" and isinstance(size[2], int)
        factor, count = (size[1], size[2]) if multiple else (size, 1)
        multiples[render(factor)] = (factor, multiples.get(render(factor), (factor, 0))[1] + count)
    terms = [render(["*", factor, count] if count != 1 else factor) for factor, count in multiples.values()]
    return " + ".join([*terms, *([str(known)] if known or not terms else [])])


def _casts(report: Report) -> str:
    count = len(report.casts)
    title = f"{count} cast{'' if count == 1 else 's'}"
    if not report.casts:
        return title
    head = ("  value", "from -> to", "bytes", "between", "reason")
    rows = [
        (f"  {cast.value}", f"{cast.source} -> {cast.destination}", render(cast.nbytes), f"{cast.producer} -> {cast.consumer}", cast.reason)
        for cast in report.casts
    ]
    return "\n".join([title, *table([head, *rows]), *_remedies(report.casts)])


def _remedies(entries: Sequence[Crossing | Cast]) -> list[str]:
    """Return what would remove entries, a line each."""
    return [f"  to spare {entry.value}, {entry.source} -> {entry.destination}: {entry.remedy}" for entry in entries if entry.remedy]


def _fallbacks(report: Report) -> str:
    count = len(report.fallbacks)
    title = f"{count} fallback{'' if count == 1 else 's'}"
    if not report.fallbacks:
        return f"{title}: every host operator is native code"
    head = ("  value", "run by", "operators", "reason")
    rows = [(f"  {entry.value}", entry.vendor, ", ".join(entry.nodes), entry.reason) for entry in report.fallbacks]
    return "\n".join([title, *table([head, *rows])])


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
