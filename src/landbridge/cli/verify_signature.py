"""``landbridge verify-signature``: check that an artifact is intact and signed by a trusted key."""

from __future__ import annotations

import argparse
import os

from landbridge.cli import options
from landbridge.runtime.errors import UsageError
from landbridge.runtime.sign import verify_signature
from landbridge.runtime.trust import TRUST, Trust


def add(verbs: options.Verbs) -> None:
    """Add the verb."""
    parser = options.verb(
        verbs,
        "verify-signature",
        execute,
        summary="check that an artifact is intact and signed by a trusted key",
        example="landbridge verify-signature detector.lbr --key release.pub",
        lean=True,
    )
    parser.add_argument("artifact", metavar="ARTIFACT")
    parser.add_argument(
        "--key", action="append", default=[], metavar="NAME.pub", help=f"a public key to trust (default: those in the folder {TRUST} names)"
    )


def execute(arguments: argparse.Namespace) -> int:
    """Do it."""
    keys = list(arguments.key)
    if not keys:
        if TRUST not in os.environ:
            raise UsageError("no key to trust", hint=f"give --key NAME.pub, or set {TRUST} to a folder of public keys", code="LB1108")
        keys = list(Trust.of_store(os.environ[TRUST]).keys)
    key, digest = verify_signature(arguments.artifact, keys)
    text = f"{arguments.artifact}: intact, signed by {key.name}\ndigest sha256:{digest}"
    options.say(arguments, text, {"artifact": arguments.artifact, "key": key.key, "name": key.name, "digest": digest})
    return 0
