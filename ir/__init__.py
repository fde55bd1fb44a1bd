"""What a program is: TVM Relax with devices in its types, offline models as external calls, and a verifier of the rules."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from landbridge.ir.dataflow import Dataflow as Dataflow
    from landbridge.ir.printer import parse as parse
    from landbridge.ir.printer import print_module as print_module
    from landbridge.ir.program import ExternModel as ExternModel
    from landbridge.ir.program import Program as Program
    from landbridge.ir.topology import Topology as Topology
    from landbridge.ir.verify import Diagnostic as Diagnostic
    from landbridge.ir.verify import diagnose as diagnose
    from landbridge.ir.verify import verify as verify
    from landbridge.runtime.device import Device as Device
    from landbridge.runtime.signature import Gears as Gears
    from landbridge.runtime.signature import Port as Port
    from landbridge.runtime.signature import Signature as Signature

_HOME = {
    # what a program is made of
    "Device": "landbridge.runtime.device",
    "Topology": "landbridge.ir.topology",
    "Signature": "landbridge.runtime.signature",
    "Port": "landbridge.runtime.signature",
    "Gears": "landbridge.runtime.signature",
    "ExternModel": "landbridge.ir.program",
    "Program": "landbridge.ir.program",
    # look at it
    "Dataflow": "landbridge.ir.dataflow",
    "Diagnostic": "landbridge.ir.verify",
    "diagnose": "landbridge.ir.verify",
    "verify": "landbridge.ir.verify",
    "parse": "landbridge.ir.printer",
    "print_module": "landbridge.ir.printer",
}
"""Where each public name lives; importing this package alone does not load TVM."""

__all__ = [
    "Device",
    "Topology",
    "Signature",
    "Port",
    "Gears",
    "ExternModel",
    "Program",
    "Dataflow",
    "Diagnostic",
    "diagnose",
    "verify",
    "parse",
    "print_module",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'landbridge.ir' has no attribute '{name}'")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
