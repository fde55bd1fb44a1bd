"""The signature of an offline model in a file of its own, for formats that do not tell it: ``<blob>.sig.json``.

A sidecar is bound to its blob by length and SHA-256: one that lies beside another blob, or beside a newer build of the same one,
is refused. ``landbridge capture`` writes it where the vendor's software is; it may be written by hand as well, which is why a port
needs no more than name, dtype and shape::

    {"format": "landbridge-sidecar", "format_version": 1, "sha256": "…", "nbytes": 1234, "vendor": "cambricon",
     "options": {"symbol": "subnet0"},
     "signature": {"inputs": [{"name": "data", "dtype": "float16", "shape": ["n", 32, 32, 3], "layout": "NHWC"}],
                   "outputs": [{"name": "prob", "dtype": "float16", "shape": ["n", 10]}],
                   "versions": {"sdk": "4.10.4"}}}
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import field, replace
from pathlib import Path
from typing import Any

from landbridge.runtime import dtypes
from landbridge.runtime.errors import ArtifactError, SignatureError
from landbridge.runtime.fields import Field
from landbridge.runtime.records import dataclass
from landbridge.runtime.save_file import save_file
from landbridge.runtime.signature import Signature

SUFFIX = ".sig.json"
"""What the name of a sidecar has after that of its blob."""
FORMAT = "landbridge-sidecar"
FORMAT_VERSION = 1

_MAX_NBYTES = 1 << 20
_SIGNATURE_DEFAULTS: dict[str, Any] = {"gears": None, "workspace_nbytes": 0, "weight_nbytes": 0, "versions": {}, "origin": {}}
_OPTIONAL: dict[str, Any] = {"captured_with": {}}
_PORT_DEFAULTS: dict[str, Any] = {"layout": "ND", "aipp": None}
_FACTS = ("gears", "workspace_nbytes", "weight_nbytes", "versions")


@dataclass(frozen=True)
class Sidecar:
    """What a sidecar says.

    Attributes:
        vendor: whose blob it is.
        options: those that the signature was read with, such as the function's symbol in a Cambricon model.
        signature: with "sidecar" as the origin of its facts.
        captured_with: versions of the software and the device that loaded the blob when this was written; empty where none did.
    """

    vendor: str
    options: Mapping[str, str]
    signature: Signature
    captured_with: Mapping[str, str] = field(default_factory=dict)


def sidecar_path(blob: str | Path) -> Path:
    """Return where the sidecar of the blob at path ``blob`` belongs.

    Example:
        >>> str(sidecar_path("models/net.cambricon"))
        'models/net.cambricon.sig.json'
    """
    return Path(f"{blob}{SUFFIX}")


def read_sidecar(path: str | Path, data: bytes) -> Sidecar:
    """Return what the sidecar at ``path`` says of the blob ``data``.

    Raises:
        SignatureError: it cannot be read, is not of the form of a sidecar, or is that of another blob.
    """
    at = str(path)
    try:
        text = _read(Path(path))
        members = _whole(Field(json.loads(text, object_pairs_hook=_members), ""))
        if members["format"].value != FORMAT or members["format_version"].value != FORMAT_VERSION:
            found = f"{members['format'].value!r}, version {members['format_version'].value!r}"
            raise SignatureError(f"a sidecar of the format {found}, expected {FORMAT!r}, version {FORMAT_VERSION}", at=at, code="LB2107")
        _check_blob(members, data, at)
        return Sidecar(
            members["vendor"].text(empty=False),
            members["options"].text_mapping(),
            _signature(members["signature"]),
            members["captured_with"].text_mapping(),
        )
    except OSError as error:
        raise SignatureError(f"cannot read the sidecar: {error.strerror}", at=at, code="LB2107") from error
    except ArtifactError as error:
        raise SignatureError(f"not a sidecar: {error.at}: {error.message}", at=at, code="LB2107") from error
    except (ValueError, RecursionError) as error:
        raise SignatureError(f"not a sidecar: {error}", at=at, code="LB2107") from error


def write_sidecar(
    path: str | Path,
    data: bytes,
    signature: Signature,
    vendor: str,
    options: Mapping[str, str] | None = None,
    captured_with: Mapping[str, str] | None = None,
) -> None:
    """Write the sidecar of the blob ``data`` to ``path``, which is best what `sidecar_path` gives.

    Raises:
        OSError: it cannot be written; what was there is as it was.
    """
    content = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "sha256": hashlib.sha256(data).hexdigest(),
        "nbytes": len(data),
        "vendor": vendor,
        "options": dict(options or {}),
        "signature": signature.to_json(),
        "captured_with": dict(captured_with or {}),
    }
    save_file(path, [json.dumps(content, indent=2, ensure_ascii=False).encode() + b"\n"])


def _read(path: Path) -> str:
    with path.open("rb") as file:
        content = file.read(_MAX_NBYTES + 1)
    if len(content) > _MAX_NBYTES:
        raise ValueError(f"more than {_MAX_NBYTES} bytes")
    return content.decode("utf-8")


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member appears twice")
    return found


def _whole(file: Field) -> dict[str, Field]:
    given = {name: member.value for name, member in file.mapping().items()}
    names = ("format", "format_version", "sha256", "nbytes", "vendor", "options", "signature")
    return Field({**_OPTIONAL, **given}, file.path).record(*names, *_OPTIONAL)


def _check_blob(members: Mapping[str, Field], data: bytes, at: str) -> None:
    digest, expected = hashlib.sha256(data).hexdigest(), members["sha256"].text()
    if (digest, len(data)) != (expected, members["nbytes"].integer()):
        raise SignatureError(
            f"the sidecar is of another blob: it says {members['nbytes'].value} bytes with SHA-256 {expected}, "
            f"this blob has {len(data)} bytes with SHA-256 {digest}",
            at=at,
            hint="make it anew from this blob with `landbridge capture`, or fetch the blob that belongs to it",
            code="LB2107",
        )


def _signature(field: Field) -> Signature:
    members = field.mapping()
    given = {name: member.value for name, member in members.items()}
    full = Field({**_SIGNATURE_DEFAULTS, **given}, field.path).record("inputs", "outputs", *_SIGNATURE_DEFAULTS)
    ports = {kind: [_port(item) for item in full[kind].items()] for kind in ("inputs", "outputs")}
    for name in ("workspace_nbytes", "weight_nbytes"):
        full[name].integer()
    for name in ("versions", "origin"):
        full[name].text_mapping()
    plain = {name: member.value for name, member in full.items()}
    try:
        signature = Signature.from_json({**plain, **ports})
    except (KeyError, TypeError, ValueError, IndexError) as error:
        field.fail(f"not a signature: {error!r}")
    facts = ["inputs", "outputs", *(name for name in _FACTS if getattr(signature, name))]
    return replace(signature, origin=dict.fromkeys(facts, "sidecar"))


def _port(field: Field) -> dict[str, Any]:
    """Return a port as `Signature.from_json` takes it, after checking what a person may have mistyped."""
    given = {name: member.value for name, member in field.mapping().items()}
    members = Field({**_PORT_DEFAULTS, **given}, field.path).record("name", "dtype", "shape", *_PORT_DEFAULTS)
    members["name"].text()
    members["layout"].text(empty=False)
    if not dtypes.is_dtype(members["dtype"].text()):
        members["dtype"].fail(f"'{members['dtype'].value}', expected a dtype such as float16")
    for extent in members["shape"].items():
        if isinstance(extent.value, str):
            extent.text(empty=False)
        else:
            extent.integer()
    return {name: member.value for name, member in members.items()}
