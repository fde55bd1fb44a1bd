"""``landbridge diff``: what two artifacts differ in."""

from __future__ import annotations

import argparse

from landbridge.cli import options
from landbridge.differences import differences


def add(verbs: options.Verbs) -> None:
    """Add the verb."""
    parser = options.verb(
        verbs,
        "diff",
        execute,
        summary="tell what two artifacts differ in: models, devices, crossings, memory, interface, target",
        example="landbridge diff detector.lbr detector-v2.lbr",
        lean=True,
    )
    parser.add_argument("first", metavar="A.lbr")
    parser.add_argument("second", metavar="B.lbr")


def execute(arguments: argparse.Namespace) -> int:
    """Do it: 0 where they are equal, 1 where they are not."""
    changes = differences(arguments.first, arguments.second)
    lines = []
    for part in dict.fromkeys(change.part for change in changes):
        lines += [part, *(f"  {change}" for change in changes if change.part == part)]
    text = "\n".join(lines) or f"{arguments.first} and {arguments.second} are equal"
    data = {"a": arguments.first, "b": arguments.second, "equal": not changes, "differences": [vars(change) for change in changes]}
    options.say(arguments, text, data)
    return 1 if changes else 0
