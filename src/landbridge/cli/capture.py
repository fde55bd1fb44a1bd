"""``landbridge capture``: write down what an offline model expects, where the vendor's software is."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from landbridge.cli import options
from landbridge.cli.inspect import signature_lines
from landbridge.runtime.capture import SIMULATED, capture
from landbridge.runtime.device import Device
from landbridge.runtime.driver import Vendor
from landbridge.runtime.errors import UsageError, UserError
from landbridge.runtime.session import SIMULATE
from landbridge.runtime.sidecar import sidecar_path, write_sidecar
from landbridge.runtime.vendors import registry


def add(verbs: options.Verbs) -> None:
    """Add the verb."""
    parser = options.verb(
        verbs,
        "capture",
        execute,
        summary="write BLOB.sig.json, the signature of an offline model, where the vendor's software is",
        example="landbridge capture backbone.om --simulate atlas",
        lean=True,
    )
    parser.add_argument("blob", metavar="BLOB")
    parser.add_argument("-o", "--output", metavar="FILE", help="where to write it (default: BLOB.sig.json, where it is looked for)")
    parser.add_argument("--vendor", help="whose blob it is, where neither the bytes nor the file's name tell")
    parser.add_argument("--device", help="the device that loads it (default: the vendor's first)")
    parser.add_argument(
        "--option", action="append", default=[], metavar="NAME=VALUE", help="an option of the vendor's, such as symbol=subnet0"
    )
    options.add_simulate(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Do it."""
    path = Path(arguments.blob)
    data = path.read_bytes()
    vendor = _vendor(path, data, arguments.vendor)
    told = dict(_option(text) for text in arguments.option)
    device = _device(arguments.device, vendor)
    simulated = {*options.simulated(arguments), *os.environ.get(SIMULATE, "").split(",")}
    found = capture(vendor, data, told, ordinal=device.ordinal, simulate=vendor.name in simulated)
    output = Path(arguments.output) if arguments.output else sidecar_path(path)
    write_sidecar(output, data, found.signature, vendor.name, told, found.captured_with)
    lines = [
        f"{output}: the signature of {path.name}, a blob of {vendor.name}",
        *(f"  {line}" for line in signature_lines(found.signature)),
    ]
    if found.unchecked is None:
        label = " (simulated)" if SIMULATED in found.captured_with else ""
        versions = ", ".join(f"{key} {text}" for key, text in found.captured_with.items() if key != SIMULATED)
        lines.append(f"loaded on {device}{label}: {versions}")
    else:
        options.progress(f"warning: no device has loaded it: {found.unchecked}")
    facts = {
        "sidecar": str(output),
        "vendor": vendor.name,
        "options": told,
        "signature": found.signature.to_json(),
        "captured_with": dict(found.captured_with),
        "unchecked": str(found.unchecked) if found.unchecked is not None else None,
    }
    options.say(arguments, "\n".join(lines), facts)
    return 0


def _vendor(path: Path, data: bytes, name: str | None) -> Vendor:
    vendor = registry.vendor(name) if name else registry.vendor_of(data, path.suffix)
    if vendor is None:
        known = ", ".join(registry.vendors())
        raise UserError(
            "neither its bytes nor its name tell whose blob it is",
            at=str(path),
            hint=f"say so with --vendor; vendors here: {known}",
            code="LB1003",
        )
    return vendor


def _device(name: str | None, vendor: Vendor) -> Device:
    device = Device.parse(name) if name else Device(vendor.device_kind)
    if device.kind != vendor.device_kind:
        raise UsageError(
            f"--device {device}: a blob of {vendor.name} runs on {vendor.device_kind}",
            hint=f"as in --device {vendor.device_kind}0",
            code="LB1107",
        )
    return device


def _option(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise UsageError(f"--option '{text}' is not of the form NAME=VALUE", hint="as in --option symbol=subnet0", code="LB1115")
    return name, value
