"""``landbridge verify``: does an artifact compute what its model means, and where not?"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from landbridge.cli import inputs, options
from landbridge.runtime.dims import render_shape
from landbridge.runtime.errors import UsageError
from landbridge.runtime.render_report import table
from landbridge.runtime.session import load


def add(verbs: options.Verbs) -> None:
    """Add the verb."""
    parser = options.verb(
        verbs,
        "verify",
        execute,
        summary="compare an artifact with its ONNX model, at the outputs and at the border of every offline model",
        example="landbridge verify detector.lbr --reference detector.onnx --simulate atlas",
    )
    parser.add_argument("artifact", metavar="ARTIFACT")
    parser.add_argument("--reference", required=True, metavar="MODEL.onnx", help="what the artifact was compiled from")
    inputs.add(parser, fill="random")
    parser.add_argument("--rtol", type=float, metavar="R", help="allow this share of an element (default: what the types in use allow)")
    parser.add_argument("--atol", type=float, metavar="A", help="allow this much at any element (default: likewise)")
    options.add_simulate(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Do it."""
    from landbridge.comparison import Tolerance
    from landbridge.reference import Reference
    from landbridge.verification import verify

    given = (arguments.rtol, arguments.atol)
    if any(share is not None and not share >= 0 for share in given):
        raise UsageError("a negative tolerance", hint="give --rtol and --atol 0 or more")
    tolerance = None if given == (None, None) else Tolerance(arguments.rtol or 0.0, arguments.atol or 0.0)
    with options.working(arguments, f"reading {arguments.reference}") as progress:
        reference = Reference(arguments.reference)
        progress.now(f"loading {arguments.artifact}")
        with load(Path(arguments.artifact), simulate=options.simulated(arguments)) as session:
            progress.now(f"running {arguments.artifact} and {arguments.reference}")
            verdict = verify(session, reference, inputs.read(session.inputs, arguments), tolerance)
            simulated = list(session.simulated)
    data = {
        "artifact": arguments.artifact,
        "reference": arguments.reference,
        "computed_by": reference.by,
        "agrees": verdict.agrees,
        "first_region": verdict.first_region,
        "values": [{"where": entry.where, **entry.difference.to_json()} for entry in verdict.checked],
        "not_compared": verdict.skipped,
        "simulated": simulated,
    }
    options.say(arguments, _text(verdict, reference, simulated), data)
    return 0 if verdict.agrees and verdict.checked else 1


def _text(verdict: Any, reference: Any, simulated: list[str]) -> str:
    head = ("", "value", "where", "type", "max abs", "max rel", "cosine", "NaN", "Inf", "first difference")
    rows = [_row(entry.where, entry.difference) for entry in verdict.checked]
    lines = table([head, *rows]) if rows else []
    lines += [f"not compared: {value}: {reason}" for value, reason in verdict.skipped.items()]
    wrong = sum(not entry.difference.agrees for entry in verdict.checked)
    count = len(verdict.checked)
    lines += ["", f"{count - wrong} of {count} values agree with {reference.title}, computed by {reference.by}"]
    if verdict.first_region:
        first = next(entry for entry in verdict.checked if not entry.difference.agrees)
        lines.append(f"the first that differs is '{first.difference.name}' {first.where}, made by {verdict.first_region}")
        lines.append(f"  {first.difference.count} elements are off by more than {first.difference.tolerance}")
    if not verdict.checked:
        lines.append(f"nothing could be compared: {reference.title} has no value of any of these names")
    if simulated:
        lines.append(f"simulated: {', '.join(simulated)}")
    return "\n".join(lines).lstrip("\n")


def _row(where: str, found: Any) -> tuple[str, ...]:
    nans, infs = ("" if pair == (0, 0) else f"{pair[0]} for {pair[1]}" for pair in (found.nans, found.infs))
    figures = (
        (f"{found.max_abs:.2e}", f"{found.max_rel:.2e}", f"{found.cosine:.6f}") if found.shape == found.expected_shape else ("", "", "")
    )
    verdict = "ok" if found.agrees else "DIFFERS"
    return (verdict, found.name, where, f"{found.dtype} {render_shape(found.shape)}", *figures, nans, infs, found.describe())
