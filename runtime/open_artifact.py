"""Open what an artifact needs of the machine: its code, its constants, its devices, its offline models.

Everything is open when this returns, or nothing: what was opened before a failure is closed again. All devices are tried before one
that is missing is reported, so that the caller learns of all of them at once.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from landbridge.runtime import dtypes
from landbridge.runtime.artifact import HOST_LIBRARY, Artifact, ExternRecord
from landbridge.runtime.choose import ModelChoice, choose, none_runs
from landbridge.runtime.container import Blob
from landbridge.runtime.device import CPU
from landbridge.runtime.driver import LoadedModel, Vendor
from landbridge.runtime.elsewhere import BridgedModel, stand_in
from landbridge.runtime.errors import ArtifactCorrupt, ArtifactIncompatible, DeviceError, UnsupportedError
from landbridge.runtime.heap import Block
from landbridge.runtime.host_library import HostLibrary, check_machine, load_host_library
from landbridge.runtime.loader import Loader, Refused
from landbridge.runtime.memory import OpenDevice, address_of, empty
from landbridge.runtime.plan import ALIGNMENT, Segment
from landbridge.runtime.vendors import registry
from landbridge.runtime.workers import Workers

if TYPE_CHECKING:
    from pathlib import Path

_LOG = logging.getLogger(__name__)


class OpenArtifact:
    """An artifact on this machine.

    Attributes:
        artifact: without the bytes of its sections; after `open`, each offline model is the blob that runs here.
        library: its host library; None where the plan has no segments.
        devices: for each device of the plan other than the CPU, the memory that stands for it.
        models: the offline models by symbol.
        turns: by symbol, what a thread holds while it calls the model; symbols of one model share it.
        records: what the artifact says of the blobs that run here, by symbol.
        homes: by symbol, the device that the blob runs on.
        choices: which blob that is, and why, in the order of the artifact.
        constants: for each constant section, its memory.
        simulated: names of the vendors that a simulator stands in for.
        helpers: threads for the steps of a run that do not wait for each other.
        threads: on how many threads a host segment computes at most; None leaves it to the process.
    """

    def __init__(self, artifact: Artifact, replay: str | Path | None = None, threads: int | None = None) -> None:
        """Open nothing yet; `close` gives back whatever `open` got to.

        Args:
            artifact: what to open.
            replay: a recording that takes the place of all devices (`landbridge.runtime.replay`).
            threads: see the attribute.
        """
        self.threads = threads
        self.artifact = replace(artifact, sections={})
        self.records: Mapping[str, ExternRecord] = {record.symbol: record for record in artifact.externs}
        self.library: HostLibrary | None = None
        self.constants: dict[str, Block] = {}
        self.devices: dict[str, OpenDevice] = {}
        self.models: dict[str, LoadedModel] = {}
        self.homes: dict[str, OpenDevice] = {}
        self.turns: dict[str, AbstractContextManager[Any]] = {}
        self.choices: tuple[ModelChoice, ...] = ()
        self.simulated: tuple[str, ...] = ()
        self.helpers = Workers()
        self._replay = replay
        self._loader: Loader | None = None
        self._stand_ins: list[OpenDevice] = []

    def open(self, artifact: Artifact, simulate: Collection[str]) -> None:
        """Open everything.

        Args:
            artifact: the same, with the bytes of its sections.
            simulate: names of the vendors to simulate.

        Raises:
            ArtifactIncompatible: the code is for another machine, or a vendor is not known here.
            DeviceError: devices are missing, all of them named; a vendor refused a model; or none of the blobs of a call runs here.
            UnsupportedError: an input or output on a device has elements of less than a byte, or two vendors are on one device.
            UsageError: an unknown name in ``simulate``.
        """
        several = any(record.alternatives for record in artifact.externs)
        try:
            _check_interfaces(artifact)
            self.library = _open_library(artifact)
            used = dict.fromkeys(buffer.section for buffer in artifact.plan.buffers if buffer.storage == "constant")
            self.constants = {name: _host_copy(artifact.sections[name]) for name in used}
            _check_devices(artifact)
            for name in simulate:
                registry.vendor(name)
            self._loader = Loader(artifact.plan.arenas, simulate, replay=self._replay, asks_for_room=several, threads=self.threads)
            _open_devices(artifact, self._loader)
            self._load_models(artifact, self._loader)
            self._settle_devices(artifact, self._loader)
            self._check_aliases(artifact)
        except BaseException:
            self.close()
            raise
        simulated = {vendor for (vendor, _), device in self._loader.devices.items() if device.driver.simulated}
        self.simulated = tuple(sorted(simulated))

    def _load_models(self, artifact: Artifact, loader: Loader) -> None:
        """Load the first blob of each offline model that can run here."""

        def load(one: ExternRecord) -> None:
            loader.device(one.vendor, one.device)
            if loader.asks_for_room:
                loader.check_room(one)
            self.models[one.symbol] = loader.load(one, artifact.sections[one.section])
            loader.take(one)

        chosen: dict[str, ExternRecord] = {}
        turns: dict[int, AbstractContextManager[Any]] = {}
        for record in artifact.externs:
            chosen[record.symbol], choice = choose(record, load)
            self.choices += (choice,)
            model = self.models[record.symbol]
            self.turns[record.symbol] = turns.setdefault(id(model), nullcontext() if model.concurrent else threading.Lock())
        self.records = chosen
        self.artifact = replace(self.artifact, externs=tuple(chosen.values()))

    def _settle_devices(self, artifact: Artifact, loader: Loader) -> None:
        """Settle which memory stands for each device of the plan: its own where a model runs there, else the host's.

        Models that work in other memory than the plan has their arguments in are bridged; devices on which nothing is are closed.
        """
        planned = {record.symbol: record.device for record in artifact.externs}
        owners: dict[str, tuple[str, str]] = {}
        bridges: dict[tuple[int, str], BridgedModel] = {}
        for device in dict.fromkeys((*planned.values(), *(buffer.device for buffer in artifact.plan.buffers))):
            if device == "cpu":
                continue
            runs = [self.records[symbol] for symbol, where in planned.items() if where == device]
            here = [(record.vendor, device) for record in runs if record.device == device]
            here = here or ([] if runs else [key for key in loader.devices if key[1] == device])
            if here:
                owners[device] = here[0]
                self.devices[device] = loader.devices[here[0]]
            else:
                self.devices[device] = stand_in(device)
                self._stand_ins.append(self.devices[device])
        for symbol, record in self.records.items():
            key = (record.vendor, record.device)
            home = self.homes[symbol] = loader.devices[key]
            memory = self.devices.get(planned[symbol])
            on_host = memory is None or memory.host_memory
            if not (on_host and home.host_memory) and owners.get(planned[symbol]) != key:
                model = self.models[symbol]
                bridged = BridgedModel(model, None if on_host else memory, None if home.host_memory else home)
                self.models[symbol] = bridges.setdefault((id(model), planned[symbol]), bridged)
        loader.close_but({(record.vendor, record.device) for record in self.records.values()} | set(owners.values()), self._quietly)

    def labels(self) -> Iterator[str]:
        """Yield for each device that is not what it is called what it is, and what that means."""
        for (_, device), opened in self._loader.devices.items() if self._loader is not None else ():
            if self._replay is not None and device != str(CPU):
                yield f"{device} is replayed from {self._replay}: its times say nothing about the hardware"
            elif opened.driver.simulated:
                yield f"{device} is simulated: its results and times say nothing about the hardware"

    def _check_aliases(self, artifact: Artifact) -> None:
        """Check that only memory that is the host's has names on both sides."""
        buffers = artifact.plan.buffers
        for index, buffer in enumerate(buffers):
            if buffer.storage != "alias" or buffer.device == buffers[buffer.base].device:
                continue
            for device in {buffer.device, buffers[buffer.base].device} - {"cpu"}:
                if not self.devices[device].host_memory:
                    raise ArtifactCorrupt(f"the memory of {device} is not the host's", at=f"plan.buffers[{index}].base")

    def close(self) -> None:
        """Close the models, then the devices. Idempotent; what cannot be closed is logged, so that the rest is closed too."""
        self.helpers.close()
        for memory in self._stand_ins:
            self._quietly(memory.close)
        if self._loader is not None:
            self._loader.close(self._quietly)
        self._stand_ins.clear()

    def _quietly(self, close: Callable[[], None]) -> None:
        try:
            close()
        except DeviceError as error:
            _LOG.warning("while closing '%s': %s", self.artifact.name, error)


def _open_devices(artifact: Artifact, loader: Loader) -> None:
    """Open for each offline model the device of the first of its blobs that has one, and those that only tensors are on.

    Raises:
        DeviceError: some are missing, all of them named.
    """
    missing: dict[str, Exception] = {}
    for record in artifact.externs:
        refused: list[Refused] = []
        for one in record.candidates:
            try:
                loader.device(one.vendor, one.device)
            except Refused as refusal:
                refused.append(refusal)
            else:
                break
        if len(refused) == len(record.candidates):
            missing.setdefault(record.symbol if record.alternatives else record.device, none_runs(record, refused))
    for vendor, device in _without_models(artifact):
        try:
            loader.device(vendor.name, device)
        except Refused as refusal:
            missing.setdefault(device, refusal.error)
    if len(missing) == 1:
        raise next(iter(missing.values()))
    if missing:
        lines = [f"{len(missing)} devices are missing", *(f"- {error}" for error in missing.values())]
        raise DeviceError("\n".join(lines), code="LB4013") from next(iter(missing.values()))


def _check_interfaces(artifact: Artifact) -> None:
    plan = artifact.plan
    for entry in (*plan.inputs, *plan.outputs):
        buffer = plan.buffers[entry.buffer]
        if buffer.device != str(CPU) and dtypes.is_packed(buffer.dtype):
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


def _check_devices(artifact: Artifact) -> None:
    """Check that the devices in the file are those of the vendors.

    Raises:
        ArtifactIncompatible: a vendor is not known here, and there is no other blob.
        ArtifactCorrupt: a model is on a device that its vendor does not have.
        UnsupportedError: two vendors are on one device, and do not share memory.
    """
    for index, record in enumerate(artifact.externs):
        for one in record.candidates:
            vendor = registry.find(one.vendor)
            if vendor is None:
                if not record.alternatives:
                    hint = f"vendors here: {', '.join(registry.vendors())}; install the package that has it"
                    raise ArtifactIncompatible(f"needs the vendor '{one.vendor}'", at=f"externs[{index}].vendor", hint=hint, code="LB3203")
                continue
            if _kind(one.device) != vendor.device_kind:
                raise ArtifactCorrupt(f"{one.device}, but {one.vendor} runs on {vendor.device_kind}", at=f"externs[{index}].device")
    known = [record for record in artifact.externs if registry.find(record.vendor) is not None]
    registry.check_memory((record.device, record.vendor, record.title) for record in known)


def _without_models(artifact: Artifact) -> list[tuple[Vendor, str]]:
    """Return the devices that only tensors are on, each with a vendor that has its kind."""
    reached = {"cpu", *(record.device for record in artifact.externs)}
    devices = dict.fromkeys(buffer.device for buffer in artifact.plan.buffers)
    return [(_vendor_of(device), device) for device in devices if device not in reached]


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
