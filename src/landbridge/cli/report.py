"""``landbridge report``: what crosses, what is converted, what is not native, and how much memory it takes."""

from __future__ import annotations

import argparse
import html
import json
from pathlib import Path

from landbridge.cli import options
from landbridge.runtime import artifact
from landbridge.runtime.dims import render, render_shape
from landbridge.runtime.errors import UsageError
from landbridge.runtime.report import Report


def add(verbs: options.Verbs) -> None:
    """Add the verb."""
    parser = options.verb(
        verbs,
        "report",
        execute,
        summary="print the transfer and memory report of an artifact",
        example="landbridge report detector.lbr",
        lean=True,
    )
    parser.add_argument("artifact", metavar="ARTIFACT")
    parser.add_argument("--html", metavar="F.html", help="write it as a page as well")


def execute(arguments: argparse.Namespace) -> int:
    """Do it."""
    found = artifact.read(Path(arguments.artifact))
    if arguments.html:
        write(found.report, Path(arguments.html), title=Path(arguments.artifact).name)
    several = [record for record in found.externs if record.alternatives]
    blobs = {record.title: [f"{one.title}, {one.vendor} on {one.device}" for one in record.candidates] for record in several}
    lines = [f"{name} has {len(listed)} blobs, of which the first runs that can: {'; '.join(listed)}" for name, listed in blobs.items()]
    lines = ["", *lines, "the figures above are those of the first blobs"] if lines else []
    options.say(arguments, "\n".join([found.report.render(), *lines]), {**found.report.to_json(), "blobs": blobs})
    return 0


def check_name(path: Path) -> None:
    """Refuse a file whose name does not tell what is to be written.

    Raises:
        UsageError: its ending is neither .json nor .html.
    """
    if path.suffix not in (".json", *_PAGES):
        raise UsageError(f"--report '{path}': unknown kind of file '{path.suffix}'", hint="end its name in .json or .html", code="LB1115")


def write(report: Report, path: Path, *, title: str) -> None:
    """Write the report to a file, as JSON or as a page, by the ending of its name.

    Raises:
        UsageError: another ending.
    """
    check_name(path)
    text = page(report, title) if path.suffix in _PAGES else json.dumps(report.to_json(), indent=2) + "\n"
    path.write_text(text, encoding="utf-8")


_PAGES = (".html", ".htm")

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 1180px; padding: 0 1rem; color: #111; background: #fff }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 2rem }
th, td { text-align: left; padding: .35rem .7rem; border-bottom: 1px solid #ccc; vertical-align: top }
th { border-bottom: 2px solid #111 } td.number { text-align: right; font-variant-numeric: tabular-nums }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin: 0 }
"""


def page(report: Report, title: str) -> str:
    """Return the report as one self-contained page of HTML."""
    copies = [
        [
            c.value,
            f"{c.dtype} {render_shape(c.shape)}",
            render(c.nbytes),
            f"{c.source} → {c.destination}",
            c.producer,
            c.consumer,
            c.reason + (" (no byte moves: shared memory)" if c.aliased else ""),
            c.remedy,
        ]
        for c in report.copies
    ]
    casts = [[c.value, f"{c.source} → {c.destination}", render(c.nbytes), c.producer, c.consumer, c.reason, c.remedy] for c in report.casts]
    fallbacks = [[f.value, ", ".join(f.nodes), f.vendor, f.reason] for f in report.fallbacks]
    minimum = f"{len(report.copies)} crossings; the least that the rules allow is {report.minimum_copies}."
    body = [
        f"<h1>{html.escape(title)}</h1>",
        _table("Crossings", ["value", "type", "bytes", "direction", "made by", "needed by", "reason", "what would spare it"], copies),
        f"<p>{minimum}</p>",
        _table("Conversions", ["value", "from → to", "bytes", "made by", "needed by", "reason", "what would spare it"], casts),
        _table("Not native", ["outputs", "operators", "run by", "reason"], fallbacks),
        _table("Launches", ["offline model", "batches"], [[name, text] for name, text in report.launches.items()]),
        _table("Peak memory", ["device", "bytes"], [[device, render(size)] for device, size in report.peak_nbytes.items()]),
    ]
    meta = '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    head = f"{meta}<title>{html.escape(title)}</title><style>{_STYLE}</style>"
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(body)}</body></html>\n'


def _table(title: str, columns: list[str], rows: list[list[str]]) -> str:
    if not rows:
        return f"<h2>{title}</h2><p>None.</p>"
    head = "".join(f"<th scope=col>{column}</th>" for column in columns)
    cells = [
        [f"<td{' class=number' if columns[i] == 'bytes' else ''}>{html.escape(cell)}</td>" for i, cell in enumerate(row)] for row in rows
    ]
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in cells)
    return f"<h2>{title}</h2><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
