"""``landbridge swap``: another blob for an offline model of an artifact."""

from __future__ import annotations

import argparse

from landbridge.cli import options
from landbridge.runtime.dims import render
from landbridge.runtime.swap import swap


def add(verbs: options.Verbs) -> None:
    """Add the verb."""
    parser = options.verb(
        verbs,
        "swap",
        execute,
        summary="replace the blob of an offline model in an artifact by one that fits, without compiling anything anew",
        example="landbridge swap detector.lbr --model backbone.om --blob backbone-v2.om -o detector-v2.lbr",
        lean=True,
    )
    parser.add_argument("artifact", metavar="ARTIFACT")
    parser.add_argument(
        "--model",
        required=True,
        metavar="NAME",
        help="the offline model, or one of its blobs, by the name or the section that inspect shows",
    )
    parser.add_argument("--blob", required=True, metavar="FILE", help="the new blob, of the same vendor")
    parser.add_argument("-o", "--output", metavar="OUT.lbr", help="where to write (default: over ARTIFACT)")


def execute(arguments: argparse.Namespace) -> int:
    """Do it."""
    done = swap(arguments.artifact, arguments.model, arguments.blob, arguments.output)
    warning = f"its {done.signatures} signature{'s' if done.signatures > 1 else ''} did not hold any more: sign it again"
    if done.signatures and not arguments.quiet:
        options.progress(f"warning: {warning}")
    memory = {device: render(size) for device, size in done.peak_nbytes.items()}
    lines = [
        f"{done.path}: {done.model} is {arguments.blob} now",
        *(f"  {change}" for change in done.changes),
        *(f"  peak memory of {device}: {text} bytes" for device, text in memory.items()),
        f"digest sha256:{done.digests[1]}",
    ]
    facts = {
        "artifact": str(done.path),
        "model": done.model,
        "changes": list(done.changes),
        "digest_before": done.digests[0],
        "digest": done.digests[1],
        "peak_nbytes": memory,
        "signatures_dropped": done.signatures,
    }
    options.say(arguments, "\n".join(lines), facts)
    return 0
