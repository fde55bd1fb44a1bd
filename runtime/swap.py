"""Replace the blob of an offline model in an artifact, without compiling anything anew.

The plan, the host code and the memory stay as they are, so that the new blob must fit them: the same ports, and, for a model with gears,
no more rows beyond the batch than the plan has room for. Versions, workspace and the gears themselves may be others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from landbridge.runtime import artifact as artifacts
from landbridge.runtime.artifact import Artifact, ExternRecord
from landbridge.runtime.device_memory import memory_of
from landbridge.runtime.dims import Size, render
from landbridge.runtime.errors import SignatureError, UsageError, UserError, did_you_mean
from landbridge.runtime.fit import gear_kind_difference, misfits, port_differences
from landbridge.runtime.gears import plan_gears, spread_of
from landbridge.runtime.plan import Extern, Plan
from landbridge.runtime.records import dataclass
from landbridge.runtime.sidecar import read_sidecar, sidecar_path
from landbridge.runtime.signature import Signature
from landbridge.runtime.vendors import registry


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
        model: the user's name of it, its symbol, or the section of the blob, such as "vendor/1"; of an offline model with several blobs,
            the name or the section of one of them. Every call of it has the new blob afterwards.
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
    places = _find(old, model, str(path))
    record = places[0].record
    data = Path(blob).read_bytes()
    if data == bytes(old.sections[record.section]):
        raise UserError(f"{blob} is the blob that it has already", at=f"{path}: {model}")
    signature = _read_signature(Path(blob), data, record)
    problems = dict.fromkeys(problem for place in places for problem in _problems(old.plan, place, signature))
    if problems:
        raise SignatureError(
            f"{blob} does not fit: {'; '.join(problems)}", at=f"{path}: {model}", hint="compile the model anew with it", code="LB2109"
        )
    new = _exchanged(old, places, data, signature)
    target = Path(path if output is None else output)
    artifacts.write(new, target)
    digest = artifacts.read_manifest(target).artifact.digest
    changes = tuple(_changes(record.signature, signature))
    return Swapped(target, record.title, changes, (old.digest, digest), new.report.peak_nbytes, len(signatures))


@dataclass(frozen=True)
class _Place:
    """Where an artifact has a blob.

    Attributes:
        call: the record of the offline model.
        number: of the blob among the candidates of that.
    """

    call: ExternRecord
    number: int

    @property
    def record(self) -> ExternRecord:
        return self.call.candidates[self.number]


def _find(artifact: Artifact, model: str, at: str) -> list[_Place]:
    """Return the places of a blob, which share one section."""
    places = [_Place(record, number) for record in artifact.externs for number in range(len(record.candidates))]
    found = [place for place in places if place.record.section == model]
    found = found or [place for place in places if place.call.symbol == model and place.number == 0]
    found = found or [place for place in places if place.record.name == model]
    if not found:
        hint = did_you_mean(model, dict.fromkeys(place.record.title for place in places))
        raise UsageError(f"it has no offline model '{model}'", at=at, hint=hint, code="LB1111")
    if len({(place.record.section, place.record.vendor) for place in found}) > 1:
        sections = ", ".join(dict.fromkeys(f"{place.record.section} of {place.call.symbol}" for place in found))
        raise UsageError(
            f"{len(found)} blobs are called '{model}'", at=at, hint=f"name one of them by its section: {sections}", code="LB1111"
        )
    return found


def _problems(plan: Plan, place: _Place, signature: Signature) -> Iterator[str]:
    """Yield why a blob with this signature cannot be put into a place."""
    call, record = place.call, place.record
    if place.number == 0:
        yield from port_differences(record.signature, signature)
        yield from gear_kind_difference(record.signature, signature)
        for other in call.alternatives:
            found = port_differences(signature, other.signature, same_vendor=other.vendor == record.vendor)
            yield from (f"{other.title} could not stand in for it: {text}" for text in found)
    else:
        yield from port_differences(call.signature, signature, same_vendor=call.vendor == record.vendor)
    yield from misfits(plan, call.symbol, signature, record.options)


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


def _exchanged(old: Artifact, places: Sequence[_Place], data: bytes, signature: Signature) -> Artifact:
    """Return the artifact with the new blob, and the report as if it had been compiled with it."""
    changed = {(place.call.symbol, place.number) for place in places}
    section = places[0].record.section
    others = {one.section for call in old.externs for n, one in enumerate(call.candidates) if (call.symbol, n) not in changed}
    if section in others:
        section = next(name for number in range(len(old.sections) + 1) for name in (f"vendor/{number}",) if name not in old.sections)
    externs = []
    for call in old.externs:
        blobs = [
            replace(one, section=section, signature=signature, alternatives=())
            if (call.symbol, n) in changed
            else replace(one, alternatives=())
            for n, one in enumerate(call.candidates)
        ]
        externs.append(replace(blobs[0], alternatives=tuple(blobs[1:])))
    symbols = {symbol for symbol, number in changed if number == 0}
    memory = memory_of(old.plan, externs)
    peak = {device.device: device.total for device in memory}
    launches = {**old.report.launches, **dict(_launches(old.plan, externs, symbols))}
    report = replace(old.report, peak_nbytes=peak, launches=launches, memory=memory)
    return replace(old, externs=tuple(externs), sections={**old.sections, section: data}, report=report, digest="")


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
