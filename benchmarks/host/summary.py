"""Write what was measured as Markdown, and put it into a page between two lines that mark its place."""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence
from pathlib import Path

from host.memory import MOST
from host.results import NAMES, Results, Row, geometric_mean

BEGIN, END = "<!-- begin: written by make bench -->", "<!-- end: written by make bench -->"


def put(page: Path, text: str) -> None:
    """Replace what is between the marks.

    Raises:
        ValueError: the page has no such marks.
    """
    before = page.read_text(encoding="utf-8")
    if before.count(BEGIN) != 1 or before.count(END) != 1:
        raise ValueError(f"{page}: expected the lines '{BEGIN}' and '{END}' once each")
    after = re.sub(f"{re.escape(BEGIN)}.*{re.escape(END)}", lambda _: f"{BEGIN}\n\n{text}\n{END}", before, flags=re.DOTALL)
    page.write_text(after, encoding="utf-8")


def markdown(results: Results) -> str:
    """Return the tables, one a group, and what they were measured on."""
    parts = ["Measured on: " + "; ".join(f"{key} {value}" for key, value in results.machine.items()) + "."]
    parts += ["", *_stolen(results), *_speeds(results)]
    parts += ["", "Landbridge's time to that of the faster of ONNX Runtime and OpenVINO, geometric means:", "", *_means(results)]
    for group in results.groups:
        parts += ["", f"### {group.capitalize()}", "", *_table(results.of(group))]
    parts += ["", "### Planned memory", "", *_memory(results)]
    missing = {f"{NAMES[who]}, {row.name}": why for row in results.rows for who, why in row.missing.items()}
    if missing or results.refused:
        parts += ["", "Not run:", ""]
        parts += [f"- {what}: {_plain(why)}" for what, why in {**missing, **results.refused}.items()]
    return "\n".join([*parts, ""])


def _plain(text: str) -> str:
    return re.sub(r"[|`<>\n]|/\S+/", " ", text)[:160].strip()


def _stolen(results: Results) -> list[str]:
    """Return how quiet the machine was."""
    if not results.rows:
        return []
    most = max(results.rows, key=lambda row: row.stolen)
    usual = statistics.median(row.stolen for row in results.rows)
    told = f"Others on the host took {usual:.1%} of the processors' time (the median of all rows), at most {most.stolen:.1%}"
    return [f"{told} ({most.name}, {most.threads} thread{'s' * (most.threads > 1)}).", ""]


def _speeds(results: Results) -> list[str]:
    copies = [nbytes for nbytes, _ in next(iter(results.speeds.values()))["copies"]] if results.speeds else []
    heads = [_size(nbytes) for nbytes in copies]
    lines = [_line(["threads", "float32 GFLOP/s", *(f"copy {head}, GB/s" for head in heads)]), _rule(1, 1 + len(heads))]
    for threads, speed in results.speeds.items():
        rates = dict(speed["copies"])
        scaled = [rates.get(nbytes * threads // min(results.speeds)) for nbytes in copies]
        lines.append(
            _line([str(threads), f"{speed['flops'] / 1e9:.0f}", *("" if rate is None else f"{rate / 1e9:.1f}" for rate in scaled)])
        )
    return lines


def _size(nbytes: int) -> str:
    return f"{nbytes >> 20} MiB" if nbytes >= 1 << 20 else f"{nbytes >> 10} KiB"


def _means(results: Results) -> list[str]:
    lines = [_line(["", *(f"{threads} thread{'s' * (threads > 1)}" for threads in results.threads)]), _rule(1, len(results.threads))]
    for group in results.groups:
        means = [geometric_mean(row.ratio for row in results.of(group, threads)) for threads in results.threads]
        lines.append(_line([group, *("" if mean is None else f"{mean:.2f}" for mean in means)]))
    return lines


def _table(rows: Sequence[Row]) -> list[str]:
    who = [name for name in NAMES if any(name in row.times for row in rows)]
    heads = [
        "",
        "threads",
        *(f"{NAMES[name]} ms" for name in who),
        "to the faster peer",
        "at best ms",
        "reached",
        "difference",
        "compile s",
    ]
    lines = [_line(heads), _rule(1, len(heads) - 1)]
    for row in rows:
        times = ["" if (found := row.ms(name)) is None else number(found) for name in who]
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        reached = "" if row.reached is None else f"{row.reached:.0%}"
        difference = "" if row.difference is None else f"{row.difference:.0e}"
        cells = [row.name, str(row.threads), *times, ratio, number(row.least_ms), reached, difference, f"{row.compile_s:.1f}"]
        lines.append(_line(cells))
    return lines


def _memory(results: Results) -> list[str]:
    """Return what was planned and what lives, a line a case: it is the same for all threads."""
    lines = [_line(["", "planned bytes", "live bytes", "times"]), _rule(1, 3)]
    cases = {row.name: row.memory for row in results.rows}
    lines += [_line([name, f"{memory.planned:,}", f"{memory.live:,}", f"{memory.times:.3f}"]) for name, memory in cases.items()]
    above = ", ".join(results.wasteful)
    return [*lines, "", f"More than {MOST} times what lives: {above}." if above else f"None is above {MOST} times what lives."]


def number(value: float) -> str:
    """Return milliseconds with three digits that count."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _rule(left: int, right: int) -> str:
    return "|" + "---|" * left + "---:|" * right
