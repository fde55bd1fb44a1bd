"""``landbridge sign``: sign an artifact."""

from __future__ import annotations

import argparse

from landbridge.cli import options
from landbridge.runtime.sign import sign


def add(verbs: options.Verbs) -> None:
    """Add the verb."""
    parser = options.verb(
        verbs,
        "sign",
        execute,
        summary="sign an artifact, so that machines that trust the key load it; its digest stays as it is",
        example="landbridge sign detector.lbr --key release.key",
        lean=True,
    )
    parser.add_argument("artifact", metavar="ARTIFACT")
    parser.add_argument("--key", required=True, metavar="NAME.key", help="the private key, from landbridge keygen or OpenSSL")
    parser.add_argument("-o", "--output", metavar="OUT.lbr", help="where to write (default: over ARTIFACT)")


def execute(arguments: argparse.Namespace) -> int:
    """Do it."""
    entry = sign(arguments.artifact, arguments.key, arguments.output)
    path = arguments.output or arguments.artifact
    options.say(arguments, f"{path}: signed by ed25519:{entry.key}", {"artifact": path, "key": entry.key})
    return 0
