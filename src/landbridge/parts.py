"""Compile what a program computes only once the data have told something: values whose size they tell, and ways that they choose.

The front end leaves such operators in fallback regions: no kernel can be made for a size that has no name, and a plan is a straight list of
steps. Each region is a model of its own, though, whose inputs have named dimensions: those sizes. Compiled as such it is an artifact, which
goes into the program in place of the region (`landbridge.runtime.vendors.own`); of an If each branch is one, of a Loop or a Scan the body.
What is not native in it is a fallback region in there, and reported as one.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

import onnx

from landbridge.frontends.onnx.assemble import NATIVE_ONLY, PARTS
from landbridge.frontends.onnx.bodies import bodies, is_control
from landbridge.frontends.onnx.from_onnx import from_onnx
from landbridge.ir.program import EXTERNS, MODEL, ExternModel, Program, attribute, extern_entry
from landbridge.runtime.artifact import Artifact, to_bytes
from landbridge.runtime.device import CPU
from landbridge.runtime.errors import UnsupportedError, UserError
from landbridge.runtime.plan import Segment
from landbridge.runtime.report import Fallback
from landbridge.runtime.vendors.own import OWN, STEP
from landbridge.runtime.vendors.own.control import OPTIONS, pack

_LOG = logging.getLogger(__name__)

Build = Callable[[Program, str], Artifact]
"""Compiles a program, which messages call by the name that follows it."""


@dataclass(frozen=True)
class _Part:
    """What takes the place of a region.

    Attributes:
        model: what the program calls.
        fallbacks: what is not native in it.
    """

    model: ExternModel
    fallbacks: tuple[Fallback, ...]


class _Stays(Exception):  # it is not an error: it is why a region stays a fallback
    pass


class Parts:
    """Compiles regions, each once."""

    def __init__(self, build: Build) -> None:
        self._build = build
        self._made: dict[str, _Part | str] = {}

    def compiled(self, placed: Program) -> Program:
        """Return a placed program with parts in place of the regions that can be parts.

        Raises:
            UnsupportedError: it must be native, and an operator in a region cannot be.
        """
        externs, fallbacks = dict(placed.externs), dict(placed.fallbacks)
        entries, whole = attribute(placed.module, EXTERNS, {}), bool(attribute(placed.module, NATIVE_ONLY, False))
        title = attribute(placed.module, MODEL, "model")
        for symbol in (symbol for symbol in attribute(placed.module, PARTS, []) if symbol in fallbacks):
            region, left = externs[symbol], fallbacks[symbol]
            if region.digest not in self._made:
                self._made[region.digest] = self._part(region, left, title, native_only=whole)
            made = self._made[region.digest]
            if isinstance(made, str):
                _LOG.info("'%s': the region of %s stays a fallback: %s", title, left.value, made)
                continue
            del fallbacks[symbol]
            fallbacks |= {f"{symbol}.{number}": found for number, found in enumerate(made.fallbacks)}
            externs[symbol] = made.model
            entries = {**entries, symbol: extern_entry(made.model, CPU)}
        if externs == placed.externs:
            return placed
        return replace(placed.annotated({EXTERNS: entries}), externs=externs, fallbacks=fallbacks)

    def _part(self, region: ExternModel, left: Fallback, title: str, *, native_only: bool) -> _Part | str:
        """Return the part for a region, or why there is none."""
        model = onnx.ModelProto.FromString(region.data)
        found = bodies(model) if is_control(model) else None
        options = {} if found is None else {STEP: found.step, OPTIONS: json.dumps(found.about, sort_keys=True)}
        try:
            if found is None and is_control(model):
                raise _Stays("too little is known of the values that it hands on")
            made = [self._artifact(one, left, title, native_only=native_only) for one in ([model] if found is None else found.models)]
            left_over = any(artifact.report.fallbacks for artifact in made)
            if left_over and not any(isinstance(step, Segment) for artifact in made for step in artifact.plan.steps):
                raise _Stays("nothing in it is native")
        except UserError as error:
            if native_only and isinstance(error, UnsupportedError):
                raise
            return error.message
        except _Stays as error:
            if native_only:
                raise UnsupportedError(f"{', '.join(left.nodes)}: {error}", at=title, code="LB2301") from error
            return str(error)
        data = to_bytes(made[0]) if found is None else pack([to_bytes(artifact) for artifact in made])
        extern = ExternModel(OWN, data, region.signature, options, name=f"host code of {left.value}")
        return _Part(extern, tuple(fallback for artifact in made for fallback in artifact.report.fallbacks))

    def _artifact(self, model: onnx.ModelProto, left: Fallback, title: str, *, native_only: bool) -> Artifact:
        artifact = self._build(from_onnx(model, name=title, fallback=not native_only), f"{title}: {left.value}")
        if artifact.plan.ranges:  # the data may tell any size, and the program has to give a result for it
            raise _Stays(f"it is right only where {', '.join(artifact.plan.ranges)} is not too small")
        return artifact
