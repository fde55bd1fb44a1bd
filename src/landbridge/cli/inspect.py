"""``landbridge inspect``: what is in an artifact or in a vendor's blob, with no vendor software."""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path
from typing import Any

from landbridge.cli import options
from landbridge.runtime import artifact
from landbridge.runtime.artifact import ExternRecord
from landbridge.runtime.dims import render, render_shape
from landbridge.runtime.driver import Vendor
from landbridge.runtime.errors import SignatureError, UserError
from landbridge.runtime.plan import Interface, Plan
from landbridge.runtime.sidecar import read_sidecar, sidecar_path
from landbridge.runtime.signature import Port, Signature
from landbridge.runtime.vendors import registry

_ARTIFACT_START = b"PK\x03\x04"


def add(verbs: options.Verbs) -> None:
    """Add the verb."""
    parser = options.verb(
        verbs,
        "inspect",
        execute,
        summary="show the signature, versions, sections and hashes of an artifact or a vendor's blob",
        example="landbridge inspect backbone.om",
        lean=True,
    )
    parser.add_argument("file", metavar="FILE", help="an artifact, or a blob such as an .om")
    parser.add_argument("--vendor", help="whose blob it is, where the bytes do not tell")


def execute(arguments: argparse.Namespace) -> int:
    """Do it."""
    path = Path(arguments.file)
    data = path.read_bytes()
    vendor = registry.vendor(arguments.vendor) if arguments.vendor else registry.recognise(data)
    if vendor is None and not data.startswith(_ARTIFACT_START):
        vendor = registry.vendor_of(data, path.suffix)
    if vendor is not None:
        try:
            text, facts = _blob(path, data, vendor)
        except SignatureError as error:
            raise error.within(str(path)) from None
    elif data.startswith(_ARTIFACT_START):
        text, facts = _artifact(path)
    else:
        raise UserError(
            "neither an artifact nor a blob of a known vendor",
            at=str(path),
            hint=f"vendors here: {', '.join(registry.vendors())}",
            code="LB1003",
        )
    options.say(arguments, text, facts)
    return 0


def _blob(path: Path, data: bytes, vendor: Vendor) -> tuple[str, dict[str, Any]]:
    details, digest = vendor.describe(data), hashlib.sha256(data).hexdigest()
    rows = [("vendor", vendor.name), ("runs on", vendor.device_kind), ("size", f"{len(data)} bytes"), ("SHA-256", digest), *details]
    facts: dict[str, Any] = {"vendor": vendor.name, "nbytes": len(data), "sha256": digest, "details": dict(details)}
    try:
        signature = _signature(path, data, vendor)
    except SignatureError as error:
        if vendor.tells_signature:
            raise
        lines = [f"signature: {line}" if index == 0 else line for index, line in enumerate(str(error).splitlines())]
        return "\n".join([str(path), *_table(rows), *lines]), {**facts, "signature": None, "signature_missing": str(error)}
    return "\n".join([str(path), *_table(rows), *signature_lines(signature)]), {**facts, "signature": signature.to_json()}


def _signature(path: Path, data: bytes, vendor: Vendor) -> Signature:
    """Return what the blob tells; where its format does not tell, what the sidecar beside it says.

    Raises:
        SignatureError: neither tells it.
    """
    sidecar = sidecar_path(path)
    if vendor.tells_signature or not sidecar.exists():
        return vendor.read_signature(data, {})
    return read_sidecar(sidecar, data).signature


def _artifact(path: Path) -> tuple[str, dict[str, Any]]:
    found, manifest = artifact.read(path), artifact.read_manifest(path)
    sections = {section.name: {"nbytes": section.nbytes, "sha256": section.sha256} for section in manifest.sections}
    target = f"{found.target.triple} {found.target.cpu}".strip() or "any machine"
    made_by = ", ".join(f"{name} {version}" for name, version in found.producer.items())
    rows = [("artifact of", found.name), ("made by", made_by), ("runs on", target), ("digest", found.digest)]
    if found.golden is not None:
        cases, values = len(found.golden.cases), len(found.golden.cases[0].values)
        rows.append(("self-test", f"{cases} case{'s' * (cases != 1)}, {values} value{'s' * (values != 1)} each, by {found.golden.by}"))
    rows += [("signed by", f"{entry.algorithm}:{entry.key}, not checked here") for entry in manifest.signatures]
    lines = [
        str(path),
        *_table(rows),
        *_interface("input", found.plan, found.plan.inputs),
        *_interface("output", found.plan, found.plan.outputs),
    ]
    for extern in found.externs:
        lines += _extern_lines(extern, f"offline model {extern.title}")
        for number, one in enumerate(extern.alternatives, 2):
            lines += _extern_lines(one, f"  blob {number}, where those before it cannot run: {one.title}")
    lines += ["sections"] + [f"  {name:<20}{facts['nbytes']:>12} bytes  sha256:{facts['sha256']}" for name, facts in sections.items()]
    facts = {
        "name": found.name,
        "self_test": found.golden.to_json() if found.golden else None,
        "producer": dict(found.producer),
        "target": vars(found.target),
        "digest": found.digest,
        "signatures": [vars(entry) for entry in manifest.signatures],
        "inputs": _interface_json(found.plan, found.plan.inputs),
        "outputs": _interface_json(found.plan, found.plan.outputs),
        "externs": [_extern_json(extern) for extern in found.externs],
        "sections": sections,
    }
    return "\n".join(lines), facts


def _extern_lines(record: ExternRecord, title: str) -> list[str]:
    versions = "".join(f", {key} {value}" for key, value in record.signature.versions.items())
    options = "".join(f", {key}={value}" for key, value in record.options.items())
    indent = " " * (len(title) - len(title.lstrip()) + 2)
    head = f"{title}: {record.vendor} on {record.device}, section {record.section}{versions}{options}"
    return [head, *(indent + line for line in signature_lines(record.signature))]


def _extern_json(record: ExternRecord) -> dict[str, Any]:
    plain = {**vars(record), "signature": record.signature.to_json(), "options": dict(record.options)}
    return {**plain, "alternatives": [_extern_json(one) for one in record.alternatives]}


def signature_lines(signature: Signature) -> list[str]:
    """Return a signature as text, a line for each fact, with where it came from."""
    lines = [f"input  {_port(port)}" for port in signature.inputs] + [f"output {_port(port)}" for port in signature.outputs]
    if signature.gears is not None:
        gears = ", ".join("x".join(str(extent) for extent in choice) for choice in signature.gears.choices)
        lines.append(f"{signature.gears.kind} gears {gears}{_origin(signature, 'gears')}")
    if signature.workspace_nbytes:
        lines.append(f"workspace {signature.workspace_nbytes} bytes{_origin(signature, 'workspace_nbytes')}")
    if signature.weight_nbytes:
        lines.append(f"weights {signature.weight_nbytes} bytes{_origin(signature, 'weight_nbytes')}")
    return lines + [f"{key} {value}{_origin(signature, 'versions')}" for key, value in signature.versions.items()]


def _port(port: Port) -> str:
    text = f"{port.name}: {port.dtype} {render_shape(port.shape)} {port.layout}"
    if port.aipp is None:
        return text
    size = f", image {port.aipp.source_height} x {port.aipp.source_width}" if port.aipp.source_height else ""
    return f"{text}, {port.aipp.mode} AIPP from {port.aipp.source_format}{size}"


def _origin(signature: Signature, fact: str) -> str:
    return f" (from the {signature.origin[fact]})" if fact in signature.origin else ""


def _table(rows: list[tuple[str, str]]) -> list[str]:
    width = max(len(label) for label, _ in rows) + 2
    return [f"{label:<{width}}{text}" for label, text in rows]


def _interface(kind: str, plan: Plan, interface: tuple[Interface, ...]) -> list[str]:
    described = _interface_json(plan, interface)
    return [f"{kind:<7}{port['name']}: {port['dtype']} [{', '.join(port['shape'])}] on {port['device']}" for port in described]


def _interface_json(plan: Plan, interface: tuple[Interface, ...]) -> list[dict[str, Any]]:
    buffers = [(port.name, plan.buffers[port.buffer]) for port in interface]
    return [{"name": name, "dtype": b.dtype, "shape": [render(size) for size in b.shape], "device": b.device} for name, b in buffers]
