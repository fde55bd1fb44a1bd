"""The whole way from a program to an artifact: place, verify, generate code, report."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from landbridge import passes
from landbridge.apart import build_apart, check_apart
from landbridge.checking.regions import LEVELS, Checked, Level
from landbridge.frontends.replace import without_native
from landbridge.golden import Inputs, with_golden
from landbridge.ir.one_at_a_time import one_at_a_time
from landbridge.ir.program import MODEL, TOPOLOGY, Program, attribute
from landbridge.ir.topology import Topology
from landbridge.ir.verify import verify
from landbridge.parts import Parts
from landbridge.reporting import make_report
from landbridge.runtime.artifact import Artifact, to_bytes, write
from landbridge.runtime.errors import BugError, UnsupportedError, UsageError
from landbridge.runtime.report import Report
from landbridge.runtime.session import Session, load

_LOG = logging.getLogger(__name__)

Mode = Literal["auto", "strict"]


@dataclass(frozen=True)
class Compiled:
    """A compiled model.

    Attributes:
        artifact: what `save` writes.
        program: the program after placement, as it was compiled.
        checked: what the check of its native code found.

    Example:
        >>> compiled = lb.compile(model)
        >>> compiled.report
        Report(0 crossings of at least 0, 1 casts, 0 fallbacks; 0 bytes cross in a run)
        >>> compiled.save("net.lbr").name
        'net.lbr'
    """

    artifact: Artifact
    program: Program
    checked: Checked = field(default_factory=Checked)

    def __repr__(self) -> str:
        return f"Compiled({self.artifact!r}, {self.report!r})"

    def _repr_html_(self) -> str:
        return self.program._repr_html_() + self.report._repr_html_()

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
    check: Level = "fast",
    observers: tuple[Any, ...] = (),
    golden: Inputs | Sequence[Inputs] | None = None,
    golden_reference: str | Path | None = None,
) -> Compiled:
    """Compile a program into an artifact.

    What is native code is compared with what the ONNX model means, on made-up inputs; what differs beyond rounding goes to the fallback,
    with the reason in the report (`landbridge.checking`). TVM and LLVM work in a forked child: operators on which they crash go to the
    fallback too.

    Args:
        model: from `landbridge.from_onnx` or `landbridge.from_module`, perhaps edited.
        target: such as "llvm -mcpu=x86-64-v3"; this machine's processor by default.
        mode: "auto" inserts copies and casts; "strict" inserts nothing and reports what is missing.
        topology: the links between devices, as pairs of names; a star around the CPU by default.
        name: what to call the model; what the front end calls it by default.
        check: "fast" checks every native region on two sets of inputs, "full" each operator by itself as well, "off" nothing. A program
            from `landbridge.from_torch` is compared with PyTorch, one from `landbridge.from_module` with nothing.
        observers: of the pass pipeline (`landbridge.passes.base`).
        golden: the inputs of a run, or of several, that are kept in the artifact with what the ONNX model makes of them, for
            `landbridge.selftest`.
        golden_reference: the ONNX model to take for that; by default the one that the program came from.

    Raises:
        UsageError: an unknown mode, check, target or device.
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
        model = model.annotated({TOPOLOGY: links.to_json()})
    if check not in LEVELS:
        raise UsageError(f"unknown check '{check}'", hint=" or ".join(f'"{level}"' for level in LEVELS))
    compiled = _compiled(model, target, mode, name or attribute(model.module, MODEL, "model"), check, observers)
    if golden is not None:
        compiled = replace(compiled, artifact=with_golden(compiled.artifact, compiled.program, golden, golden_reference))
    return compiled


def _compiled(model: Program, target: str | None, mode: Mode, title: str, check: Level, observers: tuple[Any, ...]) -> Compiled:
    """Compile the program as often as it takes until nothing in it is known not to compile or to be wrong."""
    parts = Parts(lambda part, name: _compiled(part, target, "auto", name, check, ()).artifact)
    while True:
        placed = parts.compiled(passes.place_program(model, mode=mode, observers=observers))
        verify(placed, phase="placed")
        artifact, refused = build_apart(placed, target, title)
        if artifact is not None:
            checked = check_apart(placed, artifact, check)
            refused = checked.refused
            if refused and model.edited:  # who is right, the one who edited it or the model, is not ours to say
                checked, refused = _only_told(checked, title), {}
            if not refused:
                return Compiled(replace(artifact, report=make_report(placed, artifact.plan, artifact.externs)), placed, checked)
        if model.source is None and refused:
            hint = "export it to ONNX and take lb.from_onnx, which has a fallback for every operator"
            raise UnsupportedError("; ".join(dict.fromkeys(refused.values())), at=title, hint=hint, code="LB2301")
        again = without_native(model, refused)
        if again is model:
            raise BugError(f"native code is wrong and cannot be done without: {'; '.join(refused.values())}", at=title)
        model = again


def _only_told(checked: Checked, title: str) -> Checked:
    """Return what the check of a program found that was edited by hand, as a note."""
    told = "; ".join(dict.fromkeys(checked.refused.values()))
    note = f"the program was edited after it was imported, and is not what the model is: {told}"
    _LOG.warning("'%s': %s", title, note)
    return replace(checked, refused={}, note=note)
