"""Build the artifact of a placed program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib import metadata

from landbridge.codegen.assemble_plan import CONSTANTS, Assembled, assemble_plan
from landbridge.codegen.check_plan import check_plan
from landbridge.codegen.compile_kernels import compile_kernels
from landbridge.codegen.describe import describe
from landbridge.codegen.emit import SegmentSource, emit_segments
from landbridge.codegen.graph import Graph, read_graph
from landbridge.codegen.link import link_library
from landbridge.codegen.lower import lower
from landbridge.codegen.schedule_steps import schedule_steps
from landbridge.codegen.target import resolve_target
from landbridge.ir.program import EXTERNS, RANGES, ExternModel, Program, alternative_device, attribute
from landbridge.runtime import description
from landbridge.runtime.artifact import HOST_LIBRARY, Artifact, ExternRecord, Target
from landbridge.runtime.device import Device
from landbridge.runtime.errors import SignatureError
from landbridge.runtime.fit import misfits
from landbridge.runtime.gears import spread_of
from landbridge.runtime.plan import Extern, Plan, Segment
from landbridge.runtime.report import Report
from landbridge.runtime.vendors import registry
from landbridge.runtime.version import VERSION

_PRODUCERS = ("apache-tvm", "apache-tvm-ffi")


def build(program: Program, target: str | None = None, *, report: Report | None = None, name: str) -> Artifact:
    """Return the artifact of a placed program; the same arguments give the same artifact.

    Args:
        program: in phase "placed".
        target: what the host library is compiled for, as `resolve_target` takes it; this machine where None.
        report: goes into the artifact.
        name: of the model, such as "detector.onnx".

    Raises:
        UnsupportedError: operators without native code, two vendors on one device, or no C compiler.
        UsageError: an unknown target.
    """
    host = resolve_target(target)
    graph = read_graph(program)
    stages = schedule_steps(graph)
    lowered = lower(graph, stages, host.tvm)
    signatures = {symbol: extern.signature for symbol, extern in program.externs.items()}
    spreads = {
        symbol: tuple((one.signature, spread_of(one.options)) for one in (extern, *extern.alternatives))
        for symbol, extern in program.externs.items()
    }
    assembled = _with_ranges(assemble_plan(lowered, spreads, _host_devices(program, graph)), program)
    padding = [symbol for symbol, blobs in spreads.items() if blobs[0][1] != "exact"]
    check_plan(assembled.plan, assembled.accesses, signatures, padding)
    _check_alternatives(program, assembled.plan, name)
    sections: dict[str, bytes] = {}
    sources = _sources(assembled)
    if sources:
        kernels = compile_kernels(lowered.kernels, host.tvm)
        sections[HOST_LIBRARY] = link_library(kernels.objects, emit_segments(sources, kernels.symbols), host)
    if any(buffer.section == CONSTANTS for buffer in assembled.plan.buffers):
        sections[CONSTANTS] = assembled.constants
    sections[description.SECTION] = describe(program, graph, stages, assembled).to_bytes()
    externs = _externs(program, assembled, sections)
    record = host.record if sources else Target()
    return Artifact(name, _producer(), record, assembled.plan, externs, report or Report(), sections)


def _with_ranges(assembled: Assembled, program: Program) -> Assembled:
    """Return the plan with the ranges that the program has for dimensions which it still has."""
    found = {name: (low, high) for name, (low, high) in attribute(program.module, RANGES, {}).items() if name in assembled.plan.dims}
    return replace(assembled, plan=replace(assembled.plan, ranges=found)) if found else assembled


def _check_alternatives(program: Program, plan: Plan, name: str) -> None:
    """Check that every alternative takes the sizes that the plan calls it with, and that none is on a device where shapes are late.

    Raises:
        SignatureError: naming each that does not, and why.
    """
    problems = []
    for step in plan.steps:
        if not isinstance(step, Extern):
            continue
        late = any(plan.buffers[buffer].storage == "late" for buffer in (*step.reads, *step.writes))
        for one in program.externs[step.model].alternatives:
            found = [*misfits(plan, step.model, one.signature, one.options)]
            if late and one.device_kind != "cpu" and one.vendor != program.externs[step.model].vendor:
                found.append("an output whose shape depends on the data is one that its vendor may not be able to give")
            problems += [f"{one.name}: {text}" for text in found]
    if problems:
        raise SignatureError(
            "; ".join(dict.fromkeys(problems)),
            at=name,
            hint="leave it out of the alternatives, or compile it with other gears",
            code="LB2109",
        )


def _sources(assembled: Assembled) -> list[SegmentSource]:
    plan = assembled.plan
    return [
        SegmentSource(step, plan.buffers, calls, assembled.buffer_of)
        for step, calls in zip(plan.steps, assembled.calls, strict=True)
        if isinstance(step, Segment)
    ]


def _host_devices(program: Program, graph: Graph) -> frozenset[str]:
    """Return the devices of the program that work in the host's memory.

    Raises:
        UnsupportedError: two vendors are on one device, and do not share memory.
    """
    entries: Mapping[str, Mapping[str, str]] = attribute(program.module, EXTERNS, {})
    registry.check_memory((entry["device"], entry["vendor"], entry["name"]) for entry in entries.values())
    vendor_of = {entry["device"]: registry.vendor(entry["vendor"]) for entry in entries.values()}
    found = set()
    for device in dict.fromkeys(value.device for value in graph.values):
        kind = Device.parse(device).kind
        of_kind = (vendor for vendor in registry.vendors().values() if vendor.device_kind == kind)
        vendor = vendor_of.get(device) or next(of_kind, None)
        if device != "cpu" and vendor is not None and vendor.host_memory:
            found.add(device)
    return frozenset(found)


def _externs(program: Program, assembled: Assembled, sections: dict[str, bytes]) -> tuple[ExternRecord, ...]:
    """Return the records of the offline models that the plan calls; their blobs go into ``sections``, each once."""
    section_of: dict[str, str] = {}
    records = []

    def record(symbol: str, model: ExternModel, device: str) -> ExternRecord:
        section = section_of.setdefault(model.digest, f"vendor/{len(section_of)}")
        sections[section] = model.data
        return ExternRecord(symbol, model.vendor, device, section, model.signature, dict(model.options), model.name)

    for symbol in dict.fromkeys(step.model for step in assembled.plan.steps if isinstance(step, Extern)):
        extern = program.externs[symbol]
        device = next(step.device for step in assembled.plan.steps if isinstance(step, Extern) and step.model == symbol)
        first = record(symbol, extern, device)
        others = (record(symbol, one, str(alternative_device(one, Device.parse(device)))) for one in extern.alternatives)
        records.append(replace(first, alternatives=tuple(others)))
    return tuple(records)


def _producer() -> dict[str, str]:
    """Return the versions of what made the artifact."""
    return {"landbridge": VERSION, **{package: metadata.version(package) for package in _PRODUCERS}}
