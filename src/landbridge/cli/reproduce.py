"""``landbridge reproduce``: run a failed pass again, from the file that the failure wrote."""

from __future__ import annotations

import argparse

from landbridge.cli import options


def add(verbs: options.Verbs) -> None:
    """Add the verb."""
    parser = options.verb(
        verbs,
        "reproduce",
        execute,
        summary="run the pass that failed, and those after it, again: from the reproducer that the failure (LB9101) names",
        example="landbridge reproduce reproducer_insert-copies.py",
    )
    parser.add_argument("file", metavar="REPRODUCER.py", help="exit status: 0 it does not fail any more, 70 it fails again")


def execute(arguments: argparse.Namespace) -> int:
    """Do it."""
    from landbridge import passes
    from landbridge.ir import print_module
    from landbridge.passes.reproducer import read_reproducer

    pipeline = read_reproducer(arguments.file)[1]
    with options.working(arguments, f"running {pipeline}"):
        module = print_module(passes.run_reproducer(arguments.file))
    text = f"{module}\n# {arguments.file}: {pipeline} ran, and its result verifies"
    options.say(arguments, text, {"reproducer": arguments.file, "pipeline": pipeline, "module": module})
    return 0
