"""Check the native code of a program that did not come from ONNX against whatever computes its values (`Program.meaning`).

As in `landbridge.checking.regions`, every value at the border of a native region is compared; offline models on devices are not called,
what the reference has of them goes on in their place. Where something differs, all values are compared, and the first that does is named.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import chain
from typing import Any, Protocol

import numpy as np

from landbridge.checking.feeds import Feed, feeds
from landbridge.checking.regions import SETS, Borders, interface
from landbridge.checking.tolerance import difference
from landbridge.frontends.onnx.graph import NATIVE_DTYPES
from landbridge.ir.body import Body, is_extern
from landbridge.ir.devices import VDevices, device_of
from landbridge.ir.program import OUTPUTS, ModuleInfo, Program
from landbridge.runtime.artifact import Artifact
from landbridge.runtime.device import CPU
from landbridge.runtime.errors import LandbridgeError
from landbridge.runtime.replay import stand_in
from landbridge.runtime.session import Session

Array = np.ndarray[Any, Any]


class Meaning(Protocol):
    """What computes the values of a program.

    Attributes:
        by: who that is.
        names: the values that can be asked for besides the outputs.
    """

    @property
    def by(self) -> str:
        """Who computes."""

    @property
    def names(self) -> frozenset[str]:
        """The values that can be asked for besides the outputs."""

    def inputs(self) -> Iterator[dict[str, Array]]:
        """Yield inputs that are known to be taken."""

    def run(self, feed: Mapping[str, Array], wanted: list[str]) -> dict[str, Array]:
        """Return values by name; any exception may come out."""


Case = tuple[Feed, dict[str, Array]]
"""Inputs, and values by name."""


def cases(meaning: Meaning, artifact: Artifact) -> list[Case]:
    """Return inputs that the reference takes, with the values at the borders of native code."""
    borders, plan, found = Borders(artifact), artifact.plan, list[Case]()
    known = all(info.dtype in NATIVE_DTYPES for info in interface(artifact))
    made_up = (feed for _, feed in feeds(interface(artifact), plan.dims, plan.ranges)) if known else iter(())
    for feed in chain(meaning.inputs(), made_up):
        try:
            found.append((feed, meaning.run(feed, [*borders.native, *borders.served])))
        except Exception:  # made-up inputs may be none of the program's, of which the reference says so in its own way
            continue
        if len(found) == SETS:
            break
    return found


def differing(artifact: Artifact, known: list[Case]) -> dict[str, str]:
    """Return by name the values of native code that differ, in the order of the program, with the difference."""
    borders, wrong = Borders(artifact), dict[str, str]()
    types = tuple(dict.fromkeys(buffer.dtype for buffer in artifact.plan.buffers))
    alone = replace(artifact, externs=tuple(replace(record, alternatives=()) for record in artifact.externs))
    with tempfile.TemporaryDirectory(prefix="landbridge-") as folder:
        stand_in(folder, alone)
        with Session(alone, replay=folder) as session:
            for feed, expected in known:
                outputs, boundaries = session.boundaries(feed, {name: expected[name] for name in borders.served})
                found = {entry.name: outputs[entry.name] for entry in artifact.plan.outputs}
                found |= {value.name: value.array for made in boundaries for value in made.inputs if value.buffer in borders.buffers}
                for name in (name for name in found if name in expected and name in borders.native):
                    text = difference(name, found[name], expected[name], *types)
                    if text and name not in wrong:
                        wrong[name] = text
    return wrong


def all_values(meaning: Meaning, artifact: Artifact, known: list[Case]) -> list[Case]:
    """Return the same inputs with every value that can be asked for."""
    plan, borders = artifact.plan, Borders(artifact)
    wanted = list(dict.fromkeys((*meaning.names, *borders.served, *(entry.name for entry in plan.outputs))))
    return [(feed, meaning.run(feed, wanted)) for feed, _ in known]


def first_differing(placed: Program, known: list[Case], build: Callable[[Program], Artifact]) -> str:
    """Return in what the first value of the program differs, all of them being its outputs, or "" where none does."""
    info, body = ModuleInfo.of(placed.module), Body.of(placed.module)
    named = {info.user_name(b.var): b.var for b in body.bindings if not is_extern(b.value) and _is_on_cpu(b.var)}
    asked = {name: var for name, var in named.items() if name in known[0][1]}
    wide = Body(body.params, body.bindings, tuple(asked.values())).write(placed.module, VDevices(placed.module))
    try:
        artifact = build(placed.with_module(wide.with_attrs({OUTPUTS: [[name, ""] for name in asked]})))
        return next(iter(differing(artifact, known).values()), "")
    except LandbridgeError:  # it may not compile in this form; then the border is all that can be named
        return ""


def _is_on_cpu(var: Any) -> bool:
    return getattr(var.ty, "shape", None) is not None and device_of(var.ty) == CPU
