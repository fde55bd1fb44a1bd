"""What is wrong with this machine, or with it and an artifact: every problem at once, each with its fix.

Nothing stops at the first problem but what cannot be looked at without what is missing: an artifact that is damaged has no offline
models, a device that is not there has no memory.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from landbridge.runtime.artifact import HOST_LIBRARY, Artifact, ExternRecord, read
from landbridge.runtime.choose import PassedOver, passed_over
from landbridge.runtime.diagnosis import Diagnosis
from landbridge.runtime.errors import LandbridgeError
from landbridge.runtime.host_library import check_machine
from landbridge.runtime.loader import Loader, Refused
from landbridge.runtime.records import dataclass
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
        models: the blobs of the artifact that would run, one for each offline model that one was found for.
        passed_over: blobs that cannot run here, in the place of which another of these runs.
    """

    vendors: tuple[Diagnosis, ...]
    problems: tuple[Problem, ...] = ()
    models: tuple[str, ...] = ()
    passed_over: tuple[PassedOver, ...] = ()

    @property
    def exit_code(self) -> int:
        """The status for a command line, see `EXIT_CODES`."""
        return min((EXIT_CODES[problem.kind] for problem in self.problems), default=0)

    def to_json(self) -> dict[str, Any]:
        """Return the findings as plain data."""
        problems = [asdict(problem) for problem in self.problems]
        vendors = [diagnosis.to_json() for diagnosis in self.vendors]
        passed = [asdict(one) for one in self.passed_over]
        return {
            "vendors": vendors,
            "models": list(self.models),
            "passed_over": passed,
            "problems": problems,
            "exit_code": self.exit_code,
        }


def check_up(path: str | Path | None = None, *, simulate: Collection[str] = ()) -> Checkup:
    """Return what is here of every vendor and, given an artifact, what keeps it from running.

    Args:
        path: an artifact. Its offline models, all blobs of them, are loaded on their devices one after the other, and unloaded again.
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
    return Checkup(vendors, tuple(check.problems), tuple(dict.fromkeys(check.models)), tuple(dict.fromkeys(check.passed_over)))


class _Check:
    """The problems of one artifact, while they are found."""

    def __init__(self, artifact: Artifact, simulate: Collection[str]) -> None:
        self.artifact = artifact
        self.simulate = simulate
        self.problems: list[Problem] = []
        self.models: list[str] = []
        self.passed_over: list[PassedOver] = []

    def note(self, kind: Kind, at: str, error: LandbridgeError) -> None:
        problem = Problem(kind, at, error.message, error.hint)
        self.problems += [problem] if problem not in self.problems else []

    def host(self) -> None:
        """Check the processor."""
        if HOST_LIBRARY in self.artifact.sections:
            try:
                check_machine(self.artifact.target.triple, self.artifact.target.cpu_features)
            except LandbridgeError as error:
                self.note("host", "host code", error)

    def offline_models(self) -> None:
        """Look at each blob of each offline model: its vendor, its device, its memory, and whether it loads."""
        loader = Loader(self.artifact.plan.arenas, self.simulate, asks_for_room=True)
        try:
            for record in self.artifact.externs:
                self.blobs(loader, record)
        finally:
            loader.close(lambda close: close())

    def blobs(self, loader: Loader, record: ExternRecord) -> None:
        """Look at the blobs of an offline model; one that runs here is enough."""
        found = [(one, list(self.refusals(loader, one))) for one in record.candidates]
        chosen = next((one for one, refused in found if not refused), None)
        if chosen is not None:
            loader.take(chosen)
            self.models += [f"{chosen.title} on {chosen.device}"]
            self.passed_over += [passed_over(one, refused[0]) for one, refused in found if refused]
            return
        for _, refused in found:
            for refusal in refused:
                self.note(refusal.reason, refusal.error.at, refusal.error)

    def refusals(self, loader: Loader, record: ExternRecord) -> Iterator[Refused]:
        """Yield everything that keeps a blob from running."""
        try:
            loader.device(record.vendor, record.device)
        except Refused as refusal:
            refusal.error.at = record.device
            yield refusal
            return
        try:
            loader.check_room(record)
        except Refused as refusal:
            yield refusal
            if not loader.fits_alone(record):
                return  # it cannot be loaded, which was said
        try:
            loader.load(record, self.artifact.sections[record.section])
        except Refused as refusal:
            refusal.error.at = f"{record.title} on {record.device}"
            yield refusal
        finally:
            loader.unload(record)
