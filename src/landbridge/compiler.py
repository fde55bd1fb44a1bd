"""The whole way from a program to an artifact: place, verify, generate code, report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from landbridge import codegen, passes
from landbridge.golden import Inputs, with_golden
from landbridge.ir.one_at_a_time import one_at_a_time
from landbridge.ir.program import MODEL, TOPOLOGY, Program, attribute
from landbridge.ir.topology import Topology
from landbridge.ir.verify import verify
from landbridge.reporting import make_report
from landbridge.runtime.artifact import Artifact, to_bytes, write
from landbridge.runtime.errors import UsageError
from landbridge.runtime.report import Report
from landbridge.runtime.session import Session, load

Mode = Literal["auto", "strict"]


@dataclass(frozen=True)
class Compiled:
    """A compiled model.

    Attributes:
        artifact: what `save` writes.
        program: the program after placement, as it was compiled.
    """

    artifact: Artifact
    program: Program

    @property
    def report(self) -> Report:
        """Every crossing, cast and fallback, with bytes and reasons."""
        return self.artifact.report

    def to_bytes(self) -> bytes:
        """Return the artifact as bytes; the same model and options give the same bytes."""
        return to_bytes(self.artifact)

    def save(self, path: str | Path) -> Path:
        """Write the artifact; ``path`` has the old file or the complete new one, whatever happens.

        Raises:
            OSError: it cannot be written; the old file is as it was.
        """
        path = Path(path)
        write(self.artifact, path)
        return path

    def load(self, *, simulate: Iterable[str] = ()) -> Session:
        """Return a session on this artifact without saving it."""
        return load(self.to_bytes(), simulate=simulate)


@one_at_a_time
def compile(
    model: Program,
    target: str | None = None,
    mode: Mode = "auto",
    topology: Topology | Iterable[tuple[str, str]] | None = None,
    *,
    name: str | None = None,
    observers: tuple[Any, ...] = (),
    golden: Inputs | Sequence[Inputs] | None = None,
    golden_reference: str | Path | None = None,
) -> Compiled:
    """Compile a program into an artifact.

    Args:
        model: from `landbridge.from_onnx` or `landbridge.from_module`, perhaps edited.
        target: such as "llvm -mcpu=x86-64-v3"; this machine's processor by default.
        mode: "auto" inserts copies and casts; "strict" inserts nothing and reports what is missing.
        topology: the links between devices, as pairs of names; a star around the CPU by default.
        name: what to call the model; what the front end calls it by default.
        observers: of the pass pipeline (`landbridge.passes.base`).
        golden: the inputs of a run, or of several, that are kept in the artifact with what the ONNX model makes of them, for
            `landbridge.selftest`.
        golden_reference: the ONNX model to take for that; by default the one that the program came from.

    Raises:
        UsageError: an unknown mode, target or device.
        SignatureError: calls that do not match the offline models; all of them.
        PlacementError: in strict mode, what breaks the rules, each with the line to add.
        UnsupportedError: operators that cannot be compiled; all of them. Or there is no reference for ``golden``.
        InputError, ModelError: ``golden`` does not fit the model, or its reference cannot be run on it.

    Example:
        >>> path = lb.compile(model).save("host.lbr")
    """
    if mode not in ("auto", "strict"):
        raise UsageError(f"unknown mode '{mode}'", hint='"auto" or "strict"', code="LB1105")
    if not isinstance(model, Program):
        raise UsageError(
            f"expected a program, found {type(model).__name__}", hint="make one by lb.from_onnx(…) or lb.from_module(…)", code="LB1110"
        )
    if topology is not None:
        links = topology if isinstance(topology, Topology) else Topology.from_links(topology)
        model = model.with_module(model.module.with_attr(TOPOLOGY, links.to_json()))
    placed = passes.place_program(model, mode=mode, observers=observers)
    verify(placed, phase="placed")
    title = name or attribute(placed.module, MODEL, "model")
    artifact = codegen.build(placed, target, name=title)
    artifact = replace(artifact, report=make_report(placed, artifact.plan, artifact.externs))
    if golden is not None:
        artifact = with_golden(artifact, placed, golden, golden_reference)
    return Compiled(artifact, placed)
