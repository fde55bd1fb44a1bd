"""The artifact: one file that holds everything a session needs. ``docs/artifact.md`` has the format.

`landbridge.runtime.container` knows the bytes; this module knows what the manifest means. A file is read in a fixed order, and each
step relies on those before it: structure, digests, trust, then the meaning of every field. Nothing in the file has run by then.
"""

from __future__ import annotations

import mmap
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import field, replace
from typing import TYPE_CHECKING, Any

from landbridge.runtime.container import (
    ALTERNATIVES,
    FORMAT,
    FORMAT_VERSION,
    OPAQUE,
    RANGES,
    Blob,
    Container,
    KeySignature,
    Section,
    lay_out,
    to_canonical_json,
)
from landbridge.runtime.device_memory import memory_of
from landbridge.runtime.errors import ArtifactCorrupt, ArtifactError, PlanError
from landbridge.runtime.fields import Field
from landbridge.runtime.fit import port_differences
from landbridge.runtime.golden import MEMBER, SECTION, Golden
from landbridge.runtime.plan import Extern, Plan, Segment
from landbridge.runtime.records import dataclass
from landbridge.runtime.report import Report
from landbridge.runtime.signature import Signature

if TYPE_CHECKING:
    from pathlib import Path

    from landbridge.runtime.trust import Trust

HOST_LIBRARY = "code/host.so"
"""The section with the host library."""
MAX_ALTERNATIVES = 64
"""Of one offline model."""


@dataclass(frozen=True)
class Target:
    """What the host library was compiled for.

    Attributes:
        triple: such as "x86_64-linux-gnu"; empty where the artifact has no host library.
        cpu: the LLVM name of the processor the kernels were compiled for, such as "x86-64-v3".
        cpu_features: what of it the kernels use, by the names in /proc/cpuinfo, such as ("avx2", "fma").
    """

    triple: str = ""
    cpu: str = ""
    cpu_features: tuple[str, ...] = ()


@dataclass(frozen=True)
class ExternRecord:
    """An offline model in an artifact.

    Attributes:
        symbol: what `landbridge.runtime.plan.Extern.model` refers to.
        vendor: the vendor's name.
        device: where it runs, such as "atlas0".
        section: the section with the blob; two records may share one.
        signature: what it expects and gives.
        options: vendor-specific.
        name: what the user calls it, such as the name of its file.
        alternatives: other blobs for the same calls, in the order in which they are tried where this one cannot run; each has the ports
            of this one, and may be another vendor's and on another device.
    """

    symbol: str
    vendor: str
    device: str
    section: str
    signature: Signature
    options: Mapping[str, str] = field(default_factory=dict)
    name: str = ""
    alternatives: tuple[ExternRecord, ...] = ()

    @property
    def candidates(self) -> tuple[ExternRecord, ...]:
        """This blob, then its alternatives."""
        return (self, *self.alternatives)

    @property
    def title(self) -> str:
        """What messages call it."""
        return self.name or self.symbol

    def with_first(self, index: int) -> ExternRecord:
        """Return one of the `candidates`, with the others as its alternatives in their order."""
        first, others = self.candidates[index], [one for number, one in enumerate(self.candidates) if number != index]
        return replace(first, alternatives=tuple(replace(one, alternatives=()) for one in others))


@dataclass(frozen=True)
class Artifact:
    """The contents of an artifact.

    Attributes:
        name: the model's name, such as "detector.onnx".
        producer: what made it, such as {"landbridge": "0.1.0", "apache-tvm": "0.27.0.post1"}.
        target: what the host library needs of the machine.
        plan: what a session executes.
        externs: the offline models.
        report: what the compiler did.
        sections: bytes by name: the host library, the constants, the blobs. In the order of the file. The names begin with "code/",
            "const/" or "vendor/", and have lower-case letters, digits and ``._-``.
        golden: inputs and what the model makes of them, for a self-test, or None; the tensors are the section "const/golden".
        digest: SHA-256 of the manifest of the file it was read from, in hexadecimal; it identifies the whole file.
        section_digests: SHA-256 of each section of that file, in hexadecimal.
    """

    name: str
    producer: Mapping[str, str]
    target: Target
    plan: Plan
    externs: tuple[ExternRecord, ...]
    report: Report
    sections: Mapping[str, Blob]
    golden: Golden | None = None
    digest: str = field(default="", compare=False)
    section_digests: Mapping[str, str] = field(default_factory=dict, compare=False)

    def __repr__(self) -> str:
        nbytes = sum(len(data) for data in self.sections.values())
        held = f", {len(self.sections)} sections of {nbytes} bytes" if self.sections else ""
        return f"Artifact('{self.name}', {len(self.plan.steps)} steps{held})"


@dataclass(frozen=True)
class Manifest:
    """What an artifact says of itself, without the bytes of its sections, which were not checked.

    Attributes:
        artifact: everything but the bytes: its ``sections`` are empty.
        sections: the entry of each section.
        format_version: major and minor version of the format.
        signatures: of the file, none of them checked.
    """

    artifact: Artifact
    sections: tuple[Section, ...]
    format_version: tuple[int, int]
    signatures: tuple[KeySignature, ...] = ()


def to_bytes(artifact: Artifact) -> bytes:
    """Return the artifact as a file; the same artifact gives the same bytes.

    Raises:
        PlanError: it breaks a rule that a reader would refuse it for.
    """
    return b"".join(_chunks(artifact))


def write(artifact: Artifact, path: str | Path) -> None:
    """Write the artifact to ``path``, which has the old file or the complete new one, whatever happens.

    Raises:
        PlanError: it breaks a rule that a reader would refuse it for.
        OSError: it cannot be written; the old file is as it was.
    """
    from landbridge.runtime.save_file import save_file  # noqa: PLC0415 - most processes only read

    save_file(path, _chunks(artifact))


def read(path: str | Path, *, trust: Sequence[Trust] = ()) -> Artifact:
    """Return the artifact in the file at ``path``, checked in full.

    The bytes of constants stay in the file and are mapped; replace the file by renaming, never write into it. All other bytes are copied.

    Args:
        trust: conditions that it must meet (`landbridge.runtime.trust`).

    Raises:
        ArtifactCorrupt: a byte is not as it was written, or a field contradicts another.
        ArtifactLimit: it asks for more than is allowed.
        ArtifactUntrusted: it does not meet a condition.
        ArtifactIncompatible: it is of a newer format.
        ArtifactError: the file cannot be read.
    """
    with naming(path):
        return from_bytes(_map(path), trust=trust)


def from_bytes(data: Blob, *, trust: Sequence[Trust] = ()) -> Artifact:
    """Return the artifact in the file ``data``; otherwise as `read`."""
    container = Container.open(data)
    sections = container.payloads(data)
    for condition in trust:
        condition.check(container.digest, container.signatures)
    return replace(_artifact(container), sections=sections, section_digests={one.name: one.sha256 for one in container.sections})


def read_manifest(source: str | Path | Blob) -> Manifest:
    """Return what an artifact says of itself; of its sections only the headers are looked at.

    Args:
        source: the path of a file, or its bytes.

    Raises:
        ArtifactError: as `read`.
    """
    if not isinstance(source, bytes | memoryview):
        with naming(source):
            return read_manifest(_map(source))
    container = Container.open(source)
    major, minor = container.manifest["format_version"]
    return Manifest(_artifact(container), container.sections, (major, minor), container.signatures)


def open_container(path: str | Path) -> tuple[memoryview, Container]:
    """Return the bytes of a file, mapped, and its structure, checked; its payloads are not.

    Raises:
        ArtifactError: as `read`.
    """
    data = _map(path)
    return data, Container.open(data)


def _map(path: str | Path) -> memoryview:
    """Return the bytes of a file without reading them yet."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise ArtifactError(f"cannot read the artifact: {error.strerror}") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ArtifactError("cannot read the artifact: not a regular file")
        if status.st_size == 0:
            raise ArtifactCorrupt("the file is empty", code="LB3101")
        return memoryview(mmap.mmap(descriptor, status.st_size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ))
    finally:
        os.close(descriptor)


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Put the path of the file into the errors about it."""
    try:
        yield
    except ArtifactError as error:
        error.at = f"{path}: {error.at}" if error.at else str(path)
        raise


def _chunks(artifact: Artifact) -> Iterator[Blob]:
    """Yield the bytes of the file in their order."""
    try:
        sections = tuple(Section.of(name, data) for name, data in artifact.sections.items())
        data = _manifest(artifact, sections)
        manifest = to_canonical_json(data)
        _check_meaning(_parse(data, ""), sections)
    except ArtifactError as error:
        raise PlanError(f"no reader would take this artifact: {error.message}", at=error.at) from error
    except ValueError as error:
        raise PlanError(f"no artifact can hold this: {error}", at=artifact.name) from error
    layout = lay_out(manifest, sections)
    for (_, fixed), payload in zip(layout.fixed, (b"", *artifact.sections.values(), b""), strict=True):
        yield fixed
        yield payload


def _manifest(artifact: Artifact, sections: tuple[Section, ...]) -> dict[str, Any]:
    several = any(record.alternatives for record in artifact.externs)
    report, later = artifact.report.to_manifest()
    needs = {ALTERNATIVES: several, OPAQUE: artifact.plan.has_opaque, RANGES: bool(artifact.plan.ranges)}
    return {
        "format": FORMAT,
        "format_version": list(FORMAT_VERSION),
        "requires": [feature for feature, needed in needs.items() if needed],
        "name": artifact.name,
        "producer": dict(artifact.producer),
        "target": {**vars(artifact.target), "cpu_features": list(artifact.target.cpu_features)},
        "plan": artifact.plan.to_json(),
        "externs": [_extern_to_json(record, several=several) for record in artifact.externs],
        "report": report,
        "sections": [dict(vars(section)) for section in sections],
        "x": {**later, **({MEMBER: artifact.golden.to_json()} if artifact.golden else {})},
    }


def _extern_to_json(record: ExternRecord, *, several: bool) -> dict[str, Any]:
    alternatives = [_blob_to_json(one) for one in record.alternatives]
    return {"symbol": record.symbol, **_blob_to_json(record), **({ALTERNATIVES: alternatives} if several else {})}


def _blob_to_json(record: ExternRecord) -> dict[str, Any]:
    plain = {name: getattr(record, name) for name in ("vendor", "device", "section", "name")}
    return {**plain, "signature": record.signature.to_json(), "options": dict(record.options)}


def _artifact(container: Container) -> Artifact:
    artifact = _parse(container.manifest, container.digest)
    _check_meaning(artifact, container.sections)
    return artifact


def _parse(manifest: dict[str, Any], digest: str) -> Artifact:
    """Return the artifact that a manifest describes, without the bytes of its sections."""
    names = ("format", "format_version", "requires", "name", "producer", "target", "plan", "externs", "report", "sections", "x")
    fields = Field(manifest, "").record(*names)
    target = fields["target"].record("triple", "cpu", "cpu_features")
    more = fields["x"].mapping()
    several = ALTERNATIVES in fields["requires"].texts()
    plan, externs = Plan.from_json(fields["plan"].value), tuple(_extern(entry, several=several) for entry in fields["externs"].items())
    report = Report.from_manifest(fields["report"].value, fields["x"].value)
    return Artifact(
        name=fields["name"].text(),
        producer=fields["producer"].text_mapping(),
        target=Target(target["triple"].text(), target["cpu"].text(), target["cpu_features"].texts()),
        plan=plan,
        externs=externs,
        report=replace(report, memory=memory_of(plan, externs)),
        sections={},
        golden=Golden.from_json(more[MEMBER]) if MEMBER in more else None,
        digest=digest,
    )


_BLOB = ("vendor", "device", "section", "signature", "options", "name")
"""The members that an offline model and each of its alternatives have."""


def _extern(field: Field, *, several: bool) -> ExternRecord:
    members = field.record("symbol", *_BLOB, *((ALTERNATIVES,) if several else ()))
    symbol = members["symbol"].text(empty=False)
    others = members[ALTERNATIVES].items(MAX_ALTERNATIVES) if several else []
    alternatives = tuple(_blob(symbol, other.record(*_BLOB)) for other in others)
    return replace(_blob(symbol, members), alternatives=alternatives)


def _blob(symbol: str, members: Mapping[str, Field]) -> ExternRecord:
    try:
        signature = Signature.from_json(members["signature"].value)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise ArtifactCorrupt(f"not a signature: {error!r}", at=members["signature"].path) from error
    return ExternRecord(
        symbol=symbol,
        vendor=members["vendor"].text(empty=False),
        device=members["device"].text(empty=False),
        section=members["section"].text(empty=False),
        signature=signature,
        options=members["options"].text_mapping(),
        name=members["name"].text(),
    )


def _check_meaning(artifact: Artifact, sections: tuple[Section, ...]) -> None:
    """Check that the parts of an artifact fit each other."""
    sizes = {section.name: section.nbytes for section in sections}
    for index, buffer in enumerate(artifact.plan.buffers):
        if buffer.storage == "constant":
            at = f"plan.buffers[{index}]"
            if not buffer.section.startswith("const/") or buffer.section not in sizes:
                raise ArtifactCorrupt(f"there is no constant section '{buffer.section}'", at=f"{at}.section")
            if buffer.offset + buffer.nbytes > sizes[buffer.section]:
                raise ArtifactCorrupt(
                    f"{buffer.nbytes} bytes at {buffer.offset} reach beyond the {sizes[buffer.section]} of '{buffer.section}'", at=at
                )
    _check_externs(artifact, sizes)
    if HOST_LIBRARY not in sizes and any(isinstance(step, Segment) for step in artifact.plan.steps):
        raise ArtifactCorrupt(f"there is no section '{HOST_LIBRARY}', but the plan has segments", at="sections")
    for at, tensor in artifact.golden.tensors() if artifact.golden else ():
        if tensor.offset + tensor.nbytes > sizes.get(SECTION, 0):
            raise ArtifactCorrupt(f"'{tensor.name}' reaches beyond the {sizes.get(SECTION, 0)} bytes of '{SECTION}'", at=at)


def _check_externs(artifact: Artifact, sizes: Mapping[str, int]) -> None:
    """Check that there is a section for every blob, that those of a call have its ports, and that steps call what there is."""
    devices: dict[str, str] = {}
    for index, record in enumerate(artifact.externs):
        if record.symbol in devices:
            raise ArtifactCorrupt(f"'{record.symbol}' appears twice", at=f"externs[{index}].symbol")
        for number, one in enumerate(record.candidates):
            at = f"externs[{index}].alternatives[{number - 1}]" if number else f"externs[{index}]"
            if not one.section.startswith("vendor/") or one.section not in sizes:
                raise ArtifactCorrupt(f"there is no vendor section '{one.section}'", at=f"{at}.section")
            different = next(port_differences(record.signature, one.signature, same_vendor=one.vendor == record.vendor), "")
            if number and different:
                raise ArtifactCorrupt(different, at=f"{at}.signature")
        devices[record.symbol] = record.device
    for index, step in enumerate(artifact.plan.steps):
        if isinstance(step, Extern) and devices.get(step.model) != step.device:
            message = f"offline model '{step.model}' on {step.device}" if step.model in devices else f"unknown offline model '{step.model}'"
            raise ArtifactCorrupt(message, at=f"plan.steps[{index}].model")
