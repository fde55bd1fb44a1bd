"""What two artifacts differ in, in the terms of one who deploys them: models, devices, what crosses, memory, interface, target."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from landbridge.runtime import artifact
from landbridge.runtime.artifact import Artifact, Manifest
from landbridge.runtime.container import to_canonical_json
from landbridge.runtime.dims import render, render_shape
from landbridge.runtime.plan import Interface, Plan
from landbridge.runtime.report import Report
from landbridge.runtime.signature import Signature

Facts = Mapping[str, Mapping[str, str]]
"""By part, such as "crossings", and by name in it, what is so of an artifact."""


@dataclass(frozen=True)
class Change:
    """One thing in which two artifacts differ.

    Attributes:
        part: such as "crossings".
        what: its name in that part.
        before: how it is in the first; "" where it is not.
        after: how it is in the second; "" where it is not.
    """

    part: str
    what: str
    before: str
    after: str

    def __str__(self) -> str:
        """Return the change as a line of a list."""
        if not self.before:
            return f"+ {self.what}: {self.after}"
        return f"~ {self.what}: {self.before} -> {self.after}" if self.after else f"- {self.what}: {self.before}"


def differences(first: str | Path, second: str | Path) -> tuple[Change, ...]:
    """Return what two artifacts differ in; nothing exactly where they are the same but for their names as files.

    Raises:
        ArtifactError: one of them cannot be read, or is damaged.
    """
    before, after = facts(first), facts(second)
    changes = []
    for part, known in before.items():
        other = after[part]
        for what in (*known, *(name for name in other if name not in known)):
            if known.get(what, "") != other.get(what, ""):
                changes.append(Change(part, what, known.get(what, ""), other.get(what, "")))
    return tuple(changes)


def facts(path: str | Path) -> Facts:
    """Return everything about an artifact that `differences` looks at.

    Raises:
        ArtifactError: it cannot be read, or is damaged.
    """
    found, manifest = artifact.read(path), artifact.read_manifest(path)
    report, target = found.report, found.target
    return {
        "model": {"name": found.name, **{f"made by {name}": version for name, version in found.producer.items()}},
        "target": {
            "machine": target.triple or "any",
            "processor": target.cpu or "any",
            "features": ", ".join(target.cpu_features) or "none",
        },
        "interface": _numbered(
            [*_interface("input", found.plan, found.plan.inputs), *_interface("output", found.plan, found.plan.outputs)]
        ),
        "offline models": _offline_models(found, manifest),
        "crossings": _crossings(report),
        "casts": _numbered((f"{c.value} {c.source} -> {c.destination}", f"{render(c.nbytes)} bytes") for c in report.casts),
        "fallbacks": {region.value: f"{', '.join(region.nodes)} by {region.vendor}: {region.reason}" for region in report.fallbacks},
        "launches": dict(report.launches),
        "peak memory": {device: f"{render(size)} bytes" for device, size in report.peak_nbytes.items()},
        "host code and constants": {
            section.name: f"{section.nbytes} bytes, sha256:{section.sha256[:16]}"
            for section in manifest.sections
            if not section.name.startswith("vendor/")
        },
        "self-test": _golden(found),
        "plan": {"steps": str(len(found.plan.steps)), "digest": _digest(found.plan.to_json())},
        "file": {"digest": f"sha256:{found.digest}", "signed by": ", ".join(sorted(s.key[:16] for s in manifest.signatures)) or "nobody"},
    }


def _golden(found: Artifact) -> dict[str, str]:
    golden = found.golden
    if golden is None:
        return {}
    values = ", ".join(dict.fromkeys(tensor.name for case in golden.cases for tensor in case.values))
    return {"cases": str(len(golden.cases)), "values": values, "by": golden.by}


def _interface(kind: str, plan: Plan, entries: Iterable[Interface]) -> list[tuple[str, str]]:
    buffers = [(entry.name, plan.buffers[entry.buffer]) for entry in entries]
    return [(f"{kind} {name}", f"{buffer.dtype} {render_shape(buffer.shape)} on {buffer.device}") for name, buffer in buffers]


def _offline_models(found: Artifact, manifest: Manifest) -> dict[str, str]:
    digests = {section.name: section.sha256 for section in manifest.sections}
    rows: list[tuple[str, str]] = []
    for call in found.externs:
        for number, record in enumerate(call.candidates):
            name = f"{call.title}, blob {number + 1}: {record.title}" if number else record.title
            rows += [(name, f"{record.vendor} on {record.device}"), (f"{name} file", f"sha256:{digests[record.section][:16]}")]
            rows += [(f"{name} {what}", text) for what, text in _signature(record.signature)]
            rows += [(f"{name} option {key}", value) for key, value in record.options.items()]
    return _numbered(rows)


def _signature(signature: Signature) -> list[tuple[str, str]]:
    rows = [(f"input {port.name}", f"{port.dtype} {render_shape(port.shape)} {port.layout}") for port in signature.inputs]
    rows += [(f"output {port.name}", f"{port.dtype} {render_shape(port.shape)} {port.layout}") for port in signature.outputs]
    rows += [(f"AIPP of {port.name}", f"{port.aipp.mode} {port.aipp.source_format}") for port in signature.inputs if port.aipp]
    if signature.gears is not None:
        rows.append((f"{signature.gears.kind} gears", ", ".join("x".join(map(str, choice)) for choice in signature.gears.choices)))
    rows += [("workspace", f"{signature.workspace_nbytes} bytes"), ("weights", f"{signature.weight_nbytes} bytes")]
    return rows + list(signature.versions.items())


def _crossings(report: Report) -> dict[str, str]:
    rows = []
    for copy in report.copies:
        remarks = [text for text, holds in (("same memory", copy.aliased), ("once, at load", copy.once)) if holds]
        text = f"{copy.dtype} {render_shape(copy.shape)}, {render(copy.nbytes)} bytes"
        rows.append((f"{copy.value} {copy.source} -> {copy.destination}", ", ".join([text, *remarks])))
    return _numbered(rows)


def _numbered(rows: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return rows by name; a name that comes again gets a number."""
    found: dict[str, str] = {}
    for name, text in rows:
        count = 2
        unique = name
        while unique in found:
            unique, count = f"{name} ({count})", count + 1
        found[unique] = text
    return found


def _digest(data: object) -> str:
    return f"sha256:{hashlib.sha256(to_canonical_json(data)).hexdigest()[:16]}"
