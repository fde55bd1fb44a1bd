"""Replace the blob of an offline model in an artifact, without compiling anything anew.

The plan, the host code and the memory stay as they are, so that the new blob must fit them: the same ports, and, for a model with gears,
no more rows beyond the batch than the plan has room for. Versions, workspace and the gears themselves may be others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from landbridge.runtime import artifact as artifacts
from landbridge.runtime import dtypes
from landbridge.runtime.artifact import Artifact, ExternRecord
from landbridge.runtime.container import Blob
from landbridge.runtime.dims import Size, evaluate, render, render_shape
from landbridge.runtime.errors import InputError, SignatureError, UsageError, UserError, did_you_mean
from landbridge.runtime.gears import plan_gears, slack_rows, spread_of
from landbridge.runtime.plan import Extern, Plan
from landbridge.runtime.sidecar import read_sidecar, sidecar_path
from landbridge.runtime.signature import Port, Signature
from landbridge.runtime.vendors import registry

_EXTENTS = (1, 2, 3, 5, 8, 17, 64)
"""For these extents of the named dimensions the room in a plan is measured."""


@dataclass(frozen=True)
class Swapped:
    """What was done.

    Attributes:
        path: of the artifact that was written.
        model: the user's name of the offline model.
        changes: what the new blob says differently, a line each.
        digests: of the artifact, before and after.
        peak_nbytes: by device, the memory needed now.
        signatures: how many signatures the artifact had, which do not hold any more.
    """

    path: Path
    model: str
    changes: tuple[str, ...]
    digests: tuple[str, str]
    peak_nbytes: Mapping[str, Size]
    signatures: int


def swap(path: str | Path, model: str, blob: str | Path, output: str | Path | None = None) -> Swapped:
    """Replace the blob of the offline model ``model`` in the artifact at ``path`` by the file ``blob``.

    Args:
        path: of the artifact, which is checked in full before.
        model: the user's name of it, or its symbol; every call of it has the new blob afterwards.
        blob: a blob of the same vendor; where its format does not tell its signature, with a sidecar beside it.
        output: where to write; over ``path`` by default, which has the old file or the complete new one, whatever happens.

    Raises:
        ArtifactError: the artifact is damaged or cannot be read.
        UsageError: it has no such model, or several of that name.
        SignatureError: the new blob's signature cannot be read, or does not fit; the message has everything that differs.
        UserError: it is the blob that is there already.
        OSError: a file cannot be read or written; the old artifact is as it was.
    """
    old = artifacts.read(path)
    signatures = artifacts.read_manifest(path).signatures
    records = _find(old, model, str(path))
    record = records[0]
    data = Path(blob).read_bytes()
    if data == bytes(old.sections[record.section]):
        raise UserError(f"{blob} is the blob that it has already", at=f"{path}: {model}")
    signature = _read_signature(Path(blob), data, record)
    problems = list(_differences(record.signature, signature))
    for one in records:
        problems += _misfits(old.plan, replace(one, signature=signature))
    if problems:
        found = "; ".join(dict.fromkeys(problems))
        raise SignatureError(f"{blob} does not fit: {found}", at=f"{path}: {model}", hint="compile the model anew with it", code="LB2109")
    new = _exchanged(old, records, data, signature)
    target = Path(path if output is None else output)
    artifacts.write(new, target)
    digest = artifacts.read_manifest(target).artifact.digest
    changes = tuple(_changes(record.signature, signature))
    return Swapped(target, record.name or record.symbol, changes, (old.digest, digest), new.report.peak_nbytes, len(signatures))


def _find(artifact: Artifact, model: str, at: str) -> list[ExternRecord]:
    """Return the records of a model, which share one blob."""
    found = [record for record in artifact.externs if record.symbol == model]
    found = found or [record for record in artifact.externs if record.name == model]
    if not found:
        names = [record.name or record.symbol for record in artifact.externs]
        raise UsageError(f"it has no offline model '{model}'", at=at, hint=did_you_mean(model, dict.fromkeys(names)), code="LB1111")
    if len({(record.section, record.vendor) for record in found}) > 1:
        symbols = ", ".join(record.symbol for record in found)
        raise UsageError(
            f"{len(found)} offline models are called '{model}'", at=at, hint=f"name one of them by its symbol: {symbols}", code="LB1111"
        )
    return found


def _read_signature(path: Path, data: bytes, record: ExternRecord) -> Signature:
    """Return the signature of the new blob, from itself or from the sidecar beside it."""
    vendor, recognised = registry.vendor(record.vendor), registry.recognise(data)
    if recognised is not None and recognised.name != vendor.name:
        raise SignatureError(f"this is a blob of {recognised.name}, expected one of {vendor.name}", at=str(path), code="LB2102")
    sidecar = sidecar_path(path)
    if vendor.tells_signature or not sidecar.exists():
        try:
            return vendor.read_signature(data, record.options)
        except SignatureError as error:
            raise error.within(str(path)) from None
    told = read_sidecar(sidecar, data)
    if told.vendor != vendor.name:
        raise SignatureError(f"a sidecar of a {told.vendor} blob, expected {vendor.name}", at=str(sidecar), code="LB2107")
    for name, value in told.options.items():
        if record.options.get(name, value) != value:
            raise SignatureError(f"made for {name} '{value}', expected '{record.options[name]}'", at=str(sidecar), code="LB2107")
    return told.signature


def _differences(old: Signature, new: Signature) -> Iterator[str]:
    """Yield in what the ports differ. Their names are labels, and so are those of their dimensions."""
    names: tuple[dict[str, int], dict[str, int]] = ({}, {})
    for kind, before, after in (("input", old.inputs, new.inputs), ("output", old.outputs, new.outputs)):
        if len(before) != len(after):
            yield f"{len(after)} {kind}s, expected {len(before)}"
            continue
        for index, (expected, found) in enumerate(zip(before, after, strict=True)):
            if _type(expected, names[0]) != _type(found, names[1]) or not _same_layout(expected, found):
                yield f"{kind} {index} '{expected.name}' is {_told(found)}, expected {_told(expected)}"
    if (old.gears and old.gears.kind) != (new.gears and new.gears.kind):
        kinds = [f"{gears.kind} gears" if gears else "no gears" for gears in (new.gears, old.gears)]
        yield f"{kinds[0]}, expected {kinds[1]}"


def _type(port: Port, names: dict[str, int]) -> tuple[object, ...]:
    """Return a port's type with its named dimensions numbered in the order in which the signature has them."""
    extents = tuple(f"#{names.setdefault(extent, len(names))}" if isinstance(extent, str) else extent for extent in port.shape)
    return port.dtype, extents, port.aipp


def _same_layout(expected: Port, found: Port) -> bool:
    return expected.layout == found.layout or "ND" in (expected.layout, found.layout)


def _told(port: Port) -> str:
    aipp = f" with {port.aipp.mode} AIPP from {port.aipp.source_format}" if port.aipp else ""
    return f"{port.dtype} {render_shape(port.shape)} {port.layout}{aipp}"


def _misfits(plan: Plan, record: ExternRecord) -> Iterator[str]:
    """Yield what of the new gears the plan, or the sizes that are fixed in it, cannot do with."""
    gears, signature = record.signature.gears, record.signature
    if gears is None:
        return
    for step in plan.steps:
        if not isinstance(step, Extern) or step.model != record.symbol:
            continue
        sizes = _sizes(plan, step, signature)
        if gears.kind == "batch":
            batch = next(iter(sizes.values()), "")
            yield from _batch_misfits(plan, step, record, gears.batches, batch)
            continue
        chosen = list(sizes.values())
        if len(gears.choices[0]) != len(chosen):
            chosen = [size for port in signature.inputs for dim in port.shape if isinstance(dim, str) for size in (sizes.get(dim, dim),)]
        if all(isinstance(size, int) for size in chosen) and tuple(chosen) not in gears.choices:
            choices = ", ".join("x".join(map(str, choice)) for choice in gears.choices)
            yield f"it is called with {'x'.join(map(str, chosen))}, which is none of the {gears.kind} gears {choices}"


def _sizes(plan: Plan, step: Extern, signature: Signature) -> dict[str, Size]:
    """Return what the named dimensions of the signature are in a call."""
    found: dict[str, Size] = {}
    for index, port in zip(step.inputs, signature.inputs, strict=False):
        for extent, size in zip(port.shape, plan.buffers[index].shape, strict=False):
            if isinstance(extent, str):
                found.setdefault(extent, size)
    return found


def _batch_misfits(plan: Plan, step: Extern, record: ExternRecord, batches: Sequence[int], batch: Size) -> Iterator[str]:
    spread = spread_of(record.options)
    if isinstance(batch, int):
        try:
            plan_gears(batch, batches, spread)
        except InputError as error:
            yield error.message
    ports = zip((*step.inputs, *step.outputs), (*record.signature.inputs, *record.signature.outputs), strict=False)
    needed = slack_rows(batches, spread)
    for index, port in ports:
        room = _room(plan, index) if port.shape and isinstance(port.shape[0], str) else needed
        if room < needed:
            listed = ", ".join(map(str, batches))
            yield f"batch gears {listed} need room for {needed} rows beyond the batch, '{plan.buffers[index].name}' has room for {room}"


def _room(plan: Plan, index: int) -> int:
    """Return how many rows beyond its tensor a buffer has room for."""
    buffer, found = plan.buffers[index], []
    for extent in _EXTENTS:
        dims = dict.fromkeys(plan.dims, extent)
        shape = [evaluate(size, dims) for size in buffer.shape]
        row = dtypes.nbytes_of(buffer.dtype, (1, *shape[1:]))
        if row:
            found.append(evaluate(buffer.nbytes, dims) // row - shape[0])
    return min(found, default=0)


def _exchanged(old: Artifact, records: Sequence[ExternRecord], data: bytes, signature: Signature) -> Artifact:
    """Return the artifact with the new blob, and the report as if it had been compiled with it."""
    symbols = {record.symbol for record in records}
    section = records[0].section
    others = [record.section for record in old.externs if record.symbol not in symbols]
    if section in others:
        section = next(name for number in range(len(old.sections) + 1) for name in (f"vendor/{number}",) if name not in old.sections)
    sections: dict[str, Blob] = {**old.sections, section: data}
    externs = tuple(replace(record, section=section, signature=signature) if record.symbol in symbols else record for record in old.externs)
    devices = dict.fromkeys(record.device for record in records)
    peak = {**old.report.peak_nbytes, **{device: _peak(old.plan, externs, device) for device in devices}}
    launches = {**old.report.launches, **dict(_launches(old.plan, externs, symbols))}
    return replace(old, externs=externs, sections=sections, report=replace(old.report, peak_nbytes=peak, launches=launches), digest="")


def _peak(plan: Plan, externs: Sequence[ExternRecord], device: str) -> Size:
    """Return the arena of a device, and what the files of its offline models say of weights and workspace: each is loaded with its own."""
    here = [record for record in externs if record.device == device]
    loaded = {(record.vendor, record.section, *sorted(record.options.items())): record.signature for record in here}
    models = sum(signature.weight_nbytes + signature.workspace_nbytes for signature in loaded.values())
    arena = plan.arenas.get(device, 0)
    return arena + models if isinstance(arena, int) else ["+", arena, models]


def _launches(plan: Plan, externs: Sequence[ExternRecord], symbols: set[str]) -> Iterator[tuple[str, str]]:
    """Yield the names of the models among ``symbols`` that have batch gears, and how their batches are split."""
    records = {record.symbol: record for record in externs if record.symbol in symbols}
    for step in plan.steps:
        record = records.get(step.model) if isinstance(step, Extern) else None
        if record is None or record.signature.gears is None or not record.signature.gears.batches:
            continue
        assert isinstance(step, Extern), "only those have records"
        batch: Size = (plan.buffers[step.inputs[0]].shape or ("?",))[0]
        batches, spread = record.signature.gears.batches, spread_of(record.options)
        over = f"{render(batch)} over gears {', '.join(map(str, batches))}" + ("" if spread == "exact" else f" ({spread})")
        yield record.name, plan_gears(batch, batches, spread).text if isinstance(batch, int) else over


def _changes(old: Signature, new: Signature) -> Iterator[str]:
    """Yield what two fitting signatures say differently."""
    facts = [
        ("gears", _gears(old), _gears(new)),
        ("workspace", f"{old.workspace_nbytes} bytes", f"{new.workspace_nbytes} bytes"),
        ("weights", f"{old.weight_nbytes} bytes", f"{new.weight_nbytes} bytes"),
        *((key, old.versions.get(key, "not told"), new.versions.get(key, "not told")) for key in {**old.versions, **new.versions}),
    ]
    for label, before, after in facts:
        if before != after:
            yield f"{label}: {before} -> {after}"


def _gears(signature: Signature) -> str:
    choices = signature.gears.choices if signature.gears else ()
    return ", ".join("x".join(map(str, choice)) for choice in choices) or "none"
