"""Predict how long a run takes from what links, offline models and host code were measured to cost.

A cost is a list of *samples*, ``[bytes, nanoseconds]``: how long something took for so many bytes. Between two samples costs are on the
line through them, beyond the outermost two on the line through these; one sample is scaled in proportion. The file (``--cost``) is JSON,
written by ``landbridge bench --write-costs`` or by hand::

    {
      "landbridge_costs": 1,
      "links": {"cpu -> atlas0": [[0, 9000], [1048576, 130000]], "atlas0 -> cpu": [[0, 9000], [1048576, 160000]]},
      "models": {"<SHA-256 of the blob>": {"name": "backbone.om", "samples": [[2304, 41000]]}},
      "host": {"<SHA-256 of the host library>": {"name": "detector.onnx", "segments": {"lb_segment_0": [[512, 3000]]}}},
      "simulated": ["atlas"]
    }

The bytes of a copy are those that it moves, those of an offline model or a host segment those of all tensors that it reads and writes.
``simulated`` names vendors whose times say nothing about hardware. A prediction is the sum over the steps of the plan, which run one
after the other; what has no cost is named, and the sum is then a lower bound.
"""

from __future__ import annotations

import json
import re
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from landbridge.latency import Measured
from landbridge.runtime.artifact import HOST_LIBRARY, Artifact
from landbridge.runtime.container import digest_of
from landbridge.runtime.dims import evaluate
from landbridge.runtime.errors import DeviceError, UsageError
from landbridge.runtime.execute import PHASES
from landbridge.runtime.memory import address_of
from landbridge.runtime.plan import Copy, Extern, Segment, Step
from landbridge.runtime.save_file import save_file
from landbridge.runtime.session import Session
from landbridge.runtime.steps import COPY_IN, COPY_OUT, EXECUTE, HOST

VERSION = 1
"""Of the file's form."""

_LINK_NBYTES = (4 * 2**10, 256 * 2**10, 4 * 2**20)
"""The sizes of the copies by which a link is measured."""
_LINK_RUNS = 9

_SAMPLE_TEXT = re.compile(r"\[\s+(\d+),\s+([\d.]+)\s+\]")
"""A sample as JSON indents it; in the file it is on one line."""

Sample = tuple[int, float]
"""Bytes, and the nanoseconds that they took."""


@dataclass
class Costs:
    """What a file of costs says.

    Attributes:
        links: by direction, such as "cpu -> atlas0".
        models: by the SHA-256 of the blob.
        host: by the SHA-256 of the host library and the function in it.
        names: what the digests are of, for people.
        simulated: vendors that a simulator stood in for.
    """

    links: dict[str, list[Sample]] = field(default_factory=dict)
    models: dict[str, list[Sample]] = field(default_factory=dict)
    host: dict[str, dict[str, list[Sample]]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    simulated: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return it as the file has it."""
        named = {digest: self.names.get(digest, "") for digest in (*self.models, *self.host)}
        return {
            "landbridge_costs": VERSION,
            "links": self.links,
            "models": {digest: {"name": named[digest], "samples": samples} for digest, samples in self.models.items()},
            "host": {digest: {"name": named[digest], "segments": segments} for digest, segments in self.host.items()},
            "simulated": self.simulated,
        }

    def save(self, path: str | Path) -> None:
        """Write the file.

        Raises:
            OSError: it cannot be written; the old file is as it was.
        """
        text = json.dumps(self.to_json(), indent=2)
        save_file(path, [(_SAMPLE_TEXT.sub(r"[\1, \2]", text) + "\n").encode()])

    @staticmethod
    def load(path: str | Path) -> Costs:
        """Return what the file at ``path`` says.

        Raises:
            UsageError: it is no such file, with what is wrong.
            OSError: it cannot be read.
        """
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
            if not isinstance(data, dict) or data.get("landbridge_costs") != VERSION:
                raise ValueError(f'expected an object with "landbridge_costs": {VERSION}')
            costs = Costs(simulated=[str(name) for name in data.get("simulated", [])])
            costs.links = {str(link): _samples(given) for link, given in data.get("links", {}).items()}
            for digest, model in data.get("models", {}).items():
                costs.models[digest], costs.names[digest] = _samples(model["samples"]), str(model.get("name", ""))
            for digest, library in data.get("host", {}).items():
                costs.host[digest] = {str(name): _samples(given) for name, given in library["segments"].items()}
                costs.names[digest] = str(library.get("name", ""))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            found = f"'{error.args[0]}' is missing" if isinstance(error, KeyError) else str(error)
            raise UsageError(
                f"not a file of costs: {found}", at=str(path), hint="landbridge bench --write-costs writes one", code="LB1118"
            ) from None
        return costs


def _samples(given: Any) -> list[Sample]:
    """Return samples, in the order of their bytes.

    Raises:
        ValueError: there are none, or one is not [bytes, nanoseconds].
    """
    if not isinstance(given, list) or not given:
        raise ValueError(f"{given!r}, expected a list of [bytes, nanoseconds]")
    for sample in given:
        numbers = isinstance(sample, list) and len(sample) == 2 and all(isinstance(n, int | float) and n >= 0 for n in sample)
        if not numbers:
            raise ValueError(f"{sample!r}, expected [bytes, nanoseconds]")
    return sorted((int(nbytes), float(ns)) for nbytes, ns in given)


def cost_of(samples: Sequence[Sample], nbytes: int) -> float:
    """Return the nanoseconds that ``nbytes`` take by ``samples``, of which there is one at least, in order."""
    if len(samples) == 1:
        known, ns = samples[0]
        return ns * nbytes / known if known else ns
    above = next((i for i, (known, _) in enumerate(samples) if known >= nbytes), len(samples) - 1)
    upper = max(above, 1)
    (left, before), (right, after) = samples[upper - 1], samples[upper]
    slope = (after - before) / (right - left) if right != left else 0.0
    return max(before + slope * (nbytes - left), 0.0)


@dataclass(frozen=True)
class StepCost:
    """What one step of a plan is predicted to take.

    Attributes:
        step: its index.
        phase: as in a profile, such as "copy in".
        name: what it does, such as "cpu -> atlas0" or "backbone.om".
        nbytes: that it moves or touches.
        ns: None where the file has no cost for it.
    """

    step: int
    phase: str
    name: str
    nbytes: int
    ns: float | None


@dataclass(frozen=True)
class Prediction:
    """What a run is predicted to take.

    Attributes:
        extents: of the named dimensions.
        steps: one after the other.
        simulated: vendors whose times say nothing about hardware.
    """

    extents: Mapping[str, int]
    steps: tuple[StepCost, ...]
    simulated: tuple[str, ...]

    @property
    def ns(self) -> float:
        """The sum of what is known."""
        return sum(step.ns or 0.0 for step in self.steps)

    @property
    def missing(self) -> tuple[str, ...]:
        """What has no cost, each once."""
        return tuple(dict.fromkeys(f"{step.phase} {step.name}" for step in self.steps if step.ns is None))

    @property
    def phases(self) -> dict[str, float]:
        """Nanoseconds by phase."""
        found = {phase: sum(step.ns or 0.0 for step in self.steps if step.phase == phase) for phase in PHASES}
        return {phase: ns for phase, ns in found.items() if any(step.phase == phase for step in self.steps)}

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "extents": dict(self.extents),
            "ns": self.ns,
            "phases_ns": self.phases,
            "missing": list(self.missing),
            "steps": [vars(step) for step in self.steps],
            "simulated": list(self.simulated),
        }

    def render(self) -> str:
        """Return it as text."""
        at = ", ".join(f"{name}={extent}" for name, extent in self.extents.items())
        least = "at least " if self.missing else ""
        lines = [f"predicted latency{f' for {at}' if at else ''}: {least}{self.ns / 1e6:.3f} ms"]
        whole = self.ns or 1.0
        lines += [f"  {phase:<9}{ns / 1e6:>10.3f} ms{ns / whole:>8.1%}" for phase, ns in self.phases.items()]
        if self.missing:
            lines.append(f"  no cost is given for: {', '.join(self.missing)}")
        if self.simulated:
            lines.append(f"  measured on simulators of {', '.join(self.simulated)}: this says nothing about the hardware")
        return "\n".join(lines)


def predict(artifact: Artifact, costs: Costs, extents: Mapping[str, int]) -> Prediction:
    """Return what a run is predicted to take.

    Args:
        extents: of every named dimension.

    Raises:
        UsageError: the extent of a dimension is missing.
    """
    missing = [name for name in artifact.plan.dims if name not in extents]
    if missing:
        hint = f"give it, such as --dim {missing[0]}=8"
        raise UsageError(f"how long a run takes depends on {', '.join(missing)}", hint=hint, code="LB1112")
    steps = []
    for index, step in enumerate(artifact.plan.steps):
        if isinstance(step, Copy) and step.once:
            continue
        phase, name, samples = _known(artifact, step, costs)
        nbytes = nbytes_of(artifact, step, extents)
        steps.append(StepCost(index, phase, name, nbytes, cost_of(samples, nbytes) if samples else None))
    return Prediction(dict(extents), tuple(steps), tuple(costs.simulated))


def nbytes_of(artifact: Artifact, step: Step, extents: Mapping[str, int]) -> int:
    """Return the bytes of what a step moves or touches; what only the data will tell is not among them."""
    buffers = (step.source,) if isinstance(step, Copy) else dict.fromkeys((*step.reads, *step.writes))
    return sum(evaluate(artifact.plan.buffers[buffer].nbytes, extents) for buffer in buffers)


def _known(artifact: Artifact, step: Step, costs: Costs) -> tuple[str, str, list[Sample]]:
    """Return the phase of a step, what it does, and what is known of its cost."""
    if isinstance(step, Copy):
        phase, link = _link(artifact, step)
        return phase, link, costs.links.get(link, [])
    if isinstance(step, Extern):
        record = next(record for record in artifact.externs if record.symbol == step.model)
        return EXECUTE, record.name or record.symbol, costs.models.get(_digest(artifact, record.section), [])
    return HOST, f"code {step.symbol}", costs.host.get(_digest(artifact, HOST_LIBRARY), {}).get(step.symbol, [])


def _link(artifact: Artifact, step: Copy) -> tuple[str, str]:
    source, destination = (artifact.plan.buffers[buffer].device for buffer in (step.source, step.destination))
    return COPY_OUT if destination == "cpu" else COPY_IN, f"{source} -> {destination}"


def _digest(artifact: Artifact, section: str) -> str:
    return artifact.section_digests.get(section) or digest_of(section, artifact.sections[section])


def add_measured(costs: Costs, session: Session, inputs: Mapping[str, Any], measured: Measured) -> None:
    """Add what a measurement found: its offline models, its host code, and the links of its devices, which are measured by themselves.

    Args:
        inputs: what was run.

    Raises:
        DeviceError: a copy failed.
    """
    artifact = session.artifact
    extents = {
        name: int(extent)
        for info in session.inputs
        for name, extent in zip(info.shape, getattr(inputs[info.name], "shape", ()), strict=False)
        if isinstance(name, str)
    }
    for timed in measured.steps:
        step = artifact.plan.steps[timed.step]
        if isinstance(step, Copy):
            continue
        sample = (nbytes_of(artifact, step, extents), timed.p50)
        if isinstance(step, Segment):
            digest = _digest(artifact, HOST_LIBRARY)
            costs.names[digest] = artifact.name
            _note(costs.host.setdefault(digest, {}).setdefault(step.symbol, []), sample)
        else:
            record = next(record for record in artifact.externs if record.symbol == step.model)
            digest = _digest(artifact, record.section)
            costs.names[digest] = record.name or record.symbol
            _note(costs.models.setdefault(digest, []), sample)
    for device in dict.fromkeys(buffer.device for buffer in artifact.plan.buffers if buffer.device != "cpu"):
        for link, samples in _measure_links(session, device).items():
            costs.links[link] = samples
    costs.simulated = list(dict.fromkeys([*costs.simulated, *session.simulated]))


def _note(samples: list[Sample], sample: Sample) -> None:
    """Put a sample among others, in the place of one of as many bytes."""
    samples[:] = sorted([*(other for other in samples if other[0] != sample[0]), sample])


def _measure_links(session: Session, device: str) -> dict[str, list[Sample]]:
    """Return the costs of copies to and from a device; nothing where it works in the host's memory."""
    ways = (f"cpu -> {device}", f"{device} -> cpu")
    found: dict[str, list[Sample]] = {way: [] for way in ways}
    for nbytes in _LINK_NBYTES:
        array = np.zeros(nbytes, np.uint8)
        try:
            tensor = session.to_device(array, device)
        except DeviceError:
            break  # so much memory is not free; the smaller sizes are known
        if tensor.on.host_memory:
            return {}
        there, here = tensor.address, address_of(array)
        found[ways[0]].append((nbytes, _median_ns(partial(tensor.on.copy_in, there, here, nbytes))))
        found[ways[1]].append((nbytes, _median_ns(partial(tensor.on.copy_out, here, there, nbytes))))
    return {way: samples for way, samples in found.items() if samples}


def _median_ns(call: Callable[[], object]) -> float:
    times = []
    for _ in range(_LINK_RUNS):
        started = time.perf_counter_ns()
        call()
        times.append(time.perf_counter_ns() - started)
    return float(statistics.median(times))
