"""Ed25519 keys and signatures: the one place that needs the package ``cryptography``, and only for keygen, signing and verifying.

Keys are files as OpenSSL writes them: ``openssl genpkey -algorithm ed25519`` makes a private one, ``openssl pkey -pubout`` a public
one. Reading a public key needs no package.
"""

from __future__ import annotations

import binascii
import os
import re
from dataclasses import field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from landbridge.runtime.errors import UnsupportedError, UsageError
from landbridge.runtime.records import dataclass

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

ALGORITHM = "ed25519"

_PREFIX = bytes.fromhex("302a300506032b6570032100")
"""What precedes the 32 bytes of an Ed25519 key in a SubjectPublicKeyInfo (RFC 8410)."""

_PEM = re.compile(r"-----BEGIN PUBLIC KEY-----([A-Za-z0-9+/=\s]*)-----END PUBLIC KEY-----\s*")


@dataclass(frozen=True)
class PublicKey:
    """A public key.

    Attributes:
        key: its 32 bytes, in hexadecimal.
        name: where it came from, for messages.
    """

    key: str
    name: str = field(default="", compare=False)

    @staticmethod
    def of(source: Any) -> PublicKey:
        """Return the key in a file, its 32 bytes, or a key object of ``cryptography``.

        Raises:
            UsageError: it is none of these, or the file cannot be read.
        """
        if isinstance(source, PublicKey):
            return source
        if isinstance(source, str | os.PathLike):
            return _read_public(os.fspath(source))
        raw = source.public_bytes_raw() if hasattr(source, "public_bytes_raw") else source
        if not isinstance(raw, bytes) or len(raw) != 32:
            raise UsageError(f"{type(source).__name__} is not an Ed25519 public key", hint="give the path of a .pub file", code="LB1108")
        return PublicKey(raw.hex(), f"{ALGORITHM}:{raw.hex()[:16]}")

    def verifies(self, signature: str, message: bytes) -> bool:
        """Return whether ``signature``, in hexadecimal, is this key's signature of ``message``.

        Raises:
            UnsupportedError: the package that can tell is not installed.
        """
        package = _package("check signatures")
        public = package.ed25519.Ed25519PublicKey.from_public_bytes(bytes.fromhex(self.key))
        try:
            public.verify(bytes.fromhex(signature), message)
        except (package.InvalidSignature, ValueError):
            return False
        return True


def _read_public(path: str) -> PublicKey:
    try:
        with open(path, encoding="ascii") as file:
            text = file.read()
    except OSError as error:
        raise UsageError(f"cannot read the public key: {error.strerror}", at=path, code="LB1108") from error
    except UnicodeDecodeError as error:
        raise UsageError("not an Ed25519 public key", at=path, hint="landbridge keygen makes one", code="LB1108") from error
    match = _PEM.fullmatch(text)
    try:
        data = binascii.a2b_base64("".join(match[1].split()), strict_mode=True) if match else b""
    except binascii.Error:
        data = b""
    if len(data) != len(_PREFIX) + 32 or not data.startswith(_PREFIX):
        raise UsageError("not an Ed25519 public key", at=path, hint="landbridge keygen makes one", code="LB1108")
    return PublicKey(data[len(_PREFIX) :].hex(), path)


def generate() -> tuple[bytes, bytes]:
    """Return a new private key and its public key, as the contents of files.

    Raises:
        UnsupportedError: the package that can do it is not installed.
    """
    package = _package("make keys")
    private = package.ed25519.Ed25519PrivateKey.generate()
    encoding, formats = package.serialization.Encoding.PEM, package.serialization
    secret: bytes = private.private_bytes(encoding, formats.PrivateFormat.PKCS8, formats.NoEncryption())
    public: bytes = private.public_key().public_bytes(encoding, formats.PublicFormat.SubjectPublicKeyInfo)
    return secret, public


def sign(path: str | os.PathLike[str], message: bytes) -> tuple[PublicKey, str]:
    """Return the public key of the private key in a file, and its signature of ``message``, in hexadecimal.

    Raises:
        UsageError: the file is not an Ed25519 private key without a passphrase, or cannot be read.
        UnsupportedError: the package that can do it is not installed.
    """
    package = _package("sign")
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise UsageError(f"cannot read the private key: {error.strerror}", at=str(path), code="LB1108") from error
    try:
        private: Ed25519PrivateKey = package.serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError, package.UnsupportedAlgorithm) as error:
        hint = "landbridge keygen makes one; one with a passphrase: openssl pkey -in FILE -out PLAIN"
        raise UsageError("not an Ed25519 private key without a passphrase", at=str(path), hint=hint, code="LB1108") from error
    if not isinstance(private, package.ed25519.Ed25519PrivateKey):
        raise UsageError("a private key of another kind, expected Ed25519", at=str(path), hint="landbridge keygen makes one", code="LB1108")
    return PublicKey.of(private.public_key()), private.sign(message).hex()


def _package(purpose: str) -> SimpleNamespace:
    """Return what is used of ``cryptography``."""
    try:
        from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm  # noqa: PLC0415 - an extra
        from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - an extra
        from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415 - an extra
    except ImportError as error:
        hint = "pip install 'landbridge[sign]'"
        raise UnsupportedError(
            f"the package cryptography, which is needed to {purpose}, is not installed", hint=hint, code="LB2307"
        ) from error
    errors = {"InvalidSignature": InvalidSignature, "UnsupportedAlgorithm": UnsupportedAlgorithm}
    return SimpleNamespace(serialization=serialization, ed25519=ed25519, **errors)
