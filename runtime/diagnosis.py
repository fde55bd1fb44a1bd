"""What is here of a vendor: its software, its devices, their free memory. Needs nothing of the vendor to say that nothing is here."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from landbridge.runtime.errors import LandbridgeError
from landbridge.runtime.records import dataclass

if TYPE_CHECKING:
    from landbridge.runtime.driver import Vendor

MAX_DEVICES = 64
"""Devices of one vendor that are looked for; more are not listed."""

_MAPS = Path("/proc/self/maps")


@dataclass(frozen=True)
class Software:
    """A library or package that is installed.

    Attributes:
        name: such as "libascendcl.so" or "openvino".
        version: "" where it does not say.
        path: where it is.
    """

    name: str
    version: str
    path: str


@dataclass(frozen=True)
class DeviceStatus:
    """A device that could be opened.

    Attributes:
        name: such as "atlas0".
        simulated: a simulator answers in its place.
        versions: what its driver says of itself, the soc included.
        free_nbytes: None where the vendor does not say.
    """

    name: str
    simulated: bool
    versions: Mapping[str, str]
    free_nbytes: int | None


@dataclass(frozen=True)
class Diagnosis:
    """What was found of a vendor.

    Attributes:
        vendor: its name.
        software: what of its libraries and packages is installed.
        devices: those that could be opened.
        problem: why there is no device, "" where there is one.
        fix: what to do about that.
    """

    vendor: str
    software: tuple[Software, ...]
    devices: tuple[DeviceStatus, ...]
    problem: str = ""
    fix: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the diagnosis as plain data."""
        return {**asdict(self), "devices": [{**asdict(device), "versions": dict(device.versions)} for device in self.devices]}


def diagnose(vendor: Vendor, *, simulate: bool) -> Diagnosis:
    """Return what is here of ``vendor``, by opening one device after the other until there are no more."""
    devices: list[DeviceStatus] = []
    problem = fix = ""
    while len(devices) < MAX_DEVICES:
        try:
            driver = vendor.open(len(devices), simulate=simulate)
        except LandbridgeError as error:
            problem, fix = ("", "") if devices else (error.message, error.hint)
            break
        try:
            status = DeviceStatus(f"{vendor.device_kind}{len(devices)}", driver.simulated, dict(driver.versions), driver.free_nbytes())
        finally:
            driver.close()
        devices.append(status)
        if vendor.device_kind == "cpu":
            break
    return Diagnosis(vendor.name, installed(vendor), tuple(devices), problem, fix)


def installed(vendor: Vendor) -> tuple[Software, ...]:
    """Return what is installed of the libraries and packages that ``vendor`` may need."""
    library = find_library(vendor.libraries())
    packages = (find_package(name) for name in vendor.packages)
    return tuple(found for found in (library, *packages) if found is not None)


def find_library(places: Sequence[str]) -> Software | None:
    """Return the first of ``places`` that loads, None where none does; a name without a folder is left to the system's search."""
    for place in places:
        if "/" in place and not Path(place).exists():
            continue
        try:
            ctypes.CDLL(place)
        except OSError:
            continue
        return Software(Path(place).name, "", place if "/" in place else loaded_from(place))
    return None


def find_package(name: str) -> Software | None:
    """Return the installed Python distribution ``name``, or None."""
    from importlib import metadata  # noqa: PLC0415 - it takes longer to import than the whole runtime

    try:
        found = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None
    return Software(name, found.version, str(found.locate_file("")))


def loaded_from(name: str) -> str:
    """Return the path of a loaded library, or its name where the system does not tell."""
    try:
        lines = _MAPS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return name
    paths = (line.split(maxsplit=5)[-1] for line in lines if "/" in line)
    stem = name.partition(".so")[0] + ".so"
    return next((path for path in paths if Path(path).name.startswith(stem)), name)
