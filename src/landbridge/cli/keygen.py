"""``landbridge keygen``: make a pair of keys to sign artifacts with."""

from __future__ import annotations

import argparse

from landbridge.cli import options
from landbridge.runtime.ed25519 import PublicKey
from landbridge.runtime.sign import keygen


def add(verbs: options.Verbs) -> None:
    """Add the verb."""
    parser = options.verb(
        verbs,
        "keygen",
        execute,
        summary="make a pair of Ed25519 keys to sign artifacts with",
        example="landbridge keygen release   # writes release.key, to be kept secret, and release.pub",
        lean=True,
    )
    parser.add_argument("name", metavar="NAME", help="writes NAME.key and NAME.pub, which must not exist")


def execute(arguments: argparse.Namespace) -> int:
    """Do it."""
    private, public = keygen(arguments.name)
    key = PublicKey.of(public).key
    text = f"{private}: the private key; keep it secret\n{public}: the public key ed25519:{key}"
    options.say(arguments, text, {"private": str(private), "public": str(public), "key": key})
    return 0
