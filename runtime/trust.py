"""Whom a caller and an administrator trust, and whether an artifact is from them.

A signature is of the digest of the manifest, which has the digest of everything else. It is checked after the digests, and before
anything of the file is believed, let alone run.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Sequence
from typing import Any

from landbridge.runtime.container import KeySignature
from landbridge.runtime.ed25519 import ALGORITHM, PublicKey
from landbridge.runtime.errors import ArtifactUntrusted, UnsupportedError, UsageError
from landbridge.runtime.records import dataclass

TRUST = "LANDBRIDGE_TRUST"
"""Environment variable: a folder of public keys (``*.pub``). Where it is set, nothing is loaded that none of them signed."""

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")

_MESSAGE = b"landbridge/artifact/v1\0"
"""Precedes the digest in what is signed, so that a signature made for something else is never one of an artifact."""


def message_of(digest: str) -> bytes:
    """Return what a signature of the artifact with this digest signs."""
    return _MESSAGE + bytes.fromhex(digest)


@dataclass(frozen=True)
class Trust:
    """One condition on an artifact: it is one of these, or signed by one of these keys.

    Attributes:
        digests: "sha256:" and the digest of a manifest.
        keys: of signers.
        store: the key store that the keys are from, or "".
    """

    digests: tuple[str, ...] = ()
    keys: tuple[PublicKey, ...] = ()
    store: str = ""

    @staticmethod
    def of(trust: Any) -> Trust:
        """Return what the argument ``trust`` of `landbridge.runtime.load` means.

        Args:
            trust: a digest ("sha256:…"), a public key (the path of its file, or a key object of ``cryptography``), or several.

        Raises:
            ArtifactUntrusted: a digest is not of its form.
            UsageError: something else is none of these.
        """
        several = isinstance(trust, Iterable) and not isinstance(trust, str | bytes)
        digests: list[str] = []
        keys: list[PublicKey] = []
        for item in trust if several else (trust,):
            if isinstance(item, str) and ":" in item and not item.endswith(".pub"):
                if not _DIGEST.fullmatch(item.lower()):
                    raise ArtifactUntrusted(
                        f"'{item}' does not pin an artifact", hint="expected sha256: and 64 hexadecimal digits", code="LB3401"
                    )
                digests.append(item.lower())
            else:
                keys.append(PublicKey.of(item))
        if not digests and not keys:
            raise UsageError("an empty list of what to trust", hint="give digests or public keys; None pins nothing", code="LB1108")
        return Trust(tuple(digests), tuple(keys))

    @staticmethod
    def of_store(folder: str) -> Trust:
        """Return the condition that a key store sets.

        Raises:
            ArtifactUntrusted: it cannot be read, has no key, or can be written by anybody.
        """
        at, keys = f"{TRUST}={folder}", []
        try:
            names = sorted(name for name in os.listdir(folder) if name.endswith(".pub")) if folder else []
            paths = [os.path.join(folder, name) for name in names]
            for path in (folder, *paths):
                if os.stat(path).st_mode & stat.S_IWOTH:
                    raise ArtifactUntrusted(f"anybody can write {path}", at=at, hint=f"chmod o-w {path}", code="LB3403")
            keys = [PublicKey.of(path) for path in paths]
        except OSError as error:
            raise ArtifactUntrusted(
                f"the key store cannot be read: {error.strerror}", at=at, hint="name a folder of *.pub files", code="LB3403"
            ) from error
        except UsageError as error:
            raise ArtifactUntrusted(
                f"{error.at}: {error.message}", at=at, hint="remove it, or replace it by a key", code="LB3403"
            ) from error
        if not keys:
            raise ArtifactUntrusted(
                "the key store has no key, so that nothing can be loaded", at=at, hint="put a signer's .pub file there", code="LB3403"
            )
        return Trust(keys=tuple(keys), store=folder)

    def check(self, digest: str, signatures: Sequence[KeySignature]) -> PublicKey | None:
        """Check that an artifact meets the condition, and return the key that signed it, or None where its digest is pinned.

        Args:
            digest: SHA-256 of its manifest, in hexadecimal.
            signatures: that its file has.

        Raises:
            ArtifactUntrusted: it does not; the message has its digest, the hint how to proceed.
        """
        if f"sha256:{digest}" in self.digests:
            return None
        if not self.keys:
            pinned = ", ".join(self.digests)
            raise ArtifactUntrusted(
                f"its digest is sha256:{digest}, trusted is {pinned}", hint="use the artifact that was pinned", code="LB3401"
            )
        for key in self.keys:
            entry = next((entry for entry in signatures if (entry.algorithm, entry.key) == (ALGORITHM, key.key)), None)
            if entry is None:
                continue
            if self._verifies(key, entry, digest):
                return key
            raise ArtifactUntrusted(
                f"its signature by {key.name} is of another artifact; its digest is sha256:{digest}", hint=self._hint(), code="LB3402"
            )
        by = ", ".join(f"{entry.algorithm}:{entry.key[:16]}…" for entry in signatures)
        found = f"signed by {by}, which is not trusted" if by else "not signed"
        raise ArtifactUntrusted(f"{found}; its digest is sha256:{digest}", hint=self._hint(), code="LB3402")

    def _verifies(self, key: PublicKey, entry: KeySignature, digest: str) -> bool:
        try:
            return key.verifies(entry.signature, message_of(digest))
        except UnsupportedError as error:
            raise ArtifactUntrusted(f"its signature cannot be checked: {error.message}", hint=error.hint, code="LB3402") from error

    def _hint(self) -> str:
        if self.store:
            return f"landbridge sign it with a key whose .pub is in {self.store}, or put its signer's .pub there"
        return "landbridge sign it with one of these keys, or trust its signer's key or this digest"


def conditions(trust: Any) -> tuple[Trust, ...]:
    """Return all conditions on what a caller loads: the caller's own, and that of the machine's key store.

    Raises:
        ArtifactUntrusted: the key store cannot be used, or a digest is not of its form.
        UsageError: ``trust`` is not what it must be.
    """
    store = os.environ.get(TRUST)
    own = () if trust is None else (Trust.of(trust),)
    return own if store is None else (*own, Trust.of_store(store))
