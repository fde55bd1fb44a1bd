"""Open devices and load offline models, each once, and say of each that cannot be: which sort of thing is wrong, and its fix.

These are the rules by which the doctor looks at a blob, and by which a session chooses among the blobs of a call: its vendor is known,
its device opens, there is room for it, and the vendor's driver loads it, which checks versions, the chip and the interface.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from landbridge.runtime.artifact import ExternRecord
from landbridge.runtime.container import Blob
from landbridge.runtime.dims import Size, evaluate, names
from landbridge.runtime.driver import LoadedModel, Vendor
from landbridge.runtime.errors import ArtifactIncompatible, DeviceError, LandbridgeError, UsageError, UserError
from landbridge.runtime.memory import OpenDevice
from landbridge.runtime.vendors import registry

if TYPE_CHECKING:
    from pathlib import Path

Reason = Literal["software", "device", "memory", "model"]
"""What keeps a blob from running here: its vendor or a library of it is missing, there is no such device, there is no room for it, or
what is installed cannot run it (version, chip, interface)."""


class Refused(Exception):
    """A blob cannot run here, or a device is not there.

    Attributes:
        reason: which sort of thing is wrong.
        error: what is wrong, as it is raised where there is no other blob.
    """

    def __init__(self, reason: Reason, error: LandbridgeError) -> None:
        super().__init__(str(error))
        self.reason: Reason = reason
        self.error = error


class Loader:
    """Devices and offline models that were asked for.

    Attributes:
        devices: those that were asked for, by vendor and name.
        asks_for_room: `check_room` may be called.
    """

    def __init__(
        self,
        arenas: Mapping[str, Size],
        simulate: Collection[str],
        *,
        replay: str | Path | None = None,
        asks_for_room: bool = False,
        threads: int | None = None,
    ) -> None:
        """Open nothing yet; `close` gives back whatever was opened.

        Args:
            arenas: of the plan, by device.
            simulate: names of the vendors whose simulator stands in for the hardware.
            replay: a recording that takes the place of all devices.
            asks_for_room: ask each device for its free memory when it is opened, so that `check_room` may be called.
            threads: on how many threads a model on the CPU computes at most, where its own option does not say.
        """
        self.devices: dict[tuple[str, str], OpenDevice] = {}
        self._arenas, self._simulate, self._replay = arenas, simulate, replay
        self.asks_for_room = asks_for_room
        self._on_cpu = {} if threads is None else {"threads": str(threads)}
        self._free: dict[tuple[str, str], int | None] = {}
        self._refused: dict[tuple[str, str], Refused] = {}
        self._taken: dict[tuple[str, str], list[ExternRecord]] = {}
        self._models: dict[tuple[Any, ...], LoadedModel | None] = {}

    def device(self, name: str, device: str) -> OpenDevice:
        """Return the open device of the vendor ``name``.

        Raises:
            Refused: the vendor is not known here, its software is missing, or it has no such device.
        """
        key = (name, device)
        if key in self._refused:
            raise self._refused[key]
        if key not in self.devices:
            try:
                self._open(key)
            except Refused as refused:
                self._refused[key] = refused
                raise
        return self.devices[key]

    def _open(self, key: tuple[str, str]) -> None:
        name, device = key
        try:
            vendor = registry.vendor(name)
        except UsageError as error:
            unknown = ArtifactIncompatible(
                f"needs the vendor '{name}'", at=device, hint=f"{error.hint}; install the package that has it", code="LB3203"
            )
            raise Refused("software", unknown) from error
        self.devices[key] = opened = OpenDevice(device, host_memory=vendor.host_memory)
        try:
            if self._replay is None or device == "cpu":
                opened.open(vendor, simulate=name in self._simulate)
            else:
                from landbridge.runtime.replay import ReplayDriver  # noqa: PLC0415 - few sessions replay

                opened.driver = ReplayDriver(self._replay)
            self._free[key] = opened.driver.free_nbytes() if self.asks_for_room else None
        except UserError as error:
            if isinstance(error, DeviceError):
                error.at, error.device = error.at or device, device
            raise Refused(self._missing(vendor), error) from error

    def _missing(self, vendor: Vendor) -> Reason:
        """Return what is missing where a device does not open: a part of the software, or, where all of that is installed, the device."""
        from landbridge.runtime.diagnosis import installed  # noqa: PLC0415 - only where something is missing

        known = bool(vendor.libraries() or vendor.packages)
        return "device" if vendor.name in self._simulate or installed(vendor) or not known else "software"

    def check_room(self, record: ExternRecord) -> None:
        """Check that a blob has room on its device, beside the tensors of the plan and the blobs that were taken before it.

        Raises:
            Refused: it has not. Its device is open.
        """
        key = (record.vendor, record.device)
        needs = self._needs([*self._taken.get(key, ()), record], record.device)
        free, needed = self._free[key], sum(needs.values())
        if free is not None and needed > free:
            parts = ", ".join(f"{what} {nbytes}" for what, nbytes in needs.items())
            error = DeviceError(
                f"{needed} bytes are needed ({parts}), {free} are free",
                at=record.device,
                hint="close other programs on this device, or compile for a smaller batch",
                code="LB4003",
            )
            raise Refused("memory", error)

    def fits_alone(self, record: ExternRecord) -> bool:
        """Return whether weights and workspace of a blob have room on its device, which is open, where nothing else is on it."""
        free = self._free[record.vendor, record.device]
        return free is None or sum(self._needs([record], "").values()) <= free

    def _needs(self, records: Iterable[ExternRecord], device: str) -> Mapping[str, int]:
        """Return what is needed of a device's memory, in bytes; an arena whose size depends on the request is left out."""
        signatures = {_identity(record): record.signature for record in records}.values()
        arena = self._arenas.get(device, 0)
        needs = {
            "weights": sum(signature.weight_nbytes for signature in signatures),
            "workspace": sum(signature.workspace_nbytes for signature in signatures),
            "tensors": 0 if names(arena) else evaluate(arena, {}),
        }
        return {what: nbytes for what, nbytes in needs.items() if nbytes}

    def load(self, record: ExternRecord, data: Blob) -> LoadedModel:
        """Return a blob, loaded on its device, once for all that ask for it.

        Raises:
            Refused: its device cannot be opened, or the vendor refuses it.
        """
        key = _identity(record)
        model = self._models.get(key)
        if model is None:
            driver = self.device(record.vendor, record.device).driver
            self._models[key] = None  # so that there is a place for what cannot be lost any more
            try:
                options = {**self._on_cpu, **record.options} if record.device == "cpu" else record.options
                self._models[key] = model = driver.load(bytes(data), record.signature, options)
            except UserError as error:
                error.at = f"{record.title} on {error.at or record.device}"
                if isinstance(error, DeviceError):
                    error.device = record.device
                raise Refused("model", error) from error
        return model

    def take(self, record: ExternRecord) -> None:
        """Take note that a blob is in use, so that those after it find less room."""
        self._taken.setdefault((record.vendor, record.device), []).append(record)

    def unload(self, record: ExternRecord) -> None:
        """Unload a blob that nobody needs any more, if it is loaded."""
        model = self._models.pop(_identity(record), None)
        if model is not None:
            model.close()

    def close_but(self, used: Collection[tuple[str, str]], quietly: Callable[[Callable[[], None]], None]) -> None:
        """Close the devices that are not among ``used``; on them is nothing."""
        for key in [key for key in self.devices if key not in used]:
            quietly(self.devices[key].close)
            del self.devices[key]

    def close(self, quietly: Callable[[Callable[[], None]], None]) -> None:
        """Unload all models, then close all devices. Idempotent.

        Args:
            quietly: calls what it is given, and bears its errors.
        """
        for close in [model.close for model in self._models.values() if model is not None] + [
            device.close for device in self.devices.values()
        ]:
            quietly(close)
        self._models.clear()
        self.devices.clear()


def _identity(record: ExternRecord) -> tuple[Any, ...]:
    """Return what two records of one loaded model share."""
    return (record.vendor, record.device, record.section, tuple(sorted(record.options.items())))
