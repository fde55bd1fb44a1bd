"""What a program is: TVM Relax with devices in its types, offline models as external calls, and a verifier of the rules."""

from landbridge.ir.dataflow import Dataflow
from landbridge.ir.printer import parse, print_module
from landbridge.ir.program import ExternModel, Program
from landbridge.ir.topology import Topology
from landbridge.ir.verify import PHASES, Diagnostic, diagnose, verify  # the function hides its module, here and in ``landbridge.ir.verify``
from landbridge.runtime.device import Device
from landbridge.runtime.signature import Gears, Port, Signature

__all__ = [
    # what a program is made of
    "Device",
    "Topology",
    "Signature",
    "Port",
    "Gears",
    "ExternModel",
    "Program",
    # look at it
    "Dataflow",
    "parse",
    "print_module",
    # prove it legal
    "PHASES",
    "Diagnostic",
    "diagnose",
    "verify",
]
