"""Draw what was measured as one HTML file that needs nothing else: a line a case, a mark for each who ran it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from html import escape
from pathlib import Path

from host.results import NAMES, Results, Row, geometric_mean
from host.summary import number

_LEFT, _RIGHT, _PLOT, _ROW, _TOP = 320, 140, 580, 22, 46
"""Pixels of the picture: room for names and for figures, the plot's width, a line's height, and room for the scale."""

_FEWEST, _MOST = 1 / 16, 16.0
"""The ends of the scale: times relative to the faster peer; what is beyond stands at the end."""

_WHO = {**NAMES, "best": "at best on this machine"}


def page(results: Results) -> str:
    """Return the file."""
    style = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    machine = "".join(f"<dt>{escape(key)}</dt><dd>{escape(value)}</dd>" for key, value in results.machine.items())
    rates = "".join(
        f"<dt>{threads} thread{'s' * (threads > 1)}</dt><dd>{speed['flops'] / 1e9:.0f} GFLOP/s, copies of "
        f"{max(rate for _, rate in speed['copies']) / 1e9:.0f} GB/s in cache and {speed['copies'][-1][1] / 1e9:.0f} GB/s in memory</dd>"
        for threads, speed in results.speeds.items()
    )
    sections = "".join(
        f"<section><h2>{threads} thread{'s' * (threads > 1)}</h2>{_means(results, threads)}{picture(results, threads)}</section>"
        for threads in results.threads
    )
    return (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<meta name="viewport" content="width=device-width">\n'
        f"<title>Landbridge: host code</title>\n<style>\n{style}</style>\n<h1>Host code beside its peers</h1>\n"
        f"<p>Each mark is a median time, relative to the faster of ONNX Runtime and OpenVINO: left of 1 is ahead. "
        f"The green line is what this machine could do at best.</p>\n{_legend()}\n{sections}\n"
        f"<h2>All figures</h2>\n{_table(results)}\n<h2>Measured on</h2>\n<dl>{machine}{rates}</dl>\n</html>\n"
    )


def _legend() -> str:
    marks = (f'<span><svg width="18" height="18">{_mark(who, 9, 9)}</svg>{escape(name)}</span>' for who, name in _WHO.items())
    return f'<p class="legend">{"".join(marks)}</p>'


def _means(results: Results, threads: int) -> str:
    means = ((group, geometric_mean(row.ratio for row in results.of(group, threads))) for group in results.groups)
    shown = "".join(f"<span>{escape(group)} <b>{mean:.2f}</b></span>" for group, mean in means if mean is not None)
    return f'<p class="means">Geometric means: {shown}</p>'


def picture(results: Results, threads: int) -> str:
    """Return the picture of all cases on so many threads, as SVG."""
    parts: list[str] = []
    y = _TOP
    for group in results.groups:
        rows = results.of(group, threads)
        if not rows:
            continue
        parts.append(f'<text class="group" x="4" y="{y + 16}">{escape(group)}</text>')
        y += _ROW + 4
        for row in rows:
            parts.extend(_row(row, y))
            y += _ROW
    height = y + 12
    scale = "".join(_scale(height))
    width = _LEFT + _PLOT + _RIGHT
    label = f"Times on {threads} threads, relative to the faster peer"
    return f'<svg class="plot" viewBox="0 0 {width} {height}" role="img" aria-label="{label}">{scale}{"".join(parts)}</svg>'


def _scale(height: int) -> Iterator[str]:
    steps = int(math.log2(_MOST))
    for power in range(-steps, steps + 1):
        x = _x(2.0**power)
        text = str(2**power) if power >= 0 else f"1/{2**-power}"
        yield f'<line class="{"one" if power == 0 else "grid"}" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP - 8}" y2="{height}"/>'
        yield f'<text class="scale" x="{x:.1f}" y="{_TOP - 16}">{text}</text>'
    yield f'<text class="scale end" x="{_LEFT + _PLOT + _RIGHT - 4}" y="{_TOP - 16}">Landbridge</text>'


def _row(row: Row, y: int) -> Iterator[str]:
    middle = y + _ROW // 2
    peer = row.peer_ms or row.ms("landbridge")
    yield f'<text class="name" x="{_LEFT - 12}" y="{middle + 4}">{escape(row.name)}</text>'
    ours = row.ms("landbridge")
    if peer is None:
        return
    if ours is not None:
        ratio = "" if row.ratio is None else f", {row.ratio:.2f}"
        kind = "scale end" if row.ratio is None or row.ratio <= 1.2 else "scale end slow"
        yield f'<text class="{kind}" x="{_LEFT + _PLOT + _RIGHT - 4}" y="{middle + 4}">{number(ours)} ms{ratio}</text>'
    times = {"best": row.least_ms, **{who: found for who in reversed(NAMES) if (found := row.ms(who)) is not None}}
    for who, ms in times.items():
        yield f"<g>{_mark(who, _x(ms / peer), middle)}<title>{escape(row.name)}: {escape(_WHO[who])}, {number(ms)} ms</title></g>"


def _x(ratio: float) -> float:
    """Return where a time stands; the scale is logarithmic."""
    held = min(max(ratio, _FEWEST), _MOST)
    return _LEFT + _PLOT * (math.log2(held) - math.log2(_FEWEST)) / (math.log2(_MOST) - math.log2(_FEWEST))


def _mark(who: str, x: float, y: float) -> str:
    """Return a mark whose form tells who it is as well as its colour does."""
    forms = {
        "landbridge": f'<circle cx="{x:.1f}" cy="{y}" r="6"/>',
        "onnxruntime": f'<rect x="{x - 4.5:.1f}" y="{y - 4.5}" width="9" height="9"/>',
        "openvino": f'<path d="M{x:.1f} {y - 6}l6 10h-12z"/>',
        "numpy": f'<path d="M{x:.1f} {y - 6}l6 6l-6 6l-6 -6z"/>',
        "hand": f'<path d="M{x - 5:.1f} {y - 5}l10 10m0 -10l-10 10"/>',
        "best": f'<path d="M{x:.1f} {y - 9}v18"/>',
    }
    return f'<g class="{who}">{forms[who]}</g>'


def _table(results: Results) -> str:
    times = [f"{name} ms" for name in NAMES.values()]
    heads = [
        "",
        "threads",
        *times,
        "to the faster peer",
        "at best ms",
        "reached",
        "bound by",
        "GFLOP",
        "MB",
        "difference",
        "compile s",
        "planned MB",
        "of live",
    ]
    lines = ["<tr>" + "".join(f"<th>{escape(head)}</th>" for head in heads) + "</tr>"]
    for group in results.groups:
        lines.append(f'<tr class="group"><td colspan="{len(heads)}">{escape(group)}</td></tr>')
        lines += ["<tr>" + "".join(f"<td>{cell}</td>" for cell in _cells(row)) + "</tr>" for row in results.of(group)]
    return f'<div class="wide"><table>{"".join(lines)}</table></div>'


def _cells(row: Row) -> Iterator[str]:
    yield escape(row.name)
    yield str(row.threads)
    for who in NAMES:
        found = row.times.get(who)
        if found is None:
            yield f'<span title="{escape(row.missing[who])}">none</span>' if who in row.missing else ""
        else:
            yield f'<span title="half of the rounds: {number(found["low"])} to {number(found["high"])}">{number(found["median"])}</span>'
    yield "" if row.ratio is None else f"{row.ratio:.2f}"
    yield number(row.least_ms)
    yield "" if row.reached is None else f"{row.reached:.0%}"
    yield escape(row.bound)
    yield f"{row.flops / 1e9:.3g}"
    yield f"{row.nbytes / 1e6:.3g}"
    yield "" if row.difference is None else f"{row.difference:.0e}"
    yield f"{row.compile_s:.1f}"
    yield f"{row.memory.planned / 1e6:.3g}"
    yield f"{row.memory.times:.3f}"
