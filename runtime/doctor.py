"""What is wrong with this machine, or with it and an artifact: every problem at once, each with its fix.

Nothing stops at the first problem but what cannot be looked at without what is missing: an artifact that is damaged has no offline
models, a device that is not there has no memory.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from landbridge.runtime.artifact import HOST_LIBRARY, Artifact, ExternRecord, read
from landbridge.runtime.device import Device
from landbridge.runtime.diagnosis import Diagnosis, installed
from landbridge.runtime.driver import Driver, Vendor
from landbridge.runtime.errors import LandbridgeError, UsageError
from landbridge.runtime.host_library import check_machine
from landbridge.runtime.trust import conditions
from landbridge.runtime.vendors import registry

Kind = Literal["artifact", "host", "software", "device", "model", "memory"]

EXIT_CODES: dict[Kind, int] = {"artifact": 3, "host": 4, "software": 5, "device": 6, "model": 7, "memory": 8}
"""The exit status by kind of problem; of several kinds the smallest, as that is to be mended first.

- ``artifact``: it cannot be read, is damaged, not trusted, or of a newer format.
- ``host``: it was compiled for another processor.
- ``software``: a vendor's library or package is missing.
- ``device``: there is no such device.
- ``model``: what is installed cannot run an offline model (version, chip, instruction set).
- ``memory``: not enough of it is free.
"""


@dataclass(frozen=True)
class Problem:
    """Something that keeps an artifact from running here.

    Attributes:
        kind: which sort of thing is wrong.
        at: what it is about, by the user's name of it.
        text: what was found and what is needed.
        fix: what to do.
    """

    kind: Kind
    at: str
    text: str
    fix: str


@dataclass(frozen=True)
class Checkup:
    """What the doctor found.

    Attributes:
        vendors: what is here of each vendor.
        problems: what keeps the artifact from running; empty without one.
        models: the offline models of the artifact that were loaded and are fine.
    """

    vendors: tuple[Diagnosis, ...]
    problems: tuple[Problem, ...] = ()
    models: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """The status for a command line, see `EXIT_CODES`."""
        return min((EXIT_CODES[problem.kind] for problem in self.problems), default=0)

    def to_json(self) -> dict[str, Any]:
        """Return the findings as plain data."""
        problems = [asdict(problem) for problem in self.problems]
        vendors = [diagnosis.to_json() for diagnosis in self.vendors]
        return {"vendors": vendors, "models": list(self.models), "problems": problems, "exit_code": self.exit_code}


def check_up(path: str | Path | None = None, *, simulate: Collection[str] = ()) -> Checkup:
    """Return what is here of every vendor and, given an artifact, what keeps it from running.

    Args:
        path: an artifact. Its offline models are loaded on their devices and unloaded again.
        simulate: names of the vendors whose simulator stands in for the hardware.

    Raises:
        UsageError: an unknown name in ``simulate``.
    """
    for name in simulate:
        registry.vendor(name)
    vendors = tuple(vendor.diagnose(simulate=vendor.name in simulate) for vendor in registry.vendors().values())
    if path is None:
        return Checkup(vendors)
    try:
        artifact = read(path, trust=conditions(None))
    except LandbridgeError as error:
        return Checkup(vendors, (Problem("artifact", error.at or str(path), error.message, error.hint),))
    check = _Check(artifact, simulate)
    check.host()
    check.offline_models()
    return Checkup(vendors, tuple(check.problems), tuple(check.models))


class _Check:
    """The problems of one artifact, while they are found."""

    def __init__(self, artifact: Artifact, simulate: Collection[str]) -> None:
        self.artifact = artifact
        self.simulate = simulate
        self.problems: list[Problem] = []
        self.models: list[str] = []

    def note(self, kind: Kind, at: str, error: LandbridgeError) -> None:
        self.problems.append(Problem(kind, at, error.message, error.hint))

    def host(self) -> None:
        """Check the processor."""
        if HOST_LIBRARY in self.artifact.sections:
            try:
                check_machine(self.artifact.target.triple, self.artifact.target.cpu_features)
            except LandbridgeError as error:
                self.note("host", "host code", error)

    def offline_models(self) -> None:
        """Check each device that offline models run on, and the models on it."""
        groups: dict[tuple[str, str], list[ExternRecord]] = {}
        for record in self.artifact.externs:
            groups.setdefault((record.vendor, record.device), []).append(record)
        for (name, device), records in groups.items():
            try:
                vendor = registry.vendor(name)
            except UsageError as error:
                self.note("software", device, error)
                continue
            try:
                driver = vendor.open(Device.parse(device).ordinal, simulate=name in self.simulate)
            except LandbridgeError as error:
                self.note(self._missing(vendor), device, error)
                continue
            try:
                self.on_device(device, driver, records)
            finally:
                driver.close()

    def _missing(self, vendor: Vendor) -> Kind:
        """Return what is missing where a device does not open: a part of the software that is installed, or the device."""
        known = bool(vendor.libraries() or vendor.packages)
        return "device" if vendor.name in self.simulate or installed(vendor) or not known else "software"

    def on_device(self, device: str, driver: Driver, records: Sequence[ExternRecord]) -> None:
        """Check the memory of a device, and load the models one by one."""
        needs = _needs(self.artifact, device, records)
        free, needed = driver.free_nbytes(), sum(needs.values())
        if free is not None and needed > free:
            parts = ", ".join(f"{what} {nbytes}" for what, nbytes in needs.items())
            text = f"{needed} bytes are needed ({parts}), {free} are free"
            self.problems.append(Problem("memory", device, text, "close other programs on this device, or compile for a smaller batch"))
        for record in {(record.section, tuple(sorted(record.options.items()))): record for record in records}.values():
            own = record.signature.weight_nbytes + record.signature.workspace_nbytes
            if free is None or own <= free:  # otherwise it cannot be loaded, which was said
                self.load(device, driver, record)

    def load(self, device: str, driver: Driver, record: ExternRecord) -> None:
        """Load a model, which checks versions, the chip and the interface, and unload it."""
        name = record.name or record.symbol
        try:
            driver.load(bytes(self.artifact.sections[record.section]), record.signature, record.options).close()
        except LandbridgeError as error:
            self.note("model", f"{name} on {device}", error)
        else:
            self.models.append(f"{name} on {device}")


def _needs(artifact: Artifact, device: str, records: Sequence[ExternRecord]) -> Mapping[str, int]:
    """Return what an artifact needs of a device's memory, in bytes; an arena whose size depends on the request is left out."""
    signatures = {record.section: record.signature for record in records}.values()
    arena = artifact.plan.arenas.get(device, 0)
    needs = {
        "weights": sum(signature.weight_nbytes for signature in signatures),
        "workspace": sum(signature.workspace_nbytes for signature in signatures),
        "tensors": arena if isinstance(arena, int) else 0,
    }
    return {what: nbytes for what, nbytes in needs.items() if nbytes}
