"""``landbridge explain``: what an error code means, and what to do about it."""

from __future__ import annotations

import argparse

from landbridge.cli import options
from landbridge.runtime.error_codes import error_codes, explain


def add(verbs: options.Verbs) -> None:
    """Add the verb."""
    parser = options.verb(
        verbs,
        "explain",
        execute,
        summary="tell symptom, cause and fix of an error code",
        example="landbridge explain LB1203",
        lean=True,
    )
    parser.add_argument("code", metavar="CODE", nargs="*", help="such as LB1203 (default: list all)")


def execute(arguments: argparse.Namespace) -> int:
    """Do it."""
    if arguments.code:
        found = [explain(code) for code in arguments.code]
        text = "\n\n".join(entry.render() for entry in found)
    else:
        found = list(error_codes().values())
        text = "\n".join(f"{entry.code}  {entry.symptom}" for entry in found)
    options.say(arguments, text, {"codes": [entry.to_json() for entry in found]})
    return 0
