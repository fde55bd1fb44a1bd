"""The pipelines, read top to bottom, and the functions that run them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import tvm

from landbridge.ir.program import Program
from landbridge.passes.base import Observer, Pass, Pipeline, parse_passes
from landbridge.passes.check_placement import CheckPlacement
from landbridge.passes.check_signatures import CheckSignatures
from landbridge.passes.convert_dtypes import ConvertDtypes
from landbridge.passes.convert_layouts import ConvertLayouts
from landbridge.passes.drop_idle_copies import DropIdleCopies
from landbridge.passes.elide_casts import ElideCasts
from landbridge.passes.elide_copies import ElideCopies
from landbridge.passes.flatten_tuples import FlattenTuples
from landbridge.passes.hoist_casts import HoistCasts
from landbridge.passes.infer_devices import InferDevices
from landbridge.passes.insert_copies import InsertCopies
from landbridge.passes.remove_dead import RemoveDead
from landbridge.passes.reproducer import read_reproducer
from landbridge.runtime.errors import UsageError

PLACE_AUTO: tuple[Pass, ...] = (
    CheckSignatures(),  # first: mistakes are reported in the program as the user wrote it
    FlattenTuples(),  # only tensors cross
    InferDevices(),
    DropIdleCopies(),
    ConvertDtypes(),
    ConvertLayouts(),
    HoistCasts(),  # before copies are inserted: what crosses is what the cast gives
    InsertCopies(),  # from here on the program is legal
    ElideCasts(),  # before copies are elided: a cast that goes may have been the only reason to cross
    RemoveDead(),  # so that nothing crosses for a reader whom nobody reads
    ElideCopies(),
)
"""Placement in auto mode: everything gets a place, with the fewest crossings."""

PLACE_STRICT: tuple[Pass, ...] = (
    CheckSignatures(),
    FlattenTuples(),
    InferDevices(),
    DropIdleCopies(),
    CheckPlacement(),  # says what the passes of the other pipeline would have inserted
)
"""Placement in strict mode: the program's own places, written into its types and checked."""

MODES: Mapping[str, tuple[Pass, ...]] = {"auto": PLACE_AUTO, "strict": PLACE_STRICT}
"""The placement pipeline of each mode."""

PASSES: tuple[type[Pass], ...] = tuple({type(step): None for steps in MODES.values() for step in steps})
"""Every pass there is, for `parse`."""


def parse(text: str) -> Pipeline:
    """Return the pipeline that ``text`` names.

    Raises:
        UsageError: an unknown pass or option.

    Example:
        >>> str(parse("hoist-casts{max-depth=4}, elide-copies"))
        'hoist-casts{max-depth=4},elide-copies'
    """
    return Pipeline(parse_passes(text, PASSES))


def place(module: tvm.IRModule, mode: str = "auto", observers: Sequence[Observer] = ()) -> tvm.IRModule:
    """Return ``module`` with every value on its device; ``module`` itself where it is so already.

    Args:
        module: as a front end delivers it: phase "imported".
        mode: "auto" inserts copies and casts, as few as can be; "strict" inserts nothing.
        observers: see `landbridge.passes.observers`.

    Raises:
        UsageError: an unknown mode.
        SignatureError: calls that do not match their offline models; all of them.
        PlacementError: strict mode: what breaks the rules, all of it. Auto mode: a device without a link.
        PassError: a bug; the message names the reproducer.
    """
    if mode not in MODES:
        raise UsageError(f"unknown mode '{mode}'", hint=f"modes: {', '.join(MODES)}", code="LB1105")
    return Pipeline(MODES[mode]).run(module, observers)


def place_program(program: Program, mode: str = "auto", observers: Sequence[Observer] = ()) -> Program:
    """Return ``program`` with its module placed; as `place`."""
    return program.with_module(place(program.module, mode, observers))


def run_reproducer(path: str | Path, observers: Sequence[Observer] = ()) -> tvm.IRModule:
    """Run what the reproducer of a failed pass has: the module before the pass through the rest of the pipeline.

    Raises:
        UsageError: the file is no reproducer.
        PassError: the pass fails again; the new reproducer lies beside the old one's folder.
    """
    module, text = read_reproducer(path)
    return replace(parse(text), reproducers=Path(path).parent).run(module, observers)
