"""``landbridge demo``: the example of the README."""

from __future__ import annotations

import argparse

from landbridge.cli import options


def add(verbs: options.Verbs) -> None:
    """Add the verb."""
    parser = options.verb(
        verbs,
        "demo",
        execute,
        summary="compile and run a model on the CPU, a simulated Atlas and OpenVINO, on scanned digits",
        example="landbridge demo",
        tells=False,
    )
    parser.add_argument("--batch", type=int, default=20, help="images in one run (default: 20, which no gear of the backbone has)")
    parser.add_argument("-o", "--output", metavar="OUT.lbr", help="keep the artifact")
    parser.add_argument("--keep", metavar="FOLDER", help="keep all that it is made of: the model, the offline model, the artifact, images")


def execute(arguments: argparse.Namespace) -> int:
    """Do it."""
    from landbridge.demo.run import run_demo

    tell = (lambda text: None) if arguments.quiet else options.progress
    result = run_demo(batch=arguments.batch, output=arguments.output, tell=tell, keep=arguments.keep)
    options.say(arguments, result.render(), result.to_json())
    return 0 if result.succeeded else 1
