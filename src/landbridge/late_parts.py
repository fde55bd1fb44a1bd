"""Compile what a program computes of values whose size only the data tell.

The front end leaves such operators in fallback regions, because no kernel can be made for a size that has no name. Each region is a model
of its own, though, whose inputs have named dimensions: those sizes. Compiled as such it is an artifact, which goes into the program in
place of the region (`landbridge.runtime.vendors.own.Part`); what is not native in it is a fallback region in there, and reported as one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

from landbridge.frontends.onnx.assemble import LATE_PARTS, NATIVE_ONLY
from landbridge.frontends.onnx.from_onnx import from_onnx
from landbridge.ir.program import EXTERNS, MODEL, ExternModel, Program, attribute, extern_entry
from landbridge.runtime.artifact import Artifact, to_bytes
from landbridge.runtime.device import CPU
from landbridge.runtime.errors import UnsupportedError, UserError
from landbridge.runtime.plan import Segment
from landbridge.runtime.report import Fallback
from landbridge.runtime.vendors.own import OWN

_LOG = logging.getLogger(__name__)

Build = Callable[[Program, str], Artifact]
"""Compiles a program, which messages call by the name that follows it."""


class LateParts:
    """Compiles regions, each once."""

    def __init__(self, build: Build) -> None:
        self._build = build
        self._made: dict[str, Artifact | str] = {}

    def compiled(self, placed: Program) -> Program:
        """Return a placed program with parts in place of the regions that can be parts.

        Raises:
            UnsupportedError: it must be native, and an operator in a region cannot be.
        """
        externs, fallbacks = dict(placed.externs), dict(placed.fallbacks)
        entries, whole = attribute(placed.module, EXTERNS, {}), bool(attribute(placed.module, NATIVE_ONLY, False))
        title = attribute(placed.module, MODEL, "model")
        for symbol in (symbol for symbol in attribute(placed.module, LATE_PARTS, []) if symbol in fallbacks):
            region = externs[symbol]
            if region.digest not in self._made:
                self._made[region.digest] = self._part(region, fallbacks[symbol], title, native_only=whole)
            made = self._made[region.digest]
            if isinstance(made, str):
                _LOG.info("'%s': the region of %s stays a fallback: %s", title, fallbacks[symbol].value, made)
                continue
            left = fallbacks.pop(symbol)
            fallbacks |= {f"{symbol}.{number}": found for number, found in enumerate(made.report.fallbacks)}
            externs[symbol] = ExternModel(OWN, to_bytes(made), region.signature, name=f"host code of {left.value}")
            entries = {**entries, symbol: extern_entry(externs[symbol], CPU)}
        if externs == placed.externs:
            return placed
        return replace(placed.annotated({EXTERNS: entries}), externs=externs, fallbacks=fallbacks)

    def _part(self, region: ExternModel, left: Fallback, title: str, *, native_only: bool) -> Artifact | str:
        """Return the artifact of a region, or why it has none."""
        try:
            artifact = self._build(from_onnx(region.data, name=title, fallback=not native_only), f"{title}: {left.value}")
        except UserError as error:
            if native_only and isinstance(error, UnsupportedError):
                raise
            return error.message
        if not any(isinstance(step, Segment) for step in artifact.plan.steps):
            return "nothing in it is native"
        if artifact.plan.ranges:  # the data may tell any size, and the program has to give a result for it
            return f"it is right only where {', '.join(artifact.plan.ranges)} is not too small"
        return artifact
