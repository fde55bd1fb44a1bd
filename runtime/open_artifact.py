"""Open what an artifact needs of the machine: its code, its constants, its devices, its offline models.

Everything is open when this returns, or nothing: what was opened before a failure is closed again. All devices are tried before one
that is missing is reported, so that the caller learns of all of them at once.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from landbridge.runtime import dtypes
from landbridge.runtime.artifact import HOST_LIBRARY, Artifact, ExternRecord
from landbridge.runtime.container import Blob
from landbridge.runtime.device import CPU
from landbridge.runtime.driver import LoadedModel, Vendor
from landbridge.runtime.errors import ArtifactCorrupt, ArtifactIncompatible, DeviceError, UnsupportedError, UsageError
from landbridge.runtime.host_library import HostLibrary, check_machine, load_host_library
from landbridge.runtime.memory import Block, OpenDevice, address_of, empty
from landbridge.runtime.plan import ALIGNMENT, Segment
from landbridge.runtime.replay import ReplayDriver
from landbridge.runtime.vendors import registry
from landbridge.runtime.workers import Workers

_LOG = logging.getLogger(__name__)


class OpenArtifact:
    """An artifact on this machine.

    Attributes:
        artifact: without the bytes of its sections.
        library: its host library; None where the plan has no segments.
        devices: for each device other than the CPU, its memory.
        models: the offline models by symbol.
        turns: by symbol, what a thread holds while it calls the model; symbols of one model share it.
        records: what the artifact says of them, by symbol.
        constants: for each constant section, its memory.
        simulated: names of the vendors that a simulator stands in for.
        helpers: threads for the steps of a run that do not wait for each other.
    """

    def __init__(self, artifact: Artifact, replay: str | Path | None = None) -> None:
        """Open nothing yet; `close` gives back whatever `open` got to.

        Args:
            artifact: what to open.
            replay: a recording that takes the place of all devices (`landbridge.runtime.replay`).
        """
        self.artifact = replace(artifact, sections={})
        self.records: Mapping[str, ExternRecord] = {record.symbol: record for record in artifact.externs}
        self.library: HostLibrary | None = None
        self.constants: dict[str, Block] = {}
        self.devices: dict[str, OpenDevice] = {}
        self.models: dict[str, LoadedModel] = {}
        self.turns: dict[str, AbstractContextManager[Any]] = {}
        self.simulated: tuple[str, ...] = ()
        self.helpers = Workers()
        self._replay = replay
        self._opened: dict[tuple[str, str], OpenDevice] = {}
        self._loaded: dict[tuple[Any, ...], LoadedModel] = {}

    def open(self, artifact: Artifact, simulate: Collection[str]) -> None:
        """Open everything.

        Args:
            artifact: the same, with the bytes of its sections.
            simulate: names of the vendors to simulate.

        Raises:
            ArtifactIncompatible: the code is for another machine, or a vendor is not known here.
            DeviceError: devices are missing, all of them named, or a vendor refused a model.
            UnsupportedError: an input or output on a device has elements of less than a byte, or two vendors are on one device.
            UsageError: an unknown name in ``simulate``.
        """
        try:
            _check_interfaces(artifact)
            self.library = _open_library(artifact)
            self.constants = {name: _host_copy(data) for name, data in artifact.sections.items() if name.startswith("const/")}
            self._open_devices(artifact, simulate)
            self._check_aliases(artifact)
            self._load_models(artifact)
        except BaseException:
            self.close()
            raise
        simulated = {vendor for (vendor, _), device in self._opened.items() if device.driver.simulated}
        self.simulated = tuple(sorted(simulated))

    def _open_devices(self, artifact: Artifact, simulate: Collection[str]) -> None:
        for name in simulate:
            registry.vendor(name)
        missing: list[DeviceError] = []
        for vendor, device in _wanted(artifact):
            self._opened[vendor.name, device] = opened = OpenDevice(device, host_memory=vendor.host_memory)
            try:
                if self._replay is None or device == "cpu":
                    opened.open(vendor, simulate=vendor.name in simulate)
                else:
                    opened.driver = ReplayDriver(self._replay)
            except DeviceError as error:
                error.at, error.device = error.at or device, device
                missing.append(error)
                continue
            if device != "cpu":
                self.devices.setdefault(device, opened)
            if isinstance(opened.driver, ReplayDriver):
                _LOG.warning("%s is replayed from %s: its times say nothing about the hardware", device, self._replay)
            elif opened.driver.simulated:
                _LOG.warning("%s is simulated: its results and times say nothing about the hardware", device)
        if len(missing) == 1:
            raise missing[0]
        if missing:
            raise DeviceError(
                "\n".join([f"{len(missing)} devices are missing", *(f"- {error}" for error in missing)]), code="LB4013"
            ) from missing[0]

    def _check_aliases(self, artifact: Artifact) -> None:
        """Check that only memory that is the host's has names on both sides."""
        buffers = artifact.plan.buffers
        for index, buffer in enumerate(buffers):
            if buffer.storage != "alias" or buffer.device == buffers[buffer.base].device:
                continue
            for device in {buffer.device, buffers[buffer.base].device} - {"cpu"}:
                if not self.devices[device].host_memory:
                    raise ArtifactCorrupt(f"the memory of {device} is not the host's", at=f"plan.buffers[{index}].base")

    def _load_models(self, artifact: Artifact) -> None:
        turns: dict[int, AbstractContextManager[Any]] = {}
        for record in artifact.externs:
            key = (record.vendor, record.device, record.section, tuple(sorted(record.options.items())))
            if key not in self._loaded:
                driver = self._opened[record.vendor, record.device].driver
                try:
                    self._loaded[key] = driver.load(bytes(artifact.sections[record.section]), record.signature, record.options)
                except DeviceError as error:
                    error.at, error.device = error.at or f"{record.name or record.symbol} on {record.device}", record.device
                    raise
            model = self._loaded[key]
            self.models[record.symbol] = model
            self.turns[record.symbol] = turns.setdefault(id(model), nullcontext() if model.concurrent else threading.Lock())

    def close(self) -> None:
        """Close the models, then the devices. Idempotent; what cannot be closed is logged, so that the rest is closed too."""
        self.helpers.close()
        for close in [model.close for model in self._loaded.values()] + [device.close for device in self._opened.values()]:
            self._quietly(close)
        self.models.clear()
        self._loaded.clear()
        self._opened.clear()

    def _quietly(self, close: Callable[[], None]) -> None:
        try:
            close()
        except DeviceError as error:
            _LOG.warning("while closing '%s': %s", self.artifact.name, error)


def _check_interfaces(artifact: Artifact) -> None:
    plan = artifact.plan
    for entry in (*plan.inputs, *plan.outputs):
        buffer = plan.buffers[entry.buffer]
        if buffer.device != str(CPU) and dtypes.is_packed(buffer.dtype) and buffer.device != str(CPU):
            raise UnsupportedError(
                f"'{entry.name}' has elements of {buffer.dtype} on {buffer.device}", hint="take it in and give it out on the CPU"
            )


def _open_library(artifact: Artifact) -> HostLibrary | None:
    """Return the host library, on a machine that can execute it, with every function that the plan calls."""
    symbols = dict.fromkeys(step.symbol for step in artifact.plan.steps if isinstance(step, Segment))
    if not symbols:
        return None
    check_machine(artifact.target.triple, artifact.target.cpu_features)
    library = load_host_library(artifact.sections[HOST_LIBRARY])
    for symbol in symbols:
        library.function(symbol)
    return library


def _host_copy(data: Blob) -> Block:
    """Return ``data`` as aligned memory: itself where it is aligned."""
    source = np.frombuffer(data, np.uint8)
    address = address_of(source)
    if address % ALIGNMENT == 0:
        return Block(address, len(source), source)
    array, address = empty("uint8", source.shape)
    array[:] = source
    return Block(address, len(source), array)


def _wanted(artifact: Artifact) -> list[tuple[Vendor, str]]:
    """Return each vendor and device that the artifact needs, once.

    Raises:
        ArtifactIncompatible: a vendor is not known here.
        ArtifactCorrupt: a model is on a device that its vendor does not have.
        UnsupportedError: two vendors are on one device, and do not share memory.
    """
    wanted: dict[tuple[str, str], Vendor] = {}
    for index, record in enumerate(artifact.externs):
        vendor = _vendor(record.vendor, index)
        if _kind(record.device) != vendor.device_kind:
            raise ArtifactCorrupt(f"{record.device}, but {vendor.name} runs on {vendor.device_kind}", at=f"externs[{index}].device")
        wanted.setdefault((vendor.name, record.device), vendor)
    registry.check_memory((record.device, record.vendor, record.name or record.symbol) for record in artifact.externs)
    reached = {device for _, device in wanted}
    for device in dict.fromkeys(buffer.device for buffer in artifact.plan.buffers):
        if device != "cpu" and device not in reached:
            vendor = _vendor_of(device)
            wanted[vendor.name, device] = vendor
    return [(vendor, device) for (_, device), vendor in wanted.items()]


def _vendor(name: str, index: int) -> Vendor:
    try:
        return registry.vendor(name)
    except UsageError as error:
        raise ArtifactIncompatible(f"needs the vendor '{name}'", at=f"externs[{index}].vendor", hint=error.hint, code="LB3203") from error


def _vendor_of(device: str) -> Vendor:
    """Return a vendor that has the kind of ``device``."""
    for vendor in registry.vendors().values():
        if vendor.device_kind == _kind(device):
            return vendor
    raise ArtifactIncompatible(
        f"needs the device {device}, for which there is no vendor", hint="install the vendor's package", code="LB3203"
    )


def _kind(device: str) -> str:
    return device.rstrip("0123456789")
