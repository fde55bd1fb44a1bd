"""Sign artifacts and check signatures. Signing leaves the artifact's digest as it is."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from landbridge.runtime import ed25519
from landbridge.runtime.artifact import naming, open_container
from landbridge.runtime.container import MAX_SIGNATURES_NBYTES, KeySignature, lay_out, render_signatures, to_canonical_json
from landbridge.runtime.errors import UsageError
from landbridge.runtime.save_file import save_file
from landbridge.runtime.trust import Trust, message_of


def keygen(name: str | Path) -> tuple[Path, Path]:
    """Write a new pair of keys, ``<name>.key``, which only its owner can read, and ``<name>.pub``, and return their paths.

    Raises:
        UsageError: one of the files exists.
        UnsupportedError: the package ``cryptography`` is not installed.
        OSError: they cannot be written.
    """
    private, public = Path(f"{name}.key"), Path(f"{name}.pub")
    for path in (private, public):
        if path.exists():
            raise UsageError("the file exists", at=str(path), hint="choose another name: a key that is overwritten is lost")
    secret, shown = ed25519.generate()
    for path, contents, mode in ((private, secret, 0o600), (public, shown, 0o644)):
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as file:
            file.write(contents)
    return private, public


def sign(path: str | Path, key: str | Path, output: str | Path | None = None) -> KeySignature:
    """Add a signature to an artifact, in place of an older one by the same key.

    Args:
        path: of the artifact, which is checked in full before.
        key: the file of the private key.
        output: where to write; over ``path`` by default.

    Raises:
        ArtifactError: the artifact is damaged or cannot be read.
        UsageError: the key cannot be used, or the artifact has too many signatures.
        UnsupportedError: the package ``cryptography`` is not installed.
        OSError: it cannot be written; the old file is as it was.
    """
    with naming(path):
        data, container = open_container(path)
        payloads = [container.payload(data, index, private=False) for index in range(len(container.sections))]
    public, signature = ed25519.sign(key, message_of(container.digest))
    entry = KeySignature(ed25519.ALGORITHM, public.key, signature)
    signatures = render_signatures([*container.signatures, entry])
    if len(signatures) > MAX_SIGNATURES_NBYTES:
        raise UsageError(f"{len(container.signatures)} signatures, there is no room for another", at=str(path))
    layout = lay_out(to_canonical_json(container.manifest), container.sections, signatures)
    pieces = zip(layout.fixed, (b"", *payloads, b""), strict=True)
    save_file(path if output is None else output, (piece for (_, fixed), payload in pieces for piece in (fixed, payload)))
    return entry


def verify_signature(path: str | Path, keys: Iterable[Any]) -> tuple[ed25519.PublicKey, str]:
    """Check an artifact in full and that one of ``keys`` signed it; return that key and the artifact's digest.

    Raises:
        ArtifactUntrusted: none of them did.
        ArtifactError: the artifact is damaged or cannot be read.
        UsageError: one of them is not a public key.
    """
    trust = Trust(keys=tuple(ed25519.PublicKey.of(key) for key in keys))
    with naming(path):
        data, container = open_container(path)
        for index in range(len(container.sections)):
            container.payload(data, index, private=False)
        key = trust.check(container.digest, container.signatures)
    assert key is not None, "no digest is pinned here"
    return key, container.digest
