"""``landbridge verify``: does an artifact compute what its model means, and where not?"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from landbridge.cli import inputs, options, verdicts
from landbridge.runtime.session import load
from landbridge.runtime.verdict import Verdict


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
    verdicts.add(parser)
    parser.add_argument(
        "--no-bisect", action="store_true", help="where the CPU's code is wrong, do not compile parts of it to find the operator"
    )
    options.add_simulate(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Do it."""
    from landbridge.reference import Reference
    from landbridge.verification import verify

    tolerance = verdicts.tolerance(arguments.rtol, arguments.atol)
    with options.working(arguments, f"reading {arguments.reference}") as progress:
        reference = Reference(arguments.reference)
        progress.now(f"loading {arguments.artifact}", 1 / 3)
        with load(Path(arguments.artifact), simulate=options.simulated(arguments)) as session:
            progress.now(f"running {arguments.artifact} and {arguments.reference}", 2 / 3)
            given = inputs.read(session.inputs, arguments)
            verdict, culprit = verify(session, reference, given, tolerance, bisects=not arguments.no_bisect)
            simulated = list(session.simulated)
    verdicts.write_picture(arguments.picture, [verdict], Path(arguments.artifact).name, by=reference.title)
    data = {
        "artifact": arguments.artifact,
        "reference": arguments.reference,
        "computed_by": reference.by,
        **verdict.to_json(),
        "culprit": culprit.to_json() if culprit else None,
        "simulated": simulated,
    }
    options.say(arguments, _text(verdict, culprit, reference, simulated), data)
    return 0 if verdict.agrees and verdict.checked else 1


def _text(verdict: Verdict, culprit: Any, reference: Any, simulated: list[str]) -> str:
    lines = verdicts.render(verdict, by=f"{reference.title}, computed by {reference.by}")
    lines += [f"  {culprit.render()}"] if culprit else []
    if not verdict.checked:
        lines.append(f"nothing could be compared: {reference.title} has no value of any of these names")
    if simulated:
        lines.append(f"simulated: {', '.join(simulated)}")
    return "\n".join(lines)
