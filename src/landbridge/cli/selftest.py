"""``landbridge selftest``: is an artifact right on this machine? It has with it what it takes to know."""

from __future__ import annotations

import argparse
from pathlib import Path

from landbridge.cli import options, verdicts
from landbridge.runtime.selftest import SelfTest, selftest


def add(verbs: options.Verbs) -> None:
    """Add the verb."""
    parser = options.verb(
        verbs,
        "selftest",
        execute,
        summary="run the inputs that an artifact was compiled with (compile --golden), and compare with what its model made of them",
        example="landbridge selftest detector.lbr --simulate atlas",
        lean=True,
    )
    parser.add_argument("artifact", metavar="ARTIFACT", help="exit status: 0 all agrees, 1 something differs or could not be run")
    verdicts.add(parser)
    options.add_simulate(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Do it."""
    allowed = verdicts.tolerance(arguments.rtol, arguments.atol)
    with options.working(arguments, f"testing {arguments.artifact}"):
        found = selftest(Path(arguments.artifact), simulate=options.simulated(arguments), tolerance=allowed)
    verdicts.write_picture(arguments.picture, found.verdicts, Path(arguments.artifact).name, by=found.by)
    options.say(arguments, _text(found), {"artifact": arguments.artifact, **found.to_json()})
    return 0 if found.passed else 1


def _text(found: SelfTest) -> str:
    lines: list[str] = []
    for number, verdict in enumerate(found.verdicts, 1):
        lines += [f"case {number} of {len(found.verdicts)}"] if len(found.verdicts) > 1 else []
        lines += verdicts.render(verdict, by=found.by)
    lines += [f"not kept: {name}: {reason}" for name, reason in found.skipped.items()]
    lines += [f"simulated: {', '.join(found.simulated)}"] if found.simulated else []
    return "\n".join([*lines, "passed" if found.passed else "FAILED"])
